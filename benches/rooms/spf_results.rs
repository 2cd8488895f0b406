//! SPF of a warm message as the gate asks for it: the result known, against evaluated over warm caches. (An evaluation for `explain`
//! is the same as any other as long as the result is no fail.)

use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;

use criterion::{Criterion, criterion_group};
use futures_util::FutureExt;
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Zone};
use mx6_message_auth::{AuthConfig, MessageAuth, MessageAuthCacheSizes, MessageAuthCaches};
use mx6_policy::facts::MethodResult;

use crate::settings;
use crate::spf::CASES;

fn message_auth(records: crate::spf::Zone) -> MessageAuth {
    let text: String = records.iter().map(|(name, record)| format!("{name}. 300 IN TXT \"{record}\"\n")).collect();
    let zone = Zone::parse(&text, Path::new("bench")).expect("a good zone");
    let config = DnsConfig { zone: Some(zone), ..DnsConfig::default() };
    let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).expect("a zone");
    let ours = AuthConfig { hostname: "mx.example".into(), authserv_id: "mx.example".into(), further_ids: Vec::new() };
    MessageAuth::new(dns, MessageAuthCaches::new(&MessageAuthCacheSizes::default()), ours).expect("an evaluator")
}

fn results(criterion: &mut Criterion) {
    let client: IpAddr = "2001:db8::25".parse().expect("an address");
    let mut group = criterion.benchmark_group("spf of a warm message");
    for (name, records) in CASES {
        let auth = message_auth(records);
        let spf = |explain| {
            let spf = auth.spf(black_box(client), "mail.sender.example", Some(("alice", "sender.example")), explain);
            spf.now_or_never().expect("nothing to wait for")
        };
        assert_eq!((spf(false).result, spf(true).result), (MethodResult::Pass, MethodResult::Pass));
        group.bench_function(format!("{name}/known"), |bencher| bencher.iter(|| spf(false)));
        group.bench_function(format!("{name}/evaluated"), |bencher| bencher.iter(|| spf(true)));
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = results);
