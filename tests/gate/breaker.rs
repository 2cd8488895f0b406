//! The breaker: a resolver that answers nothing costs anonymous IPv6 clients their connection and nobody else, and no sender can bring that
//! about. And what a session under way still does: records stand in (RFC 8767).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::harness::certificates::{Authority, Usage};
use crate::harness::gate::{Gate, Setup, listening_on};
use crate::harness::message::plain;
use crate::harness::smtp::{Client, unsigned};
use crate::harness::tls::TlsClient;
use crate::harness::unbound::Unbound;
use crate::harness::until;
use crate::harness::zone::{PASS, PASS_V4, quickstart, quickstart_with};

const TURNED_AWAY: &str = "421 4.4.3 mx.example Temporary DNS failure, try again later.\r\n";
const STORED: &str = "250 2.0.0 OK: stored as ";
const PARTNER: &str = "2001:db8:9::25";

fn gate(unbound: &Unbound, more: &[&str]) -> Gate {
    let probe = ["--dns-probe", "pass.example", "--dns-timeout-ms", "300", "--connector", "2001:db8:9::/48"];
    Setup::new().dns_servers(&[unbound.address]).args(&probe).args(more).start()
}

fn told(gate: &Gate, words: &str) -> usize {
    gate.process.stderr().iter().filter(|line| line.contains(words)).count()
}

/// Waits until standard error has said so `times` times.
fn until_told(gate: &mut Gate, words: &str, times: usize) {
    gate.process
        .until_stderr(words, |lines| (lines.iter().filter(|line| line.contains(words)).count() >= times).then_some(()));
}

fn greeting(mut smtp: Client) -> String {
    smtp.reply()
}

fn assert_open(gate: &Gate) {
    for mut smtp in [Client::proxied(gate, PASS), Client::connect(gate.v6)] {
        assert_eq!(unsigned(&smtp.reply()), TURNED_AWAY);
        assert_eq!(smtp.reply(), "", "the connection ends");
    }
    assert_others_are_served(gate);
}

fn assert_closed(gate: &Gate) {
    let mut smtp = Client::greeted(gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "x"));
    assert!(reply.starts_with(STORED), "{reply}");
    assert!(greeting(Client::connect(gate.v6)).starts_with("220 "));
    assert_others_are_served(gate);
}

fn assert_others_are_served(gate: &Gate) {
    for smtp in [Client::proxied(gate, PASS_V4), Client::connect(gate.v4), Client::proxied(gate, PARTNER)] {
        assert!(greeting(smtp).starts_with("220 "));
    }
}

/// A balancer over IPv6 whose health checks failed would send nobody any more.
#[test]
fn health_checks_are_answered_while_it_is_open() {
    let unbound = Unbound::start(&quickstart());
    let mut gate = gate(&unbound, &["--proxy-listen", "[::1]:0", "--proxy-from", "::1/128"]);
    let listeners = listening_on(&gate.process.stderr());
    let proxy = listeners.into_iter().find(|address| address.is_ipv6() && *address != gate.v6).unwrap();
    unbound.halt();
    until_told(&mut gate, "dns breaker: open, ", 1);
    for (header, word) in [
        (&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], "220 "),
        (b"PROXY UNKNOWN\r\n", "220 "),
        (b"PROXY TCP6 2001:db8:1::25 ::1 1024 25\r\n", "421 4.4.3 "),
    ] {
        let mut smtp = Client::connect(proxy);
        smtp.send(header);
        let reply = smtp.reply();
        assert!(reply.starts_with(word), "{}: {reply}", header.escape_ascii());
    }
    gate.stop();
}

