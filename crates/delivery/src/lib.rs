//! Delivery: what passed the gate goes to a next hop over SMTP or LMTP, into a Maildir, or nowhere; yields [`Outcome`](mx6_smtp::Outcome)s.
//!
//! One [`Delivery`] a shard; one [`Transaction`] for each mail transaction of a client that has an acceptable recipient. Recipients are
//! relayed in line: each [`Transaction::rcpt`] has the next hop's own answer. There is no queue: [`Transaction::deliver`] says accepted
//! only when the next hop has said so, or when the message is durably on a disk (RFC 5321 §4.2.5, §6.1).
//!
//! A transaction owns all it needs and borrows nothing from the session, so that the driver can let a delivery run to its outcome in a
//! task of its own after the client has gone.
//!
//! 8BITMIME: `BODY=8BITMIME` goes to a next hop that offers it. To one that does not, the message goes as it is, without the parameter:
//! nothing is converted (signatures would break), nothing is refused (such next hops are 8-bit clean in practice).
//!
//! SMTPUTF8: a transaction that needs it never goes to a next hop that does not offer it; the next one is tried, and 451 said when none is
//! left. DSN parameters are left out for a next hop that does not offer DSN. Both happen only in a race: clients are offered what all next hops
//! offer ([`Delivery::offers`]), so a next hop must have changed since the client said EHLO. Then a notification may be missing,
//! which RFC 3461 §5.2.2 would have a relay send itself; we send no mail of our own.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod body;
mod config;
mod ledger;
mod limits;
mod maildir;
mod message;
mod next_hop;
mod route;
mod storage;
mod target;
mod transaction;

pub use body::{Block, Blocks, Body, SPILL_ABOVE_OCTETS, SPILL_BLOCK_OCTETS};
pub use config::{DeliveryConfig, NextHopClient};
pub use ledger::{Ledger, LedgerCounters};
pub use limits::*;
pub use message::Message;
pub use next_hop::ADDED_OCTETS_ALLOWANCE;
pub use route::{Reuse, Route, Stage};
pub use storage::storage_reply;
pub use target::{NextHop, Target, TargetError};
pub use transaction::{Counters, Delivery, HostState, Offers, Probe, Sender, Transaction};
