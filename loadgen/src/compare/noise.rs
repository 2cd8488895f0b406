//! How far a figure would move if the run were repeated, told from the seconds of one run.
//!
//! A second is a sample. Seconds that follow each other resemble each other, so they are drawn again in blocks (circular
//! block bootstrap, Politis and Romano 1992) whose length follows the autocorrelation (the plug-in of Künsch 1989 for an
//! AR(1) process). The spread of a thousand such draws is the standard error; an interval is that many of Student's t, with
//! as many degrees of freedom as there are blocks, less one. Draws come from a constant seed: the same two files always give
//! the same verdict.

/// What one second contributes: a sum, and what it is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub sum: f64,
    pub over: f64,
}

/// What is made of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistic {
    /// The middle one: some odd seconds do not move it.
    Median,
    /// All sums over all they are divided by: what the run cost as a whole.
    Mean,
}

/// A figure with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub value: f64,
    /// Of the logarithm of the value or of the value itself, as the caller asked.
    pub standard_error: f64,
    /// Blocks of seconds that resemble each other no more.
    pub blocks: f64,
}

/// Whether the error is that of the logarithm, for ratios, or of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Logarithm,
    Value,
}

/// The statistic of these samples and how far it may be off; `None` if they are too few to tell.
pub(crate) fn estimate(samples: &[Sample], statistic: Statistic, measure: Measure, seed: u64) -> Option<Estimate> {
    let length = block_length(samples)?;
    let value = of(samples, statistic, &mut Vec::new());
    let scaled = |value: f64| if measure == Measure::Logarithm { value.ln() } else { value };
    let mut draw = Draw(seed);
    let (mut again, mut scratch) = (Vec::with_capacity(samples.len() + length), Vec::new());
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..DRAWS {
        again.clear();
        while again.len() < samples.len() {
            let start = draw.below(samples.len());
            let end = start + length;
            again.extend_from_slice(&samples[start..end.min(samples.len())]);
            again.extend_from_slice(&samples[..end.saturating_sub(samples.len())]);
        }
        again.truncate(samples.len());
        let off = scaled(of(&again, statistic, &mut scratch)) - scaled(value);
        sum += off;
        squares += off * off;
    }
    let blocks = samples.len() as f64 / length as f64;
    let variance = (squares - sum * sum / f64::from(DRAWS)).max(0.0) / f64::from(DRAWS - 1);
    // A sample of m blocks has less spread than what it is drawn from.
    let standard_error = (variance * blocks / (blocks - 1.0)).sqrt();
    standard_error.is_finite().then_some(Estimate { value, standard_error, blocks })
}

/// The statistic alone, if there is a sample.
pub(crate) fn plain(samples: &[Sample], statistic: Statistic) -> Option<f64> {
    Some(of(samples, statistic, &mut Vec::new())).filter(|value| value.is_finite())
}

/// Brings two lists to at most [`SAMPLES_MAX`] each by putting as many neighbours together in one as in the other.
pub(crate) fn thinned(a: Vec<Sample>, b: Vec<Sample>) -> (Vec<Sample>, Vec<Sample>) {
    let together = a.len().max(b.len()).div_ceil(SAMPLES_MAX).max(1);
    let thin = |samples: Vec<Sample>| -> Vec<Sample> {
        let sum = |samples: &[Sample]| Sample {
            sum: samples.iter().map(|sample| sample.sum).sum(),
            over: samples.iter().map(|sample| sample.over).sum(),
        };
        samples.chunks_exact(together).map(sum).collect()
    };
    if together == 1 { (a, b) } else { (thin(a), thin(b)) }
}

