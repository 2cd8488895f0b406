//! How long each benchmark of this folder is measured: all of them in one sitting.
//!
//! Criterion's defaults spend most of that sitting on resampling (100,000 times), not on measuring.

use std::time::Duration;

use criterion::Criterion;

pub(crate) fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_200))
        .sample_size(50)
        .nresamples(10_000)
}
