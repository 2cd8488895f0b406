//! What is plotted: figures made from a measurement, as points and axes, before anything is drawn.

use super::units::{duration, number, octets};
use crate::measurement::{Arrivals, Measurement, RampStep, StageName, Window};

/// A plot.
#[derive(Debug)]
pub(crate) struct Figure {
    pub title: String,
    /// What to read from it.
    pub caption: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// A line in a plot. A `None` between points is a gap.
#[derive(Debug)]
pub(crate) struct Series {
    pub name: String,
    /// Index of its colour.
    pub colour: usize,
    pub shape: Shape,
    /// Drawn thicker.
    pub strong: bool,
    pub points: Vec<Option<(f64, f64)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Line,
    Dashes,
    /// A line with its points shown.
    Dots,
}

/// An axis, in places: values put through a scale.
#[derive(Debug)]
pub(crate) struct Axis {
    pub name: String,
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<Tick>,
}

#[derive(Debug)]
pub(crate) struct Tick {
    pub at: f64,
    pub label: String,
}

/// How a value becomes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As it is, from 0.
    Linear,
    /// µs, logarithmic.
    LogTime,
    /// Octets, as they are, from 0.
    Memory,
    /// A quantile, by the number of its nines.
    Nines,
}

/// The figures that this measurement has data for.
pub(crate) fn figures(measurement: &Measurement) -> Vec<Figure> {
    let mut figures: Vec<Figure> = percentiles(measurement).into_iter().collect();
    figures.extend(ramp(&measurement.ramp, measurement.saturation_per_s));
    figures.extend(over_time(measurement));
    figures
}

/// The latency of each stage over the share of messages that had at most that.
fn percentiles(measurement: &Measurement) -> Option<Figure> {
    let mut series = Vec::new();
    let mut counts = Vec::new();
    for (colour, name) in PERCENTILE_STAGES.into_iter().enumerate() {
        let Some(stage) = measurement.stage(name) else { continue };
        counts.push(1.0 - 1.0 / stage.histogram.len() as f64);
        let quantiles = (0..=QUANTILE_STEPS * NINES_MAX)
            .map(|step| 1.0 - 10_f64.powf(-f64::from(step) / f64::from(QUANTILE_STEPS)));
        let known = quantiles.filter(|quantile| (1.0 - quantile) * stage.histogram.len() as f64 >= 1.0);
        let point = |quantile: f64| {
            let latency_us = stage.histogram.value_at_quantile(quantile) as f64;
            Some((Scale::Nines.place(quantile), Scale::LogTime.place(latency_us)))
        };
        let strong = name == StageName::Message;
        let points = known.map(point).collect();
        series.push(Series { name: name.as_str().into(), colour, shape: Shape::Line, strong, points });
    }
    let (x, y) =
        (Axis::new("share of the messages, %", Scale::Nines, counts), Axis::of_points("", Scale::LogTime, &series));
    let caption = "How long each stage took at most, for so many in a hundred; each step to the right is ten times rarer. \
                   The message runs from its intended start to its final reply.";
    (!series.is_empty()).then(|| Figure::new("Latency by percentile", caption, x, y, series))
}

/// What happened at each rate of a ramp.
fn ramp(steps: &[RampStep], saturation_per_s: Option<f64>) -> Vec<Figure> {
    if steps.is_empty() {
        return Vec::new();
    }
    let at = |y: fn(&RampStep) -> f64, scale: Scale| -> Vec<Option<(f64, f64)>> {
        steps.iter().map(|step| Some((step.rate_per_s, scale.place(y(step))))).collect()
    };
    let dots =
        |name: &str, colour, points| Series { name: name.into(), colour, shape: Shape::Dots, strong: false, points };
    let fastest = steps.iter().map(|step| step.rate_per_s).fold(0.0, f64::max);
    let rates = || Axis::new("messages a second that were to start", Scale::Linear, [fastest]).ending(fastest);
    let latency = vec![
        dots("p50", 0, at(|step| step.p50_us as f64, Scale::LogTime)),
        dots("p99", 1, at(|step| step.p99_us as f64, Scale::LogTime)),
    ];
    let achieved = vec![
        Series { shape: Shape::Dashes, ..dots("wanted", 7, at(|step| step.rate_per_s, Scale::Linear)) },
        dots("achieved", 2, at(|step| step.achieved_per_s, Scale::Linear)),
    ];
    let end = match saturation_per_s {
        Some(rate) => format!("The server kept up with {} messages a second.", number(rate)),
        None => "The server kept up with every step.".to_owned(),
    };
    let y = Axis::of_points("", Scale::LogTime, &latency);
    let latency = Figure::new("Ramp: latency by rate", &end, rates(), y, latency);
    let y = Axis::of_points("", Scale::Linear, &achieved);
    vec![
        latency,
        Figure::new(
            "Ramp: achieved by rate",
            "Messages a second. Where the line leaves the dashes the server is saturated.",
            rates(),
            y,
            achieved,
        ),
    ]
}