/// A resolver that hangs, and one that is gone; each comes back.
#[test]
fn it_opens_and_closes_by_itself() {
    let short = "short 1 IN TXT \"v=spf1 ip6:2001:db8:1::/48 -all\"\n";
    let mut unbound = Unbound::start(&quickstart_with(short));
    let mut gate = gate(&unbound, &[]);
    let mut session = Client::greeted(&gate, PASS, "mail.pass.example");
    let mut send = |reverse_path: &str| {
        session.transaction(reverse_path, "bob@open.example", &plain("alice@pass.example", "in the session"))
    };
    assert!(send("alice@short.example").starts_with(STORED));
    assert_closed(&gate);
    let records = gate.decisions(2).len();

    unbound.halt();
    until_told(&mut gate, "dns breaker: open, ", 1);
    assert_open(&gate);
    // A session under way goes on: what is known holds, what is not is a temporary failure, and after its TTL a record stands in.
    let unknown = send("alice@never-asked.example");
    assert!(unknown.starts_with("451 4.4.3 "), "{unknown}");
    let start = Instant::now();
    for number in 2.. {
        let reply = send("alice@short.example");
        assert!(reply.starts_with(STORED), "{reply}");
        let records = gate.decisions(records + number);
        if records.last().unwrap()["spf"]["cache"] == "stale" {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the floor of TTLs is ten seconds: {:?}", records.last());
    }
    unbound.go_on();
    until_told(&mut gate, "dns breaker: closed, ", 1);
    assert_closed(&gate);

    unbound.kill();
    until_told(&mut gate, "dns breaker: open, ", 2);
    assert_open(&gate);
    unbound.restart();
    until_told(&mut gate, "dns breaker: closed, ", 2);
    assert_closed(&gate);
    assert_eq!((told(&gate, "breaker: open"), told(&gate, "breaker: closed")), (2, 2));
    gate.stop();
}

/// A partner is known by its certificate only inside TLS: where there are such partners everybody is greeted, and whoever has not become one
/// hears it at MAIL.
#[test]
fn partners_by_certificate_are_served_while_it_is_open() {
    let unbound = Unbound::start(&quickstart());
    let setup = Setup::new().dns_servers(&[unbound.address]);
    let authority = Authority::new(&setup.dir(), "authority");
    let own = authority.sign("mx", "mx.example", &[Usage::ServerAuth]);
    let partner = authority.sign("partner", "mail.partner.example", &[Usage::ClientAuth]);
    let [chain, key] = [&own.chain, &own.key].map(|file| file.display().to_string());
    let connector = format!("mail.partner.example@{}", authority.file.display());
    let setup = setup.args(&["--dns-probe", "pass.example", "--dns-timeout-ms", "300"]);
    let mut gate = setup.args(&["--tls-cert", &chain, "--tls-key", &key, "--connector-cert", &connector]).start();
    unbound.halt();
    until_told(&mut gate, "dns breaker: open, ", 1);
    let mut known = TlsClient::with_certificate(gate.v6, &partner, &[]);
    known.hello("mail.partner.example");
    assert!(known.smtp.say("MAIL FROM:<alice@partner.example>").starts_with("250 "));
    let mut unknown = Client::connect(gate.v6);
    unknown.hello("client.example");
    assert_eq!(unsigned(&unknown.say("MAIL FROM:<alice@pass.example>")), TURNED_AWAY);
    assert_eq!(unknown.closed(), Ok(()));
    let mut v4 = Client::connect(gate.v4);
    v4.hello("client.example");
    assert!(v4.say("MAIL FROM:<alice@pass.example>").starts_with("250 "));
}

/// Domains, and clients' reverse zones, whose servers never answer: by the hundred, for several rounds of probes.
#[test]
fn no_sender_opens_it() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = silent.local_addr().unwrap();
    let unbound =
        Unbound::start_with(&quickstart(), &[("unreachable.", dead), ("f.e.e.d.8.b.d.0.1.0.0.2.ip6.arpa.", dead)]);
    let gate = gate(&unbound, &[]);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let gate = &gate;
            scope.spawn(move || {
                let mut number = 0;
                while start.elapsed() < Duration::from_secs(12) {
                    number += 1;
                    let name = format!("d{number}-{thread}.unreachable");
                    let source = format!("2001:db8:deef:{thread:x}::{number:x}");
                    let mut smtp = Client::greeted(gate, &source, &name);
                    smtp.ok(&format!("MAIL FROM:<a@{name}>"));
                    let reply = smtp.say("RCPT TO:<bob@open.example>");
                    assert!(reply.starts_with("451 4.4.3 "), "{reply}");
                    let mut smtp = Client::greeted(gate, PASS, &name);
                    let reply =
                        smtp.transaction(&format!("a@{name}"), "bob@open.example", &plain("a@x.unreachable", "x"));
                    assert!(reply.starts_with("451 4.4.3 "), "{reply}");
                }
                assert!(number > 3, "a storm: {number}");
            });
        }
    });
    assert_eq!(told(&gate, "dns breaker: open"), 0, "{:?}", gate.process.stderr());
    // The resolver has a backlog of what it could not answer.
    until("a message after the storm", || {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        let reply = smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "x"));
        reply.starts_with(STORED).then_some(())
    });
    assert_closed(&gate);
}

/// On trial nobody is turned away; the log says what would be.
#[test]
fn on_trial_it_only_tells() {
    let unbound = Unbound::start(&quickstart());
    let mut gate = gate(&unbound, &["--mode", "monitor"]);
    unbound.halt();
    until_told(&mut gate, "new anonymous IPv6 clients get 421 in mode enforce", 1);
    assert!(greeting(Client::proxied(&gate, PASS)).starts_with("220 "));
}

#[test]
fn what_it_says_at_the_start() {
    let unbound = Unbound::start(&quickstart());
    let mut watching = gate(&unbound, &["--dns-probe", "No-Such-Name.example."]);
    until_told(&mut watching, "dns breaker: watches pass.example, no-such-name.example", 1);
    until_told(&mut watching, "warning: dns breaker: probe name no-such-name.example does not exist", 1);
    let mut off = Setup::new().dns_servers(&[unbound.address]).start();
    until_told(&mut off, "dns breaker: off, no --dns-probe is given", 1);
    let mut zone = Setup::new().args(&["--dns-probe", "pass.example"]).start();
    until_told(&mut zone, "dns breaker: off, names come from a zone file", 1);
}
