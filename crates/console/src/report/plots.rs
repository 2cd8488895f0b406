//! The plots of the page: stacked bars as SVG, drawn by plotters. Colours are those of the light page; [`dark_style`] turns each of them into
//! its dark counterpart, so that one picture serves both.

use std::fmt::Write as _;
use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::ReportError;
use super::event::{Objection, Outcome};
use super::tally::{BINS, Tally};
use crate::calendar::Utc;
use crate::units::count;

/// Stacked bars.
#[derive(Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) caption: &'static str,
    /// Name and colour of each part of a bar, from below.
    pub(crate) series: Vec<(&'static str, Shade)>,
    /// Values of each bar, one a series.
    pub(crate) bars: Vec<Vec<u64>>,
    /// What is written below, and at which bar; in the middle of it, or where it begins.
    labels: Vec<(usize, String)>,
    labels_in_the_middle: bool,
}

/// The plots that a tally has data for.
pub(crate) fn all(tally: &Tally) -> Vec<Bars> {
    [over_time(tally), by_rule(tally), times_to_come_back(tally)].into_iter().flatten().collect()
}

fn over_time(tally: &Tally) -> Option<Bars> {
    let (first, last) = (*tally.hours.keys().next()?, *tally.hours.keys().next_back()?);
    let hours = last - first + 1;
    let step = STEPS_H.into_iter().find(|step| hours.div_ceil(*step) <= BARS_MAX).unwrap_or(hours.div_ceil(BARS_MAX));
    let first = first / step * step;
    let number = usize::try_from((last - first) / step + 1).unwrap_or(1);
    let shown: Vec<Outcome> = Outcome::ALL.into_iter().filter(|outcome| tally.outcome(*outcome).messages > 0).collect();
    let mut bars = vec![vec![0; shown.len()]; number];
    for (hour, counts) in &tally.hours {
        let Some(bar) = usize::try_from((hour - first) / step).ok().and_then(|at| bars.get_mut(at)) else { continue };
        shown.iter().zip(bar).for_each(|(outcome, value)| *value += u64::from(counts[*outcome as usize]));
    }
    let per = if step == 1 {
        "hour".to_owned()
    } else if step == 24 {
        "day".to_owned()
    } else {
        format!("{step} hours")
    };
    let every = number.div_ceil(LABELS_MAX).max(1);
    let label = |at: usize| {
        let text = Utc((first + at as u64 * step) * 3_600_000).to_string();
        // Month and day; the hour where bars are shorter than a day.
        let end = if step >= 24 || every as u64 * step % 24 == 0 { 10 } else { 16 };
        (at, text.get(5..end).unwrap_or_default().to_owned())
    };
    Some(Bars {
        title: format!("Messages per {per}"),
        caption: "By what became of them. Times are UTC.",
        series: shown.iter().map(|outcome| (outcome.words(), outcome_shade(*outcome))).collect(),
        bars,
        labels: (0..number).step_by(every).map(label).collect(),
        labels_in_the_middle: false,
    })
}

fn by_rule(tally: &Tally) -> Option<Bars> {
    if tally.objected() == 0 {
        return None;
    }
    let bar = |objection: Objection| {
        let messages = tally.objection(objection).messages;
        if objection.is_temporary() { vec![0, messages] } else { vec![messages, 0] }
    };
    let labels = ["no reverse DNS", "no SPF or DKIM", "reverse DNS", "SPF, DKIM"];
    Some(Bars {
        title: "Refusals by rule".to_owned(),
        caption: "Messages refused, or that would have been. A temporary DNS failure says nothing of the sender.",
        series: vec![("for good", WOULD), ("DNS failed for now", TEMPORARY)],
        bars: Objection::ALL.map(bar).to_vec(),
        labels: labels.map(str::to_owned).into_iter().enumerate().collect(),
        labels_in_the_middle: true,
    })
}

