//! The table of metrics that are read from a status.

use mx6_telemetry::{CacheStatus, NextHopStatus, ShardStatus, Status};
use prometheus_client::registry::Unit;

use super::{Family, Kind, Read, Sample, Value, seconds, seconds_of_ms};

/// Declares a family: kind, name, unit, labels, how it is read, help, worry.
macro_rules! family {
    ($kind:ident $stem:literal, $unit:expr, [$($label:literal),*], $read:expr, $help:literal, $worry:literal) => {
        Family {
            stem: $stem,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
            worry: $worry,
            read: Read::Status($read),
        }
    };
}

/// Ranked entries that become series.
const TOP_MAX: usize = 50;

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);

/// The table. What is not here is a plain counter.
pub(super) static FAMILIES: &[Family] = &[
    family!(Info "mx6_build", None, ["version", "commit", "kernels", "hostname"], build, "What runs here", ""),
    family!(Gauge "mx6_ready", None, [], |status| one(u64::from(status.gate.readiness.is_ready())),
        "Whether new connections should be sent here: 1 or 0",
        "At 0 for longer than a start or a drain takes: GET /ready says why"),
    family!(Gauge "mx6_start_time", SECONDS, [], |status| one(seconds_of_ms(status.gate.started_unix_ms)),
        "When the process began, in seconds since 1970", "When it changes and nobody restarted the gate"),
    family!(Gauge "mx6_monitor", None, [], |status| one(u64::from(status.gate.mode == "monitor")),
        "Whether the whole gate is on trial (--mode monitor): 1 or 0", "At 1 when the rules should be enforced"),
    family!(Counter "mx6_reloads", None, [], |status| one(status.gate.reloads),
        "Times that the configuration was read again and taken over", "When it does not grow after a SIGHUP: the log says why"),
    family!(Counter "mx6_decisions", None, ["stage", "rule", "verdict"], decisions,
        "Decisions: recipients; at the stages connect and mail, clients and transactions. Exemplar: the session of the last refusal",
        "When the share of one rule changes by itself: look at the last decisions with that rule"),
    family!(Counter "mx6_would_refuse", None, ["rule"],
        |status| status.would_refuse.iter().map(|rule| Sample::new([&rule.rule], rule.count)).collect(),
        "Objections to recipients or messages on trial, by rule", "Before a domain goes from monitor to accept: who they are is in mx6_would_refuse_top"),
    family!(Gauge "mx6_would_refuse_top", None, ["rule", "domain", "prefix"], would_refuse,
        "On trial: the most frequent of what would have been refused; estimates since the process began, at most 50 series",
        "A prefix here that you want mail from: tell its owner before you enforce"),
    family!(Histogram "mx6_stage", SECONDS, ["stage"], stages,
        "How long things take: session, iprev, spf, dkim, rcpt (next hop's answer), verdict (final dot to verdict), delivery",
        "When iprev, spf or dkim reach seconds, look at the resolver; rcpt or delivery, at the next hops"),
    family!(Gauge "mx6_sessions", None, ["shard"], |status| by_shard(status, |shard| shard.sessions),
        "Sessions now", "When one shard has far more than the others for long"),
    family!(Counter "mx6_connections", None, ["shard"], |status| by_shard(status, |shard| shard.connections),
        "Connections taken from a listener", ""),
    family!(Gauge "mx6_shard_load_level", None, ["shard"], |status| by_shard(status, level),
        "Load level: 0 normal, 1 brownout, 2 shed", "Above 0 for minutes: the mx6_shed_for_* counters say what is short"),
    family!(Gauge "mx6_shard_heartbeat_age", SECONDS, ["shard"], |status| by_shard(status, |shard| seconds_of_ms(shard.heartbeat_age_ms)),
        "Since the shard's heart last beat", "Above a second: the shard hangs; /ready says late"),
    family!(Gauge "mx6_shard_lag", SECONDS, ["shard"], |status| by_shard(status, |shard| seconds_of_ms(shard.lag_ms)),
        "How late the shard's timer was at the last look", "Above 0.1 often: too much work for one core"),
    family!(Counter "mx6_shard_stalls", None, ["shard"], |status| by_shard(status, |shard| shard.stalls),
        "Times that the shard's timer was late by a tenth of a second or more",
        "When it grows: with mx6_shard_run_queue_seconds_total growing too, the machine is short of CPUs; alone, one task held the shard up"),
    family!(Gauge "mx6_shard_stall_max", SECONDS, ["shard"], |status| by_shard(status, |shard| seconds_of_ms(shard.stall_max_ms)),
        "The longest of these stalls", "Above a second"),
    family!(Counter "mx6_shard_running", SECONDS, ["shard"], |status| by_shard(status, |shard| seconds(shard.running_us)),
        "Time that the shard's thread ran; its rate is the use of its core", "A rate near 1 for minutes: the core is full"),
    family!(Counter "mx6_shard_run_queue", SECONDS, ["shard"], |status| by_shard(status, |shard| seconds(shard.run_queue_us)),
        "Time that the shard's thread could have run and waited for a CPU", "A rate above 0.05: something else runs on its core"),
    family!(Gauge "mx6_shard_message_memory", BYTES, ["shard"], |status| by_shard(status, |shard| shard.message_memory_octets),
        "Message memory in use", ""),
    family!(Gauge "mx6_shard_lookups_in_flight", None, ["shard"], |status| by_shard(status, |shard| shard.lookups_in_flight),
        "Lookups under way", "When it only grows: the resolver does not answer"),
    family!(Gauge "mx6_shard_next_hop_waits", None, ["shard"], |status| by_shard(status, |shard| shard.next_hop_waits),
        "Clients that wait for a word of the next hop", "When it only grows: the next hops are slow"),
    family!(Counter "mx6_dns_hits", None, [], |status| one(status.dns.hits), "Lookups answered from a cache", ""),
    family!(Counter "mx6_dns_negative_hits", None, [], |status| one(status.dns.negative_hits), "Of the hits, the ones that said that there is nothing", ""),
    family!(Counter "mx6_dns_misses", None, [], |status| one(status.dns.misses), "Lookups that had to wait for an answer",
        "When its share of lookups rises under the same load: the caches are too small"),
    family!(Counter "mx6_dns_merged", None, [], |status| one(status.dns.merged), "Of the misses, the ones that joined the same question under way", ""),
    family!(Counter "mx6_dns_stale", None, [], |status| one(status.dns.stale), "Lookups answered after the end of the TTL (RFC 8767)",
        "When it grows: the resolver fails or is slow"),
    family!(Counter "mx6_dns_zone_answers", None, [], |status| one(status.dns.zone_answers), "Lookups answered from the zone file", ""),
    family!(Counter "mx6_dns_queries", None, ["transport"], |status| {
            vec![Sample::new(["udp"], status.dns.queries_udp), Sample::new(["tcp"], status.dns.queries_tcp)]
        }, "Queries sent to the resolver", "Much TCP: answers are truncated, or the resolver demands it"),
    family!(Counter "mx6_dns_failures", None, [], |status| one(status.dns.failures), "Lookups that ended as a failure", "When it grows faster than a few in a hundred of the misses"),
    family!(Counter "mx6_dns_timeouts", None, [], |status| one(status.dns.timeouts), "Of the failures, timeouts", "When it grows: look at the resolver and the network to it"),
    family!(Counter "mx6_dns_gave_up", None, [], |status| one(status.dns.gave_up), "Lookups that were not waited for to the end", "When it grows: the resolver is slow"),
    family!(Counter "mx6_dns_overload", None, [], |status| one(status.dns.overload), "Lookups refused because too many were under way", "At any growth: the resolver is too slow for the load"),
    family!(Gauge "mx6_dns_in_flight", None, [], |status| one(status.dns.in_flight), "Lookups under way now", "When it only grows"),
    family!(Gauge "mx6_dns_breaker_open", None, [], |status| one(u64::from(status.dns.breaker == "open")),
        "Whether the resolver answers nothing (--dns-probe): 1 or 0", "At 1: anonymous IPv6 clients are told to come again"),
    family!(Gauge "mx6_cache_entries", None, ["cache"], |status| by_cache(status, |cache| cache.entries), "Entries of the cache", ""),
    family!(Gauge "mx6_cache", BYTES, ["cache"], |status| by_cache(status, |cache| cache.octets), "Memory of the cache's entries",
        "At its maximum with many misses: give the caches more"),
    family!(Gauge "mx6_cache_max", BYTES, ["cache"], |status| by_cache(status, |cache| cache.octets_max), "Memory that the entries may take", ""),
    family!(Gauge "mx6_next_hop_shards", None, ["next_hop"], |status| by_next_hop(status, |hop| hop.shards), "Shards that use the next hop", ""),
    family!(Gauge "mx6_next_hop_healthy_shards", None, ["next_hop"], |status| by_next_hop(status, |hop| hop.shards_healthy),
        "Shards that the next hop does not fail", "Below mx6_next_hop_shards: it refuses connections or does not answer"),
    family!(Gauge "mx6_next_hop_connections", None, ["next_hop", "state"], connections, "Connections to the next hop, in use or idle in a pool", ""),
    family!(Gauge "mx6_next_hop_back_off", SECONDS, ["next_hop"], |status| by_next_hop(status, |hop| seconds_of_ms(hop.back_off_ms)),
        "The longest time for which other next hops are tried first", "Above 0 for minutes: the next hop is down"),
    family!(Counter "mx6_next_hop_opened", None, [], |status| counted(status, "next_hop_opened"),
        "Connections to next hops over which EHLO was said", ""),
    family!(Counter "mx6_next_hop_reused", None, [], |status| counted(status, "next_hop_reused"), "Times an idle connection was taken", ""),
    family!(Counter "mx6_next_hop_found_dead", None, [], |status| counted(status, "next_hop_found_dead"),
        "Idle connections that turned out to be dead", "When it is near mx6_next_hop_reused_total: next hops close idle connections sooner than we"),
    family!(Counter "mx6_next_hop_failed", None, [], |status| counted(status, "next_hop_failed"),
        "Attempts to connect that failed, a refusing greeting or EHLO included", "When it grows: mx6_next_hop_healthy_shards says which next hop"),
    family!(Counter "mx6_next_hop_replays", None, [], |status| counted(status, "next_hop_replays"),
        "Times that MAIL and RCPT were said again on another connection", ""),
    family!(Counter "mx6_next_hop_unknown", None, [], |status| counted(status, "next_hop_unknown"),
        "Messages whose outcome is unknown: the client is told 451 and may deliver a second copy", "When it grows: next hops lose connections after the final dot"),
    family!(Counter "mx6_lmtp_mixed_outcomes", None, [], |status| counted(status, "lmtp_mixed_outcomes"),
        "Messages that some recipients got over LMTP and others did not", ""),
    family!(Counter "mx6_lmtp_skipped", None, [], |status| counted(status, "lmtp_skipped"),
        "Recipients that had got the message with an earlier try over LMTP", ""),
    family!(Counter "mx6_maildir_groups", None, [], |status| counted(status, "maildir_groups"), "Times a Maildir's new/ was fsynced", ""),
    family!(Counter "mx6_maildir_members", None, [], |status| counted(status, "maildir_members"), "Messages that those fsyncs made durable", ""),
    family!(Counter "mx6_observed_records", None, [], |status| one(status.observed.records), "Decision records that the rankings have seen", ""),
    family!(Counter "mx6_observed_unseen", None, [], |status| one(status.observed.unseen), "Decision records that the rankings have not seen",
        "When it grows: the rankings are estimates of a part; decisions are counted all the same"),
    family!(Gauge "mx6_finding", None, ["name"],
        |status| status.observed.findings.iter().take(TOP_MAX).map(|finding| Sample::new([&finding.name], 1_u64)).collect(),
        "Something to look into; the status page says what", "Always"),
    family!(Gauge "mx6_log_level", None, ["level"], |status| vec![Sample::new([&status.log.level], 1_u64)], "What is logged: 1 at the level in force", ""),
    family!(Gauge "mx6_log_sample", None, [], |status| one(status.log.sample), "Of accepted recipients one in so many is recorded", ""),
    family!(Counter "mx6_log_records_lost", None, [], |status| one(status.log.lost), "Decision records lost because a ring was full or the disk failed",
        "At any growth: the disk of the decision log is full or too slow"),
    family!(Counter "mx6_spans", None, ["outcome"], spans, "Spans for the collector (--otlp): sent, or lost because it was slow or away",
        "When lost grows: look at the collector; mail and records are not concerned"),
    family!(Counter "mx6_log_records_unrecorded", None, [], |status| one(status.log.unrecorded), "Decisions that were counted and not recorded", ""),
];

