//! Whatever octets come, nothing panics; and no octet of a signed message can be changed unseen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::table::ED25519;
use common::{Draft, NOW_UNIX_S, Zone, verify, verify_in_pieces};
use mx6_dkim::{Cause, KeyTxt};
use proptest::prelude::*;

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.insert("sel._domainkey.football.example.com", &[&ED25519.record()]);
    zone
}

/// Every field signed, octet for octet.
fn signed() -> Vec<u8> {
    let mut draft = Draft::new("ed25519-sha256");
    draft.set("c", "simple/simple");
    draft.set("h", "from:to:subject:date:received:received");
    draft.set("i", "@football.example.com");
    draft.set("t", "1749988000");
    draft.set("x", "1849988000");
    let octets = draft.canonical_body_octets();
    draft.set("l", &octets.to_string());
    draft.sign(&ED25519)
}

#[test]
fn every_octet_counts() {
    let (message, zone) = (signed(), zone());
    let cause = |message: &[u8]| verify(message, &zone, NOW_UNIX_S).first().map(|result| result.cause);
    assert_eq!(cause(&message), Some(Cause::Verified));
    let text = String::from_utf8(message.clone()).unwrap();
    // Base64 may be written in more than one way; and empty lines at the end are nothing.
    let signature = text.find("; b=").unwrap() + 4..text.find("\r\nFrom").unwrap();
    let last_line_end = message.len() - 2;
    for at in (0..last_line_end).filter(|at| !signature.contains(at)) {
        for octet in [b' ', b'\r', b'\n', b'x', b';', b':', 0, 0xff, message[at] ^ 0x20] {
            let mut changed = message.clone();
            changed[at] = octet;
            if changed != message {
                assert_ne!(cause(&changed), Some(Cause::Verified), "octet {at} = {octet:?}");
            }
        }
        let mut cut = message.clone();
        cut.remove(at);
        assert_ne!(cause(&cut), Some(Cause::Verified), "without octet {at}");
    }
}

/// Octets that mean something somewhere, and some that do not.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b";",
        b"=",
        b"From: a\r\n",
        b"DKIM-Signature:",
        b"v=1;",
        b"a=ed25519-sha256;",
        b"c=relaxed/simple;",
        b"d=football.example.com;",
        b"s=sel;",
        b"h=from;",
        b"h=:;",
        b"bh=AAAA;",
        b"b=;",
        b"i=@;",
        b"l=9;",
        b"\0",
        b"\xff\xc3",
        b"@",
        b".",
        b"v=DKIM1;",
        b"p=",
        b"p=AAAA",
        b"k=ed25519;",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(noise in octets(), at in 0usize..700, piece in 1usize..50) {
        let zone = zone();
        let mut message = signed();
        let at = at.min(message.len());
        message.splice(at..at, noise.iter().copied());
        for message in [&noise, &message] {
            let results = verify_in_pieces(message, &zone, NOW_UNIX_S, piece);
            prop_assert_eq!(&results, &verify(message, &zone, NOW_UNIX_S));
            for result in results {
                let shown = [&result.domain, &result.selector, &result.signature_b];
                prop_assert!(shown.iter().all(|text| text.bytes().all(|octet| octet.is_ascii_graphic())));
                prop_assert!(result.identity.is_none_or(|identity| !identity.contains(char::is_control)));
            }
        }
        prop_assert!(KeyTxt::parse(&[noise]).weight_octets() > 0);
    }
}
