//! Counters: one padded block per shard, written by that shard alone, summed by whoever asks.
//!
//! Beside the plain ones: decisions by stage, rule and verdict (numbers here; the names are those of who decides), values that go up and down, and histograms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::timings::{Distribution, Histogram, Timing};

/// Declares the counters: one line of help and a name each, which metrics and the status show.
macro_rules! counters {
    ($(#[doc = $help:literal] $counter:ident = $name:literal,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $counter,)*
        }

        impl Counter {
            /// Every counter, in the order of the enum.
            pub const ALL: &'static [Counter] = &[$(Counter::$counter),*];

            /// The counter's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Counter::$counter => $name,)*
                }
            }

            /// What it counts, in words.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self {
                    $(Counter::$counter => $help.trim_ascii(),)*
                }
            }
        }
    };
}

counters! {
    /// Connections taken from a listener.
    Connections = "connections",
    /// Connections that ended, for whatever reason.
    ConnectionsEnded = "connections_ended",
    /// Accepts that failed for want of descriptors or memory.
    AcceptStarved = "accept_starved",
    /// Connections refused because the PROXY header was absent, malformed or from a stranger.
    ProxyRefused = "proxy_refused",
    /// Clients that spoke before their turn.
    EarlyTalkers = "early_talkers",
    /// Connections that went on inside TLS.
    TlsSessions = "tls_sessions",
    /// Handshakes that failed.
    TlsFailed = "tls_failed",
    /// Times that the DNS breaker opened.
    DnsBreakerOpened = "dns_breaker_opened",
    /// Times that it closed again.
    DnsBreakerClosed = "dns_breaker_closed",
    /// Connections turned away while it was open.
    DnsBreakerShed = "dns_breaker_shed",
    /// Recipients accepted at RCPT.
    RecipientsAccepted = "recipients_accepted",
    /// Recipients refused at RCPT.
    RecipientsRefused = "recipients_refused",
    /// Messages taken over by delivery.
    MessagesAccepted = "messages_accepted",
    /// Messages refused or deferred at the end of data.
    MessagesRefused = "messages_refused",
    /// Messages whose outcome is unknown.
    MessagesUnknown = "messages_unknown",
    /// Octets of messages received.
    MessageOctets = "message_octets",
    /// Objections of the three rules to recipients or messages on trial.
    WouldRefuse = "would_refuse",
    /// Messages or sessions turned away because the memory budget was used up.
    MemoryRefused = "memory_refused",
    /// Octets of memory reserved for messages.
    MemoryReserved = "memory_reserved",
    /// Octets of it that were given back.
    MemoryReturned = "memory_returned",
    /// The most that was reserved at one time, in octets.
    MemoryPeak = "memory_peak",
    /// Connections refused because their address or prefix had too many in a time.
    ConnectionLimit = "connection_limit",
    /// Connections refused because their address or prefix had too many sessions.
    SessionLimit = "session_limit",
    /// MAIL refused because the address or prefix had too many messages in a time.
    MessageLimit = "message_limit",
    /// RCPT refused because the address or prefix had too many recipients in a time.
    RecipientLimit = "recipient_limit",
    /// Messages refused because an identity that they verified had too many in a time.
    IdentityLimit = "identity_limit",
    /// Budgets of the limits forgotten before they were full again, for want of room in the table.
    LimitForgotten = "limit_forgotten",
    /// Charges let through and not remembered, for want of room in the table.
    LimitUntracked = "limit_untracked",
    /// Milliseconds in load level brownout.
    BrownoutMs = "brownout_ms",
    /// Milliseconds in load level shed.
    ShedMs = "shed_ms",
    /// Connections told to come again because the accept backlog was long.
    ShedForBacklog = "shed_for_backlog",
    /// Connections told to come again because the shard was late.
    ShedForLag = "shed_for_lag",
    /// Connections told to come again because message memory was short.
    ShedForMemory = "shed_for_memory",
    /// Connections told to come again because descriptors were short.
    ShedForDescriptors = "shed_for_descriptors",
    /// Connections told to come again because the shard had nearly all that it serves.
    ShedForConnections = "shed_for_connections",
    /// Connections told to come again because many waited for the next hop.
    ShedForNextHop = "shed_for_next_hop",
    /// Connections told to come again by the spare descriptor, because there was no other.
    ShedUnaccepted = "shed_unaccepted",
    /// Turns of the loop in which body hashes were advanced.
    HashBatches = "hash_batches",
    /// Body hashes advanced in those turns.
    HashLanes = "hash_lanes",
    /// Batches of one body hashes.
    HashLanes1 = "hash_lanes_1",
    /// Batches of two body hashes.
    HashLanes2 = "hash_lanes_2",
    /// Batches of three or four body hashes.
    HashLanes3To4 = "hash_lanes_3_to_4",
    /// Batches of five to eight body hashes.
    HashLanes5To8 = "hash_lanes_5_to_8",
    /// Batches of nine to sixteen body hashes.
    HashLanes9To16 = "hash_lanes_9_to_16",
    /// Batches of seventeen or more body hashes.
    HashLanes17AndMore = "hash_lanes_17_and_more",
    /// Turns of the loop in which RSA-2048 signatures were ready for the kernel, whether or not there is one.
    RsaBatches = "rsa_batches",
    /// RSA-2048 signatures that were ready in those turns.
    RsaLanes = "rsa_lanes",
    /// Batches of one RSA-2048 signatures.
    RsaLanes1 = "rsa_lanes_1",
    /// Batches of two RSA-2048 signatures.
    RsaLanes2 = "rsa_lanes_2",
    /// Batches of three or four RSA-2048 signatures.
    RsaLanes3To4 = "rsa_lanes_3_to_4",
    /// Batches of five to eight RSA-2048 signatures.
    RsaLanes5To8 = "rsa_lanes_5_to_8",
    /// Batches of nine to sixteen RSA-2048 signatures.
    RsaLanes9To16 = "rsa_lanes_9_to_16",
    /// Batches of seventeen or more RSA-2048 signatures.
    RsaLanes17AndMore = "rsa_lanes_17_and_more",
    /// Next-hop transactions given back because the body stalled.
    NextHopReleased = "next_hop_released",
    /// Decision records lost because the ring was full.
    RecordsLost = "records_lost",
    /// Looks at the shard's timer that found it late by a tenth of a second or more.
    Stalls = "stalls",
    /// Accepted recipients that were counted and not recorded (--log-sample).
    RecordsSampled = "records_sampled",
    /// Anonymous clients whose address is private, shared, link-local or loopback.
    PrivateClients = "private_clients",
    /// Anonymous clients whose address is IPv6.
    Ipv6Clients = "ipv6_clients",
    /// Anonymous clients whose address is IPv4.
    Ipv4Clients = "ipv4_clients",
    /// Anonymous clients whose address is IPv4, shown as IPv6 (IPv4-mapped).
    MappedClients = "mapped_clients",
}

