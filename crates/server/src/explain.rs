//! `explain`: the same pipeline for a message in a file. Every fact is evaluated, whatever an earlier rule would already have decided.
//!
//! A real session is driven with the octets a client would send, so addresses, framing and limits are judged by the code that serves.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mx6_dkim::Kernels;
use mx6_dns::{Caches, Dns, DnsError};
use mx6_message_auth::{AuthConfig, MessageAuth, MessageAuthCaches, MessageAuthError};
use mx6_policy::facts::{CacheState, Facts, PtrState, Spf};
use mx6_policy::{Client, DomainMode, EndOfData, Gate, RecipientClass, Rule, Ruling, Stage};
use mx6_runtime::ShardError;
use mx6_smtp::{ForwardPath, MessageFault, Notice, Reply, ReversePath, Session, SessionConfig, Step, Verdict};
use mx6_telemetry::Counters;
use serde_json::json;

use crate::check::dns_config;
use crate::config::{ConfigError, NameSource, Options};
use crate::dkim_batch::{DkimBatch, DkimBatchLimits};
use crate::evaluation::Evaluation;
use crate::pending::Pending;
use crate::record::identity_word;
use crate::transaction::served_form;

/// One message and how it would come in.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client's address.
    pub client: IpAddr,
    /// Its HELO name.
    pub helo: String,
    /// The reverse-path without brackets; empty for the null one.
    pub mail_from: String,
    /// The forward-path without brackets.
    pub rcpt_to: String,
    /// The message. Line ends may be LF throughout, as files on Unix have them, or CRLF.
    pub message: Vec<u8>,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// An option.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Resolvers or zone file.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The checks cannot be set up.
    #[error(transparent)]
    MessageAuth(#[from] MessageAuthError),
    /// The executor.
    #[error(transparent)]
    Runtime(#[from] ShardError),
    /// The session would not get so far: a malformed address, say.
    #[error("the session would answer: {0}")]
    Session(String),
    /// Internal.
    #[error("a lookup was lost to a panic")]
    Lost,
}

impl ExplainError {
    /// The exit code, by sysexits.h: 78 for the configuration, 65 for the envelope or message, 70 for a fault of ours.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            ExplainError::Config(_) | ExplainError::Dns(_) => 78,
            ExplainError::Session(_) => 65,
            ExplainError::MessageAuth(_) | ExplainError::Runtime(_) | ExplainError::Lost => 70,
        }
    }
}

/// Every fact and what follows from it.
#[derive(Debug)]
pub struct Explanation {
    facts: Facts,
    stage: Stage,
    rule: Rule,
    verdict: Verdict,
    would: Option<Reply>,
    class: Option<RecipientClass>,
    names: NameSource,
}

/// Evaluates `question` under `options` (domains, mode, connectors, names; listeners and delivery are not used).
///
/// Without any domain in `options` the recipient's own is taken as served and opted in.
///
/// # Errors
/// If the options cannot be used, or the session would refuse the envelope.
pub fn explain(options: &Options, question: Question) -> Result<Explanation, ExplainError> {
    let gate = options.gate()?;
    let connectors = options.connectors()?;
    let names = options.name_source()?;
    let dns = dns_config(&names, options.dns_timeout()?)?;
    let sizes = options.cache_octets()?;
    let size_limit = options.checked_size_limit()?;
    let hostname = options.hostname.clone().unwrap_or_else(|| "localhost".to_owned());
    let auth_config = AuthConfig { authserv_id: hostname.clone(), hostname, further_ids: Vec::new() };
    let client = Client::new(question.client, &connectors);
    mx6_runtime::run_local(async move || {
        let dns = Dns::new(&dns, Caches::new(&sizes.dns()))?;
        let auth = MessageAuth::new(dns, MessageAuthCaches::new(&sizes.message_auth()), auth_config)?;
        Pipeline { gate, client, auth, size_limit }.run(&question, names).await
    })?
}

struct Pipeline {
    gate: Gate,
    client: Client,
    auth: MessageAuth,
    size_limit: u64,
}

/// What the session asked about, kept until all of it is known.
struct Asked {
    spf: Pending<Spf>,
    domain: Option<String>,
    fault: Option<MessageFault>,
    evaluation: Evaluation,
}

