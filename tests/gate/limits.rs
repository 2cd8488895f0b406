//! Limits by address, prefix and verified identity: who is told what, where, and what is on record of it.

use crate::harness::gate::{Gate, Setup, check_config};
use crate::harness::message::plain;
use crate::harness::next_hop::{End, NextHop, Script};
use crate::harness::signing::Key;
use crate::harness::smtp::{Client, unsigned};
use crate::harness::until;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, quickstart_with};

/// A gate with these limits.
fn limited(limits: &[&str]) -> Setup {
    let args: Vec<&str> = limits.iter().flat_map(|limit| ["--limit", *limit]).collect();
    Setup::new().args(&args)
}

/// What a client hears first.
fn first_word(gate: &Gate, source: &str) -> (Client, String) {
    let mut client = Client::proxied(gate, source);
    let word = client.reply();
    (client, word)
}

/// Opens a session that is greeted, and keeps it.
fn greeted(gate: &Gate, source: &str) -> Client {
    let (client, word) = first_word(gate, source);
    assert!(word.starts_with("220 "), "{source}: {word:?}");
    client
}

#[test]
fn sessions_at_once() {
    let gate = limited(&["address.sessions=2", "64.sessions=3"]).start();
    let mut held = vec![greeted(&gate, "2001:db8:7::1"), greeted(&gate, "2001:db8:7::1")];
    let refused = |source: &str, text: &str| {
        let (mut client, word) = first_word(&gate, source);
        assert_eq!(
            unsigned(&word),
            format!("421 4.7.28 mx.example Too many connections from [{text}], try again later.\r\n")
        );
        assert_eq!(client.closed(), Ok(()), "{source}");
    };
    refused("2001:db8:7::1", "2001:db8:7::1");
    held.push(greeted(&gate, "2001:db8:7::2"));
    for _ in 0..5 {
        refused("2001:db8:7::3", "2001:db8:7::/64");
    }
    // Others are not concerned, and what was refused holds nothing.
    let _others = ["2001:db8:7:1::1", "192.0.2.1", "192.0.2.1"].map(|source| greeted(&gate, source));
    refused("192.0.2.1", "192.0.2.1");
    held.remove(0);
    held.push(until("the session to be given back", || {
        let (client, word) = first_word(&gate, "2001:db8:7::3");
        word.starts_with("220 ").then_some(client)
    }));
    refused("2001:db8:7::3", "2001:db8:7::/64");
    let record = &gate.decisions(1)[0];
    for (key, value) in
        [("stage", "connect"), ("rule", "session-limit"), ("verdict", "defer"), ("client", "2001:db8:7::1")]
    {
        assert_eq!(record[key], value, "{record:#}");
    }
}

/// Both shards count in one table; the real address counts where there is no PROXY header.
#[test]
fn connections_in_a_time() {
    let gate = limited(&["address.connections=20/1d"]).start();
    let words = |address| -> Vec<String> { (0..25).map(|_| Client::connect(address).reply()).collect() };
    for (address, client) in [(gate.v6, "::1"), (gate.v4, "127.0.0.1")] {
        let words = words(address);
        assert!(words[..20].iter().all(|word| word.starts_with("220 ")), "{words:#?}");
        let refused = format!("421 4.7.28 mx.example Too many connections from [{client}], try again later.\r\n");
        assert!(words[20..].iter().all(|word| unsigned(word) == refused), "{words:#?}");
    }
}

#[test]
fn messages_in_a_time() {
    for mode in ["enforce", "monitor"] {
        let gate = limited(&["48.messages=2/1d"]).args(&["--mode", mode]).start();
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        smtp.ok("RSET");
        let message = plain("alice@pass.example", "counted");
        assert!(smtp.transaction("alice@pass.example", "bob@open.example", &message).starts_with("250 "));
        // The /48 is also that of others.
        for client in [&mut smtp, &mut Client::greeted(&gate, FORWARDER, "mail.example")] {
            let reply = client.say("MAIL FROM:<alice@pass.example>");
            assert_eq!(
                unsigned(&reply),
                "450 4.7.28 Too many messages from [2001:db8:1::/48], try again later.\r\n",
                "{mode}"
            );
            assert_eq!(client.say("RCPT TO:<bob@open.example>"), "503 5.5.1 Send MAIL first.\r\n");
        }
        let record = &gate.decisions(2)[1];
        for (key, value) in [("stage", "mail"), ("rule", "message-limit"), ("mail_from", "alice@pass.example")] {
            assert_eq!(record[key], value, "{record:#}");
        }
    }
}

