//! Sequences that are said to end a message, and addresses, as other projects collected them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;

use driver::{Driver, Entry, by_words, corpus};
use mx6_smtp::SessionConfig;
use serde::Deserialize;

#[derive(Deserialize)]
struct Corpus<Case> {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct EndOfData {
    id: String,
    bytes_hex: String,
    terminates: bool,
}

#[test]
fn only_crlf_dot_crlf_ends_a_message() {
    let Some(text) = corpus("smtp/eod_sequences.json") else { return };
    let corpus: Corpus<EndOfData> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in &corpus.cases {
        let octets: Vec<u8> = (0..case.bytes_hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&case.bytes_hex[at..at + 2], 16).unwrap())
            .collect();
        for in_header in [true, false] {
            if ends(&octets, in_header) != case.terminates {
                wrong.push(case.id.clone());
            }
        }
    }
    println!("ends of data: {} of {}", corpus.cases.len() - wrong.len(), corpus.cases.len());
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Whether these octets end a message. Either way one more true end brings it to exactly one end, or to a command that is none.
fn ends(octets: &[u8], in_header: bool) -> bool {
    let mut driver = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    driver.feed(b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nA: b\r\n");
    driver.feed(if in_header { b"C: d" } else { b"\r\nbody" });
    driver.feed(octets);
    let ended = end_count(&driver) == 1;
    driver.feed(b"\r\n.\r\n");
    assert_eq!(end_count(&driver), 1);
    ended
}

fn end_count(driver: &Driver) -> usize {
    let is_end = |entry: &&Entry| matches!(entry, Entry::Question(text) if text.starts_with("end of data"));
    driver.entries.iter().filter(is_end).count()
}

#[derive(Deserialize)]
struct Address {
    input: String,
    accept: bool,
    local: Option<String>,
    domain: Option<String>,
}

const NO_BRACKETS: &str = "RFC 5321 §4.1.2 wants brackets";
const NOT_ASCII: &str = "SMTPUTF8 is not offered";
const SUITE_CONFIGURES: &str = "well-formed: the suite refuses it only as a value that it has not configured";

/// Where we differ from the suite, by design.
const DIFFERENCES: [(&str, bool, &str); 13] = [
    ("foo@example.com", false, NO_BRACKETS),
    ("foo@foo.x.example.com", false, NO_BRACKETS),
    ("<андрис@уайлддак.орг>", false, NOT_ASCII),
    ("<Pelé@example.com>", false, NOT_ASCII),
    ("<δοκιμή@παράδειγμα.δοκιμή>", false, NOT_ASCII),
    ("<我買@屋企.香港>", false, NOT_ASCII),
    ("<二ノ宮@黒川.日本>", false, NOT_ASCII),
    ("<медведь@с-балалайкой.рф>", false, NOT_ASCII),
    ("<संपर्क@डाटामेल.भारत>", false, NOT_ASCII),
    ("<>", true, SUITE_CONFIGURES),
    ("<matt@example.com>", true, SUITE_CONFIGURES),
    ("<matt@example.com>", true, SUITE_CONFIGURES),
    ("<matt@exAMple.com>", true, SUITE_CONFIGURES),
];

#[test]
fn addresses() {
    let Some(text) = corpus("smtp/haraka_addresses.json") else { return };
    let corpus: Corpus<Address> = serde_json::from_str(&text).unwrap();
    let (mut agreed, mut wrong) = (0, Vec::new());
    for case in &corpus.cases {
        let postmaster = case.input.eq_ignore_ascii_case("<postmaster>");
        let command = if postmaster { "RCPT TO:" } else { "MAIL FROM:" };
        let found = question(command, &case.input);
        let expected = case.accept.then(|| {
            let local = case.local.clone().unwrap_or_default();
            match case.domain.as_deref() {
                Some("") | None if postmaster => "RCPT <postmaster> without domain".to_owned(),
                Some("") | None => format!("MAIL <{local}> size None 8bit false"),
                Some(domain) => format!("MAIL <{local}@{domain}> size None 8bit false"),
            }
        });
        let differs = DIFFERENCES.iter().find(|(input, ours, _)| *input == case.input && *ours != case.accept);
        match differs {
            None if found == expected => agreed += 1,
            Some((_, ours, _)) if found.is_some() == *ours && found != expected => {}
            _ => wrong.push(format!("{}: {found:?}, not {expected:?}", case.input)),
        }
    }
    println!("addresses: {agreed} of {}; otherwise by design:", corpus.cases.len());
    for (input, accepted, reason) in DIFFERENCES {
        println!("  {} {input}: {reason}", if accepted { "accepted" } else { "refused" });
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The question that this address leads to.
fn question(command: &str, address: &str) -> Option<String> {
    let mut driver = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    driver.feed(b"EHLO a.example\r\n");
    if command.starts_with("RCPT") {
        driver.feed(b"MAIL FROM:<>\r\n");
    }
    driver.entries.clear();
    driver.feed(format!("{command}{address}\r\n").as_bytes());
    driver.entries.iter().find_map(|entry| if let Entry::Question(text) = entry { Some(text.clone()) } else { None })
}
