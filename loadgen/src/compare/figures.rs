//! The figures of two runs side by side, each with the interval of its ratio.
//!
//! Per-second figures take the seconds as samples. A percentile of the whole run has no seconds of its own: its interval
//! is that of its rank, `p ± t·√(p(1−p)/n)`, with `n` lessened by how much more the seconds' own percentiles wander than
//! independent messages would (design effect), and read off the histogram; the two runs are put together on the
//! logarithm (MOVER, Zou and Donner 2008). Counts of wrong answers are compared by the exact conditional test.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::noise::{self, Estimate, Measure, Sample, Statistic, student_t};
use crate::measurement::{Measurement, StageName, Window};

/// One figure of both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    pub figure: String,
    pub unit: Unit,
    /// Absent when the run does not have it.
    pub a: Option<f64>,
    pub b: Option<f64>,
    /// B over A.
    pub ratio: Option<f64>,
    /// Where the ratio is, with the confidence asked for, all figures together.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub verdict: Call,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Microseconds,
    PerSecond,
    PerMessage,
}

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Same,
    Better,
    Worse,
    TooFewWindows,
}

/// How sure one must be, and what is too small to matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Chance that any figure at all is called different when none is.
    pub error: f64,
    /// Differences up to this share are none.
    pub tolerance: f64,
}

/// Every figure that both runs have.
pub(crate) fn findings(a: &Measurement, b: &Measurement, demand: Demand) -> Vec<Finding> {
    // Bonferroni: the chance of error is shared out, one part for each figure and side.
    let tail = demand.error / 2.0 / FIGURES;
    let judge = Judge { a, b, tail, tolerance: demand.tolerance };
    let mut findings = vec![
        judge.seconds("server CPU a message", Unit::Microseconds, Statistic::Mean, cpu, Wanted::Less),
        judge.seconds("rate", Unit::PerSecond, Statistic::Median, rate, Wanted::More),
        judge.seconds("p50 of a second", Unit::Microseconds, Statistic::Median, p50, Wanted::Less),
        judge.seconds("p99 of a second", Unit::Microseconds, Statistic::Median, p99, Wanted::Less),
    ];
    findings.extend(PERCENTILES.map(|(name, percent)| judge.percentile(name, percent)));
    findings.push(judge.count("wrong answers", |run| run.wrong));
    findings.push(judge.count("failures below SMTP", |run| run.errors.iter().map(|error| error.count).sum()));
    findings.retain(|finding| finding.a.is_some() || finding.b.is_some());
    findings
}

/// A second with the time it took.
type Second<'a> = (&'a Window, f64);

fn cpu((window, _): Second<'_>) -> Option<Sample> {
    let cpu_us = window.server_cpu_us?;
    (window.messages > 0).then_some(Sample { sum: cpu_us as f64, over: window.messages as f64 })
}

fn rate((window, took_s): Second<'_>) -> Option<Sample> {
    Some(Sample { sum: window.messages as f64, over: took_s })
}

fn p50((window, _): Second<'_>) -> Option<Sample> {
    (window.messages > 0).then_some(Sample { sum: window.p50_us as f64, over: 1.0 })
}

fn p99((window, _): Second<'_>) -> Option<Sample> {
    (window.messages > 0).then_some(Sample { sum: window.p99_us as f64, over: 1.0 })
}

/// Samples of all whole windows: the part of a second at the end is none.
fn samples(run: &Measurement, of: fn(Second<'_>) -> Option<Sample>) -> Vec<Sample> {
    let mut began_s = 0.0;
    let seconds = run.windows.iter().map(|window| (window, window.at_s - std::mem::replace(&mut began_s, window.at_s)));
    seconds.filter(|(_, took_s)| *took_s >= 0.5).filter_map(of).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Less,
    More,
}

struct Judge<'a> {
    a: &'a Measurement,
    b: &'a Measurement,
    /// Chance of error above and below one interval.
    tail: f64,
    tolerance: f64,
}