/// RCPT counts whether or not a rule then refuses it: whoever tries names is limited too.
#[test]
fn recipients_in_a_time() {
    let gate = limited(&["64.recipients=3/1d"]).start();
    let mut smtp = Client::greeted(&gate, NO_PTR, "mail.bare.example");
    smtp.ok("MAIL FROM:<alice@bare.example>");
    for (domain, reply) in
        [("open.example", "450 4.7.25 "), ("elsewhere.example", "550 5.7.1 "), ("v4only.example", "550 5.2.1 ")]
    {
        let said = smtp.say(&format!("RCPT TO:<bob@{domain}>"));
        assert!(said.starts_with(reply), "{said}");
    }
    let limit = "450 4.7.28 Too many recipients from [2001:db8:1::/64], try again later.\r\n";
    assert_eq!(unsigned(&smtp.say("RCPT TO:<bob@open.example>")), limit);
    let records = gate.decisions(4);
    assert_eq!((&records[3]["rule"], &records[3]["stage"]), (&"recipient-limit".into(), &"rcpt".into()));
}

#[test]
fn verified_identities_and_no_others() {
    let unwilling = Script { end: End::Reply("451 4.3.0 Not now".into()), ..Script::default() };
    let mut next_hop = NextHop::start(vec![unwilling]);
    let gate = limited(&["identity.messages=1/1d"]).next_hops(&[next_hop.address]).start();
    let send = |source: &str, subject: &str| {
        let mut smtp = Client::greeted(&gate, source, "mail.pass.example");
        smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", subject))
    };
    for _ in 0..3 {
        assert!(send(FORWARDER, "forged").starts_with("450 4.7.26 "));
    }
    for _ in 0..3 {
        assert_eq!(send(PASS, "not taken by the next hop"), "451 4.3.0 Not now\r\n");
    }
    next_hop.stop();
    let next_hop = NextHop::start_on(next_hop.address, vec![Script::default()]);
    let taken = until("the next hop to take it", || {
        let reply = send(PASS, "taken");
        (!reply.starts_with("451 ")).then_some(reply)
    });
    assert!(taken.starts_with("250 "), "{taken}");
    let limit = "450 4.7.28 Too many messages from [pass.example], try again later.\r\n";
    let refused = send(PASS, "too much");
    assert_eq!(unsigned(&refused), limit);
    assert_eq!(next_hop.messages().len(), 1);
    let record =
        until("the last record", || gate.decisions(8).into_iter().find(|record| record["rule"] == "identity-limit"));
    assert_eq!((&record["stage"], &record["reply"]), (&"end-of-data".into(), &refused.trim_end().into()));
}

