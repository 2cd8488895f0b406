//! What EHLO offers beside TLS: chunks (RFC 3030), limits (RFC 9422); and clients that do not wait for their turn (RFC 2920).

use std::time::Duration;

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{body, plain, with_body};
use crate::harness::smtp::{Client, unsigned};
use crate::harness::zone::{PASS, quickstart_with};
use crate::harness::{files, until};

fn begun(gate: &Gate) -> Client {
    let mut smtp = Client::greeted(gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
    smtp
}

/// One chunk, and the reply to it.
fn chunk(smtp: &mut Client, octets: &[u8], last: bool) -> String {
    smtp.send([format!("BDAT {}{}\r\n", octets.len(), if last { " LAST" } else { "" }).as_bytes(), octets].concat());
    smtp.reply()
}

/// What is stored of the message itself, without what was put in front of it.
fn stored_from(gate: &Gate, first_line: &str) -> Vec<String> {
    let stored = files::new_in(&gate.maildir());
    let whole = stored.iter().map(|file| files::read(file));
    whole.map(|text| text[text.find(first_line).unwrap()..].to_owned()).collect()
}

#[test]
fn a_message_in_chunks_is_the_message() {
    let gate = Gate::start();
    assert!(begun(&gate).say("EHLO again").contains("250-CHUNKING\r\n250-LIMITS MAILMAX=1000 RCPTMAX=100\r\n"));
    let large = with_body("alice@pass.example", "chunks", &format!("..two dots\r\n.\r\n{}", body(700_000)));
    let mut by_data = begun(&gate);
    assert!(by_data.say("DATA").starts_with("354 "));
    assert!(by_data.message(&large).starts_with("250 "));
    for sizes in [vec![large.len()], vec![1, 2, 3, 4_000, 64 << 10, 300_000], (0..900).collect()] {
        let mut smtp = begun(&gate);
        let mut rest = large.as_bytes();
        for size in sizes {
            let (octets, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let reply = chunk(&mut smtp, octets, false);
            assert_eq!(reply, format!("250 2.0.0 {} octets received\r\n", octets.len()));
        }
        let reply = chunk(&mut smtp, rest, true);
        assert!(reply.starts_with("250 2.0.0 OK: stored as "), "{reply}");
    }
    let stored = stored_from(&gate, "From: <alice");
    assert_eq!(stored.len(), 4);
    assert!(stored.iter().all(|message| *message == large.replace("\r\n", "\n")));
    gate.stop();
}

/// All chunks and the QUIT in one write: what a pipelining client does.
#[test]
fn chunks_in_a_pipelined_group() {
    let gate = Gate::start();
    let mut smtp = begun(&gate);
    let message = plain("alice@pass.example", "grouped");
    let (first, second) = message.split_at(20);
    let group = format!("BDAT 20\r\n{first}BDAT {}\r\n{second}BDAT 0 LAST\r\nQUIT\r\n", second.len());
    smtp.send(group);
    for expected in ["250 2.0.0 20 octets received", "250 2.0.0 ", "250 2.0.0 OK: stored as ", "221 2.0.0 "] {
        let reply = smtp.reply();
        assert!(reply.starts_with(expected), "{reply}");
    }
    assert_eq!(stored_from(&gate, "From: <alice"), [message.replace("\r\n", "\n")]);
    gate.stop();
}

/// DKIM and SPF see what came in chunks as they see any message, and a last line without CRLF gets one.
#[test]
fn a_last_line_without_its_end() {
    let gate = Gate::start();
    let mut smtp = begun(&gate);
    let message = plain("alice@pass.example", "open-end");
    assert!(chunk(&mut smtp, message.trim_end().as_bytes(), true).starts_with("250 2.0.0 OK: stored as "));
    assert_eq!(stored_from(&gate, "From: <alice"), [message.replace("\r\n", "\n")]);
    gate.stop();
}

#[test]
fn what_is_wrong_with_chunks() {
    let gate = Setup::new().args(&["--size-limit", "65536"]).start();
    // Bare LF, as Exchange sends it; what was sent behind the chunk that failed is drained, not obeyed.
    let mut smtp = begun(&gate);
    smtp.send("BDAT 8\r\na: b\r\n\r\nBDAT 7\r\nbare\nlfBDAT 23 LAST\r\nRCPT TO:<x@y.example>\r\nNOOP\r\n");
    let replies: Vec<String> = (0..4).map(|_| smtp.reply()).collect();
    let expected = ["250 2.0.0 8 octets", "550 5.6.11 Message contains bare CR or LF.", "503 5.5.1 ", "250 2.0.0 OK"];
    assert!(replies.iter().zip(expected).all(|(reply, expected)| reply.starts_with(expected)), "{replies:?}");
    assert!(
        smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "after"))
            .starts_with("250 ")
    );

    let mut too_large = begun(&gate);
    let reply = chunk(&mut too_large, &body(70_000).into_bytes(), true);
    assert_eq!(unsigned(&reply), "552 5.3.4 Message exceeds the size limit.\r\n");
    let mut too_many = begun(&gate);
    too_many.send("BDAT 1\r\na".repeat(1_001));
    let replies: Vec<String> = (0..1_001).map(|_| too_many.reply()).collect();
    assert!(replies[..1_000].iter().all(|reply| reply == "250 2.0.0 1 octets received\r\n"));
    assert_eq!(unsigned(&replies[1_000]), "552 5.3.4 Message comes in too many chunks.\r\n");
    let mut broken = begun(&gate);
    assert_eq!(broken.say("BDAT all"), "501 5.5.4 Syntax error in chunk size.\r\n");
    assert!(broken.reply().starts_with("421 4.7.0 "));
    assert_eq!(broken.closed(), Ok(()));
    assert_eq!(files::new_in(&gate.maildir()).len(), 1);
    let rules: Vec<String> =
        gate.decisions(4).iter().map(|record| record["rule"].as_str().unwrap().to_owned()).collect();
    for rule in ["bare-cr-or-lf", "message-size", "chunks", "accepted"] {
        assert!(rules.iter().any(|told| told == rule), "{rule}: {rules:?}");
    }
    gate.stop();
}

