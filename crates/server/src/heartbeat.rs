//! Whether every shard moves: each counts time for itself, and another thread looks.
//!
//! A shard that is stuck in one task, or whose ring is dead, runs no timer: its heart stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When each shard last ran its timer; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeats(Arc<[AtomicU64]>);

impl Heartbeats {
    /// Of so many shards, all alive at `now_ms`.
    pub(crate) fn new(shards: usize, now_ms: u64) -> Heartbeats {
        Heartbeats((0..shards).map(|_| AtomicU64::new(now_ms)).collect())
    }

    /// Beats for `shard` until its executor ends.
    pub(crate) async fn keep(self, shard: usize) {
        loop {
            self.beat(shard, mx6_runtime::now_ms());
            mx6_runtime::sleep(PERIOD).await;
        }
    }

    fn beat(&self, shard: usize, now_ms: u64) {
        if let Some(last) = self.0.get(shard) {
            last.store(now_ms, Ordering::Relaxed);
        }
    }

    /// How long ago each shard's heart beat, in milliseconds.
    pub(crate) fn ages_ms(&self, now_ms: u64) -> impl Iterator<Item = u64> {
        self.0.iter().map(move |last| now_ms.saturating_sub(last.load(Ordering::Relaxed)))
    }

    /// The first shard whose last beat is older than `age`.
    pub(crate) fn stuck(&self, now_ms: u64, age: Duration) -> Option<usize> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.0.iter().position(|last| now_ms.saturating_sub(last.load(Ordering::Relaxed)) > age)
    }
}

/// One wake-up a shard; short enough for any sensible `WatchdogSec=`.
const PERIOD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_heart_that_stops() {
        let beats = Heartbeats::new(3, 1_000);
        let age = Duration::from_millis(5_000);
        assert_eq!(beats.stuck(6_000, age), None);
        assert_eq!(beats.stuck(6_001, age), Some(0));
        beats.beat(0, 6_000);
        beats.beat(1, 6_000);
        assert_eq!(beats.stuck(6_001, age), Some(2));
        beats.beat(2, 9_000);
        assert_eq!(beats.stuck(6_001, age), None);
        assert_eq!(beats.stuck(11_001, age), Some(0));
    }
}
