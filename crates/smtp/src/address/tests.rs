//! Addresses, good and bad.

use super::*;
use alloc::string::{String, ToString};

fn found(rule: impl Fn(&[u8]) -> IResult<&[u8], String>, input: &str) -> Option<String> {
    match rule(input.as_bytes()) {
        Ok(([], text)) => Some(text),
        _ => None,
    }
}

fn sender(input: &str) -> Option<String> {
    found(|octets| reverse_path(octets).map(|(rest, path)| (rest, path.to_string())), input)
}

fn recipient(input: &str) -> Option<String> {
    found(|octets| forward_path(octets).map(|(rest, path)| (rest, path.to_string())), input)
}

#[test]
fn paths() {
    /// The input, and what a sender and a recipient are taken for.
    type Case = (&'static str, (Option<&'static str>, Option<&'static str>));
    let same = |path: &'static str| (Some(path), Some(path));
    let none = (None, None);
    let cases: [Case; 62] = [
        ("<>", (Some(""), None)),
        ("<postmaster>", (None, Some("postmaster"))),
        ("<POSTmaster>", (None, Some("postmaster"))),
        ("<postmaster@a.example>", same("postmaster@a.example")),
        ("<a@b>", same("a@b")),
        ("<A@B.eXample>", same("A@B.eXample")),
        ("<a.b.c@d.example>", same("a.b.c@d.example")),
        ("<!#$%&'*+-/=?^_`{|}~@b.example>", same("!#$%&'*+-/=?^_`{|}~@b.example")),
        ("<a@1.2.3.4>", same("a@1.2.3.4")),
        ("<a@b-c.d--e.example>", same("a@b-c.d--e.example")),
        ("<a@xn--bcher-kva.example>", same("a@xn--bcher-kva.example")),
        ("<a@under_score.example>", (Some("a@under_score.example"), None)),
        ("<a@_dmarc.example>", (Some("a@_dmarc.example"), None)),
        ("<\"\"@b.example>", same("\"\"@b.example")),
        ("<\"a b\"@c.example>", same("\"a b\"@c.example")),
        ("<\"a@b\"@c.example>", same("\"a@b\"@c.example")),
        ("<\"a\\\"b\\\\\"@c.example>", same("\"a\\\"b\\\\\"@c.example")),
        ("<\"a>b\"@c.example>", same("\"a>b\"@c.example")),
        ("<a@[192.0.2.1]>", same("a@[192.0.2.1]")),
        ("<a@[IPv6:2001:db8::1]>", same("a@[IPv6:2001:db8::1]")),
        ("<a@[ipv6:::]>", same("a@[ipv6:::]")),
        ("<a@[IPv6:::ffff:192.0.2.1]>", same("a@[IPv6:::ffff:192.0.2.1]")),
        ("<@a.example:b@c.example>", same("b@c.example")),
        ("<@a.example,@d.example:b@c.example>", same("b@c.example")),
        ("", none),
        ("<", none),
        ("<>>", none),
        ("< >", none),
        ("<a>", none),
        ("<a@>", none),
        ("<@a>", none),
        ("<@>", none),
        ("a@b.example", none),
        ("<a@b.example", none),
        ("a@b.example>", none),
        ("<a@b.example>x", none),
        ("<<a@b.example>>", none),
        ("< a@b.example>", none),
        ("<a@b.example >", none),
        ("<a b@c.example>", none),
        ("<a@b c.example>", none),
        ("<.a@b.example>", none),
        ("<a.@b.example>", none),
        ("<a..b@c.example>", none),
        ("<a@b..example>", none),
        ("<a@.b.example>", none),
        ("<a@b.example.>", none),
        ("<a@-b.example>", none),
        ("<a@b-.example>", none),
        ("<a@b@c.example>", none),
        ("<a,b@c.example>", none),
        ("<a(b)@c.example>", none),
        ("<\"a@b.example>", none),
        ("<\"a\"b@c.example>", none),
        ("<a\"b\"@c.example>", none),
        ("<a@[192.0.2.256]>", none),
        ("<a@[192.0.02.1]>", none),
        ("<a@[192.0.2.1>", none),
        ("<a@[2001:db8::1]>", none),
        ("<a@[IPv6:fe80::1%eth0]>", none),
        ("<a@[x400:c=de]>", none),
        ("<@a.example,b@c.example>", none),
    ];
    for (input, (as_sender, as_recipient)) in cases {
        assert_eq!(sender(input).as_deref(), as_sender, "sender {input}");
        assert_eq!(recipient(input).as_deref(), as_recipient, "recipient {input}");
    }
    for octet in (0..=31).chain(127..=255u8) {
        // As UTF-8 these are controls, or not UTF-8 at all.
        for (before, after) in [("<a", "@b>"), ("<a@b", ">"), ("<\"", "\"@b>")] {
            let path = [before.as_bytes(), &[octet], after.as_bytes()].concat();
            assert!(reverse_path(&path).is_err(), "{octet}");
        }
    }
}

#[test]
fn internationalized_paths() {
    for (path, accepted) in [
        ("<ü@b.example>", true),
        ("<用户@例子.example>", true),
        ("<a.ü.b@b.example>", true),
        ("<\"ü b\"@c.example>", true),
        ("<a@bücher.example>", true),
        ("<a@xn--bcher-kva.ü-b.example>", true),
        ("<@ü.example:a@b.example>", true),
        ("<\u{a0}@b.example>", true),
        ("<ü.@b.example>", false),
        ("<ü..a@b.example>", false),
        ("<ü a@b.example>", false),
        ("<a@ü..example>", false),
        ("<a@-ü.example>", false),
        ("<a@ü-.example>", false),
        ("<a@ü.example.>", false),
        ("<\"\\ü\"@b.example>", false),
        ("<a@[ü]>", false),
        ("<ü>", false),
        ("<ü@b.example", false),
        ("<\u{80}@b.example>", false),
        ("<\u{9f}@b.example>", false),
        ("<a@\u{85}.example>", false),
        ("<\"\u{9b}\"@b.example>", false),
        ("<ü\u{7f}@b.example>", false),
        ("<\"ü\n\"@b.example>", false),
    ] {
        assert_eq!(sender(path).is_some(), accepted, "sender {path:?}");
        assert_eq!(recipient(path).is_some(), accepted, "recipient {path:?}");
    }
    assert_eq!(sender("<ü@b_c.example>").as_deref(), Some("ü@b_c.example"));
    assert_eq!(recipient("<ü@b_c.example>"), None);
    for broken in [&b"\xc3"[..], b"\xfc", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f"] {
        for (before, after) in [("<a", "@b>"), ("<a@b", ">"), ("<\"", "\"@b>"), ("<\u{fc}", "@b>")] {
            let path = [before.as_bytes(), broken, after.as_bytes()].concat();
            assert!(reverse_path(&path).is_err() && forward_path(&path).is_err(), "{}", path.escape_ascii());
        }
    }
    // Octets count, not characters.
    for (local, domain, accepted) in [(32, 90, true), (33, 90, false), (1, 125, true), (1, 126, false)] {
        let path = alloc::format!("<{}@{}>", "ü".repeat(local), "ü".repeat(domain));
        assert_eq!(sender(&path).is_some(), accepted, "{} octets", path.len());
    }
}

#[test]
fn lengths() {
    let label = "d".repeat(63);
    let domain_of = |octets: usize| [&*label, &label, &label, &label].join(".")[..octets].to_string();
    let path = |local: usize, domain: usize| alloc::format!("<{}@{}>", "l".repeat(local), domain_of(domain));
    for (input, accepted) in [
        (path(64, 100), true),
        (path(65, 100), false),
        (alloc::format!("<\"{}\"@d>", "l".repeat(62)), true),
        (alloc::format!("<\"{}\"@d>", "l".repeat(63)), false),
        (path(1, 252), true),
        (path(1, 253), false),
        (alloc::format!("<@r:{}", &path(1, 249)[1..]), true),
        (alloc::format!("<@r:{}", &path(1, 250)[1..]), false),
    ] {
        assert_eq!(sender(&input).is_some(), accepted, "{} octets: {input}", input.len());
        assert_eq!(recipient(&input).is_some(), accepted, "{} octets: {input}", input.len());
    }
    assert!(Mailbox::parse(&alloc::format!("l@{}", domain_of(255))).is_some());
}

#[test]
fn mailboxes_without_brackets() {
    for (input, parts) in [
        ("a@b.example", Some(("a", Domain::Name("b.example")))),
        ("\"a b\"@[192.0.2.1]", Some(("\"a b\"", Domain::Literal("[192.0.2.1]")))),
        ("a", None),
        ("", None),
        ("<a@b.example>", None),
        ("a@b.example ", None),
    ] {
        let found = Mailbox::parse(input);
        assert_eq!(found.map(|mailbox| (mailbox.local_part, mailbox.domain)), parts, "{input}");
    }
}
