//! One message through session, evaluation and rules, in the order of the gate but to the end.

use std::rc::Rc;
use std::sync::Arc;

use mx6_dkim::Kernels;
use mx6_message_auth::MessageAuth;
use mx6_policy::facts::{Facts, Spf};
use mx6_policy::{Client, DomainMode, EndOfData, Gate, RecipientClass, Rule, Ruling, Stage};
use mx6_smtp::{ForwardPath, MessageFault, Notice, ReversePath, Session, SessionConfig, Step, Verdict};
use mx6_telemetry::Counters;

use super::advice::{Advice, Case, advise};
use super::{ExplainError, Explanation, Question};
use crate::config::{NameSource, ReplyUrl};
use crate::dkim_batch::{DkimBatch, DkimBatchLimits};
use crate::evaluation::Evaluation;
use crate::pending::Pending;
use crate::transaction::served_form;

/// The gate without its sockets.
pub(super) struct Pipeline {
    pub(super) gate: Gate,
    pub(super) client: Client,
    pub(super) auth: MessageAuth,
    pub(super) size_limit: u64,
    pub(super) names: NameSource,
    pub(super) reply_url: Option<ReplyUrl>,
}

/// What the session asked about, kept until all of it is known.
struct Asked {
    spf: Pending<Spf>,
    /// Local part and domain; none for the null reverse-path.
    reverse_path: Option<(String, String)>,
    domain: Option<String>,
    fault: Option<MessageFault>,
    evaluation: Evaluation,
}

impl Asked {
    fn end_of_data<'a>(&self, facts: &'a Facts) -> EndOfData<'a> {
        EndOfData { fault: self.fault, received_fields: self.evaluation.received_fields(), facts: Some(facts) }
    }
}

/// What there is to say something about.
pub(super) struct About<'a> {
    /// Every rule that objects, in the order of the gate.
    pub(super) rules: &'a [Rule],
    pub(super) facts: &'a Facts,
    pub(super) helo: &'a str,
    /// Local part and domain; none for the null reverse-path.
    pub(super) reverse_path: Option<&'a (String, String)>,
    /// The domain of the From field, if there is exactly one.
    pub(super) author: Option<&'a str>,
    /// The recipient's.
    pub(super) domain: &'a str,
    /// Whether the signatures in `facts` are those of the message.
    pub(super) signatures_are_known: bool,
}

impl Pipeline {
    pub(super) async fn run(mut self, question: &Question) -> Result<Explanation, ExplainError> {
        let batch = DkimBatch::new(DkimBatchLimits::default(), Kernels::PORTABLE, Counters::default());
        let mut asked = self.converse(question, &batch).await?;
        let mut iprev = Pending::known_at_once(self.auth.iprev(self.client.address()).await);
        let address = self.client.address();
        let facts = asked.evaluation.facts(&self.auth, address, &mut iprev, &mut asked.spf, &batch).await;
        let facts = facts.ok_or(ExplainError::Lost)?;
        if let (true, Some(domain)) = (self.gate.directory.is_empty(), &asked.domain) {
            // A literal or other name that no directory holds stays unserved.
            let _ = self.gate.directory.insert(domain, DomainMode::Accept);
        }
        let (class, stage, ruling) = self.judge(&asked, &facts);
        let rule = ruling.rule.unwrap_or(Rule::Accepted);
        let about = About {
            rules: &self.objections(&asked, class, &facts),
            facts: &facts,
            helo: &question.helo,
            reverse_path: asked.reverse_path.as_ref(),
            author: asked.evaluation.author_domain(),
            domain: asked.domain.as_deref().unwrap_or_default(),
            signatures_are_known: true,
        };
        let advice = self.advice(&about).await;
        let (verdict, would, names) = (ruling.verdict, ruling.would, self.names);
        Ok(Explanation { facts, stage, rule, verdict, would, class, names, advice })
    }

    /// What the sender should do about everything that is objected to, not only about what is objected to first: so that the next attempt is the last.
    pub(super) async fn advice(&self, about: &About<'_>) -> Vec<Advice> {
        let &About { rules, facts, helo, reverse_path, author, domain, signatures_are_known } = about;
        let case = Case {
            rules,
            facts,
            helo,
            reverse_path: reverse_path.map(|(local_part, domain)| (local_part.as_str(), domain.as_str())),
            author,
            domain,
            signatures_are_known,
            size_limit: self.size_limit,
            ptr: self.gate.ptr,
            ptr_state: self.gate.reverse_dns_state(&facts.iprev),
            auth: &self.auth,
            names: &self.names,
        };
        advise(&case).await
    }

    /// Every rule that objects: to the recipient alone, else to the client and to the message.
    fn objections(&self, asked: &Asked, class: Option<RecipientClass>, facts: &Facts) -> Vec<Rule> {
        let Some(class) = class else {
            let refused = self.gate.recipient(&self.client, asked.domain.as_deref()).err();
            return refused.and_then(|ruling| ruling.rule).into_iter().collect();
        };
        let reverse_dns = self.gate.reverse_dns(&self.client, class, self.gate.reverse_dns_state(&facts.iprev));
        let end_of_data = self.gate.end_of_data(&self.client, class, &asked.end_of_data(facts));
        [reverse_dns.rule, end_of_data.rule].into_iter().flatten().collect()
    }

