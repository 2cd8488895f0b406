//! What an operator runs beside a gate: programs that read its log and ask its admin endpoint, and never touch its mail.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod follow;
pub mod tail;
pub mod terminal;
