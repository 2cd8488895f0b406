//! The caps, each on its edge, and that the work grows with the message and not faster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::table::RSA;
use common::{Draft, NOW_UNIX_S, Zone, verify};
use mx6_dkim::Cause::{self, *};
use mx6_dkim::{Header, Verification, Work, limits};

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.insert("sel._domainkey.football.example.com", &[&RSA.record()]);
    zone
}

fn causes(message: &[u8]) -> Vec<Cause> {
    verify(message, &zone(), NOW_UNIX_S).iter().map(|result| result.cause).collect()
}

/// Puts an unsigned field of just the octets that are missing at the end of the header section.
fn fill_header(draft: &Draft, section_octets: usize) -> Vec<u8> {
    let message = draft.sign(&RSA);
    let missing = section_octets - Header::parse(&message).section_octets();
    let mut draft = draft.clone();
    draft.fields.push(format!("X:{}\r\n", "x".repeat(missing - 4)));
    let message = draft.sign(&RSA);
    assert_eq!(Header::parse(&message).section_octets(), section_octets);
    message
}

#[test]
fn header_section() {
    let draft = Draft::new("rsa-sha256");
    assert_eq!(causes(&fill_header(&draft, limits::HEADER_SECTION_OCTETS_MAX)), [Verified]);
    let over = fill_header(&draft, limits::HEADER_SECTION_OCTETS_MAX + 1);
    assert_eq!(causes(&over), [HeaderSectionTooLong]);
    let mut twice = b"DKIM-Signature: v=1\r\n".to_vec();
    twice.extend_from_slice(&over);
    assert_eq!(causes(&twice), [HeaderSectionTooLong]);
    let unsigned = String::from_utf8(over).unwrap().replace("DKIM-Signature", "X-Signature");
    assert_eq!(causes(unsigned.as_bytes()), []);
}

#[test]
fn signature_field() {
    let mut draft = Draft::new("rsa-sha256");
    let missing = limits::SIGNATURE_FIELD_OCTETS_MAX - draft.signature_field(&RSA).len();
    draft.set("z", &"x".repeat(missing - "; z=".len()));
    assert_eq!(draft.signature_field(&RSA).len(), limits::SIGNATURE_FIELD_OCTETS_MAX);
    assert_eq!(causes(&draft.sign(&RSA)), [Verified]);
    draft.set("z", &"x".repeat(missing - "; z=".len() + 1));
    assert_eq!(causes(&draft.sign(&RSA)), [SignatureFieldTooLong]);
    // One over the cap does not touch the others.
    let small = Draft::new("rsa-sha256");
    let both = small.with_fields_on_top(&[draft.signature_field(&RSA), small.signature_field(&RSA)]);
    assert_eq!(causes(&both), [SignatureFieldTooLong, Verified]);
}

#[test]
fn signed_names() {
    let mut draft = Draft::new("rsa-sha256");
    draft.set("h", &format!("from{}", ":x".repeat(limits::SIGNED_NAMES_MAX - 1)));
    assert_eq!(causes(&draft.sign(&RSA)), [Verified]);
    draft.set("h", &format!("from{}", ":x".repeat(limits::SIGNED_NAMES_MAX)));
    assert_eq!(causes(&draft.sign(&RSA)), [TooManyNames]);
}

#[test]
fn signatures() {
    let draft = Draft::new("rsa-sha256");
    let good = draft.signature_field(&RSA);
    let bad = "DKIM-Signature: v=1\r\n".to_owned();
    let mut fields = vec![bad; limits::SIGNATURES_MAX - 1];
    fields.push(good.clone());
    fields.push(good);
    let mut expected = vec![MissingTag; limits::SIGNATURES_MAX - 1];
    expected.push(Verified);
    assert_eq!(causes(&draft.with_fields_on_top(&fields)), expected);
}

#[test]
fn key_names_are_distinct_and_only_of_what_may_count() {
    let mut draft = Draft::new("rsa-sha256");
    let first = draft.signature_field(&RSA);
    draft.set("d", "other.example");
    let other = draft.signature_field(&RSA);
    draft.set("d", "expired.example");
    draft.set("x", "1");
    let expired = draft.signature_field(&RSA);
    let message = draft.with_fields_on_top(&[first.clone(), expired, other, first]);
    let verification = Verification::new(&Header::parse(&message), NOW_UNIX_S);
    assert_eq!(verification.key_names(), ["sel._domainkey.football.example.com", "sel._domainkey.other.example"]);
}

