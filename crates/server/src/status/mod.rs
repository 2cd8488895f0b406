//! What an operator may know of a running gate, put together when somebody asks: from counters that shards write for themselves, from the caches, and from
//! what the kernel says of the shards' threads. No shard is asked and none waits.

pub(crate) mod addresses;
mod board;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mx6_dns::{CacheFill, Caches};
use mx6_message_auth::MessageAuthCaches;
use mx6_policy::{Mode, Rule, Stage};
use mx6_runtime::{Latest, StopFlag};
use mx6_telemetry::{
    CacheStatus, Counter, Counters, DecisionCount, DecisionKey, DnsStatus, Feed, GateStatus, Gauge, LogStatus,
    Observer, Readiness, RuleCount, ShardStatus, Status, Timing, TimingStatus, Total, Tracing,
};

use crate::breaker::Breaker;
use crate::evaluation::unix_ms;
use crate::heartbeat::Heartbeats;
use crate::load::Level;
use crate::record::VERDICTS;
use crate::settings::Snapshot;
use crate::supervisor::HEART_RATE_MIN;

pub(crate) use board::Board;

/// Where everything that is shown comes from; a view of the gate that can be kept by any thread.
pub(crate) struct Overview {
    pub(crate) total: Total,
    pub(crate) snapshots: Latest<Snapshot>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) up: Arc<AtomicBool>,
    pub(crate) stop: StopFlag,
    pub(crate) dns_caches: Caches,
    pub(crate) auth_caches: MessageAuthCaches,
    pub(crate) breaker: Breaker,
    pub(crate) board: Board,
    pub(crate) observer: Observer,
    pub(crate) tracing: Tracing,
    pub(crate) spans: Option<mx6_admin::SpanTally>,
    pub(crate) kernels: String,
    pub(crate) commit: &'static str,
    pub(crate) started_unix_ms: u64,
}

impl Overview {
    /// The whole picture.
    pub(crate) fn status(&self) -> Status {
        let mut status = Status {
            gate: self.gate(),
            shards: self
                .total
                .shards()
                .iter()
                .enumerate()
                .map(|(shard, counters)| self.shard(shard, counters))
                .collect(),
            decisions: self.decisions(),
            would_refuse: self.would_refuse(),
            timings: Timing::ALL.iter().map(|timing| self.timing(*timing)).collect(),
            dns: self.dns(),
            caches: self.dns_caches.fill().into_iter().chain(self.auth_caches.fill()).map(cache).collect(),
            next_hops: self.board.next_hops(),
            observed: self.observer.observed(),
            log: self.log(),
            spans: self.spans.as_ref().map(mx6_admin::SpanTally::status),
            ..Status::default()
        };
        for finding in addresses::findings(&self.total) {
            let findings = &mut status.observed.findings;
            if findings.iter().all(|known| known.name != finding.name) {
                findings.push(finding);
            }
        }
        let counters = Counter::ALL.iter().map(|counter| (counter.name(), self.total.value(*counter)));
        status.counters = counters.chain(self.board.counters()).map(|(name, value)| (name.to_owned(), value)).collect();
        status
    }

    /// Whether the gate takes mail.
    pub(crate) fn readiness(&self) -> Readiness {
        if self.stop.is_set() {
            Readiness::Draining
        } else if !self.up.load(Ordering::Relaxed) {
            Readiness::Starting
        } else {
            let late = self.heartbeats.stuck(mx6_runtime::now_ms(), HEART_RATE_MIN);
            late.map_or(Readiness::Ready, |shard| Readiness::Late { shard })
        }
    }

    /// What is logged.
    pub(crate) fn log(&self) -> LogStatus {
        LogStatus {
            level: mx6_telemetry::level().word().to_owned(),
            sample: self.snapshots.get().config.log_sample,
            lost: self.total.value(Counter::RecordsLost),
            unrecorded: self.total.value(Counter::RecordsSampled),
        }
    }

