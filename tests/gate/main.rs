//! The gate, end to end: the real binary, real clients, real resolvers, real next hops.
//!
//! One module a theme. Each starts the gate it needs on ports of the kernel's choosing; `harness` has the parts.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub)] // Everything here is one crate.

#[path = "../harness/mod.rs"]
mod harness;

mod admin;
mod advice;
mod breaker;
mod check_config;
mod clients;
mod command_line;
mod commands;
mod config;
mod container;
mod debian;
mod decisions;
mod disk;
mod dns;
mod durability;
mod explain;
mod extensions;
mod faults;
mod first_run;
mod haproxy;
mod hostile;
mod internationalized;
mod limits;
mod lmtp;
mod load;
mod loadgen;
mod maildir;
mod message_auth;
mod modes;
mod monitoring;
mod next_hop;
mod next_hop_client;
mod packaging;
mod preflight;
mod privileges;
mod proxy;
mod recipients;
mod reload;
mod replies;
mod report;
mod stopping;
mod systemd;
mod tls;
mod tune;
mod upgrade;
