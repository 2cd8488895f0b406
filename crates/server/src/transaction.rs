//! One mail transaction: envelope, message, verdict, delivery, records.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;
use mx6_delivery::{NextHopClient, Sender};
use mx6_message_auth::{Protocol, ReceivedParts, TlsFacts};
use mx6_policy::facts::{Facts, MethodResult, Spf};
use mx6_policy::{EndOfData, RECEIVED_FIELDS_MAX, RecipientClass, Rule, Ruling, Stage, a_labels};
use mx6_runtime::Deadline;
use mx6_smtp::{ForwardPath, MessageFault, Outcome, RcptDsn, ReversePath, Verdict};
use mx6_telemetry::{Counter, Durations, Timing};

use crate::admission;
use crate::evaluation::unix_s;
use crate::limits;
use crate::message::{LOCAL_ERROR, Message, Objection};
use crate::message_id::MessageId;
use crate::origin;
use crate::peer::Peer;
use crate::pending::Pending;
use crate::phase::Phase;
use crate::record::{self, About, Decided, Known, Speaker};
use crate::refusal::Refused;
use crate::settings::Settings;
use crate::shard::Shard;

/// An answer for the session.
pub(crate) enum Answer {
    Verdict(Verdict),
    Outcome(Outcome),
}

/// From MAIL to the reply after the final dot, or to RSET.
pub(crate) struct Transaction {
    shard: Rc<Shard>,
    /// Those that held at MAIL.
    settings: Rc<Settings>,
    reverse_path: String,
    spf: Pending<Spf>,
    size: Option<u64>,
    smtp_utf8: bool,
    delivery: mx6_delivery::Transaction,
    /// The body stalled, the next-hop connection was given back.
    released: bool,
    recipients: Vec<Recipient>,
    message: Option<Message>,
}

struct Recipient {
    forward_path: String,
    domain: String,
    class: RecipientClass,
    /// On trial: the objection at RCPT that was not enforced.
    would: Option<Objection>,
    /// What the next hop took to answer, in microseconds.
    relay_us: u64,
}

impl Transaction {
    /// MAIL: starts SPF. Refused while the memory budget is used up; nothing is booked before DATA, or idle clients could book it all.
    pub(crate) fn begin(
        shard: &Rc<Shard>,
        peer: &Peer,
        reverse_path: &ReversePath<'_>,
        sender: Sender,
    ) -> Result<Transaction, Verdict> {
        let settings = shard.settings();
        let refused = admission::refused(&settings, &peer.session_id, &peer.client);
        Message::reserve(shard, peer).map_err(|reply| Verdict::Defer(refused.signed(Rule::MemoryBudget, reply)))?;
        let identity = match reverse_path {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some((mailbox.local_part.to_owned(), mailbox.domain.as_str().to_owned())),
        };
        admission::mail(shard, &settings, peer, &sender.reverse_path)?;
        let spf = start_spf(shard, peer, identity);
        Ok(Transaction {
            shard: Rc::clone(shard),
            reverse_path: sender.reverse_path.clone(),
            spf,
            size: sender.size,
            smtp_utf8: sender.smtp_utf8,
            delivery: settings.delivery.begin(sender),
            settings,
            released: false,
            recipients: Vec::new(),
            message: None,
        })
    }

    /// RCPT: served here → opted in → reverse DNS → next hop.
    pub(crate) async fn rcpt(&mut self, peer: &mut Peer, forward_path: &ForwardPath<'_>, dsn: &RcptDsn<'_>) -> Answer {
        let (path, domain) = match forward_path {
            ForwardPath::Postmaster => ("postmaster".to_owned(), None),
            ForwardPath::Mailbox(mailbox) => (mailbox.to_string(), Some(served_form(mailbox.domain.as_str()))),
        };
        match self.judge_recipient(peer, domain.as_deref()).await {
            Ok((class, would)) => {
                let domain = domain.unwrap_or_default();
                let recipient = Recipient { forward_path: path, domain, class, would, relay_us: 0 };
                self.relay_recipient(peer, recipient, dsn).await
            }
            Err((rule, verdict)) => {
                self.shard.counters.add_one(Counter::RecipientsRefused);
                let verdict = self.refused(peer).verdict(rule, verdict);
                let decided =
                    Decided { stage: Stage::Rcpt, rule, verdict: Some(&verdict), would: None, delivered: None };
                let mail_from = &self.reverse_path;
                let domain = domain.as_deref().unwrap_or_default();
                let about = About {
                    mail_from,
                    rcpt_to: &path,
                    domain,
                    class: None,
                    message_id: None,
                    size_octets: None,
                    own_outcome: None,
                };
                self.record(peer, &about, None, decided, Durations::default());
                Answer::Verdict(verdict)
            }
        }
    }

