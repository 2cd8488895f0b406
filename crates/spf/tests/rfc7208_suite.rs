//! The openspf.org test suite for RFC 7208 (release 2014.04), read from the shared corpora; skipped where they are not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod zone;

use std::collections::HashMap;

use mx6_spf::{Identity, Output, Request};
use serde::Deserialize;
use serde_yaml_ng::Value;
use zone::{Entry, Zone, evaluate};

/// Cases we decide against, with the reason. None: where the suite leaves a choice, the choice is in `CHOICES`.
const DECIDED_AGAINST: &[(&str, &str)] = &[];

/// Cases with several right results: ours, and why.
const CHOICES: &[(&str, &str, &str)] = &[
    ("multispf1", "permerror", "two records are two, even if DNS did not merge identical ones"),
    ("invalid-domain-empty-label", "fail", "a name that cannot be in DNS is not there: no match"),
    ("invalid-domain-long", "fail", "a name that cannot be in DNS is not there: no match"),
    ("invalid-domain-long-via-macro", "fail", "a name that cannot be in DNS is not there: no match"),
    ("p-macro-multiple", "pass", "%{p} prefers a name at or below the domain, as RFC 7208 §7.3 says it should"),
    ("ptr-limit", "neutral", "the first ten PTR names are used, the eleventh would match"),
];

#[derive(Deserialize)]
struct Scenario {
    tests: HashMap<String, Case>,
    zonedata: HashMap<String, Vec<Value>>,
}

#[derive(Deserialize)]
struct Case {
    helo: String,
    host: String,
    mailfrom: String,
    result: OneOrMany,
    explanation: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> &[String] {
        match self {
            OneOrMany::One(text) => std::slice::from_ref(text),
            OneOrMany::Many(list) => list,
        }
    }
}

#[test]
fn suite() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora/spf/rfc7208-tests.yml");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("SKIPPED: no corpus at {path}");
        return;
    };
    let (mut passed, mut total, mut wrong) = (0, 0, Vec::new());
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let scenario = Scenario::deserialize(document).expect("a scenario");
        let zone = zone_of(&scenario.zonedata);
        let mut cases: Vec<_> = scenario.tests.iter().collect();
        cases.sort_by_key(|(name, _)| name.as_str());
        for (name, case) in cases {
            total += 1;
            senders_told_alike_fare_alike(name, case, &zone);
            match verdict(name, case, &run(case, &zone)) {
                Ok(()) => passed += 1,
                Err(what) => wrong.push(format!("{name}: {what}")),
            }
        }
    }
    println!("rfc7208-tests: {passed} of {total}");
    for (name, reason) in DECIDED_AGAINST {
        println!("decided against: {name}: {reason}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(total, 203);
}

fn run(case: &Case, zone: &Zone) -> Output {
    let identity = match case.mailfrom.rsplit_once('@') {
        Some((local_part, domain)) => Identity::MailFrom { local_part, domain },
        None => Identity::Helo,
    };
    let client = case.host.parse().expect("an address");
    let receiver = "receiver.example";
    evaluate(&Request { client, identity, helo: &case.helo, receiver, now_unix_s: 1_400_000_000, explain: true }, zone)
}

/// An output that says so holds for every other sender of the domain at this client, and at every other time.
fn senders_told_alike_fare_alike(name: &str, case: &Case, zone: &Zone) {
    let (identity, helo) = match case.mailfrom.rsplit_once('@') {
        Some((local_part, domain)) => (Identity::MailFrom { local_part, domain }, "elsewhere.example"),
        None => (Identity::Helo, case.helo.as_str()),
    };
    let client = case.host.parse().expect("an address");
    let request = Request {
        client,
        identity,
        helo: &case.helo,
        receiver: "r.example",
        now_unix_s: 1_400_000_000,
        explain: false,
    };
    let output = evaluate(&request, zone);
    let others = ["", "x", "strong-bad", "\"a@b\"", "gladstone.philip", "www.example", "mary"];
    for local_part in others.into_iter().filter(|_| !output.tells_of_sender) {
        let identity = match identity {
            Identity::MailFrom { domain, .. } => Identity::MailFrom { local_part, domain },
            Identity::Helo => Identity::Helo,
        };
        let other = Request { identity, helo, now_unix_s: 1, ..request };
        assert_eq!(evaluate(&other, zone), output, "{name}: {local_part}");
    }
}

fn verdict(name: &str, case: &Case, output: &Output) -> Result<(), String> {
    let (word, allowed) = (output.result.word(), case.result.list());
    if DECIDED_AGAINST.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    if !allowed.iter().any(|it| it == word) {
        return Err(format!("{output:?}, want {allowed:?}"));
    }
    let choice = CHOICES.iter().find(|(known, ..)| *known == name);
    if (allowed.len() > 1) != choice.is_some_and(|(_, ours, _)| *ours == word) {
        return Err(format!("{word} is not the choice written down"));
    }
    let explanation = output.explanation.as_deref().unwrap_or("DEFAULT");
    match &case.explanation {
        Some(want) if want != explanation => Err(format!("explanation {explanation:?}, want {want:?}")),
        _ => Ok(()),
    }
}

/// Builds a zone by the rules of the suite: SPF records stand for TXT records of names that have none.
fn zone_of(zonedata: &HashMap<String, Vec<Value>>) -> Zone {
    let mut zone = Zone::default();
    for (name, entries) in zonedata {
        let has_txt = entries.iter().any(|entry| entry.get("TXT").is_some());
        zone.names.entry(name.to_ascii_lowercase()).or_default();
        for entry in entries {
            if let Some(entry) = entry_of(entry, has_txt) {
                zone.add(name, entry);
            }
        }
    }
    zone
}

fn entry_of(entry: &Value, has_txt: bool) -> Option<Entry> {
    let Some(mapping) = entry.as_mapping() else {
        assert_eq!(entry.as_str(), Some("TIMEOUT"));
        return Some(Entry::Timeout);
    };
    let (kind, value) = mapping.iter().next().expect("one entry");
    match kind.as_str().expect("a type") {
        "SPF" if has_txt => None,
        "TXT" if value.as_str() == Some("NONE") => None,
        "SPF" | "TXT" => Some(Entry::Txt(octets(value))),
        "A" => Some(Entry::A(value.as_str()?.parse().expect("IPv4"))),
        "AAAA" => Some(Entry::Aaaa(value.as_str()?.parse().expect("IPv6"))),
        "MX" => {
            let rank = u16::try_from(value.get(0)?.as_u64()?).expect("a preference");
            Some(Entry::Mx(rank, value.get(1)?.as_str()?.to_owned()))
        }
        "PTR" => Some(Entry::Ptr(value.as_str()?.to_owned())),
        "CNAME" => Some(Entry::Cname(value.as_str()?.to_owned())),
        other => panic!("unknown type {other}"),
    }
}

/// One string or several to be joined; `\x` escapes below 256 stand for octets.
fn octets(value: &Value) -> Vec<u8> {
    match value {
        Value::Sequence(parts) => parts.iter().flat_map(octets).collect(),
        value => {
            value.as_str().expect("text").chars().map(|it| u8::try_from(u32::from(it)).expect("an octet")).collect()
        }
    }
}
