//! Counters: one padded block per shard, written by that shard alone, summed by whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Connections taken from a listener.
    Connections,
    /// Connections that ended, for whatever reason.
    ConnectionsEnded,
    /// Accepts that failed for want of descriptors or memory.
    AcceptStarved,
    /// Connections refused because the PROXY header was absent, malformed or from a stranger.
    ProxyRefused,
    /// Clients that spoke before their turn.
    EarlyTalkers,
    /// Connections that went on inside TLS.
    TlsSessions,
    /// Handshakes that failed.
    TlsFailed,
    /// Times that the DNS breaker opened.
    DnsBreakerOpened,
    /// Times that it closed again.
    DnsBreakerClosed,
    /// Connections turned away while it was open.
    DnsBreakerShed,
    /// Recipients accepted at RCPT.
    RecipientsAccepted,
    /// Recipients refused at RCPT.
    RecipientsRefused,
    /// Messages taken over by delivery.
    MessagesAccepted,
    /// Messages refused or deferred at the end of data.
    MessagesRefused,
    /// Messages whose outcome is unknown.
    MessagesUnknown,
    /// Octets of messages received.
    MessageOctets,
    /// Objections of the three rules to recipients or messages on trial.
    WouldRefuse,
    /// Messages or sessions turned away because the memory budget was used up.
    MemoryRefused,
    /// Octets of memory reserved for messages.
    MemoryReserved,
    /// Octets of it that were given back.
    MemoryReturned,
    /// The most that was reserved at one time, in octets.
    MemoryPeak,
    /// Connections refused because their address or prefix had too many in a time.
    ConnectionLimit,
    /// Connections refused because their address or prefix had too many sessions.
    SessionLimit,
    /// MAIL refused because the address or prefix had too many messages in a time.
    MessageLimit,
    /// RCPT refused because the address or prefix had too many recipients in a time.
    RecipientLimit,
    /// Messages refused because an identity that they verified had too many in a time.
    IdentityLimit,
    /// Budgets of the limits forgotten before they were full again, for want of room in the table.
    LimitForgotten,
    /// Charges let through and not remembered, for want of room in the table.
    LimitUntracked,
    /// Milliseconds in load level brownout.
    BrownoutMs,
    /// Milliseconds in load level shed.
    ShedMs,
    /// Connections told to come again because the accept backlog was long.
    ShedForBacklog,
    /// Connections told to come again because the shard was late.
    ShedForLag,
    /// Connections told to come again because message memory was short.
    ShedForMemory,
    /// Connections told to come again because descriptors were short.
    ShedForDescriptors,
    /// Connections told to come again because the shard had nearly all that it serves.
    ShedForConnections,
    /// Connections told to come again because many waited for the next hop.
    ShedForNextHop,
    /// Connections told to come again by the spare descriptor, because there was no other.
    ShedUnaccepted,
    /// Turns of the loop in which body hashes were advanced.
    HashBatches,
    /// Body hashes advanced in those turns.
    HashLanes,
    /// Batches of one body hashes.
    HashLanes1,
    /// Batches of two body hashes.
    HashLanes2,
    /// Batches of three or four body hashes.
    HashLanes3To4,
    /// Batches of five to eight body hashes.
    HashLanes5To8,
    /// Batches of nine to sixteen body hashes.
    HashLanes9To16,
    /// Batches of seventeen or more body hashes.
    HashLanes17AndMore,
    /// Turns of the loop in which RSA-2048 signatures were ready for the kernel, whether or not there is one.
    RsaBatches,
    /// RSA-2048 signatures that were ready in those turns.
    RsaLanes,
    /// Batches of one RSA-2048 signatures.
    RsaLanes1,
    /// Batches of two RSA-2048 signatures.
    RsaLanes2,
    /// Batches of three or four RSA-2048 signatures.
    RsaLanes3To4,
    /// Batches of five to eight RSA-2048 signatures.
    RsaLanes5To8,
    /// Batches of nine to sixteen RSA-2048 signatures.
    RsaLanes9To16,
    /// Batches of seventeen or more RSA-2048 signatures.
    RsaLanes17AndMore,
    /// Next-hop transactions given back because the body stalled.
    NextHopReleased,
    /// Decision records lost because the ring was full.
    RecordsLost,
}

