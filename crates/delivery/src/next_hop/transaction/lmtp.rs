//! The end of a message over LMTP, where each recipient has a reply of its own (RFC 2033 §4.2), and our client is told one.
//!
//! | the recipients | the client hears |
//! |---|---|
//! | all have it | the first reply of this try |
//! | none has it, all replies of one code | that reply |
//! | none has it, for good all | the first reply |
//! | none has it, for some only for now | the first reply of these |
//! | some have it | 451 4.0.0; who has it is in the ledger, so that the retry skips them |
//! | of some it is not known | 451 4.4.2; they count as not having it: a second copy rather than none |
//!
//! Who is refused for good while others are not is marked in the ledger and hears its own reply in a later transaction.
//!
//! On the retry all recipients are answered at RCPT as always. When the message is there and its digest is known, those who have it are left
//! out: the mail transaction that names them is reset, and the others are named again.

use mx6_runtime::Deadline;
use mx6_smtp::client::{RcptTo, pass_on};
use mx6_smtp::{EnhancedCode, Outcome, Reply};

use super::{CLOSED, Recipient, SmtpTransaction, count};
use crate::Message;
use crate::ledger::Digest;
use crate::next_hop::opening::Protocol;
use crate::storage::storage_reply;

impl SmtpTransaction {
    /// What became of the message for one of the accepted recipients, if they were told apart.
    pub(crate) fn recipient_outcome(&self, number: usize) -> Option<&Outcome> {
        self.outcomes.get(number)
    }

    /// A recipient that was refused for good, where others were not, is taken only by itself.
    pub(super) fn is_taken_with_others(&mut self, rcpt: &RcptTo<'_>) -> Result<(), Reply> {
        if self.next_hops.protocol == Protocol::Smtp {
            return Ok(());
        }
        let is_alone = self.next_hops.ledger.is_alone(&self.sender.reverse_path, rcpt.forward_path);
        if !self.accepted.is_empty() && (is_alone || self.is_alone) {
            return Err(ALONE);
        }
        self.is_alone = is_alone;
        Ok(())
    }

    /// Sends the message to those who do not have it yet.
    pub(super) async fn deliver_to_each(&mut self, message: &Message, until: Deadline) -> Outcome {
        let (digest, has) = match self.who_has(message).await {
            Ok(known) => known,
            Err(error) => {
                self.release();
                return Outcome::Refused(storage_reply(&error));
            }
        };
        if !has.contains(&true) {
            let outcome = self.deliver_to_accepted(message, until).await;
            return self.conclude(message, digest, false, outcome).await;
        }
        // The connection has all of them named.
        self.release();
        let all = std::mem::take(&mut self.accepted);
        let (before, rest): (Vec<_>, Vec<_>) = all.into_iter().zip(has.iter().copied()).partition(|(_, has)| *has);
        before.iter().for_each(|_| count(&self.next_hops.counters.skipped));
        self.accepted = rest.into_iter().map(|(recipient, _)| recipient).collect();
        let outcome =
            if self.accepted.is_empty() { BEFORE_OUTCOME } else { self.deliver_to_accepted(message, until).await };
        let mut told = self.outcomes_of(&outcome).into_iter();
        let mut before = before.into_iter();
        let mut rest = std::mem::take(&mut self.accepted).into_iter();
        for has in has {
            self.outcomes.extend(if has { Some(BEFORE_OUTCOME) } else { told.next() });
            self.accepted.extend(if has { before.next().map(|(recipient, _)| recipient) } else { rest.next() });
        }
        self.conclude(message, digest, true, outcome).await
    }

    /// One outcome for each of the accepted recipients. Those that a next hop told apart are taken out of `outcomes`.
    fn outcomes_of(&mut self, outcome: &Outcome) -> Vec<Outcome> {
        match std::mem::take(&mut self.outcomes) {
            told if told.is_empty() => vec![outcome.clone(); self.accepted.len()],
            told => told,
        }
    }

    /// What the replies say, recipient by recipient; where one is missing nobody knows.
    pub(super) fn tell_each(&mut self, replies: Vec<Reply>) -> Outcome {
        self.outcomes = replies.into_iter().map(own_outcome).collect();
        if self.outcomes.len() < self.accepted.len() {
            count(&self.next_hops.counters.unknown);
            self.outcomes.resize(self.accepted.len(), Outcome::Unknown(CLOSED));
        }
        one_for_all(&self.outcomes)
    }

    /// Who of the accepted recipients has the message already, and its digest if that had to be known.
    async fn who_has(&self, message: &Message) -> std::io::Result<(Option<Digest>, Vec<bool>)> {
        let (ledger, from) = (&self.next_hops.ledger, &self.sender.reverse_path);
        if !self.accepted.iter().any(|recipient| ledger.knows(from, &recipient.forward_path)) {
            return Ok((None, Vec::new()));
        }
        let digest = message.digest().await?;
        let has = |recipient: &Recipient| ledger.has(from, &recipient.forward_path, &digest);
        Ok((Some(digest), self.accepted.iter().map(has).collect()))
    }

