//! Whether a host can be relied on. Nothing here forbids an attempt; it says who is tried first.
//!
//! A host that failed us backs off: the others go before it. When its back-off has ended one transaction at a time tries it out, and it
//! is one among the others again once a step has succeeded that is at least as far as the one where it failed: a host that says EHLO and
//! then hangs, or takes every message and never answers, holds up one client at a time and not all of them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mx6_runtime::now_ms;

use crate::{DeliveryConfig, Stage};

/// The health of one host.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row, those during a back-off not counted: they are of transactions that began before it.
    failures: Cell<u32>,
    failed_at: Cell<Stage>,
    /// 0 while it is healthy; stays when the back-off has ended, up to the first success.
    back_off_until_ms: Cell<u64>,
    on_trial: Rc<Cell<bool>>,
}

impl Health {
    /// The host failed us at `stage`: for some time others are tried first.
    pub(crate) fn failed(&self, stage: Stage, config: &DeliveryConfig) {
        let now_ms = now_ms();
        if self.back_off_until_ms.get() > now_ms {
            self.failed_at.set(self.failed_at.get().max(stage));
        } else {
            self.failures.set(self.failures.get().saturating_add(1));
            self.failed_at.set(stage);
        }
        let doublings = self.failures.get().saturating_sub(1).min(16);
        let back_off = config.back_off_min.saturating_mul(1 << doublings).min(config.back_off_max);
        self.back_off_until_ms.set(now_ms.saturating_add(millis(back_off)).max(1));
    }

    /// The host did the step `stage` of a mail transaction as it should.
    pub(crate) fn succeeded(&self, stage: Stage) {
        if stage >= self.failed_at.get() {
            self.failures.set(0);
            self.back_off_until_ms.set(0);
        }
    }

    /// Its place among the others: the lowest is tried first, hosts of the same rank as configured.
    pub(crate) fn rank(&self) -> u64 {
        let until_ms = self.back_off_until_ms.get();
        let waits = until_ms > now_ms() || self.on_trial.get();
        if waits { until_ms } else { 0 }
    }

    /// For how long others are tried first, in milliseconds.
    pub(crate) fn back_off_ms(&self) -> u64 {
        self.back_off_until_ms.get().saturating_sub(now_ms())
    }

    /// For whoever tries a host whose back-off has ended: while they hold it, others go to the next host. None when nothing is to be
    /// tried out, or somebody does.
    pub(crate) fn try_out(&self) -> Option<Trial> {
        let until_ms = self.back_off_until_ms.get();
        let is_due = until_ms > 0 && until_ms <= now_ms();
        (is_due && !self.on_trial.replace(true)).then(|| Trial(self.on_trial.clone()))
    }
}

/// One transaction tries a host out; over when dropped.
#[derive(Debug)]
pub(crate) struct Trial(Rc<Cell<bool>>);

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(back_off_min: Duration) -> DeliveryConfig {
        DeliveryConfig { back_off_min, ..DeliveryConfig::default() }
    }

    #[test]
    fn a_failure_is_forgotten_when_the_host_came_as_far_again() {
        let cases = [
            (Stage::Connect, Stage::Mail, true),
            (Stage::Greeting, Stage::Mail, true),
            (Stage::Mail, Stage::Mail, true),
            (Stage::Rcpt, Stage::Mail, false),
            (Stage::Rcpt, Stage::Rcpt, true),
            (Stage::Data, Stage::Rcpt, false),
            (Stage::EndOfData, Stage::Data, false),
            (Stage::EndOfData, Stage::EndOfData, true),
        ];
        for (failed_at, succeeded_at, forgotten) in cases {
            let health = Health::default();
            health.failed(failed_at, &config(Duration::from_secs(60)));
            assert!(health.rank() > 0);
            health.succeeded(succeeded_at);
            assert_eq!(health.rank() == 0, forgotten, "{failed_at:?} {succeeded_at:?}");
            assert_eq!(health.failures.get() == 0, forgotten);
        }
    }

    #[test]
    fn one_tries_it_out_when_the_back_off_has_ended() {
        let health = Health::default();
        assert!(health.try_out().is_none(), "healthy");
        health.failed(Stage::Mail, &config(Duration::from_secs(60)));
        assert!(health.try_out().is_none(), "in its back-off");
        let health = Health::default();
        health.failed(Stage::Mail, &config(Duration::ZERO));
        // A back-off of nothing has ended at once, but for the first millisecond of the clock.
        while now_ms() == 0 {}
        assert_eq!(health.rank(), 0);
        let trial = health.try_out();
        assert!(trial.is_some() && health.rank() > 0 && health.try_out().is_none());
        drop(trial);
        assert_eq!(health.rank(), 0);
    }

    #[test]
    fn failures_of_one_time_count_once() {
        let health = Health::default();
        for _ in 0..100 {
            health.failed(Stage::Mail, &config(Duration::from_secs(5)));
        }
        assert_eq!(health.failures.get(), 1);
        assert!(health.back_off_until_ms.get() <= now_ms() + 5_000);
    }
}
