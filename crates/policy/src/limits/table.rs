//! The memory of the limits: a table of fixed size, all of it taken when the process starts.
//!
//! Set-associative: the keyed hash of a subject names its set, and the whole hash stands in the entry in place of the subject. The key is a
//! secret of the process, so nobody can aim at a set; two subjects that share 64 bits of hash would share their budgets. One lock a set.
//!
//! A set that is full forgets whoever has least to remember: the budget that is full again first. A source that rotates through addresses
//! thereby pushes out its own one-off entries, not the ones that are near their limits. An entry with sessions under way is never forgotten,
//! so that a count is never lost. If a whole set is such entries, the new one is not remembered and not limited: mail is let through for want
//! of memory, never refused. Both are counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rules::{Rate, ScopeLimits, What};

/// What one take asks of one subject.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Want {
    /// How many, in the order of [`What::RATES`].
    pub(super) amounts: [u32; What::RATES.len()],
    /// One session, to be given back when it ends.
    pub(super) session: bool,
}

/// The table; see the module's text.
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Mutex<[Entry; WAYS]>]>,
    forgotten: AtomicU64,
    untracked: AtomicU64,
}

/// What is remembered of one subject.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The subject's hash; 0: the entry is free.
    tag: u64,
    /// For each rate the moment when its budget is full again (the theoretical arrival time of GCRA).
    full_at_ns: [u64; What::RATES.len()],
    sessions: u32,
}

impl Table {
    /// As many sets as `octets` hold, one at least.
    pub(super) fn new(octets: u64) -> Table {
        let sets = (octets / size_of::<Mutex<[Entry; WAYS]>>() as u64).max(1);
        let sets = (0..sets).map(|_| Mutex::default()).collect();
        Table { sets, forgotten: AtomicU64::new(0), untracked: AtomicU64::new(0) }
    }

    /// Takes what is wanted if no limit objects, else nothing. Whether it was remembered.
    ///
    /// # Errors
    /// What there would be too much of.
    pub(super) fn take(&self, tag: u64, limits: &ScopeLimits, want: Want, now_ns: u64) -> Result<bool, What> {
        let mut set = self.set(tag);
        let Some(at) = self.place(&set[..], tag, now_ns) else {
            self.untracked.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        };
        let mut entry = if set[at].tag == tag { set[at] } else { Entry { tag, ..Entry::default() } };
        for (kind, what) in What::RATES.into_iter().enumerate() {
            if let Some(rate) = limits.rates[kind].filter(|_| want.amounts[kind] > 0) {
                entry.full_at_ns[kind] = rate.take(want.amounts[kind], entry.full_at_ns[kind], now_ns).ok_or(what)?;
            }
        }
        if want.session {
            if limits.sessions.is_some_and(|most| entry.sessions >= most) {
                return Err(What::Sessions);
            }
            entry.sessions = entry.sessions.saturating_add(1);
        }
        set[at] = entry;
        Ok(true)
    }

    /// Gives back what was taken and remembered.
    pub(super) fn give_back(&self, tag: u64, limits: &ScopeLimits, want: Want) {
        let mut set = self.set(tag);
        // A rate may have been forgotten meanwhile; a session never is.
        let Some(entry) = set.iter_mut().find(|entry| entry.tag == tag) else { return };
        for ((rate, amount), full_at_ns) in limits.rates.iter().zip(want.amounts).zip(&mut entry.full_at_ns) {
            if let Some(rate) = rate {
                *full_at_ns = full_at_ns.saturating_sub(rate.cost_ns(amount));
            }
        }
        if want.session {
            entry.sessions = entry.sessions.saturating_sub(1);
        }
    }

    /// Sessions under way that are remembered.
    pub(super) fn sessions(&self, tag: u64) -> u32 {
        self.set(tag).iter().find(|entry| entry.tag == tag).map_or(0, |entry| entry.sessions)
    }

    /// Budgets forgotten before they were full again, and takes not remembered at all, since this was last asked.
    pub(super) fn take_losses(&self) -> (u64, u64) {
        (self.forgotten.swap(0, Ordering::Relaxed), self.untracked.swap(0, Ordering::Relaxed))
    }