/// Rate, latency, CPU, memory and connections, second by second.
fn over_time(measurement: &Measurement) -> Vec<Figure> {
    let spans = spans(&measurement.windows);
    if spans.len() < 2 {
        return Vec::new();
    }
    let ended_s = spans.last().map_or(0.0, |span| span.at_s);
    let each = match measurement.windows.len().div_ceil(POINTS_MAX) {
        1 => "Each point is a second.".to_owned(),
        windows => format!("Each point is {windows} seconds; p99 is the highest of them."),
    };
    let line = |name: &str, colour: usize, scale: Scale, value: &dyn Fn(&Span) -> Option<f64>| Series {
        name: name.into(),
        colour,
        shape: Shape::Line,
        strong: false,
        points: spans.iter().map(|span| value(span).map(|value| (span.at_s, scale.place(value)))).collect(),
    };
    let figure = |title: &str, scale: Scale, series: Vec<Series>| {
        let known = series.iter().any(|series| series.points.iter().any(Option::is_some));
        let time =
            Axis::new("seconds since the start", Scale::Linear, spans.iter().map(|span| span.at_s)).ending(ended_s);
        known.then(|| Figure::new(title, &each, time, Axis::of_points("", scale, &series), series))
    };
    let busy = |value: fn(&Span) -> f64| move |span: &Span| (span.messages > 0).then(|| value(span));
    let mut rate = vec![line("final replies a second", 2, Scale::Linear, &|span| Some(span.rate_per_s))];
    if let Arrivals::Open { rate_per_s, .. } = measurement.plan.arrivals {
        let wanted = line("wanted", 7, Scale::Linear, &|_| Some(rate_per_s));
        rate.insert(0, Series { shape: Shape::Dashes, ..wanted });
    }
    let latency = vec![
        line("p50", 0, Scale::LogTime, &busy(|span| span.p50_us)),
        line("p99", 1, Scale::LogTime, &busy(|span| span.p99_us)),
    ];
    let cpu = line("µs of server CPU a message", 6, Scale::Linear, &|span| {
        span.server_cpu_us.filter(|_| span.messages > 0).map(|cpu_us| cpu_us / span.messages as f64)
    });
    let memory = line("resident memory of the server", 4, Scale::Memory, &|span| span.server_rss_octets);
    let open = line("connections open", 3, Scale::Linear, &|span| Some(span.in_flight));
    let figures = [
        figure("Rate", Scale::Linear, rate),
        figure("Latency of the message", Scale::LogTime, latency),
        figure("Server CPU a message, µs", Scale::Linear, vec![cpu]),
        figure("Server memory", Scale::Memory, vec![memory]),
        figure("Connections open", Scale::Linear, vec![open]),
    ];
    figures.into_iter().flatten().collect()
}

/// Some windows together, so that a long run has no more points than a plot has pixels.
struct Span {
    at_s: f64,
    took_s: f64,
    messages: u64,
    rate_per_s: f64,
    /// The mean of the windows with messages.
    p50_us: f64,
    /// The highest.
    p99_us: f64,
    server_cpu_us: Option<f64>,
    server_rss_octets: Option<f64>,
    in_flight: f64,
}

