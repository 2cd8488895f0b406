//! One shard a core: accept, drive sessions, batch, drain; and the configuration that says with what.
//!
//! The flow of a message: [`prepare`] opens sockets, [`Prepared::serve`] starts the shards; a shard accepts connections, each driven by one
//! task that moves octets between socket and session and answers the session's questions: from the gate (policy), from lookups that belong to the shard
//! (message-auth over dns), and from delivery. [`explain`](explain()) asks the same questions about a message in a file.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod admission;
mod alarm;
mod breaker;
mod buffers;
mod check;
pub mod config;
mod connection;
mod dkim_batch;
mod evaluation;
mod explain;
mod handover;
mod heartbeat;
#[cfg(test)]
#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;
pub mod limits;
mod load;
mod memory;
mod message;
mod message_id;
mod notify;
mod origin;
mod peer;
mod pending;
mod phase;
mod portions;
mod privileges;
mod proxy;
mod record;
mod refusal;
mod reload;
mod sandbox;
mod serve;
mod settings;
mod shard;
mod shares;
#[cfg(test)]
mod simulation;
mod sockets;
mod status;
mod supervisor;
mod tap;
mod tls;
mod transaction;
pub mod tune;

pub use check::{Check, CheckError, CheckReport, Fault, FolderError, Status, check};
pub use config::{CacheOctets, Config, ConfigError, EarlyTalker, FileError, NameSource, Options};
pub use dkim_batch::DkimBatchLimits;
pub use explain::{ExplainError, Explanation, LeftOut, Question, Replay, TranscriptFault, explain, replay};
pub use handover::HandoverError;
pub use mx6_runtime::StopFlag;
pub use notify::Notifier;
pub use privileges::{PrivilegeError, RunAs};
pub use reload::Reload;
pub use sandbox::SandboxError;
pub use serve::{Prepared, ServeError, prepare};
pub use tls::{CertificateConnector, CertificateConnectorError, CertificateFiles, TlsError};
