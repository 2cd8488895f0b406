//! What a gate shows of itself at one moment: the same for the metrics, the status page, and whoever asks for JSON.
//!
//! Everything counted is counted since the process began; rates are the reader's to reckon, from two of these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::timings::Bucket;

/// The whole picture.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The gate itself.
    pub gate: GateStatus,
    /// One for each shard, in their order.
    pub shards: Vec<ShardStatus>,
    /// Decisions by stage, rule and verdict; those that never fell are absent.
    pub decisions: Vec<DecisionCount>,
    /// What was or would have been refused on trial, by rule; those that never objected are absent.
    pub would_refuse: Vec<RuleCount>,
    /// Every other counter by its name, summed over shards.
    pub counters: BTreeMap<String, u64>,
    /// How long things take.
    pub timings: Vec<TimingStatus>,
    /// Lookups.
    pub dns: DnsStatus,
    /// The shared caches.
    pub caches: Vec<CacheStatus>,
    /// The next hops.
    pub next_hops: Vec<NextHopStatus>,
    /// What was seen in the decision records.
    pub observed: Observed,
    /// What is logged.
    pub log: LogStatus,
    /// What became of spans; none if they are sent nowhere.
    pub spans: Option<SpanStatus>,
}

/// Spans on their way to a collector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SpanStatus {
    /// Where they go.
    pub collector: String,
    /// Spans that it took.
    pub sent: u64,
    /// Spans that it did not take, and records of which no span was made because it was slow.
    pub lost: u64,
}

/// The gate itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GateStatus {
    /// `0.1.0`.
    pub version: String,
    /// The commit it was built from, or `unknown`.
    pub commit: String,
    /// Our name.
    pub hostname: String,
    /// The process id.
    pub pid: u32,
    /// When the process began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// When this picture was taken, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Whether it takes mail.
    pub readiness: Readiness,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// Which code hashes and verifies.
    pub kernels: String,
    /// How often the configuration was read again and taken over.
    pub reloads: u64,
}

/// Whether a gate takes mail, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Readiness {
    /// The shards are not up yet.
    #[default]
    Starting,
    /// It does.
    Ready,
    /// A shard has not moved for too long.
    Late {
        /// Which.
        shard: usize,
    },
    /// Transactions are finished, no new ones are begun.
    Draining,
}

impl Readiness {
    /// Whether new connections should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self == Readiness::Ready
    }
}

/// One shard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShardStatus {
    /// Its number, from 0.
    pub shard: usize,
    /// The CPU it is pinned to.
    pub cpu: usize,
    /// Sessions now.
    pub sessions: u64,
    /// Connections taken so far.
    pub connections: u64,
    /// `normal`, `brownout` or `shed`.
    pub level: String,
    /// Since its heart last beat, in milliseconds.
    pub heartbeat_age_ms: u64,
    /// How late its timer was at the last look, in milliseconds.
    pub lag_ms: u64,
    /// How often its timer was late by a tenth of a second or more: one task held it up, or the machine did.
    pub stalls: u64,
    /// The longest of these, in milliseconds.
    pub stall_max_ms: u64,
    /// Time that its thread ran, in microseconds.
    pub running_us: u64,
    /// Time that its thread could have run and waited for a CPU (run-queue delay), in microseconds.
    pub run_queue_us: u64,
    /// Octets of message memory in use.
    pub message_memory_octets: u64,
    /// Lookups under way.
    pub lookups_in_flight: u64,
    /// Clients that wait for a word of the next hop.
    pub next_hop_waits: u64,
}

/// How often one decision fell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionCount {
    /// `connect`, `mail`, `rcpt` or `end-of-data`.
    pub stage: String,
    /// The rule that decided.
    pub rule: String,
    /// `accept`, `defer`, `reject` or `none`.
    pub verdict: String,
    /// Recipients; clients and transactions at the first two stages.
    pub count: u64,
}

/// How often one rule objected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: String,
    /// Recipients.
    pub count: u64,
}

/// How long one kind of wait takes, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimingStatus {
    /// `session`, `iprev`, `spf`, `dkim`, `rcpt`, `verdict` or `delivery`.
    pub name: String,
    /// How many were timed.
    pub count: u64,
    /// Their sum.
    pub sum_us: u64,
    /// Half are at most this.
    pub p50_us: u64,
    /// Nine of ten are.
    pub p90_us: u64,
    /// All but one of a hundred are.
    pub p99_us: u64,
    /// All are.
    pub max_us: u64,
    /// Those that are not empty, four to an octave.
    pub buckets: Vec<Bucket>,
    /// Always the same bounds, one to an octave, in their order; counts are of this bucket alone.
    pub octaves: Vec<Bucket>,
}

