//! What does not end: `/events` for the page, `/decisions` for a terminal.
//!
//! A status is taken once a second however many pages are open, and only while one is. Whoever is slow misses some and gets a whole one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::unfold;
use mx6_telemetry::{Feed, Heard, Listener, Status};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::Gate;
use crate::answer::{text, typed};
use crate::routes::Shared;

/// The streams' places, and the one source of statuses.
#[derive(Clone)]
pub(crate) struct Streams {
    pages: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    ticks: Ticks,
}

impl Streams {
    pub(crate) fn new(gate: Arc<dyn Gate>) -> Streams {
        Streams {
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            ticks: Ticks { gate, sender: Arc::default() },
        }
    }
}

/// A status each second, to all who listen.
#[derive(Clone)]
struct Ticks {
    gate: Arc<dyn Gate>,
    /// None while nobody listens.
    sender: Arc<Mutex<Option<broadcast::Sender<Bytes>>>>,
}

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticks").finish_non_exhaustive()
    }
}

impl Ticks {
    /// A whole status, and what follows.
    fn listen(&self) -> (Bytes, broadcast::Receiver<Bytes>) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = match &*sender {
            Some(sender) => sender.subscribe(),
            None => {
                let (new, receiver) = broadcast::channel(BEHIND_MAX);
                *sender = Some(new.clone());
                tokio::spawn(self.clone().run(new));
                receiver
            }
        };
        (event(&self.gate.status()), receiver)
    }

    async fn run(self, to: broadcast::Sender<Bytes>) {
        let mut records = self.gate.status().observed.records;
        loop {
            tokio::time::sleep(TICK).await;
            let mut status = self.gate.status();
            let all = std::mem::replace(&mut records, status.observed.records);
            only_new(&mut status, all);
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            if to.send(event(&status)).is_err() {
                *sender = None;
                return;
            }
        }
    }
}

/// Leaves of the last decisions those after the first `seen`.
fn only_new(status: &mut Status, seen: u64) {
    let new = status.observed.records.saturating_sub(seen);
    let old = status.observed.recent.len().saturating_sub(usize::try_from(new).unwrap_or(usize::MAX));
    status.observed.recent.drain(..old);
}

/// As an event of the HTML Living Standard §9.2. JSON has no line ends.
fn event(status: &Status) -> Bytes {
    let json = serde_json::to_string(status).unwrap_or_default();
    format!("event: status\nretry: 2000\ndata: {json}\n\n").into()
}

pub(crate) async fn events(State(shared): State<Shared>) -> Response {
    let Ok(place) = shared.streams.pages.try_acquire_owned() else { return full(PAGES_MAX) };
    let ticks = shared.streams.ticks;
    let (first, receiver) = ticks.listen();
    let stream = unfold((Some(first), receiver, ticks, place), async |(first, mut receiver, ticks, place)| {
        let event = match first {
            Some(first) => first,
            None => match receiver.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => event(&ticks.gate.status()),
                Err(broadcast::error::RecvError::Closed) => return None,
            },
        };
        Some((Ok::<_, Infallible>(event), (None, receiver, ticks, place)))
    });
    typed(StatusCode::OK, "text/event-stream", Body::from_stream(stream))
}

pub(crate) async fn decisions(State(shared): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let filter = match Filter::parse(query) {
        Ok(filter) => filter,
        Err(why) => return text(StatusCode::BAD_REQUEST, &why),
    };
    let Ok(place) = shared.streams.readers.try_acquire_owned() else { return full(READERS_MAX) };
    match lines(shared.gate.decisions(), filter, place) {
        Some(body) => typed(StatusCode::OK, "application/x-ndjson", body),
        None => full(READERS_MAX),
    }
}

fn full(most: usize) -> Response {
    let why = format!("There are {most} streams of this kind already: close one, or come again later");
    text(StatusCode::SERVICE_UNAVAILABLE, &why)
}

/// What the feed tells, a line each, as far as the filter lets it through; an empty line when nothing happens, so that a reader that left
/// is noticed.
fn lines(feed: &Feed<Arc<str>>, filter: Filter, place: OwnedSemaphorePermit) -> Option<Body> {
    let listener = feed.listen(LINES_WAITING_MAX)?;
    let stream = unfold((listener, filter, place), async |(mut listener, filter, place)| {
        let line = next_line(&mut listener, &filter).await?;
        Some((Ok::<_, Infallible>(line), (listener, filter, place)))
    });
    Some(Body::from_stream(stream))
}

