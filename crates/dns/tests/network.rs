//! Lookups against a real server on loopback that behaves as scripted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};
use mx6_dns::{CacheSizes, Caches, Deadline, Dns, Failure, Lookup, Mx, Source, TtlLimits, TxtCache};
use mx6_runtime::{Cores, run_local, run_shards, sleep, spawn};
use support::*;

#[test]
fn every_type_is_read() {
    let server = Server::start(|query| match query.record_type {
        RecordType::A => query.records(60, [a(1), a(2)]),
        RecordType::AAAA => query.records(60, [aaaa(1)]),
        RecordType::MX => query.records(60, [mx(20, "MX2.example."), mx(10, "mx1.example."), mx(0, ".")]),
        RecordType::PTR => query.records(60, [ptr("Mail.Example.COM."), ptr_labels(&[b"odd.label", b"x y"])]),
        _ => query.records(60, [txt(&["v=spf1 ", "-all"]), txt(&["other"])]),
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let found = dns.a("Example.com.", soon()).await;
        assert_eq!(found.lookup, Lookup::Found(["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()].into()));
        assert_eq!((found.source, found.ttl_s), (Source::Network, 60));
        assert_eq!(
            dns.aaaa("example.com", soon()).await.lookup,
            Lookup::Found(["2001:db8::1".parse().unwrap()].into())
        );
        let exchange = |preference, exchange: &str| Mx { preference, exchange: exchange.into() };
        let exchanges = [exchange(20, "mx2.example"), exchange(10, "mx1.example"), exchange(0, "")];
        assert_eq!(dns.mx("example.com", soon()).await.lookup, Lookup::Found(exchanges.into()));
        let names = ["mail.example.com".into(), "odd\\046label.x\\032y".into()];
        assert_eq!(dns.ptr(v4(7), soon()).await.lookup, Lookup::Found(names.into()));
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(dns.ptr(mapped, soon()).await.source, Source::Cache);
        let cache: TxtCache<Text> = TxtCache::new(1 << 20);
        let text = dns.txt(&cache, "_x.example.com", soon()).await.lookup.found().unwrap();
        assert_eq!(text.0, ["v=spf1 -all", "other"]);
        let again = dns.txt(&cache, "_X.EXAMPLE.COM.", soon()).await;
        assert_eq!(again.source, Source::Cache);
        assert!(Arc::ptr_eq(&again.lookup.found().unwrap(), &text), "parsed once");
        assert!(dns.cached_txt(&cache, "_x.example.com").is_some());
        assert!(dns.cached_a("example.com").is_some() && dns.cached_a("other.example").is_none());
        assert!(dns.cached_ptr(v4(7)).is_some() && dns.cached_ptr(v4(8)).is_none());
        assert!(dns.cached_aaaa("example.com").is_some() && dns.cached_mx("example.com").is_some());
    })
    .unwrap();
    assert!(server.log().contains(&("7.2.0.192.in-addr.arpa.".to_owned(), RecordType::PTR)));
    assert_eq!(server.udp(), 5);
    assert_eq!(server.tcp(), 0);
}

#[test]
fn names_that_cannot_exist_are_not_asked_for() {
    let server = Server::start(|query| query.records(60, [a(1)]));
    run_local(|| async {
        let dns = dns(&[server.address]);
        for name in ["", ".", "a..b", &"x".repeat(64), &"abcd.".repeat(60)] {
            assert_eq!(dns.a(name, soon()).await.lookup, Lookup::NxDomain, "{name}");
            assert!(dns.cached_mx(name).is_some());
        }
    })
    .unwrap();
    assert_eq!(server.udp(), 0);
}

#[test]
fn absence_and_failure_are_told_apart() {
    let server = Server::start(|query| match query.name.split('.').next().unwrap() {
        "nodata" => query.negative(ResponseCode::NoError, Some((300, 60))),
        "nodata-bare" => query.negative(ResponseCode::NoError, None),
        "nxdomain" => query.negative(ResponseCode::NXDomain, Some((300, 60))),
        "nxdomain-bare" => query.negative(ResponseCode::NXDomain, None),
        "other-type" => query.records(60, [aaaa(1)]),
        "other-owner" => {
            let mut message = query.empty();
            message.add_answer(Record::from_rdata(name("stranger.test."), 60, a(6)));
            Act::Answer(message)
        }
        "referral" => {
            let mut message = query.empty();
            let ns = hickory_proto::rr::RData::NS(hickory_proto::rr::rdata::NS(name("ns.test.")));
            message.add_authority(Record::from_rdata(name("referral.test."), 60, ns));
            Act::Answer(message)
        }
        "servfail" => query.code(ResponseCode::ServFail),
        "refused" => query.code(ResponseCode::Refused),
        "notauth" => query.code(ResponseCode::NotAuth),
        "garbage" => Act::Raw(vec![0x81, 0x80, 0, 9, 0xff, 0xff], true),
        "other-question" => {
            let mut message = query.empty();
            message.queries[0].name = name("else.test.");
            message.add_answer(Record::from_rdata(name("else.test."), 60, a(6)));
            Act::Answer(message)
        }
        "wrong-id" => {
            let mut forged = query.empty();
            forged.metadata.id ^= 1;
            forged.add_answer(Record::from_rdata(name(&query.name), 60, a(66)));
            let mut message = query.empty();
            message.add_answer(Record::from_rdata(name(&query.name), 60, a(1)));
            Act::After(vec![forged.to_vec().unwrap(), vec![], vec![1]], message)
        }
        _ => Act::Drop,
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let cases = [
            ("nodata", Lookup::NoData),
            ("nodata-bare", Lookup::NoData),
            ("nxdomain", Lookup::NxDomain),
            ("nxdomain-bare", Lookup::NxDomain),
            ("other-type", Lookup::NoData),
            ("other-owner", Lookup::NoData),
            ("referral", Lookup::Failed(Failure::ServFail)),
            ("servfail", Lookup::Failed(Failure::ServFail)),
            ("refused", Lookup::Failed(Failure::Refused)),
            ("notauth", Lookup::Failed(Failure::ServFail)),
            ("garbage", Lookup::Failed(Failure::Malformed)),
            ("other-question", Lookup::Failed(Failure::Timeout)),
            ("wrong-id", Lookup::Found(["192.0.2.1".parse().unwrap()].into())),
            ("silence", Lookup::Failed(Failure::Timeout)),
        ];
        for (label, expected) in cases {
            let answer = dns.a(&format!("{label}.test"), soon()).await;
            assert_eq!(answer.lookup, expected, "{label}");
        }
        let counters = dns.caches().counters();
        assert_eq!((counters.failures, counters.timeouts), (7, 2));
    })
    .unwrap();
}

#[test]
fn times_to_live() {
    let server = Server::start(|query| {
        let words: Vec<&str> = query.name.split(['.', '-']).collect();
        let number = |index: usize| words[index].parse().unwrap();
        match words[0] {
            "ttl" => query.records(number(1), [a(1)]),
            "two" => {
                let mut message = query.empty();
                message.add_answer(Record::from_rdata(name(&query.name), 900, a(1)));
                message.add_answer(Record::from_rdata(name(&query.name), 700, a(2)));
                Act::Answer(message)
            }
            "soa" => query.negative(ResponseCode::NXDomain, Some((number(1), number(2)))),
            _ => query.negative(ResponseCode::NoError, None),
        }
    });
    let ttl = TtlLimits {
        floor_s: 5,
        ceiling_s: 1000,
        negative_ceiling_s: 400,
        negative_ptr_ceiling_s: 100,
        negative_without_soa_s: 30,
    };
    run_local(|| async {
        let config = mx6_dns::DnsConfig { ttl, ..config(&[server.address]) };
        let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap();
        let cases = [
            ("ttl-0", 5),
            ("ttl-60", 60),
            ("ttl-99999", 1000),
            ("ttl-4294967295", 5), // RFC 2181 §8
            ("two", 700),
            ("soa-300-200", 200),
            ("soa-200-300", 200),
            ("soa-9999-9999", 400),
            ("soa-0-9999", 5),
            ("bare", 30),
        ];
        for (label, expected) in cases {
            assert_eq!(dns.a(&format!("{label}.test"), soon()).await.ttl_s, expected, "{label}");
        }
        let absent = dns.ptr(v4(1), soon()).await;
        assert_eq!((absent.lookup, absent.ttl_s), (Lookup::NoData, 30));
    })
    .unwrap();
}

#[test]
fn negative_ptr_answers_are_kept_at_most_five_minutes() {
    let server = Server::start(|query| query.negative(ResponseCode::NXDomain, Some((86_400, 86_400))));
    run_local(|| async {
        let dns = dns(&[server.address]);
        assert_eq!(dns.ptr(v4(1), soon()).await.ttl_s, 300);
        assert_eq!(dns.a("x.test", soon()).await.ttl_s, 3600);
    })
    .unwrap();
}

#[test]
fn entries_are_asked_for_again_when_stale() {
    let server = Server::start(|query| query.records(1, [a(1)]));
    run_local(|| async {
        let dns = dns(&[server.address]);
        assert_eq!(dns.a("x.test", soon()).await.source, Source::Network);
        assert_eq!(dns.a("x.test", soon()).await.source, Source::Cache);
        sleep(Duration::from_millis(1100)).await;
        assert!(dns.cached_a("x.test").is_none());
        assert_eq!(dns.a("x.test", soon()).await.source, Source::Network);
        assert_eq!(dns.caches().counters().hits, 1);
    })
    .unwrap();
    assert_eq!(server.udp(), 2);
}

#[test]
fn failures_are_remembered_for_longer_and_longer() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = broken.clone();
    let server = Server::start(move |query| match state.load(Ordering::SeqCst) {
        true => query.code(ResponseCode::ServFail),
        false => query.records(60, [a(1)]),
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let first = dns.a("x.test", soon()).await;
        assert_eq!((first.lookup, first.ttl_s, first.source), (Lookup::Failed(Failure::ServFail), 1, Source::Network));
        assert_eq!(dns.a("x.test", soon()).await.source, Source::Cache);
        assert_eq!(server.udp(), 1);
        sleep(Duration::from_millis(1050)).await;
        let second = dns.a("x.test", soon()).await;
        assert_eq!((second.ttl_s, second.source), (2, Source::Network));
        sleep(Duration::from_millis(2050)).await;
        broken.store(false, Ordering::SeqCst);
        assert_eq!(dns.a("x.test", soon()).await.ttl_s, 60);
        assert_eq!(server.udp(), 3);
    })
    .unwrap();
}

#[test]
fn truncated_answers_are_fetched_over_tcp() {
    let server = Server::start(|query| {
        let Act::Answer(mut message) = query.records(60, [txt(&["x".repeat(255).as_str(); 12])]) else {
            unreachable!()
        };
        if !query.tcp {
            assert_eq!(query.message.edns.as_ref().unwrap().max_payload(), 1232);
            message.answers.clear();
            message.metadata.truncation = true;
        } else if query.name.starts_with("still") {
            message.metadata.truncation = true;
        }
        Act::Answer(message)
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let cache: TxtCache<Text> = TxtCache::new(1 << 20);
        let long = dns.txt(&cache, "long.test", soon()).await.lookup.found().unwrap();
        assert_eq!(long.0[0].len(), 255 * 12);
        let still = dns.txt(&cache, "still.test", soon()).await;
        assert_eq!(still.lookup, Lookup::Failed(Failure::TooBig));
        let counters = dns.caches().counters();
        assert_eq!((counters.queries_udp, counters.queries_tcp), (2, 2));
    })
    .unwrap();
    assert_eq!((server.udp(), server.tcp()), (2, 2));
}

#[test]
fn servers_without_edns_are_asked_without() {
    let server = Server::start(|query| match query.message.edns {
        Some(_) => query.code(ResponseCode::FormErr),
        None => query.records(60, [a(1)]),
    });
    run_local(|| async { assert!(dns(&[server.address]).a("x.test", soon()).await.lookup.found().is_some()) }).unwrap();
    assert_eq!(server.udp(), 2);
}

#[test]
fn aliases() {
    let server = Server::start(|query| {
        let add = |records: &[(&str, u32, hickory_proto::rr::RData)]| {
            let mut message = query.empty();
            for (owner, ttl, data) in records {
                message.add_answer(Record::from_rdata(name(owner), *ttl, data.clone()));
            }
            message
        };
        match query.name.as_str() {
            // A resolver's answer: the chain and its end, in any order, letters in any case.
            "whole.test." => Act::Answer(add(&[("B.test.", 50, a(7)), ("whole.test.", 90, cname("b.TEST."))])),
            // An authoritative server's: the rest is ours to ask for.
            "part.test." => Act::Answer(add(&[("part.test.", 40, cname("part2.test."))])),
            "part2.test." => Act::Answer(add(&[("part2.test.", 99, cname("end.test."))])),
            "end.test." => Act::Answer(add(&[("end.test.", 80, a(8))])),
            "to-nothing.test." => {
                let mut message = add(&[("to-nothing.test.", 20, cname("gone.test."))]);
                message.metadata.response_code = ResponseCode::NXDomain;
                message.add_authority(soa_record(600, 600));
                Act::Answer(message)
            }
            "to-no-data.test." => {
                let mut message = add(&[("to-no-data.test.", 600, cname("other.test."))]);
                message.add_authority(soa_record(30, 600));
                Act::Answer(message)
            }
            "part-nx.test." => Act::Answer(add(&[("part-nx.test.", 40, cname("gone.test."))])),
            "gone.test." => query.negative(ResponseCode::NXDomain, Some((60, 60))),
            "loop.test." => Act::Answer(add(&[("loop.test.", 40, cname("loop2.test."))])),
            "loop2.test." => Act::Answer(add(&[("loop2.test.", 40, cname("loop.test."))])),
            "inner-loop.test." => Act::Answer(add(&[
                ("inner-loop.test.", 40, cname("i2.test.")),
                ("i2.test.", 40, cname("inner-loop.test.")),
            ])),
            // c8 needs eight aliases, c9 nine.
            other => match other.strip_prefix('c').and_then(|rest| rest.strip_suffix(".test.")?.parse::<u32>().ok()) {
                Some(0) => query.records(60, [a(9)]),
                Some(left) => Act::Answer(add(&[(other, 60, cname(&format!("c{}.test.", left - 1)))])),
                None => query.code(ResponseCode::ServFail),
            },
        }
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let found = |last| Lookup::Found([std::net::Ipv4Addr::new(192, 0, 2, last)].into());
        let cases = [
            ("whole", found(7), 50),
            ("part", found(8), 40),
            ("to-nothing", Lookup::NxDomain, 20),
            ("to-no-data", Lookup::NoData, 30),
            ("part-nx", Lookup::NxDomain, 40),
            ("loop", Lookup::Failed(Failure::CnameChain), 1),
            ("inner-loop", Lookup::Failed(Failure::CnameChain), 1),
            ("c8", found(9), 60),
            ("c9", Lookup::Failed(Failure::CnameChain), 1),
        ];
        for (label, expected, ttl_s) in cases {
            let answer = dns.a(&format!("{label}.test"), soon()).await;
            assert_eq!((answer.lookup, answer.ttl_s), (expected, ttl_s), "{label}");
        }
    })
    .unwrap();
}

#[test]
fn answers_are_capped() {
    let server = Server::start(|query| match query.record_type {
        _ if !query.tcp => {
            let mut message = query.empty();
            message.metadata.truncation = true;
            Act::Answer(message)
        }
        RecordType::PTR => query.records(60, (0..600).map(|n| ptr(&format!("h{n}.test.")))),
        RecordType::A => query.records(60, (0..600_u16).map(|n| a((n % 250) as u8))),
        _ => query.records(60, (0..600).map(|n| txt(&[&format!("{n}")]))),
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        assert_eq!(dns.ptr(v4(1), soon()).await.lookup.found().unwrap().len(), 64);
        assert_eq!(dns.a("many.test", soon()).await.lookup, Lookup::Failed(Failure::TooBig));
        let cache: TxtCache<Text> = TxtCache::new(1 << 20);
        assert_eq!(dns.txt(&cache, "many.test", soon()).await.lookup, Lookup::Failed(Failure::TooBig));
    })
    .unwrap();
}

/// A port where nobody listens.
fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn another_server_is_asked_when_one_fails() {
    let good = Arc::new(Server::start(|query| query.records(60, [a(1)])));
    let servfail = Server::start(|query| query.code(ResponseCode::ServFail));
    let refused = Server::start(|query| query.code(ResponseCode::Refused));
    let garbage = Server::start(|_| Act::Raw(b"\x81\x80\0\x09".to_vec(), true));
    let silent = Server::start(|_| Act::Drop);
    for (what, bad) in [
        ("servfail", servfail.address),
        ("refused", refused.address),
        ("garbage", garbage.address),
        ("silent", silent.address),
        ("nobody", nobody()),
    ] {
        let good = good.clone();
        run_local(|| async move {
            let dns = dns(&[bad, good.address]);
            let start = Instant::now();
            assert!(dns.a("x.test", soon()).await.lookup.found().is_some(), "{what}");
            if what == "nobody" {
                assert!(start.elapsed() < Duration::from_millis(250), "the kernel tells at once");
            }
        })
        .unwrap();
    }
    // A negative answer is an answer: nobody else is asked.
    let nx = Server::start(|query| query.negative(ResponseCode::NXDomain, Some((60, 60))));
    let before = good.udp();
    run_local(|| async {
        assert_eq!(dns(&[nx.address, good.address]).a("x.test", soon()).await.lookup, Lookup::NxDomain)
    })
    .unwrap();
    assert_eq!(good.udp(), before);
}

#[test]
fn a_server_that_does_not_answer_rests() {
    let silent = Server::start(|_| Act::Drop);
    let good = Server::start(|query| query.records(60, [a(1)]));
    run_local(|| async {
        let dns = dns(&[silent.address, good.address]);
        for n in 0..5 {
            assert!(dns.a(&format!("x{n}.test"), soon()).await.lookup.found().is_some());
        }
    })
    .unwrap();
    assert_eq!((silent.udp(), good.udp()), (1, 5));
}

#[test]
fn attempts_and_lost_datagrams() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let server = Server::start(move |query| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Drop,
        _ => query.records(60, [a(1)]),
    });
    let config = mx6_dns::DnsConfig { attempts: 2, ..config(&[server.address]) };
    run_local(|| async move {
        // Lost once, found in the second attempt.
        let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap();
        assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
        assert_eq!(dns.caches().counters().queries_udp, 2);
        // Lost once, sent again within one query that lasts longer than the wait for that.
        seen.store(0, Ordering::SeqCst);
        let config = mx6_dns::DnsConfig { attempts: 1, query_timeout: Duration::from_secs(3), ..config };
        let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap();
        let start = Instant::now();
        assert!(dns.a("x.test", soon()).await.lookup.found().is_some());
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
        assert_eq!(dns.caches().counters().queries_udp, 1);
    })
    .unwrap();
}