impl Counter {
    /// Batches of body hashes by lanes filled, in the order of [`LANES`].
    pub const HASH_LANES: [Counter; LANES.len()] = [
        Counter::HashLanes1,
        Counter::HashLanes2,
        Counter::HashLanes3To4,
        Counter::HashLanes5To8,
        Counter::HashLanes9To16,
        Counter::HashLanes17AndMore,
    ];

    /// Batches of RSA-2048 signatures by lanes filled, in the order of [`LANES`].
    pub const RSA_LANES: [Counter; LANES.len()] = [
        Counter::RsaLanes1,
        Counter::RsaLanes2,
        Counter::RsaLanes3To4,
        Counter::RsaLanes5To8,
        Counter::RsaLanes9To16,
        Counter::RsaLanes17AndMore,
    ];
}

/// How batches are told apart by lanes filled: the most of each kind, and the kind in words.
pub const LANES: [(usize, &str); 6] = [(1, "1"), (2, "2"), (4, "3-4"), (8, "5-8"), (16, "9-16"), (usize::MAX, "17+")];

/// One shard's counters. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    block: Arc<Block>,
}

/// Two cache lines' worth of alignment keeps one shard's block out of another's lines (prefetchers fetch pairs).
#[derive(Debug)]
#[repr(align(128))]
struct Block {
    values: [AtomicU64; Counter::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    /// By stage, rule and verdict.
    decisions: [AtomicU64; STAGES_MAX * RULES_MAX * VERDICTS_MAX],
    /// Objections on trial, by rule.
    would: [AtomicU64; RULES_MAX],
    timings: [Histogram; Timing::ALL.len()],
}

impl Default for Block {
    fn default() -> Block {
        Block {
            values: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            gauges: [const { AtomicU64::new(0) }; Gauge::ALL.len()],
            decisions: [const { AtomicU64::new(0) }; STAGES_MAX * RULES_MAX * VERDICTS_MAX],
            would: [const { AtomicU64::new(0) }; RULES_MAX],
            timings: std::array::from_fn(|_| Histogram::default()),
        }
    }
}

/// A value of a shard that goes up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Gauge {
    /// The load level: 0 normal, 1 brownout, 2 shed.
    Level,
    /// How late the shard's timer was at the last look, in milliseconds.
    LagMs,
    /// The longest that it ever was late, in milliseconds.
    StallMaxMs,
    /// Lookups under way.
    LookupsInFlight,
    /// Clients that wait for a word of the next hop.
    NextHopWaits,
    /// The thread's id, for the kernel's accounts of it; 0 while it is not known.
    ThreadId,
}

impl Gauge {
    /// Every one, in the order of the enum.
    pub const ALL: &'static [Gauge] =
        &[Gauge::Level, Gauge::LagMs, Gauge::StallMaxMs, Gauge::LookupsInFlight, Gauge::NextHopWaits, Gauge::ThreadId];
}

/// One decision by number: the stage, the rule and the verdict, each as its enum counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionKey {
    /// Less than [`STAGES_MAX`].
    pub stage: usize,
    /// Less than [`RULES_MAX`].
    pub rule: usize,
    /// Less than [`VERDICTS_MAX`].
    pub verdict: usize,
}

impl DecisionKey {
    fn index(self) -> usize {
        (self.stage * RULES_MAX + self.rule) * VERDICTS_MAX + self.verdict
    }
}

