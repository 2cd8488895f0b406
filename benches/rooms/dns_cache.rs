//! A lookup that the caches answer, by one thread and by two at once on the same caches; beside it moka alone, and a map that a thread has
//! for itself, which is the least it could cost. Time is the threads' CPU time: with both cores busy otherwise a wall clock would tell of that.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use futures_util::FutureExt;
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Lookup, TxtCache, TxtValue, Zone};
use rustix::time::{ClockId, clock_gettime};

use crate::settings;

/// Names in the caches; each thread asks for them in turn.
const NAMES: usize = 4_096;

struct Text(Vec<Vec<u8>>);

impl TxtValue for Text {
    fn parse(records: &[Vec<u8>]) -> Text {
        Text(records.to_vec())
    }

    fn weight_octets(&self) -> u32 {
        u32::try_from(self.0.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX)
    }
}

fn name(at: usize) -> String {
    format!("s{at}._domainkey.sender-{at}.example")
}

fn address(at: usize) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | at as u128))
}

fn reverse_name(address: IpAddr) -> String {
    let IpAddr::V6(address) = address else { unreachable!("every client here is IPv6") };
    let nibbles = (0..32).map(|at| format!("{:x}.", address.to_bits() >> (4 * at) & 15));
    nibbles.collect::<String>() + "ip6.arpa"
}

fn zone() -> Zone {
    let mut text = String::from("$TTL 3600\n");
    for at in 0..NAMES {
        text += &format!("{}. TXT \"v=DKIM1; p=AAAA\"\n", name(at));
        text += &format!("{}. PTR mail-{at}.example.\n", reverse_name(address(at)));
    }
    Zone::parse(&text, Path::new("bench")).expect("a good zone")
}

/// CPU time of one of `threads` threads that each do `count` rounds of the work that `make` makes for it, all at the same time.
fn measure<W: FnMut(usize)>(threads: usize, count: u64, make: impl Fn() -> W + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let one = || {
        let mut work = make();
        (0..NAMES).for_each(&mut work);
        barrier.wait();
        let start = cpu();
        (0..count as usize).for_each(|round| work(round % NAMES));
        cpu() - start
    };
    let total: Duration = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    total / threads as u32
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn ours(criterion: &mut Criterion) {
    let config = DnsConfig { zone: Some(zone()), ..DnsConfig::default() };
    let caches = Caches::new(&CacheSizes::default());
    let txt = TxtCache::<Text>::new(64 << 20);
    let dns = || Dns::new(&config, caches.clone()).expect("a zone is enough");
    let mut group = criterion.benchmark_group("cache hit");
    for threads in [1, 2] {
        group.bench_function(format!("PTR, {threads} threads"), |bencher| {
            let make = || {
                let dns = dns();
                move |at| {
                    let answer = dns.cached_ptr(address(at));
                    assert!(matches!(answer, Some(answer) if matches!(answer.lookup, Lookup::Found(_))));
                }
            };
            bencher.iter_custom(|count| measure(threads, count, make));
        });
        group.bench_function(format!("TXT, {threads} threads"), |bencher| {
            let make = || {
                let (dns, txt) = (dns(), txt.clone());
                let names: Vec<String> = (0..NAMES).map(name).collect();
                move |at: usize| {
                    let answer = dns.cached_txt(&txt, black_box(&names[at]));
                    assert!(matches!(answer, Some(answer) if matches!(answer.lookup, Lookup::Found(_))));
                }
            };
            bencher.iter_custom(|count| measure(threads, count, make));
        });
    }
    group.finish();
}

fn maps(criterion: &mut Criterion) {
    let names: Vec<Box<str>> = (0..NAMES).map(|at| name(at).into()).collect();
    let value: Arc<[u8]> = Arc::from(b"v=DKIM1; p=AAAA".as_slice());
    let in_future = moka::future::Cache::<Box<str>, Arc<[u8]>>::new(1 << 20);
    let in_sync = moka::sync::Cache::<Box<str>, Arc<[u8]>>::new(1 << 20);
    for name in &names {
        in_future.insert(name.clone(), Arc::clone(&value)).now_or_never().expect("room for it");
        in_sync.insert(name.clone(), Arc::clone(&value));
    }
    let own: HashMap<Box<str>, Arc<[u8]>> = names.iter().map(|name| (name.clone(), Arc::clone(&value))).collect();
    let mut group = criterion.benchmark_group("cache hit, maps alone");
    for threads in [1, 2] {
        group.bench_function(format!("moka::future, {threads} threads"), |bencher| {
            let make = || {
                |at: usize| drop(in_future.get(black_box(&*names[at])).now_or_never().flatten().expect("it is there"))
            };
            bencher.iter_custom(|count| measure(threads, count, make));
        });
        group.bench_function(format!("moka::sync, {threads} threads"), |bencher| {
            let make = || |at: usize| drop(in_sync.get(black_box(&*names[at])).expect("it is there"));
            bencher.iter_custom(|count| measure(threads, count, make));
        });
        group.bench_function(format!("a map of its own, {threads} threads"), |bencher| {
            let make = || {
                let own = own.clone();
                let names = &names;
                move |at: usize| drop(Arc::clone(own.get(black_box(&*names[at])).expect("it is there")))
            };
            bencher.iter_custom(|count| measure(threads, count, make));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = ours, maps);