    fn set(&self, tag: u64) -> MutexGuard<'_, [Entry; WAYS]> {
        // The upper half of the hash, stretched over the sets.
        let at = ((tag >> 32) * self.sets.len() as u64) >> 32;
        // Whoever panicked left a whole entry: it is written in one piece.
        self.sets[at as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the subject stands, or is to stand; none if every entry has sessions.
    fn place(&self, set: &[Entry], tag: u64, now_ns: u64) -> Option<usize> {
        if let Some(at) = set.iter().position(|entry| entry.tag == tag) {
            return Some(at);
        }
        let idle = set.iter().enumerate().filter(|(_, entry)| entry.sessions == 0);
        let (at, last_full_ns) = idle.map(|(at, entry)| (at, entry.last_full_ns())).min_by_key(|(_, full)| *full)?;
        if last_full_ns > now_ns {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        Some(at)
    }
}

impl Entry {
    /// When there is nothing to remember any more; 0 for a free entry.
    fn last_full_ns(&self) -> u64 {
        self.full_at_ns.into_iter().max().unwrap_or(0)
    }
}

impl Rate {
    /// The generic cell rate algorithm: when the budget is full again after `amount` more; none if it does not hold so much now.
    ///
    /// A budget that is full longer ahead than it can be (the limit was made smaller, the clock went back) counts as used up, no more.
    fn take(self, amount: u32, full_at_ns: u64, now_ns: u64) -> Option<u64> {
        let used_up_ns = now_ns.saturating_add(self.cost_ns(self.count()));
        let next_ns = full_at_ns.min(used_up_ns).max(now_ns).saturating_add(self.cost_ns(amount));
        (next_ns <= used_up_ns).then_some(next_ns)
    }

    /// How much later the budget is full for `amount`. What is more than the whole budget costs the whole: it could never be had otherwise.
    fn cost_ns(self, amount: u32) -> u64 {
        u64::from(amount.min(self.count())).saturating_mul(self.interval_ns())
    }
}

/// Entries of a set: 328 octets with its lock, six cache lines at most.
const WAYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const NS: u64 = 1_000_000;

    fn messages(rate: &str) -> ScopeLimits {
        let mut limits = ScopeLimits::default();
        limits.rates[1] = Some(rate.parse().unwrap());
        limits
    }

    fn want(amount: u32) -> Want {
        Want { amounts: [0, amount, 0], session: false }
    }

    /// For each limit a row of moments in milliseconds with what is wanted then, and whether it is had.
    #[test]
    fn budgets_to_the_millisecond() {
        type Row = (&'static str, &'static [(u64, u32, bool)]);
        let rows: [Row; 7] = [
            ("1/1s", &[(0, 1, true), (0, 1, false), (999, 1, false), (1_000, 1, true), (1_999, 1, false)]),
            ("2/1s", &[(0, 1, true), (0, 1, true), (499, 1, false), (500, 1, true), (500, 1, false), (1_000, 1, true)]),
            // Saved up is never more than the whole budget.
            ("3/3s", &[(900_000, 1, true), (900_000, 1, true), (900_000, 1, true), (900_000, 1, false)]),
            // More than the whole budget at once: had when it is full.
            ("2/1s", &[(0, 50, true), (999, 1, true), (999, 50, false), (2_000, 50, true), (2_000, 1, false)]),
            // A third of a second is no whole number of nanoseconds: rounded so that it is never more than three a second.
            (
                "3/1s",
                &[(0, 3, true), (333, 1, false), (334, 1, true), (667, 1, true), (1_000, 1, false), (1_001, 1, true)],
            ),
            ("1/1d", &[(5, 1, true), (86_400_004, 1, false), (86_400_005, 1, true)]),
            // At the end of time nothing overflows, and nobody is refused for it.
            ("1/1s", &[(u64::MAX, 1, true), (u64::MAX, 1, true)]),
        ];
        for (rate, moments) in rows {
            let (table, limits) = (Table::new(1), messages(rate));
            for (now_ms, amount, had) in moments {
                let taken = table.take(7, &limits, want(*amount), now_ms.saturating_mul(NS));
                assert_eq!(taken.is_ok(), *had, "{rate} at {now_ms}");
            }
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_period() {
        let table = Table::new(1);
        assert!(table.take(7, &messages("1/1d"), want(1), 0).is_ok());
        let smaller = messages("1/1s");
        assert!(table.take(7, &smaller, want(1), 10 * NS).is_err(), "used up");
        assert!(table.take(7, &smaller, want(1), 0).is_err(), "a clock that went back");
        let start = Table::new(1);
        assert!(start.take(7, &smaller, want(1), 5_000 * NS).is_ok());
        assert!(start.take(7, &smaller, want(1), 6_000 * NS).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let (table, limits) = (Table::new(1), messages("2/1h"));
        assert!(table.take(7, &limits, want(2), 9 * NS).is_ok());
        assert!(table.take(7, &limits, want(1), 9 * NS).is_err());
        table.give_back(7, &limits, want(1));
        assert!(table.take(7, &limits, want(1), 9 * NS).is_ok());
        assert!(table.take(7, &limits, want(1), 9 * NS).is_err());
        table.give_back(8, &limits, want(1));
    }

    #[test]
    fn a_full_set_forgets_who_has_least_to_remember() {
        let (table, limits) = (Table::new(1), messages("10/10s"));
        // Tag 1 has most to remember, tag 8 least.
        for tag in 1..=8 {
            assert_eq!(table.take(tag, &limits, want(10 - tag as u32), 0), Ok(true));
        }
        for stranger in 100..200 {
            assert_eq!(table.take(stranger, &limits, want(1), 0), Ok(true));
        }
        assert_eq!(table.take_losses(), (100, 0), "each stranger pushed out the one before it, the first one tag 8");
        assert!(table.take(1, &limits, want(2), 0).is_err(), "still remembered");
        assert_eq!(table.take(200, &limits, want(1), 60_000 * NS), Ok(true));
        assert_eq!(table.take_losses(), (0, 0), "nothing was left to remember");
    }

    #[test]
    fn sessions_are_never_forgotten() {
        let (table, limits) = (Table::new(1), ScopeLimits { sessions: Some(1), ..ScopeLimits::default() });
        let session = Want { session: true, ..Want::default() };
        for tag in 1..=WAYS as u64 {
            assert_eq!(table.take(tag, &limits, session, 0), Ok(true));
        }
        assert_eq!(table.take(100, &limits, session, 0), Ok(false), "no room, and not refused for it");
        assert_eq!(table.take_losses(), (0, 1));
        for tag in 1..=WAYS as u64 {
            assert_eq!(table.take(tag, &limits, session, 0), Err(What::Sessions));
            assert_eq!(table.sessions(tag), 1);
        }
        table.give_back(3, &limits, session);
        assert_eq!(table.take(100, &limits, session, 0), Ok(true));
        assert_eq!((table.sessions(100), table.sessions(3)), (1, 0));
    }

    #[test]
    fn the_size_is_kept() {
        assert_eq!(size_of::<Mutex<[Entry; WAYS]>>(), 328);
        let table = Table::new(16 << 20);
        assert_eq!(table.sets.len(), (16 << 20) / 328);
        for tag in [1, u64::MAX, 1 << 63, 0xffff_ffff] {
            assert_eq!(table.sessions(tag), 0);
        }
    }
}