fn times_to_come_back(tally: &Tally) -> Option<Bars> {
    let bins = tally.refused.histogram.iter().zip(tally.on_trial.histogram);
    let bars: Vec<Vec<u64>> = bins.map(|([v4, v6], [trial_v4, trial_v6])| vec![v4 + trial_v4, v6 + trial_v6]).collect();
    if bars.iter().flatten().all(|value| *value == 0) {
        return None;
    }
    Some(Bars {
        title: "Time to come back".to_owned(),
        caption: "From the first refusal until the last recipient had the message.",
        series: vec![("over IPv4", V4), ("over IPv6", PASSED)],
        bars,
        labels: BINS.iter().enumerate().map(|(at, (_, name))| (at, (*name).to_owned())).collect(),
        labels_in_the_middle: true,
    })
}

fn outcome_shade(outcome: Outcome) -> Shade {
    match outcome {
        Outcome::AcceptedV6 => PASSED,
        Outcome::WouldRefuse => WOULD,
        Outcome::Refused => REFUSED,
        Outcome::NotOpen => CLOSED,
        Outcome::RefusedOtherwise => OTHERWISE,
        Outcome::AcceptedV4 => V4,
        Outcome::RefusedV4 => V4_REFUSED,
        Outcome::Abandoned => ABANDONED,
    }
}

/// The SVG of a plot.
pub(crate) fn svg(bars: &Bars) -> Result<String, ReportError> {
    let mut svg = String::new();
    draw(bars, &mut svg).map_err(|error| ReportError::Draw(format!("`{}`: {error}", bars.title)))?;
    // In a page the element needs no name space, and its size is that of its place.
    let (_, content) = svg.split_once(">\n").unwrap_or_default();
    Ok(format!("<svg viewBox=\"0 0 {} {}\" aria-hidden=\"true\">\n{content}", SIZE.0, SIZE.1))
}

/// CSS rules that turn the colours of [`svg`] into those of the dark page. A rule beats an attribute.
pub(crate) fn dark_style() -> String {
    let mut rules = String::new();
    for Shade { light, dark } in SHADES {
        _ = writeln!(rules, "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}");
        _ = writeln!(rules, ".key[style=\"--key:{light}\"]{{--key:{dark} !important}}");
    }
    rules
}

type Failure = DrawingAreaErrorKind<std::io::Error>;