/// The quantile of Student's t that leaves `tail` above it (Abramowitz and Stegun 26.7.5).
pub(crate) fn student_t(tail: f64, degrees: f64) -> f64 {
    let z = normal(tail);
    let degrees = degrees.max(1.0);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

/// The quantile of the normal distribution that leaves `tail` (at most a half) above it (Abramowitz and Stegun 26.2.23).
fn normal(tail: f64) -> f64 {
    let t = (-2.0 * tail.clamp(1e-300, 0.5).ln()).sqrt();
    let above = 2.515_517 + 0.802_853 * t + 0.010_328 * t * t;
    let below = 1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t.powi(3);
    t - above / below
}

/// Seconds in a block; `None` if there would be too few blocks.
fn block_length(samples: &[Sample]) -> Option<usize> {
    let count = samples.len();
    if count < SAMPLES_MIN {
        return None;
    }
    let similar = autocorrelation(samples).clamp(0.0, 0.99);
    let plug_in = (6_f64.sqrt() * similar / (1.0 - similar * similar)).powf(2.0 / 3.0) * (count as f64).cbrt();
    let length = plug_in.max((count as f64).sqrt().sqrt()).round() as usize;
    (count >= length * BLOCKS_MIN).then_some(length)
}

/// Between a second and the next.
fn autocorrelation(samples: &[Sample]) -> f64 {
    let values: Vec<f64> = samples.iter().map(|sample| sample.sum / sample.over).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let covariance: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

fn of(samples: &[Sample], statistic: Statistic, scratch: &mut Vec<f64>) -> f64 {
    match statistic {
        Statistic::Mean => {
            let (sum, over) =
                samples.iter().fold((0.0, 0.0), |(sum, over), sample| (sum + sample.sum, over + sample.over));
            sum / over
        }
        Statistic::Median => {
            scratch.clear();
            scratch.extend(samples.iter().map(|sample| sample.sum / sample.over));
            median(scratch)
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    let (count, middle) = (values.len(), values.len() / 2);
    if count == 0 {
        return f64::NAN;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::MIN, f64::max);
    if count.is_multiple_of(2) { f64::midpoint(lower, *upper) } else { *upper }
}

/// SplitMix64: draws that are the same on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = u128::from(mixed ^ mixed >> 31);
        // The high half of the product is below `end`, and as even as 64 bits allow.
        usize::try_from((mixed * end as u128) >> 64).unwrap_or(0)
    }
}

/// Fewer seconds say nothing about their spread.
pub(crate) const SAMPLES_MIN: usize = 15;
/// Fewer blocks say nothing about theirs.
const BLOCKS_MIN: usize = 5;
/// More are put together, so that a day compares in seconds.
const SAMPLES_MAX: usize = 1_000;
/// The standard error is then known to 2 %.
const DRAWS: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Lot;

    fn series(count: usize, similar: f64, seed: u64) -> Vec<Sample> {
        let mut lot = Lot::new(seed);
        let mut now = lot.normal();
        let fresh = (1.0 - similar * similar).sqrt();
        let mut next = || {
            now = now * similar + fresh * lot.normal();
            Sample { sum: 100.0 + 5.0 * now, over: 1.0 }
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let table = [
            (0.025, 1e9, 1.960),
            (0.005, 1e9, 2.576),
            (0.025, 10.0, 2.228),
            (0.025, 5.0, 2.571),
            (0.0025, 5.0, 4.773),
            (0.005, 30.0, 2.750),
            (0.5, 10.0, 0.0),
        ];
        for (tail, degrees, t) in table {
            let found = student_t(tail, degrees);
            assert!((found - t).abs() < 0.02 * t.max(0.1), "{tail} {degrees}: {found}, not {t}");
        }
    }

    #[test]
    fn medians_are_in_the_middle() {
        let table: [(&[f64], f64); 5] = [
            (&[3.0], 3.0),
            (&[1.0, 2.0], 1.5),
            (&[9.0, 1.0, 5.0], 5.0),
            (&[4.0, 1.0, 3.0, 2.0], 2.5),
            (&[2.0; 6], 2.0),
        ];
        for (values, middle) in table {
            assert_eq!(median(&mut values.to_vec()), middle, "{values:?}");
        }
    }

    #[test]
    fn too_few_or_too_similar_is_said() {
        let constant = vec![Sample { sum: 1.0, over: 1.0 }; 15];
        assert!(estimate(&constant[..14], Statistic::Median, Measure::Logarithm, 1).is_none());
        assert_eq!(
            estimate(&constant, Statistic::Median, Measure::Logarithm, 1).map(|known| known.standard_error),
            Some(0.0)
        );
        let drift: Vec<Sample> = (1..=60).map(|n| Sample { sum: f64::from(n), over: 1.0 }).collect();
        assert!(estimate(&drift, Statistic::Mean, Measure::Logarithm, 1).is_none(), "a trend is not noise");
    }

    /// The standard error must be what repetition shows, whether or not seconds resemble each other.
    #[test]
    fn the_error_is_that_of_repetition() {
        for (similar, statistic) in
            [(0.0, Statistic::Mean), (0.0, Statistic::Median), (0.5, Statistic::Mean), (0.5, Statistic::Median)]
        {
            let runs: Vec<Estimate> = (0..200)
                .filter_map(|seed| estimate(&series(120, similar, seed * 7 + 1), statistic, Measure::Value, 1))
                .collect();
            let count = runs.len() as f64;
            let mean = runs.iter().map(|run| run.value).sum::<f64>() / count;
            let spread = (runs.iter().map(|run| (run.value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
            let told = runs.iter().map(|run| run.standard_error).sum::<f64>() / count;
            assert!(
                count > 190.0 && (0.8..1.25).contains(&(told / spread)),
                "{similar} {statistic:?}: {told} for {spread}, {count}"
            );
        }
    }

    #[test]
    fn thinning_is_the_same_for_both() {
        let sample = |sum| Sample { sum, over: 1.0 };
        let (a, b) = thinned(vec![sample(2.0); 2_500], vec![sample(3.0); 10]);
        assert_eq!((a.len(), b.len()), (833, 3));
        assert_eq!((a[0], b[0]), (Sample { sum: 6.0, over: 3.0 }, Sample { sum: 9.0, over: 3.0 }));
    }
}
