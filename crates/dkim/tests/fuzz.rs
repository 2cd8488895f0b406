//! Signature fields and key records from octets at random, and signed messages that were changed: see `tests/fuzz/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::table::{ED25519, RSA};
use common::{Draft, NOW_UNIX_S, Zone, verify, verify_in_pieces};
use inputs::{ITERATIONS, Tried, octets};
use mx6_dkim::{Cause, KeyTxt, limits};

const WORDS: [&[u8]; 50] = [
    b"v=1;",
    b"v=DKIM1;",
    b"a=rsa-sha256;",
    b"a=ed25519-sha256;",
    b"a=rsa-sha1;",
    b"c=relaxed/relaxed;",
    b"c=simple;",
    b"d=football.example.com;",
    b"d=com;",
    b"s=sel;",
    b"s=..;",
    b"h=from;",
    b"h=from:to:subject:",
    b"h=from:from:x;",
    b"bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;",
    b"bh=AAAA;",
    b"b=AAAA;",
    b"b=;",
    b"i=@football.example.com;",
    b"i=joe@x.football.example.com;",
    b"i=\"a b\"@;",
    b"l=0;",
    b"l=99999999999999999999;",
    b"t=1;",
    b"x=1;",
    b"x=1849988000;",
    b"q=dns/txt;",
    b"z=a|b;",
    b"k=rsa;",
    b"k=ed25519;",
    b"p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=;",
    b"p=;",
    b"p=MIGf;",
    b"h=sha256;",
    b"h=sha1;",
    b"s=email;",
    b"t=y:s;",
    b"n=note;",
    b"\r\n ",
    b"\r\n",
    b" ",
    b"\t",
    b";",
    b"=",
    b":",
    b"@",
    b".",
    b"\0",
    b"\xc3\xbc",
    b"From: x\r\n",
];

#[test]
fn signature_fields() {
    let tried = Tried::new("dkim, signature field");
    let mut zone = Zone::default();
    zone.insert("sel._domainkey.football.example.com", &[&ED25519.record()]);
    let zone = &std::panic::AssertUnwindSafe(zone);
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>, u8)>().with_iterations(ITERATIONS).for_each(|(codes, top, cut)| {
        let message = [
            &octets(&top[..top.len().min(8)], &WORDS)[..],
            b"DKIM-Signature: v=1;a=ed25519-sha256;d=football.example.com;s=sel;",
            &octets(codes, &WORDS),
            b"\r\nFrom: a@football.example.com\r\nTo: b\r\n\r\nbody\r\n",
        ]
        .concat();
        let results = verify(&message, zone, NOW_UNIX_S);
        assert_eq!(verify_in_pieces(&message, zone, NOW_UNIX_S, usize::from(*cut) + 1), results);
        assert!(results.len() <= limits::SIGNATURES_MAX);
        for result in &results {
            assert_ne!(result.cause, Cause::Verified);
            let shown = [&result.domain, &result.selector, &result.signature_b];
            assert!(shown.iter().all(|text| text.bytes().all(|octet| octet.is_ascii_graphic())));
            assert!(result.identity.as_ref().is_none_or(|identity| !identity.contains(char::is_control)));
        }
        tried.count(results.iter().filter(|result| !result.selector.is_empty()).count());
    });
}

#[test]
fn key_records() {
    let tried = Tried::new("dkim, key record");
    let message = Draft::new("ed25519-sha256").sign(&ED25519);
    bolero::check!().with_type::<(Vec<u8>, bool)>().with_iterations(ITERATIONS).for_each(|(codes, two)| {
        let mut record = [b"k=ed25519;", &octets(codes, &WORDS)[..]].concat();
        if codes.len() % 2 == 0 {
            record.extend_from_slice(format!(";p={}", ED25519.published()).as_bytes());
        }
        let mut records = vec![record.clone()];
        records.extend(two.then(|| b"v=DKIM1; p=".to_vec()));
        let key = KeyTxt::parse(&records);
        assert!(key.weight_octets() as usize <= 4096 + 8 * record.len());
        let mut zone = Zone::default();
        zone.insert("sel._domainkey.football.example.com", &[&String::from_utf8_lossy(&record)]);
        let results = verify(&message, &zone, NOW_UNIX_S);
        let verified = results.iter().any(|result| result.cause == Cause::Verified);
        let has_the_key = record.windows(44).any(|window| window == ED25519.published().as_bytes());
        assert!(has_the_key || !verified, "verified without the key");
        tried.count(usize::from(verified));
    });
}

/// A positive INTEGER, or what comes before its content (X.690 §8.1.3, §8.3).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let padding: &[u8] = if tag == INTEGER && content.first().is_some_and(|first| *first > 0x7f) { &[0] } else { &[] };
    let octets = padding.len() + content.len();
    let length = (octets as u32).to_be_bytes();
    let short = [octets as u8];
    let length: &[u8] = match octets {
        0..0x80 => &short,
        0x80..0x100 => &[&[0x81], &length[3..]].concat(),
        _ => &[&[0x82], &length[2..]].concat(),
    };
    [&[tag], length, padding, content].concat()
}

const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const SEQUENCE: u8 = 0x30;
/// `rsaEncryption` with its NULL (RFC 8017 appendix C).
const RSA_ENCRYPTION: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];

