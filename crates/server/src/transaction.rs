//! One mail transaction: envelope, message, verdict, delivery, records.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use mx6_delivery::{Body, Sender};
use mx6_dkim::Header;
use mx6_message_auth::ReceivedParts;
use mx6_policy::facts::{Facts, Iprev, MethodResult, Spf};
use mx6_policy::{Client, EndOfData, RecipientClass, Rule, Ruling, Stage};
use mx6_runtime::Deadline;
use mx6_smtp::{EnhancedCode, ForwardPath, MessageFault, Outcome, Reply, ReversePath, Verdict};
use mx6_telemetry::{Counter, Durations};

use crate::evaluation::{Evaluation, unix_s};
use crate::limits;
use crate::memory::Reservation;
use crate::pending::Pending;
use crate::record::{self, About, Decided, Known, Speaker};
use crate::shard::Shard;

/// The client of a session and what is known of it whatever it sends.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) session_id: String,
    pub(crate) helo: String,
    pub(crate) with_esmtp: bool,
    pub(crate) iprev: Pending<Iprev>,
    pub(crate) accepted_at_ms: u64,
}

/// An answer for the session.
pub(crate) enum Answer {
    Verdict(Verdict),
    Outcome(Outcome),
}

/// From MAIL to the reply after the final dot, or to RSET.
pub(crate) struct Transaction {
    shard: Rc<Shard>,
    reverse_path: String,
    spf: Pending<Spf>,
    size: Option<u64>,
    delivery: mx6_delivery::Transaction,
    /// The body stalled, the next-hop connection was given back.
    released: bool,
    recipients: Vec<Recipient>,
    reservation: Reservation,
    message: Option<Message>,
}

struct Recipient {
    forward_path: String,
    domain: String,
    class: RecipientClass,
    /// On trial: the objection at RCPT that was not enforced.
    would: Option<Reply>,
}

struct Message {
    evaluation: Evaluation,
    body: Body,
    octets: u64,
    /// Why it cannot be taken whatever the gate says; its further octets are dropped.
    trouble: Option<(Rule, Reply)>,
}

impl Transaction {
    /// MAIL: reserves memory, starts SPF.
    pub(crate) fn begin(
        shard: &Rc<Shard>,
        peer: &Peer,
        reverse_path: &ReversePath<'_>,
        size: Option<u64>,
        body_8bit: bool,
    ) -> Result<Transaction, Verdict> {
        let wanted =
            size.unwrap_or(limits::MEMORY_RESERVATION_STEP_OCTETS).min(mx6_delivery::SPILL_ABOVE_OCTETS as u64);
        let Some(reservation) = shard.memory.reserve(wanted) else {
            shard.counters.add_one(Counter::MemoryRefused);
            return Err(Verdict::Defer(MEMORY_USED_UP));
        };
        let (text, identity) = match reverse_path {
            ReversePath::Null => (String::new(), None),
            ReversePath::Mailbox(mailbox) => {
                let identity = (mailbox.local_part.to_owned(), mailbox.domain.as_str().to_owned());
                (mailbox.to_string(), Some(identity))
            }
        };
        let spf = start_spf(shard, peer, identity);
        let delivery = shard.delivery.begin(Sender { reverse_path: text.clone(), size, body_8bit });
        Ok(Transaction {
            shard: Rc::clone(shard),
            reverse_path: text,
            spf,
            size,
            delivery,
            released: false,
            recipients: Vec::new(),
            reservation,
            message: None,
        })
    }

    /// RCPT: served here → opted in → reverse DNS → next hop.
    pub(crate) async fn rcpt(&mut self, peer: &mut Peer, forward_path: &ForwardPath<'_>) -> Answer {
        let (path, domain) = match forward_path {
            ForwardPath::Postmaster => ("postmaster".to_owned(), None),
            ForwardPath::Mailbox(mailbox) => (mailbox.to_string(), Some(mailbox.domain.as_str().to_ascii_lowercase())),
        };
        match self.judge_recipient(peer, domain.as_deref()).await {
            Ok((class, would)) => {
                let domain = domain.unwrap_or_default();
                self.relay_recipient(peer, Recipient { forward_path: path, domain, class, would }).await
            }
            Err((rule, verdict)) => {
                self.shard.counters.add_one(Counter::RecipientsRefused);
                let decided = Decided { stage: Stage::Rcpt, rule, verdict: &verdict, would: None, delivered: None };
                let about = self.about(&path, domain.as_deref().unwrap_or_default());
                self.record(peer, &about, None, decided, Durations::default());
                Answer::Verdict(verdict)
            }
        }
    }

