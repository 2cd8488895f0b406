//! What would be answered now, beside what was answered then.

use mx6_dkim::Cause;
use mx6_policy::facts::{Facts, MethodResult, PtrState};
use mx6_policy::{Client, EndOfData, RecipientClass, Rule, Ruling, Stage};
use mx6_smtp::{MessageFault, Reply, Verdict};
use serde_json::Value;

use super::conversation::{Message, Recipient, Transaction};
use super::then::{Said, Then};
use crate::explain::advice::Advice;
use crate::explain::pipeline::{About, Pipeline};
use crate::refusal::Refused;

/// A transaction, judged.
pub(super) struct Judged {
    pub(super) transaction: Transaction,
    /// One for each recipient; without any the one to MAIL, if that was refused.
    pub(super) answers: Vec<Compared>,
    pub(super) advice: Vec<Advice>,
}

/// One recipient's answers.
pub(super) struct Compared {
    /// None: MAIL itself.
    pub(super) recipient: Option<String>,
    pub(super) then: Answer,
    pub(super) now: Answer,
    pub(super) class: Option<RecipientClass>,
    pub(super) likeness: Likeness,
}

/// The last word on a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// `mail`, `rcpt`, `data` or `end-of-data`.
    pub(super) stage: &'static str,
    pub(super) rule: Option<String>,
    /// None where none is known.
    pub(super) reply: Option<String>,
    /// On trial: what it would be if the rules were enforced.
    pub(super) would: Option<String>,
    /// Of then: whose DKIM signature passed.
    pub(super) signer: Option<String>,
}

impl Answer {
    /// The reply without the session and the page behind it, which are no other answer when they change.
    fn words(&self) -> Option<&str> {
        let reply = self.reply.as_deref()?;
        Some(reply.split_once(" (session ").map_or(reply, |(words, _)| words))
    }

    fn is_positive(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.starts_with('2'))
    }
}

/// How then and now compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    Differs,
    /// Cannot be told, and why.
    Open(String),
}

impl Likeness {
    fn of(then: &Answer, now: &Answer, unknown: Option<String>) -> Likeness {
        if then.reply.is_none() {
            return Likeness::Open("what was answered then is not in the transcript".to_owned());
        }
        if let Some(unknown) = unknown {
            let then =
                then.signer.as_ref().map_or_else(String::new, |signer| format!("; then one of {signer} counted"));
            return Likeness::Open(unknown + &then);
        }
        match (then.is_positive(), now.is_positive()) {
            (true, true) if then.would == now.would => Likeness::Same,
            (false, false) if then.words() == now.words() => Likeness::Same,
            (false, true) => match then.rule.as_deref().filter(|rule| !is_asked(rule)) {
                Some(rule) => Likeness::Open(format!("{rule} decided then, which is not asked now")),
                None => Likeness::Differs,
            },
            _ => Likeness::Differs,
        }
    }
}

/// Whether a rule needs nothing but the session and DNS.
fn is_asked(rule: &str) -> bool {
    use Rule::{
        BareCrOrLf, Chunks, HeaderSize, MailLoop, MessageSize, MixedDomains, MixedModes, NotOptedIn, NotServedHere,
        ReverseDns, ReverseDnsTempFail, SpfOrDkim, SpfOrDkimTempFail,
    };
    let asked = [
        NotServedHere,
        NotOptedIn,
        ReverseDns,
        ReverseDnsTempFail,
        SpfOrDkim,
        SpfOrDkimTempFail,
        MixedModes,
        MixedDomains,
        BareCrOrLf,
        MessageSize,
        HeaderSize,
        Chunks,
        MailLoop,
    ];
    asked.iter().any(|asked| asked.name() == rule)
}

/// What the gate says to a recipient at RCPT: how the rules treat it, and what objects on trial; or what refuses it.
type AtRcpt = Result<(RecipientClass, Option<(Rule, Reply)>), (Rule, Reply)>;

/// Judges transactions of one session.
pub(super) struct Judge<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) client: Client,
    pub(super) session_id: &'a str,
}

