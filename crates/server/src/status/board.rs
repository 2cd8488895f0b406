//! Where each shard shows what only it knows: its next hops, and what its delivery has counted.
//!
//! A shard that finds somebody reading its place leaves what stood there; it looks in again a few times a second.

use std::sync::{Arc, Mutex, PoisonError};

use mx6_delivery::{Counters, Delivery, HostState};
use mx6_telemetry::NextHopStatus;

/// One place for each shard; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Board(Arc<[Mutex<Shown>]>);

#[derive(Debug, Default)]
struct Shown {
    hosts: Vec<HostState>,
    counters: Counters,
    /// Of deliveries that a reload has replaced.
    before: Counters,
}

impl Board {
    /// For so many shards.
    pub(crate) fn new(shards: usize) -> Board {
        Board((0..shards).map(|_| Mutex::default()).collect())
    }

    /// Shows a shard's delivery as it is now.
    pub(crate) fn show(&self, shard: usize, delivery: &Delivery) {
        let Some(Ok(mut place)) = self.0.get(shard).map(Mutex::try_lock) else { return };
        let counters = delivery.counters();
        // A reload that changes the next hops begins to count anew.
        if total(&counters) < total(&place.counters) {
            place.before = place.before.plus(&place.counters);
        }
        place.hosts = delivery.hosts();
        place.counters = counters;
    }

    /// The next hops, each over all shards.
    pub(crate) fn next_hops(&self) -> Vec<NextHopStatus> {
        let mut next_hops: Vec<NextHopStatus> = Vec::new();
        for place in self.0.iter() {
            for host in &place.lock().unwrap_or_else(PoisonError::into_inner).hosts {
                let at = next_hops.iter().position(|known| *known.name == *host.name);
                let at = at.unwrap_or_else(|| {
                    next_hops.push(NextHopStatus { name: host.name.to_string(), ..NextHopStatus::default() });
                    next_hops.len() - 1
                });
                let known = &mut next_hops[at];
                known.shards += 1;
                known.shards_healthy += u64::from(host.is_healthy);
                known.open += host.open as u64;
                known.idle += host.idle as u64;
                known.back_off_ms = known.back_off_ms.max(host.back_off_ms);
            }
        }
        next_hops
    }

    /// What delivery has counted on all shards, each with its name.
    pub(crate) fn counters(&self) -> [(&'static str, u64); 10] {
        let mut sum = Counters::default();
        for place in self.0.iter() {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner);
            sum = sum.plus(&place.before).plus(&place.counters);
        }
        [
            ("next_hop_opened", sum.connections_opened),
            ("next_hop_reused", sum.connections_reused),
            ("next_hop_found_dead", sum.connections_found_dead),
            ("next_hop_failed", sum.connections_failed),
            ("next_hop_replays", sum.replays),
            ("next_hop_unknown", sum.outcomes_unknown),
            ("lmtp_mixed_outcomes", sum.mixed_outcomes),
            ("lmtp_skipped", sum.deliveries_skipped),
            ("maildir_groups", sum.maildir_groups),
            ("maildir_members", sum.maildir_members),
        ]
    }
}

/// Grows for as long as a delivery lives.
fn total(counters: &Counters) -> u64 {
    counters.connections_opened + counters.connections_reused + counters.connections_failed + counters.maildir_groups
}