/// Most stages that can be told apart.
pub const STAGES_MAX: usize = 4;
/// Most rules that can be told apart.
pub const RULES_MAX: usize = 32;
/// Most verdicts that can be told apart.
pub const VERDICTS_MAX: usize = 4;

/// One writer a block: a plain load and store are enough, no locked instruction.
fn add(value: &AtomicU64, amount: u64) {
    value.store(value.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl Counters {
    /// Adds one.
    pub fn add_one(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `amount`.
    pub fn add(&self, counter: Counter, amount: u64) {
        add(&self.block.values[counter as usize], amount);
    }

    /// Counts a decision. One that is out of bounds is not counted.
    pub fn decided(&self, key: DecisionKey) {
        if let Some(value) = self.block.decisions.get(key.index()) {
            add(value, 1);
        }
    }

    /// Counts an objection of `rule` that was not enforced.
    pub fn would_refuse(&self, rule: usize) {
        if let Some(value) = self.block.would.get(rule) {
            add(value, 1);
        }
    }

    /// Takes a time into account, in microseconds.
    pub fn time(&self, timing: Timing, us: u64) {
        self.block.timings[timing as usize].add(us);
    }

    /// Sets a value.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.block.gauges[gauge as usize].store(value, Ordering::Relaxed);
    }

    /// A value as it is now.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.block.gauges[gauge as usize].load(Ordering::Relaxed)
    }

    /// Raises a high-water mark to `value`, if it is lower. The sum over shards is of marks of different times.
    pub fn raise(&self, mark: Counter, value: u64) {
        self.add(mark, value.saturating_sub(self.value(mark)));
    }

    /// Counts a batch with so many lanes filled among its `kinds`; one without any is none.
    pub fn add_batch(&self, kinds: &[Counter; LANES.len()], filled: usize) {
        if filled > 0
            && let Some(kind) = LANES.iter().position(|(most, _)| filled <= *most)
        {
            self.add_one(kinds[kind]);
        }
    }

    /// The value now.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.block.values[counter as usize].load(Ordering::Relaxed)
    }
}

/// Sums over shards.
#[derive(Debug, Clone, Default)]
pub struct Total {
    shards: Vec<Counters>,
}

impl Total {
    /// Sums over `shards`.
    #[must_use]
    pub fn of(shards: Vec<Counters>) -> Total {
        Total { shards }
    }

    /// The sum now.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.shards.iter().map(|shard| shard.value(counter)).sum()
    }

    /// How often a decision fell.
    #[must_use]
    pub fn decisions(&self, key: DecisionKey) -> u64 {
        let value = |shard: &Counters| shard.block.decisions.get(key.index()).map_or(0, |v| v.load(Ordering::Relaxed));
        self.shards.iter().map(value).sum()
    }

    /// How often `rule` objected and was not enforced.
    #[must_use]
    pub fn would_refuse(&self, rule: usize) -> u64 {
        let value = |shard: &Counters| shard.block.would.get(rule).map_or(0, |v| v.load(Ordering::Relaxed));
        self.shards.iter().map(value).sum()
    }

    /// How long something takes.
    #[must_use]
    pub fn timing(&self, timing: Timing) -> Distribution {
        let mut sum = Distribution::default();
        for shard in &self.shards {
            shard.block.timings[timing as usize].add_to(&mut sum);
        }
        sum
    }

    /// The shards.
    #[must_use]
    pub fn shards(&self) -> &[Counters] {
        &self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_by_lanes_filled() {
        let counters = Counters::default();
        for filled in [0, 1, 1, 2, 3, 4, 5, 8, 9, 16, 17, 1000] {
            counters.add_batch(&Counter::RSA_LANES, filled);
        }
        assert_eq!(Counter::RSA_LANES.map(|kind| counters.value(kind)), [2, 1, 2, 2, 2, 2]);
        assert_eq!(Counter::HASH_LANES.map(|kind| counters.value(kind)), [0; 6]);
    }

    #[test]
    fn shards_sum_and_names_differ() {
        let shards = vec![Counters::default(), Counters::default()];
        shards[0].add(Counter::MessageOctets, 5);
        shards[1].clone().add_one(Counter::MessageOctets);
        let total = Total::of(shards.clone());
        assert_eq!(total.value(Counter::MessageOctets), 6);
        let key = |stage, rule, verdict| DecisionKey { stage, rule, verdict };
        for shard in &shards {
            shard.decided(key(3, 31, 3));
            shard.would_refuse(31);
            shard.time(Timing::Spf, 100);
        }
        shards[0].decided(key(0, 0, 0));
        shards[0].decided(key(4, 0, 0));
        assert_eq!([key(3, 31, 3), key(0, 0, 0), key(4, 0, 0)].map(|key| total.decisions(key)), [2, 1, 0]);
        assert_eq!((total.would_refuse(31), total.would_refuse(32)), (2, 0));
        assert_eq!((total.timing(Timing::Spf).count(), total.timing(Timing::Dkim).count()), (2, 0));
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(Counter::ALL[..index].iter().all(|other| other.name() != counter.name()));
        }
    }
}
