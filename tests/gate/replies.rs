//! The rule table: each situation, its stage, its reply to the octet.

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::next_hop::{End, NextHop, Script};
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, PASS_V4, PTR_FAILS};

/// Who speaks, for whom, to whom; and the reply to RCPT.
#[test]
fn at_rcpt() {
    let rows = [
        (PASS, "bob@elsewhere.example", "550 5.7.1 Relaying denied, [elsewhere.example] is not served here."),
        (PASS, "bob@ELSEWHERE.Example", "550 5.7.1 Relaying denied, [elsewhere.example] is not served here."),
        (PASS, "bob@sub.open.example", "550 5.7.1 Relaying denied, [sub.open.example] is not served here."),
        (PASS_V4, "bob@elsewhere.example", "550 5.7.1 Relaying denied, [elsewhere.example] is not served here."),
        (
            PASS,
            "bob@v4only.example",
            "550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6.",
        ),
        (
            PASS,
            "bob@V4ONLY.example",
            "550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6.",
        ),
        (
            NO_PTR,
            "bob@open.example",
            "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::dead] must have reverse DNS record.",
        ),
        (
            "2001:0DB8:0001:0000:0000:0000:0000:DEAD",
            "bob@open.example",
            "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::dead] must have reverse DNS record.",
        ),
        (
            PTR_FAILS,
            "bob@open.example",
            "451 4.4.3 Temporary DNS failure, reverse DNS record of [2001:db8:2::25] could not be looked up.",
        ),
        // Permanent before temporary, in the order of the table.
        (NO_PTR, "bob@elsewhere.example", "550 5.7.1 Relaying denied, [elsewhere.example] is not served here."),
        (
            PTR_FAILS,
            "bob@v4only.example",
            "550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6.",
        ),
        (PASS, "bob@open.example", "250 2.1.5 OK"),
        // Over IPv4 the three rules do not apply, and domains that have not opted in are served.
        (PASS_V4, "bob@v4only.example", "250 2.1.5 OK"),
        ("198.51.100.9", "bob@open.example", "250 2.1.5 OK"),
    ];
    let gate = Gate::start();
    for (client, recipient, reply) in rows {
        let mut smtp = Client::greeted(&gate, client, "mail.pass.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        let got = smtp.say(&format!("RCPT TO:<{recipient}>"));
        assert_eq!(got, format!("{reply}\r\n"), "{client} to {recipient}");
    }
}

/// Who speaks, for whom; and the reply to the message.
#[test]
fn at_end_of_data() {
    let hop = "Received: from a by b; Thu, 01 Jan 2026 00:00:00 +0000\r\n";
    let message = |from: &str| plain(from, "row");
    let rows = [
        (
            FORWARDER,
            "alice@pass.example",
            message("alice@pass.example"),
            "450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::66] must pass either SPF or DKIM validation.",
        ),
        (
            FORWARDER,
            "alice@bare.example",
            message("alice@bare.example"),
            "450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::66] must pass either SPF or DKIM validation.",
        ),
        (
            FORWARDER,
            "alice@tempfail.example",
            message("alice@tempfail.example"),
            "451 4.4.3 Temporary DNS failure, SPF and DKIM of the message from [2001:db8:1::66] could not be checked.",
        ),
        (
            PASS,
            "alice@pass.example",
            message("alice@pass.example") + "bare\nLF\r\n",
            "550 5.6.11 Message contains bare CR or LF.",
        ),
        (
            PASS,
            "alice@pass.example",
            message("alice@pass.example") + "bare\rCR\r\n",
            "550 5.6.11 Message contains bare CR or LF.",
        ),
        (PASS, "alice@pass.example", hop.repeat(51) + &message("alice@pass.example"), "554 5.4.6 Mail loop detected."),
        // The message's own faults come before what DNS says of its sender.
        (
            FORWARDER,
            "alice@tempfail.example",
            message("a@bare.example") + "bare\nLF\r\n",
            "550 5.6.11 Message contains bare CR or LF.",
        ),
    ];
    let gate = Gate::start();
    for (client, reverse_path, message, reply) in rows {
        let mut smtp = Client::greeted(&gate, client, "relay.forward.example");
        let got = smtp.transaction(reverse_path, "bob@open.example", &message);
        assert_eq!(got, format!("{reply}\r\n"), "{client} as {reverse_path}");
        assert_eq!(smtp.say("RSET"), "250 2.0.0 OK\r\n", "the session goes on");
    }
    assert!(crate::harness::files::new_in(&gate.maildir()).is_empty(), "nothing was stored");
}

/// 50 Received fields are not yet a loop.
#[test]
fn fifty_hops_pass() {
    let gate = Gate::start();
    let hop = "Received: from a by b; Thu, 01 Jan 2026 00:00:00 +0000\r\n";
    let message = hop.repeat(50) + &plain("alice@pass.example", "fifty");
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("alice@pass.example", "bob@open.example", &message);
    assert!(reply.starts_with("250 2.0.0 OK: stored as "), "{reply}");
}

#[test]
fn data_without_an_accepted_recipient() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    assert!(smtp.say("RCPT TO:<bob@elsewhere.example>").starts_with("550 5.7.1 "));
    assert_eq!(smtp.say("DATA"), "554 5.5.1 No valid recipients.\r\n");
    // The transaction is still there.
    smtp.ok("RCPT TO:<bob@open.example>");
    assert!(smtp.say("DATA").starts_with("354 "));
}

