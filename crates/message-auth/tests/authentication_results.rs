//! `Authentication-Results`: reading ids off real fields, and writing fields that nothing of a peer can break out of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/rfc8601.rs"]
mod rfc8601;

use std::net::IpAddr;

use mx6_message_auth::{authentication_results, authserv_id};
use mx6_policy::facts::{CacheState, Dkim, Dmarc, DmarcPolicy, Facts, Iprev, MethodResult, PtrState, Spf, SpfIdentity};
use proptest::prelude::*;

/// Fields as they are found in the wild and in RFCs: the id of each is its first word, but for those that have none.
#[test]
fn ids_of_the_corpus() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora/smtp/authentication_results.json");
    let Ok(corpus) = std::fs::read(path) else {
        println!("SKIPPED: no corpus at {path}");
        return;
    };
    let corpus: serde_json::Value = serde_json::from_slice(&corpus).unwrap();
    let cases = corpus["cases"].as_array().unwrap();
    let (mut right, mut strict) = (0, 0);
    for case in cases {
        let header = case["header"].as_str().unwrap();
        let value = match header.get(..23) {
            Some(name) if name.eq_ignore_ascii_case("Authentication-Results:") => &header[23..],
            _ => header,
        };
        let first_word = value.trim_start().split([' ', ';', '\t', '\r', '\n']).next().unwrap();
        // One begins with a result, where an id should be; one is empty.
        let want = (!first_word.is_empty() && !first_word.contains('=')).then_some(first_word);
        let found = authserv_id(value.as_bytes()).map(|id| String::from_utf8(id.into_owned()).unwrap());
        if found.as_deref() == want {
            right += 1;
        } else {
            println!("{header:?}: {found:?}, not {want:?}");
        }
        let strictly = rfc8601::parse(value);
        if let Some(field) = &strictly {
            assert_eq!(Some(&field.authserv_id), found.as_ref(), "{header:?}");
            strict += 1;
        }
    }
    println!("authentication_results.json: {right} of {} authserv-ids", cases.len());
    println!("authentication_results.json: {strict} of {} follow the grammar to the letter", cases.len());
    assert_eq!(right, cases.len());
    assert!(strict * 10 > cases.len() * 7, "the strict reader of this test is too strict");
}

fn facts() -> Facts {
    Facts {
        client: "2001:db8::1".parse().unwrap(),
        iprev: Iprev {
            ptr: PtrState::Exists,
            result: MethodResult::Pass,
            names: vec!["mail.example.com".into()],
            confirmed: Some("mail.example.com".into()),
            cache: CacheState::Hit,
        },
        spf: Spf {
            result: MethodResult::Pass,
            identity: SpfIdentity::MailFrom,
            domain: "example.com".into(),
            reason: "ip6:2001:db8::/32".into(),
            explanation: None,
            cache: CacheState::Hit,
        },
        dkim: Vec::new(),
        dkim_cache: CacheState::Unused,
        dmarc: Dmarc {
            result: MethodResult::Pass,
            policy: DmarcPolicy::Reject,
            domain: "example.com".into(),
            cache: CacheState::Hit,
        },
    }
}

fn signature() -> Dkim {
    Dkim {
        result: MethodResult::Pass,
        domain: "example.com".into(),
        selector: "s1".into(),
        identity: Some("@example.com".into()),
        algorithm: "rsa-sha256",
        signature_b: "oINEO8hg".into(),
        reason: "signature verified".into(),
        testing: false,
    }
}

#[test]
fn written_fields() {
    let plain = facts();
    let mut null = facts();
    null.client = "192.0.2.1".parse().unwrap();
    null.iprev.result = MethodResult::PermError;
    null.spf.identity = SpfIdentity::Helo;
    null.spf.result = MethodResult::SoftFail;
    null.spf.reason = "~all".into();
    null.dmarc.result = MethodResult::None;
    let mut broken = facts();
    broken.dmarc = Dmarc { result: MethodResult::PermError, domain: String::new(), ..broken.dmarc };
    broken.dkim = vec![
        signature(),
        Dkim {
            result: MethodResult::Fail,
            identity: None,
            signature_b: "a/b+c=".into(),
            reason: "body hash does not match".into(),
            ..signature()
        },
        Dkim {
            result: MethodResult::Neutral,
            domain: String::new(),
            selector: String::new(),
            identity: Some("x\"; spf=pass".into()),
            algorithm: "",
            signature_b: String::new(),
            reason: "".into(),
            testing: false,
        },
    ];
    for (facts, want) in [
        (
            plain,
            "Authentication-Results: mx.example;\r\n\tiprev=pass policy.iprev=\"2001:db8::1\";\r\n\
             \tspf=pass smtp.mailfrom=example.com;\r\n\tdkim=none;\r\n\
             \tdmarc=pass header.from=example.com policy.dmarc=reject\r\n",
        ),
        (
            null,
            "Authentication-Results: mx.example;\r\n\tiprev=permerror policy.iprev=192.0.2.1;\r\n\
             \tspf=softfail reason=~all smtp.helo=example.com;\r\n\tdkim=none;\r\n\
             \tdmarc=none header.from=example.com\r\n",
        ),
        (
            broken,
            "Authentication-Results: mx.example;\r\n\tiprev=pass policy.iprev=\"2001:db8::1\";\r\n\
             \tspf=pass smtp.mailfrom=example.com;\r\n\
             \tdkim=pass header.d=example.com header.s=s1 header.i=@example.com\r\n\
             \theader.a=rsa-sha256 header.b=oINEO8hg;\r\n\
             \tdkim=fail reason=\"body hash does not match\" header.d=example.com header.s=s1\r\n\
             \theader.a=rsa-sha256 header.b=\"a/b+c=\";\r\n\
             \tdkim=neutral header.d=\"\" header.i=\"x\\\"; spf=pass\";\r\n\tdmarc=permerror\r\n",
        ),
    ] {
        let field = String::from_utf8(authentication_results("mx.example", &facts)).unwrap();
        assert_eq!(field, want);
    }
}

