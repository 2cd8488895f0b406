//! Figures of a gate over an interval, reckoned from the status at its beginning and at its end. These are the names of `mx6 top --json`.

use std::collections::BTreeMap;

use mx6_telemetry::{Bucket, CacheStatus, Finding, NextHopStatus, Readiness, Status};
use serde::Serialize;

/// One interval. `…_per_s` is a rate over the interval, `…_share` between 0 and 1; everything else is as it is at the end, or since the gate began.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// The end of the interval, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The interval, in milliseconds: since the gate began if there is no earlier status.
    pub interval_ms: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Connections taken.
    pub connections_per_s: f64,
    /// Recipients by verdict.
    pub accept: Count,
    /// Deferred.
    pub defer: Count,
    /// Rejected.
    pub reject: Count,
    /// Accepted on trial, and would have been refused.
    pub would_refuse: Count,
    /// Decisions by stage, rule and verdict.
    pub decisions: Vec<Decision>,
    /// How long things took.
    pub timings: Vec<Timing>,
    /// One a shard.
    pub shards: Vec<Shard>,
    /// Lookups.
    pub dns: Dns,
    /// The caches.
    pub caches: Vec<CacheStatus>,
    /// The next hops.
    pub next_hops: Vec<NextHopStatus>,
    /// What an operator should look into.
    pub findings: Vec<Finding>,
    /// Whether it takes mail.
    pub readiness: Readiness,
    /// Decision records lost.
    pub records_lost: u64,
}

/// A counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Count {
    /// Since the gate began.
    pub total: u64,
    /// Over the interval.
    pub per_s: f64,
}

/// How often one decision fell.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// The stage.
    pub stage: String,
    /// The rule.
    pub rule: String,
    /// The verdict.
    pub verdict: String,
    /// How often.
    #[serde(flatten)]
    pub count: Count,
}

/// How long one kind of wait took: over the interval, or since the gate began if there was none in it.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// Its name.
    pub name: String,
    /// How many.
    #[serde(flatten)]
    pub count: Count,
    /// Half were at most this, in microseconds.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// All but one of a hundred.
    pub p99_us: u64,
    /// All.
    pub max_us: u64,
    /// One to an octave.
    pub octaves: Vec<Bucket>,
}

/// One shard.
#[derive(Debug, Clone, Serialize)]
pub struct Shard {
    /// Its number.
    pub shard: usize,
    /// Its CPU.
    pub cpu: usize,
    /// Sessions now.
    pub sessions: u64,
    /// `normal`, `brownout` or `shed`.
    pub level: String,
    /// Connections taken.
    pub connections_per_s: f64,
    /// Share of the time in which its thread ran.
    pub busy_share: f64,
    /// Share of the time in which it could have run and waited for a CPU.
    pub run_queue_share: f64,
    /// Stalls since the gate began.
    pub stalls: u64,
    /// Of them in the interval.
    pub new_stalls: u64,
    /// The longest, in milliseconds.
    pub stall_max_ms: u64,
    /// Since its heart last beat, in milliseconds.
    pub heartbeat_age_ms: u64,
    /// Octets of message memory in use.
    pub message_memory_octets: u64,
    /// Lookups under way.
    pub lookups_in_flight: u64,
    /// Clients that wait for a word of the next hop.
    pub next_hop_waits: u64,
}

/// Lookups.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Dns {
    /// Asked for.
    pub lookups_per_s: f64,
    /// Of these, answered from a cache.
    pub hit_share: f64,
    /// Of these, answered from a cache that there is nothing.
    pub negative_share: f64,
    /// Of these, answered after the end of the TTL.
    pub stale_share: f64,
    /// Failed.
    pub failures_per_s: f64,
    /// Of these, timeouts.
    pub timeouts_per_s: f64,
    /// Under way.
    pub in_flight: u64,
    /// `closed`, `open` or `off`.
    pub breaker: String,
}

impl Figures {
    /// What happened between two statuses of one process; since it began if the earlier one is absent or another process's.
    #[must_use]
    pub fn between(before: Option<&Status>, now: &Status) -> Figures {
        let begun = Status::default();
        let one_process = |before: &&Status| {
            (before.gate.pid, before.gate.started_unix_ms) == (now.gate.pid, now.gate.started_unix_ms)
                && before.gate.unix_ms < now.gate.unix_ms
        };
        let earlier = before.filter(one_process);
        let since_ms = earlier.map_or(now.gate.started_unix_ms, |before| before.gate.unix_ms);
        let span =
            Span { before: earlier.unwrap_or(&begun), now, ms: now.gate.unix_ms.saturating_sub(since_ms).max(1) };
        span.figures()
    }
}

