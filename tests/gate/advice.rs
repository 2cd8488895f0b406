//! What `mx6 explain` tells a sender to publish: published, it helps.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::gate::mx6;
use crate::harness::message::{body, plain, with_body};
use crate::harness::signing::Key;
use crate::harness::zone::{FORWARDER, MISMATCH, NO_PTR, PASS, PTR_FAILS, quickstart_with, txt};

/// A sender and its message.
struct Sender<'a> {
    client: &'a str,
    helo: &'a str,
    reverse_path: &'a str,
    message: &'a str,
    /// Further flags.
    flags: &'a [&'a str],
}

/// A zone file that grows.
struct World {
    dir: TempDir,
    zone: String,
}

impl World {
    fn new(more: &str) -> World {
        World { dir: tempfile::tempdir().unwrap(), zone: quickstart_with(more) }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn explain(&self, sender: &Sender<'_>, form: &[&str]) -> String {
        let text = |path: &Path| path.display().to_string();
        let zone = text(&self.file("test.zone", &self.zone));
        let message = text(&self.file("test.eml", sender.message));
        let mut args = vec!["explain", "--zone", &zone, "--client-ip", sender.client, "--helo", sender.helo];
        args.extend(["--hostname", "mx.example", "--mail-from", sender.reverse_path]);
        args.extend(["--domain", "open.example=accept", "--domain", "v4only.example=reject"]);
        if !sender.flags.contains(&"--rcpt-to") {
            args.extend(["--rcpt-to", "bob@open.example"]);
        }
        args.extend(sender.flags);
        args.extend(form);
        args.push(&message);
        let ended = mx6(&args);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.stdout
    }

    fn told(&self, sender: &Sender<'_>) -> Value {
        serde_json::from_str(&self.explain(sender, &["--json"])).unwrap()
    }

    /// Does what the text says, as somebody who copies its lines does: takes out what it says is there now, and adds what it says to publish.
    /// `wanted` chooses among records of which one is enough.
    fn follow(&mut self, text: &str, wanted: impl Fn(&str) -> bool) -> usize {
        let (_, advice) = text.split_once("\nWhat to do\n").unwrap_or_else(|| panic!("no advice in {text}"));
        let mut published = 0;
        for line in advice.lines() {
            if let Some(present) = line.strip_prefix("; is now: ") {
                let (owner, value) = present.split_once(" 3600 IN TXT ").unwrap();
                let line = format!("{owner} 300 IN TXT {value}\n");
                assert!(self.zone.contains(&line), "{line} is not what the zone has");
                self.zone = self.zone.replace(&line, "");
            } else if line.contains(" 3600 IN ") && wanted(line) {
                self.zone.push_str(&format!("{line}\n"));
                published += 1;
            }
        }
        published
    }
}

/// Client, HELO, reverse-path, the rule that objects, further flags, and how many records are to be published.
type Helped<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str], usize);

/// Client, reverse-path, message, further flags, the rule that objects, whom the advice is for, and words of it.
type Told<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a str, &'a str, &'a str);