fn spans(status: &Status) -> Vec<Sample> {
    let spans = status.spans.iter().flat_map(|spans| [("sent", spans.sent), ("lost", spans.lost)]);
    spans.map(|(outcome, count)| Sample::new([outcome], count)).collect()
}

fn one(value: impl Into<Value>) -> Vec<Sample> {
    vec![Sample::new([], value)]
}

fn build(status: &Status) -> Vec<Sample> {
    let gate = &status.gate;
    vec![Sample::new([&gate.version, &gate.commit, &gate.kernels, &gate.hostname], 1_u64)]
}

fn decisions(status: &Status) -> Vec<Sample> {
    let last = |stage: &str, rule: &str, verdict: &str| {
        let last = &status.observed.last_refusals;
        let found = last.iter().find(|last| (&*last.stage, &*last.rule, &*last.verdict) == (stage, rule, verdict))?;
        // OpenMetrics 1.0: name and value of an exemplar's label have 128 characters at most.
        (found.session.chars().count() <= 100).then(|| found.session.clone())
    };
    let sample = |decision: &mx6_telemetry::DecisionCount| {
        let labels = [&*decision.stage, &*decision.rule, &*decision.verdict];
        let session = last(labels[0], labels[1], labels[2]).filter(|_| decision.count > 0);
        Sample::new(
            labels,
            session.map_or(Value::Whole(decision.count), |session| Value::Exemplified(decision.count, session)),
        )
    };
    status.decisions.iter().map(sample).collect()
}

