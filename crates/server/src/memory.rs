//! The shard's budget of message memory: reserved before it is filled, released when the message is gone.

use mx6_runtime::{Held, Share};
use mx6_telemetry::{Counter, Counters};

use crate::load::permille;

/// What one shard may hold of messages in flight, in octets. What of it is held stands in the shard's counters too.
pub(crate) struct MemoryBudget {
    counters: Counters,
    whole: Share,
}

/// Octets held; given back on drop.
pub(crate) struct Reservation {
    counters: Counters,
    whole: Share,
    octets: Held,
}

impl MemoryBudget {
    pub(crate) fn new(octets: u64, counters: Counters) -> MemoryBudget {
        MemoryBudget { counters, whole: Share::new(octets) }
    }

    /// All of it: for making parts.
    pub(crate) fn whole(&self) -> &Share {
        &self.whole
    }

    /// Takes `octets` out of a part of the budget; none if that, or the whole, does not hold so much.
    pub(crate) fn reserve(&self, part: &Share, octets: u64) -> Option<Reservation> {
        let nothing = part.take(0)?;
        let mut reservation =
            Reservation { counters: self.counters.clone(), whole: self.whole.clone(), octets: nothing };
        reservation.cover(octets).then_some(reservation)
    }

    /// How much of it is held.
    pub(crate) fn used_permille(&self) -> u32 {
        permille(self.whole.held(), self.whole.size())
    }
}

impl Reservation {
    /// Grows the reservation until it covers `octets`; false, and unchanged, if there is not so much left.
    pub(crate) fn cover(&mut self, octets: u64) -> bool {
        let more = octets.saturating_sub(self.octets.amount());
        if !self.octets.grow(more) {
            return false;
        }
        self.counters.add(Counter::MemoryReserved, more);
        self.counters.raise(Counter::MemoryPeak, self.whole.held());
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.counters.add(Counter::MemoryReturned, self.octets.amount());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_budget_and_all_of_it_comes_back() {
        let counters = Counters::default();
        let budget = MemoryBudget::new(100, counters.clone());
        let (whole, part) = (budget.whole().clone(), budget.whole().part(70));
        let mut first = budget.reserve(&whole, 40).unwrap();
        assert!(budget.reserve(&whole, 61).is_none());
        assert_eq!(budget.used_permille(), 400);
        let second = budget.reserve(&part, 60).unwrap();
        assert_eq!(budget.used_permille(), 1_000);
        assert!(!first.cover(41));
        assert!(first.cover(30), "what is covered already costs nothing");
        drop(second);
        assert!(budget.reserve(&part, 60).is_some_and(|mut second| !second.cover(71)), "the part has 70");
        assert!(first.cover(100));
        drop(first);
        let [reserved, returned, peak] = [Counter::MemoryReserved, Counter::MemoryReturned, Counter::MemoryPeak]
            .map(|counter| counters.value(counter));
        assert_eq!((reserved - returned, whole.held(), peak), (0, 0, 100));
        assert!(budget.reserve(&part, 70).is_some());
    }
}