#[test]
fn one_domain_a_transaction() {
    let setup = Setup::new().domains(&["open.example=accept", "second.example=accept"]).args(&["--one-domain"]);
    let gate = setup.start();
    let mut smtp = Client::proxied(&gate, PASS);
    assert!(smtp.hello("mail.pass.example").contains("250-LIMITS MAILMAX=1000 RCPTMAX=100 RCPTDOMAINMAX=1\r\n"));
    smtp.ok("MAIL FROM:<alice@pass.example>");
    for (recipient, expected) in [
        ("nobody@elsewhere.example", "550 5.7.1 "),
        ("bob@open.example", "250 "),
        ("bob@second.example", "452 4.5.3 This recipient needs a transaction of its own, its domain is not"),
        ("carol@OPEN.example", "250 "),
    ] {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
        assert!(reply.starts_with(expected), "{recipient}: {reply}");
    }
    drop(smtp);
    assert_eq!(gate.decisions(4)[1]["rule"], "mixed-domains");
    gate.stop();
}

/// Who talks before the greeting, and who sends DATA and the message in one piece.
fn early(gate: &Gate, before_the_greeting: bool) -> Client {
    let mut smtp = Client::connect(gate.proxy);
    let proxy = crate::harness::smtp::proxy_v1(PASS);
    if before_the_greeting {
        smtp.send(format!("{proxy}EHLO mail.pass.example\r\n"));
    } else {
        smtp.send(proxy);
        smtp.hello("mail.pass.example");
        smtp.send(format!(
            "MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\n{}.\r\n",
            plain("alice@pass.example", "early")
        ));
    }
    smtp
}

