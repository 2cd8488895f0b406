//! Header sections that are rewritten, and fields that are written from what peers say: see `tests/fuzz/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;
#[path = "support/rfc8601.rs"]
mod rfc8601;

use std::panic::AssertUnwindSafe;
use std::path::Path;

use inputs::{ITERATIONS, Tried, has_bare_cr_or_lf, octets, text};
use mx6_dkim::Header;
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Zone};
use mx6_message_auth::{
    AuthConfig, HeaderReading, MessageAuth, MessageAuthCacheSizes, MessageAuthCaches, Protocol, ReceivedParts,
    TlsFacts, authentication_results, monitor_field, received,
};
use mx6_policy::facts::{CacheState, Dkim, Dmarc, DmarcPolicy, Facts, Iprev, MethodResult, PtrState, Spf, SpfIdentity};

const WORDS: [&[u8]; 40] = [
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b"\r\n ",
    b"Authentication-Results:",
    b"authentication-results :",
    b"Authentication-Results: mx.example; none\r\n",
    b"Authentication-Results: other.example; none\r\n",
    b"ARC-Authentication-Results: i=1; mx.example\r\n",
    b"X-MX6-Monitor: x\r\n",
    b"x-mx6-monitor",
    b"Received: a\r\n",
    b"From: a@b.example\r\n",
    b"From: \"a\" <a@b.example>, c@d.example\r\n",
    b"Subject: x\r\n",
    b"mx.example",
    b"\"mx.example\"",
    b"MX.EXAMPLE.",
    b"(c)",
    b"(",
    b")",
    b"\"",
    b"\\",
    b"1",
    b"; none",
    b"; spf=pass smtp.mailfrom=bank.example",
    b"\r\n\r\n",
    b"A: b\r\n",
    b"no field\r\n",
    b"@",
    b"<",
    b">",
    b",",
    b"=",
    b"\0",
    b"\xc3\xbc",
    b"\xff",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

fn auth() -> MessageAuth {
    let zone = Zone::parse("", Path::new("test.zone")).unwrap();
    let dns =
        Dns::new(&DnsConfig { zone: Some(zone), ..DnsConfig::default() }, Caches::new(&CacheSizes::default())).unwrap();
    let caches = MessageAuthCaches::new(&MessageAuthCacheSizes::default());
    let config = AuthConfig {
        hostname: "mx.example".into(),
        authserv_id: "mx.example".into(),
        further_ids: vec!["old.example".into()],
    };
    MessageAuth::new(dns, caches, config).unwrap()
}

fn read(auth: &MessageAuth, section: &[u8]) -> HeaderReading {
    auth.read_header(&Header::parse(section))
}

/// The section without what must not go on; what is cut out is whole lines, in order.
fn rewritten(section: &[u8], reading: &HeaderReading) -> Vec<u8> {
    let (mut left, mut at) = (Vec::new(), 0);
    for range in &reading.leave_out {
        assert!(at <= range.start && range.start < range.end && range.end <= section.len());
        assert!(range.start == 0 || section[..range.start].ends_with(b"\r\n"));
        assert!(section[range.clone()].ends_with(b"\r\n"));
        left.extend_from_slice(&section[at..range.start]);
        at = range.end;
    }
    left.extend_from_slice(&section[at..]);
    left
}

#[test]
fn header_sections_are_rewritten_and_nothing_else() {
    let tried = Tried::new("header rewriting");
    let auth = &AssertUnwindSafe(auth());
    bolero::check!().with_type::<Vec<u8>>().with_iterations(ITERATIONS).for_each(|codes| {
        // The framing ends a header section with its first empty line, and lets no bare CR or LF through.
        let mut section = octets(codes, &WORDS);
        section.extend_from_slice(b"\r\n\r\n");
        let end = section.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap() + 4;
        section.truncate(if section.starts_with(b"\r\n") { 2 } else { end });
        let ours = b"Received: from x\r\n\tby mx.example\r\nAuthentication-Results: mx.example; none\r\n";
        let reading = read(auth, &section);
        let left = rewritten(&section, &reading);
        assert!(left.ends_with(b"\r\n") && !has_bare_cr_or_lf(&left));
        // Behind our fields nothing is read as a part of them, and no other field bears our name.
        let again = [&ours[..], &left].concat();
        let header = Header::parse(&again);
        assert_eq!(header.whole(&header.fields()[0]), &ours[..34]);
        assert_eq!(header.whole(&header.fields()[1]), &ours[34..]);
        assert!(read(auth, &left).leave_out.is_empty(), "{}", left.escape_ascii());
        assert_eq!(read(auth, &left).received_fields, reading.received_fields);
        tried.count(usize::from(!reading.leave_out.is_empty()));
    });
}

fn facts(words: &[String; 4], results: u8) -> Facts {
    let result = [
        MethodResult::Pass,
        MethodResult::Fail,
        MethodResult::None,
        MethodResult::TempError,
        MethodResult::PermError,
        MethodResult::Policy,
    ][usize::from(results) % 6];
    let [first, second, third, fourth] = words.clone();
    Facts {
        client: "2001:db8::1".parse().unwrap(),
        iprev: Iprev {
            ptr: PtrState::Exists,
            result,
            names: vec![first.clone()],
            confirmed: Some(first.clone()),
            cache: CacheState::Hit,
        },
        spf: Spf {
            result,
            identity: if results.is_multiple_of(2) { SpfIdentity::Helo } else { SpfIdentity::MailFrom },
            domain: first.clone(),
            reason: second.clone().into(),
            explanation: None,
            cache: CacheState::Hit,
        },
        dkim: vec![Dkim {
            result,
            domain: second,
            selector: third.clone(),
            identity: Some(fourth.clone()),
            algorithm: "rsa-sha256",
            signature_b: "AAAA/+==".into(),
            reason: third.into(),
            testing: false,
        }],
        dkim_cache: CacheState::Hit,
        dmarc: Dmarc { result, policy: DmarcPolicy::Reject, domain: fourth, cache: CacheState::Hit },
    }
}

/// One field: printable ASCII in lines of less than 998 octets, all but the first begun by white space.
fn assert_one_field(field: &[u8]) {
    assert!(field.ends_with(b"\r\n") && !has_bare_cr_or_lf(field));
    for (at, line) in field.split_inclusive(|octet| *octet == b'\n').enumerate() {
        assert!(line.len() <= 1000 && (at == 0 || line.starts_with(b"\t") || line.starts_with(b" ")));
        let text = std::str::from_utf8(line).unwrap();
        assert!(!text.contains(|letter: char| letter.is_control() && !"\r\n\t".contains(letter)), "{text:?}");
    }
    let section = [field, b"\r\n"].concat();
    assert_eq!(Header::parse(&section).fields().len(), 1);
}

#[test]
fn nothing_breaks_out_of_our_fields() {
    let tried = Tried::new("our fields");
    type Input = ([Vec<u8>; 4], u8);
    bolero::check!().with_type::<Input>().with_iterations(ITERATIONS).for_each(|(codes, results)| {
        let words = codes.each_ref().map(|codes| text(codes, &WORDS));
        let facts = facts(&words, *results);
        let field = authentication_results("mx.example", &facts);
        assert_one_field(&field);
        let value = std::str::from_utf8(&field).unwrap().strip_prefix("Authentication-Results:").unwrap();
        let parsed = rfc8601::parse(value.trim_end()).unwrap_or_else(|| panic!("not by the grammar: {value:?}"));
        let methods: Vec<&str> = parsed.results.iter().map(|each| each.method.as_str()).collect();
        assert_eq!((parsed.authserv_id.as_str(), methods), ("mx.example", vec!["iprev", "spf", "dkim", "dmarc"]));
        assert_eq!(parsed.results[1].result, facts.spf.result.word());
        assert_eq!(parsed.results[2].properties.first().map(|(name, _)| name.as_str()), Some("header.d"));
        let [helo, name, session_id, recipient] = &words;
        let tls = Some(TlsFacts { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" });
        for with in [Protocol::Esmtps, Protocol::Utf8Smtps] {
            let parts = ReceivedParts {
                client: facts.client,
                helo,
                client_name: Some(name),
                with,
                tls,
                session_id,
                recipient: Some(recipient),
                unix_s: 1_749_988_800,
            };
            let field = received("mx.example", &parts);
            assert_one_field(&field);
            assert!(with == Protocol::Utf8Smtps || field.is_ascii());
        }
        assert_one_field(&monitor_field(&words.concat()));
        tried.count(1);
    });
}
