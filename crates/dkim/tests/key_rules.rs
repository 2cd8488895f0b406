//! The rules of key records, one row each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::SigningKey;
use common::table::{Case, RSA, Row, check};
use mx6_dkim::Cause::{self, *};
use mx6_dkim::KeyTxt;

const OK: &[Cause] = &[Verified];

static RSA_4096: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa(include_str!("keys/rsa4096.pem")));
static RSA_2048_E3: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa(include_str!("keys/rsa2048e3.pem")));

/// Public keys nobody here has the other half of; SubjectPublicKeyInfo.
const RSA_512: &str = include_str!("keys/rsa512.txt");
const RSA_1023: &str = include_str!("keys/rsa1023.txt");
const RSA_1024: &str = include_str!("keys/rsa1024.txt");
const RSA_4098: &str = include_str!("keys/rsa4098.txt");
const RSA_8192: &str = include_str!("keys/rsa8192.txt");
const P256: &str = include_str!("keys/p256.txt");

#[rustfmt::skip]
const LOOKUP: &[Row] = &[
    ("no such name", &[NoKey], |c| c.records = None),
    ("no record", &[NoKey], |c| c.records = Some(Vec::new())),
    ("DNS down", &[KeyLookupFailed], |c| c.down = true),
    ("DNS down, but the body is wrong", &[BodyHashMismatch], |c| { c.down = true; c.on_the_way = |m| m + "x"; }),
    ("DNS down, but it has expired", &[Expired], |c| { c.down = true; c.set("x", "1"); }),
    ("DNS down, but rsa-sha1", &[RsaSha1], |c| { c.down = true; c.set("a", "rsa-sha1"); }),
    ("another key", &[SignatureMismatch], |c| c.records = Some(vec![RSA_2048_E3.record()])),
    ("SPF of a wildcard before the key", OK, |c| c.records.as_mut().unwrap().insert(0, "v=spf1 -all".to_owned())),
    ("something else before the key", OK, |c| c.records.as_mut().unwrap().insert(0, "hello".to_owned())),
    ("another key before the key", OK, |c| c.records.as_mut().unwrap().insert(0, RSA_2048_E3.record())),
    ("revoked key before the key", OK, |c| c.records.as_mut().unwrap().insert(0, "v=DKIM1; p=".to_owned())),
    ("revoked key after the key", OK, |c| c.records.as_mut().unwrap().push("v=DKIM1; p=".to_owned())),
    ("ed25519 key before the key", OK, |c| c.records.as_mut().unwrap().insert(0, SigningKey::ed25519().record())),
    ("ed25519 key and another key", &[SignatureMismatch], |c| c.records = Some(vec![SigningKey::ed25519().record(), RSA_2048_E3.record()])),
    ("SPF of a wildcard alone", &[KeyVersion], |c| c.record("v=spf1 include:example.net -all")),
    ("key is the fourth record", OK, |c| (0..3).for_each(|_| c.records.as_mut().unwrap().insert(0, "v=spf1".to_owned()))),
    ("key is the fifth record", &[KeyVersion], |c| (0..4).for_each(|_| c.records.as_mut().unwrap().insert(0, "v=spf1".to_owned()))),
];

