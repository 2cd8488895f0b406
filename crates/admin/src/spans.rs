//! Decision records as OpenTelemetry spans, sent to a collector by OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/>) from one thread of its own.
//!
//! The thread hears records as every other listener does, through a bounded queue that drops when it is full: a collector that is slow or away
//! costs spans, which are counted, and never mail or records.

mod record;

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Uri;
use mx6_telemetry::{Feed, Heard, Listener, SpanStatus};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::time::{Instant, timeout_at};

use record::Spans;

/// Where a collector takes traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(String);

impl FromStr for Collector {
    type Err = String;

    /// `http://HOST:PORT`, to which `/v1/traces` is added, or a URL with the whole path.
    fn from_str(text: &str) -> Result<Collector, String> {
        let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err("TLS is not spoken here: let a collector beside the gate pass spans on".to_owned());
            }
            _ => return Err("must be http://HOST:PORT, such as http://127.0.0.1:4318".to_owned()),
        }
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err("must be http://HOST:PORT, such as http://127.0.0.1:4318".to_owned());
        }
        Ok(Collector(match uri.path() {
            "" | "/" => format!("{}/v1/traces", text.trim_end_matches('/')),
            _ => text.to_owned(),
        }))
    }
}

/// What became of the spans; clones are the same.
#[derive(Debug, Clone)]
pub struct SpanTally(Arc<Tally>);

#[derive(Debug)]
struct Tally {
    collector: String,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl SpanTally {
    /// The figures of this moment.
    #[must_use]
    pub fn status(&self) -> SpanStatus {
        let Tally { collector, sent, lost } = &*self.0;
        SpanStatus {
            collector: collector.clone(),
            sent: sent.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed),
        }
    }
}

/// The export, running.
#[derive(Debug)]
pub struct Exporting {
    tally: SpanTally,
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Exporting {
    /// What became of the spans so far.
    #[must_use]
    pub fn tally(&self) -> SpanTally {
        self.tally.clone()
    }

    /// For when the records have ended: waits until the last are sent, but not longer than a second.
    pub fn close(self) {
        if self.ended.recv_timeout(super::CLOSE_MAX) != Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = self.thread.join();
        }
    }
}

/// Sends every record that `decisions` tells to `collector`, as spans of the gate `hostname`, until the feed is closed.
///
/// # Errors
/// The thread, or its event queue, is refused by the system.
pub fn export(collector: &Collector, hostname: &str, decisions: &Feed<Arc<str>>) -> io::Result<Exporting> {
    let Some(listener) = decisions.listen(QUEUE_MAX) else {
        return Err(io::Error::other("too many listen to the decision records"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let exporter = {
        let _entered = runtime.enter();
        exporter(collector, hostname).map_err(io::Error::other)?
    };
    let (sent, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let tally = SpanTally(Arc::new(Tally { collector: collector.0.clone(), sent, lost }));
    let sender = Sender { exporter, tally: tally.clone(), is_failing: false };
    let spans = Spans::of(hostname);
    let (done, ended) = mpsc::channel();
    let thread = std::thread::Builder::new().name("mx6-spans".into()).spawn(move || {
        runtime.block_on(pass_on(listener, spans, sender));
        runtime.shutdown_timeout(Duration::ZERO);
        let _ = done.send(());
    })?;
    Ok(Exporting { tally, ended, thread })
}

fn exporter(collector: &Collector, hostname: &str) -> Result<SpanExporter, opentelemetry_otlp::ExporterBuildError> {
    let builder = SpanExporter::builder().with_http().with_endpoint(&collector.0).with_timeout(REQUEST_MAX);
    let mut exporter = builder.build()?;
    let gate = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{hostname}:{}", std::process::id())),
        KeyValue::new("host.name", hostname.to_owned()),
    ];
    exporter.set_resource(&Resource::builder_empty().with_service_name("mx6").with_attributes(gate).build());
    Ok(exporter)
}

/// Gathers spans and sends them, until there are no more records.
async fn pass_on(mut listener: Listener<Arc<str>>, mut spans: Spans, mut sender: Sender) {
    let mut is_over = false;
    while !is_over {
        let mut batch = Vec::new();
        // The first may be long in coming; the others of its batch have a moment.
        let mut until = None;
        while batch.len() < BATCH_SPANS {
            let heard = match until {
                None => listener.next().await,
                Some(until) => match timeout_at(until, listener.next()).await {
                    Ok(heard) => heard,
                    Err(_) => break,
                },
            };
            match heard {
                Some(Heard::Item(line)) => batch.extend(spans.of_record(&line)),
                Some(Heard::Missed(records)) => sender.lost(records),
                None => {
                    is_over = true;
                    break;
                }
            }
            until.get_or_insert_with(|| Instant::now() + GATHER);
        }
        if !batch.is_empty() {
            sender.send(batch).await;
        }
    }
}

struct Sender {
    exporter: SpanExporter,
    tally: SpanTally,
    is_failing: bool,
}

impl Sender {
    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) => {
                self.tally.0.sent.fetch_add(spans, Ordering::Relaxed);
            }
            Err(_) => self.lost(spans),
        }
        match (result, std::mem::take(&mut self.is_failing)) {
            (Ok(()), true) => mx6_telemetry::say!("the collector {} takes spans again", self.tally.0.collector),
            (Ok(()), false) => {}
            (Err(error), was_failing) => {
                if !was_failing {
                    mx6_telemetry::warning!(
                        "the collector {} does not take spans: {error}; those that it misses are counted, mail and records are not concerned",
                        self.tally.0.collector
                    );
                }
                self.is_failing = true;
            }
        }
    }

    fn lost(&self, spans: u64) {
        self.tally.0.lost.fetch_add(spans, Ordering::Relaxed);
    }
}

/// Records that wait for the thread.
const QUEUE_MAX: usize = 8192;
/// Spans in one request: some hundred KiB.
const BATCH_SPANS: usize = 512;
/// How long a span waits for others to go with it.
const GATHER: Duration = Duration::from_millis(500);
/// What a collector may take over a request.
const REQUEST_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors() {
        for (text, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("http://collector.example/otlp/v1/traces", "http://collector.example/otlp/v1/traces"),
        ] {
            assert_eq!(text.parse(), Ok(Collector(url.to_owned())));
        }
        for (text, words) in [
            ("127.0.0.1:4318", "must be http://"),
            ("https://collector.example", "TLS is not spoken here"),
            ("http://", "is no URL"),
            ("grpc://127.0.0.1:4317", "must be http://"),
            ("http://127.0.0.1:4318/?a=b", "must be http://"),
            ("", "is no URL"),
        ] {
            let error = text.parse::<Collector>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