    async fn judge_recipient(
        &mut self,
        peer: &mut Peer,
        domain: Option<&str>,
    ) -> Result<(RecipientClass, Option<Reply>), (Rule, Verdict)> {
        let gate = Rc::clone(&self.shard.gate);
        let enforce = |ruling: Ruling| match (ruling.verdict, ruling.rule) {
            (Verdict::Accept, _) => Ok(ruling.would),
            (verdict, rule) => Err((rule.unwrap_or(Rule::Storage), verdict)),
        };
        let class = match gate.recipient(&peer.client, domain) {
            Ok(class) => class,
            Err(ruling) => return enforce(ruling).map(|would| (RecipientClass::Exempt, would)),
        };
        if class == RecipientClass::Exempt {
            return Ok((class, None));
        }
        let Some(iprev) = peer.iprev.get().await else {
            return Err((Rule::Storage, Verdict::Defer(LOCAL_ERROR)));
        };
        let would = enforce(gate.reverse_dns(&peer.client, class, iprev))?;
        if let Some(first) = self.recipients.first().map(|first| first.class).filter(|first| *first != class) {
            let spf_passed = self.spf.get().await.is_some_and(|spf| spf.result == MethodResult::Pass);
            enforce(gate.mixing(first, class, spf_passed))?;
        }
        Ok((class, would))
    }

    async fn relay_recipient(&mut self, peer: &Peer, recipient: Recipient) -> Answer {
        let started_ms = mx6_runtime::now_ms();
        let outcome = self.delivery.rcpt(&recipient.forward_path).await;
        if outcome.reply().is_positive() {
            self.shard.counters.add_one(Counter::RecipientsAccepted);
            if recipient.would.is_some() {
                self.shard.counters.add_one(Counter::WouldRefuse);
            }
            self.recipients.push(recipient);
        } else {
            self.shard.counters.add_one(Counter::RecipientsRefused);
            let durations = Durations { delivery: mx6_runtime::now_ms() - started_ms, ..Durations::default() };
            let decided = Decided {
                stage: Stage::Rcpt,
                rule: Rule::Delivery,
                verdict: &Verdict::Accept,
                would: recipient.would.as_ref(),
                delivered: Some((&outcome, self.delivery.route())),
            };
            self.record(peer, &self.about(&recipient.forward_path, &recipient.domain), None, decided, durations);
        }
        Answer::Outcome(outcome)
    }

    /// DATA was accepted: octets will come.
    pub(crate) fn data(&mut self) {
        let mut body = Body::new(Arc::clone(&self.shard.spill_dir));
        body.expect(self.size.unwrap_or(0));
        self.message = Some(Message { evaluation: Evaluation::new(), body, octets: 0, trouble: None });
    }

    /// Octets of the header block.
    pub(crate) fn header_octets(&mut self, octets: &[u8]) {
        let held = self.message.as_ref().map_or(0, |message| message.evaluation.header_block().len());
        let fits = self.make_room(held + octets.len());
        if let Some(message) = self.message.as_mut().filter(|message| fits && message.trouble.is_none()) {
            message.octets += octets.len() as u64;
            message.evaluation.header_octets(octets);
        }
    }

    /// The header block is complete.
    pub(crate) fn header_complete(&mut self) {
        if let Some(message) = self.message.as_mut().filter(|message| message.trouble.is_none()) {
            message.evaluation.header_complete(&self.shard.auth, self.spf.known().is_none());
        }
    }

    /// Octets of the body.
    pub(crate) async fn body_octets(&mut self, octets: &[u8]) {
        let held = self
            .message
            .as_ref()
            .map_or(0, |message| message.evaluation.header_block().len() + message.body.memory_octets());
        let fits = self.make_room(held + octets.len());
        let Some(message) = self.message.as_mut().filter(|message| fits && message.trouble.is_none()) else { return };
        message.octets += octets.len() as u64;
        message.body.append(octets);
        if !message.evaluation.body_octets(octets, &self.shard.batch).await {
            message.trouble = Some((Rule::Storage, LOCAL_ERROR));
        }
        if let Err(error) = message.body.settle().await {
            eprintln!("mx6: a message cannot be held in {}: {error}", self.shard.spill_dir.display());
            message.trouble = Some((Rule::Storage, mx6_delivery::storage_reply(&error)));
        }
    }

