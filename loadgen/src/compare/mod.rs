//! Two runs side by side: which differences exceed the noise.
//!
//! The noise is what the seconds of each run show ([`noise`]); what a run does not show, a machine that was busier that
//! hour or memory that lay otherwise, is not in it. Who needs to know compares two runs of the same program first.

mod figures;
mod noise;
mod plans;

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use crate::measurement::{Arrivals, Measurement};
use crate::report::json;
use crate::report::terminal::wrap;
use crate::report::units::{duration, number, printable, utc};
use figures::{Call, Demand, Finding, Unit, findings};

/// Which runs, and how sure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The run before, as `run --json` wrote it.
    #[arg(value_name = "A.json")]
    a: PathBuf,
    /// The run after.
    #[arg(value_name = "B.json")]
    b: PathBuf,
    /// How sure to be that no figure at all is called different by chance.
    ///
    /// The chance of error is divided among the figures, so each interval is wider than this.
    #[arg(long, value_name = "PERCENT", default_value_t = 95.0, value_parser = confidence)]
    confidence: f64,
    /// Call differences up to this none, even when they exceed the noise.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = tolerance)]
    tolerance: f64,
    /// Compare although the plans differ. The differences are still named.
    #[arg(long)]
    anyway: bool,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

fn confidence(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (50.0..=99.99).contains(percent));
    percent.ok_or_else(|| "a number from 50 to 99.99".to_owned())
}

fn tolerance(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "a number from 0 to 100".to_owned())
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing is worse beyond the noise.
    NotWorse,
    /// Something is.
    Worse,
    /// The two say nothing about each other.
    Unusable,
}

impl Verdict {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Verdict::NotWorse => 0,
            Verdict::Worse => 1,
            Verdict::Unusable => 2,
        }
    }
}

/// Compares two files and prints what differs.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let (a, b) = (json::read(&options.a)?, json::read(&options.b)?);
    let comparison = Comparison::new(options, &a, &b);
    let text = if options.json {
        serde_json::to_string_pretty(&comparison).context("writing JSON")? + "\n"
    } else {
        comparison.table(options, &a, &b)
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("printing the comparison")?;
    Ok(comparison.verdict)
}

/// All of it; this is the JSON.
#[derive(Debug, Serialize)]
struct Comparison {
    a: String,
    b: String,
    confidence_percent: f64,
    tolerance_percent: f64,
    /// Fields of the plans that differ.
    plan_differences: Vec<String>,
    warnings: Vec<String>,
    /// Why there are no figures, if there are none.
    unusable: Option<String>,
    figures: Vec<Finding>,
    verdict: Verdict,
}

impl Comparison {
    fn new(options: &Options, a: &Measurement, b: &Measurement) -> Comparison {
        let plan_differences = plans::differences(a, b);
        let demand = Demand { error: 1.0 - options.confidence / 100.0, tolerance: options.tolerance / 100.0 };
        let mut unusable = unusable(a, b, !plan_differences.is_empty() && !options.anyway);
        let figures = if unusable.is_none() { findings(a, b, demand) } else { Vec::new() };
        let timed = |finding: &&Finding| finding.unit != Unit::PerMessage;
        if unusable.is_none() && figures.iter().filter(timed).all(|finding| finding.verdict == Call::TooFewWindows) {
            let seconds = noise::SAMPLES_MIN;
            unusable = Some(format!(
                "too few windows: each run must last {seconds} s, and longer if its seconds resemble each other or drift"
            ));
        }
        let worse = figures.iter().any(|finding| finding.verdict == Call::Worse);
        let verdict = match unusable {
            _ if worse => Verdict::Worse,
            Some(_) => Verdict::Unusable,
            None => Verdict::NotWorse,
        };
        Comparison {
            a: options.a.display().to_string(),
            b: options.b.display().to_string(),
            confidence_percent: options.confidence,
            tolerance_percent: options.tolerance,
            plan_differences,
            warnings: plans::warnings(a, b),
            unusable,
            figures,
            verdict,
        }
    }

