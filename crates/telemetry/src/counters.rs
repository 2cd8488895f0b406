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
    /// Turns of the loop in which body hashes were advanced.
    HashBatches,
    /// Body hashes advanced in those turns.
    HashLanes,
    /// Next-hop transactions given back because the body stalled.
    NextHopReleased,
    /// Decision records lost because the ring was full.
    RecordsLost,
}

impl Counter {
    /// Every counter, in the order of the enum.
    pub const ALL: [Counter; 16] = [
        Counter::Connections,
        Counter::ConnectionsEnded,
        Counter::AcceptStarved,
        Counter::ProxyRefused,
        Counter::RecipientsAccepted,
        Counter::RecipientsRefused,
        Counter::MessagesAccepted,
        Counter::MessagesRefused,
        Counter::MessagesUnknown,
        Counter::MessageOctets,
        Counter::WouldRefuse,
        Counter::MemoryRefused,
        Counter::HashBatches,
        Counter::HashLanes,
        Counter::NextHopReleased,
        Counter::RecordsLost,
    ];

    /// The counter's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Counter::Connections => "connections",
            Counter::ConnectionsEnded => "connections_ended",
            Counter::AcceptStarved => "accept_starved",
            Counter::ProxyRefused => "proxy_refused",
            Counter::RecipientsAccepted => "recipients_accepted",
            Counter::RecipientsRefused => "recipients_refused",
            Counter::MessagesAccepted => "messages_accepted",
            Counter::MessagesRefused => "messages_refused",
            Counter::MessagesUnknown => "messages_unknown",
            Counter::MessageOctets => "message_octets",
            Counter::WouldRefuse => "would_refuse",
            Counter::MemoryRefused => "memory_refused",
            Counter::HashBatches => "hash_batches",
            Counter::HashLanes => "hash_lanes",
            Counter::NextHopReleased => "next_hop_released",
            Counter::RecordsLost => "records_lost",
        }
    }
}

/// One shard's counters. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    block: Arc<Block>,
}

/// Two cache lines' worth of alignment keeps one shard's block out of another's lines (prefetchers fetch pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Block {
    values: [AtomicU64; Counter::ALL.len()],
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