/// The rows of the next hop: its script, the reply to RCPT, and if that is positive to the message.
#[test]
fn next_hop() {
    let refuses_rcpt: fn(&str) -> String = |_| "550 5.1.1 No such user here".into();
    let defers_rcpt: fn(&str) -> String = |_| "450 4.2.1 Mailbox busy".into();
    let leaves_at_rcpt: fn(&str) -> String = |_| "421 4.3.2 Shutting down".into();
    let plain_rcpt: fn(&str) -> String = |_| "550 no enhanced code".into();
    let two_lines: fn(&str) -> String = |_| "550-5.1.1 No such user\r\n550 5.1.1 here".into();
    let odd_octets: fn(&str) -> String = |_| "550 5.1.1 red\u{1b}[31m and caf\u{e9}".into();
    let unavailable = "451 4.4.1 Next hop unavailable, try again later.";
    let mail = |reply: &str| Script { mail: reply.into(), ..Script::default() };
    let rcpt = |rcpt: fn(&str) -> String| Script { rcpt, ..Script::default() };
    let data = |reply: &str| Script { data: reply.into(), ..Script::default() };
    let end = |reply: &str| Script { end: End::Reply(reply.into()), ..Script::default() };
    let ok = "250 2.1.5 Ok";
    let rows = [
        (Script::default(), ok, "250 2.0.0 Ok: queued as SCRIPTED"),
        (rcpt(refuses_rcpt), "550 5.1.1 No such user here", ""),
        (rcpt(defers_rcpt), "450 4.2.1 Mailbox busy", ""),
        (rcpt(leaves_at_rcpt), "451 4.3.2 Shutting down", ""),
        (rcpt(plain_rcpt), "550 5.0.0 no enhanced code", ""),
        (rcpt(two_lines), "550-5.1.1 No such user\r\n550 5.1.1 here", ""),
        (rcpt(odd_octets), "550 5.1.1 red?[31m and caf??", ""),
        (mail("550 5.7.1 Sender refused"), "550 5.7.1 Sender refused", ""),
        (mail("553 5.1.8 Sender domain unknown"), "553 5.1.8 Sender domain unknown", ""),
        (mail("451 4.3.0 Not now"), unavailable, ""),
        (mail("421 4.3.2 Shutting down"), unavailable, ""),
        (Script { greeting: "554 5.3.2 No service".into(), ..Script::default() }, unavailable, ""),
        (Script { greeting: "421 4.3.2 Too busy".into(), ..Script::default() }, unavailable, ""),
        (Script { ehlo: "550 5.0.0 Go away".into(), ..Script::default() }, unavailable, ""),
        (Script { greeting: "220 mx.example ESMTP".into(), ..Script::default() }, unavailable, ""),
        (data("451 4.3.1 Disk full"), ok, "451 4.3.1 Disk full"),
        (data("554 5.5.1 Not this one"), ok, "554 5.5.1 Not this one"),
        (end("550 5.7.1 Message refused"), ok, "550 5.7.1 Message refused"),
        (end("452 4.3.1 Disk full"), ok, "452 4.3.1 Disk full"),
        (end("421 4.3.2 Shutting down"), ok, "451 4.3.2 Shutting down"),
        (end("250 taken"), ok, "250 2.0.0 taken"),
        (
            Script { end: End::Close, ..Script::default() },
            ok,
            "451 4.4.2 Next hop closed the connection, try again later.",
        ),
    ];
    for (number, (script, to_rcpt, to_message)) in rows.into_iter().enumerate() {
        let next_hop = NextHop::start(vec![script]);
        let gate = Setup::new().next_hops(&[next_hop.address]).start();
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        assert_eq!(smtp.say("RCPT TO:<bob@open.example>"), format!("{to_rcpt}\r\n"), "row {number}, RCPT");
        if !to_message.is_empty() {
            smtp.ok("DATA");
            let got = smtp.message(&plain("alice@pass.example", "row"));
            assert_eq!(got, format!("{to_message}\r\n"), "row {number}, message");
        }
    }
}

#[test]
fn next_hop_that_is_not_there() {
    let mut next_hop = NextHop::willing();
    next_hop.stop();
    let gate = Setup::new().next_hops(&[next_hop.address]).start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    assert_eq!(smtp.say("RCPT TO:<bob@open.example>"), "451 4.4.1 Next hop unavailable, try again later.\r\n");
}
