//! RFC 8767: what happens to answers whose TTL has ended while the resolver fails, and when it is back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use mx6_dns::{Answer, CacheSizes, Caches, Dns, DnsConfig, Failure, Lookup, Source, TxtCache};
use mx6_runtime::{run_local, sleep};
use support::*;

/// What a server does from some moment on.
const WELL: usize = 0;
const SILENT: usize = 1;
const SERVFAIL: usize = 2;
const REFUSED: usize = 3;
const NXDOMAIN: usize = 4;
const NODATA: usize = 5;
const SLOW: usize = 6;
const GARBAGE: usize = 7;

/// A server whose records live for a second, and the switch of its state.
fn server() -> (Server, Arc<AtomicUsize>) {
    let state = Arc::new(AtomicUsize::new(WELL));
    let seen = state.clone();
    let server = Server::start(move |query| {
        let well = |last: u8| match query.record_type {
            RecordType::A => query.records(1, [a(last)]),
            RecordType::AAAA => query.records(1, [aaaa(last.into())]),
            RecordType::MX => query.records(1, [mx(10, "mx.test.")]),
            RecordType::PTR => query.records(1, [ptr("host.test.")]),
            _ => query.records(1, [txt(&["v=spf1 -all"])]),
        };
        match seen.load(Ordering::SeqCst) {
            WELL => well(1),
            SERVFAIL => query.code(ResponseCode::ServFail),
            REFUSED => query.code(ResponseCode::Refused),
            NXDOMAIN => query.negative(ResponseCode::NXDomain, Some((1, 1))),
            NODATA => query.negative(ResponseCode::NoError, Some((1, 1))),
            GARBAGE => Act::Raw(b"\x81\x80\0\x09".to_vec(), true),
            SLOW => {
                let Act::Answer(message) = well(2) else { unreachable!() };
                Act::Late(Duration::from_millis(2_300), message)
            }
            _ => Act::Drop,
        }
    });
    (server, state)
}

fn dns_with(stale_s: u64, servers: &[SocketAddr]) -> Dns {
    let config = DnsConfig { stale: Duration::from_secs(stale_s), ..config(servers) };
    Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap()
}

/// Until the TTL of a second has ended.
async fn expire() {
    sleep(Duration::from_millis(1_050)).await;
}

fn shown<T>(answer: Answer<T>) -> (bool, Source, u32) {
    (matches!(answer.lookup, Lookup::Found(_)), answer.source, answer.ttl_s)
}

#[test]
fn records_of_every_type_stand_in_while_the_resolver_fails() {
    for (what, state) in [("silent", SILENT), ("servfail", SERVFAIL), ("refused", REFUSED)] {
        let (server, switch) = server();
        run_local(|| async {
            let dns = dns_with(3_600, &[server.address]);
            let texts: TxtCache<Text> = TxtCache::new(1 << 20);
            macro_rules! all {
                () => {
                    [
                        shown(dns.a("x.test", soon()).await),
                        shown(dns.aaaa("x.test", soon()).await),
                        shown(dns.mx("x.test", soon()).await),
                        shown(dns.ptr(v4(1), soon()).await),
                        shown(dns.txt(&texts, "x.test", soon()).await),
                    ]
                };
            }
            assert_eq!(all!(), [(true, Source::Network, 1); 5], "{what}");
            expire().await;
            switch.store(state, Ordering::SeqCst);
            let asked = server.udp();
            assert_eq!(all!(), [(true, Source::Stale, 30); 5], "{what}");
            assert_eq!(server.udp(), asked + 5, "{what}: each was asked for once more");
            for answer in all!() {
                assert!(answer.0 && answer.1 == Source::Stale && answer.2 <= 30, "{what}: {answer:?}");
            }
            assert!(dns.cached_a("x.test").is_some_and(|answer| answer.source == Source::Stale));
            assert_eq!(server.udp(), asked + 5, "{what}: and not again for thirty seconds");
            let counters = dns.caches().counters();
            assert_eq!((counters.stale, counters.failures), (11, 5), "{what}");
            // A name that was never known has nothing to fall back on.
            assert!(dns.a("y.test", soon()).await.lookup.is_failed(), "{what}");
        })
        .unwrap();
    }
}

