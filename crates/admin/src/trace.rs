//! `/trace`: what is said in sessions while they go on, as JSON lines.
//!
//! Shards look at the client's prefix only. HELO, domain, stage and rule are known later, so events wait here, in bounded room, until one of their session's
//! decisions fits; from then on they are passed on as they come.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::unfold;
use ipnet::IpNet;
use mx6_telemetry::{Event, Heard, Tracer, What};
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::{text, typed};
use crate::routes::Shared;
use crate::streams::{network, no_filter, too_many};

pub(crate) async fn trace(State(shared): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let wanted = match Wanted::parse(query) {
        Ok(wanted) => wanted,
        Err(why) => return text(StatusCode::BAD_REQUEST, &why),
    };
    let Some(place) = shared.streams.place_for_tracer() else { return too_many() };
    let tracer = shared.gate.tracing().trace(wanted.prefix, wanted.message_octets, EVENTS_WAITING_MAX);
    match tracer {
        Some(tracer) => typed(StatusCode::OK, "application/x-ndjson", lines(tracer, wanted, place)),
        None => too_many(),
    }
}

/// The tracer's events, a line each; an empty line when nothing happens, so that a reader that left is noticed.
fn lines(tracer: Tracer, wanted: Wanted, place: OwnedSemaphorePermit) -> Body {
    let sessions = Sessions::new(wanted);
    let stream = unfold((tracer, sessions, place), async |(mut tracer, mut sessions, place)| {
        loop {
            let heard = tokio::time::timeout(SILENCE_MAX, tracer.next()).await;
            let told = match heard {
                Ok(Some(Heard::Item(event))) => sessions.take(&event),
                Ok(Some(Heard::Missed(missed))) => format!("{{\"missed\":{missed}}}\n"),
                Ok(None) => return None,
                Err(_) => "\n".to_owned(),
            };
            if !told.is_empty() {
                return Some((Ok::<_, Infallible>(Bytes::from(told)), (tracer, sessions, place)));
            }
        }
    });
    Body::from_stream(stream)
}

/// Which sessions are wanted: all that is named must fit one of a session's decisions.
#[derive(Debug, Default)]
struct Wanted {
    prefix: Option<IpNet>,
    message_octets: u64,
    /// Fields of the record and their value.
    fields: Vec<(String, String)>,
}

impl Wanted {
    fn parse(query: HashMap<String, String>) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        for (name, value) in query {
            match name.as_str() {
                "helo" | "domain" => wanted.fields.push((name, value.to_ascii_lowercase())),
                "stage" | "rule" => wanted.fields.push((name, value)),
                "prefix" => wanted.prefix = Some(network(&value)?),
                "octets" => {
                    let octets = value.parse().ok().filter(|octets| *octets <= MESSAGE_OCTETS_MAX);
                    let octets =
                        octets.ok_or_else(|| format!("octets is none: write a number up to {MESSAGE_OCTETS_MAX}"))?;
                    wanted.message_octets = octets;
                }
                _ => return Err(no_filter(&name, "prefix, helo, domain, stage, rule or octets")),
            }
        }
        Ok(wanted)
    }

    fn fits(&self, what: &What) -> bool {
        if self.fields.is_empty() {
            return true;
        }
        let What::Decision { record } = what else { return false };
        let field = |name: &str| record[name].as_str().map(str::to_ascii_lowercase);
        self.fields.iter().all(|(name, value)| field(name).as_ref() == Some(value))
    }
}

/// The sessions under way.
struct Sessions {
    wanted: Wanted,
    known: HashMap<String, Session>,
    /// Those that wait, the oldest first.
    order: VecDeque<String>,
    /// Those that are told and once were among the oldest.
    told: VecDeque<String>,
    /// Of all lines that wait.
    octets: usize,
    /// Sessions that were forgotten before anything was known of them, and not told yet.
    dropped: u64,
}

#[derive(Default)]
struct Session {
    is_wanted: bool,
    waiting: String,
}

impl Sessions {
    fn new(wanted: Wanted) -> Sessions {
        let (order, told) = (VecDeque::new(), VecDeque::new());
        Sessions { wanted, known: HashMap::new(), order, told, octets: 0, dropped: 0 }
    }

    /// The lines that can be told now.
    fn take(&mut self, event: &Arc<Event>) -> String {
        let began = matches!(event.what, What::Connect { .. });
        if let What::Connect { client } = event.what {
            if self.wanted.prefix.is_some_and(|prefix| !prefix.contains(&client)) {
                return String::new();
            }
            self.order.push_back(event.session.clone());
        }
        if !began && !self.known.contains_key(&event.session) {
            // Of another tracer's client, or forgotten.
            return String::new();
        }
        let session = self.known.entry(event.session.clone()).or_default();
        let line = serde_json::to_string(&**event).unwrap_or_default() + "\n";
        let is_new = !session.is_wanted && self.wanted.fits(&event.what);
        session.is_wanted |= is_new;
        let told = if session.is_wanted {
            self.octets -= session.waiting.len();
            std::mem::take(&mut session.waiting) + &line
        } else {
            self.octets += line.len();
            session.waiting.push_str(&line);
            String::new()
        };
        if event.what == What::End
            && let Some(ended) = self.known.remove(&event.session)
        {
            self.octets -= ended.waiting.len();
        }
        self.forget();
        let dropped = std::mem::take(&mut self.dropped);
        let note = if dropped > 0 { format!("{{\"dropped_sessions\":{dropped}}}\n") } else { String::new() };
        note + &told
    }