impl Counter {
    /// Every counter, in the order of the enum.
    pub const ALL: [Counter; 55] = [
        Counter::Connections,
        Counter::ConnectionsEnded,
        Counter::AcceptStarved,
        Counter::ProxyRefused,
        Counter::EarlyTalkers,
        Counter::TlsSessions,
        Counter::TlsFailed,
        Counter::DnsBreakerOpened,
        Counter::DnsBreakerClosed,
        Counter::DnsBreakerShed,
        Counter::RecipientsAccepted,
        Counter::RecipientsRefused,
        Counter::MessagesAccepted,
        Counter::MessagesRefused,
        Counter::MessagesUnknown,
        Counter::MessageOctets,
        Counter::WouldRefuse,
        Counter::MemoryRefused,
        Counter::MemoryReserved,
        Counter::MemoryReturned,
        Counter::MemoryPeak,
        Counter::ConnectionLimit,
        Counter::SessionLimit,
        Counter::MessageLimit,
        Counter::RecipientLimit,
        Counter::IdentityLimit,
        Counter::LimitForgotten,
        Counter::LimitUntracked,
        Counter::BrownoutMs,
        Counter::ShedMs,
        Counter::ShedForBacklog,
        Counter::ShedForLag,
        Counter::ShedForMemory,
        Counter::ShedForDescriptors,
        Counter::ShedForConnections,
        Counter::ShedForNextHop,
        Counter::ShedUnaccepted,
        Counter::HashBatches,
        Counter::HashLanes,
        Counter::HashLanes1,
        Counter::HashLanes2,
        Counter::HashLanes3To4,
        Counter::HashLanes5To8,
        Counter::HashLanes9To16,
        Counter::HashLanes17AndMore,
        Counter::RsaBatches,
        Counter::RsaLanes,
        Counter::RsaLanes1,
        Counter::RsaLanes2,
        Counter::RsaLanes3To4,
        Counter::RsaLanes5To8,
        Counter::RsaLanes9To16,
        Counter::RsaLanes17AndMore,
        Counter::NextHopReleased,
        Counter::RecordsLost,
    ];

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

    /// The counter's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Counter::Connections => "connections",
            Counter::ConnectionsEnded => "connections_ended",
            Counter::AcceptStarved => "accept_starved",
            Counter::ProxyRefused => "proxy_refused",
            Counter::EarlyTalkers => "early_talkers",
            Counter::TlsSessions => "tls_sessions",
            Counter::TlsFailed => "tls_failed",
            Counter::DnsBreakerOpened => "dns_breaker_opened",
            Counter::DnsBreakerClosed => "dns_breaker_closed",
            Counter::DnsBreakerShed => "dns_breaker_shed",
            Counter::RecipientsAccepted => "recipients_accepted",
            Counter::RecipientsRefused => "recipients_refused",
            Counter::MessagesAccepted => "messages_accepted",
            Counter::MessagesRefused => "messages_refused",
            Counter::MessagesUnknown => "messages_unknown",
            Counter::MessageOctets => "message_octets",
            Counter::WouldRefuse => "would_refuse",
            Counter::MemoryRefused => "memory_refused",
            Counter::MemoryReserved => "memory_reserved",
            Counter::MemoryReturned => "memory_returned",
            Counter::MemoryPeak => "memory_peak",
            Counter::ConnectionLimit => "connection_limit",
            Counter::SessionLimit => "session_limit",
            Counter::MessageLimit => "message_limit",
            Counter::RecipientLimit => "recipient_limit",
            Counter::IdentityLimit => "identity_limit",
            Counter::LimitForgotten => "limit_forgotten",
            Counter::LimitUntracked => "limit_untracked",
            Counter::BrownoutMs => "brownout_ms",
            Counter::ShedMs => "shed_ms",
            Counter::ShedForBacklog => "shed_for_backlog",
            Counter::ShedForLag => "shed_for_lag",
            Counter::ShedForMemory => "shed_for_memory",
            Counter::ShedForDescriptors => "shed_for_descriptors",
            Counter::ShedForConnections => "shed_for_connections",
            Counter::ShedForNextHop => "shed_for_next_hop",
            Counter::ShedUnaccepted => "shed_unaccepted",
            Counter::HashBatches => "hash_batches",
            Counter::HashLanes => "hash_lanes",
            Counter::HashLanes1 => "hash_lanes_1",
            Counter::HashLanes2 => "hash_lanes_2",
            Counter::HashLanes3To4 => "hash_lanes_3_to_4",
            Counter::HashLanes5To8 => "hash_lanes_5_to_8",
            Counter::HashLanes9To16 => "hash_lanes_9_to_16",
            Counter::HashLanes17AndMore => "hash_lanes_17_and_more",
            Counter::RsaBatches => "rsa_batches",
            Counter::RsaLanes => "rsa_lanes",
            Counter::RsaLanes1 => "rsa_lanes_1",
            Counter::RsaLanes2 => "rsa_lanes_2",
            Counter::RsaLanes3To4 => "rsa_lanes_3_to_4",
            Counter::RsaLanes5To8 => "rsa_lanes_5_to_8",
            Counter::RsaLanes9To16 => "rsa_lanes_9_to_16",
            Counter::RsaLanes17AndMore => "rsa_lanes_17_and_more",
            Counter::NextHopReleased => "next_hop_released",
            Counter::RecordsLost => "records_lost",
        }
    }
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
}

impl Default for Block {
    fn default() -> Block {
        Block { values: [const { AtomicU64::new(0) }; Counter::ALL.len()] }
    }
}

impl Counters {
    /// Adds one.
    pub fn add_one(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `amount`. One writer a block: a plain load and store are enough, no locked instruction.
    pub fn add(&self, counter: Counter, amount: u64) {
        let value = &self.block.values[counter as usize];
        value.store(value.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
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
        assert_eq!(Total::of(shards).value(Counter::MessageOctets), 6);
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(Counter::ALL[..index].iter().all(|other| other.name() != counter.name()));
        }
    }
}
