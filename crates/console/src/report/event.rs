//! From a record to what the report counts: its outcome, the rule behind a refusal, and the few fields that are kept of it.

use std::net::IpAddr;

use serde::Serialize;

use crate::records::Record;

/// What became of a message, for one group of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Over IPv6: taken, and no rule objected (or the client is a connector).
    AcceptedV6,
    /// Over IPv6: taken on trial; enforcing would have refused it.
    WouldRefuse,
    /// Over IPv6: refused by one of the three rules.
    Refused,
    /// Over IPv6: the domain is not open.
    NotOpen,
    /// Over IPv6: refused for another reason (next hop, limits, the message itself).
    RefusedOtherwise,
    /// Over IPv4: taken.
    AcceptedV4,
    /// Over IPv4: refused.
    RefusedV4,
    /// The client gave up before the end.
    Abandoned,
}

impl Outcome {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Outcome; 8] = [
        Outcome::AcceptedV6,
        Outcome::WouldRefuse,
        Outcome::Refused,
        Outcome::NotOpen,
        Outcome::RefusedOtherwise,
        Outcome::AcceptedV4,
        Outcome::RefusedV4,
        Outcome::Abandoned,
    ];

    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Outcome::AcceptedV6 => "accepted over IPv6",
            Outcome::WouldRefuse => "accepted on trial, would be refused",
            Outcome::Refused => "refused by the rules",
            Outcome::NotOpen => "domain not open to IPv6",
            Outcome::RefusedOtherwise => "refused for other reasons",
            Outcome::AcceptedV4 => "accepted over IPv4",
            Outcome::RefusedV4 => "refused over IPv4",
            Outcome::Abandoned => "given up by the client",
        }
    }

    /// Whether one of the three rules objected: what the report is about.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Outcome::WouldRefuse | Outcome::Refused)
    }

    /// Whether the recipient got the message.
    pub(crate) fn is_taken(self) -> bool {
        matches!(self, Outcome::AcceptedV6 | Outcome::WouldRefuse | Outcome::AcceptedV4)
    }
}

/// Which of the three rules objected, and whether for now or for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Objection {
    /// No reverse DNS.
    ReverseDns,
    /// Neither SPF nor DKIM.
    SpfOrDkim,
    /// Reverse DNS could not be looked up.
    ReverseDnsTemperror,
    /// SPF and DKIM could not be checked.
    SpfOrDkimTemperror,
}

impl Objection {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Objection; 4] =
        [Objection::ReverseDns, Objection::SpfOrDkim, Objection::ReverseDnsTemperror, Objection::SpfOrDkimTemperror];

    fn of_rule(rule: &str) -> Option<Objection> {
        match rule {
            "reverse-dns" => Some(Objection::ReverseDns),
            "spf-or-dkim" => Some(Objection::SpfOrDkim),
            "reverse-dns-temperror" => Some(Objection::ReverseDnsTemperror),
            "spf-or-dkim-temperror" => Some(Objection::SpfOrDkimTemperror),
            _ => None,
        }
    }

    /// Whether it says that DNS failed for now, and nothing about the sender.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, Objection::ReverseDnsTemperror | Objection::SpfOrDkimTemperror)
    }

    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Objection::ReverseDns => "no reverse DNS",
            Objection::SpfOrDkim => "neither SPF nor DKIM",
            Objection::ReverseDnsTemperror => "reverse DNS not looked up",
            Objection::SpfOrDkimTemperror => "SPF, DKIM not looked up",
        }
    }
}

/// What is kept of a record until its message is whole.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) unix_ms: u64,
    pub(crate) session: Box<str>,
    pub(crate) client: IpAddr,
    pub(crate) helo: Box<str>,
    pub(crate) mail_from: Box<str>,
    pub(crate) rcpt_to: Box<str>,
    pub(crate) domain: Box<str>,
    /// The record is about a whole message, not about a recipient before there was one.
    pub(crate) is_message: bool,
    pub(crate) outcome: Outcome,
    pub(crate) objection: Option<Objection>,
    /// The domain may be anything that a client made up: it is not served here.
    pub(crate) is_foreign: bool,
    /// A rule would have refused it, and the next hop did: nothing is lost by enforcing.
    pub(crate) next_hop_refused: bool,
    pub(crate) message_id: Option<Box<str>>,
    pub(crate) size_octets: u64,
    pub(crate) from_domain: Option<Box<str>>,
    /// What was known of the sender, for a refusal.
    pub(crate) facts: Box<str>,
}