impl Judge<'_> {
    /// A figure that every second has.
    fn seconds(
        &self,
        name: &str,
        unit: Unit,
        statistic: Statistic,
        of: fn(Second<'_>) -> Option<Sample>,
        wanted: Wanted,
    ) -> Finding {
        let (a, b) = noise::thinned(samples(self.a, of), samples(self.b, of));
        let [known_a, known_b] =
            [(&a, 1), (&b, 2)].map(|(samples, seed)| noise::estimate(samples, statistic, Measure::Logarithm, seed));
        let value =
            |samples, known: Option<Estimate>| known.map(|known| known.value).or(noise::plain(samples, statistic));
        let finding = Finding::of(name, unit, value(&a, known_a), value(&b, known_b));
        let (Some(known_a), Some(known_b)) = (known_a, known_b) else { return finding };
        let degrees = known_a.blocks.min(known_b.blocks) - 1.0;
        let spread = student_t(self.tail, degrees) * known_a.standard_error.hypot(known_b.standard_error);
        let least = known_a.value.min(known_b.value);
        let coarse = match unit {
            Unit::Microseconds if statistic == Statistic::Median => coarseness(least),
            Unit::Microseconds => CPU_CLOCK_US / a.iter().map(|sample| sample.sum).sum::<f64>().max(1.0),
            Unit::PerSecond | Unit::PerMessage => 0.0,
        };
        let middle = (known_b.value / known_a.value).ln();
        self.called(finding, middle - spread - coarse, middle + spread + coarse, wanted)
    }

    /// A percentile of the whole run.
    fn percentile(&self, name: &str, percent: f64) -> Finding {
        let ranked = [self.a, self.b].map(|run| Ranked::new(run, percent / 100.0));
        let values = ranked.each_ref().map(|ranked| ranked.as_ref().map(|ranked| ranked.value as f64));
        let finding = Finding::of(name, Unit::Microseconds, values[0], values[1]);
        let intervals = ranked.map(|ranked| ranked.and_then(|ranked| ranked.interval(self.tail)));
        let ([Some(a), Some(b)], [Some(value_a), Some(value_b)]) = (intervals, values) else { return finding };
        let middle = (value_b / value_a).ln();
        let off = |from: f64, to: f64| (to / from).ln();
        let below = off(b.0, value_b).hypot(off(value_a, a.1));
        let above = off(value_b, b.1).hypot(off(a.0, value_a));
        let coarse = coarseness(value_a.min(value_b));
        self.called(finding, middle - below - coarse, middle + above + coarse, Wanted::Less)
    }

    /// Something that should not happen, out of all messages.
    fn count(&self, name: &str, of: fn(&Measurement) -> u64) -> Finding {
        let [(count_a, tried_a), (count_b, tried_b)] =
            [self.a, self.b].map(|run| (of(run), (run.messages + of(run)).max(1)));
        let share = |count: u64, tried: u64| Some(count as f64 / tried as f64);
        let mut finding = Finding::of(name, Unit::PerMessage, share(count_a, tried_a), share(count_b, tried_b));
        let chance_b = tried_b as f64 / (tried_a + tried_b) as f64;
        finding.verdict = if at_least(count_a + count_b, count_b, chance_b) <= self.tail {
            Call::Worse
        } else if at_least(count_a + count_b, count_a, 1.0 - chance_b) <= self.tail {
            Call::Better
        } else {
            Call::Same
        };
        finding
    }

    /// The finding with its interval, given as logarithms.
    fn called(&self, finding: Finding, low: f64, high: f64, wanted: Wanted) -> Finding {
        let none = (1.0 + self.tolerance).ln();
        let verdict = match wanted {
            Wanted::Less if low > none => Call::Worse,
            Wanted::Less if high < -none => Call::Better,
            Wanted::More if low > none => Call::Better,
            Wanted::More if high < -none => Call::Worse,
            _ => Call::Same,
        };
        Finding { low: Some(low.exp()), high: Some(high.exp()), verdict, ..finding }
    }
}

impl Finding {
    /// Not judged yet.
    fn of(name: &str, unit: Unit, a: Option<f64>, b: Option<f64>) -> Finding {
        let ratio = a.zip(b).map(|(a, b)| b / a).filter(|ratio| ratio.is_finite());
        Finding { figure: name.to_owned(), unit, a, b, ratio, low: None, high: None, verdict: Call::TooFewWindows }
    }
}

/// A percentile of one run and what its seconds say about its rank.
struct Ranked<'a> {
    histogram: &'a Histogram<u64>,
    quantile: f64,
    value: u64,
    /// Of the rank, and the blocks it is known from; `None` with too few windows.
    error: Option<(f64, f64)>,
}