/// Whatever the modulus: nothing but the key that signed verifies, keys out of range are told by their size and never tried, and no key
/// weighs more than its record accounts for.
#[test]
fn rsa_key_records() {
    let tried = Tried::new("dkim, RSA key record");
    let message = &Draft::new("rsa-sha256").sign(&RSA);
    type Input = (Vec<u8>, u16, u8, Vec<u8>);
    bolero::check!().with_type::<Input>().with_iterations(ITERATIONS / 4).for_each(|(drawn, octets, form, noise)| {
        let octets = 1 + usize::from(*octets) % 1_024;
        let mut modulus: Vec<u8> = drawn.iter().copied().chain([0xb7]).cycle().take(octets).collect();
        modulus[0] |= 0x80;
        modulus[octets - 1] |= u8::from(form & 1 == 0);
        let exponent: &[u8] = [&[1, 0, 1][..], &[3], &[1, 0, 0, 0, 1], &[2]][usize::from(form >> 1 & 3)];
        let mut key = der(SEQUENCE, &[der(INTEGER, &modulus), der(INTEGER, exponent)].concat());
        if form & 8 == 0 {
            let bits = der(BIT_STRING, &[&[0], &key[..]].concat());
            key = der(SEQUENCE, &[&RSA_ENCRYPTION[..], &bits].concat());
        }
        // Most are whole; in some an octet of the DER is another.
        if let [at, octet, ..] = noise[..] {
            let at = usize::from(at) % key.len().min(40);
            key[at] = octet;
        }
        let record = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(&key));
        let weight = KeyTxt::parse(&[record.clone().into_bytes()]).weight_octets() as usize;
        assert!(weight <= 4_096 + 8 * record.len(), "{weight} octets for a record of {}", record.len());
        let mut zone = Zone::default();
        zone.insert("sel._domainkey.football.example.com", &[&record]);
        let result = &verify(message, &zone, NOW_UNIX_S)[0];
        let in_range = (limits::RSA_BITS_MIN..=limits::RSA_BITS_MAX).contains(&result.key_bits);
        match result.cause {
            Cause::KeyTooShort => assert!(result.key_bits < limits::RSA_BITS_MIN),
            Cause::KeyTooLong => assert!(result.key_bits > limits::RSA_BITS_MAX),
            Cause::SignatureMismatch => assert!(in_range),
            Cause::KeySyntax => assert_eq!(result.key_bits, 0),
            other => panic!("{other:?} of a key that did not sign"),
        }
        let is_whole = noise.len() < 2 && form & 7 == 0;
        let bits = 8 * octets as u32;
        if is_whole && bits >= limits::RSA_BITS_MIN {
            assert_eq!(result.key_bits, bits, "{:?} of a whole key", result.cause);
        }
        tried.count(usize::from(result.cause == Cause::SignatureMismatch));
    });
}

/// No change of a message that is signed octet for octet goes unseen.
#[test]
fn changed_messages() {
    let tried = Tried::new("dkim, changed message");
    let mut draft = Draft::new("rsa-sha256");
    draft.set("c", "simple/simple");
    draft.set("h", "from:from:to:to:subject:subject:date:date:received:received:received");
    let signed = draft.sign(&RSA);
    let mut zone = Zone::default();
    zone.insert("sel._domainkey.football.example.com", &[&RSA.record()]);
    let (signed, zone) = (&signed, &std::panic::AssertUnwindSafe(zone));
    assert_eq!(verify(signed, zone, NOW_UNIX_S)[0].cause, Cause::Verified);
    // Behind the signature's own field, whose base64 may be written in more than one way.
    let first = signed.windows(7).position(|window| window == b"\r\nFrom:").unwrap() + 2;
    bolero::check!().with_type::<(u16, u8, Vec<u8>)>().with_iterations(ITERATIONS / 4).for_each(|(at, gone, codes)| {
        let at = first + usize::from(*at) % (signed.len() - first);
        let gone = usize::from(gone % 8).min(signed.len() - at);
        let new = octets(&codes[..codes.len().min(4)], &WORDS);
        let mut changed = signed.clone();
        changed.splice(at..at + gone, new);
        let is_same = trimmed(&changed) == trimmed(signed);
        let verified = verify(&changed, zone, NOW_UNIX_S).first().is_some_and(|result| result.cause == Cause::Verified);
        // A field of another name, or one more line without a name, is not signed.
        let fields = |message: &[u8]| signed_part(message);
        assert!(is_same || !verified || fields(&changed) == fields(signed), "{}", changed.escape_ascii());
        tried.count(usize::from(!is_same && !verified));
    });
}

/// Without the empty lines at the end, which no canonicalization counts.
fn trimmed(message: &[u8]) -> &[u8] {
    let mut message = message;
    while let Some(shorter) = message.strip_suffix(b"\r\n") {
        message = shorter;
    }
    message
}

/// The fields that `h=` names, in their order, and the body.
fn signed_part(message: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let header = mx6_dkim::Header::parse(message);
    let names: [&[u8]; 5] = [b"from", b"to", b"subject", b"date", b"received"];
    let is_named = |name: &[u8]| names.iter().any(|each| name.trim_ascii().eq_ignore_ascii_case(each));
    let mut fields: Vec<Vec<u8>> = header
        .fields()
        .iter()
        .filter(|field| is_named(header.name(field)))
        .map(|field| header.whole(field).to_vec())
        .collect();
    // Their order among those of another name is free (RFC 6376 §5.4.2).
    fields.sort_by_key(|field| {
        field.iter().position(|octet| *octet == b':').map(|end| field[..end].to_ascii_lowercase())
    });
    (fields, trimmed(&message[header.section_octets()..]).to_vec())
}
