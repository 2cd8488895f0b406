//! The shard's budget of message memory: reserved before it is filled, released when the message is gone.

use std::cell::Cell;
use std::rc::Rc;

use crate::load::permille;

/// What one shard may hold of messages in flight, in octets. Clones share the budget.
#[derive(Clone)]
pub(crate) struct MemoryBudget {
    free: Rc<Cell<u64>>,
    whole: u64,
}

/// Octets held; given back on drop.
pub(crate) struct Reservation {
    free: Rc<Cell<u64>>,
    octets: u64,
}

impl MemoryBudget {
    pub(crate) fn new(octets: u64) -> MemoryBudget {
        MemoryBudget { free: Rc::new(Cell::new(octets)), whole: octets }
    }

    /// Takes `octets` out of the budget; none if it does not hold so much.
    pub(crate) fn reserve(&self, octets: u64) -> Option<Reservation> {
        let mut reservation = Reservation { free: Rc::clone(&self.free), octets: 0 };
        reservation.cover(octets).then_some(reservation)
    }

    /// How much of it is held.
    pub(crate) fn used_permille(&self) -> u32 {
        permille(self.whole.saturating_sub(self.free.get()), self.whole)
    }
}

impl Reservation {
    /// Grows the reservation until it covers `octets`; false, and unchanged, if the budget does not hold so much.
    pub(crate) fn cover(&mut self, octets: u64) -> bool {
        let more = octets.saturating_sub(self.octets);
        let Some(left) = self.free.get().checked_sub(more) else { return false };
        self.free.set(left);
        self.octets += more;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free.set(self.free.get() + self.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_budget_and_all_of_it_comes_back() {
        let budget = MemoryBudget::new(100);
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
        assert!(budget.reserve(100).is_some());
    }
}