impl<'a> Ranked<'a> {
    fn new(run: &'a Measurement, quantile: f64) -> Option<Ranked<'a>> {
        let histogram = &run.stage(StageName::Message)?.histogram;
        // The seconds know two percentiles: the nearer one tells how the rank wanders, between them the worse of both.
        let effects: &[f64] = match quantile {
            quantile if quantile <= 0.75 => &[0.5],
            quantile if quantile >= 0.99 => &[0.99],
            _ => &[0.5, 0.99],
        };
        let cumulated = Cumulated::new(histogram);
        let effects: Option<Vec<(f64, f64)>> =
            effects.iter().map(|nearer| design_effect(run, &cumulated, *nearer)).collect();
        let worst = effects.and_then(|effects| effects.into_iter().max_by(|one, other| one.0.total_cmp(&other.0)));
        let independent = quantile * (1.0 - quantile) / histogram.len() as f64;
        let error = worst.map(|(effect, blocks)| ((independent * effect).sqrt(), blocks));
        Some(Ranked { histogram, quantile, value: histogram.value_at_quantile(quantile), error })
    }

    /// Where the percentile is; `None` if the run is too short to say.
    fn interval(&self, tail: f64) -> Option<(f64, f64)> {
        let (error, blocks) = self.error?;
        let spread = student_t(tail, blocks - 1.0) * error;
        let (low, high) = (self.quantile - spread, self.quantile + spread);
        // Beyond the last message nothing is known.
        let known = low > 0.0 && high < 1.0 - 0.5 / self.histogram.len() as f64;
        let value = |quantile: f64| (self.histogram.value_at_quantile(quantile) as f64).max(1.0);
        known.then(|| (value(low).min(self.value as f64), value(high).max(self.value as f64)))
    }
}

/// How many times more the rank wanders than if messages knew nothing of each other, at least once; and from how many blocks
/// that is known.
fn design_effect(run: &Measurement, cumulated: &Cumulated, quantile: f64) -> Option<(f64, f64)> {
    let ranks = run.windows.iter().filter(|window| window.messages > 0).map(|window| {
        let value = if quantile < 0.75 { window.p50_us } else { window.p99_us };
        let over = window.messages as f64;
        Sample { sum: cumulated.rank(value) * over, over }
    });
    let (ranks, _) = noise::thinned(ranks.collect(), Vec::new());
    let known = noise::estimate(&ranks, Statistic::Mean, Measure::Value, 3)?;
    let independent = quantile * (1.0 - quantile) / cumulated.count;
    Some(((known.standard_error.powi(2) / independent).max(1.0), known.blocks))
}

/// A histogram with its counts summed up, to find ranks in.
struct Cumulated {
    /// Highest value of a bucket, messages below the bucket, messages up to its end.
    buckets: Vec<(u64, u64, u64)>,
    count: f64,
}

impl Cumulated {
    fn new(histogram: &Histogram<u64>) -> Cumulated {
        let mut sum = 0;
        let bucket = |bucket: hdrhistogram::iterators::IterationValue<u64>| {
            let below = sum;
            sum += bucket.count_at_value();
            (bucket.value_iterated_to(), below, sum)
        };
        Cumulated { buckets: histogram.iter_recorded().map(bucket).collect(), count: histogram.len() as f64 }
    }

    /// Share of the messages below a value, those of its own bucket half.
    fn rank(&self, value: u64) -> f64 {
        let index = self.buckets.partition_point(|bucket| bucket.0 < value);
        let (_, below, upto) = self.buckets.get(index).or(self.buckets.last()).copied().unwrap_or_default();
        f64::midpoint(below as f64, upto as f64) / self.count
    }
}

/// Chance of at least `least` out of `count`, each with `chance`.
fn at_least(count: u64, least: u64, chance: f64) -> f64 {
    if least == 0 {
        return 1.0;
    }
    if count > EXACT_MAX {
        let deviation = (count as f64 * chance * (1.0 - chance)).sqrt();
        let off = (least as f64 - 0.5 - count as f64 * chance) / deviation.max(f64::MIN_POSITIVE);
        // Chebyshev and Cantelli: an upper bound, and with so many a sharp enough one.
        return if off <= 0.0 { 1.0 } else { 1.0 / (1.0 + off * off) };
    }
    let mut logarithm = 0.0;
    let mut sum = 0.0;
    for hits in 0..=count {
        if hits >= least {
            sum += (logarithm + hits as f64 * chance.ln() + (count - hits) as f64 * (1.0 - chance).ln()).exp();
        }
        logarithm += ((count - hits) as f64).ln() - ((hits + 1) as f64).ln();
    }
    sum.min(1.0)
}

/// How far two latencies may be apart, as a logarithm, and still be one: clocks tell µs, histograms three digits.
fn coarseness(us: f64) -> f64 {
    (1.0 / us.max(1.0) + 0.001).ln_1p()
}

/// Percentiles of the whole message that are compared.
const PERCENTILES: [(&str, f64); 4] =
    [("message p50", 50.0), ("message p90", 90.0), ("message p99", 99.0), ("message p99.9", 99.9)];
/// Figures that are judged.
const FIGURES: f64 = 10.0;
/// The kernel's clock of CPU time, at its coarsest.
const CPU_CLOCK_US: f64 = 10_000.0;
/// Beyond so many events the chance is bounded rather than summed.
const EXACT_MAX: u64 = 20_000;
