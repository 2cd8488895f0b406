//! The gate, end to end: the real binary, real clients, real resolvers, real next hops.
//!
//! One module a theme. Each starts the gate it needs on ports of the kernel's choosing; `harness` has the parts.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub)] // Everything here is one crate.

#[path = "../harness/mod.rs"]
mod harness;

mod clients;
mod commands;
mod decisions;
mod disk;
mod dns;
mod durability;
mod explain;
mod first_run;
mod hostile;
mod lmtp;
mod loadgen;
mod maildir;
mod message_auth;
mod modes;
mod next_hop;
mod next_hop_client;
mod preflight;
mod proxy;
mod recipients;
mod replies;
mod stopping;
mod tune;
