//! The gate: facts in, verdict out, with the exact words of every refusal.
//!
//! The three rules hold for anonymous clients whose address is IPv6: the recipient's domain opted in, the address has reverse DNS, and the
//! message passes SPF or DKIM. Order and texts are a contract with senders: permanent before temporary, each reply exact to the octet.
//! There is no socket, no DNS and no clock here: the same facts always give the same verdict.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod a_labels;
mod client;
mod directory;
pub mod facts;
mod gate;
pub mod limits;
mod replies;
mod rule;
mod trial;

pub use a_labels::{NoALabels, a_labels};
pub use client::{Client, Connector, ConnectorError, canonical_address, canonical_network};
pub use directory::{Directory, DirectoryError, DomainMode};
pub use gate::{EndOfData, Gate, Mode, PtrMode, RECEIVED_FIELDS_MAX, RecipientClass, Ruling};
pub use rule::{Rule, Stage};
