//! The rules of a signature and its message, one row each: what a sender, an attacker or the way may do to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::NOW_UNIX_S;
use common::table::{Case, Row, check};
use mx6_dkim::Cause::{self, *};

const OK: &[Cause] = &[Verified];

#[rustfmt::skip]
const CANONICALIZATION: &[Row] = &[
    ("relaxed/relaxed", OK, |_| {}),
    ("relaxed/simple", OK, |c| c.set("c", "relaxed/simple")),
    ("simple/relaxed", OK, |c| c.set("c", "simple/relaxed")),
    ("simple/simple", OK, |c| c.set("c", "simple/simple")),
    ("relaxed alone", OK, |c| c.set("c", "relaxed")),
    ("simple alone", OK, |c| c.set("c", "simple")),
    ("no c= is simple/simple", OK, |c| c.draft.remove("c")),
    ("c= in other case", OK, |c| c.set("c", "Relaxed/SIMPLE")),
    ("unknown header algorithm", &[UnknownCanonicalization], |c| c.set("c", "nofws/simple")),
    ("unknown body algorithm", &[UnknownCanonicalization], |c| c.set("c", "relaxed/nofws")),
    ("c= with three parts", &[UnknownCanonicalization], |c| c.set("c", "relaxed/relaxed/relaxed")),
    ("c= without header part", &[UnknownCanonicalization], |c| c.set("c", "/relaxed")),
    ("c= empty", &[UnknownCanonicalization], |c| c.set("c", "")),
    ("folded simple signature", OK, |c| { c.set("c", "simple/simple"); c.draft.separator = ";\r\n\t ".to_owned(); }),
    ("folded relaxed signature", OK, |c| c.draft.separator = " ;\r\n\t ".to_owned()),
    ("no blank between tags", OK, |c| c.draft.separator = ";".to_owned()),
    ("blank before the colon, relaxed", OK, |c| c.draft.fields[0] = "From \t: a@football.example.com\r\n".to_owned()),
    ("blank before the colon, simple", OK, |c| {
        c.set("c", "simple");
        c.draft.fields[0] = "FROM : a@football.example.com\r\n".to_owned();
    }),
    ("blank before the colon of the signature", OK, |c| c.draft.field_name = "dkim-SIGNATURE :".to_owned()),
    ("the same, simple", OK, |c| { c.set("c", "simple"); c.draft.field_name = "dkim-SIGNATURE :".to_owned(); }),
    ("b= not last", OK, |c| { let b = c.draft.tags.pop().unwrap(); c.draft.tags.insert(2, b); }),
    ("b= folded on the way, simple", OK, |c| {
        c.set("c", "simple");
        c.on_the_way = |m| { let at = m.find("; b=").unwrap() + 20; format!("{}\r\n\t{}", &m[..at], &m[at..]) };
    }),
    ("blank after b= on the way, simple", OK, |c| {
        c.set("c", "simple");
        c.on_the_way = |m| m.replacen("; b=", "; b= \t", 1);
    }),
    ("field folded on the way, relaxed", OK, |c| c.on_the_way = |m| m.replace("Joe SixPack", "Joe\r\n \tSixPack")),
    ("field folded on the way, simple", &[SignatureMismatch], |c| {
        c.set("c", "simple");
        c.on_the_way = |m| m.replace("Joe SixPack", "Joe\r\n SixPack");
    }),
    ("blanks changed in the body, relaxed", OK, |c| c.on_the_way = |m| m.replace("lost  the", "lost \t the")),
    ("blanks changed in the body, simple", &[BodyHashMismatch], |c| {
        c.set("c", "relaxed/simple");
        c.on_the_way = |m| m.replace("lost  the", "lost the");
    }),
    ("empty lines added at the end", OK, |c| c.on_the_way = |m| m + "\r\n\r\n \r\n"),
    ("empty lines added at the end, simple", OK, |c| { c.set("c", "simple"); c.on_the_way = |m| m + "\r\n\r\n"; }),
    ("last line end lost", OK, |c| c.on_the_way = |m| m.trim_end().to_owned()),
    ("empty body", OK, |c| c.draft.body.clear()),
    ("empty body, simple", OK, |c| { c.set("c", "simple"); c.draft.body.clear(); }),
    ("no body at all", OK, |c| { c.draft.body.clear(); c.on_the_way = |m| m.trim_end().to_owned() + "\r\n"; }),
];

