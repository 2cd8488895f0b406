//! What the limits cost: by default (four counts of sessions a connection, nothing a message), and with every limit there is.

use std::hash::RandomState;
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group};
use mx6_policy::Client;
use mx6_policy::limits::{LimitRules, LimitTable};

use crate::settings;

const EVERYTHING: [&str; 12] = [
    "address.connections=1000000000/1s",
    "address.messages=1000000000/1s",
    "address.recipients=1000000000/1s",
    "64.connections=1000000000/1s",
    "64.messages=1000000000/1s",
    "64.recipients=1000000000/1s",
    "56.connections=1000000000/1s",
    "56.messages=1000000000/1s",
    "56.recipients=1000000000/1s",
    "48.connections=1000000000/1s",
    "48.messages=1000000000/1s",
    "48.recipients=1000000000/1s",
];

/// Clients in as many /48s: far more than a cache of the CPU holds.
fn clients() -> Vec<Client> {
    let address = |number: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001 << 112) | (number << 80) | 1));
    (0..1 << 16).map(|number| Client::new(address(number), &[])).collect()
}

fn limits(criterion: &mut Criterion) {
    let clients = clients();
    let mut group = criterion.benchmark_group("limits");
    for (name, limits) in [("by default", &EVERYTHING[..0]), ("everything limited", &EVERYTHING[..])] {
        let rules = LimitRules::parse_all(limits).expect("good limits");
        let table = Arc::new(LimitTable::new(16 << 20, RandomState::new()));
        let mut client = clients.iter().cycle();
        let mut now_ms = 0;
        group.bench_function(format!("connection, message, recipient, {name}"), |bencher| {
            bencher.iter(|| {
                now_ms += 1;
                let client = client.next().expect("without end");
                let held = table.connect(&rules, now_ms, client);
                black_box(table.mail(&rules, now_ms, client).is_ok() && table.rcpt(&rules, now_ms, client).is_ok());
                held
            });
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = limits);