/// All rows are refused, and accepted once the records that the text of `explain` prints are in the zone.
#[test]
fn what_is_told_helps_when_published() {
    let more = "listed 300 IN TXT \"v=spf1 ip6:2001:db8:1::25 -all\"\nlisted.example. 300 IN TXT \"unrelated\"\n"
        .to_owned()
        + "own.example. 300 IN TXT \"v=spf1 ip6:2001:db8:1::25 ~all\"\n"
        + "two.example. 300 IN TXT \"v=spf1 mx -all\"\ntwo.example. 300 IN TXT \"v=spf1 ip4:192.0.2.9 ~all\"\n"
        + "typo.example. 300 IN TXT \"v=spf1 ipv6:2001:db8:1::66 -all\"\n"
        + "far.example. 300 IN TXT \"v=spf1 redirect=pass.example\"\n"
        + "early.example. 300 IN TXT \"v=spf1 -ip6:2001:db8:1::/64 -all\"\n"
        + "deep.example. 300 IN TXT \"v=spf1 a:v1.example a:v2.example a:v3.example -all\"\n";
    let message = plain("alice@bare.example", "advice");
    let rows: [Helped<'_>; 11] = [
        (NO_PTR, "new.bare.example", "alice@bare.example", "reverse-dns", &[], 3),
        (NO_PTR, "new.bare.example", "alice@bare.example", "reverse-dns", &["--ptr", "fcrdns"], 3),
        (MISMATCH, "mail.mismatch.example", "alice@bare.example", "reverse-dns", &["--ptr", "fcrdns"], 2),
        (FORWARDER, "relay.forward.example", "alice@bare.example", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "alice@own.example", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "alice@two.example", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "alice@typo.example", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "alice@far.example", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "alice@early.example", "spf-or-dkim", &[], 1),
        (FORWARDER, "relay.forward.example", "alice@deep.example", "spf-or-dkim", &[], 1),
    ];
    for (client, helo, reverse_path, rule, flags, records) in rows {
        let mut world = World::new(&more);
        let sender = Sender { client, helo, reverse_path, message: &message, flags };
        let before = world.told(&sender);
        assert_eq!((before["rule"].as_str(), before["verdict"].as_str()), (Some(rule), Some("defer")), "{before:#}");
        let text = world.explain(&sender, &[]);
        let published = world.follow(&text, |line| !line.contains("PUBLIC-KEY"));
        assert_eq!(published, records, "{text}");
        let after = world.told(&sender);
        assert_eq!(after["verdict"], "accept", "{reverse_path}: {text}\n{after:#}");
        assert_eq!(after["advice"], serde_json::json!([]), "{after:#}");
    }
}

/// Records that are broken for everybody: what is said of them, and what is not. All are cured, or at least let the sender pass, by what is printed.
#[test]
fn broken_records_are_called_broken() {
    let many: String = (0..13).map(|number| format!(" a:h{number}.pass.example")).collect();
    let hosts: String = (0..13).map(|number| format!("h{number}.pass.example. 300 IN AAAA 2001:db8:1::25\n")).collect();
    let more = hosts
        + &txt("many.example.", &format!("v=spf1{many} ~all"))
        + &txt("much.example.", "v=spf1 include:eight.example mx include:eight.example -all")
        + &txt("eight.example.", &format!("v=spf1{} ?all", &many[..many.find(" a:h7").unwrap()]))
        + "much.example. 300 IN MX 10 h0.pass.example.\n"
        + &txt("void.example.", "v=spf1 mx a:v1.example a:v2.example a:v3.example a:h1.pass.example -all")
        + "void.example. 300 IN MX 10 h0.pass.example.\n"
        + &txt("gone.example.", "v=spf1 a:h0.pass.example include:left.example -all")
        + &txt("third.example.", "v=spf1 a:h0.pass.example include:wrong.example -all")
        + &txt("wrong.example.", "v=spf1 ipv4:192.0.2.1 -all")
        + &txt("mild.example.", "v=spf1 a:h0.pass.example -all")
        + &txt("mild.example.", "v=spf1 a:h1.pass.example ~all");
    let cured = "Publish this one instead";
    let not_cured = "It is no cure: the other servers of";
    let rows: [(&str, &[&str], &[&str]); 6] = [
        (
            "many.example",
            &[
                "It takes at least 13 DNS lookups, and at most 10 are allowed (RFC 7208 §4.6.4): a:h0.pass.example (1)",
                "In place of a:h0.pass.example, a:h1.pass.example",
                "write the addresses as ip4: and ip6:",
                "neither here nor at other receivers",
                not_cured,
            ],
            &[cured, "leave the record as it is"],
        ),
        (
            "much.example",
            &[
                "It takes 17 DNS lookups, and at most 10 are allowed",
                "include:eight.example (8), include:eight.example (8), mx (1)",
                "In place of mx write",
                not_cured,
            ],
            &[cured, "leave the record as it is"],
        ),
        (
            "void.example",
            &[
                "3 of its lookups find nothing, and at most 2 may",
                "a:v1.example, a:v2.example and a:v3.example lead to names that are not in DNS",
                "it leaves out a:v1.example, a:v2.example and a:v3.example and names 2001:db8:1::66",
                "\"v=spf1 mx a:h1.pass.example ip6:2001:db8:1::66 -all\"",
            ],
            &[not_cured, "leave the record as it is"],
        ),
        (
            "gone.example",
            &[
                "The fault is at left.example, which it takes in by \"include:left.example\": included here, but no SPF record.",
                "it leaves out include:left.example and names",
                "\"v=spf1 a:h0.pass.example ip6:2001:db8:1::66 -all\"",
            ],
            &[not_cured, "leave the record as it is"],
        ),
        (
            "third.example",
            &[
                "The fault is at wrong.example, which it takes in by \"include:wrong.example\": unknown mechanism.",
                "Tell whoever runs wrong.example",
                not_cured,
                "\"v=spf1 ip6:2001:db8:1::66 a:h0.pass.example include:wrong.example -all\"",
            ],
            &[cured, "leave the record as it is"],
        ),
        (
            "mild.example",
            &[
                "They end differently (\"-all\" and \"~all\"): this one ends in \"~all\"",
                "\"v=spf1 a:h0.pass.example a:h1.pass.example ip6:2001:db8:1::66 ~all\"",
            ],
            &[not_cured],
        ),
    ];
    let message = plain("alice@bare.example", "broken");
    for (domain, said, unsaid) in rows {
        let mut world = World::new(&more);
        let reverse_path = format!("alice@{domain}");
        let helo = "relay.forward.example";
        let sender = Sender { client: FORWARDER, helo, reverse_path: &reverse_path, message: &message, flags: &[] };
        let text = world.explain(&sender, &[]);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in said {
            assert!(line.contains(words), "{words} is not in {text}");
        }
        for words in unsaid {
            assert!(!line.contains(words), "{words} is in {text}");
        }
        world.follow(&text, |line| !line.contains("PUBLIC-KEY"));
        assert_eq!(world.told(&sender)["verdict"], "accept", "{text}");
    }
}

