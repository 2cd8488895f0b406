//! Who is judged, and whether judging refuses: IPv4, IPv4-mapped addresses, connectors, monitor, PTR modes.

use crate::harness::files;
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, MISMATCH, NO_PTR, PASS, PASS_V4, PTR_FAILS};

/// One transaction of an unauthenticated sender.
fn send(gate: &Gate, client: &str, recipient: &str) -> String {
    let mut smtp = Client::greeted(gate, client, "mail.bare.example");
    smtp.transaction("alice@bare.example", recipient, &plain("alice@bare.example", "mode"))
}

const STORED: &str = "250 2.0.0 OK: stored as ";

/// Runs a table of client, recipient and the beginning of the reply.
fn check(gate: &Gate, rows: &[(&str, &str, &str)]) {
    for (client, recipient, reply) in rows {
        let got = send(gate, client, recipient);
        assert!(got.starts_with(reply), "{client} to {recipient}: {got:?}, not {reply:?}");
    }
}

/// The value of X-MX6-Monitor of every stored message.
fn monitor_fields(gate: &Gate) -> Vec<String> {
    files::new_in(&gate.maildir()).iter().flat_map(|path| files::values(&files::read(path), "X-MX6-Monitor")).collect()
}

#[test]
fn ipv4_clients_skip_the_rules() {
    let gate = Gate::start();
    check(
        &gate,
        &[
            ("198.51.100.9", "bob@open.example", STORED),
            (PASS_V4, "bob@v4only.example", STORED),
            ("198.51.100.9", "bob@trial.example", STORED),
            ("198.51.100.9", "bob@elsewhere.example", "550 5.7.1 "),
        ],
    );
    assert!(monitor_fields(&gate).is_empty(), "nothing would have been refused");
    for path in files::new_in(&gate.maildir()) {
        let results = files::values(&files::read(&path), "Authentication-Results");
        assert!(results[0].contains("iprev=") && results[0].contains("spf=none"), "recorded all the same: {results:?}");
    }
}

/// `::ffff:a.b.c.d` is an IPv4 client, whatever told us of it.
#[test]
fn ipv4_mapped_addresses_are_ipv4() {
    let gate = Gate::start();
    check(
        &gate,
        &[("::ffff:198.51.100.9", "bob@open.example", STORED), ("::ffff:c633:6409", "bob@v4only.example", STORED)],
    );
    let stored = files::read(&files::new_in(&gate.maildir())[0]);
    assert!(stored.contains("198.51.100.9") && !stored.to_lowercase().contains("ffff:"), "{stored}");
}

/// No source range is exempt by itself.
#[test]
fn private_ranges_are_not_exempt() {
    let gate = Gate::start();
    check(
        &gate,
        &[
            ("fd00::9", "bob@open.example", "450 4.7.25 "),
            ("fe80::9", "bob@open.example", "450 4.7.25 "),
            ("::1", "bob@open.example", "450 4.7.26 "),
        ],
    );
}

#[test]
fn connectors_skip_the_three_rules_only() {
    let gate = Setup::new().args(&["--connector", "2001:db8:1::dead/128", "--connector", "2001:db8:2::/48"]).start();
    check(
        &gate,
        &[
            (NO_PTR, "bob@open.example", STORED),
            (PTR_FAILS, "bob@open.example", STORED),
            (NO_PTR, "bob@v4only.example", STORED),
            (NO_PTR, "bob@elsewhere.example", "550 5.7.1 "),
            ("2001:db8:1::deae", "bob@open.example", "450 4.7.25 "),
        ],
    );
    let mut smtp = Client::greeted(&gate, NO_PTR, "mail.bare.example");
    let message = plain("alice@bare.example", "bare") + "bare\nLF\r\n";
    let reply = smtp.transaction("alice@bare.example", "bob@open.example", &message);
    assert!(reply.starts_with("550 5.6.11 "), "{reply}");
    assert!(monitor_fields(&gate).is_empty());
}