/// The windows, thinned out evenly.
fn spans(windows: &[Window]) -> Vec<Span> {
    let mut began_s = 0.0;
    let span = |windows: &[Window]| {
        let ended_s = windows.last().map_or(0.0, |window| window.at_s);
        let messages = windows.iter().map(|window| window.messages).sum();
        let took_s = ended_s - std::mem::replace(&mut began_s, ended_s);
        let busy = windows.iter().filter(|window| window.messages > 0);
        let p50s = busy.clone().map(|window| window.p50_us as f64);
        Span {
            at_s: ended_s,
            took_s,
            messages,
            rate_per_s: if took_s > 0.0 { messages as f64 / took_s } else { 0.0 },
            p50_us: p50s.sum::<f64>() / busy.clone().count().max(1) as f64,
            p99_us: busy.map(|window| window.p99_us).max().unwrap_or(0) as f64,
            server_cpu_us: windows.iter().map(|window| window.server_cpu_us.map(|us| us as f64)).sum(),
            server_rss_octets: windows
                .iter()
                .filter_map(|window| window.server_rss_octets)
                .max()
                .map(|octets| octets as f64),
            in_flight: windows.iter().map(|window| window.in_flight).max().unwrap_or(0) as f64,
        }
    };
    let spans = windows.chunks(windows.len().div_ceil(POINTS_MAX).max(1)).map(span);
    // The rest of a second at the end has no rate worth the name.
    spans.filter(|span| span.took_s >= 0.5).collect()
}

impl Figure {
    pub(crate) fn new(title: &str, caption: &str, x: Axis, y: Axis, series: Vec<Series>) -> Figure {
        Figure { title: title.into(), caption: caption.into(), x, y, series }
    }
}

impl Axis {
    /// An axis on which all of these values have a place.
    pub(crate) fn new(name: &str, scale: Scale, values: impl IntoIterator<Item = f64>) -> Axis {
        Axis::spanning(name, scale, values.into_iter().map(|value| scale.place(value)))
    }

    /// An axis for the ordinates of these series, which are places already.
    fn of_points(name: &str, scale: Scale, series: &[Series]) -> Axis {
        let points = series.iter().flat_map(|series| series.points.iter().flatten());
        Axis::spanning(name, scale, points.map(|(_, place)| *place))
    }

    fn spanning(name: &str, scale: Scale, places: impl IntoIterator<Item = f64>) -> Axis {
        let finite = places.into_iter().filter(|place| place.is_finite());
        let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let (low, high, ticks) = match scale {
            Scale::Linear => linear(high, 10.0, number),
            Scale::Memory => linear(high, 2.0, |value| octets(value as u64)),
            Scale::LogTime => logarithmic(low, high),
            Scale::Nines => nines(high),
        };
        Axis { name: name.into(), low, high, ticks }
    }

    /// The axis without what is beyond its last value.
    fn ending(mut self, last: f64) -> Axis {
        if last > self.low {
            self.high = last;
            self.ticks.retain(|tick| tick.at <= last);
        }
        self
    }

    /// Of the tick at this place.
    pub(crate) fn label(&self, place: f64) -> String {
        let tick = self.ticks.iter().find(|tick| (tick.at - place).abs() < 1e-9 * tick.at.abs().max(1.0));
        tick.map(|tick| tick.label.clone()).unwrap_or_default()
    }
}

impl Scale {
    /// Where a value is on an axis of this scale.
    pub(crate) fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear | Scale::Memory => value,
            Scale::LogTime => value.max(1.0).log10(),
            Scale::Nines => -(1.0 - value).max(1e-15).log10(),
        }
    }
}

/// From 0 to a little above `high`, with about five ticks at round numbers: 1, 2 or 5 times a power of `base`.
fn linear(high: f64, base: f64, label: impl Fn(f64) -> String) -> (f64, f64, Vec<Tick>) {
    let high = if high > 0.0 { high } else { 1.0 };
    let power = base.powf((high / 5.0).log(base).floor());
    let steps: &[f64] = if base == 2.0 { &[1.0, 2.0] } else { &[1.0, 2.0, 5.0, 10.0] };
    let step = steps.iter().map(|step| step * power).find(|step| high / step <= 5.5).unwrap_or(power * base);
    let top = (high * 1.04 / step).ceil() as u32;
    let ticks = (0..=top).map(|tick| f64::from(tick) * step).map(|at| Tick { at, label: label(at) });
    (0.0, f64::from(top) * step, ticks.collect())
}

/// From below to above, with ticks at powers of ten, and between them when they are few.
fn logarithmic(low: f64, high: f64) -> (f64, f64, Vec<Tick>) {
    let factors: &[f64] = if high - low > 3.5 {
        &[1.0]
    } else if high - low > 1.5 {
        &[1.0, 3.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let decades = (low.floor() as i32)..=(high.ceil() as i32);
    let values: Vec<f64> =
        decades.flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade))).collect();
    let below = values.iter().copied().filter(|value| value.log10() <= low + 1e-9).fold(1.0, f64::max);
    let above = values.iter().copied().filter(|value| value.log10() >= high - 1e-9).fold(f64::MAX, f64::min);
    let above = if above <= below { below * 10.0 } else { above };
    let within = values.into_iter().filter(|value| (below..=above).contains(value));
    let ticks = within.map(|value| Tick { at: value.log10(), label: duration(value.round() as u64) }).collect();
    (below.log10(), above.log10(), ticks)
}

