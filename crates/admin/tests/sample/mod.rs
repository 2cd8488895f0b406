//! A gate that is none: numbers that move as a real one's do, with names as hostile as peers can make them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use mx6_admin::Gate;
use mx6_telemetry::{
    CacheStatus, Counter, Counters, DecisionCount, DnsStatus, Feed, Finding, GateStatus, LastRefusal, LogStatus,
    NextHopStatus, Observed, Ranked, Readiness, RuleCount, ShardStatus, Status, Timing, TimingStatus, Total, Tracing,
    WouldRefuse,
};
use serde_json::{Value, json};

/// Markup, quotes, control characters, a bidirectional override and an escape sequence.
pub const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'\\\u{1b}[31m\u{202e}\n</script>";

/// The sample.
pub struct Sample {
    shards: usize,
    decisions: Feed<Arc<str>>,
    tracing: Tracing,
    timed: Counters,
    round: AtomicU64,
    changing: Mutex<Changing>,
    started_unix_ms: u64,
}

struct Changing {
    readiness: Readiness,
    level: String,
    recent: Vec<Value>,
    records: u64,
}

impl Sample {
    /// One with so many shards, where nothing has happened.
    pub fn new(shards: usize) -> Arc<Sample> {
        let changing = Changing { readiness: Readiness::Ready, level: "info".into(), recent: Vec::new(), records: 0 };
        Arc::new(Sample {
            shards,
            decisions: Feed::new(),
            tracing: Tracing::default(),
            timed: Counters::default(),
            round: AtomicU64::new(0),
            changing: Mutex::new(changing),
            started_unix_ms: unix_ms() - 93_784_000,
        })
    }

    /// Another readiness.
    pub fn set(&self, readiness: Readiness) {
        self.changing.lock().unwrap().readiness = readiness;
    }

    /// A second of a busy gate.
    pub fn advance(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        for (at, timing) in Timing::ALL.into_iter().enumerate() {
            for step in 0..400_u64 {
                let spread = (round * 7919 + step * 104_729 + at as u64 * 31) % 1000;
                self.timed.time(
                    timing,
                    BASE_US[at] * (200 + spread * spread / 300 + spread * spread * spread / 400_000) / 1000,
                );
            }
        }
        for step in 0..3 {
            self.decide(round * 3 + step);
        }
    }

    fn decide(&self, number: u64) {
        let (stage, rule, verdict, share) = RULES[(number % RULES.len() as u64) as usize];
        let reply = if verdict == "accept" {
            "250 2.0.0 Ok".to_owned()
        } else {
            format!("450 4.7.25 Service unavailable, rule {rule} ({share}).")
        };
        let hostile = number % 7 == 3;
        let record = json!({
            "time": rfc3339(unix_ms()), "session": format!("s{number:08x}"), "shard": number as usize % self.shards,
            "client": format!("2001:db8:{:x}::25", number % 64), "connector": false,
            "helo": if hostile { HOSTILE.to_owned() } else { format!("mail{}.sender.example", number % 9) },
            "mail_from": if hostile { HOSTILE.to_owned() } else { format!("news{}@sender.example", number % 17) },
            "rcpt_to": format!("user{}@open.example", number % 31), "domain": "open.example", "stage": stage, "rule": rule, "verdict": verdict,
            "reply": reply, "size_octets": 4096, "iprev": {"result": if rule == "no-ptr" { "fail" } else { "pass" }, "names": ["mail.sender.example"], "cache": "hit"},
            "spf": {"result": "pass", "identity": "mailfrom", "domain": "sender.example", "reason": "matched ip6", "cache": "miss"},
            "dkim": [{"result": "pass", "domain": "sender.example", "selector": "s1", "reason": "good"}],
        });
        self.decisions.tell(&record.to_string().into());
        let mut changing = self.changing.lock().unwrap();
        changing.records += 1;
        changing.recent.push(record);
        let spare = changing.recent.len().saturating_sub(50);
        changing.recent.drain(..spare);
    }