    fn make_room(&mut self, octets: usize) -> bool {
        let step = limits::MEMORY_RESERVATION_STEP_OCTETS;
        if self.reservation.cover((octets as u64).next_multiple_of(step)) {
            return true;
        }
        if let Some(message) = self.message.as_mut().filter(|message| message.trouble.is_none()) {
            self.shard.counters.add_one(Counter::MemoryRefused);
            message.trouble = Some((Rule::MemoryBudget, MEMORY_USED_UP));
        }
        false
    }

    /// Whether a next-hop connection is held for this transaction.
    pub(crate) fn holds_next_hop(&self) -> bool {
        !self.released && self.delivery.route().next_hop.is_some()
    }

    /// The body stalls: others may use the next-hop connection meanwhile.
    pub(crate) async fn release_next_hop(&mut self) {
        self.shard.counters.add_one(Counter::NextHopReleased);
        self.released = true;
        self.delivery.release().await;
    }

    /// The transaction ends without a message. The client does not wait for what the next hop says to that.
    pub(crate) fn abandon(self) {
        if self.holds_next_hop() {
            mx6_runtime::spawn("abandon", self.delivery.abandon());
        }
    }

    /// The true end of the message: verdict, and if that is accept, delivery.
    pub(crate) async fn end_of_data(mut self, peer: &mut Peer, fault: Option<MessageFault>) -> Answer {
        let dot_ms = mx6_runtime::now_ms();
        let deadline = Deadline::after(limits::END_OF_DATA_TIMEOUT);
        let shard = Rc::clone(&self.shard);
        let Some(mut message) = self.message.take() else { return Answer::Verdict(Verdict::Defer(LOCAL_ERROR)) };
        shard.counters.add(Counter::MessageOctets, message.octets);

        let mut facts = None;
        if fault.is_none() && message.trouble.is_none() {
            let address = peer.client.address();
            let evaluation = &mut message.evaluation;
            facts = evaluation.facts(&shard.auth, address, &mut peer.iprev, &mut self.spf, &shard.batch).await;
            if facts.is_none() {
                message.trouble = Some((Rule::Storage, LOCAL_ERROR));
            }
        }
        let ruling = match message.trouble.take() {
            Some((rule, reply)) if fault.is_none() => {
                Ruling { verdict: Verdict::Defer(reply), rule: Some(rule), would: None }
            }
            _ => {
                let received_fields = message.evaluation.received_fields();
                let class = self.recipients.first().map_or(RecipientClass::Enforced, |first| first.class);
                shard.gate.end_of_data(
                    &peer.client,
                    class,
                    &EndOfData { fault, received_fields, facts: facts.as_ref() },
                )
            }
        };
        let verdict_ms = mx6_runtime::now_ms();
        let octets = message.octets;
        if ruling.would.is_some() {
            shard.counters.add_one(Counter::WouldRefuse);
        }
        let outcome = match (&ruling.verdict, &facts) {
            (Verdict::Accept, Some(facts)) => Some(self.deliver(peer, facts, &ruling, message, deadline).await),
            _ => None,
        };
        let now_ms = mx6_runtime::now_ms();
        let durations = Durations {
            session: 0,
            verdict: verdict_ms - dot_ms,
            delivery: if outcome.is_some() { now_ms - verdict_ms } else { 0 },
        };
        self.count(outcome.as_ref());
        self.record_message(peer, facts.as_ref(), &ruling, outcome.as_ref(), octets, durations);
        if outcome.is_none() {
            self.abandon();
        }
        outcome.map_or(Answer::Verdict(ruling.verdict), Answer::Outcome)
    }

    async fn deliver(
        &mut self,
        peer: &Peer,
        facts: &Facts,
        ruling: &Ruling,
        message: Message,
        deadline: Deadline,
    ) -> Outcome {
        let added = self.added_fields(peer, facts, ruling);
        let leave_out = {
            let block = message.evaluation.header_block();
            self.shard.auth.fields_to_remove(&Header::parse(block))
        };
        let header = message.evaluation.into_header_block();
        let message = mx6_delivery::Message { added, header, leave_out, body: message.body };
        // Nothing races this: neither the client's leaving nor a signal cuts a delivery short. A panic in it must not lose the record.
        let delivery = AssertUnwindSafe(self.delivery.deliver(&message, deadline)).catch_unwind();
        delivery.await.unwrap_or_else(|_| {
            eprintln!("mx6: {}: delivery panicked, the outcome is unknown", peer.session_id);
            Outcome::Unknown(LOCAL_ERROR)
        })
    }