/// Lookups of all shards.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsStatus {
    /// Answered from a cache.
    pub hits: u64,
    /// Of those, the ones that said that there is nothing.
    pub negative_hits: u64,
    /// Had to wait for an answer.
    pub misses: u64,
    /// Of those, the ones that joined the same question under way.
    pub merged: u64,
    /// Answered after the end of the TTL, because the resolver failed or was slow.
    pub stale: u64,
    /// Answered from the zone file.
    pub zone_answers: u64,
    /// Queries over UDP.
    pub queries_udp: u64,
    /// Queries over TCP.
    pub queries_tcp: u64,
    /// Ended as a failure.
    pub failures: u64,
    /// Of those, timeouts.
    pub timeouts: u64,
    /// Not waited for to the end.
    pub gave_up: u64,
    /// Refused because too many were under way.
    pub overload: u64,
    /// Under way now.
    pub in_flight: u64,
    /// `closed`, `open`, or `off` when the resolver is not watched.
    pub breaker: String,
}

/// One cache.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheStatus {
    /// `ptr`, `a`, `aaaa`, `mx`, `spf`, `spf-result`, `dkim` or `dmarc`.
    pub name: String,
    /// Entries.
    pub entries: u64,
    /// Octets that they take.
    pub octets: u64,
    /// Octets that they may take.
    pub octets_max: u64,
}

/// One next hop, over all shards: each has its own view.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NextHopStatus {
    /// As configured.
    pub name: String,
    /// Shards that use it.
    pub shards: u64,
    /// Of those, the ones that it does not fail.
    pub shards_healthy: u64,
    /// Open connections.
    pub open: u64,
    /// Of those, the ones that wait in a pool.
    pub idle: u64,
    /// The longest time for which others are tried first, in milliseconds; 0 if for none.
    pub back_off_ms: u64,
}

/// What was seen in the decision records, by a thread that no shard waits for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// Records seen.
    pub records: u64,
    /// Records not seen, because the thread was behind.
    pub unseen: u64,
    /// The client prefixes (/64; IPv4: the address) with the most decisions.
    pub prefixes: Vec<Ranked>,
    /// The recipient domains with the most refusals.
    pub refused_domains: Vec<Ranked>,
    /// On trial: which rule would have refused whom, the most first.
    pub would_refuse: Vec<WouldRefuse>,
    /// The last decision records, the newest last.
    pub recent: Vec<serde_json::Value>,
    /// The last refusal by each rule.
    pub last_refusals: Vec<LastRefusal>,
    /// What an operator should look into.
    pub findings: Vec<Finding>,
}

/// One of the most frequent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ranked {
    /// The prefix or domain.
    pub name: String,
    /// Recipients accepted.
    pub accepted: u64,
    /// Recipients refused or deferred.
    pub refused: u64,
    /// Recipients accepted on trial that would have been refused.
    pub would_refuse: u64,
    /// The counts may be too high by this: it took the place of one that was forgotten.
    pub error: u64,
}

/// On trial: one rule, domain and prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WouldRefuse {
    /// The rule.
    pub rule: String,
    /// The recipients' domain.
    pub domain: String,
    /// The client's prefix.
    pub prefix: String,
    /// Recipients.
    pub count: u64,
    /// The count may be too high by this.
    pub error: u64,
}

/// The last refusal by one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastRefusal {
    /// At which stage.
    pub stage: String,
    /// The rule.
    pub rule: String,
    /// The verdict.
    pub verdict: String,
    /// The session's id.
    pub session: String,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// What an operator should look into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// A word for it: `one-gateway`, `private-addresses`, `only-mapped-peers`.
    pub name: String,
    /// What was seen, and what to do.
    pub text: String,
}

/// What is logged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// `error`, `warning`, `info` or `debug`.
    pub level: String,
    /// Of accepted recipients one in so many is recorded.
    pub sample: u64,
    /// Records lost because a ring was full or the disk failed.
    pub lost: u64,
    /// Decisions that were counted and not recorded.
    pub unrecorded: u64,
}
