//! `explain`: the same pipeline for a message in a file. Every fact is evaluated, whatever an earlier rule would already have decided.
//!
//! A real session is driven with the octets a client would send, so addresses, framing and limits are judged by the code that serves (`pipeline`).
//! What its sender should do about an objection is `advice`; how all of it looks is `render`. A session that was saved goes the same way (`replay`).

mod advice;
mod pipeline;
mod plain;
mod render;
mod replay;

use std::net::IpAddr;

use mx6_dns::{Caches, Dns, DnsConfig, DnsError};
use mx6_message_auth::{AuthConfig, MessageAuth, MessageAuthCaches, MessageAuthError};
use mx6_policy::facts::Facts;
use mx6_policy::{Client, Connector, Gate, RecipientClass, Rule, Stage};
use mx6_runtime::ShardError;
use mx6_smtp::{Reply, Verdict};

use advice::Advice;
use pipeline::Pipeline;

use crate::check::dns_config;
use crate::config::{CacheOctets, ConfigError, NameSource, Options, ReplyUrl};

pub use replay::{LeftOut, Replay, TranscriptFault, replay};

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
    /// The transcript.
    #[error(transparent)]
    Transcript(#[from] TranscriptFault),
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
            ExplainError::Session(_) | ExplainError::Transcript(_) => 65,
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
    advice: Vec<Advice>,
}

/// Evaluates `question` under `options` (domains, mode, connectors, names; listeners and delivery are not used).
///
/// Without any domain in `options` the recipient's own is taken as served and opted in.
///
/// # Errors
/// If the options cannot be used, or the session would refuse the envelope.
pub fn explain(options: &Options, question: Question) -> Result<Explanation, ExplainError> {
    let setup = Setup::new(options)?;
    let client = Client::new(question.client, &setup.connectors);
    mx6_runtime::run_local(async move || setup.pipeline(client)?.run(&question).await)?
}

/// What explaining takes from the options.
struct Setup {
    gate: Gate,
    connectors: Vec<Connector>,
    names: NameSource,
    dns: DnsConfig,
    sizes: CacheOctets,
    size_limit: u64,
    auth: AuthConfig,
    reply_url: Option<ReplyUrl>,
}

impl Setup {
    fn new(options: &Options) -> Result<Setup, ConfigError> {
        let names = options.name_source()?;
        let hostname = options.hostname.clone().unwrap_or_else(|| "localhost".to_owned());
        Ok(Setup {
            gate: options.gate()?,
            connectors: options.connectors()?,
            dns: dns_config(&names, options.dns_timeout()?)?,
            names,
            sizes: options.cache_octets()?,
            size_limit: options.checked_size_limit()?,
            auth: AuthConfig { authserv_id: hostname.clone(), hostname, further_ids: Vec::new() },
            reply_url: options.checked_reply_url()?,
        })
    }

    /// Inside the executor.
    fn pipeline(self, client: Client) -> Result<Pipeline, ExplainError> {
        let Setup { gate, names, size_limit, sizes, reply_url, .. } = self;
        let dns = Dns::new(&self.dns, Caches::new(&sizes.dns()))?;
        let auth = MessageAuth::new(dns, MessageAuthCaches::new(&sizes.message_auth()), self.auth)?;
        Ok(Pipeline { gate, client, auth, size_limit, names, reply_url })
    }
}