    fn shard(&self, shard: usize, round: u64) -> ShardStatus {
        let (number, load) = (shard as u64, 40 + (shard as u64 * 37) % 50);
        let late = round > 0 && shard % 16 == 3;
        ShardStatus {
            shard,
            cpu: shard,
            sessions: if round == 0 { 0 } else { 120 + (round * 13 + number * 29) % 60 },
            connections: round * (50 + number),
            level: if late { "brownout" } else { "normal" }.into(),
            heartbeat_age_ms: 12 + number % 40,
            lag_ms: if late { 120 } else { number % 4 },
            stalls: if late { round / 5 + 2 } else { 0 },
            stall_max_ms: if late { 340 } else { 0 },
            running_us: round * load * 10_000,
            run_queue_us: round * if late { 64_000 } else { 1_500 + number * 100 },
            message_memory_octets: round.min(1) * (3 << 20),
            lookups_in_flight: (round + number) % 9,
            next_hop_waits: round.min(1) * (number % 3),
        }
    }
}

impl Gate for Sample {
    fn tracing(&self) -> &Tracing {
        &self.tracing
    }

    fn status(&self) -> Status {
        let round = self.round.load(Ordering::Relaxed);
        let changing = self.changing.lock().unwrap();
        let decisions = RULES.iter().filter(|_| round > 0).map(|(stage, rule, verdict, share)| DecisionCount {
            stage: (*stage).into(),
            rule: (*rule).into(),
            verdict: (*verdict).into(),
            count: round * share + (round * share) % 7,
        });
        Status {
            gate: GateStatus {
                version: "0.1.0".into(),
                commit: "39d4de6".into(),
                hostname: "mx6.example".into(),
                pid: 4242,
                started_unix_ms: self.started_unix_ms,
                unix_ms: unix_ms(),
                readiness: changing.readiness.clone(),
                mode: "enforce".into(),
                kernels: "avx512+ifma".into(),
                reloads: 2,
            },
            shards: (0..self.shards).map(|shard| self.shard(shard, round)).collect(),
            decisions: decisions.collect(),
            would_refuse: if round > 0 {
                vec![RuleCount { rule: "unauthenticated".into(), count: round * 3 }]
            } else {
                vec![]
            },
            counters: counters(round),
            timings: timings(&self.timed),
            dns: dns(round),
            caches: caches(round),
            next_hops: next_hops(round),
            observed: observed(round, &changing),
            log: LogStatus { level: changing.level.clone(), sample: 1, lost: 0, unrecorded: round / 10 },
            spans: None,
        }
    }

    fn readiness(&self) -> Readiness {
        self.changing.lock().unwrap().readiness.clone()
    }

    fn log(&self) -> LogStatus {
        LogStatus { level: self.changing.lock().unwrap().level.clone(), sample: 1, lost: 0, unrecorded: 0 }
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        if !["error", "warning", "info", "debug"].contains(&level) {
            return Err("no such level: write error, warning, info or debug".into());
        }
        self.changing.lock().unwrap().level = level.into();
        Ok(())
    }

    fn decisions(&self) -> &Feed<Arc<str>> {
        &self.decisions
    }
}

fn timings(timed: &Counters) -> Vec<TimingStatus> {
    let total = Total::of(vec![timed.clone()]);
    let status = |timing: Timing| {
        let spread = total.timing(timing);
        TimingStatus {
            name: timing.name().into(),
            count: spread.count(),
            sum_us: spread.sum_us(),
            p50_us: spread.quantile_us(500),
            p90_us: spread.quantile_us(900),
            p99_us: spread.quantile_us(990),
            max_us: spread.quantile_us(1000),
            buckets: spread.buckets().collect(),
            octaves: spread.octaves().collect(),
        }
    };
    Timing::ALL.into_iter().map(status).collect()
}

fn counters(round: u64) -> BTreeMap<String, u64> {
    let value = |at: usize| round * (at as u64 % 5);
    let mut counters: BTreeMap<String, u64> =
        Counter::ALL.iter().enumerate().map(|(at, counter)| (counter.name().to_owned(), value(at))).collect();
    counters.insert(Counter::MemoryReserved.name().into(), round * (9 << 20));
    counters.insert(Counter::MemoryReturned.name().into(), round * (9 << 20) - round.min(1) * (6 << 20));
    counters
}