    /// Remembers what a retry should know, and says what the client hears. `is_retry`: some had the message before.
    async fn conclude(&mut self, message: &Message, digest: Option<Digest>, is_retry: bool, told: Outcome) -> Outcome {
        if self.outcomes.is_empty() {
            return told;
        }
        let outcome = one_for_all(&self.outcomes);
        let is_mixed = outcome.reply().is_transient();
        if is_mixed {
            self.mark_refused();
        }
        let have_it = self.outcomes.iter().any(|own| matches!(own, Outcome::Accepted(_)));
        if is_mixed && have_it {
            count(&self.next_hops.counters.mixed);
        }
        // Also when all have it at last: our 250 may be lost on its way.
        if have_it && (is_mixed || is_retry) {
            let digest = match digest {
                Some(digest) => Some(digest),
                // If it cannot be read again, they get it again.
                None => message.digest().await.ok(),
            };
            digest.into_iter().for_each(|digest| self.record(digest));
        }
        // Of those who have it, who got it now has the word.
        if outcome.reply().is_positive() { told } else { outcome }
    }

    fn record(&self, digest: Digest) {
        for (recipient, own) in self.accepted.iter().zip(&self.outcomes) {
            if matches!(own, Outcome::Accepted(_)) {
                self.next_hops.ledger.record(&self.sender.reverse_path, &recipient.forward_path, digest);
            }
        }
    }

    /// Where recipients fared differently, those that were refused for good are to be alone.
    fn mark_refused(&self) {
        let differ = self.outcomes.iter().any(|own| *own != self.outcomes[0]);
        for (recipient, own) in self.accepted.iter().zip(&self.outcomes) {
            if differ && is_for_good(own) {
                self.next_hops.ledger.mark_alone(&self.sender.reverse_path, &recipient.forward_path);
            }
        }
    }
}

/// A recipient's own reply as an outcome.
fn own_outcome(reply: Reply) -> Outcome {
    if reply.is_positive() { Outcome::Accepted(pass_on(reply)) } else { Outcome::Refused(pass_on(reply)) }
}

fn is_for_good(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(reply) if !reply.is_transient())
}

/// The one outcome that stands for those of all recipients; see the table above. There is at least one.
fn one_for_all(outcomes: &[Outcome]) -> Outcome {
    let accepted = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Accepted(_))).count();
    let is_unknown = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unknown(_)));
    match (is_unknown, accepted) {
        (true, 0) => Outcome::Unknown(CLOSED),
        (true, _) => Outcome::Unknown(SOME_UNKNOWN),
        (false, accepted) if (1..outcomes.len()).contains(&accepted) => Outcome::Refused(SOME),
        _ => outcomes.iter().find(|outcome| !is_for_good(outcome)).unwrap_or(&outcomes[0]).clone(),
    }
}

const BEFORE_OUTCOME: Outcome =
    Outcome::Accepted(Reply::fixed(250, EnhancedCode(2, 0, 0), "OK: delivered with an earlier try"));
const SOME_TEXT: &str = "Delivered to some of the recipients, try again for the others.";
const SOME: Reply = Reply::fixed(451, EnhancedCode(4, 0, 0), SOME_TEXT);
const SOME_UNKNOWN: Reply = Reply::fixed(451, EnhancedCode(4, 4, 2), SOME_TEXT);
const ALONE: Reply = Reply::fixed(
    452,
    EnhancedCode(4, 5, 3),
    "Too many recipients: the next hop refused one of them before, send it by itself.",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reply_stands_for_all() {
        // The replies of the next hop, none where it gave none; and what the client hears.
        let cases: [(&[u16], &str); 12] = [
            (&[250, 250], "accepted 250 first"),
            (&[250, 252], "accepted 250 first"),
            (&[550, 550], "refused 550 first"),
            (&[550, 552], "refused 550 first"),
            (&[452, 452], "refused 452 first"),
            (&[550, 452], "refused 452 then"),
            (&[250, 550], "refused 451 Delivered"),
            (&[451, 250, 250], "refused 451 Delivered"),
            (&[250, 0], "unknown 451 Delivered"),
            (&[550, 0], "unknown 451 Next"),
            (&[0, 0], "unknown 451 Next"),
            (&[421, 421], "refused 451 first"),
        ];
        for (codes, expected) in cases {
            let texts = ["first", "then", "last"];
            let outcome = |(code, text): (&u16, &str)| match code {
                0 => Outcome::Unknown(CLOSED),
                code => own_outcome(Reply::new(*code, None, text.to_owned())),
            };
            let outcomes: Vec<Outcome> = codes.iter().zip(texts).map(outcome).collect();
            let told = one_for_all(&outcomes);
            let word = told.reply().text.split(' ').next().unwrap();
            assert_eq!(format!("{} {} {word}", told.word(), told.reply().code), expected, "{codes:?}");
        }
    }
}