    fn table(&self, options: &Options, a: &Measurement, b: &Measurement) -> String {
        let mut text = String::new();
        for (name, path, run) in [("A", &options.a, a), ("B", &options.b, b)] {
            _ = writeln!(text, "{name}  {}", title(path, run));
        }
        let differ = if self.plan_differences.is_empty() { "" } else { "\nTHE PLANS DIFFER:\n" };
        text.push_str(differ);
        self.plan_differences.iter().for_each(|field| _ = writeln!(text, "  {field}"));
        if !self.figures.is_empty() {
            self.rows(&mut text);
        }
        if !self.warnings.is_empty() {
            text.push_str("\nTo be kept in mind:\n");
            self.warnings.iter().for_each(|warning| wrap(&mut text, warning, 2));
        }
        text.push('\n');
        self.conclusion().iter().for_each(|part| wrap(&mut text, part, 0));
        text
    }

    fn rows(&self, text: &mut String) {
        _ = writeln!(text, "\n{:<22}{:>11}{:>11}{:>9}  {:<18}verdict", "", "A", "B", "B/A", "interval");
        for finding in &self.figures {
            let [a, b] =
                [finding.a, finding.b].map(|value| value.map_or("-".to_owned(), |value| shown(value, finding.unit)));
            let ratio = finding.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            let interval = finding.low.zip(finding.high).map(|(low, high)| format!("{low:.3} to {high:.3}"));
            let (interval, verdict) = (interval.unwrap_or_else(|| "-".to_owned()), finding.verdict.as_str());
            _ = writeln!(text, "{:<22}{a:>11}{b:>11}{ratio:>9}  {interval:<18}{verdict}", finding.figure);
        }
    }

    /// The last lines.
    fn conclusion(&self) -> Vec<String> {
        let called = |call: Call| -> Vec<&str> {
            self.figures
                .iter()
                .filter(|finding| finding.verdict == call)
                .map(|finding| finding.figure.as_str())
                .collect()
        };
        let (worse, better) = (called(Call::Worse), called(Call::Better));
        let beyond = format!("beyond {} % and the noise ({} % sure)", self.tolerance_percent, self.confidence_percent);
        let mut parts = Vec::new();
        if !worse.is_empty() {
            parts.push(format!("Worse {beyond}: {}.", worse.join(", ")));
        }
        if !better.is_empty() {
            parts.push(format!("Better {beyond}: {}.", better.join(", ")));
        }
        parts.extend(self.unusable.iter().map(|why| format!("Not comparable: {why}.")));
        if parts.is_empty() {
            parts.push(format!("No difference {beyond}."));
        }
        parts
    }
}

/// Why two runs cannot be compared at all.
fn unusable(a: &Measurement, b: &Measurement, plans_differ: bool) -> Option<String> {
    let ramp = |run: &Measurement| matches!(run.plan.arrivals, Arrivals::Ramp { .. });
    if plans_differ {
        return Some("the plans differ; repeat one run with the plan of the other, or say --anyway".to_owned());
    }
    if ramp(a) || ramp(b) {
        let end = |run: &Measurement| run.saturation_per_s.map_or("none".to_owned(), number);
        return Some(format!(
            "the seconds of a ramp are not of one kind; compare runs at one rate, below saturation (A {}, B {} messages/s)",
            end(a),
            end(b)
        ));
    }
    None
}

/// A run on one line.
fn title(path: &Path, run: &Measurement) -> String {
    let path = printable(&path.display().to_string(), 30);
    format!("{path}, {}, {} windows, {}", utc(run.started_unix_s), run.windows.len(), printable(&run.target, 26))
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Microseconds if value < 1_000.0 => format!("{} µs", number(value)),
        Unit::Microseconds => duration(value.round() as u64),
        Unit::PerSecond => format!("{}/s", number(value)),
        Unit::PerMessage => format!("{} %", number(value * 100.0)),
    }
}

impl Call {
    fn as_str(self) -> &'static str {
        match self {
            Call::Same => "same",
            Call::Better => "better",
            Call::Worse => "worse",
            Call::TooFewWindows => "too few windows",
        }
    }
}

#[cfg(test)]
mod tests;