impl Judge<'_> {
    pub(super) async fn judge(&self, mut transaction: Transaction, then: &mut Then) -> Judged {
        count_what_is_missing(&mut transaction, then);
        let mut answers = Vec::new();
        let mut objections: Vec<(Vec<Rule>, String)> = Vec::new();
        let mut first: Option<(String, RecipientClass)> = None;
        let too_large = self.declared_too_large(&transaction);
        if transaction.envelope.mail_then.as_ref().is_some_and(|said| !said.is_positive()) {
            answers.push(at_mail(&transaction, too_large.as_ref(), then));
        }
        for recipient in &transaction.envelope.recipients {
            let at_rcpt = match &too_large {
                Some(reply) => Err((Rule::MessageSize, reply.clone())),
                None => self.at_rcpt(recipient, &transaction.facts, first.as_ref()),
            };
            if let Ok((class, _)) = &at_rcpt {
                first.get_or_insert((recipient.domain.clone().unwrap_or_default(), *class));
            }
            let first_class = first.as_ref().map_or(RecipientClass::Enforced, |(_, class)| *class);
            let rules = self.objections(&transaction, recipient, &at_rcpt, first_class);
            if !rules.0.is_empty() && !objections.contains(&rules) {
                objections.push(rules);
            }
            answers.push(self.compared(&transaction, recipient, at_rcpt, first_class, then));
        }
        let mut advice: Vec<Advice> = Vec::new();
        for (rules, domain) in &objections {
            for next in self.advice(&transaction, rules, domain).await {
                if !advice.contains(&next) {
                    advice.push(next);
                }
            }
        }
        Judged { transaction, answers, advice }
    }

    /// `SIZE=` over what is taken now.
    fn declared_too_large(&self, transaction: &Transaction) -> Option<Reply> {
        let limit = self.pipeline.size_limit;
        let size = transaction.envelope.size.filter(|size| limit > 0 && *size > limit);
        size.map(|_| MessageFault::TooLarge.reply())
    }

    /// In the order of the gate: served here → opted in → one domain → reverse DNS → one class.
    fn at_rcpt(&self, recipient: &Recipient, facts: &Facts, first: Option<&(String, RecipientClass)>) -> AtRcpt {
        let (gate, domain) = (&self.pipeline.gate, recipient.domain.as_deref());
        let class =
            gate.recipient(&self.client, domain).or_else(|ruling| enforced(ruling).map(|_| RecipientClass::Exempt))?;
        if let Some((first, _)) = first {
            enforced(gate.joining(first, domain.unwrap_or_default()))?;
        }
        if class == RecipientClass::Exempt {
            return Ok((class, None));
        }
        let would = enforced(gate.reverse_dns(&self.client, class, self.reverse_dns_state(facts)))?;
        if let Some((_, first)) = first.filter(|(_, first)| *first != class) {
            enforced(gate.mixing(*first, class, facts.spf.result == MethodResult::Pass))?;
        }
        Ok((class, would))
    }

    fn reverse_dns_state(&self, facts: &Facts) -> PtrState {
        self.pipeline.gate.reverse_dns_state(&facts.iprev)
    }

    fn end_of_data(&self, transaction: &Transaction, class: RecipientClass) -> Ruling {
        let message = transaction.message.clone().unwrap_or_default();
        let end_of_data = EndOfData {
            fault: self.fault(&message),
            received_fields: transaction.received_fields,
            facts: Some(&transaction.facts),
        };
        self.pipeline.gate.end_of_data(&self.client, class, &end_of_data)
    }

    /// What is wrong with the message whatever the rules say, by the limits of now.
    fn fault(&self, message: &Message) -> Option<MessageFault> {
        let limit = self.pipeline.size_limit;
        // Where octets were left out by DATA, the final dot is among them.
        let octets = message.octets + message.left_out.saturating_sub(FINAL_DOT_OCTETS);
        match message.fault {
            Some(MessageFault::BareCrOrLf) if message.left_out > 0 => None,
            None if limit > 0 && octets > limit => Some(MessageFault::TooLarge),
            fault => fault,
        }
    }

    fn compared(
        &self,
        transaction: &Transaction,
        recipient: &Recipient,
        at_rcpt: AtRcpt,
        first_class: RecipientClass,
        then: &mut Then,
    ) -> Compared {
        let answered = answered_then(transaction, recipient, then);
        let class = at_rcpt.as_ref().ok().map(|(class, _)| *class);
        let (now, unknown) = match at_rcpt {
            // Only MAIL says of a message that does not exist yet that it is too large.
            Err((Rule::MessageSize, reply)) => (refused(Stage::Mail, Rule::MessageSize, &reply), None),
            Err((rule, reply)) => (refused(Stage::Rcpt, rule, &self.signed(rule, reply)), None),
            Ok((_, would)) => self.after_rcpt(transaction, would, first_class),
        };
        let likeness = Likeness::of(&answered, &now, unknown);
        Compared { recipient: Some(recipient.path.clone()), then: answered, now, class, likeness }
    }

    /// The answer to a recipient that was not refused, and why that may be another.
    fn after_rcpt(
        &self,
        transaction: &Transaction,
        would: Option<(Rule, Reply)>,
        class: RecipientClass,
    ) -> (Answer, Option<String>) {
        let Some(message) = transaction.message.as_ref().filter(|message| message.has_ended) else {
            return (accepted(Stage::Rcpt, "250 2.1.5 OK", would), None);
        };
        let ruling = self.end_of_data(transaction, class);
        // On trial the first objection is the one that is told.
        let by_signatures = would.is_none() && matches!(ruling.rule, Some(Rule::SpfOrDkim | Rule::SpfOrDkimTempFail));
        let unknown = (by_signatures && !signatures_are_known(transaction)).then(|| {
            let left_out = message.left_out;
            format!("{left_out} octets of the message are not in the transcript, and a DKIM signature that counts would change it")
        });
        let would = would.or_else(|| ruling.rule.zip(ruling.would.clone()));
        match (ruling.verdict, ruling.rule) {
            (Verdict::Defer(reply) | Verdict::Reject(reply), rule) => {
                let rule = rule.unwrap_or(Rule::Storage);
                (refused(Stage::EndOfData, rule, &self.signed(rule, reply)), unknown)
            }
            (Verdict::Accept, _) => (accepted(Stage::EndOfData, "250 2.0.0 OK", would), unknown),
        }
    }

    /// The reply as this session would hear it.
    fn signed(&self, rule: Rule, reply: Reply) -> Reply {
        let Judge { pipeline, client, session_id } = self;
        Refused { session_id, client, url: pipeline.reply_url.as_ref() }.signed(rule, reply)
    }

    /// The rules that object, and the domain where it is the recipient that they object to.
    fn objections(
        &self,
        transaction: &Transaction,
        recipient: &Recipient,
        at_rcpt: &AtRcpt,
        class: RecipientClass,
    ) -> (Vec<Rule>, String) {
        let of_sender = |rule: Rule| matches!(rule, Rule::ReverseDns | Rule::ReverseDnsTempFail);
        match at_rcpt {
            Err((rule, _)) if !of_sender(*rule) => (vec![*rule], recipient.domain.clone().unwrap_or_default()),
            Ok((RecipientClass::Exempt, _)) => {
                let rule = self.end_of_data(transaction, RecipientClass::Exempt).rule;
                (rule.into_iter().collect(), String::new())
            }
            _ => {
                let state = self.reverse_dns_state(&transaction.facts);
                let reverse_dns = self.pipeline.gate.reverse_dns(&self.client, RecipientClass::Enforced, state);
                let end_of_data = self.end_of_data(transaction, class);
                ([reverse_dns.rule, end_of_data.rule].into_iter().flatten().collect(), String::new())
            }
        }
    }

    async fn advice(&self, transaction: &Transaction, rules: &[Rule], domain: &str) -> Vec<Advice> {
        let about = About {
            rules,
            facts: &transaction.facts,
            helo: &transaction.envelope.helo,
            reverse_path: transaction.envelope.reverse_path.as_ref(),
            author: transaction.author.as_deref(),
            domain,
            signatures_are_known: signatures_are_known(transaction),
        };
        self.pipeline.advice(&about).await
    }
}

