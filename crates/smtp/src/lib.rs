//! SMTP without input or output: octets and verdicts in; octets, questions and deadlines out (RFC 5321).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
pub mod client;
mod command;
pub mod dot_stuffing;
mod frame;
pub mod limits;
mod pairs;
mod reply;
mod session;
mod verdict;

pub use address::{Domain, ForwardPath, Mailbox, ReversePath};
pub use command::{Command, CommandError, MailDsn, MailParameters, RcptDsn};
pub use reply::{EnhancedCode, Reply, TEXT_OCTETS_MAX as REPLY_TEXT_OCTETS_MAX};
pub use session::{MessageFault, Notice, Question, Session, SessionConfig, StartTls, Step};
pub use verdict::{Outcome, Verdict};
