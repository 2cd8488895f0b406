//! SPF, DKIM and DMARC of real messages, and the fields that tell of them.

use crate::harness::files;
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{plain, with_body};
use crate::harness::signing::Key;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, PASS, quickstart_with, txt};

/// Sends one message and returns the reply to it.
fn send(gate: &Gate, client: &str, helo: &str, reverse_path: &str, message: &str) -> String {
    let mut smtp = Client::greeted(gate, client, helo);
    smtp.transaction(reverse_path, "bob@open.example", message)
}

const FAILS: &str = "450 4.7.26 ";
const DEFERS: &str = "451 4.4.3 ";
const PASSES: &str = "250 2.0.0 ";

#[test]
fn signatures_by_dkimpy_pass_alone() {
    let (rsa, ed25519) = (Key::rsa(), Key::ed25519());
    let zone = rsa.published_at("rsa.example") + &ed25519.published_at("ed.example");
    let gate = Setup::new().zone(&quickstart_with(&zone)).start();
    let body = "Folded   text \r\n\r\n.dot\r\n\r\n\r\n";
    for (key, domain) in [(&rsa, "rsa.example"), (&ed25519, "ed.example")] {
        for canonicalization in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
            let from = format!("alice@{domain}");
            let signed = key.sign(domain, canonicalization, &with_body(&from, "signed", body));
            let reply = send(&gate, FORWARDER, "relay.forward.example", &from, &signed);
            assert!(reply.starts_with(PASSES), "{domain} {canonicalization}: {reply}");
            let altered = signed.replace("text", "test");
            let reply = send(&gate, FORWARDER, "relay.forward.example", &from, &altered);
            assert!(reply.starts_with(FAILS), "{domain} {canonicalization}, altered: {reply}");
        }
    }
    let results: Vec<String> = files::new_in(&gate.maildir())
        .iter()
        .flat_map(|path| files::values(&files::read(path), "Authentication-Results"))
        .collect();
    assert_eq!(results.len(), 8);
    for result in results {
        assert!(result.contains("dkim=pass") && result.contains("header.d="), "{result}");
        assert!(result.contains("spf=none"), "{result}");
    }
}

/// What must not count, although it is signed.
#[test]
fn signatures_that_do_not_count() {
    let key = Key::rsa();
    let zone = key.published_at("sha1.example")
        + &txt("test._domainkey.service.example.", &format!("{}; s=tlsrpt", key.record))
        + &txt("test._domainkey.revoked.example.", "v=DKIM1; k=rsa; p=")
        + &txt("test._domainkey.testing.example.", &format!("{}; t=y", key.record))
        + &key.published_at("good.example");
    let gate = Setup::new().zone(&quickstart_with(&zone)).start();
    let message = |domain: &str| plain(&format!("alice@{domain}"), "signed");
    let signed = |domain: &str| key.sign(domain, "relaxed/relaxed", &message(domain));
    let rows = [
        ("good", signed("good.example"), PASSES),
        ("key in testing", signed("testing.example"), PASSES),
        ("rsa-sha1", key.sign_sha1("sha1.example", &message("sha1.example")), FAILS),
        ("key for another service", signed("service.example"), FAILS),
        ("revoked key", signed("revoked.example"), FAILS),
        ("no key", signed("nokey.example"), FAILS),
        ("From twice", format!("From: <evil@bare.example>\r\n{}", signed("good.example")), FAILS),
        ("key cannot be looked up", signed("tempfail.example"), DEFERS),
    ];
    for (what, message, reply) in rows {
        let got = send(&gate, FORWARDER, "relay.forward.example", "alice@bare.example", &message);
        assert!(got.starts_with(reply), "{what}: {got:?}, not {reply:?}");
    }
    // Any pass accepts, whatever else could not be looked up.
    let both = key.sign("tempfail.example", "relaxed/relaxed", &signed("good.example"));
    let reply = send(&gate, FORWARDER, "relay.forward.example", "alice@tempfail.example", &both);
    assert!(reply.starts_with(PASSES), "{reply}");
}

