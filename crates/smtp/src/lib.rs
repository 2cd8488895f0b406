//! SMTP without input or output: octets and verdicts in; octets, questions and deadlines out (RFC 5321).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod reply;
mod verdict;

pub use reply::{EnhancedCode, Reply};
pub use verdict::{Outcome, Verdict};