/// A trace that missed some of a message's octets does not tell where; the records tell how many there were.
fn count_what_is_missing(transaction: &mut Transaction, then: &Then) {
    let Transaction { envelope, message: Some(message), .. } = transaction else { return };
    if !message.is_whole() {
        return;
    }
    let octets = envelope.recipients.iter().find_map(|it| then.message_octets(&envelope.mail_from, &it.path));
    message.left_out = octets.map_or(0, |octets| octets.saturating_sub(message.octets));
    message.header_is_whole &= message.left_out == 0;
}

/// Whether the octets that are there tell what every signature comes to.
pub(super) fn signatures_are_known(transaction: &Transaction) -> bool {
    let Some(message) = &transaction.message else { return false };
    let needs_body =
        |reason: &str| [Cause::BodyHashMismatch, Cause::LengthBeyondBody].iter().any(|it| it.reason() == reason);
    message.is_whole() || message.header_is_whole && !transaction.facts.dkim.iter().any(|dkim| needs_body(&dkim.reason))
}

/// The last word of then on a recipient.
fn answered_then(transaction: &Transaction, recipient: &Recipient, then: &mut Then) -> Answer {
    let is_refused = |said: &Said| !said.is_positive();
    let ended = transaction.message.as_ref().filter(|message| message.has_ended);
    let (stage, said) = match (&recipient.then, ended, &transaction.envelope.data_then) {
        (Some(said), ..) if is_refused(said) => ("rcpt", Some(said)),
        (_, Some(message), _) => ("end-of-data", message.then.as_ref()),
        (_, None, Some(said)) => ("data", Some(said)),
        (said, None, None) => ("rcpt", said.as_ref()),
    };
    let record = then.take_decision(
        &transaction.envelope.mail_from,
        &recipient.path,
        if stage == "data" { "rcpt" } else { stage },
    );
    answer(stage, said, record.as_ref())
}