fn would_refuse(status: &Status) -> Vec<Sample> {
    let top = status.observed.would_refuse.iter().take(TOP_MAX);
    top.map(|entry| Sample::new([&entry.rule, &entry.domain, &entry.prefix], entry.count)).collect()
}

fn stages(status: &Status) -> Vec<Sample> {
    let spread = |timing: &mx6_telemetry::TimingStatus| Value::Spread {
        sum: seconds(timing.sum_us),
        buckets: timing.octaves.clone(),
    };
    let told = status.timings.iter().filter(|timing| !timing.octaves.is_empty());
    told.map(|timing| Sample::new([&timing.name], spread(timing))).collect()
}

fn by_shard<V: Into<Value>>(status: &Status, read: impl Fn(&ShardStatus) -> V) -> Vec<Sample> {
    status.shards.iter().map(|shard| Sample::new([&shard.shard.to_string()], read(shard))).collect()
}

fn by_cache(status: &Status, read: impl Fn(&CacheStatus) -> u64) -> Vec<Sample> {
    status.caches.iter().map(|cache| Sample::new([&cache.name], read(cache))).collect()
}

fn by_next_hop<V: Into<Value>>(status: &Status, read: impl Fn(&NextHopStatus) -> V) -> Vec<Sample> {
    status.next_hops.iter().map(|hop| Sample::new([&hop.name], read(hop))).collect()
}

fn connections(status: &Status) -> Vec<Sample> {
    let states = |hop: &NextHopStatus| {
        [("in-use", hop.open.saturating_sub(hop.idle)), ("idle", hop.idle)]
            .map(|(state, count)| Sample::new([&hop.name, state], count))
    };
    status.next_hops.iter().flat_map(states).collect()
}

/// What delivery has counted, by its name in the status.
fn counted(status: &Status, name: &str) -> Vec<Sample> {
    one(status.counters.get(name).copied().unwrap_or_default())
}

fn level(shard: &ShardStatus) -> u64 {
    match shard.level.as_str() {
        "brownout" => 1,
        "shed" => 2,
        _ => 0,
    }
}
