//! What a decision record becomes: a span from the session's begin to the decision, and under it what is known to have ended with the decision.
//!
//! All decisions of a session are one trace; its id is made from the session's, so that whoever has a session's id from a reply, a log line or a metric can find the trace.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mx6_telemetry::unix_ms_of;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Makes the spans of one gate.
pub(super) struct Spans {
    hostname: String,
    /// Spans so far: no two have the same id.
    count: u64,
}

impl Spans {
    pub(super) fn of(hostname: &str) -> Spans {
        Spans { hostname: hostname.to_owned(), count: 0 }
    }

    /// The spans of a record: none if the line is not a decision.
    pub(super) fn of_record(&mut self, line: &str) -> Vec<SpanData> {
        let Ok(record) = serde_json::from_str::<Value>(line) else { return Vec::new() };
        let text = |key: &str| record[key].as_str();
        let (Some(time), Some(session), Some(stage)) =
            (text("time").and_then(unix_ms_of), text("session"), text("stage"))
        else {
            return Vec::new();
        };
        let ended = UNIX_EPOCH + Duration::from_millis(time);
        let ms = |what: &str| Duration::from_millis(record["duration_ms"][what].as_u64().unwrap_or_default());
        let before = |time: SystemTime, duration: Duration| time.checked_sub(duration).unwrap_or(UNIX_EPOCH);
        let trace = trace_id(&self.hostname, session);
        let name = NAMES
            .iter()
            .find(|(known, _)| *known == stage)
            .map_or(Cow::Owned(stage.to_owned()), |(_, name)| Cow::Borrowed(*name));
        let whole = self.span(
            trace,
            SpanId::INVALID,
            (name, SpanKind::Server),
            (before(ended, ms("session")), ended),
            attributes(&record),
        );
        let parent = whole.span_context.span_id();
        // The wait for a next hop, or for delivery, ends with the decision; the verdict fell before delivery began.
        let delivery_began = before(ended, ms("delivery"));
        let parts = [
            ("verify", SpanKind::Internal, before(delivery_began, ms("verdict")), delivery_began),
            ("deliver", SpanKind::Client, delivery_began, ended),
            ("recipient at next hop", SpanKind::Client, before(ended, ms("rcpt")), ended),
        ];
        let parts = parts.into_iter().filter(|(.., began, ended)| began < ended);
        let parts: Vec<_> = parts
            .map(|(name, kind, began, ended)| self.span(trace, parent, (name.into(), kind), (began, ended), Vec::new()))
            .collect();
        std::iter::once(whole).chain(parts).collect()
    }