/// Of a notice: a HELO name that leads elsewhere is more likely wrong than its record.
#[test]
fn anothers_name_in_helo() {
    let more = "relay.forward.example. 300 IN TXT \"v=spf1 a -all\"\n";
    let message = plain("alice@bare.example", "notice");
    for (helo, more, first) in [
        ("mail.pass.example", "", "relay.forward.example, as reverse DNS has it. That then needs an SPF record"),
        ("mail.pass.example", more, "relay.forward.example, as reverse DNS has it. SPF passes for that already."),
        ("relay.forward.example", "", "There is no SPF record for relay.forward.example"),
    ] {
        let world = World::new(more);
        let told = world.told(&Sender { client: FORWARDER, helo, reverse_path: "", message: &message, flags: &[] });
        let texts: Vec<&str> =
            told["advice"].as_array().unwrap().iter().map(|advice| advice["text"].as_str().unwrap()).collect();
        assert!(texts[0].contains(first), "{helo}: {texts:#?}");
        let is_doubted = texts[0].contains("most likely that is the name of another server");
        assert_eq!(is_doubted, helo == "mail.pass.example", "{texts:#?}");
        let condition =
            "This helps only if mail.pass.example is the name of the server at 2001:db8:1::66 and not of another one. ";
        assert_eq!(texts[1].starts_with(condition), is_doubted, "{texts:#?}");
    }
    let world = World::new("");
    let told = world.explain(
        &Sender {
            client: NO_PTR,
            helo: "mail.pass.example",
            reverse_path: "a@pass.example",
            message: &message,
            flags: &[],
        },
        &[],
    );
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(line.contains("so it may be the name of another server: then correct the HELO first"), "{told}");
}

/// The key is the signer's to tell: it goes where the text has PUBLIC-KEY.
#[test]
fn a_key_published_as_told_makes_its_signature_count() {
    for key in [Key::rsa(), Key::ed25519()] {
        let signed = key.sign("signer.example", "relaxed/relaxed", &plain("alice@signer.example", "key"));
        let mut world = World::new("");
        let sender = Sender {
            client: FORWARDER,
            helo: "relay.forward.example",
            reverse_path: "alice@bare.example",
            message: &signed,
            flags: &[],
        };
        let text = world.explain(&sender, &[]);
        assert!(text.contains("(selector test) does not count: no key published."), "{text}");
        let (_, public) = key.record.split_once("p=").unwrap();
        let public: String = public.chars().filter(|character| !"\" \t".contains(*character)).collect();
        let told = text.lines().find(|line| line.contains("PUBLIC-KEY\"")).unwrap();
        let (halves, rest) = (public.split_at(public.len() / 2), told.replace("p=PUBLIC-KEY\"", "p="));
        world.zone.push_str(&format!("{rest}{}\" \"{}\"\n", halves.0, halves.1));
        let after = world.told(&sender);
        assert_eq!(
            (after["verdict"].as_str(), after["dkim"][0]["result"].as_str()),
            (Some("accept"), Some("pass")),
            "{after:#}"
        );
    }
}