    /// The rules in their order; the first objection is the answer.
    fn judge(&self, asked: &Asked, facts: &Facts) -> (Option<RecipientClass>, Stage, Ruling) {
        let class = match self.gate.recipient(&self.client, asked.domain.as_deref()) {
            Ok(class) => class,
            Err(ruling) => return (None, Stage::Rcpt, ruling),
        };
        let reverse_dns = self.gate.reverse_dns(&self.client, class, self.gate.reverse_dns_state(&facts.iprev));
        if reverse_dns.verdict != Verdict::Accept {
            return (Some(class), Stage::Rcpt, reverse_dns);
        }
        let end_of_data = self.gate.end_of_data(&self.client, class, &asked.end_of_data(facts));
        if reverse_dns.would.is_some() && end_of_data.verdict == Verdict::Accept {
            return (Some(class), Stage::Rcpt, reverse_dns);
        }
        (Some(class), Stage::EndOfData, end_of_data)
    }

    async fn converse(&self, question: &Question, batch: &Rc<DkimBatch>) -> Result<Asked, ExplainError> {
        let config = SessionConfig { size_limit: self.size_limit, smtp_utf8: true, ..SessionConfig::default() };
        let mut session = Session::new(Arc::new(config), 0);
        let octets = conversation(question);
        let mut input = octets.as_slice();
        let (mut spf, mut domain, mut sender) = (None, None, None);
        let (mut evaluation, mut in_body) = (Evaluation::new(batch), false);
        loop {
            let (taken, step) = session.step(0, input);
            input = &input[taken..];
            match step {
                Step::NeedInput | Step::StartTls | Step::Close => {
                    return Err(ExplainError::Session(last_reply(session.output())));
                }
                Step::Output => session.output_written(session.output().len()),
                Step::Octets(octets) if in_body => {
                    if !evaluation.body_octets(octets, batch).await {
                        return Err(ExplainError::Lost);
                    }
                }
                Step::Octets(octets) => evaluation.header_octets(octets),
                Step::Notice(Notice::HeaderComplete) => {
                    in_body = true;
                    evaluation.header_complete(&self.auth, &Counters::default());
                }
                Step::Notice(Notice::TransactionReset | Notice::EarlyTalker) => {}
                Step::Question(asked) => {
                    match asked {
                        mx6_smtp::Question::Mail { reverse_path, .. } => {
                            sender = identity_of(&reverse_path);
                            spf = Some(Pending::known_at_once(self.spf(&question.helo, sender.as_ref()).await));
                        }
                        mx6_smtp::Question::Rcpt { forward_path: ForwardPath::Mailbox(mailbox), .. } => {
                            domain = Some(served_form(mailbox.domain.as_str()));
                        }
                        mx6_smtp::Question::EndOfData { fault } => {
                            let spf = spf.ok_or(ExplainError::Lost)?;
                            return Ok(Asked { spf, reverse_path: sender, domain, fault, evaluation });
                        }
                        _ => {}
                    }
                    session.verdict(0, Verdict::Accept);
                }
            }
        }
    }

    async fn spf(&self, helo: &str, reverse_path: Option<&(String, String)>) -> Spf {
        let identity = reverse_path.map(|(local_part, domain)| (local_part.as_str(), domain.as_str()));
        self.auth.spf(self.client.address(), helo, identity, true).await
    }
}

/// Local part and domain of a reverse-path; none of the null one.
pub(super) fn identity_of(reverse_path: &ReversePath<'_>) -> Option<(String, String)> {
    match reverse_path {
        ReversePath::Null => None,
        ReversePath::Mailbox(mailbox) => Some((mailbox.local_part.to_owned(), mailbox.domain.as_str().to_owned())),
    }
}

/// What the client would send.
fn conversation(question: &Question) -> Vec<u8> {
    let Question { helo, mail_from, rcpt_to, message, .. } = question;
    let smtp_utf8 = if mail_from.is_ascii() && rcpt_to.is_ascii() { "" } else { " SMTPUTF8" };
    let mut octets =
        format!("EHLO {helo}\r\nMAIL FROM:<{mail_from}>{smtp_utf8}\r\nRCPT TO:<{rcpt_to}>\r\nDATA\r\n").into_bytes();
    // A file with LF line ends throughout stands for the message with CRLF; mixed line ends are left for the framing to judge.
    let unix = !message.contains(&b'\r');
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            octets.push(b'.');
        }
        match line.strip_suffix(b"\n").filter(|_| unix) {
            Some(line) => {
                octets.extend_from_slice(line);
                octets.extend_from_slice(b"\r\n");
            }
            None => octets.extend_from_slice(line),
        }
    }
    if !octets.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b".\r\n");
    octets
}

fn last_reply(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.trim_end().lines().next_back().unwrap_or("(nothing)").to_owned()
}