#[rustfmt::skip]
const MESSAGE: &[Row] = &[
    ("ed25519", OK, Case::ed25519),
    ("ed25519, simple", OK, |c| { c.ed25519(); c.set("c", "simple/simple"); }),
    ("no signature", &[], |c| c.on_the_way = |m| m.replace("DKIM-Signature:", "X-Signature:")),
    ("body changed", &[BodyHashMismatch], |c| c.on_the_way = |m| m.replace("hungry", "angry")),
    ("text appended", &[BodyHashMismatch], |c| c.on_the_way = |m| m + "PS: x\r\n"),
    ("signed field changed", &[SignatureMismatch], |c| c.on_the_way = |m| m.replace("dinner", "lunch")),
    ("unsigned field changed", OK, |c| c.on_the_way = |m| m.replace("from b", "from c")),
    ("tag added", &[SignatureMismatch], |c| c.on_the_way = |m| m.replacen("v=1;", "v=1; t=1;", 1)),
    ("ed25519, signed field changed", &[SignatureMismatch], |c| { c.ed25519(); c.on_the_way = |m| m.replace("dinner", "lunch"); }),
    ("repeated names are taken from the bottom", OK, |c| c.set("h", "from:received:received")),
    ("one of two is the last one", OK, |c| {
        c.set("h", "from:received");
        c.on_the_way = |m| m.replace("Received: from a", "Received: from x");
    }),
    ("and not the first one", &[SignatureMismatch], |c| {
        c.set("h", "from:received");
        c.on_the_way = |m| m.replace("Received: from b", "Received: from x");
    }),
    ("field of a signed name added on top", OK, |c| { c.set("h", "from:received"); c.on_the_way = |m| format!("Received: x\r\n{m}"); }),
    ("field of a signed name added, all signed", &[SignatureMismatch], |c| {
        c.set("h", "from:received:received:received");
        c.on_the_way = |m| format!("Received: x\r\n{m}");
    }),
    ("names without a field", OK, |c| c.set("h", "from:reply-to:from:cc:cc")),
    ("blanks in h=", OK, |c| c.set("h", " From : \r\n To ")),
    ("From not signed", &[FromNotSigned], |c| c.set("h", "to:subject:fromage")),
    ("From added on top", &[FromRepeated], |c| c.on_the_way = |m| format!("From: evil@example.net\r\n{m}")),
    ("From added at the bottom", &[FromRepeated], |c| c.on_the_way = |m| m.replacen("\r\n\r\n", "\r\nfrom : evil@example.net\r\n\r\n", 1)),
    ("two From, both signed", &[FromRepeated], |c| { c.draft.fields.push("From: b@example.net\r\n".to_owned()); c.set("h", "from:from"); }),
    ("From oversigned", OK, |c| c.set("h", "from:from:to")),
    ("no From", &[FromMissing], |c| { c.draft.fields.remove(0); }),
    ("a line that is no field", OK, |c| c.on_the_way = |m| m.replace("To: Suzie", "what is this\r\nTo: Suzie")),
    ("a From in a line folded to nothing", OK, |c| c.on_the_way = |m| format!(" From: evil@example.net\r\n{m}")),
    ("another signature is signed, itself is not", &[Verified, MissingTag], |c| {
        c.draft.fields.insert(0, "DKIM-Signature: v=1; d=example.net\r\n".to_owned());
        c.set("h", "from:dkim-signature:dkim-signature");
    }),
    ("results in the order of the fields", &[TagListSyntax, Verified], |c| c.on_the_way = |m| format!("DKIM-Signature: x\r\n{m}")),
    ("broken one below", &[Verified, TagListSyntax], |c| c.on_the_way = |m| m.replacen("\r\nTo:", "\r\nDKIM-Signature:\r\nTo:", 1).replace("DKIM-Signature:\r\n", "DKIM-Signature: =\r\n")),
];