    fn span(
        &mut self,
        trace: TraceId,
        parent_span_id: SpanId,
        (name, span_kind): (Cow<'static, str>, SpanKind),
        (start_time, end_time): (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        self.count += 1;
        let id = hashed(&[&self.hostname, &trace.to_string(), &self.count.to_string()]);
        let span_id = SpanId::from_bytes(id);
        SpanData {
            span_context: SpanContext::new(trace, span_id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id,
            parent_span_is_remote: false,
            span_kind,
            name,
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("mx6").build(),
        }
    }
}

/// The trace of a session.
fn trace_id(hostname: &str, session: &str) -> TraceId {
    TraceId::from_bytes(hashed(&[hostname, session]))
}

/// The first octets of a hash over `parts`.
fn hashed<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    std::array::from_fn(|at| digest[at])
}

fn attributes(record: &Value) -> Vec<KeyValue> {
    let value = |at: &str| match record.pointer(at)? {
        Value::String(text) => Some(opentelemetry::Value::from(text.clone())),
        Value::Bool(flag) => Some((*flag).into()),
        Value::Number(number) => number.as_i64().map(Into::into),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    ATTRIBUTES.iter().filter_map(|(at, key)| Some(KeyValue::new(*key, value(at)?))).collect()
}

/// The stages, as spans are named.
const NAMES: [(&str, &str); 4] =
    [("connect", "SMTP connect"), ("mail", "SMTP MAIL"), ("rcpt", "SMTP RCPT"), ("end-of-data", "SMTP end of data")];

/// Where in a record an attribute is. Whole mail addresses stay in the records.
const ATTRIBUTES: [(&str, &str); 31] = [
    ("/client", "client.address"),
    ("/session", "mx6.session"),
    ("/shard", "mx6.shard"),
    ("/connector", "mx6.connector"),
    ("/early_talker", "mx6.early_talker"),
    ("/tls/version", "tls.protocol.version"),
    ("/tls/cipher", "tls.cipher"),
    ("/helo", "mx6.helo"),
    ("/domain", "mx6.recipient.domain"),
    ("/class", "mx6.recipient.class"),
    ("/rule", "mx6.rule"),
    ("/verdict", "mx6.verdict"),
    ("/reply", "mx6.reply"),
    ("/would_rule", "mx6.would_rule"),
    ("/message_id", "mx6.message_id"),
    ("/size_octets", "mx6.size_octets"),
    ("/iprev/result", "mx6.iprev.result"),
    ("/iprev/cache", "mx6.iprev.cache"),
    ("/spf/result", "mx6.spf.result"),
    ("/spf/domain", "mx6.spf.domain"),
    ("/spf/cache", "mx6.spf.cache"),
    ("/dkim_cache", "mx6.dkim.cache"),
    ("/dmarc/result", "mx6.dmarc.result"),
    ("/dmarc/domain", "mx6.dmarc.domain"),
    ("/delivery/outcome", "mx6.delivery.outcome"),
    ("/delivery/next_hop", "server.address"),
    ("/delivery/connection", "mx6.delivery.connection"),
    ("/delivery/fault", "error.type"),
    ("/duration_ms/iprev", "mx6.duration.iprev_ms"),
    ("/duration_ms/spf", "mx6.duration.spf_ms"),
    ("/duration_ms/dkim", "mx6.duration.dkim_ms"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use serde_json::json;

    fn record() -> Value {
        json!({
            "time": "2026-11-26T21:00:10.000Z", "session": "19a-0-1", "shard": 0, "client": "2001:db8::1", "connector": false,
            "helo": "mail.sender.example", "mail_from": "alice@sender.example", "rcpt_to": "bob@open.example", "domain": "open.example",
            "stage": "end-of-data", "rule": "accepted", "verdict": "accept", "reply": "250 ok",
            "spf": {"result": "pass"},
            "duration_ms": {"session": 900, "iprev": 1, "spf": 2, "dkim": 3, "rcpt": 0, "verdict": 40, "delivery": 60},
        })
    }

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_726_810_000 + ms) - Duration::from_secs(1)
    }

    #[test]
    fn a_decision_and_its_parts() {
        let mut spans = Spans::of("mx.example");
        let all = spans.of_record(&record().to_string());
        let shown: Vec<_> = all.iter().map(|span| (span.name.as_ref(), span.start_time, span.end_time)).collect();
        assert_eq!(
            shown,
            [("SMTP end of data", at(100), at(1000)), ("verify", at(900), at(940)), ("deliver", at(940), at(1000))]
        );
        assert!(all[1..].iter().all(|part| part.parent_span_id == all[0].span_context.span_id()));
        let value = |key: &str| {
            all[0].attributes.iter().find(|known| known.key.as_str() == key).map(|known| known.value.to_string())
        };
        assert_eq!(value("mx6.spf.result").as_deref(), Some("pass"));
        assert_eq!(value("mx6.shard").as_deref(), Some("0"));
        assert_eq!(value("mx6.duration.dkim_ms").as_deref(), Some("3"));
        assert_eq!(value("mx6.would_rule"), None);
        let texts: Vec<_> = all[0].attributes.iter().map(|known| known.value.to_string()).collect();
        assert!(!texts.iter().any(|text| text.contains('@')), "{texts:?}");
    }

    #[test]
    fn a_session_is_a_trace() {
        let mut spans = Spans::of("mx.example");
        let mut other = record();
        let first = spans.of_record(&other.to_string());
        let again = spans.of_record(&other.to_string());
        other["session"] = "19a-0-2".into();
        let second = spans.of_record(&other.to_string());
        let elsewhere = Spans::of("mx2.example").of_record(&record().to_string());
        let trace = |spans: &[SpanData]| spans[0].span_context.trace_id();
        assert_eq!(trace(&first), trace(&again));
        assert_ne!(trace(&first), trace(&second));
        assert_ne!(trace(&first), trace(&elsewhere));
        let all = [first, again, second].concat();
        let ids: HashSet<_> = all.iter().map(|span| span.span_context.span_id()).collect();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn what_is_no_decision() {
        let mut spans = Spans::of("mx.example");
        for line in ["", "{", "{\"records_lost\":3}", "[1]", "{\"time\":\"x\",\"session\":\"s\",\"stage\":\"rcpt\"}"] {
            assert_eq!(spans.of_record(line), []);
        }
    }
}