fn draw(bars: &Bars, svg: &mut String) -> Result<(), Failure> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let highest = bars.bars.iter().map(|bar| bar.iter().sum()).max().unwrap_or(0).max(1);
    let step = nice_step(highest);
    let top = highest.div_ceil(step) * step;
    let shift = if bars.labels_in_the_middle { 0.5 } else { 0.0 };
    let x = Ruler {
        low: 0.0,
        high: bars.bars.len() as f64,
        ticks: bars.labels.iter().map(|(at, _)| *at as f64 + shift).collect(),
    };
    let y = Ruler { low: 0.0, high: top as f64, ticks: (0..=top / step).map(|n| (n * step) as f64).collect() };
    let mut chart = ChartBuilder::on(&area)
        .margin_top(18)
        .margin_right(48)
        .x_label_area_size(52)
        .y_label_area_size(118)
        .build_cartesian_2d(x, y)?;
    let label = |at: &f64| {
        let found = bars.labels.iter().find(|(bar, _)| (*bar as f64 + shift - at).abs() < 0.01);
        found.map(|(_, label)| label.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(TICKS_MAX)
        .y_labels(TICKS_MAX)
        .x_label_formatter(&label)
        .y_label_formatter(&|at| count(*at as u64))
        .label_style(("sans-serif", FONT).into_font().color(&TEXT.rgb()))
        .bold_line_style(GRID.rgb().stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(FRAME.rgb().stroke_width(2))
        .draw()?;
    // Bars of few categories are slim, those of time touch.
    let gap = if bars.labels_in_the_middle { 0.2 } else { 0.06 };
    for (at, bar) in bars.bars.iter().enumerate() {
        let mut below = 0;
        for (value, (_, shade)) in bar.iter().zip(&bars.series).filter(|(value, _)| **value > 0) {
            let (from, to) = (at as f64 + gap, (at + 1) as f64 - gap);
            let corners = [(from, below as f64), (to, (below + value) as f64)];
            chart.draw_series([Rectangle::new(corners, shade.rgb().filled())])?;
            below += value;
        }
    }
    area.present()
}

/// The distance of 3 to 6 lines: 1, 2 or 5 times a power of ten.
fn nice_step(highest: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for step in [power, power.saturating_mul(2), power.saturating_mul(5)] {
            if highest.div_ceil(step) <= 5 {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// An axis as plotters wants it.
struct Ruler {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ranged for Ruler {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let share = ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// A colour on the light and on the dark page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shade {
    pub(crate) light: &'static str,
    dark: &'static str,
}

impl Shade {
    /// `#RRGGBB`, as the constants below are.
    fn rgb(self) -> RGBColor {
        let part = |from: usize| {
            self.light.get(from..from + 2).and_then(|part| u8::from_str_radix(part, 16).ok()).unwrap_or(0)
        };
        RGBColor(part(1), part(3), part(5))
    }
}

/// Twice as large as it is shown, because points are whole numbers.
const SIZE: (u32, u32) = (1240, 560);
/// Of the labels, in the same measure.
const FONT: i32 = 29;
/// More than any axis has.
const TICKS_MAX: usize = 64;
/// Bars over time, and labels below them.
const BARS_MAX: u64 = 96;
const LABELS_MAX: usize = 7;
/// Hours that a bar may stand for.
const STEPS_H: [u64; 9] = [1, 2, 3, 6, 12, 24, 48, 168, 672];

// Told apart on both pages, by people who see red and green alike too (lightness alternates).
const PASSED: Shade = Shade { light: "#2E8B63", dark: "#4FB68A" };
const WOULD: Shade = Shade { light: "#E08A1E", dark: "#F2A950" };
const REFUSED: Shade = Shade { light: "#B3261E", dark: "#F4837C" };
const CLOSED: Shade = Shade { light: "#7A3E9D", dark: "#C79BE3" };
const OTHERWISE: Shade = Shade { light: "#6B3A1E", dark: "#C89B7B" };
const V4: Shade = Shade { light: "#9CC3E6", dark: "#3E6E9A" };
const V4_REFUSED: Shade = Shade { light: "#3F6C99", dark: "#86B4DE" };
const ABANDONED: Shade = Shade { light: "#A9B2BC", dark: "#6C7783" };
const TEMPORARY: Shade = Shade { light: "#5B6FA8", dark: "#93A6DE" };
const TEXT: Shade = Shade { light: "#3C4653", dark: "#B4BECA" };
const GRID: Shade = Shade { light: "#E4E8ED", dark: "#2B333D" };
const FRAME: Shade = Shade { light: "#97A2AF", dark: "#56616E" };
const SHADES: [Shade; 12] =
    [PASSED, WOULD, REFUSED, CLOSED, OTHERWISE, V4, V4_REFUSED, ABANDONED, TEMPORARY, TEXT, GRID, FRAME];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (highest, step) in [(1, 1), (5, 1), (6, 2), (11, 5), (26, 10), (48_210, 10_000), (51_000, 20_000)] {
            assert_eq!(nice_step(highest), step, "{highest}");
        }
        assert!(nice_step(u64::MAX) > u64::MAX / 10);
    }

    #[test]
    fn colours_are_distinct_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for shade in SHADES {
            let RGBColor(red, green, blue) = shade.rgb();
            assert_eq!(format!("#{red:02X}{green:02X}{blue:02X}"), shade.light);
            assert!(seen.insert(shade.light) && seen.insert(shade.dark), "{shade:?} twice");
        }
    }
}