#[test]
fn a_domain_in_monitor_refuses_nothing() {
    let gate = Gate::start();
    check(
        &gate,
        &[
            (NO_PTR, "bob@trial.example", STORED),
            (PTR_FAILS, "bob@trial.example", STORED),
            (FORWARDER, "bob@trial.example", STORED),
        ],
    );
    let mut smtp = Client::greeted(&gate, FORWARDER, "mail.bare.example");
    let reply =
        smtp.transaction("alice@tempfail.example", "bob@trial.example", &plain("alice@bare.example", "temperror"));
    assert!(reply.starts_with(STORED), "{reply}");
    assert_eq!(monitor_fields(&gate).len(), 4);
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("alice@pass.example", "bob@trial.example", &plain("alice@pass.example", "passes"));
    assert!(reply.starts_with(STORED), "{reply}");
    assert_eq!(monitor_fields(&gate).len(), 4, "what passes is not marked");
}

#[test]
fn global_monitor_refuses_nothing_but_still_serves_only_its_domains() {
    let gate = Setup::new().args(&["--mode", "monitor"]).start();
    check(
        &gate,
        &[
            (NO_PTR, "bob@open.example", STORED),
            (PTR_FAILS, "bob@open.example", STORED),
            (FORWARDER, "bob@open.example", STORED),
            (NO_PTR, "bob@v4only.example", "550 5.2.1 "),
            (NO_PTR, "bob@elsewhere.example", "550 5.7.1 "),
        ],
    );
    assert_eq!(monitor_fields(&gate).len(), 3);
}

#[test]
fn fcrdns_wants_a_name_that_resolves_back() {
    let gate = Setup::new().args(&["--ptr", "fcrdns"]).start();
    let mut smtp = Client::greeted(&gate, MISMATCH, "mail.bare.example");
    smtp.ok("MAIL FROM:<alice@bare.example>");
    assert_eq!(
        smtp.say("RCPT TO:<bob@open.example>"),
        "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::77] must have reverse DNS record.\r\n"
    );
    let mut smtp = Client::greeted(&gate, PASS, "mail.bare.example");
    smtp.ok("MAIL FROM:<alice@bare.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
}

/// In the default mode a mismatch is recorded, and decides nothing.
#[test]
fn exists_is_content_with_any_name() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, MISMATCH, "mail.bare.example");
    let reply = smtp.transaction("alice@bare.example", "bob@trial.example", &plain("alice@bare.example", "mismatch"));
    assert!(reply.starts_with(STORED), "{reply}");
    let results = files::values(&files::only_message(&gate.maildir()), "Authentication-Results");
    assert!(results[0].contains("iprev=fail"), "{results:?}");
}

/// A domain on trial for a part of the sources: the others meet the rules, and a source is always treated alike.
#[test]
fn monitor_for_a_part_of_the_sources() {
    let gate = Setup::new().domains(&["part.example=monitor:60%", "none.example=monitor:0%"]).start();
    let reply_to = |source: u32, domain: &str| {
        let client = format!("2001:db8:9:{source:x}::25");
        send(&gate, &client, &format!("bob@{domain}"))
    };
    let monitored: Vec<bool> = (0..50)
        .map(|source| {
            let reply = reply_to(source, "part.example");
            assert!(reply.starts_with(STORED) || reply.starts_with("450 4.7.25 "), "{reply}");
            reply.starts_with(STORED)
        })
        .collect();
    let count = monitored.iter().filter(|is_monitored| **is_monitored).count();
    assert!((20..=40).contains(&count), "{count} of 50 were monitored");
    assert_eq!(monitor_fields(&gate).len(), count);
    for (source, is_monitored) in monitored.iter().enumerate().take(10) {
        let reply = reply_to(u32::try_from(source).unwrap(), "part.example");
        assert_eq!(reply.starts_with(STORED), *is_monitored, "{reply}");
    }
    assert!(reply_to(1, "none.example").starts_with("450 4.7.25 "));
}