    /// Keeps what waits within its room, and what is known of sessions whose end may have been missed.
    fn forget(&mut self) {
        while self.octets > WAITING_OCTETS_MAX || self.order.len() > SESSIONS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.known.get(&oldest).is_some_and(|session| session.is_wanted) {
                self.told.push_back(oldest);
            } else if let Some(session) = self.known.remove(&oldest) {
                self.octets -= session.waiting.len();
                self.dropped += 1;
            }
        }
        while self.told.len() > SESSIONS_MAX {
            let Some(oldest) = self.told.pop_front() else { break };
            self.dropped += u64::from(self.known.remove(&oldest).is_some());
        }
    }
}

/// Events that wait for a tracer; more are told as missed.
const EVENTS_WAITING_MAX: usize = 8192;
/// Of one message.
const MESSAGE_OCTETS_MAX: u64 = 1 << 20;
/// Of all sessions that wait for a decision.
const WAITING_OCTETS_MAX: usize = 16 << 20;
/// Sessions that wait; and as many again that are told and go on.
const SESSIONS_MAX: usize = 10_000;
/// After so long without an event a line says that the gate is there.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use mx6_telemetry::Said;
    use serde_json::{Value, json};

    fn sessions(query: &[(&str, &str)]) -> Sessions {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let wanted = Wanted::parse(query).unwrap();
        Sessions::new(wanted)
    }

    fn event(session: &str, what: What) -> Arc<Event> {
        Arc::new(Event { session: session.to_owned(), ms: 0, what })
    }

    fn connect(session: &str, client: &str) -> Arc<Event> {
        event(session, What::Connect { client: client.parse().unwrap() })
    }

    fn said(session: &str, octets: usize) -> Arc<Event> {
        event(session, What::Client(Said { octets: vec![b'x'; octets], cut: 0 }))
    }

    fn decided(session: &str, record: Value) -> Arc<Event> {
        event(session, What::Decision { record })
    }

    #[test]
    fn a_session_is_told_from_its_beginning_once_it_fits() {
        let mut all = sessions(&[]);
        assert_eq!(all.take(&connect("a", "::1")).lines().count(), 1);
        let mut some = sessions(&[("rule", "reverse-dns"), ("helo", "MAIL.example"), ("prefix", "2001:db8::/32")]);
        assert_eq!(some.take(&connect("a", "2001:db8::1")), "");
        assert_eq!(some.take(&connect("b", "2001:db9::1")), "");
        assert_eq!(some.take(&said("a", 3)), "");
        assert_eq!(some.take(&decided("a", json!({"rule": "spf-or-dkim", "helo": "mail.example"}))), "");
        let told = some.take(&decided("a", json!({"rule": "reverse-dns", "helo": "Mail.Example"})));
        assert_eq!(told.lines().count(), 4, "{told}");
        assert_eq!(some.take(&said("a", 3)).lines().count(), 1);
        assert_eq!(some.take(&event("a", What::End)).lines().count(), 1);
        assert_eq!(some.take(&decided("b", json!({"rule": "reverse-dns", "helo": "mail.example"}))), "");
        assert_eq!((some.octets, some.known.len()), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut some = sessions(&[("rule", "reverse-dns")]);
        let mut told = String::new();
        for number in 0..40 {
            told += &some.take(&connect(&number.to_string(), "::1"));
            told += &some.take(&said(&number.to_string(), 1 << 20));
            assert!(some.octets <= WAITING_OCTETS_MAX);
        }
        let dropped = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let dropped: u64 = dropped.map(|line| line["dropped_sessions"].as_u64().unwrap()).sum();
        assert!((24..=26).contains(&dropped), "{dropped}");
        assert_eq!(some.take(&decided("0", json!({"rule": "reverse-dns"}))), "", "it was forgotten");
        assert!(some.take(&decided("39", json!({"rule": "reverse-dns"}))).lines().count() == 3);
    }

    /// The ends of sessions may be missed.
    #[test]
    fn what_is_told_is_bounded() {
        let mut all = sessions(&[]);
        let mut told = String::new();
        for number in 0..3 * SESSIONS_MAX {
            told += &all.take(&connect(&number.to_string(), "::1"));
            assert!(all.known.len() <= 2 * SESSIONS_MAX + 1);
        }
        let dropped = told.lines().filter(|line| line.starts_with("{\"dropped_sessions\":1}"));
        assert_eq!(dropped.count(), SESSIONS_MAX);
        assert_eq!(all.take(&said("0", 3)), "", "it was forgotten");
        assert_eq!(all.take(&said(&(3 * SESSIONS_MAX - 1).to_string(), 3)).lines().count(), 1);
    }

    #[test]
    fn filters_that_are_none() {
        for (name, value) in [("sender", "x"), ("prefix", "x"), ("octets", "-1"), ("octets", "9999999999")] {
            let query = HashMap::from([(name.to_owned(), value.to_owned())]);
            assert!(Wanted::parse(query).is_err(), "{name}={value}");
        }
    }
}
