//! Refusals whose words are ours to choose name their session, and a page where one is given; all others stay as they are, to the octet.

use serde_json::Value;

use crate::harness::gate::{Gate, Setup, check_config};
use crate::harness::http::{admin, get};
use crate::harness::message::plain;
use crate::harness::next_hop::{End, NextHop, Script};
use crate::harness::smtp::Client;
use crate::harness::until;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS};

const TEMPLATE: &str = "https://postmaster.example/mx6?rule={rule}&session={session}&client={client}";

fn last_record(gate: &Gate, count: usize) -> Value {
    gate.decisions(count).pop().unwrap()
}

/// At each stage where words are ours: the reply, the record and the exemplar name the same session.
#[test]
fn one_session_everywhere() {
    let limits = ["--limit", "address.sessions=1", "--limit", "address.messages=1/1d", "--admin", "127.0.0.1:0"];
    let mut gate = Setup::new().args(&limits).args(&["--reply-url", TEMPLATE]).start();
    let address = admin(&mut gate, 1).remove(0);
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let page = |rule: &str, session: &str, client: &str| {
        let client = client.replace(':', "%3A");
        format!("(session {session}) https://postmaster.example/mx6?rule={rule}&session={session}&client={client}")
    };

    let said = Client::proxied(&gate, PASS).reply();
    let record = last_record(&gate, 1);
    let session = record["session"].as_str().unwrap();
    let words = format!("421 4.7.28 mx.example Too many connections from [{PASS}], try again later.");
    assert_eq!(said.trim_end(), format!("{words} {}", page("session-limit", session, PASS)));
    assert_eq!(record["reply"], said.trim_end());

    // Enforced and monitored recipients of a sender for whom they could differ.
    let mut other = Client::greeted(&gate, FORWARDER, "mail.pass.example");
    other.ok("MAIL FROM:<alice@bare.example>");
    other.ok("RCPT TO:<bob@open.example>");
    let said = other.say("RCPT TO:<bob@trial.example>");
    let record = last_record(&gate, 2);
    let session = record["session"].as_str().unwrap();
    assert!(said.starts_with("452 4.5.3 "), "{said}");
    assert!(said.trim_end().ends_with(&page("mixed-modes", session, FORWARDER)), "{said}");
    assert_eq!(record["reply"], said.trim_end());

    let accepted =
        smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "the only one"));
    assert!(accepted.starts_with("250 ") && !accepted.contains("postmaster.example"), "{accepted}");
    let session = last_record(&gate, 3)["session"].as_str().unwrap().to_owned();
    let said = smtp.say("MAIL FROM:<alice@pass.example>");
    assert!(
        said.starts_with("450 4.7.28 ") && said.trim_end().ends_with(&page("message-limit", &session, PASS)),
        "{said}"
    );
    assert_eq!(last_record(&gate, 4)["reply"], said.trim_end());
    let exemplar = format!("# {{session=\"{session}\"}}");
    until("the exemplar", || {
        let metrics = get(&address, "/metrics").body;
        metrics.lines().any(|line| line.contains("message-limit") && line.contains(&exemplar)).then_some(())
    });
    drop((smtp, other));
    gate.stop();
}

/// The words of the rule table, and a next hop's, are not ours to add to.
#[test]
fn fixed_words() {
    let unwilling = Script { end: End::Reply("554 5.6.0 Not that".into()), ..Script::default() };
    let next_hop = NextHop::start(vec![unwilling]);
    let gate = Setup::new().next_hops(&[next_hop.address]).args(&["--reply-url", TEMPLATE]).start();
    for (source, reverse_path, recipient, words) in [
        (PASS, "alice@pass.example", "bob@elsewhere.example", "550 5.7.1 "),
        (PASS, "alice@pass.example", "bob@v4only.example", "550 5.2.1 "),
        (NO_PTR, "alice@pass.example", "bob@open.example", "450 4.7.25 "),
        (FORWARDER, "alice@bare.example", "bob@open.example", "450 4.7.26 "),
        (PASS, "alice@pass.example", "bob@open.example", "554 5.6.0 Not that\r\n"),
    ] {
        let mut smtp = Client::greeted(&gate, source, "mail.pass.example");
        let said = smtp.transaction(reverse_path, recipient, &plain(reverse_path, "fixed"));
        assert!(said.starts_with(words), "{words}: {said}");
        assert!(!said.contains("session ") && !said.contains("postmaster.example"), "{said}");
    }
    gate.stop();
}

#[test]
fn templates_that_cannot_be_used() {
    for (template, words) in [
        ("mailto:postmaster@example.org", "must begin with https://"),
        ("https://example.org/?h={helo}", "{rule}, {session} and {client} are what is filled in"),
        ("https://example.org/a b", "may not stand in it"),
    ] {
        let ended = check_config(&["--reply-url", template]);
        assert_eq!(ended.code, Some(78), "{template}: {}", ended.stderr);
        assert!(ended.stderr.contains("--reply-url") && ended.stderr.contains(words), "{template}: {}", ended.stderr);
    }
}