/// Two statuses and the time between them.
struct Span<'a> {
    before: &'a Status,
    now: &'a Status,
    ms: u64,
}

impl Span<'_> {
    fn figures(&self) -> Figures {
        let decisions = self.decisions();
        let verdict = |wanted: &str| {
            let those = decisions.iter().filter(|decision| decision.verdict == wanted);
            those.fold(Count::default(), |sum, decision| Count {
                total: sum.total + decision.count.total,
                per_s: sum.per_s + decision.count.per_s,
            })
        };
        let sum = |status: &Status| status.would_refuse.iter().map(|rule| rule.count).sum();
        let shards = self.shards();
        Figures {
            unix_ms: self.now.gate.unix_ms,
            interval_ms: self.ms,
            sessions: shards.iter().map(|shard| shard.sessions).sum(),
            connections_per_s: shards.iter().map(|shard| shard.connections_per_s).sum(),
            accept: verdict("accept"),
            defer: verdict("defer"),
            reject: verdict("reject"),
            would_refuse: self.count(sum(self.before), sum(self.now)),
            timings: self.timings(),
            dns: self.dns(),
            caches: self.now.caches.clone(),
            next_hops: self.now.next_hops.clone(),
            findings: self.now.observed.findings.clone(),
            readiness: self.now.gate.readiness.clone(),
            records_lost: self.now.log.lost,
            decisions,
            shards,
        }
    }

    fn per_s(&self, before: u64, now: u64) -> f64 {
        now.saturating_sub(before) as f64 * 1000.0 / self.ms as f64
    }

    fn count(&self, before: u64, now: u64) -> Count {
        Count { total: now, per_s: self.per_s(before, now) }
    }

    fn decisions(&self) -> Vec<Decision> {
        let name = |stage: &str, rule: &str, verdict: &str| (stage.to_owned(), rule.to_owned(), verdict.to_owned());
        let before: BTreeMap<_, u64> =
            self.before.decisions.iter().map(|one| (name(&one.stage, &one.rule, &one.verdict), one.count)).collect();
        let figures = self.now.decisions.iter().map(|one| {
            let earlier = before.get(&name(&one.stage, &one.rule, &one.verdict)).copied().unwrap_or(0);
            let (stage, rule, verdict) = name(&one.stage, &one.rule, &one.verdict);
            Decision { stage, rule, verdict, count: self.count(earlier, one.count) }
        });
        figures.collect()
    }

    fn timings(&self) -> Vec<Timing> {
        let figures = self.now.timings.iter().map(|now| {
            let before = self.before.timings.iter().find(|before| before.name == now.name);
            let earlier = before.map_or(0, |before| before.count);
            let none = Vec::new();
            let (fine, octaves) = match before {
                Some(before) if now.count > before.count => (&before.buckets, &before.octaves),
                _ => (&none, &none),
            };
            let fine = new_in(fine, &now.buckets);
            Timing {
                name: now.name.clone(),
                count: self.count(earlier, now.count),
                p50_us: quantile_us(&fine, 500),
                p90_us: quantile_us(&fine, 900),
                p99_us: quantile_us(&fine, 990),
                max_us: quantile_us(&fine, 1000),
                octaves: new_in(octaves, &now.octaves),
            }
        });
        figures.collect()
    }

    fn shards(&self) -> Vec<Shard> {
        let figures = self.now.shards.iter().map(|now| {
            let before = self.before.shards.iter().find(|before| before.shard == now.shard);
            let earlier = before.cloned().unwrap_or_default();
            // A thread cannot have run for longer than the interval: what is beyond is the clocks' difference.
            let share = |before: u64, now: u64| (now.saturating_sub(before) as f64 / (self.ms * 1000) as f64).min(1.0);
            Shard {
                shard: now.shard,
                cpu: now.cpu,
                sessions: now.sessions,
                level: now.level.clone(),
                connections_per_s: self.per_s(earlier.connections, now.connections),
                busy_share: share(earlier.running_us, now.running_us),
                run_queue_share: share(earlier.run_queue_us, now.run_queue_us),
                stalls: now.stalls,
                new_stalls: now.stalls.saturating_sub(earlier.stalls),
                stall_max_ms: now.stall_max_ms,
                heartbeat_age_ms: now.heartbeat_age_ms,
                message_memory_octets: now.message_memory_octets,
                lookups_in_flight: now.lookups_in_flight,
                next_hop_waits: now.next_hop_waits,
            }
        });
        figures.collect()
    }

    fn dns(&self) -> Dns {
        let (before, now) = (&self.before.dns, &self.now.dns);
        let new = |before: u64, now: u64| now.saturating_sub(before);
        let lookups = new(before.hits + before.misses, now.hits + now.misses);
        let share = |part: u64| if lookups == 0 { 0.0 } else { part as f64 / lookups as f64 };
        Dns {
            lookups_per_s: self.per_s(0, lookups),
            hit_share: share(new(before.hits, now.hits)),
            negative_share: share(new(before.negative_hits, now.negative_hits)),
            stale_share: share(new(before.stale, now.stale)),
            failures_per_s: self.per_s(before.failures, now.failures),
            timeouts_per_s: self.per_s(before.timeouts, now.timeouts),
            in_flight: now.in_flight,
            breaker: now.breaker.clone(),
        }
    }
}