fn dns(round: u64) -> DnsStatus {
    DnsStatus {
        hits: round * 812,
        negative_hits: round * 90,
        misses: round * 140,
        merged: round * 22,
        stale: round / 2,
        zone_answers: 0,
        queries_udp: round * 131,
        queries_tcp: round / 3,
        failures: round / 4,
        timeouts: round / 9,
        gave_up: 0,
        overload: 0,
        in_flight: round.min(1) * (12 + round % 9),
        breaker: "closed".into(),
    }
}

fn caches(round: u64) -> Vec<CacheStatus> {
    let names = ["ptr", "a", "aaaa", "mx", "spf", "spf-result", "dkim", "dmarc"];
    let cache = |(at, name): (usize, &&str)| CacheStatus {
        name: (*name).into(),
        entries: round.min(1) * (at as u64 + 1) * 1213,
        octets: round.min(1) * (at as u64 + 1) * 1_213_000,
        octets_max: 16 << 20,
    };
    names.iter().enumerate().map(cache).collect()
}

fn next_hops(round: u64) -> Vec<NextHopStatus> {
    let hop = |name: &str, healthy, open, idle, back_off_ms| NextHopStatus {
        name: name.into(),
        shards: 4,
        shards_healthy: healthy,
        open,
        idle,
        back_off_ms,
    };
    let busy = round.min(1);
    vec![
        hop("smtp://filter1.example:25", 4, 31 * busy, 12 * busy, 0),
        hop("smtp://filter2.example:25", 4 - busy, 9 * busy, 2 * busy, 4000 * busy),
    ]
}

fn observed(round: u64, changing: &Changing) -> Observed {
    if round == 0 {
        return Observed::default();
    }
    let names = [HOSTILE, "2001:db8:7::/64", "2001:db8:25:a::/64", "192.0.2.77", "2001:db8:f00d::/64"];
    let ranked = |at: usize, name: &str| {
        let share = 9 - at as u64;
        Ranked {
            name: name.into(),
            accepted: round * share,
            refused: round * (at as u64 + 1),
            would_refuse: at as u64,
            error: at as u64,
        }
    };
    let domains =
        [HOSTILE, "open.example", "v4only.example", "a-rather-long-domain-name-of-somebody.department.example"];
    let last = |(stage, rule, verdict, _): &(&str, &str, &str, u64)| LastRefusal {
        stage: (*stage).into(),
        rule: (*rule).into(),
        verdict: (*verdict).into(),
        session: format!("s-{rule}"),
        unix_ms: unix_ms(),
    };
    let trial = |at: u64| WouldRefuse {
        rule: "unauthenticated".into(),
        domain: if at == 0 { HOSTILE.into() } else { format!("trial{at}.example") },
        prefix: format!("2001:db8:{at:x}::/64"),
        count: 900 - at,
        error: 0,
    };
    Observed {
        records: changing.records,
        unseen: 0,
        prefixes: names.iter().enumerate().map(|(at, name)| ranked(at, name)).collect(),
        refused_domains: domains.iter().enumerate().map(|(at, name)| ranked(at, name)).collect(),
        would_refuse: (0..80).map(trial).collect(),
        recent: changing.recent.clone(),
        last_refusals: RULES.iter().filter(|rule| rule.2 != "accept").map(last).collect(),
        findings: vec![Finding {
            name: "one-gateway".into(),
            text: "99 % of clients come from 192.0.2.77: a gateway in front hides them. Use the PROXY protocol, or give the gate the host's network.".into(),
        }],
    }
}

fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn rfc3339(unix_ms: u64) -> String {
    let day = unix_ms / 1000 % 86_400;
    format!("2026-11-26T{:02}:{:02}:{:02}.{:03}Z", day / 3600, day / 60 % 60, day % 60, unix_ms % 1000)
}

const BASE_US: [u64; 7] = [900_000, 18_000, 24_000, 15_000, 4_000, 600, 9_000];

/// Stage, rule, verdict, and how often in a round.
const RULES: [(&str, &str, &str, u64); 8] = [
    ("end-of-data", "accepted", "accept", 311),
    ("rcpt", "not-served", "reject", 14),
    ("rcpt", "no-ptr", "defer", 37),
    ("rcpt", "ptr-temperror", "defer", 2),
    ("rcpt", "not-opted-in", "reject", 9),
    ("end-of-data", "unauthenticated", "defer", 23),
    ("connect", "rate-limit", "defer", 5),
    ("rcpt", "next-hop-refused", "reject", 6),
];
