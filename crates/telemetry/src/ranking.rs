//! The most frequent of very many: a table of bounded size that keeps those that come often.
//!
//! When it is full the rarer half is forgotten, and what comes anew may have been among them: its count may then be too low by as much as the greatest that
//! was forgotten, which is told as its `error`. Those that are frequent stay.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use crate::status::Ranked;

/// Counts of names.
#[derive(Debug)]
pub(crate) struct Ranking<N> {
    counts: HashMap<N, Counts>,
    /// The greatest sum that was ever forgotten.
    forgotten: u64,
}

/// What was counted of one name.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) would_refuse: u64,
    error: u64,
}

impl Counts {
    fn sum(&self) -> u64 {
        self.accepted + self.refused + self.would_refuse
    }
}

impl<N> Default for Ranking<N> {
    fn default() -> Ranking<N> {
        Ranking { counts: HashMap::new(), forgotten: 0 }
    }
}

impl<N: Hash + Ord + ToString> Ranking<N> {
    /// Counts `name`, as `by` does.
    pub(crate) fn count<Q>(&mut self, name: &Q, by: impl FnOnce(&mut Counts))
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = N> + ?Sized,
    {
        if let Some(counts) = self.counts.get_mut(name) {
            return by(counts);
        }
        if self.counts.len() >= NAMES_MAX {
            self.forget_the_rarer_half();
        }
        let mut counts = Counts { error: self.forgotten, ..Counts::default() };
        by(&mut counts);
        self.counts.insert(name.to_owned(), counts);
    }

    fn forget_the_rarer_half(&mut self) {
        let mut sums: Vec<u64> = self.counts.values().map(Counts::sum).collect();
        let (_, median, _) = sums.select_nth_unstable(NAMES_MAX / 2);
        let median = *median;
        self.forgotten = self.forgotten.max(median);
        self.counts.retain(|_, counts| counts.sum() > median);
    }

    /// The `most` with the highest `by`, which is not 0.
    pub(crate) fn top(&self, most: usize, by: impl Fn(&Counts) -> u64) -> Vec<Ranked> {
        let mut all: Vec<_> = self.counts.iter().filter(|(_, counts)| by(counts) > 0).collect();
        all.sort_by(|(a_name, a), (b_name, b)| by(b).cmp(&by(a)).then_with(|| a_name.cmp(b_name)));
        let ranked = |(name, counts): (&N, &Counts)| Ranked {
            name: name.to_string(),
            accepted: counts.accepted,
            refused: counts.refused,
            would_refuse: counts.would_refuse,
            error: counts.error,
        };
        all.into_iter().take(most).map(ranked).collect()
    }
}

/// Names that are remembered: some hundred kilobytes.
const NAMES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_stay_in_a_flood_of_the_rare() {
        let mut ranking = Ranking::<String>::default();
        for flood in 0..100_000 {
            ranking.count(&*format!("rare{flood}"), |counts| counts.refused += 1);
            if flood % 100 == 0 {
                ranking.count("often", |counts| counts.refused += 1);
            }
            if flood % 1000 == 0 {
                ranking.count("seldom", |counts| counts.accepted += 1);
            }
        }
        assert!(ranking.counts.len() <= NAMES_MAX);
        let top = ranking.top(1, |counts| counts.refused);
        assert_eq!((top[0].name.as_str(), top[0].refused, top[0].error), ("often", 1000, 0));
        ranking.count("fresh", |fresh| assert!(fresh.error >= 1, "it may have been forgotten"));
        let accepted = ranking.top(10, |counts| counts.accepted);
        assert_eq!(accepted.len(), 1);
        assert!(accepted[0].accepted + accepted[0].error >= 100, "{accepted:?}");
    }
}