/// From 0 to `high` nines, which a run with so many messages can tell.
fn nines(high: f64) -> (f64, f64, Vec<Tick>) {
    let high = high.clamp(1.0, f64::from(NINES_MAX));
    let labels = ["0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"];
    let places = [0.0, 2_f64.log10()].into_iter().chain((1..=NINES_MAX).map(f64::from));
    let ticks =
        places.zip(labels).filter(|(at, _)| *at <= high + 1e-9).map(|(at, label)| Tick { at, label: label.into() });
    (0.0, high, ticks.collect())
}

/// In the order of their colours. `service` is left out: where it differs from `message` the table says so.
const PERCENTILE_STAGES: [StageName; 9] = [
    StageName::Message,
    StageName::Reply,
    StageName::Connect,
    StageName::Banner,
    StageName::Ehlo,
    StageName::Tls,
    StageName::Mail,
    StageName::Rcpt,
    StageName::Data,
];
/// Points between one nine and the next.
const QUANTILE_STEPS: u32 = 40;
/// Nines on the axis.
const NINES_MAX: u32 = 7;
/// Points of one line over time.
const POINTS_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_have_a_few_round_ticks() {
        let rows: [(Scale, &[f64], &[&str]); 11] = [
            (Scale::Linear, &[], &["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"]),
            (Scale::Linear, &[0.0], &["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"]),
            (Scale::Linear, &[7.0, 42.0], &["0", "10", "20", "30", "40", "50"]),
            (Scale::Linear, &[2_000.0], &["0", "500", "1,000", "1,500", "2,000", "2,500"]),
            (Scale::Memory, &[30.0 * 1024.0 * 1024.0], &["0 B", "8 MiB", "16 MiB", "24 MiB", "32 MiB"]),
            (Scale::LogTime, &[], &["1 µs", "2 µs", "5 µs", "10 µs"]),
            (Scale::LogTime, &[0.0, 3.0], &["1 µs", "2 µs", "5 µs"]),
            (Scale::LogTime, &[250.0, 1_900.0], &["200 µs", "500 µs", "1 ms", "2 ms"]),
            (
                Scale::LogTime,
                &[40.0, 90_000.0],
                &["30 µs", "100 µs", "300 µs", "1 ms", "3 ms", "10 ms", "30 ms", "100 ms"],
            ),
            (Scale::Nines, &[0.995], &["0", "50", "90", "99"]),
            (Scale::Nines, &[1.0], &["0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"]),
        ];
        for (scale, values, labels) in rows {
            let axis = Axis::new("", scale, values.iter().copied());
            let found: Vec<&str> = axis.ticks.iter().map(|tick| tick.label.as_str()).collect();
            assert_eq!(found, labels, "{scale:?} {values:?}");
            let places = values.iter().map(|value| scale.place(*value));
            let within = |place: f64| scale == Scale::Nines || (axis.low..=axis.high).contains(&place);
            assert!(axis.low < axis.high && places.into_iter().all(within), "{axis:?}");
        }
    }

    #[test]
    fn the_rest_of_a_second_is_left_out() {
        let windows = [1.0, 2.0, 2.1].map(|at_s| Window { at_s, messages: 5, ..Window::default() });
        assert_eq!(spans(&windows).iter().map(|span| span.at_s).collect::<Vec<_>>(), [1.0, 2.0]);
    }

    #[test]
    fn windows_are_thinned_evenly() {
        let window = |second: u32| Window {
            at_s: f64::from(second),
            messages: 100,
            p99_us: u64::from(second),
            ..Window::default()
        };
        for (count, points) in [(0, 0), (1, 1), (600, 600), (601, 301), (86_400, 600)] {
            let windows: Vec<Window> = (1..=count).map(window).collect();
            let spans = spans(&windows);
            assert_eq!(spans.len(), points, "{count}");
            assert!(spans.iter().all(|span| (span.rate_per_s - 100.0).abs() < 1e-6), "{count}");
            assert_eq!(spans.last().map_or(0.0, |span| span.p99_us), f64::from(count));
        }
    }
}
