//! SPF with every answer at hand: one pass of the evaluator.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use mx6_spf::{Answer, Answers, Evaluation, Identity, Query, Request, check_host, parse_txt};

struct Zone(HashMap<Query, Answer>);

impl Answers for Zone {
    fn answer(&self, query: &Query) -> Option<Answer> {
        Some(self.0.get(query).cloned().unwrap_or(Answer::NxDomain))
    }
}

fn zone(records: &[(&str, &str)]) -> Zone {
    let entry = |(name, record): &(&str, &str)| {
        let parsed = Arc::new(parse_txt(&[record.as_bytes().to_vec()]));
        (Query::Spf((*name).to_owned()), Answer::Spf(parsed))
    };
    Zone(records.iter().map(entry).collect())
}

fn evaluations(criterion: &mut Criterion) {
    let cases = [
        ("ip6", zone(&[("sender.example", "v=spf1 ip6:2001:db8::/32 -all")])),
        (
            "three includes",
            zone(&[
                ("sender.example", "v=spf1 include:a.example include:b.example include:c.example -all"),
                ("a.example", "v=spf1 ip4:192.0.2.0/24 -all"),
                ("b.example", "v=spf1 ip4:198.51.100.0/24 -all"),
                ("c.example", "v=spf1 ip6:2001:db8::/32 -all"),
            ]),
        ),
    ];
    let mut group = criterion.benchmark_group("spf");
    for (name, answers) in &cases {
        let request = Request {
            client: "2001:db8::25".parse().unwrap_or(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
            identity: Identity::MailFrom { local_part: "alice", domain: "sender.example" },
            helo: "mail.sender.example",
            receiver: "mx.example",
            now_unix_s: 0,
            explain: false,
        };
        assert!(matches!(check_host(&request, answers), Evaluation::Done(_)));
        group.bench_function(*name, |bencher| bencher.iter(|| check_host(black_box(&request), answers)));
    }
    group.finish();
}

criterion_group!(benches, evaluations);
criterion_main!(benches);
