//! What a DNS server can do wrong, and how often it shall.

use anyhow::{Result, ensure};
use clap::Args;

/// Failures to be had.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Faults {
    /// Every answer of the zone comes so many milliseconds late.
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub(crate) delay_ms: f64,
    /// And up to so many more, evenly distributed.
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub(crate) jitter_ms: f64,
    /// So many UDP questions in a hundred get no answer.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// So many questions in a hundred get SERVFAIL.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) servfail: f64,
    /// So many UDP answers in a hundred are truncated, so that the question comes again over TCP.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) truncate: f64,
}

impl Faults {
    /// Whether the numbers can be.
    pub(crate) fn check(&self) -> Result<()> {
        for (option, value) in [("delay-ms", self.delay_ms), ("jitter-ms", self.jitter_ms)] {
            ensure!((0.0..=DELAY_MS_MAX).contains(&value), "--{option} {value}: expected 0 to {DELAY_MS_MAX}");
        }
        for (option, value) in [("loss", self.loss), ("servfail", self.servfail), ("truncate", self.truncate)] {
            ensure!((0.0..=100.0).contains(&value), "--{option} {value}: expected 0 to 100");
        }
        Ok(())
    }

    /// Whether everything is answered at once and truly.
    pub(crate) fn is_none(&self) -> bool {
        [self.delay_ms, self.jitter_ms, self.loss, self.servfail, self.truncate].iter().all(|value| *value == 0.0)
    }

    /// Whether a lookup may fail that the population does not want to fail.
    pub(crate) fn may_fail_lookups(&self) -> bool {
        self.loss > 0.0 || self.servfail > 0.0
    }
}

/// A minute: nobody waits longer for DNS.
const DELAY_MS_MAX: f64 = 60_000.0;
