//! Counts of one shard, summed over all for whoever reads them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot, over all shards since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Lookups answered from a cache.
    pub hits: u64,
    /// Of those, the ones that said that there is nothing.
    pub negative_hits: u64,
    /// Lookups that had to wait for an answer.
    pub misses: u64,
    /// Of those, the ones that found the same question under way and joined it.
    pub merged: u64,
    /// Answers taken from the zone file into a cache.
    pub zone_answers: u64,
    /// Queries given to a resolver over UDP, one for each server and attempt (a datagram sent again is not counted).
    pub queries_udp: u64,
    /// Queries given to a resolver over TCP.
    pub queries_tcp: u64,
    /// Lookups that ended as a failure after every server and attempt.
    pub failures: u64,
    /// Of those, timeouts.
    pub timeouts: u64,
    /// Callers whose deadline passed before the answer came.
    pub gave_up: u64,
    /// Answers used after the end of their TTL, because the resolver failed or was slow.
    pub stale: u64,
    /// Lookups refused because too many were under way.
    pub overload: u64,
}

/// One shard's counters: written by that shard alone.
#[derive(Debug, Default)]
pub(crate) struct ShardCounters {
    pub(crate) hits: AtomicU64,
    pub(crate) negative_hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) merged: AtomicU64,
    pub(crate) zone_answers: AtomicU64,
    pub(crate) queries_udp: AtomicU64,
    pub(crate) queries_tcp: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) gave_up: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) overload: AtomicU64,
}

impl ShardCounters {
    pub(crate) fn add_to(&self, sum: &mut Counters) {
        sum.hits += read(&self.hits);
        sum.negative_hits += read(&self.negative_hits);
        sum.misses += read(&self.misses);
        sum.merged += read(&self.merged);
        sum.zone_answers += read(&self.zone_answers);
        sum.queries_udp += read(&self.queries_udp);
        sum.queries_tcp += read(&self.queries_tcp);
        sum.failures += read(&self.failures);
        sum.timeouts += read(&self.timeouts);
        sum.gave_up += read(&self.gave_up);
        sum.stale += read(&self.stale);
        sum.overload += read(&self.overload);
    }
}

/// One more. One writer: a plain load and store are enough, no locked instruction.
pub(crate) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
