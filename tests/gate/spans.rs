//! Decisions as OpenTelemetry spans: what a collector gets, and what one that is away costs.

use std::collections::BTreeSet;

use crate::harness::collector::{Collector, Taken, attribute};
use crate::harness::gate::{Gate, Setup};
use crate::harness::http::{admin, get, value};
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::until;
use crate::harness::zone::{NO_PTR, PASS};

fn send(gate: &Gate, source: &str, subject: &str) -> String {
    let mut smtp = Client::greeted(gate, source, "mail.pass.example");
    smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", subject))
}

/// Spans of decisions, without their parts.
fn decisions(collector: &Collector) -> Vec<Taken> {
    collector.taken().into_iter().filter(|taken| taken.span.name.starts_with("SMTP ")).collect()
}

/// One span a decision, under the session's trace, with the facts of the record; parts lie within it.
#[test]
fn a_collector_gets_every_decision() {
    let collector = Collector::start();
    let gate = Setup::new().args(&["--otlp", &format!("http://{}", collector.address)]).start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    for recipient in ["bob@open.example", "bob@v4only.example"] {
        smtp.transaction("alice@pass.example", recipient, &plain("alice@pass.example", "spans"));
        smtp.say("RSET");
    }
    assert!(send(&gate, NO_PTR, "refused").starts_with("450 4.7.25 "));
    let records = gate.decisions(3);
    let spans = until("three decisions", || Some(decisions(&collector)).filter(|spans| spans.len() == 3));
    for record in &records {
        let of_it = |taken: &&Taken| {
            let is = |key: &str, name: &str| attribute(&taken.span.attributes, key).as_deref() == record[name].as_str();
            is("mx6.session", "session") && is("mx6.rule", "rule")
        };
        let span = &spans.iter().find(of_it).unwrap_or_else(|| panic!("no span of {record:#}")).span;
        for (key, name) in [("client.address", "client"), ("mx6.verdict", "verdict"), ("mx6.reply", "reply")] {
            assert_eq!(attribute(&span.attributes, key).as_deref(), record[name].as_str(), "{record:#}");
        }
        let ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000;
        assert_eq!(record["duration_ms"]["session"], ms);
        assert!(!format!("{:?}", span.attributes).contains("@open.example"));
    }
    let traces: BTreeSet<_> = spans.iter().map(|taken| taken.span.trace_id.clone()).collect();
    assert_eq!(traces.len(), 2, "two sessions");
    for taken in &collector.taken() {
        assert_eq!(attribute(&taken.resource, "service.name").as_deref(), Some("mx6"));
        assert_eq!(attribute(&taken.resource, "host.name").as_deref(), Some("mx.example"));
        let parent = &taken.span.parent_span_id;
        if !parent.is_empty() {
            let parent = &spans.iter().find(|taken| taken.span.span_id == *parent).unwrap().span;
            assert_eq!(parent.trace_id, taken.span.trace_id);
            assert!(taken.span.start_time_unix_nano >= parent.start_time_unix_nano);
            assert!(taken.span.end_time_unix_nano <= parent.end_time_unix_nano);
        }
    }
    // What was decided last is sent before the gate ends.
    send(&gate, PASS, "last");
    gate.decisions(4);
    gate.stop();
    assert_eq!(decisions(&collector).len(), 4);
}

/// A collector that refuses, and one that is not there: mail and records go on, what it misses is counted and told once.
#[test]
fn a_collector_that_is_away() {
    let collector = Collector::start();
    collector.set_willing(false);
    let endpoint = format!("http://{}/v1/traces", collector.address);
    let mut gate = Setup::new().args(&["--admin", "127.0.0.1:0", "--otlp", &endpoint]).start();
    let address = admin(&mut gate, 1).remove(0);
    let lost = || value(&get(&address, "/metrics").body, "mx6_spans_total{outcome=\"lost\"}");
    for round in 1..=2 {
        assert!(send(&gate, PASS, "while it is away").starts_with("250 "));
        until("spans to be lost", || (lost() >= f64::from(round)).then_some(()));
    }
    let before = lost();
    collector.set_willing(true);
    assert!(send(&gate, PASS, "back").starts_with("250 "));
    until("a span", || decisions(&collector).pop());
    assert_eq!(lost(), before);
    assert!(value(&get(&address, "/metrics").body, "mx6_spans_total{outcome=\"sent\"}") >= 1.0);
    let status: serde_json::Value = serde_json::from_str(&get(&address, "/status").body).unwrap();
    assert_eq!(status["spans"]["collector"], endpoint);
    assert_eq!(gate.decisions(3).len(), 3);
    let told = gate.process.stderr();
    for words in ["does not take spans", "takes spans again"] {
        assert_eq!(told.iter().filter(|line| line.contains(words)).count(), 1, "{words}: {told:#?}");
    }
    gate.stop();
}

/// A collector that takes the connection and never answers holds up neither mail nor the end of the gate.
#[test]
fn a_collector_that_hangs() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let gate = Setup::new().args(&["--otlp", &endpoint]).start();
    for _ in 0..3 {
        assert!(send(&gate, PASS, "hung").starts_with("250 "));
    }
    assert_eq!(gate.decisions(3).len(), 3);
    gate.stop();
}