    /// Our fields, for the top of the message.
    fn added_fields(&self, peer: &Peer, facts: &Facts, ruling: &Ruling) -> Vec<u8> {
        let recipient = match self.recipients.as_slice() {
            [only] => Some(only.forward_path.as_str()),
            _ => None,
        };
        let mut added = self.shard.auth.received(&ReceivedParts {
            client: facts.client,
            helo: &peer.helo,
            client_name: facts.iprev.confirmed.as_deref(),
            with_esmtp: peer.with_esmtp,
            session_id: &peer.session_id,
            recipient,
            unix_s: unix_s(),
        });
        added.extend(self.shard.auth.authentication_results(facts));
        let objections = self.recipients.iter().filter_map(|recipient| recipient.would.as_ref()).chain(&ruling.would);
        if let Some(reply) = objections.into_iter().next() {
            added.extend(mx6_message_auth::monitor_field(&format!("would-refuse {reply}")));
        }
        added
    }

    fn count(&self, outcome: Option<&Outcome>) {
        self.shard.counters.add_one(match outcome {
            Some(Outcome::Accepted(_)) => Counter::MessagesAccepted,
            Some(Outcome::Unknown(_)) => Counter::MessagesUnknown,
            Some(Outcome::Refused(_)) | None => Counter::MessagesRefused,
        });
    }

    fn record_message(
        &self,
        peer: &Peer,
        facts: Option<&Facts>,
        ruling: &Ruling,
        outcome: Option<&Outcome>,
        octets: u64,
        durations: Durations,
    ) {
        for recipient in &self.recipients {
            let rule = match outcome {
                Some(Outcome::Accepted(_)) => ruling.rule.unwrap_or(Rule::Accepted),
                Some(_) => Rule::Delivery,
                None => ruling.rule.unwrap_or(Rule::Storage),
            };
            let decided = Decided {
                stage: Stage::EndOfData,
                rule,
                verdict: &ruling.verdict,
                would: recipient.would.as_ref().or(ruling.would.as_ref()),
                delivered: outcome.map(|outcome| (outcome, self.delivery.route())),
            };
            let mut about = self.about(&recipient.forward_path, &recipient.domain);
            about.size_octets = Some(octets);
            self.record(peer, &about, facts, decided, durations);
        }
    }

    fn about<'a>(&'a self, rcpt_to: &'a str, domain: &'a str) -> About<'a> {
        About { mail_from: &self.reverse_path, rcpt_to, domain, size_octets: None }
    }

    fn record(
        &self,
        peer: &Peer,
        about: &About<'_>,
        facts: Option<&Facts>,
        decided: Decided<'_>,
        durations: Durations,
    ) {
        let speaker =
            Speaker { session_id: &peer.session_id, shard: self.shard.index, client: &peer.client, helo: &peer.helo };
        let known = Known {
            iprev: facts.map(|facts| &facts.iprev).or(peer.iprev.known()),
            spf: facts.map(|facts| &facts.spf).or(self.spf.known()),
            dkim: facts.map(|facts| facts.dkim.as_slice()),
            dmarc: facts.map(|facts| &facts.dmarc),
        };
        let session = mx6_runtime::now_ms() - peer.accepted_at_ms;
        let durations = Durations { session, ..durations };
        self.shard.recorder.borrow_mut().record(record::decision(&speaker, about, &known, decided, durations));
    }
}

fn start_spf(shard: &Rc<Shard>, peer: &Peer, identity: Option<(String, String)>) -> Pending<Spf> {
    let auth = shard.auth.clone();
    let (address, helo) = (peer.client.address(), peer.helo.clone());
    Pending::start("SPF", async move {
        let reverse_path = identity.as_ref().map(|(local_part, domain)| (local_part.as_str(), domain.as_str()));
        auth.spf(address, &helo, reverse_path, false).await
    })
}

const MEMORY_USED_UP: Reply = Reply::fixed(452, EnhancedCode(4, 3, 1), "Insufficient system storage, try again later.");
const LOCAL_ERROR: Reply = Reply::fixed(451, EnhancedCode(4, 3, 0), "Local error in processing, try again later.");
