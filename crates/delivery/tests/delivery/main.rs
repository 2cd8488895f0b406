//! Delivery as a whole, over real sockets and real disks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod maildir;
mod next_hop_client;
mod next_hop_failover;
mod next_hop_lmtp;
mod next_hop_pool;
mod next_hop_release;
mod next_hop_replies;
mod smtp_sink;
mod support;
