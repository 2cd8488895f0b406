//! The rooms by themselves, against what others offer for the same: each file is one of them.
//!
//! One program, so that it is linked once: `cargo bench -p mx6-benches --bench rooms [-- FILTER]`.
#![allow(missing_docs, clippy::expect_used)]

mod body_hash;
mod canonicalization;
mod commands;
mod dkim;
mod dns_cache;
mod frame;
mod limits;
#[path = "../../crates/dkim/tests/common/mail_auth_records.rs"]
mod mail_auth_records;
mod policy;
mod session;
mod settings;
mod sha256;
mod signatures;
mod signed_mail;
mod spf;
mod spf_results;

criterion::criterion_main!(
    frame::benches,
    commands::benches,
    session::benches,
    spf::benches,
    spf_results::benches,
    dkim::benches,
    canonicalization::benches,
    body_hash::benches,
    sha256::benches,
    signatures::benches,
    dns_cache::benches,
    policy::benches,
    limits::benches,
);