/// What came into each bucket since.
fn new_in(before: &[Bucket], now: &[Bucket]) -> Vec<Bucket> {
    let earlier: BTreeMap<u64, u64> = before.iter().map(|bucket| (bucket.le_us, bucket.count)).collect();
    let new = now.iter().map(|bucket| Bucket {
        le_us: bucket.le_us,
        count: bucket.count.saturating_sub(earlier.get(&bucket.le_us).copied().unwrap_or(0)),
    });
    new.collect()
}

/// The bound of the bucket in which `per_mille` of all are reached; 0 without values.
fn quantile_us(buckets: &[Bucket], per_mille: u64) -> u64 {
    let all: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let wanted = (all * per_mille).div_ceil(1000).max(1);
    let mut seen = 0;
    let reached = buckets.iter().find(|bucket| {
        seen += bucket.count;
        seen >= wanted
    });
    reached.map_or(0, |bucket| bucket.le_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mx6_telemetry::{DecisionCount, ShardStatus, TimingStatus};

    fn status(unix_ms: u64, accepted: u64, fast: u64, slow: u64) -> Status {
        let mut status = Status::default();
        status.gate.unix_ms = unix_ms;
        status.gate.started_unix_ms = 1000;
        let decision = |stage: &str, count| DecisionCount {
            stage: stage.into(),
            rule: "accepted".into(),
            verdict: "accept".into(),
            count,
        };
        status.decisions = vec![decision("end-of-data", accepted)];
        let buckets = vec![Bucket { le_us: 10, count: fast }, Bucket { le_us: 1000, count: slow }];
        status.timings =
            vec![TimingStatus { name: "spf".into(), count: fast + slow, buckets, ..TimingStatus::default() }];
        status.shards =
            vec![ShardStatus { running_us: accepted * 10_000, stalls: slow, sessions: 3, ..ShardStatus::default() }];
        status.dns.hits = accepted;
        status.dns.misses = slow;
        status
    }

    #[test]
    fn rates_are_those_of_the_interval() {
        let (before, now) = (status(11_000, 100, 90, 0), status(13_000, 150, 95, 5));
        let figures = Figures::between(Some(&before), &now);
        assert_eq!((figures.interval_ms, figures.sessions), (2000, 3));
        assert_eq!(figures.accept, Count { total: 150, per_s: 25.0 });
        let timing = &figures.timings[0];
        assert_eq!((timing.p50_us, timing.p90_us, timing.count.per_s), (10, 1000, 5.0));
        let shard = &figures.shards[0];
        assert_eq!((shard.busy_share, shard.stalls, shard.new_stalls), (0.25, 5, 5));
        assert!((figures.dns.hit_share - 50.0 / 55.0).abs() < 1e-9);
    }

    #[test]
    fn another_process_begins_anew() {
        let (mut before, now) = (status(11_000, 100, 90, 0), status(13_000, 24, 95, 5));
        before.gate.pid = 7;
        for before in [Some(&before), None] {
            let figures = Figures::between(before, &now);
            assert_eq!((figures.interval_ms, figures.accept), (12_000, Count { total: 24, per_s: 2.0 }));
        }
    }
}