/// HELO, reverse-path, and what SPF makes of them from the address of pass.example.
#[test]
fn spf_alone() {
    let zone = txt("two.example.", "v=spf1 +all")
        + &txt("two.example.", "v=spf1 -all")
        + &txt("soft.example.", "v=spf1 ~all")
        + &txt("redirect.example.", "v=spf1 redirect=pass.example")
        + &txt("include.example.", "v=spf1 include:pass.example -all")
        + &txt("macro.example.", "v=spf1 exists:%{ir}.%{l}.ok.macro.example -all")
        + "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.alice.ok.macro.example. 300 IN A 127.0.0.2\n"
        + &txt("broken.example.", "v=spf1 ip6:nonsense +all")
        + &txt("reaches.example.", "v=spf1 include:tempfail.example -all");
    let gate = Setup::new().zone(&quickstart_with(&zone)).start();
    let rows = [
        ("mail.bare.example", "alice@pass.example", PASSES),
        ("mail.bare.example", "alice@PASS.example", PASSES),
        ("mail.bare.example", "alice@redirect.example", PASSES),
        ("mail.bare.example", "alice@include.example", PASSES),
        ("mail.bare.example", "alice@macro.example", PASSES),
        ("mail.bare.example", "bob@macro.example", FAILS),
        ("mail.bare.example", "alice@two.example", FAILS),
        ("mail.bare.example", "alice@soft.example", FAILS),
        ("mail.bare.example", "alice@broken.example", FAILS),
        ("mail.bare.example", "alice@nowhere.invalid", FAILS),
        ("mail.bare.example", "alice@reaches.example", DEFERS),
        // The HELO identity stands in for a null reverse-path, and for nothing else.
        ("mail.pass.example", "", PASSES),
        ("mail.bare.example", "", FAILS),
        ("[IPv6:2001:db8:1::25]", "", FAILS),
        ("mail.pass.example", "alice@bare.example", FAILS),
    ];
    for (helo, reverse_path, reply) in rows {
        let got = send(&gate, PASS, helo, reverse_path, &plain("alice@bare.example", "spf"));
        assert!(got.starts_with(reply), "HELO {helo}, MAIL FROM {reverse_path}: {got:?}, not {reply:?}");
    }
}

#[test]
fn authentication_results_tell_every_method() {
    let gate = Gate::start();
    let reply = send(&gate, PASS, "mail.pass.example", "alice@pass.example", &plain("alice@pass.example", "told"));
    assert!(reply.starts_with(PASSES), "{reply}");
    let message = files::only_message(&gate.maildir());
    let results = files::values(&message, "Authentication-Results");
    assert_eq!(results.len(), 1, "{message}");
    let parts = [
        "iprev=pass",
        "policy.iprev=",
        "2001:db8:1::25",
        "spf=pass",
        "smtp.mailfrom=",
        "pass.example",
        "dkim=none",
        "dmarc=pass",
    ];
    for part in parts {
        assert!(results[0].contains(part), "no {part} in {}", results[0]);
    }
    assert!(results[0].starts_with("mx.example;"), "{}", results[0]);
    assert!(message.lines().take_while(|line| !line.is_empty()).all(|line| line.len() < 998));
}

/// Incoming fields that bear our id go, whatever their spelling; those of others stay, octet for octet.
#[test]
fn forged_authentication_results_are_removed() {
    let ours = [
        "Authentication-Results: mx.example; spf=pass smtp.mailfrom=forged.example\r\n",
        "AUTHENTICATION-RESULTS: MX.Example 1; spf=pass smtp.mailfrom=forged.example\r\n",
        "Authentication-Results:\r\n\t(a comment) mx.example\r\n\t(another) ; dkim=pass header.d=forged.example\r\n",
        "Authentication-Results: \"mx.example\"; spf=pass smtp.mailfrom=forged.example\r\n",
        "Authentication-Results: fleet.example; spf=pass smtp.mailfrom=forged.example\r\n",
        "X-MX6-Monitor: forged\r\n",
    ];
    let others = [
        "Authentication-Results: other.example; spf=pass (mx.example says so) smtp.mailfrom=kept.example\r\n",
        "Authentication-Results: notmx.example;   spf=pass   smtp.mailfrom=kept.example\r\n",
        "X-Authentication-Results: mx.example; kept\r\n",
    ];
    for authserv_id in ["mx.example", "fleet.example"] {
        let gate = Setup::new().args(&["--authserv-id", authserv_id]).start();
        let message = ours.concat() + &others.concat() + &plain("alice@pass.example", "forged");
        let reply = send(&gate, PASS, "mail.pass.example", "alice@pass.example", &message);
        assert!(reply.starts_with(PASSES), "{reply}");
        let stored = files::only_message(&gate.maildir());
        let results = files::values(&stored, "Authentication-Results");
        assert!(results[0].starts_with(&format!("{authserv_id};")), "{}", results[0]);
        let forged = results.iter().filter(|value| value.contains("forged.example")).count();
        // A field that bears the hostname stays when another id is ours.
        assert_eq!(forged, if authserv_id == "mx.example" { 1 } else { 4 }, "{stored}");
        assert!(!stored.contains("X-MX6-Monitor"), "{stored}");
        for field in others {
            assert!(stored.contains(&field.replace("\r\n", "\n")), "{field} is missing from {stored}");
        }
    }
}

/// Removal comes after verification: a signature over a field that goes is still good.
#[test]
fn a_signed_forgery_is_verified_before_it_is_removed() {
    let key = Key::rsa();
    let gate = Setup::new().zone(&quickstart_with(&key.published_at("good.example"))).start();
    let forged = "Authentication-Results: mx.example; spf=pass smtp.mailfrom=forged.example\r\n".to_owned();
    let signed = key.sign("good.example", "simple/simple", &(forged + &plain("alice@good.example", "signed")));
    let reply = send(&gate, FORWARDER, "relay.forward.example", "alice@good.example", &signed);
    assert!(reply.starts_with(PASSES), "{reply}");
    assert!(!files::only_message(&gate.maildir()).contains("forged.example"));
}
