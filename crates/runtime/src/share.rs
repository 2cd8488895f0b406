//! A bounded number of something that the tasks of a shard share, and what a part of them may take of it.

use std::cell::Cell;
use std::rc::{Rc, Weak};

/// So much of something, for tasks of one shard to hold pieces of. Clones are the same.
///
/// A part of it ([`Share::part`]) is a share of its own for some of those tasks: what they hold is held of the part and of the whole.
#[derive(Debug, Clone)]
pub struct Share(Rc<Inner>);

/// A share that is there as long as somebody has it or holds something of it.
#[derive(Debug, Clone)]
pub struct WeakShare(Weak<Inner>);

#[derive(Debug)]
struct Inner {
    size: u64,
    held: Cell<u64>,
    whole: Option<Share>,
}

/// A piece that is held; given back on drop.
#[derive(Debug)]
pub struct Held {
    share: Share,
    amount: u64,
}

impl Share {
    /// A share of `size`.
    #[must_use]
    pub fn new(size: u64) -> Share {
        Share(Rc::new(Inner { size, held: Cell::new(0), whole: None }))
    }

    /// A part of this one, of which no more than `size` can be held.
    #[must_use]
    pub fn part(&self, size: u64) -> Share {
        Share(Rc::new(Inner { size, held: Cell::new(0), whole: Some(self.clone()) }))
    }

    /// Takes `amount`; none if there is not so much left, here or in what this is a part of.
    #[must_use]
    pub fn take(&self, amount: u64) -> Option<Held> {
        let mut held = Held { share: self.clone(), amount: 0 };
        held.grow(amount).then_some(held)
    }

    /// What is held of it.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.held.get()
    }

    /// What can be held of it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// For who remembers it without keeping it.
    #[must_use]
    pub fn downgrade(&self) -> WeakShare {
        WeakShare(Rc::downgrade(&self.0))
    }

    /// This one and what it is a part of, the innermost first.
    fn all(&self) -> impl Iterator<Item = &Inner> {
        std::iter::successors(Some(&*self.0), |inner| inner.whole.as_ref().map(|whole| &*whole.0))
    }
}

impl WeakShare {
    /// The share, if it is there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Share> {
        self.0.upgrade().map(Share)
    }
}

impl Held {
    /// Takes `more` besides; false, and nothing is taken, if there is not so much left.
    pub fn grow(&mut self, more: u64) -> bool {
        let has_room = |inner: &Inner| inner.size.saturating_sub(inner.held.get()) >= more;
        if !self.share.all().all(has_room) {
            return false;
        }
        self.share.all().for_each(|inner| inner.held.set(inner.held.get() + more));
        self.amount += more;
        true
    }

    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.all().for_each(|inner| inner.held.set(inner.held.get() - self.amount));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_takes_more_than_its_own_nor_all_together_more_than_there_is() {
        let whole = Share::new(100);
        let [one, other] = [60, 60].map(|size| whole.part(size));
        let inner = one.part(50);
        let mut held = inner.take(40).unwrap();
        assert!(!held.grow(11), "the inner part has 50");
        assert!(held.grow(10));
        assert!(one.take(11).is_none(), "the part has 60");
        let beside = one.take(10).unwrap();
        assert!(other.take(41).is_none(), "40 are left of all");
        assert_eq!((inner.held(), one.held(), other.held(), whole.held()), (50, 60, 0, 60));
        drop(beside);
        let rest = other.take(50).unwrap();
        assert_eq!((whole.held(), rest.amount()), (100, 50));
        drop((held, rest));
        assert_eq!((inner.held(), one.held(), other.held(), whole.held()), (0, 0, 0, 0));
    }

    #[test]
    fn what_is_held_keeps_its_share() {
        let part = Share::new(10).part(5);
        let weak = part.downgrade();
        let held = part.take(5).unwrap();
        drop(part);
        assert!(weak.upgrade().unwrap().take(1).is_none());
        drop(held);
        assert!(weak.upgrade().is_none());
    }
}
