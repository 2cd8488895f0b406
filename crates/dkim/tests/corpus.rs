//! Messages collected by other projects, with what those projects expect of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::path::PathBuf;

use common::{Zone, verify, verify_in_pieces};
use mx6_dkim::{DkimResult, Header, SignatureResult};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    message: String,
    dns: HashMap<String, Records>,
    upstream_expect: String,
}

#[derive(Deserialize)]
struct Records {
    txt: String,
}

/// Cases where we differ from the project they come from: what we say instead, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("jdkim/pmta_myspace.com", "fail", "signed with rsa-sha1, which must not be verified (RFC 8301 §3.1)"),
    (
        "dkimpy/rfc6376.w1258.msg",
        "none",
        "has no signature: upstream's failure is that of its signer, which refuses such a message",
    ),
];

#[test]
fn cases() {
    let corpus = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora/dkim"));
    let Ok(cases) = std::fs::read(corpus.join("cases.json")) else {
        println!("SKIPPED: no corpus in {}", corpus.display());
        return;
    };
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    let failed: Vec<String> = cases.iter().filter_map(|case| check(case, &corpus)).collect();
    println!("DKIM corpus: {} of {}", cases.len() - failed.len(), cases.len());
    assert!(failed.is_empty(), "{failed:#?}");
}

fn check(case: &Case, corpus: &std::path::Path) -> Option<String> {
    let message = std::fs::read(corpus.join(&case.message)).unwrap();
    let mut zone = Zone::default();
    for (name, records) in &case.dns {
        zone.insert(name, &[&records.txt]);
    }
    let now_unix_s = signed_at(&message);
    let results = verify(&message, &zone, now_unix_s);
    assert_eq!(results, verify_in_pieces(&message, &zone, now_unix_s, 1), "{}", case.id);
    let expected =
        DIFFERENT.iter().find(|(id, ..)| *id == case.id).map_or(case.upstream_expect.as_str(), |(_, word, _)| word);
    (word(&results) != expected).then(|| format!("{}: expected {expected}, got {results:#?}", case.id))
}

/// What these messages are verified at: when they were signed, if they say so.
fn signed_at(message: &[u8]) -> u64 {
    let header = Header::parse(message);
    let times = header.named("DKIM-Signature").filter_map(|field| {
        let value = String::from_utf8_lossy(header.value(field)).into_owned();
        value.split(';').find_map(|tag| tag.trim().strip_prefix("t=").and_then(|time| time.trim().parse::<u64>().ok()))
    });
    times.max().unwrap_or(common::NOW_UNIX_S)
}

/// `pass` if every signature passes, `none` if there is none, else `fail`: the words of the corpus.
fn word(results: &[SignatureResult]) -> &'static str {
    match results {
        [] => "none",
        results if results.iter().all(|result| result.result == DkimResult::Pass) => "pass",
        _ => "fail",
    }
}