#[test]
fn one_query_for_two_shards_and_four_hundred_tasks() {
    let server = Server::start(|query| {
        let Act::Answer(message) = query.records(60, [txt(&["value"])]) else { unreachable!() };
        Act::Late(Duration::from_millis(200), message)
    });
    let caches = Caches::new(&CacheSizes::default());
    let texts: TxtCache<Text> = TxtCache::new(1 << 20);
    let (shared, config, text_cache) = (caches.clone(), config(&[server.address]), texts.clone());
    let before = TEXT_PARSED.load(Ordering::SeqCst);
    run_shards(&Cores::first(2).unwrap(), move |_| {
        let (caches, config, texts) = (shared.clone(), config.clone(), text_cache.clone());
        async move {
            let dns = Dns::new(&config, caches).unwrap();
            let done = Rc::new(Cell::new(0));
            for _ in 0..200 {
                let (dns, texts, done) = (dns.clone(), texts.clone(), done.clone());
                spawn("asks", async move {
                    let answer = dns.txt(&texts, "merged.test", soon()).await;
                    assert_eq!(answer.lookup.found().unwrap().0, ["value"]);
                    done.set(done.get() + 1);
                });
            }
            let end = soon();
            while done.get() < 200 && !end.has_passed() {
                sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(done.get(), 200);
            // And a later lookup on either shard needs no query.
            assert_eq!(dns.txt(&texts, "merged.test", soon()).await.source, Source::Cache);
        }
    })
    .unwrap();
    assert_eq!(server.udp(), 1);
    assert!(TEXT_PARSED.load(Ordering::SeqCst) - before <= 1 + 4, "parsed once (other tests parse too)");
    let counters = caches.counters();
    assert_eq!((counters.misses, counters.merged, counters.queries_udp), (400, 399, 1));
}

#[test]
fn what_one_shard_has_learnt_the_other_knows() {
    let server = Server::start(|query| query.records(60, [a(1)]));
    let caches = Caches::new(&CacheSizes::default());
    for (turn, source) in [Source::Network, Source::Cache].into_iter().enumerate() {
        let (caches, config) = (caches.clone(), config(&[server.address]));
        run_shards(&Cores::first(1).unwrap(), move |_| {
            let dns = Dns::new(&config, caches.clone()).unwrap();
            async move { assert_eq!(dns.a("x.test", soon()).await.source, source, "turn {turn}") }
        })
        .unwrap();
    }
    assert_eq!(server.udp(), 1);
}

#[test]
fn a_caller_that_leaves_cancels_nothing() {
    let server = Server::start(|query| {
        let Act::Answer(message) = query.records(60, [a(1)]) else { unreachable!() };
        Act::Late(Duration::from_millis(150), message)
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        // One whose deadline passes, one that is dropped after its first poll.
        let early = dns.a("deadline.test", Deadline::after(Duration::from_millis(20))).await;
        assert_eq!((early.lookup, early.ttl_s), (Lookup::Failed(Failure::Timeout), 0));
        assert!(futures_util::FutureExt::now_or_never(dns.a("dropped.test", soon())).is_none());
        let end = soon();
        while dns.cached_a("deadline.test").is_none() || dns.cached_a("dropped.test").is_none() {
            assert!(!end.has_passed());
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(dns.a("dropped.test", soon()).await.source, Source::Cache);
        assert_eq!(dns.caches().counters().gave_up, 1);
        // Nothing is asked for someone who has no time left.
        let late = dns.a("late.test", Deadline::after(Duration::ZERO)).await;
        assert_eq!(late.lookup, Lookup::Failed(Failure::Timeout));
    })
    .unwrap();
    assert_eq!(server.udp(), 2);
}

#[test]
fn caches_are_bound_by_octets() {
    let server = Server::start(|query| match query.record_type {
        RecordType::PTR => {
            query.records(600, (0..8).map(|n| ptr(&format!("a-rather-long-name-{n}.of.some.host.test."))))
        }
        _ => query.records(600, [txt(&[&"x".repeat(250)])]),
    });
    run_local(|| async {
        let sizes = CacheSizes { ptr_octets: 100_000, ..CacheSizes::default() };
        let dns = Dns::new(&config(&[server.address]), Caches::new(&sizes)).unwrap();
        let texts: TxtCache<Text> = TxtCache::new(50_000);
        for n in 0..1500_u32 {
            assert!(dns.ptr(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), soon()).await.lookup.found().is_some());
            assert!(dns.txt(&texts, &format!("t{n}.test"), soon()).await.lookup.found().is_some());
        }
        sleep(Duration::from_millis(400)).await;
        // moka settles its accounts while it is used.
        for _ in 0..200 {
            let _ = dns.cached_ptr(v4(1));
            let _ = dns.cached_txt(&texts, "t0.test");
        }
        let (ptr, text) = (dns.caches().fill().iter().map(|cache| cache.octets).sum::<u64>(), texts.fill("txt").octets);
        println!("PTR cache {ptr} of 100000 octets, TXT cache {text} of 50000");
        assert!(ptr > 50_000 && ptr <= 101_000, "{ptr}");
        assert!(text > 25_000 && text <= 51_000, "{text}");
        assert!(dns.cached_txt(&texts, "t1499.test").is_some(), "the newest are kept");
        assert!(dns.cached_txt(&texts, "t0.test").is_none());
    })
    .unwrap();
}

#[test]
fn ids_and_ports_are_random() {
    use std::collections::HashSet;
    use std::sync::Mutex;
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let seen = ids.clone();
    let server = Server::start(move |query| {
        seen.lock().unwrap().insert(query.message.metadata.id);
        query.records(60, [a(1)])
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        for n in 0..50 {
            dns.a(&format!("n{n}.test"), soon()).await;
        }
    })
    .unwrap();
    let ids = ids.lock().unwrap();
    assert!(ids.len() > 45, "{}", ids.len());
    let spread = ids.iter().max().unwrap() - ids.iter().min().unwrap();
    assert!(spread > 10_000, "{spread}");
}

#[test]
fn descriptors_stay_flat_over_many_queries() {
    let server = Server::start(|query| match query.tcp || !query.name.starts_with("tc") {
        true => query.records(0, [a(1)]),
        false => {
            let mut message = query.empty();
            message.metadata.truncation = true;
            Act::Answer(message)
        }
    });
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    run_local(|| async {
        let dns = dns(&[server.address]);
        let mut sizes = Vec::new();
        for round in 0..3 {
            for n in 0..300 {
                let label = if n % 10 == 0 { "tc" } else { "n" };
                assert!(dns.a(&format!("{label}{round}-{n}.test"), soon()).await.lookup.found().is_some());
            }
            sleep(Duration::from_millis(100)).await;
            sizes.push(descriptors());
        }
        // Other tests run beside this one: only growth by the hundred would be a leak.
        assert!(sizes[2] < sizes[0] + 100, "{sizes:?}");
    })
    .unwrap();
}