async fn next_line(listener: &mut Listener<Arc<str>>, filter: &Filter) -> Option<Bytes> {
    let until = tokio::time::Instant::now() + SILENCE_MAX;
    loop {
        match tokio::time::timeout_at(until, listener.next()).await {
            Ok(Some(Heard::Item(record))) if filter.lets_through(&record) => return Some(format!("{record}\n").into()),
            // Many that do not fit must not keep the thread.
            Ok(Some(Heard::Item(_))) => tokio::task::consume_budget().await,
            Ok(Some(Heard::Missed(missed))) => return Some(format!("{{\"missed\":{missed}}}\n").into()),
            Ok(None) => return None,
            Err(_) => return Some(Bytes::from_static(b"\n")),
        }
    }
}

/// Which records are wanted: all that is named must fit.
#[derive(Debug, Default)]
struct Filter {
    /// Fields of the record and their value.
    fields: Vec<(String, String)>,
    prefix: Option<Prefix>,
}

impl Filter {
    fn parse(query: HashMap<String, String>) -> Result<Filter, String> {
        let mut filter = Filter::default();
        for (name, value) in query {
            match name.as_str() {
                "rule" | "verdict" => filter.fields.push((name, value)),
                "domain" => filter.fields.push((name, value.to_ascii_lowercase())),
                "prefix" => {
                    filter.prefix =
                        Some(Prefix::parse(&value).ok_or("prefix is none: write 2001:db8::/64 or 192.0.2.1")?)
                }
                _ => {
                    return Err(format!("{} is no filter: use rule, verdict, domain or prefix", name.escape_default()));
                }
            }
        }
        Ok(filter)
    }

    fn lets_through(&self, record: &str) -> bool {
        if self.fields.is_empty() && self.prefix.is_none() {
            return true;
        }
        let Ok(record) = serde_json::from_str::<Value>(record) else { return false };
        let client = record["client"].as_str().and_then(|client| client.parse().ok());
        let within = self.prefix.as_ref().is_none_or(|prefix| client.is_some_and(|client| prefix.contains(client)));
        within && self.fields.iter().all(|(name, value)| record[name].as_str() == Some(value))
    }
}

/// A network, as bits of an IPv6 address; IPv4 is mapped.
#[derive(Debug)]
struct Prefix {
    bits: u128,
    length: u32,
}

impl Prefix {
    fn parse(text: &str) -> Option<Prefix> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: std::net::IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Some(most), |length| length.parse().ok()).filter(|length| *length <= most)?;
        Some(Prefix { bits: bits(address), length: 128 - most + length })
    }

    fn contains(&self, address: std::net::IpAddr) -> bool {
        (self.bits ^ bits(address)).checked_shr(128 - self.length).unwrap_or(0) == 0
    }
}

fn bits(address: std::net::IpAddr) -> u128 {
    match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        std::net::IpAddr::V6(address) => address.to_bits(),
    }
}

/// Open pages at once.
const PAGES_MAX: usize = 24;
/// Readers of decisions at once.
const READERS_MAX: usize = 24;
/// Statuses that a page may be behind.
const BEHIND_MAX: usize = 4;
/// Records that wait for a reader.
const LINES_WAITING_MAX: usize = 4096;
/// Between two statuses.
const TICK: Duration = Duration::from_secs(1);
/// The longest that a stream says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let record = r#"{"client":"2001:db8:1::25","rule":"no-ptr","verdict":"defer","domain":"open.example"}"#;
        for (query, passes) in [
            ("", true),
            ("rule=no-ptr", true),
            ("rule=no-ptr&verdict=reject", false),
            ("domain=Open.Example&verdict=defer", true),
            ("prefix=2001:db8:1::/64", true),
            ("prefix=2001:db8::/32", true),
            ("prefix=2001:db8:2::/64", false),
            ("prefix=::/0", true),
            ("prefix=0.0.0.0/0", false),
            ("prefix=2001:db8:1::25", true),
        ] {
            let words = query.split('&').filter_map(|word| word.split_once('='));
            let query = words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(Filter::parse(query).unwrap().lets_through(record), passes);
        }
        for (name, value) in [("prefix", "x"), ("prefix", "192.0.2.0/33"), ("prefix", "::/129"), ("colour", "red")] {
            assert!(Filter::parse([(name.to_owned(), value.to_owned())].into()).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn only_what_is_new() {
        let mut status = Status::default();
        status.observed.records = 10;
        status.observed.recent = (0..5).map(Value::from).collect();
        only_new(&mut status, 8);
        assert_eq!(status.observed.recent, [Value::from(3), Value::from(4)]);
        only_new(&mut status, 10);
        assert!(status.observed.recent.is_empty());
    }
}