#[rustfmt::skip]
const RECORD: &[Row] = &[
    ("p= alone", OK, |c| c.record("p={p}")),
    ("v= not first", OK, |c| c.record("k=rsa; p={p}; v=DKIM1")),
    ("blanks and final semicolon", OK, |c| c.record(" v = DKIM1 ;\tk = rsa ; p = {p} ; ")),
    ("blanks within p=", OK, |c| { let p = c.key.published(); c.record(&format!("p={} {}\r\n", &p[..40], &p[40..])); }),
    ("p= without padding", OK, |c| { let p = c.key.published().replace('=', ""); c.record(&format!("p={p}")); }),
    ("unknown tags and notes", OK, |c| c.record("v=DKIM1; n=caf\u{e9} =20; zz=1; p={p}")),
    ("g= is gone", OK, |c| c.record("v=DKIM1; g=nobody; p={p}")),
    ("v=DKIM2", &[KeyVersion], |c| c.record("v=DKIM2; p={p}")),
    ("v=dkim1", &[KeyVersion], |c| c.record("v=dkim1; p={p}")),
    ("escaped semicolons", &[KeyVersion], |c| c.record("v=DKIM1\\; p={p}")),
    ("duplicate tag", &[KeySyntax], |c| c.record("v=DKIM1; p={p}; p={p}")),
    ("no tag list", &[KeySyntax], |c| c.record("v=DKIM1; oops; p={p}")),
    ("empty record", &[KeySyntax], |c| c.record("")),
    ("no p=", &[KeySyntax], |c| c.record("v=DKIM1; k=rsa")),
    ("revoked", &[KeyRevoked], |c| c.record("v=DKIM1; k=rsa; p=")),
    ("p= not base64", &[KeySyntax], |c| c.record("v=DKIM1; p=***")),
    ("p= no key", &[KeySyntax], |c| c.record("v=DKIM1; p=AAAA")),
    ("p= an EC key", &[KeySyntax], |c| c.record(&format!("v=DKIM1; p={P256}"))),
    ("record too long", &[KeySyntax], |c| c.record(&format!("n={}; p={{p}}", "x".repeat(8192)))),
    ("k=RSA", OK, |c| c.record("k=RSA; p={p}")),
    ("k= unknown", &[KeyType], |c| c.record("k=dsa; p={p}")),
    ("k=", &[KeyType], |c| c.record("k=; p={p}")),
    ("ed25519 key for rsa-sha256", &[KeyType], |c| c.records = Some(vec![SigningKey::ed25519().record()])),
    ("RSA key for ed25519-sha256", &[KeyType], |c| { c.ed25519(); c.records = Some(vec![RSA.record()]); }),
    ("k=ed25519 with an RSA key", &[KeySyntax], |c| c.record("k=ed25519; p={p}")),
    ("no k= with an ed25519 key", &[KeySyntax], |c| { c.ed25519(); c.record("v=DKIM1; p={p}"); }),
    ("ed25519 key one octet short", &[KeySyntax], |c| { c.ed25519(); c.record(&format!("k=ed25519; p={}", STANDARD.encode([7; 31]))); }),
    ("another ed25519 key", &[SignatureMismatch], |c| { c.ed25519(); c.record(&format!("k=ed25519; p={}", STANDARD.encode([9; 32]))); }),
    ("bare RSAPublicKey", OK, |c| { let p = bare(c.key); c.record(&format!("p={p}")); }),
    ("h=sha256", OK, |c| c.record("h=sha256; p={p}")),
    ("h=sha1:sha256", OK, |c| c.record("h=sha1 : SHA256; p={p}")),
    ("h=sha1", &[KeyHash], |c| c.record("h=sha1; p={p}")),
    ("h=", &[KeyHash], |c| c.record("h=; p={p}")),
    ("s=email", OK, |c| c.record("s=email; p={p}")),
    ("s=*", OK, |c| c.record("s=*; p={p}")),
    ("s=other:email", OK, |c| c.record("s=other : email; p={p}")),
    ("s=tlsrpt", &[KeyService], |c| c.record("s=tlsrpt; p={p}")),
    ("t=y", OK, |c| c.record("t=y; p={p}")),
    ("t= unknown", OK, |c| c.record("t=z; p={p}")),
    ("t=s, no i=", OK, |c| c.record("t=s; p={p}")),
    ("t=s, i= equal", OK, |c| { c.set("i", "a@FOOTBALL.example.com"); c.record("t=s; p={p}"); }),
    ("t=y:s, i= in a subdomain", &[KeyStrict], |c| { c.set("i", "a@b.football.example.com"); c.record("t=y:s; p={p}"); }),
    ("t=y, i= in a subdomain", OK, |c| { c.set("i", "a@b.football.example.com"); c.record("t=y; p={p}"); }),
];

#[rustfmt::skip]
const SIZE: &[Row] = &[
    ("4096 bits", OK, |c| c.sign_with(&RSA_4096)),
    ("exponent 3", OK, |c| c.sign_with(&RSA_2048_E3)),
    ("512 bits", &[KeyTooShort], |c| c.record(&format!("p={RSA_512}"))),
    ("1023 bits", &[KeyTooShort], |c| c.record(&format!("p={RSA_1023}"))),
    ("1024 bits are tried", &[SignatureMismatch], |c| c.record(&format!("p={RSA_1024}"))),
    ("4098 bits", &[KeyTooLong], |c| c.record(&format!("p={RSA_4098}"))),
    // Refused by its length: nothing is computed with it.
    ("8192 bits", &[KeyTooLong], |c| c.record(&format!("p={RSA_8192}"))),
    ("512 bits for ed25519-sha256", &[KeyType], |c| { c.ed25519(); c.record(&format!("p={RSA_512}")); }),
];

/// `p=` as PKCS#1 `RSAPublicKey`.
fn bare(key: &SigningKey) -> String {
    match key {
        SigningKey::Rsa(pair) => STANDARD.encode(pair.public_key().as_ref()),
        SigningKey::Ed25519(_) => String::new(),
    }
}

#[test]
fn lookups() {
    check("key lookups", LOOKUP);
}

#[test]
fn records() {
    check("key records", RECORD);
}

#[test]
fn sizes() {
    check("key sizes", SIZE);
}

#[test]
fn what_the_key_says_is_shown() {
    // (record, testing, bits)
    let rows = [
        ("p={p}".to_owned(), false, 2048),
        ("t=y; p={p}".to_owned(), true, 2048),
        ("t=y:s; h=sha1; p={p}".to_owned(), true, 2048),
        (format!("t=y; p={RSA_1023}"), true, 1023),
        (format!("p={RSA_4098}"), false, 4098),
        ("t=y; p=".to_owned(), false, 0),
        (SigningKey::ed25519().record(), false, 256),
    ];
    for (record, testing, bits) in rows {
        let mut case = Case::rsa();
        case.record(&record);
        let result = case.results().remove(0);
        assert_eq!((result.testing, result.key_bits), (testing, bits), "{record}");
    }
}

#[test]
fn weights_grow_with_the_keys() {
    let weight = |records: &[String]| {
        let records: Vec<Vec<u8>> = records.iter().map(|record| record.clone().into_bytes()).collect();
        KeyTxt::parse(&records).weight_octets()
    };
    let none = weight(&[]);
    let one = weight(&[RSA.record()]);
    let large = weight(&[RSA_4096.record()]);
    let two = weight(&[RSA.record(), RSA_4096.record()]);
    assert!(0 < none && none + 1000 < one && one < large && large < two && two < 20_000, "{none} {one} {large} {two}");
}