#[test]
fn a_resolver_that_cannot_be_reached_at_all() {
    let (server, _) = server();
    let caches = Caches::new(&CacheSizes::default());
    run_local(|| async {
        let near = Dns::new(&config(&[server.address]), caches.clone()).unwrap();
        assert!(near.a("x.test", soon()).await.lookup.found().is_some());
        expire().await;
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let far = Dns::new(&config(&[nobody]), caches.clone()).unwrap();
        assert_eq!(shown(far.a("x.test", soon()).await), (true, Source::Stale, 30));
    })
    .unwrap();
}

#[test]
fn an_answer_that_says_no_replaces_the_stale_one_at_once() {
    for (state, expected) in [(NXDOMAIN, Lookup::NxDomain), (NODATA, Lookup::NoData)] {
        let (server, switch) = server();
        run_local(|| async {
            let dns = dns_with(3_600, &[server.address]);
            assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
            expire().await;
            switch.store(state, Ordering::SeqCst);
            assert_eq!(dns.a("x.test", soon()).await.lookup, expected);
            // The old records are gone for good, and absence itself never stands in.
            expire().await;
            switch.store(SERVFAIL, Ordering::SeqCst);
            assert_eq!(dns.a("x.test", soon()).await.lookup, Lookup::Failed(Failure::ServFail));
        })
        .unwrap();
    }
}

#[test]
fn an_answer_of_no_use_is_no_failure_of_the_resolver() {
    let (server, switch) = server();
    run_local(|| async {
        let dns = dns_with(3_600, &[server.address]);
        assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
        expire().await;
        switch.store(GARBAGE, Ordering::SeqCst);
        assert_eq!(dns.a("x.test", soon()).await.lookup, Lookup::Failed(Failure::Malformed));
    })
    .unwrap();
}

#[test]
fn records_stand_in_no_longer_than_allowed() {
    for (stale_s, stands_in) in [(0, false), (2, true)] {
        let (server, switch) = server();
        run_local(|| async {
            let dns = dns_with(stale_s, &[server.address]);
            assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
            expire().await;
            switch.store(SERVFAIL, Ordering::SeqCst);
            let answer = dns.a("x.test", soon()).await;
            assert_eq!(answer.source == Source::Stale, stands_in);
            assert!(answer.ttl_s <= 2, "never past the limit: {answer:?}");
            sleep(Duration::from_millis(2_050)).await;
            let answer = dns.a("x.test", soon()).await;
            assert_eq!(answer.lookup, Lookup::Failed(Failure::ServFail), "{stale_s} s are over");
        })
        .unwrap();
    }
}

#[test]
fn a_resolver_that_is_back_is_believed() {
    let (server, switch) = server();
    run_local(|| async {
        // Two seconds of standing in, so that it is asked again within the test.
        let dns = dns_with(2, &[server.address]);
        assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
        expire().await;
        switch.store(SERVFAIL, Ordering::SeqCst);
        assert_eq!(dns.a("x.test", soon()).await.source, Source::Stale);
        switch.store(WELL, Ordering::SeqCst);
        sleep(Duration::from_millis(2_050)).await;
        assert_eq!(shown(dns.a("x.test", soon()).await), (true, Source::Network, 1));
    })
    .unwrap();
}

#[test]
fn a_slow_resolver_is_not_waited_for_when_something_is_known() {
    let (server, switch) = server();
    run_local(|| async {
        let config = DnsConfig { query_timeout: Duration::from_secs(5), ..config(&[server.address]) };
        let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap();
        assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
        expire().await;
        switch.store(SLOW, Ordering::SeqCst);
        let start = Instant::now();
        let answer = dns.a("x.test", soon()).await;
        assert_eq!((answer.lookup.found().unwrap()[0].octets()[3], answer.source), (1, Source::Stale));
        println!("a stale answer after {:?}", start.elapsed());
        assert!(start.elapsed() >= Duration::from_millis(1_800), "not before the resolver had its chance");
        // The lookup went on, and what it found is there for the next.
        let end = soon();
        while dns.cached_a("x.test").is_none() && !end.has_passed() {
            sleep(Duration::from_millis(5)).await;
        }
        let answer = dns.cached_a("x.test").unwrap();
        assert_eq!((answer.lookup.found().unwrap()[0].octets()[3], answer.source), (2, Source::Cache));
        // A name of which nothing is known is waited for.
        assert_eq!(dns.a("y.test", soon()).await.source, Source::Network);
    })
    .unwrap();
}