#[test]
fn early_talkers_are_recorded_or_refused() {
    let refusal = "554 5.5.0 mx.example Commands were sent before their turn, closing connection.\r\n";
    for (policy, is_refused, is_told) in [("ignore", false, false), ("record", false, true), ("refuse", true, false)] {
        let gate = Setup::new().args(&["--early-talker", policy]).start();
        for before_the_greeting in [true, false] {
            let mut smtp = early(&gate, before_the_greeting);
            if is_refused {
                // MAIL and RCPT were in turn.
                let owed = if before_the_greeting { 0 } else { 2 };
                assert!((0..owed).all(|_| smtp.reply().starts_with("250 ")));
                assert_eq!(smtp.reply(), refusal, "{before_the_greeting}");
                assert_eq!(smtp.closed(), Ok(()));
                continue;
            }
            if before_the_greeting {
                assert!(smtp.reply().starts_with("220 ") && smtp.reply().starts_with("250-"));
                let message = plain("alice@pass.example", "patient");
                assert!(smtp.transaction("alice@pass.example", "bob@open.example", &message).starts_with("250 "));
            } else {
                let replies: Vec<String> = (0..4).map(|_| smtp.reply()).collect();
                assert!(replies[3].starts_with("250 "), "{replies:?}");
            }
        }
        if !is_refused {
            let records = gate.decisions(2);
            assert!(records.iter().all(|record| (record["early_talker"] == true) == is_told), "{policy}: {records:#?}");
        }
        assert_eq!(files::new_in(&gate.maildir()).len(), if is_refused { 0 } else { 2 });
        // RFC 2920 allows groups; a client that keeps its turn is nobody's concern.
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.send("MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\n");
        assert!((0..3).all(|_| smtp.reply().starts_with(['2', '3'])));
        assert!(smtp.message(&plain("alice@pass.example", "in turn")).starts_with("250 "));
        gate.stop();
    }
}

/// Who speaks early behind a message still hears that the gate has it.
#[test]
fn a_message_before_that_is_answered() {
    let gate = Setup::new().args(&["--early-talker", "refuse"]).start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let envelope = "MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\n";
    smtp.send(envelope);
    assert!((0..3).all(|_| smtp.reply().starts_with(['2', '3'])));
    smtp.send(format!("{}.\r\n{envelope}Subject: early\r\n", plain("alice@pass.example", "in turn")));
    let replies: Vec<String> = (0..4).map(|_| smtp.reply()).collect();
    assert!(replies[0].starts_with("250 2.0.0 OK: stored as "), "{replies:?}");
    assert!(replies[3].starts_with("554 5.5.0 "), "{replies:?}");
    assert_eq!(files::new_in(&gate.maildir()).len(), 1);
    gate.stop();
}

/// Partners are not refused for it.
#[test]
fn a_connector_may_talk_early() {
    let gate = Setup::new().args(&["--early-talker", "refuse", "--connector", PASS]).start();
    let mut smtp = early(&gate, true);
    assert!(smtp.reply().starts_with("220 "));
    gate.stop();
}

/// A greeting that is held back catches those who do not wait for it; the others get it.
#[test]
fn the_greeting_is_held_back() {
    let setup = Setup::new().zone(&quickstart_with("")).args(&["--early-talker", "refuse", "--greet-delay-ms", "300"]);
    let gate = setup.start();
    let mut impatient = Client::connect(gate.v6);
    std::thread::sleep(Duration::from_millis(50));
    impatient.send("EHLO impatient.example\r\n");
    assert!(impatient.reply().starts_with("554 5.5.0 "));
    let mut patient = Client::connect(gate.v6);
    assert!(patient.hello("home.example").starts_with("250-"));
    let gone = Client::connect(gate.v6);
    drop(gone);
    until("the gate to serve on", || Client::connect(gate.v6).hello("home.example").starts_with("250-").then_some(()));
    gate.stop();
}
