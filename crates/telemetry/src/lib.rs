//! What an operator can see: decision records and counters.
//!
//! A shard writes a record as a JSON line into its own bounded ring and goes on; one thread writes what is in the rings. Nothing here can
//! make a shard wait: when the ring is full the record is counted as lost, and the log says how many were.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

/// One line on standard error, with our name in front. Standard error may be a pipe that nobody reads any more: that must never hurt.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "mx6: {}", format_args!($($argument)*));
    }};
}

mod counters;
mod decision;
mod feed;
mod gateway;
mod observer;
mod ranking;
mod recorder;
mod status;
mod timings;

pub use counters::{Counter, Counters, DecisionKey, Gauge, LANES, RULES_MAX, STAGES_MAX, Total, VERDICTS_MAX};
pub use decision::{
    Decision, DeliveryRecord, DkimRecord, DmarcRecord, Durations, IprevRecord, Shown, SpfRecord, TlsRecord,
};
pub use feed::{Feed, Heard, Listener};
pub use gateway::is_private;
pub use observer::Observer;
pub use recorder::{LogError, LogTarget, OpenLog, Recorder, Recorders};
pub use status::{
    CacheStatus, DecisionCount, DnsStatus, Finding, GateStatus, LastRefusal, LogStatus, NextHopStatus, Observed,
    Ranked, Readiness, RuleCount, ShardStatus, Status, TimingStatus, WouldRefuse,
};
pub use timings::{Bucket, Distribution, Timing};
