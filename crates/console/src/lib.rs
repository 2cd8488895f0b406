//! What an operator runs beside a gate. It knows what the gate writes and what its admin endpoint answers, and nothing of how the gate works.
//!
//! Decision records are read by [`records`]; [`report`] answers from them what enforcing the rules would refuse, or did; [`tail`] shows them as
//! they come. [`client`] asks a running gate, [`stream`] hears what it goes on telling; [`top`] shows how it is, [`trace`] what is said in its
//! sessions. What peers wrote (names, addresses) is hostile: [`escape`] is the one way to a terminal or a page.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod calendar;
pub mod client;
pub mod escape;
pub mod follow;
pub mod records;
pub mod report;
pub mod stream;
pub mod tail;
pub mod top;
pub mod trace;
pub mod units;