/// What a reader gets of a value that a peer chose.
fn shown(value: &str) -> String {
    value.bytes().take(320).map(|octet| if (b' '..=b'~').contains(&octet) { octet as char } else { '?' }).collect()
}

fn value() -> impl Strategy<Value = String> {
    let hostile = prop_oneof![
        Just("\r\n".to_owned()),
        Just("; dkim=pass header.d=bank.example".to_owned()),
        Just("\\\"".to_owned()),
        Just("(".to_owned()),
        Just("@".to_owned()),
        Just("\u{0}\u{7f}\u{85}\u{2028}".to_owned()),
        "[ -~]{0,40}",
        "[a-z.@=]{1,300}",
        "\\PC{0,60}",
        ".{0,20}",
    ];
    prop::collection::vec(hostile, 0..5).prop_map(|parts| parts.concat())
}

fn result() -> impl Strategy<Value = MethodResult> {
    prop::sample::select(vec![
        MethodResult::Pass,
        MethodResult::Fail,
        MethodResult::SoftFail,
        MethodResult::Neutral,
        MethodResult::None,
        MethodResult::TempError,
        MethodResult::PermError,
        MethodResult::Policy,
    ])
}

fn dkim() -> impl Strategy<Value = Dkim> {
    (result(), value(), value(), prop::option::of(value()), value(), value()).prop_map(
        |(result, domain, selector, identity, signature_b, reason)| Dkim {
            result,
            domain,
            selector,
            identity,
            algorithm: "rsa-sha256",
            signature_b,
            reason: reason.into(),
            testing: false,
        },
    )
}

fn any_facts() -> impl Strategy<Value = Facts> {
    (any::<u128>(), result(), value(), value(), prop::collection::vec(dkim(), 0..4), result(), value()).prop_map(
        |(client, spf, spf_domain, spf_reason, dkim, dmarc, from)| {
            let mut facts = facts();
            facts.client = IpAddr::V6(client.into());
            facts.spf = Spf { result: spf, domain: spf_domain, reason: spf_reason.into(), ..facts.spf };
            facts.dkim = dkim;
            facts.dmarc = Dmarc { result: dmarc, domain: from, ..facts.dmarc };
            facts
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn nothing_breaks_out(id in value(), facts in any_facts()) {
        let octets = authentication_results(&id, &facts);
        let field = std::str::from_utf8(&octets).unwrap();
        prop_assert!(field.is_ascii());
        let content = field.strip_prefix("Authentication-Results:").unwrap().strip_suffix("\r\n").unwrap();
        for (at, line) in content.split("\r\n").enumerate() {
            prop_assert!(line.len() < 998);
            prop_assert!(at == 0 || line.starts_with('\t') && line.len() > 1);
            prop_assert!(!line.contains(['\r', '\n']));
        }

        let read = rfc8601::parse(content).unwrap();
        prop_assert_eq!(&read.authserv_id, &shown(&id));
        let mut results = read.results.iter();
        let iprev = results.next().unwrap();
        prop_assert_eq!((&*iprev.method, &*iprev.result), ("iprev", "pass"));
        let client = facts.client.to_string();
        prop_assert_eq!(&iprev.properties, &[("policy.iprev".to_owned(), client)]);
        let spf = results.next().unwrap();
        prop_assert_eq!((&*spf.method, &*spf.result), ("spf", facts.spf.result.word()));
        prop_assert_eq!(&spf.properties, &[("smtp.mailfrom".to_owned(), shown(&facts.spf.domain))]);
        if facts.dkim.is_empty() {
            let none = results.next().unwrap();
            prop_assert_eq!((&*none.method, &*none.result, none.properties.len()), ("dkim", "none", 0));
        }
        for signature in &facts.dkim {
            let dkim = results.next().unwrap();
            prop_assert_eq!((&*dkim.method, &*dkim.result), ("dkim", signature.result.word()));
            let explained = !matches!(signature.result, MethodResult::Pass | MethodResult::None);
            let reason = (explained && !signature.reason.is_empty()).then(|| shown(&signature.reason));
            prop_assert_eq!(&dkim.reason, &reason);
            let mut want = vec![("header.d".to_owned(), shown(&signature.domain))];
            let selector = Some(&signature.selector).filter(|value| !value.is_empty());
            let b = Some(&signature.signature_b).filter(|value| !value.is_empty());
            want.extend(selector.map(|value| ("header.s".to_owned(), shown(value))));
            want.extend(signature.identity.as_ref().map(|value| ("header.i".to_owned(), shown(value))));
            want.push(("header.a".to_owned(), "rsa-sha256".to_owned()));
            want.extend(b.map(|value| ("header.b".to_owned(), shown(value))));
            prop_assert_eq!(&dkim.properties, &want);
        }
        let dmarc = results.next().unwrap();
        prop_assert_eq!((&*dmarc.method, &*dmarc.result), ("dmarc", facts.dmarc.result.word()));
        prop_assert!(results.next().is_none());
    }
}