    async fn judge_recipient(
        &mut self,
        peer: &mut Peer,
        domain: Option<&str>,
    ) -> Result<(RecipientClass, Option<Objection>), (Rule, Verdict)> {
        let settings = Rc::clone(&self.settings);
        admission::recipient(&self.shard, &settings, &peer.client)?;
        let gate = &settings.config.gate;
        let enforce = |ruling: Ruling| match (ruling.verdict, ruling.rule) {
            (Verdict::Accept, rule) => Ok(rule.zip(ruling.would)),
            (verdict, rule) => Err((rule.unwrap_or(Rule::Storage), verdict)),
        };
        let class = match gate.recipient(&peer.client, domain) {
            Ok(class) => class,
            Err(ruling) => return enforce(ruling).map(|would| (RecipientClass::Exempt, would)),
        };
        if let Some(first) = self.recipients.first() {
            enforce(gate.joining(&first.domain, domain.unwrap_or_default()))?;
        }
        if class == RecipientClass::Exempt {
            return Ok((class, None));
        }
        let Some(state) = peer.reverse_dns_state(gate).await else {
            return Err((Rule::Storage, Verdict::Defer(LOCAL_ERROR)));
        };
        let would = enforce(gate.reverse_dns(&peer.client, class, state))?;
        if let Some(first) = self.recipients.first().map(|first| first.class).filter(|first| *first != class) {
            let spf_passed = self.spf.get().await.is_some_and(|spf| spf.result == MethodResult::Pass);
            enforce(gate.mixing(first, class, spf_passed))?;
        }
        Ok((class, would))
    }

    async fn relay_recipient(&mut self, peer: &mut Peer, mut recipient: Recipient, dsn: &RcptDsn<'_>) -> Answer {
        let started_us = mx6_runtime::now_us();
        let told_by = self.settings.config.next_hop_client;
        if told_by != NextHopClient::None && self.recipients.is_empty() {
            self.delivery.introduce(origin::of(peer, told_by).await);
        }
        let waits = self.shard.load.next_hop_wait();
        let outcome = self.delivery.rcpt(&recipient.forward_path, dsn.notify, dsn.orcpt).await;
        drop(waits);
        recipient.relay_us = mx6_runtime::now_us() - started_us;
        self.shard.counters.time(Timing::Rcpt, recipient.relay_us);
        self.released = false;
        if outcome.reply().is_positive() {
            self.shard.counters.add_one(Counter::RecipientsAccepted);
            if recipient.would.is_some() {
                self.shard.counters.add_one(Counter::WouldRefuse);
            }
            self.recipients.push(recipient);
        } else {
            self.shard.counters.add_one(Counter::RecipientsRefused);
            let durations = Durations { rcpt: recipient.relay_us / 1000, ..Durations::default() };
            let decided = Decided {
                stage: Stage::Rcpt,
                rule: Rule::Delivery,
                verdict: Some(&Verdict::Accept),
                would: recipient.would.as_ref(),
                delivered: Some((&outcome, self.delivery.route())),
            };
            self.record(peer, &self.about(&recipient), None, decided, durations);
        }
        Answer::Outcome(outcome)
    }

    /// DATA: octets may come if there is memory to begin with.
    pub(crate) fn data(&mut self, peer: &Peer) -> Verdict {
        match Message::begin(&self.shard, peer, self.size) {
            Ok(message) => {
                self.message = Some(message);
                Verdict::Accept
            }
            Err(reply) => Verdict::Defer(self.refused(peer).signed(Rule::MemoryBudget, reply)),
        }
    }

    /// The message that is arriving, from DATA to its end.
    pub(crate) fn message(&mut self) -> Option<&mut Message> {
        self.message.as_mut()
    }

    /// Whether a next-hop connection is held for this transaction.
    pub(crate) fn holds_next_hop(&self) -> bool {
        !self.released && self.delivery.route().next_hop.is_some()
    }

    /// The body stalls: others may use the next-hop connection meanwhile.
    pub(crate) fn release_next_hop(&mut self) {
        self.shard.counters.add_one(Counter::NextHopReleased);
        self.released = true;
        self.delivery.release();
    }

    /// The transaction ends before its message was complete: RSET, a new EHLO, or the client is gone.
    pub(crate) fn abandon(self, peer: &Peer) {
        for recipient in &self.recipients {
            let rule = Rule::Abandoned;
            let would = recipient.would.as_ref();
            let decided = Decided { stage: Stage::Rcpt, rule, verdict: None, would, delivered: None };
            let durations = Durations { rcpt: recipient.relay_us / 1000, ..Durations::default() };
            self.record(peer, &self.about(recipient), None, decided, durations);
        }
        self.delivery.abandon();
    }

