//! SPF with every answer at hand, against mail-auth with the same records parsed in its cache. What an evaluation costs beside it in
//! the gate (the lookups in the caches) is in `dns_cache`.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::spf::Spf;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, Parameters, Txt};
use mx6_spf::{Answer, Answers, Evaluation, Identity, Query, Request, SpfResult, check_host, parse_txt};

use crate::mail_auth_records::{Records, ready};
use crate::settings;

pub(crate) type Zone = &'static [(&'static str, &'static str)];

/// What is published, from little to much.
pub(crate) const CASES: [(&str, Zone); 3] = [
    ("ip6", &[("sender.example", "v=spf1 ip6:2001:db8::/32 -all")]),
    (
        "three includes",
        &[
            ("sender.example", "v=spf1 include:a.example include:b.example include:c.example -all"),
            ("a.example", "v=spf1 ip4:192.0.2.0/24 -all"),
            ("b.example", "v=spf1 ip4:198.51.100.0/24 -all"),
            ("c.example", "v=spf1 ip6:2001:db8::/32 -all"),
        ],
    ),
    (
        "a large sender's",
        &[
            ("sender.example", "v=spf1 redirect=_spf.big.example"),
            ("_spf.big.example", "v=spf1 include:_n1.big.example include:_n2.big.example include:_n3.big.example ~all"),
            (
                "_n1.big.example",
                "v=spf1 ip4:35.190.247.0/24 ip4:64.233.160.0/19 ip4:66.102.0.0/20 ip4:66.249.80.0/20 ip4:72.14.192.0/18 ip4:74.125.0.0/16 ~all",
            ),
            (
                "_n2.big.example",
                "v=spf1 ip6:2001:4860:4000::/36 ip6:2404:6800:4000::/36 ip6:2607:f8b0:4000::/36 ip6:2800:3f0:4000::/36 ip6:2001:db8::/32 ~all",
            ),
            (
                "_n3.big.example",
                "v=spf1 ip4:172.217.0.0/19 ip4:172.217.32.0/20 ip4:172.217.128.0/19 ip4:172.217.160.0/20 ~all",
            ),
        ],
    ),
];

struct Known(HashMap<Query, Answer>);

impl Answers for Known {
    fn answer(&self, query: &Query) -> Option<Answer> {
        Some(self.0.get(query).cloned().unwrap_or(Answer::NxDomain))
    }
}

fn our_records(zone: Zone) -> Known {
    let entry = |(name, record): &(&str, &str)| {
        let parsed = Arc::new(parse_txt(&[record.as_bytes().to_vec()]));
        (Query::Spf((*name).to_owned()), Answer::Spf(parsed))
    };
    Known(zone.iter().map(entry).collect())
}

fn their_records(zone: Zone) -> Records {
    let entry = |(name, record): &(&str, &str)| {
        let parsed = Spf::parse(record.as_bytes()).expect("a good record");
        (format!("{name}.").into_boxed_str(), Txt::Spf(Arc::new(parsed)))
    };
    Records(zone.iter().map(entry).collect())
}

fn evaluations(criterion: &mut Criterion) {
    let client = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25));
    let authenticator = MessageAuthenticator::new_cloudflare().expect("no network is needed for that");
    let mut group = criterion.benchmark_group("spf");
    for (name, zone) in CASES {
        let (ours, theirs) = (our_records(zone), their_records(zone));
        let request = Request {
            client,
            identity: Identity::MailFrom { local_part: "alice", domain: "sender.example" },
            helo: "mail.sender.example",
            receiver: "mx.example",
            now_unix_s: 0,
            explain: false,
        };
        let by_us = || check_host(black_box(&request), &ours);
        let by_them = || {
            let sender = black_box("alice@sender.example");
            let question = SpfParameters::verify_mail_from(client, "mail.sender.example", "mx.example", sender);
            ready(authenticator.verify_spf(Parameters::new(question).with_txt_cache(&theirs)))
        };
        assert!(matches!(by_us(), Evaluation::Done(output) if output.result == SpfResult::Pass));
        assert_eq!(by_them().result(), mail_auth::SpfResult::Pass);
        group.bench_function(format!("{name}/mx6"), |bencher| bencher.iter(by_us));
        group.bench_function(format!("{name}/mail-auth"), |bencher| bencher.iter(by_them));
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = evaluations);
