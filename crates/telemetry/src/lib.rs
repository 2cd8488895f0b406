//! What an operator can see: decision records and counters.
//!
//! A shard writes a record as a JSON line into its own bounded ring and goes on; one thread writes what is in the rings. Nothing here can
//! make a shard wait: when the ring is full the record is counted as lost, and the log says how many were.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod counters;
mod decision;
mod feed;
mod gateway;
mod journal;
mod log;

mod messages;
mod observer;
mod ranking;
mod record_fields;
mod record_front;
mod recorder;
mod status;
mod timings;
mod trace;
mod transcript;

pub use counters::{Counter, Counters, DecisionKey, Gauge, LANES, RULES_MAX, STAGES_MAX, Total, VERDICTS_MAX};
pub use decision::{
    Decision, DeliveryRecord, DkimRecord, DmarcRecord, Durations, IprevRecord, Shown, SpfRecord, TlsRecord, unix_ms_of,
};
pub use feed::{Feed, Heard, Listener};
pub use gateway::is_private;
pub use log::{LogError, LogTarget, OpenLog};
pub use messages::{Level, is_told, level, set_level, tell};
pub use observer::Observer;
pub use record_fields::records_reference;
pub use recorder::{Recorder, Recorders, Reopen};
pub use status::{
    CacheStatus, DecisionCount, DnsStatus, Finding, GateStatus, LastRefusal, LogStatus, NextHopStatus, Observed,
    Ranked, Readiness, RuleCount, ShardStatus, SpanStatus, Status, TimingStatus, WouldRefuse,
};
pub use timings::{Bucket, Distribution, Timing};
pub use trace::{Tracer, Tracing};
pub use transcript::{Event, Line, Said, TranscriptError, TranscriptReader, What, read_transcript};