    fn gate(&self) -> GateStatus {
        let config = &self.snapshots.get().config;
        let mode = match config.gate.mode {
            Mode::Enforce => "enforce",
            Mode::Monitor => "monitor",
        };
        GateStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: self.commit.to_owned(),
            hostname: config.hostname.clone(),
            pid: std::process::id(),
            started_unix_ms: self.started_unix_ms,
            unix_ms: unix_ms(),
            readiness: self.readiness(),
            mode: mode.to_owned(),
            kernels: self.kernels.clone(),
            reloads: self.snapshots.version(),
        }
    }

    fn shard(&self, shard: usize, counters: &Counters) -> ShardStatus {
        let config = &self.snapshots.get().config;
        let since = |from: Counter, to: Counter| counters.value(from).saturating_sub(counters.value(to));
        let thread = threads::times(counters.gauge(Gauge::ThreadId));
        let age_ms = self.heartbeats.ages_ms(mx6_runtime::now_ms()).nth(shard);
        ShardStatus {
            shard,
            cpu: config.cores.cpus().get(shard).copied().unwrap_or_default(),
            sessions: since(Counter::Connections, Counter::ConnectionsEnded),
            connections: counters.value(Counter::Connections),
            level: Level::word(counters.gauge(Gauge::Level)).to_owned(),
            heartbeat_age_ms: age_ms.unwrap_or_default(),
            lag_ms: counters.gauge(Gauge::LagMs),
            stalls: counters.value(Counter::Stalls),
            stall_max_ms: counters.gauge(Gauge::StallMaxMs),
            running_us: thread.running_us,
            run_queue_us: thread.run_queue_us,
            message_memory_octets: since(Counter::MemoryReserved, Counter::MemoryReturned),
            lookups_in_flight: counters.gauge(Gauge::LookupsInFlight),
            next_hop_waits: counters.gauge(Gauge::NextHopWaits),
        }
    }

    fn decisions(&self) -> Vec<DecisionCount> {
        let mut counts = Vec::new();
        for (stage, rule) in Stage::ALL.into_iter().flat_map(|stage| Rule::ALL.map(|rule| (stage, rule))) {
            for (verdict, word) in VERDICTS.iter().enumerate() {
                let key = DecisionKey { stage: stage as usize, rule: rule as usize, verdict };
                let count = self.total.decisions(key);
                if count > 0 {
                    let (stage, rule) = (stage.name().to_owned(), rule.name().to_owned());
                    counts.push(DecisionCount { stage, rule, verdict: (*word).to_owned(), count });
                }
            }
        }
        counts
    }

    fn would_refuse(&self) -> Vec<RuleCount> {
        let counts = Rule::ALL.into_iter().map(|rule| (rule, self.total.would_refuse(rule as usize)));
        let counts = counts.filter(|(_, count)| *count > 0);
        counts.map(|(rule, count)| RuleCount { rule: rule.name().to_owned(), count }).collect()
    }

    fn timing(&self, timing: Timing) -> TimingStatus {
        let distribution = self.total.timing(timing);
        TimingStatus {
            name: timing.name().to_owned(),
            count: distribution.count(),
            sum_us: distribution.sum_us(),
            p50_us: distribution.quantile_us(500),
            p90_us: distribution.quantile_us(900),
            p99_us: distribution.quantile_us(990),
            max_us: distribution.quantile_us(1000),
            buckets: distribution.buckets().collect(),
            octaves: distribution.octaves().collect(),
        }
    }

    fn dns(&self) -> DnsStatus {
        let counters = self.dns_caches.counters();
        let in_flight = self.total.shards().iter().map(|shard| shard.gauge(Gauge::LookupsInFlight)).sum();
        DnsStatus {
            hits: counters.hits,
            negative_hits: counters.negative_hits,
            misses: counters.misses,
            merged: counters.merged,
            stale: counters.stale,
            zone_answers: counters.zone_answers,
            queries_udp: counters.queries_udp,
            queries_tcp: counters.queries_tcp,
            failures: counters.failures,
            timeouts: counters.timeouts,
            gave_up: counters.gave_up,
            overload: counters.overload,
            in_flight,
            breaker: self.breaker.word().to_owned(),
        }
    }
}

impl mx6_admin::Gate for Overview {
    fn status(&self) -> Status {
        Overview::status(self)
    }

    fn readiness(&self) -> Readiness {
        Overview::readiness(self)
    }

    fn log(&self) -> LogStatus {
        Overview::log(self)
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        level.parse().map(mx6_telemetry::set_level)
    }

    fn decisions(&self) -> &Feed<Arc<str>> {
        self.observer.decisions()
    }

    fn tracing(&self) -> &Tracing {
        &self.tracing
    }
}

fn cache(fill: CacheFill) -> CacheStatus {
    let CacheFill { name, entries, octets, octets_max } = fill;
    CacheStatus { name: name.to_owned(), entries, octets, octets_max }
}