#[rustfmt::skip]
const TAGS: &[Row] = &[
    ("final semicolon", OK, |c| c.draft.tags.push(pair("z", "x;"))),
    ("final semicolon added on the way", &[SignatureMismatch], |c| c.on_the_way = |m| m.replacen("\r\nFrom:", ";\r\nFrom:", 1)),
    ("empty tag-specs", OK, |c| c.draft.separator = ";; ".to_owned()),
    ("junk in the list", &[TagListSyntax], |c| c.draft.separator = "; junk; ".to_owned()),
    ("unknown tags", OK, |c| c.set("zz_9", "a=b")),
    ("unknown tag twice", &[DuplicateTag], |c| c.draft.tags.splice(0..0, [pair("zz", "1"), pair("zz", "1")]).for_each(drop)),
    ("bh= twice", &[DuplicateTag], |c| c.draft.tags.insert(0, pair("bh", "?"))),
    ("d= twice", &[DuplicateTag], |c| c.draft.tags.insert(0, pair("d", "example.net"))),
    ("no v=", &[MissingTag], |c| c.draft.remove("v")),
    ("no a=", &[MissingTag], |c| c.draft.remove("a")),
    ("no b=", &[MissingTag], |c| { c.draft.tags.pop(); }),
    ("no bh=", &[MissingTag], |c| c.draft.remove("bh")),
    ("no d=", &[MissingTag], |c| c.draft.remove("d")),
    ("no h=", &[MissingTag], |c| c.draft.remove("h")),
    ("no s=", &[MissingTag], |c| c.draft.remove("s")),
    ("tag names have a case", &[MissingTag], |c| c.draft.tags[0].0 = "V".to_owned()),
    ("v=2", &[Version], |c| c.set("v", "2")),
    ("v=", &[Version], |c| c.set("v", "")),
    ("v=1.0", &[Version], |c| c.set("v", "1.0")),
    ("a= in other case", OK, |c| c.set("a", "RSA-sha256")),
    ("rsa-sha1", &[RsaSha1], |c| c.set("a", "rsa-sha1")),
    ("rsa-sha512", &[UnknownAlgorithm], |c| c.set("a", "rsa-sha512")),
    ("a=", &[UnknownAlgorithm], |c| c.set("a", "")),
    ("b=", &[SignatureDataSyntax], |c| c.set("b", "")),
    ("b= not base64", &[SignatureDataSyntax], |c| c.set("b", "a*b=")),
    ("b= too short", &[SignatureMismatch], |c| c.set("b", "AAAA")),
    ("b= of zeros", &[SignatureMismatch], |c| c.set("b", &"AAAA".repeat(86))),
    ("ed25519 b= too short", &[SignatureMismatch], |c| { c.ed25519(); c.set("b", "AAAA"); }),
    ("bh= not base64", &[BodyHashSyntax], |c| c.set("bh", "*")),
    ("bh= too short", &[BodyHashSyntax], |c| c.set("bh", "YWJj")),
    ("bh= of SHA-1 length", &[BodyHashSyntax], |c| c.set("bh", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")),
    ("h=", &[SignedNamesSyntax], |c| c.set("h", "")),
    ("empty name in h=", &[SignedNamesSyntax], |c| c.set("h", "from::to")),
    ("blank within a name in h=", &[SignedNamesSyntax], |c| c.set("h", "from:reply to")),
    ("q=dns/txt", OK, |c| c.set("q", "dns/txt")),
    ("q= with another method", OK, |c| c.set("q", "carrier/pigeon : DNS/TXT")),
    ("q=dns", &[UnknownQueryMethod], |c| c.set("q", "dns")),
    ("q=", &[UnknownQueryMethod], |c| c.set("q", "")),
    ("x= in the past", &[Expired], |c| c.set("x", &(NOW_UNIX_S - 1).to_string())),
    ("x= now", OK, |c| c.set("x", &NOW_UNIX_S.to_string())),
    ("x= in the future", OK, |c| c.set("x", &(NOW_UNIX_S + 1).to_string())),
    ("x= beyond 64 bits", OK, |c| c.set("x", "99999999999999999999999999")),
    ("x= equal to t=", &[ExpiryBeforeSigning], |c| { c.set("t", "1849988800"); c.set("x", "1849988800"); }),
    ("x= before t=", &[ExpiryBeforeSigning], |c| { c.set("t", "1849988801"); c.set("x", "1849988800"); }),
    ("t= in the future", OK, |c| c.set("t", &(NOW_UNIX_S + 86_400).to_string())),
    ("x= no number", &[NumberSyntax], |c| c.set("x", "-1")),
    ("t= no number", &[NumberSyntax], |c| c.set("t", "soon")),
    ("t=", &[NumberSyntax], |c| c.set("t", "")),
    ("l= of the whole body", OK, |c| { let l = c.draft.canonical_body_octets(); c.set("l", &l.to_string()); }),
    ("l= one short", &[BodyPartlySigned], |c| { let l = c.draft.canonical_body_octets() - 1; c.set("l", &l.to_string()); }),
    ("l= one over", &[LengthBeyondBody], |c| { let l = c.draft.canonical_body_octets() + 1; c.set("l", &l.to_string()); }),
    ("text appended behind l=", &[BodyPartlySigned], |c| {
        let l = c.draft.canonical_body_octets();
        c.set("l", &l.to_string());
        c.on_the_way = |m| m + "PS: x\r\n";
    }),
    ("l=0", &[BodyPartlySigned], |c| c.set("l", "0")),
    ("l=0 of nothing", OK, |c| { c.set("l", "0"); c.draft.body.clear(); }),
    ("l=0 of an empty simple body", &[BodyPartlySigned], |c| { c.set("l", "0"); c.set("c", "simple"); c.draft.body.clear(); }),
    ("l= beyond 64 bits", &[LengthBeyondBody], |c| c.set("l", "99999999999999999999999999")),
    ("l= no number", &[NumberSyntax], |c| c.set("l", "1e3")),
];

#[rustfmt::skip]
const NAMES: &[Row] = &[
    ("d= in other case", OK, |c| c.set("d", "Football.Example.COM")),
    ("d= a public suffix", &[PublicSuffix], |c| c.set("d", "com")),
    ("d= a longer public suffix", &[PublicSuffix], |c| c.set("d", "co.uk")),
    ("d= a wildcard public suffix", &[PublicSuffix], |c| c.set("d", "foo.ck")),
    ("d= a single unknown label", &[PublicSuffix], |c| c.set("d", "localhost")),
    ("d= a private suffix counts", OK, |c| c.set("d", "github.io")),
    ("d= below a private suffix", OK, |c| c.set("d", "user.github.io")),
    ("d= under an unknown top", OK, |c| c.set("d", "mail.invalid-tld")),
    ("d= with a parenthesis", &[DomainSyntax], |c| c.set("d", "legitimate.com(.attacker.com")),
    ("d= with a final dot", &[DomainSyntax], |c| c.set("d", "example.com.")),
    ("d= with a blank", &[DomainSyntax], |c| c.set("d", "exam ple.com")),
    ("d= not ASCII", &[DomainSyntax], |c| c.set("d", "b\u{fc}cher.example")),
    ("d=", &[DomainSyntax], |c| c.set("d", "")),
    ("s= with dots and underscores", OK, |c| c.set("s", "_a.b-1.c")),
    ("s=", &[SelectorSyntax], |c| c.set("s", "")),
    ("s= with a semicolon quoted", &[SelectorSyntax], |c| c.set("s", "a\"b")),
    ("s= and d= longer than a name may be", &[SelectorSyntax], |c| c.set("s", &["a".repeat(60).as_str(); 4].join("."))),
    ("i= equal", OK, |c| c.set("i", "joe@football.example.com")),
    ("i= without local part", OK, |c| c.set("i", "@FOOTBALL.example.com")),
    ("i= in a subdomain", OK, |c| c.set("i", "joe@news.football.example.com")),
    ("i= quoted-printable", OK, |c| c.set("i", "j=6F=3Be@football.=65xample.com")),
    ("i= in the parent", &[IdentityOutsideDomain], |c| c.set("i", "joe@example.com")),
    ("i= with the same ending", &[IdentityOutsideDomain], |c| c.set("i", "joe@notfootball.example.com")),
    ("i= elsewhere", &[IdentityOutsideDomain], |c| c.set("i", "joe@example.net")),
    ("i= with a quoted @", OK, |c| c.set("i", "\"joe@example.net\"@football.example.com")),
    ("i= with two @", &[IdentitySyntax], |c| c.set("i", "joe@example.net@football.example.com")),
    ("i= with two @, one encoded", &[IdentitySyntax], |c| c.set("i", "joe=40example.net@football.example.com")),
    ("i= without @", &[IdentitySyntax], |c| c.set("i", "football.example.com")),
    ("i= with a malformed domain", &[IdentitySyntax], |c| c.set("i", "joe@\"x\".football.example.com")),
    ("i= with a line end", &[IdentitySyntax], |c| c.set("i", "a=0D=0AX: b@football.example.com")),
    ("i= with a broken escape", &[IdentitySyntax], |c| c.set("i", "a=-b@football.example.com")),
    ("i=", &[IdentitySyntax], |c| c.set("i", "")),
];

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn canonicalization() {
    check("canonicalization", CANONICALIZATION);
}

#[test]
fn message() {
    check("message", MESSAGE);
}

#[test]
fn tags() {
    check("tags", TAGS);
}

#[test]
fn names() {
    check("names", NAMES);
}

#[test]
fn what_is_shown() {
    let mut case = Case::rsa();
    case.set("d", "Football.example.COM");
    case.set("i", "=4Aoe@news.football.example.com");
    case.set("x", "1");
    let result = case.results().remove(0);
    assert_eq!(result.domain, "football.example.com");
    assert_eq!(result.selector, "sel");
    assert_eq!(result.identity.as_deref(), Some("Joe@news.football.example.com"));
    assert_eq!((result.algorithm, result.signature_b.len()), ("rsa-sha256", 8));
    assert_eq!((result.key_bits, result.testing), (0, false));

    case.set("d", "evil.example;x\r\n");
    case.set("a", "rsa-sha512");
    case.set("b", "AB\r\n CD<script>");
    let result = case.results().remove(0);
    assert_eq!((result.domain.as_str(), result.algorithm, result.signature_b.as_str()), ("", "", ""));
    let mut case = Case::rsa();
    case.set("d", "a\u{1}b.example");
    case.set("b", "AB\r\n CD<script>");
    let result = case.results().remove(0);
    assert_eq!((result.domain.as_str(), result.signature_b.as_str()), ("", "ABCD"));
}
