//! What a delivered file looks like.

use crate::harness::files;
use crate::harness::gate::Gate;
use crate::harness::message::with_body;
use crate::harness::smtp::Client;
use crate::harness::zone::PASS;

#[test]
fn a_delivered_file() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let sent = with_body("alice@pass.example", "stored", "one\r\n\r\n.two\r\n..three\r\n\tfour \r\nno more");
    smtp.open("alice@pass.example", &["bob@open.example"]);
    let reply = smtp.message(&format!("{sent}\r\n"));
    let path = &files::new_in(&gate.maildir())[0];
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(reply, format!("250 2.0.0 OK: stored as {name}\r\n"));
    let stored = files::read(path);
    assert!(!stored.contains('\r'), "LF line ends");
    let fields = files::fields(&stored);
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let ours = ["Return-Path", "Delivered-To"];
    assert_eq!(names[..2], ours, "{stored}");
    assert!(names[2..4].contains(&"Received") && names[2..4].contains(&"Authentication-Results"), "{stored}");
    assert_eq!(fields[0].1, "<alice@pass.example>");
    assert_eq!(fields[1].1, "bob@open.example");
    assert!(stored.ends_with(&format!("{}\n", sent.replace("\r\n", "\n"))), "{stored}");
    assert!(stored.ends_with("\n\none\n\n.two\n..three\n\tfour \nno more\n"), "{stored}");
    assert!(files::files(&gate.maildir().join("tmp")).is_empty(), "nothing left in tmp");
    assert!(gate.maildir().join("cur").is_dir());
}

#[test]
fn received_tells_how_it_came() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.transaction("alice@pass.example", "bob@open.example", &with_body("alice@pass.example", "received", "x\r\n"));
    let received = files::values(&files::only_message(&gate.maildir()), "Received");
    assert_eq!(received.len(), 1);
    for part in [
        "from mail.pass.example",
        "[IPv6:2001:db8:1::25]",
        "by mx.example",
        "with ESMTP",
        "for <bob@open.example>",
        "; ",
    ] {
        assert!(received[0].contains(part), "no {part} in {}", received[0]);
    }
}

/// With HELO the protocol is SMTP; with several recipients none is named.
#[test]
fn received_of_another_kind() {
    let gate = Gate::start();
    let mut smtp = Client::proxied(&gate, PASS);
    smtp.reply();
    smtp.ok("HELO mail.pass.example");
    smtp.open("alice@pass.example", &["bob@open.example", "carol@open.example"]);
    assert!(smtp.message(&with_body("alice@pass.example", "two", "x\r\n")).starts_with("250 "));
    let paths = files::new_in(&gate.maildir());
    assert_eq!(paths.len(), 2);
    for path in paths {
        let received = files::values(&files::read(&path), "Received");
        assert!(received[0].contains("with SMTP"), "{received:?}");
        assert!(!received[0].contains("for <"), "{received:?}");
    }
}

#[test]
fn a_null_reverse_path() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("", "bob@open.example", &with_body("postmaster@pass.example", "bounce", "x\r\n"));
    assert!(reply.starts_with("250 "), "{reply}");
    let stored = files::only_message(&gate.maildir());
    assert_eq!(files::values(&stored, "Return-Path"), ["<>"]);
    let results = files::values(&stored, "Authentication-Results");
    assert!(results[0].contains("spf=pass") && results[0].contains("smtp.helo=mail.pass.example"), "{results:?}");
}

/// What a peer says can end no field and begin none.
#[test]
fn peers_cannot_break_out_of_our_fields() {
    let gate = Gate::start();
    for helo in ["a.example) by evil.example; spf=pass (", "[IPv6:2001:db8::1]", "a_b.example", "-x-"] {
        let mut smtp = Client::proxied(&gate, PASS);
        smtp.reply();
        if !smtp.say(&format!("EHLO {helo}")).starts_with("250") {
            continue;
        }
        let reply = smtp.transaction(
            "\"a b; spf=pass\"@pass.example",
            "bob@open.example",
            &with_body("alice@pass.example", "odd", "x\r\n"),
        );
        assert!(reply.starts_with("250 "), "{helo}: {reply}");
    }
    for path in files::new_in(&gate.maildir()) {
        let stored = files::read(&path);
        let results = files::values(&stored, "Authentication-Results");
        assert_eq!(results.len(), 1, "{stored}");
        let said = without_quoted(&results[0]);
        assert_eq!(said.matches("spf=").count(), 1, "{}", results[0]);
        assert_eq!(files::values(&stored, "Received").len(), 1, "{stored}");
    }
}

/// The text without quoted strings and comments.
fn without_quoted(text: &str) -> String {
    let (mut quoted, mut depth) = (false, 0);
    let keep = |c: &char| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => return !quoted && depth == 0,
        }
        false
    };
    text.chars().filter(keep).collect()
}