/// What else is said, by rule: who it is for, and a word that must be in it.
#[test]
fn who_is_told_what() {
    let message = plain("alice@pass.example", "told");
    let received = "Received: from a by b; Thu, 01 Jan 2026 00:00:00 +0000\r\n".repeat(51) + &message;
    let large = with_body("alice@pass.example", "large", &body(70_000));
    let bare = message.replace("this is", "this\ris");
    let signed = Key::rsa().sign("signer.tempfail.example", "relaxed/relaxed", &message);
    let rows: [Told<'_>; 9] = [
        (
            PASS,
            "a@pass.example",
            &message,
            &["--rcpt-to", "b@elsewhere.example"],
            "not-served-here",
            "the postmaster",
            "dig MX elsewhere.example",
        ),
        (
            PASS,
            "a@pass.example",
            &message,
            &["--rcpt-to", "b@v4only.example"],
            "not-opted-in",
            "the postmaster",
            "IPv4 only",
        ),
        (
            PTR_FAILS,
            "a@pass.example",
            &message,
            &[],
            "reverse-dns-temperror",
            "address block",
            "dig +tcp -x 2001:db8:2::25",
        ),
        (
            FORWARDER,
            "a@tempfail.example",
            &message,
            &[],
            "spf-or-dkim-temperror",
            "DNS of tempfail.example",
            "dig +tcp TXT tempfail.example",
        ),
        (
            FORWARDER,
            "a@bare.example",
            &signed,
            &[],
            "spf-or-dkim-temperror",
            "DNS of signer.tempfail.example",
            "dig +tcp TXT test._domainkey.signer.tempfail.example",
        ),
        (PASS, "a@pass.example", &bare, &[], "bare-cr-or-lf", "sending system", "CR LF"),
        (PASS, "a@pass.example", &received, &[], "mail-loop", "sending system", "50 servers"),
        (PASS, "a@pass.example", &large, &["--size-limit", "65536"], "message-size", "sending system", "65536 octets"),
        (PASS, "a@pass.example", &message, &[], "accepted", "", ""),
    ];
    let world = World::new("");
    for (client, reverse_path, message, flags, rule, who, words) in rows {
        let told = world.told(&Sender { client, helo: "mail.pass.example", reverse_path, message, flags });
        assert_eq!(told["rule"], rule, "{told:#}");
        let advice = told["advice"].as_array().unwrap();
        assert_eq!(advice.is_empty(), who.is_empty(), "{told:#}");
        let has =
            |advice: &Value, key: &str, words: &str| advice[key].as_str().is_some_and(|text| text.contains(words));
        let is_told = |advice: &Value| has(advice, "who", who) && has(advice, "text", words) && advice["rule"] == rule;
        assert!(who.is_empty() || advice.iter().any(is_told), "{words}: {told:#}");
    }
}

/// Names come from peers: none of their octets may steer the terminal of who reads this, or begin a line of it.
#[test]
fn nothing_steers_the_terminal() {
    let world = World::new(
        &("odd.example. 300 IN TXT \"v=spf1 a\\027[31mred\\007 -all\"\n".to_owned()
            + "line.example. 300 IN TXT \"v=spf1 a\\010verdict\\009accept\\226\\128\\174 -all\"\n"),
    );
    let message = plain("alice@bare.example", "odd");
    let explain = |reverse_path| {
        let helo = "relay.forward.example";
        world.explain(&Sender { client: FORWARDER, helo, reverse_path, message: &message, flags: &[] }, &[])
    };
    let text = explain("a@odd.example");
    assert!(text.contains("\n\"a?[31mred?\" (an octet"), "{text}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    let text = explain("a@line.example");
    assert!(text.contains("\"a?verdict?accept?\" (an octet"), "{text}");
    assert!(
        !text.contains('\u{202e}') && text.lines().filter(|line| line.starts_with("verdict")).count() == 1,
        "{text}"
    );
    // An address may have letters of every direction.
    let text = explain("\u{202e}a\u{2028}b@bare.example");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}') && !text.contains('\u{2028}'), "{text}");
}