fn answer(stage: &'static str, said: Option<&Said>, record: Option<&Value>) -> Answer {
    let field = |name: &str| record.and_then(|record| record[name].as_str()).map(str::to_owned);
    let signatures = record.and_then(|record| record["dkim"].as_array()).into_iter().flatten();
    let signer = signatures.filter(|dkim| dkim["result"] == "pass").find_map(|dkim| dkim["domain"].as_str());
    let (rule, would, signer) = (field("rule"), field("would"), signer.map(str::to_owned));
    Answer { stage, rule, reply: said.map(Said::text), would, signer }
}

fn at_mail(transaction: &Transaction, too_large: Option<&Reply>, then: &mut Then) -> Compared {
    let record = then.take_decision(&transaction.envelope.mail_from, "", "mail");
    let then = answer("mail", transaction.envelope.mail_then.as_ref(), record.as_ref());
    let now = match too_large {
        Some(reply) => refused(Stage::Mail, Rule::MessageSize, reply),
        None => accepted(Stage::Mail, "250 2.1.0 OK", None),
    };
    let likeness = Likeness::of(&then, &now, None);
    Compared { recipient: None, then, now, class: None, likeness }
}

fn refused(stage: Stage, rule: Rule, reply: &Reply) -> Answer {
    let (rule, reply) = (Some(rule.name().to_owned()), Some(reply.to_string()));
    Answer { stage: stage.name(), rule, reply, would: None, signer: None }
}

fn accepted(stage: Stage, reply: &str, would: Option<(Rule, Reply)>) -> Answer {
    let rule = would.as_ref().map_or(Rule::Accepted, |(rule, _)| *rule);
    let (rule, reply) = (Some(rule.name().to_owned()), Some(reply.to_owned()));
    Answer { stage: stage.name(), rule, reply, would: would.map(|(_, reply)| reply.to_string()), signer: None }
}

/// On trial an objection lets pass.
fn enforced(ruling: Ruling) -> Result<Option<(Rule, Reply)>, (Rule, Reply)> {
    match (ruling.verdict, ruling.rule) {
        (Verdict::Accept, rule) => Ok(rule.zip(ruling.would)),
        (Verdict::Defer(reply) | Verdict::Reject(reply), rule) => Err((rule.unwrap_or(Rule::Storage), reply)),
    }
}

/// `.` CR LF.
const FINAL_DOT_OCTETS: u64 = 3;
