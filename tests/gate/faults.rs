//! What lies beneath the gate fails: a clock that jumps, files that take and give octets by the piece, and a panic in a session.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::dns_server::{AAAA, DnsServer, PTR, TXT, address, ptr, txt};
use crate::harness::faults::{Fault, Faults};
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{body, plain, with_body};
use crate::harness::signing::SigningKey;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, PASS, reverse_name};
use crate::harness::{files, until};

const FROM: &str = "alice@pass.example";
const TO: &str = "bob@open.example";
const DAY_S: i64 = 86_400;

/// The calendar is for what others wrote (`x=` of a signature), a clock that no administrator sets for what we remember: sessions, caches
/// and timers notice nothing.
#[test]
fn the_clock_jumps_a_day() {
    let key = SigningKey::new();
    let dns = DnsServer::start(&[
        (&reverse_name(FORWARDER), PTR, ptr("relay.forward.example")),
        ("relay.forward.example", AAAA, address(FORWARDER)),
        ("test._domainkey.clock.example", TXT, txt(&key.record)),
    ]);
    let Some((setup, faults)) = Faults::beneath(Setup::new().dns_servers(&[dns.address])) else { return };
    let gate = setup.start();
    let in_an_hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let message = key.sign("clock.example", in_an_hour, &plain("alice@clock.example", "jump"));
    let mut smtp = Client::greeted(&gate, FORWARDER, "relay.forward.example");
    for (ahead_s, reply) in [(0, "250 "), (DAY_S, "450 4.7.26 "), (-DAY_S, "250 "), (0, "250 ")] {
        faults.set(Fault::ClockAheadS, ahead_s);
        let got = smtp.transaction("alice@clock.example", TO, &message);
        assert!(got.starts_with(reply), "{ahead_s} s: {got}");
    }
    let asked = dns.asked();
    assert!(asked.len() >= 3 && asked.values().all(|times| *times == 1), "a cache was emptied: {asked:?}");
    gate.stop();
}

/// A write that takes less than it was given is gone on with, and so is a read: in the spill file, the Maildir and the log.
#[test]
fn files_take_octets_by_the_piece() {
    let Some((setup, faults)) = Faults::beneath(Setup::new()) else { return };
    let gate = setup.start();
    faults.set(Fault::FileOctets, 100);
    let large = body(1_000_000);
    let reply =
        Client::greeted(&gate, PASS, "mail.pass.example").transaction(FROM, TO, &with_body(FROM, "cut", &large));
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(files::only_message(&gate.maildir()).ends_with(&large.replace("\r\n", "\n")), "the message is another");
    assert_eq!(gate.decisions(1)[0]["verdict"], "accept");
    // Written to the spill file, read from it, written to the Maildir.
    assert!(faults.get(Fault::FileCuts) > 25_000, "{}", faults.get(Fault::FileCuts));
    gate.stop();
}

/// A message at each of whose looks at the calendar there is none, which is a panic of the standard library's. Its client never hears 250
/// for it; everybody else goes on, and so does the next message.
#[test]
fn a_panic_ends_its_session_alone() {
    let Some((setup, faults)) = Faults::beneath(Setup::new().cores(1)) else { return };
    let gate = setup.start();
    let mut other = greeted(&gate);
    let mut panics = 0;
    for at in 1..LOOKS_MAX {
        let mut smtp = greeted(&gate);
        smtp.open(FROM, &[TO]);
        faults.set(Fault::ClockFailsAt, at);
        let reply = smtp.message(&plain(FROM, "panic"));
        let has_failed = faults.get(Fault::ClockFailsAt) == 0;
        faults.set(Fault::ClockFailsAt, 0);
        assert!(has_failed || reply.starts_with("250 "), "look {at}: {reply}");
        assert!(other.say("NOOP").starts_with("250 "), "look {at}");
        assert!(send(&mut other, "other").starts_with("250 "), "look {at}");
        if !has_failed {
            break;
        }
        panics += 1;
        assert!(!reply.starts_with("250 "), "look {at}: {reply}");
        until("word of the panic", || (told(&gate) >= panics).then_some(()));
    }
    assert!((2..LOOKS_MAX).contains(&(panics as i64)), "{panics} panics");
    gate.stop();
}

fn greeted(gate: &Gate) -> Client {
    Client::greeted(gate, PASS, "mail.pass.example")
}

fn send(smtp: &mut Client, id: &str) -> String {
    smtp.transaction(FROM, TO, &plain(FROM, id))
}

/// Panics that standard error tells of.
fn told(gate: &Gate) -> usize {
    gate.process.stderr().iter().filter(|line| line.contains("panicked at")).count()
}

/// More often than a message makes the gate look at the calendar.
const LOOKS_MAX: i64 = 12;
