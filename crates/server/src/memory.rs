//! The shard's budget of message memory: reserved before it is filled, released when the message is gone.

use mx6_telemetry::{Counter, Counters};

use crate::load::permille;

/// What one shard may hold of messages in flight, in octets. What of it is held stands in the shard's counters.
pub(crate) struct MemoryBudget {
    counters: Counters,
    whole: u64,
}

/// Octets held; given back on drop.
pub(crate) struct Reservation {
    counters: Counters,
    whole: u64,
    octets: u64,
}

impl MemoryBudget {
    pub(crate) fn new(octets: u64, counters: Counters) -> MemoryBudget {
        MemoryBudget { counters, whole: octets }
    }

    /// Takes `octets` out of the budget; none if it does not hold so much.
    pub(crate) fn reserve(&self, octets: u64) -> Option<Reservation> {
        let mut reservation = Reservation { counters: self.counters.clone(), whole: self.whole, octets: 0 };
        reservation.cover(octets).then_some(reservation)
    }

    /// How much of it is held.
    pub(crate) fn used_permille(&self) -> u32 {
        permille(held(&self.counters), self.whole)
    }
}

impl Reservation {
    /// Grows the reservation until it covers `octets`; false, and unchanged, if the budget does not hold so much.
    pub(crate) fn cover(&mut self, octets: u64) -> bool {
        let more = octets.saturating_sub(self.octets);
        let all = held(&self.counters).saturating_add(more);
        if all > self.whole {
            return false;
        }
        self.counters.add(Counter::MemoryReserved, more);
        self.counters.raise(Counter::MemoryPeak, all);
        self.octets += more;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.counters.add(Counter::MemoryReturned, self.octets);
    }
}

/// What a shard has reserved and not given back.
fn held(counters: &Counters) -> u64 {
    counters.value(Counter::MemoryReserved).saturating_sub(counters.value(Counter::MemoryReturned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_budget_and_all_of_it_comes_back() {
        let counters = Counters::default();
        let budget = MemoryBudget::new(100, counters.clone());
        let mut first = budget.reserve(40).unwrap();
        assert!(budget.reserve(61).is_none());
        assert_eq!(budget.used_permille(), 400);
        let second = budget.reserve(60).unwrap();
        assert_eq!(budget.used_permille(), 1_000);
        assert!(!first.cover(41));
        assert!(first.cover(30), "what is covered already costs nothing");
        drop(second);
        assert!(first.cover(100));
        drop(first);
        assert_eq!((held(&counters), counters.value(Counter::MemoryPeak)), (0, 100));
        assert!(budget.reserve(100).is_some());
    }
}