    /// The true end of the message: verdict, and if that is accept, delivery.
    pub(crate) async fn end_of_data(mut self, peer: &mut Peer, fault: Option<MessageFault>) -> Answer {
        let dot_us = mx6_runtime::now_us();
        let deadline = Deadline::after(limits::END_OF_DATA_TIMEOUT);
        let Some(mut message) = self.message.take() else { return Answer::Verdict(Verdict::Defer(LOCAL_ERROR)) };
        self.shard.counters.add(Counter::MessageOctets, message.octets());

        let (mut ruling, facts) = self.judge_message(peer, &mut message, fault).await;
        if ruling.verdict == Verdict::Accept && self.shard.phases.now() == Phase::CutOff {
            // The shard would end in the middle of the delivery.
            ruling = Ruling { verdict: Verdict::Defer(LOCAL_ERROR), rule: Some(Rule::Storage), would: None };
        }
        let (settings, recipients) = (&self.settings, self.recipients.len());
        let charged = admission::message(&self.shard, settings, &peer.client, &mut ruling, facts.as_ref(), recipients);
        ruling.verdict = self.refused(peer).verdict(ruling.rule.unwrap_or(Rule::Storage), ruling.verdict);
        let verdict_us = mx6_runtime::now_us();
        self.shard.counters.time(Timing::Verdict, verdict_us - dot_us);
        if ruling.would.is_some() {
            self.shard.counters.add_one(Counter::WouldRefuse);
        }
        let mut durations = Durations {
            iprev: peer.iprev.elapsed_ms(),
            spf: self.spf.elapsed_ms(),
            dkim: message.evaluation.keys_elapsed_ms(),
            verdict: (verdict_us - dot_us) / 1000,
            ..Durations::default()
        };
        let octets = message.octets();
        let message_id = message.evaluation.message_id().and_then(MessageId::copy);
        let outcome = match (&ruling.verdict, &facts) {
            (Verdict::Accept, Some(facts)) => {
                let _delivering = self.shard.delivering();
                let outcome = self.deliver(peer, facts, &ruling, message, deadline).await;
                let delivery_us = mx6_runtime::now_us() - verdict_us;
                self.shard.counters.time(Timing::Delivery, delivery_us);
                durations.delivery = delivery_us / 1000;
                Some(outcome)
            }
            _ => None,
        };
        if let Some(charged) = charged.filter(|_| !self.may_be_taken(outcome.as_ref())) {
            admission::give_back(&self.shard, &self.settings, charged);
        }
        self.count(outcome.as_ref());
        let arrived = Arrived { octets, message_id };
        self.record_message(peer, facts.as_ref(), &ruling, outcome.as_ref(), &arrived, durations);
        match outcome {
            Some(outcome) => Answer::Outcome(outcome),
            None => {
                // The client does not wait for what the next hop says to that.
                self.delivery.abandon();
                Answer::Verdict(ruling.verdict)
            }
        }
    }

    /// The gate's ruling, and the facts unless something else decides alone. A ruling to accept always comes with facts.
    async fn judge_message(
        &mut self,
        peer: &mut Peer,
        message: &mut Message,
        fault: Option<MessageFault>,
    ) -> (Ruling, Option<Facts>) {
        let (shard, settings) = (Rc::clone(&self.shard), Rc::clone(&self.settings));
        let gate = &settings.config.gate;
        let received_fields = message.evaluation.received_fields();
        let class = self.recipients.first().map_or(RecipientClass::Enforced, |first| first.class);
        if fault.is_some() || received_fields > RECEIVED_FIELDS_MAX {
            let facts = EndOfData { fault, received_fields, facts: None };
            return (gate.end_of_data(&peer.client, class, &facts), None);
        }
        if let Some((rule, reply)) = message.take_trouble() {
            return (Ruling { verdict: Verdict::Defer(reply), rule: Some(rule), would: None }, None);
        }
        let address = peer.client.address();
        let facts = message.evaluation.facts(&peer.auth, address, &mut peer.iprev, &mut self.spf, &shard.batch).await;
        let Some(facts) = facts else {
            let verdict = Verdict::Defer(LOCAL_ERROR);
            return (Ruling { verdict, rule: Some(Rule::Storage), would: None }, None);
        };
        let known = EndOfData { fault, received_fields, facts: Some(&facts) };
        (gate.end_of_data(&peer.client, class, &known), Some(facts))
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
        let (message, _reserved) = message.into_delivery(added);
        // Nothing races this: neither the client's leaving nor a signal cuts a delivery short. A panic in it must not lose the record.
        let delivery = AssertUnwindSafe(self.delivery.deliver(&message, deadline)).catch_unwind();
        delivery.await.unwrap_or_else(|_| {
            mx6_telemetry::failure!("{}: delivery panicked, the outcome is unknown", peer.session_id);
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
            with: Protocol::of(peer.with_esmtp, peer.tls.is_some(), self.smtp_utf8),
            tls: peer.tls.as_ref().map(|tls| TlsFacts { version: tls.version, cipher: &tls.cipher }),
            session_id: &peer.session_id,
            recipient,
            unix_s: unix_s(),
        });
        added.extend(self.shard.auth.authentication_results(facts));
        let at_rcpt = self.recipients.iter().find_map(|recipient| recipient.would.clone());
        if let Some((rule, reply)) = at_rcpt.or_else(|| objection(ruling)) {
            let text = format!("would-refuse rule={} reply={reply}", rule.name());
            added.extend(mx6_message_auth::monitor_field(&text));
        }
        added
    }

