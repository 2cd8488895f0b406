//! One shard a core: accept, drive sessions, batch, drain; and the configuration that says with what.
//!
//! The flow of a message: [`serve`](serve()) binds and starts the shards; a shard accepts connections, each driven by one task that moves
//! octets between socket and session and answers the session's questions: from the gate (policy), from lookups that belong to the shard
//! (message-auth over dns), and from delivery. [`explain`](explain()) asks the same questions about a message in a file.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod alarm;
mod buffers;
mod check;
mod config;
mod connection;
mod dkim_batch;
mod evaluation;
mod explain;
#[cfg(test)]
#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;
pub mod limits;
mod memory;
mod message;
mod peer;
mod pending;
mod phase;
mod proxy;
mod record;
mod serve;
mod shard;
#[cfg(test)]
mod simulation;
mod transaction;
pub mod tune;

pub use check::{CheckError, CheckReport, FolderError, check};
pub use config::{CacheOctets, Config, ConfigError, FileError, NameSource, Options};
pub use dkim_batch::DkimBatchLimits;
pub use explain::{ExplainError, Explanation, Question, explain};
pub use mx6_runtime::StopFlag;
pub use serve::{ServeError, serve};
