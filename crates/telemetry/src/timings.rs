//! How long things take: one histogram for each kind of wait and shard, written by that shard alone.
//!
//! Buckets are four to an octave, from a microsecond to half an hour: a quantile read from them is at most a fifth too high, and a value costs two plain
//! stores.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Timing {
    /// A whole session, from accept to its end.
    Session,
    /// The lookup of reverse DNS.
    Iprev,
    /// SPF's lookups.
    Spf,
    /// The lookup of the DKIM keys.
    Dkim,
    /// What the next hop took to answer a recipient.
    Rcpt,
    /// From the final dot to the verdict.
    Verdict,
    /// From the verdict to delivery's outcome.
    Delivery,
}

impl Timing {
    /// Every kind, in the order of the enum.
    pub const ALL: [Timing; 7] =
        [Timing::Session, Timing::Iprev, Timing::Spf, Timing::Dkim, Timing::Rcpt, Timing::Verdict, Timing::Delivery];

    /// The name in metrics and in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Timing::Session => "session",
            Timing::Iprev => "iprev",
            Timing::Spf => "spf",
            Timing::Dkim => "dkim",
            Timing::Rcpt => "rcpt",
            Timing::Verdict => "verdict",
            Timing::Delivery => "delivery",
        }
    }

    /// What it is, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Timing::Session => "a whole session, from accept to its end",
            Timing::Iprev => "the lookup of reverse DNS",
            Timing::Spf => "SPF's lookups",
            Timing::Dkim => "the lookup of the DKIM keys",
            Timing::Rcpt => "the next hop's answer to a recipient",
            Timing::Verdict => "from the final dot to the verdict",
            Timing::Delivery => "from the verdict to delivery's outcome",
        }
    }
}

/// One shard's histogram of one kind.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds one value. One writer: plain loads and stores.
    pub(crate) fn add(&self, us: u64) {
        let add = |to: &AtomicU64, amount| to.store(to.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        add(&self.buckets[bucket(us)], 1);
        add(&self.sum_us, us);
    }

    pub(crate) fn add_to(&self, total: &mut Distribution) {
        for (total, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        total.sum_us = total.sum_us.wrapping_add(self.sum_us.load(Ordering::Relaxed));
    }
}

/// How values were spread, summed over shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { buckets: [0; BUCKETS], sum_us: 0 }
    }
}

/// So many values were at most `le_us`, and more than the bucket before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The bucket's upper bound, in microseconds.
    pub le_us: u64,
    /// Values in it.
    pub count: u64,
}

impl Distribution {
    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The buckets that are not empty.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let buckets = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        buckets.map(|(at, count)| Bucket { le_us: upper_bound(at), count: *count })
    }

    /// Values up to each octave (1 µs, 2 µs, 4 µs, …): coarse, and always the same bounds.
    pub fn octaves(&self) -> impl Iterator<Item = Bucket> {
        self.buckets.chunks(PER_OCTAVE).enumerate().map(|(octave, buckets)| Bucket {
            le_us: upper_bound(octave * PER_OCTAVE + PER_OCTAVE - 1),
            count: buckets.iter().sum(),
        })
    }

    /// The value that `per_mille` of all do not exceed, in microseconds, as exactly as the buckets tell; 0 without values.
    #[must_use]
    pub fn quantile_us(&self, per_mille: u64) -> u64 {
        let wanted = (self.count() * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return upper_bound(at);
            }
        }
        0
    }
}

/// Octave `k` ends at 2^k µs and holds four buckets of the same width; the first two octaves are narrower than that, and the value 0 lies in the first bucket.
fn bucket(us: u64) -> usize {
    let below = us.max(1) - 1;
    // The octave whose upper bound is the first power of two that is not less than `us`.
    let octave = (u64::BITS - below.leading_zeros()) as usize;
    let within = match octave {
        0 => PER_OCTAVE - 1,
        // Fewer values than buckets.
        1 => PER_OCTAVE - 1,
        2 => PER_OCTAVE / 2 - 1 + 2 * (below as usize & 1),
        _ => (below >> (octave - 3)) as usize & (PER_OCTAVE - 1),
    };
    (octave * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// The greatest value of a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let (octave, within) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE + 1);
    if octave == 0 {
        return 1;
    }
    let start = 1_u64 << (octave - 1);
    start + (start * within as u64).div_ceil(PER_OCTAVE as u64)
}

const PER_OCTAVE: usize = 4;
/// Up to 2^31 µs, 36 minutes; what is longer lies in the last.
const BUCKETS: usize = 32 * PER_OCTAVE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let edges = (0..31).flat_map(|octave| [0, 1, 2, 3, 5, 7].map(|more| (1_u64 << octave) + more - 1));
        for us in edges.chain(0..5_000) {
            let at = bucket(us);
            assert!(us <= upper_bound(at), "{us} in a bucket up to {}", upper_bound(at));
            let before = (0..at).rev().map(upper_bound).find(|bound| *bound < upper_bound(at));
            assert!(before.is_none_or(|bound| bound < us), "{us} would fit into {before:?}");
            assert!(
                us < 8 || upper_bound(at) * 4 <= us * 5 + 4,
                "{us}: {} is more than a quarter too high",
                upper_bound(at)
            );
        }
        assert_eq!(upper_bound(bucket(u64::MAX)), 1 << 31);
    }

    #[test]
    fn quantiles_and_octaves() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add(us));
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        histogram.add_to(&mut sum);
        assert_eq!((sum.count(), sum.sum_us()), (2000, 1_001_000));
        assert_eq!([0, 500, 990, 1000].map(|at| sum.quantile_us(at)), [1, 512, 1024, 1024]);
        assert_eq!(Distribution::default().quantile_us(500), 0);
        let octaves: Vec<Bucket> = sum.octaves().collect();
        assert_eq!(octaves.len(), 32);
        assert_eq!(octaves[0], Bucket { le_us: 1, count: 2 });
        assert_eq!(octaves[3], Bucket { le_us: 8, count: 8 });
        assert_eq!(octaves[10], Bucket { le_us: 1024, count: 976 });
        assert_eq!(sum.buckets().map(|bucket| bucket.count).sum::<u64>(), 2000);
    }
}