    /// Whether anybody has got the message, or may have.
    fn may_be_taken(&self, outcome: Option<&Outcome>) -> bool {
        let is_taken = |outcome: &Outcome| !matches!(outcome, Outcome::Refused(_));
        let mut own_outcomes = (0..self.recipients.len()).filter_map(|number| self.delivery.recipient_outcome(number));
        outcome.is_some_and(|outcome| is_taken(outcome) || own_outcomes.any(is_taken))
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
        arrived: &Arrived,
        durations: Durations,
    ) {
        let at_end = objection(ruling);
        for (number, recipient) in self.recipients.iter().enumerate() {
            // On trial the first rule that objected gives the name.
            let would = recipient.would.as_ref().or(at_end.as_ref());
            let rule = match outcome {
                Some(Outcome::Accepted(_)) => would.map_or(Rule::Accepted, |(rule, _)| *rule),
                Some(_) => Rule::Delivery,
                None => ruling.rule.unwrap_or(Rule::Storage),
            };
            let decided = Decided {
                stage: Stage::EndOfData,
                rule,
                verdict: Some(&ruling.verdict),
                would,
                delivered: outcome.map(|outcome| (outcome, self.delivery.route())),
            };
            let own_outcome = outcome.and_then(|_| self.delivery.recipient_outcome(number));
            let (size_octets, message_id) = (Some(arrived.octets), arrived.message_id.as_ref());
            let about = About { message_id, size_octets, own_outcome, ..self.about(recipient) };
            self.record(peer, &about, facts, decided, Durations { rcpt: recipient.relay_us / 1000, ..durations });
        }
    }

    /// Whom a refusal is about.
    fn refused<'a>(&'a self, peer: &'a Peer) -> Refused<'a> {
        admission::refused(&self.settings, &peer.session_id, &peer.client)
    }

    fn about<'a>(&'a self, recipient: &'a Recipient) -> About<'a> {
        About {
            mail_from: &self.reverse_path,
            rcpt_to: &recipient.forward_path,
            domain: &recipient.domain,
            class: Some(recipient.class),
            message_id: None,
            size_octets: None,
            own_outcome: None,
        }
    }

    fn record(
        &self,
        peer: &Peer,
        about: &About<'_>,
        facts: Option<&Facts>,
        decided: Decided<'_>,
        durations: Durations,
    ) {
        let speaker = Speaker::new(peer, self.shard.index);
        let known = Known {
            iprev: facts.map(|facts| &facts.iprev).or(peer.iprev.known()),
            spf: facts.map(|facts| &facts.spf).or(self.spf.known()),
            dkim: facts.map(|facts| (facts.dkim.as_slice(), facts.dkim_cache)),
            dmarc: facts.map(|facts| &facts.dmarc),
        };
        let session = mx6_runtime::now_ms() - peer.accepted_at_ms;
        let durations = Durations { session, ..durations };
        record::write(&self.shard, &speaker, about, &known, &decided, durations);
    }
}

/// What is recorded of a message once its octets are gone.
struct Arrived {
    octets: u64,
    message_id: Option<MessageId>,
}

/// On trial: what the rule at the end of data objected to.
fn objection(ruling: &Ruling) -> Option<Objection> {
    ruling.rule.zip(ruling.would.clone())
}

/// A recipient's domain as the served ones are written. One without A-labels stays as it is, and is none that is served.
pub(crate) fn served_form(domain: &str) -> String {
    a_labels(domain).map_or_else(|_| domain.to_owned(), Cow::into_owned)
}

fn start_spf(shard: &Shard, peer: &Peer, identity: Option<(String, String)>) -> Pending<Spf> {
    let auth = peer.auth.clone();
    let (address, helo) = (peer.client.address(), peer.helo.clone());
    Pending::start("SPF", Some((&shard.counters, Timing::Spf)), async move {
        let reverse_path = identity.as_ref().map(|(local_part, domain)| (local_part.as_str(), domain.as_str()));
        auth.spf(address, &helo, reverse_path, false).await
    })
}