/// A message brings every identity that it proves: the domains for which SPF and DKIM pass, each of which has its own budget.
#[test]
fn identities_of_signatures() {
    let key = Key::rsa();
    let zone = key.published_at("one.example") + &key.published_at("two.example");
    let gate = limited(&["identity.messages=2/1d", "identity.recipients=3/1d"]).zone(&quickstart_with(&zone)).start();
    let send = |source: &str, recipients: usize, signers: &[&str]| {
        let mut message = plain("alice@bare.example", "signed");
        for signer in signers {
            message = key.sign(signer, "relaxed/relaxed", &message);
        }
        let mut smtp = Client::greeted(&gate, source, "relay.forward.example");
        let forward_paths: Vec<String> = (0..recipients).map(|number| format!("r{number}@open.example")).collect();
        let forward_paths: Vec<&str> = forward_paths.iter().map(String::as_str).collect();
        smtp.open(if source == PASS { "alice@pass.example" } else { "alice@bare.example" }, &forward_paths);
        smtp.message(&message)
    };
    let limit = |what: &str, domain: &str| format!("450 4.7.28 Too many {what} from [{domain}], try again later.\r\n");
    let rows: [(&str, usize, &[&str], Option<String>); 8] = [
        (FORWARDER, 1, &["one.example"], None),
        (FORWARDER, 1, &["one.example"], None),
        (FORWARDER, 1, &["one.example"], Some(limit("messages", "one.example"))),
        // Nothing was charged to the other signer of what was refused.
        (FORWARDER, 1, &["one.example", "two.example"], Some(limit("messages", "one.example"))),
        (FORWARDER, 2, &["two.example"], None),
        (FORWARDER, 2, &["two.example"], Some(limit("recipients", "two.example"))),
        (PASS, 1, &["two.example"], None),
        (PASS, 1, &["two.example"], Some(limit("messages", "two.example"))),
    ];
    for (row, (source, recipients, signers, refused)) in rows.into_iter().enumerate() {
        let reply = send(source, recipients, signers);
        match refused {
            Some(refused) => assert_eq!(unsigned(&reply), refused, "row {row}"),
            None => assert!(reply.starts_with("250 "), "row {row}: {reply}"),
        }
    }
    gate.stop();
}

/// Each level counts by itself, and the narrowest one that objects is named.
#[test]
fn several_levels_at_once() {
    let limits = ["address.messages=2/1d", "64.messages=3/1d", "56.messages=4/1d", "48.messages=5/1d"];
    let gate = limited(&limits).start();
    let rows = [
        ("2001:db8:7:100::1", None),
        ("2001:db8:7:100::1", None),
        ("2001:db8:7:100::1", Some("2001:db8:7:100::1")),
        ("2001:db8:7:100::2", None),
        ("2001:db8:7:100::2", Some("2001:db8:7:100::/64")),
        ("2001:db8:7:1ff::1", None),
        ("2001:db8:7:1fe::1", Some("2001:db8:7:100::/56")),
        ("2001:db8:7:200::1", None),
        ("2001:db8:7:300::1", Some("2001:db8:7::/48")),
        ("2001:db8:7:100::1", Some("2001:db8:7:100::1")),
        ("2001:db8:8::1", None),
    ];
    for (row, (source, refused)) in rows.into_iter().enumerate() {
        let said = Client::greeted(&gate, source, "mail.example").say("MAIL FROM:<alice@pass.example>");
        match refused {
            Some(scope) => {
                let limit = format!("450 4.7.28 Too many messages from [{scope}], try again later.\r\n");
                assert_eq!(unsigned(&said), limit, "row {row}");
            }
            None => assert!(said.starts_with("250 "), "row {row}: {said}"),
        }
    }
    gate.stop();
}

/// Refusals are all counted; the log stays small.
#[test]
fn a_storm_does_not_fill_the_log() {
    let mut gate = limited(&["64.connections=1/1d"]).start();
    let _first = greeted(&gate, "2001:db8:7::1");
    for _ in 0..300 {
        assert!(first_word(&gate, "2001:db8:7::1").1.starts_with("421 4.7.28 "));
    }
    gate.process.signal(rustix::process::Signal::TERM);
    assert!(gate.process.wait().success());
    let sum = until("the sum", || gate.process.stderr().into_iter().find(|line| line.contains("limits: ")));
    assert_eq!(sum, "mx6: limits: connections refused by rate: 300");
    let records = gate.decisions(1);
    let not_written: u64 = records.iter().filter_map(|record| record["unrecorded"].as_u64()).sum();
    assert!(records.len() as u64 + not_written <= 300);
    assert!(records.len() < 300, "{} records", records.len());
}

#[test]
fn what_check_config_says_of_limits() {
    let ended = check_config(&["--limit", "64.mails=5/1h"]);
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("--limit: `mails` is not one of connections, messages, recipients, sessions"),
        "{ended:#?}"
    );
}