impl Event {
    /// None for a refusal before there was a recipient.
    pub(crate) fn of(record: &Record<'_>) -> Option<Event> {
        if !matches!(&*record.stage, "rcpt" | "end-of-data") {
            return None;
        }
        let (outcome, objection) = judge(record);
        let dmarc = record.dmarc.as_ref().filter(|dmarc| !dmarc.domain.is_empty());
        Some(Event {
            unix_ms: record.unix_ms,
            session: (*record.session).into(),
            client: record.client.to_canonical(),
            helo: (*record.helo).into(),
            mail_from: (*record.mail_from).into(),
            rcpt_to: (*record.rcpt_to).into(),
            domain: (*record.domain).into(),
            is_message: &*record.stage == "end-of-data",
            outcome,
            objection,
            is_foreign: &*record.rule == "not-served-here",
            next_hop_refused: outcome == Outcome::RefusedOtherwise && record.would.is_some(),
            message_id: record.message_id.as_deref().map(Into::into),
            size_octets: record.size_octets.unwrap_or(0),
            from_domain: dmarc.map(|dmarc| (*dmarc.domain).into()),
            facts: if outcome.is_refusal() { facts(record).into() } else { Box::default() },
        })
    }
}

fn judge(record: &Record<'_>) -> (Outcome, Option<Objection>) {
    let (rule, accepted) = (&*record.rule, &*record.verdict == "accept");
    let is_v4 = record.client.to_canonical().is_ipv4();
    if &*record.verdict == "none" {
        return (Outcome::Abandoned, None);
    }
    if is_v4 {
        return (if accepted { Outcome::AcceptedV4 } else { Outcome::RefusedV4 }, None);
    }
    match (accepted, Objection::of_rule(rule)) {
        (true, _) if record.would.is_some() => (Outcome::WouldRefuse, would(record)),
        (true, _) => (Outcome::AcceptedV6, None),
        (false, Some(objection)) => (Outcome::Refused, Some(objection)),
        (false, None) if rule == "not-opted-in" => (Outcome::NotOpen, None),
        (false, None) => (Outcome::RefusedOtherwise, None),
    }
}

/// The rule behind `would`. Older gates say it in `rule`; where that names who had the last word, the reply tells.
fn would(record: &Record<'_>) -> Option<Objection> {
    let named = record.would_rule.as_deref().and_then(Objection::of_rule).or_else(|| Objection::of_rule(&record.rule));
    named.or_else(|| {
        let reply = record.would.as_deref()?;
        let replies = [
            ("450 4.7.25 ", Objection::ReverseDns),
            ("450 4.7.26 ", Objection::SpfOrDkim),
            ("451 4.4.3 Temporary DNS failure, reverse", Objection::ReverseDnsTemperror),
            ("451 4.4.3 Temporary DNS failure, SPF", Objection::SpfOrDkimTemperror),
        ];
        replies.into_iter().find(|(start, _)| reply.starts_with(start)).map(|(_, objection)| objection)
    })
}

/// What the checks found, in a few words: `iprev fail, spf softfail (example.org), no DKIM signature`.
fn facts(record: &Record<'_>) -> String {
    let mut facts = Vec::new();
    if let Some(iprev) = &record.iprev {
        let name = iprev.names.first().map(|name| format!(" ({})", &**name)).unwrap_or_default();
        facts.push(format!("iprev {}{name}", &*iprev.result));
    }
    if let Some(spf) = &record.spf {
        facts.push(format!("spf {} ({})", &*spf.result, &*spf.domain));
    }
    match record.dkim.as_deref() {
        Some([]) => facts.push("no DKIM signature".to_owned()),
        Some(signatures) => facts.extend(
            signatures.iter().take(2).map(|signature| format!("dkim {} ({})", &*signature.result, &*signature.domain)),
        ),
        None => {}
    }
    facts.join(", ").chars().take(FACTS_CHARACTERS_MAX).collect()
}

/// Of the facts of one sender.
const FACTS_CHARACTERS_MAX: usize = 240;
