//! Several recipients in one transaction: judged one by one, those that pass stay.

use crate::harness::files;
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::next_hop::NextHop;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, PASS_V4};

#[test]
fn mixed_recipients_are_judged_one_by_one() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    let rows = [
        ("bob@elsewhere.example", "550 5.7.1 Relaying denied, [elsewhere.example] is not served here."),
        ("bob@open.example", "250 2.1.5 OK"),
        ("bob@v4only.example", "550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6."),
        ("carol@open.example", "250 2.1.5 OK"),
    ];
    for (recipient, reply) in rows {
        assert_eq!(smtp.say(&format!("RCPT TO:<{recipient}>")), format!("{reply}\r\n"), "{recipient}");
    }
    smtp.ok("DATA");
    assert!(smtp.message(&plain("alice@pass.example", "mixed")).starts_with("250 2.0.0 "));
    let mut delivered: Vec<String> = files::new_in(&gate.maildir())
        .iter()
        .flat_map(|path| files::values(&files::read(path), "Delivered-To"))
        .collect();
    delivered.sort();
    assert_eq!(delivered, ["bob@open.example", "carol@open.example"]);
}

/// Monitor and enforce cannot get two answers after one DATA, unless the answer is already known to be yes.
#[test]
fn monitor_and_enforce_do_not_mix() {
    let gate = Gate::start();
    let classes = ["bob@open.example", "bob@trial.example"];
    for (first, other) in [(classes[0], classes[1]), (classes[1], classes[0])] {
        let mut smtp = Client::greeted(&gate, FORWARDER, "relay.forward.example");
        smtp.ok("MAIL FROM:<alice@bare.example>");
        smtp.ok(&format!("RCPT TO:<{first}>"));
        let reply = smtp.say(&format!("RCPT TO:<{other}>"));
        assert!(reply.starts_with("452 4.5.3 "), "{first} then {other}: {reply:?}");
        smtp.ok(&format!("RCPT TO:<x-{first}>"));
    }
    for client in [PASS, PASS_V4] {
        let mut smtp = Client::greeted(&gate, client, "mail.pass.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        classes.iter().for_each(|recipient| drop(smtp.ok(&format!("RCPT TO:<{recipient}>"))));
        smtp.ok("DATA");
        assert!(smtp.message(&plain("alice@pass.example", "both")).starts_with("250 "), "{client}");
    }
}

/// A refused recipient of one class does not decide the class of the transaction.
#[test]
fn a_refused_recipient_leaves_the_class_open() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, NO_PTR, "mail.bare.example");
    smtp.ok("MAIL FROM:<alice@bare.example>");
    assert!(smtp.say("RCPT TO:<bob@open.example>").starts_with("450 4.7.25 "));
    smtp.ok("RCPT TO:<bob@trial.example>");
}

#[test]
fn a_hundred_recipients_and_one_more() {
    let next_hop = NextHop::willing();
    let gate = Setup::new().next_hops(&[next_hop.address]).start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    for number in 0..100 {
        assert_eq!(smtp.say(&format!("RCPT TO:<user{number}@open.example>")), "250 2.1.5 Ok\r\n", "{number}");
    }
    let reply = smtp.say("RCPT TO:<user100@open.example>");
    assert!(reply.starts_with("452 4.5.3 "), "{reply}");
    smtp.ok("DATA");
    assert!(smtp.message(&plain("alice@pass.example", "hundred")).starts_with("250 "));
    assert_eq!(next_hop.messages()[0].rcpts.len(), 100);
}

#[test]
fn postmaster_needs_no_domain() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    let reply = smtp.say("RCPT TO:<postmaster>");
    assert!(reply.starts_with(['2', '5']), "{reply}");
}

/// `*.` suffixes and A-labels in the directory.
#[test]
fn domain_directory() {
    let gate = Setup::new().domains(&["*.hosted.example=accept", "xn--bcher-kva.example=reject"]).start();
    let rows = [
        ("bob@a.hosted.example", "250 2.1.5 OK"),
        ("bob@b.a.hosted.example", "250 2.1.5 OK"),
        ("bob@hosted.example", "550 5.7.1 Relaying denied, [hosted.example] is not served here."),
        ("bob@nothosted.example", "550 5.7.1 Relaying denied, [nothosted.example] is not served here."),
        (
            "bob@XN--BCHER-KVA.example",
            "550 5.2.1 Service unavailable, [xn--bcher-kva.example] does not accept email over IPv6.",
        ),
    ];
    for (recipient, reply) in rows {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        assert_eq!(smtp.say(&format!("RCPT TO:<{recipient}>")), format!("{reply}\r\n"), "{recipient}");
    }
}
