//! What an operator runs beside a gate. It knows what the gate writes, and nothing of how the gate works.
//!
//! Decision records are read by [`records`]; [`report`] answers from them what enforcing the rules would refuse, or did. What peers wrote
//! (names, addresses) is hostile: [`escape`] is the one way to a terminal or a page.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod calendar;
pub mod escape;
pub mod records;
pub mod report;
pub mod units;