impl Pipeline {
    async fn run(mut self, question: &Question, names: NameSource) -> Result<Explanation, ExplainError> {
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
        Ok(Explanation { facts, stage, rule, verdict: ruling.verdict, would: ruling.would, class, names })
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
        let received_fields = asked.evaluation.received_fields();
        let message = EndOfData { fault: asked.fault, received_fields, facts: Some(facts) };
        let end_of_data = self.gate.end_of_data(&self.client, class, &message);
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
        let (mut spf, mut domain) = (None, None);
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
                            spf = Some(Pending::known_at_once(self.spf(&question.helo, &reverse_path).await));
                        }
                        mx6_smtp::Question::Rcpt { forward_path: ForwardPath::Mailbox(mailbox), .. } => {
                            domain = Some(served_form(mailbox.domain.as_str()));
                        }
                        mx6_smtp::Question::EndOfData { fault } => {
                            let spf = spf.ok_or(ExplainError::Lost)?;
                            return Ok(Asked { spf, domain, fault, evaluation });
                        }
                        _ => {}
                    }
                    session.verdict(0, Verdict::Accept);
                }
            }
        }
    }

    async fn spf(&self, helo: &str, reverse_path: &ReversePath<'_>) -> Spf {
        let identity = match reverse_path {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some((mailbox.local_part, mailbox.domain.as_str())),
        };
        self.auth.spf(self.client.address(), helo, identity, true).await
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

impl Explanation {
    fn reply(&self) -> String {
        self.verdict.reply().map_or_else(|| "250 2.0.0 OK".to_owned(), Reply::to_string)
    }

    /// One JSON object; the names are part of the surface others rely on.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let facts = &self.facts;
        let dkim = facts.dkim.iter().map(|dkim| {
            json!({
                "result": dkim.result.word(),
                "domain": dkim.domain,
                "selector": dkim.selector,
                "reason": dkim.reason,
            })
        });
        json!({
            "client": facts.client,
            "iprev": { "result": facts.iprev.result.word(), "names": facts.iprev.names },
            "spf": {
                "result": facts.spf.result.word(),
                "identity": identity_word(facts.spf.identity),
                "domain": facts.spf.domain,
                "reason": facts.spf.reason,
                "explanation": facts.spf.explanation,
            },
            "dkim": dkim.collect::<Vec<_>>(),
            "dmarc": {
                "result": facts.dmarc.result.word(),
                "policy": facts.dmarc.policy.word(),
                "domain": facts.dmarc.domain,
            },
            "verdict": self.verdict.word(),
            "class": self.class.map(RecipientClass::word),
            "stage": self.stage.name(),
            "rule": self.rule.name(),
            "reply": self.reply(),
            "would": self.would.as_ref().map(Reply::to_string),
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        let source = match &self.names {
            NameSource::Servers(servers) => format!("DNS, {servers:?}"),
            NameSource::System => "DNS, resolvers of /etc/resolv.conf".to_owned(),
            NameSource::Zone(path) => format!("zone file {}", path.display()),
        };
        writeln!(f, "names    {source}")?;
        writeln!(f, "client   {} ({})", facts.client, self.treatment())?;
        write!(f, "iprev    {} {:?}", facts.iprev.result.word(), facts.iprev.names)?;
        match (&facts.iprev.confirmed, facts.iprev.ptr) {
            (Some(name), _) => write!(f, ", {name} resolves back")?,
            (None, PtrState::Exists) => f.write_str(", no name resolves back")?,
            (None, PtrState::Missing) => f.write_str(", no PTR record")?,
            (None, PtrState::TempFail) => f.write_str(", the lookup failed for now")?,
        }
        writeln!(f, " (PTR of {}{})", facts.client, answered(facts.iprev.cache))?;
        let spf = &facts.spf;
        let identity = identity_word(spf.identity);
        write!(f, "spf      {} {identity}={}: {}", spf.result.word(), spf.domain, spf.reason)?;
        writeln!(f, " (TXT of {}{})", spf.domain, answered(spf.cache))?;
        if let Some(explanation) = &spf.explanation {
            writeln!(f, "         the sender explains: {explanation}")?;
        }
        if facts.dkim.is_empty() {
            writeln!(f, "dkim     none: no signature")?;
        }
        for dkim in &facts.dkim {
            let (domain, selector) = (&dkim.domain, &dkim.selector);
            write!(f, "dkim     {} d={domain} s={selector}: {}", dkim.result.word(), dkim.reason)?;
            writeln!(f, " (TXT of {selector}._domainkey.{domain}{})", answered(facts.dkim_cache))?;
        }
        let dmarc = &facts.dmarc;
        write!(f, "dmarc    {} p={} {}", dmarc.result.word(), dmarc.policy.word(), dmarc.domain)?;
        writeln!(f, " (TXT of _dmarc.{}{})", dmarc.domain, answered(dmarc.cache))?;
        writeln!(f, "verdict  {} at {} by rule {}", self.verdict.word(), self.stage.name(), self.rule.name())?;
        if let Some(would) = &self.would {
            writeln!(f, "         on trial; enforced it would be: {would}")?;
        }
        write!(f, "reply    {}", self.reply())
    }
}

/// Whether the answers were there already: asked for an earlier fact, or in the zone file.
fn answered(cache: CacheState) -> &'static str {
    match cache {
        CacheState::Unused => "",
        CacheState::Hit => ", at hand",
        CacheState::Miss => ", asked",
        CacheState::Stale => ", known from before",
    }
}

impl Explanation {
    fn treatment(&self) -> &'static str {
        match self.class {
            Some(RecipientClass::Enforced) => "the three rules hold",
            Some(RecipientClass::Monitored) => "the three rules hold, on trial",
            Some(RecipientClass::Exempt) => "exempt from the three rules",
            None => "refused at the recipient",
        }
    }
}
