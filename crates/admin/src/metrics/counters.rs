//! The counters of the shards as metrics: their names and help are telemetry's, units and advice are here.

use mx6_telemetry::{Counter, Status};
use prometheus_client::registry::Unit;

use super::{Family, Kind, Read, Value, seconds_of_ms};

/// The family of a counter; none for those that are shown otherwise.
pub(super) fn family(counter: Counter) -> Option<Family> {
    let (stem, kind, unit, help) = match counter {
        // `mx6_shard_stalls_total` has them by shard, and so have the connections; `mx6_would_refuse_total` by rule; `mx6_log_*` is the log's own count.
        Counter::Stalls
        | Counter::Connections
        | Counter::WouldRefuse
        | Counter::RecordsLost
        | Counter::RecordsSampled => return None,
        Counter::ConnectionsEnded => ("mx6_connections_ended", Kind::Counter, None, counter.help()),
        Counter::MemoryReserved => {
            ("mx6_memory_reserved", Kind::Gauge, Some(&Unit::Bytes), "Memory reserved for messages now")
        }
        // The difference is `mx6_memory_reserved_bytes`.
        Counter::MemoryReturned => return None,
        Counter::MemoryPeak => (
            "mx6_memory_peak",
            Kind::Gauge,
            Some(&Unit::Bytes),
            "The most memory that was reserved for messages, summed over the shards' peaks",
        ),
        Counter::MessageOctets => ("mx6_message", Kind::Counter, Some(&Unit::Bytes), counter.help()),
        Counter::BrownoutMs => {
            ("mx6_brownout", Kind::Counter, Some(&Unit::Seconds), "Time in load level brownout, summed over shards")
        }
        Counter::ShedMs => {
            ("mx6_shed", Kind::Counter, Some(&Unit::Seconds), "Time in load level shed, summed over shards")
        }
        other => (stem(other), Kind::Counter, None, other.help()),
    };
    let help = help.trim_end_matches('.');
    Some(Family { stem, kind, unit, labels: &[], help, worry: worry(counter), read: Read::Counter(counter) })
}

/// The value of that family.
pub(super) fn value(counter: Counter, status: &Status) -> Value {
    let of = |counter: Counter| status.counters.get(counter.name()).copied().unwrap_or_default();
    match counter {
        Counter::MemoryReserved => of(counter).saturating_sub(of(Counter::MemoryReturned)).into(),
        Counter::BrownoutMs | Counter::ShedMs => seconds_of_ms(of(counter)).into(),
        other => of(other).into(),
    }
}

/// `mx6_` and the counter's name, made once for each counter.
fn stem(counter: Counter) -> &'static str {
    static STEMS: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| Counter::ALL.iter().map(|counter| format!("mx6_{}", counter.name())).collect());
    STEMS.get(counter as usize).map_or("mx6_unknown", String::as_str)
}

/// When to worry about it, and what to do.
fn worry(counter: Counter) -> &'static str {
    match counter {
        Counter::AcceptStarved => {
            "At any growth: raise the limit of open files (LimitNOFILE) or lower the number of sessions"
        }
        Counter::ProxyRefused => {
            "When it grows: something that is no balancer of yours connects to the PROXY listener, or --proxy-from lacks one"
        }
        Counter::EarlyTalkers => "A rise without a change of policy is a wave of spam software",
        Counter::TlsFailed => {
            "When it grows with mx6_tls_sessions_total standing still: look at the certificate and its key"
        }
        Counter::DnsBreakerOpened => {
            "At any growth: the resolver answered nothing; look at it and at the network to it"
        }
        Counter::DnsBreakerShed => {
            "When it grows: anonymous IPv6 clients are told to come again until the resolver answers"
        }
        Counter::MessagesUnknown => {
            "At any growth: a next hop closes connections before it answers the final dot; a message may arrive twice"
        }
        Counter::MessagesRefused => "When its share of all messages rises: see mx6_decisions_total by rule",
        Counter::MemoryRefused => "At any growth: raise the message memory, or add shards",
        Counter::ConnectionLimit
        | Counter::SessionLimit
        | Counter::MessageLimit
        | Counter::RecipientLimit
        | Counter::IdentityLimit => {
            "When wanted senders are among them: see the decisions with that rule, and raise --limit"
        }
        Counter::LimitForgotten | Counter::LimitUntracked => {
            "When it grows: the table of limits is too small for the clients of this gate"
        }
        Counter::BrownoutMs | Counter::ShedMs => {
            "When it grows steadily: the gate has more to do than it can; add shards or machines"
        }
        Counter::ShedForBacklog | Counter::ShedForLag => {
            "When it grows: the shards are too slow for the load; add shards, or look for what else uses the CPUs"
        }
        Counter::ShedForMemory => "When it grows: raise the message memory",
        Counter::ShedForDescriptors | Counter::ShedUnaccepted => {
            "When it grows: raise the limit of open files (LimitNOFILE)"
        }
        Counter::ShedForConnections => "When it grows: add shards",
        Counter::ShedForNextHop => "When it grows: the next hops are slow; see mx6_stage_seconds of rcpt and delivery",
        Counter::NextHopReleased => "A rise means many slow senders; harmless by itself",
        Counter::PrivateClients | Counter::MappedClients => {
            "When it is nearly all clients: the gate sees a gateway's addresses, not the senders'; see the findings on the status page"
        }
        Counter::Ipv6Clients => {
            "When it stands still though mail arrives over IPv6: something in front turns it into IPv4"
        }
        _ => "",
    }
}
