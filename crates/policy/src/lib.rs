//! The gate: facts in, verdict out, with the exact words of every refusal.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod facts;
