//! `/metrics`: a status as OpenMetrics 1.0, or as Prometheus' text format 0.0.4 for whoever asks for `text/plain`.
//!
//! What there is stands in one table, in `families` and `counters`; from it also comes the reference. The number of series is bounded: labels are
//! rules, stages, shards, caches and next hops of the configuration, and what is ranked is cut at `families::TOP_MAX`.

mod counters;
mod families;

use std::fmt;

use mx6_telemetry::{Bucket, Counter, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::registry::{Registry, Unit};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    OpenMetrics,
    Prometheus,
}

impl Form {
    /// What `Accept` asks for.
    pub(crate) fn accepted(accept: &str) -> Form {
        let plain = accept.contains("text/plain") && !accept.contains("application/openmetrics-text");
        if plain { Form::Prometheus } else { Form::OpenMetrics }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The metrics of a status.
pub(crate) fn exposition(status: Status, form: Form) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(status)));
    let mut out = String::new();
    match form {
        Form::OpenMetrics => text::encode(&mut out, &registry)?,
        Form::Prometheus => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

/// Every family, in the order of the exposition.
pub(crate) fn families() -> impl Iterator<Item = Family> {
    families::FAMILIES.iter().copied().chain(Counter::ALL.iter().filter_map(|counter| counters::family(*counter)))
}

/// Metrics of one name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// Without unit and suffix.
    pub(crate) stem: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<&'static Unit>,
    pub(crate) labels: &'static [&'static str],
    /// What it counts: no full stop, one line.
    pub(crate) help: &'static str,
    /// When to worry, and what to do; empty if never.
    pub(crate) worry: &'static str,
    read: Read,
}

/// OpenMetrics' types, as far as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Info,
    Gauge,
    Counter,
    Histogram,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Info => "info",
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        }
    }
}

#[derive(Clone, Copy)]
enum Read {
    Status(fn(&Status) -> Vec<Sample>),
    Counter(Counter),
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Read")
    }
}

/// One series and its value now. Label values are in the order of the family's labels.
#[derive(Debug, Clone)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Whole(u64),
    Real(f64),
    /// A count, and the session that it last counted.
    Exemplified(u64, String),
    Spread {
        sum: f64,
        buckets: Vec<Bucket>,
    },
}

impl Sample {
    fn new<const N: usize>(labels: [&str; N], value: impl Into<Value>) -> Sample {
        Sample { labels: labels.map(str::to_owned).into(), value: value.into() }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl Family {
    /// The name of its samples (of a histogram: without `_bucket`, `_sum`, `_count`).
    pub(crate) fn name(&self) -> String {
        let unit = self.unit.map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        let suffix = match self.kind {
            Kind::Info => "_info",
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{suffix}", self.stem)
    }

    fn samples(&self, status: &Status) -> Vec<Sample> {
        match self.read {
            Read::Status(read) => read(status),
            Read::Counter(counter) => vec![Sample::new([], counters::value(counter, status))],
        }
    }

    fn encode(&self, status: &Status, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = self.samples(status);
        if samples.is_empty() {
            return Ok(());
        }
        let kind = match self.kind {
            Kind::Info => MetricType::Info,
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut encoder = encoder.encode_descriptor(self.stem, &format!("{}.", self.help), self.unit, kind)?;
        for sample in samples {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
            if self.kind == Kind::Info {
                encoder.encode_info(&labels)?;
            } else if labels.is_empty() {
                sample.value.encode(self.kind, &mut encoder)?;
            } else {
                sample.value.encode(self.kind, &mut encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, kind: Kind, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let counter = kind == Kind::Counter;
        match self {
            Value::Whole(value) if counter => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            Value::Whole(value) => encoder.encode_gauge(value),
            Value::Real(value) if counter => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
            Value::Real(value) => encoder.encode_gauge(value),
            Value::Exemplified(value, session) => {
                let exemplified: CounterWithExemplar<[(&str, String); 1]> = CounterWithExemplar::default();
                exemplified.inc_by(value.saturating_sub(1), None, None);
                exemplified.inc_by(1.min(*value), Some([("session", session.clone())]), None);
                let (value, exemplar) = exemplified.get();
                encoder.encode_counter(&value, exemplar.as_ref())
            }
            Value::Spread { sum, buckets } => {
                let count = buckets.iter().map(|bucket| bucket.count).sum();
                let last = buckets.len().saturating_sub(1);
                // The last octave also holds what is longer than its bound.
                let bound = |at: usize, bucket: &Bucket| if at == last { f64::INFINITY } else { seconds(bucket.le_us) };
                let buckets: Vec<_> =
                    buckets.iter().enumerate().map(|(at, bucket)| (bound(at, bucket), bucket.count)).collect();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, &buckets, None)
            }
        }
    }
}

/// A status that the library asks once.
#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        families().try_for_each(|family| family.encode(&self.0, &mut encoder))
    }
}

/// Microseconds as seconds.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Milliseconds as seconds.
fn seconds_of_ms(ms: u64) -> f64 {
    ms as f64 / 1e3
}