fn work(message: &[u8]) -> Work {
    let verification = Verification::new(&Header::parse(message), NOW_UNIX_S);
    assert!(!verification.key_names().is_empty());
    verification.work()
}

/// Ten signatures of a hundred names each over `fields` fields, all but one of one octet's name.
fn hostile(fields: usize, signed_name: &str) -> Vec<u8> {
    let mut draft = Draft::new("rsa-sha256");
    draft.set("h", &format!("from{}", format!(":{signed_name}").repeat(99)));
    draft.set("b", "AAAA");
    let mut on_top = vec![draft.signature_field(&RSA); 10];
    on_top.push("a:\r\n".repeat(fields));
    draft.with_fields_on_top(&on_top)
}

/// Each field is looked at once for all signatures, and then at most one for each name of each of them; nothing is hashed twice for one.
#[test]
fn work_is_linear_in_the_number_of_fields() {
    for (name, found) in [("a", 99), ("b", 0), ("absent", 0)] {
        for fields in [15_000, 60_000] {
            let message = hostile(fields, name);
            let header = Header::parse(&message);
            let work = work(&message);
            let (all, signatures) = (header.fields().len(), limits::SIGNATURES_MAX);
            assert_eq!(work.names, signatures * limits::SIGNED_NAMES_MAX, "{name}");
            assert_eq!(work.fields, all + signatures * (1 + found), "{name}, {fields} fields");
            assert!(work.octets <= signatures * (header.section_octets() - 4 * (fields - found)), "{name}: {work:?}");
        }
    }
}

#[test]
fn sixty_thousand_names_are_not_even_parsed() {
    let mut draft = Draft::new("rsa-sha256");
    let usual = work(&draft.sign(&RSA));
    let good = draft.signature_field(&RSA);
    draft.set("h", &format!("from{}", ":a".repeat(60_000)));
    draft.set("b", "AAAA");
    let message = draft.with_fields_on_top(&[good, draft.signature_field(&RSA)]);
    assert_eq!(causes(&message), [Verified, SignatureFieldTooLong]);
    // It is a field like any other.
    assert_eq!(work(&message), Work { fields: usual.fields + 1, ..usual });
}

/// A field is as long as it likes: what bounds its cost is the whole section. Signed it is hashed once for each signature, else not at all.
#[test]
fn a_field_of_64_kib() {
    let long = format!("X-Long: {}\r\n", "x".repeat(64 << 10));
    let mut draft = Draft::new("rsa-sha256");
    let usual = work(&draft.sign(&RSA));
    draft.fields.push(long.clone());
    assert_eq!(causes(&draft.sign(&RSA)), [Verified]);
    assert_eq!(work(&draft.sign(&RSA)), Work { fields: usual.fields + 1, ..usual });
    draft.set("h", "from:x-long:x-long:x-long");
    let fields = vec![draft.signature_field(&RSA); limits::SIGNATURES_MAX];
    let message = draft.with_fields_on_top(&fields);
    assert_eq!(causes(&message), [Verified; limits::SIGNATURES_MAX]);
    let once = limits::SIGNATURES_MAX * long.len();
    assert!((once..once + limits::SIGNATURES_MAX * 2_048).contains(&work(&message).octets), "{:?}", work(&message));
}

/// However many signatures there are, ten are looked at, and the body is hashed once in each of the two canonicalizations.
#[test]
fn five_hundred_signatures() {
    let mut draft = Draft::new("rsa-sha256");
    let mut fields = Vec::new();
    for number in 0..500 {
        draft.set("c", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"][number % 4]);
        draft.set("s", &format!("s{number}"));
        draft.set("l", &number.to_string());
        draft.set("b", "AAAA");
        fields.push(draft.signature_field(&RSA));
    }
    let message = Draft::new("rsa-sha256").with_fields_on_top(&fields);
    let mut verification = Verification::new(&Header::parse(&message), NOW_UNIX_S);
    assert_eq!((verification.key_names().len(), verification.body_hashes().len()), (limits::SIGNATURES_MAX, 2));
    assert_eq!(verification.results().len(), limits::SIGNATURES_MAX);
}
