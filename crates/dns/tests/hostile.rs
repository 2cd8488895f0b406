//! Answers that no honest resolver gives: each ends as a failure or as what can be believed of it, in time, and nothing else is learnt.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use mx6_dns::{Failure, Lookup, TxtCache};
use mx6_runtime::run_local;
use support::*;

type Script = fn(&Query) -> Act;

fn truncated(query: &Query) -> Act {
    let mut message = query.empty();
    message.metadata.truncation = true;
    Act::Answer(message)
}

fn found(last: u8) -> Lookup<std::sync::Arc<[Ipv4Addr]>> {
    Lookup::Found([Ipv4Addr::new(192, 0, 2, last)].into())
}

fn message(act: Act) -> Message {
    let Act::Answer(message) = act else { unreachable!() };
    message
}

/// The script's own server answers a question for A records.
fn check(rows: &[(&str, Script, Lookup<std::sync::Arc<[Ipv4Addr]>>)]) {
    for (what, script, expected) in rows {
        let server = Server::start(*script);
        run_local(|| async {
            let answer = dns(&[server.address]).a("x.test", soon()).await;
            assert_eq!(answer.lookup, *expected, "{what}");
        })
        .unwrap();
    }
}

#[test]
fn cut_answers() {
    let rows: &[(&str, Script, _)] = &[
        ("cut, then whole over TCP", |q| if q.tcp { q.records(60, [a(1)]) } else { truncated(q) }, found(1)),
        ("cut, with records in it", cut_with_records, found(2)),
        ("cut over TCP too", truncated, Lookup::Failed(Failure::TooBig)),
        ("silent over TCP", |q| if q.tcp { Act::Drop } else { truncated(q) }, Lookup::Failed(Failure::Timeout)),
        ("half a message", half_a_message, Lookup::Failed(Failure::Timeout)),
        ("a length and no more", |q| part(q, &[0x40, 0]), Lookup::Failed(Failure::Timeout)),
        ("half a length", |q| part(q, &[0]), Lookup::Failed(Failure::Timeout)),
    ];
    check(rows);
    let server = Server::without_tcp(truncated);
    run_local(|| async {
        let refused = dns(&[server.address]).a("x.test", soon()).await;
        assert_eq!(refused.lookup, Lookup::Failed(Failure::Unreachable), "nobody listens for TCP");
    })
    .unwrap();
}

fn part(query: &Query, octets: &[u8]) -> Act {
    if query.tcp { Act::Part(octets.to_vec()) } else { truncated(query) }
}

fn half_a_message(query: &Query) -> Act {
    let whole = message(query.records(60, [a(1)])).to_vec().unwrap();
    let length = u16::try_from(whole.len()).unwrap().to_be_bytes();
    part(query, &[length.as_slice(), &whole[..whole.len() / 2]].concat())
}

/// What came before the cut is no answer.
fn cut_with_records(query: &Query) -> Act {
    let last = if query.tcp { 2 } else { 1 };
    let mut message = message(query.records(60, [a(last)]));
    message.metadata.truncation = !query.tcp;
    Act::Answer(message)
}

#[test]
fn octets_that_are_no_answer() {
    const MALFORMED: Lookup<std::sync::Arc<[Ipv4Addr]>> = Lookup::Failed(Failure::Malformed);
    let rows: &[(&str, Script, _)] = &[
        // Without an id it cannot be told from a stray datagram.
        ("nothing at all", |_| Act::Raw(Vec::new(), false), Lookup::Failed(Failure::Timeout)),
        ("an id", |_| Act::Raw(Vec::new(), true), MALFORMED),
        (
            "a header without a question",
            |_| Act::Raw(vec![0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0], true),
            Lookup::Failed(Failure::Timeout),
        ),
        ("a name that points to itself", |_| Act::Raw(pointers(&[0xc0, 12]), true), MALFORMED),
        ("names that point to each other", |_| Act::Raw(pointers(&[0xc0, 14, 0xc0, 12]), true), MALFORMED),
        ("a name that points ahead", |_| Act::Raw(pointers(&[0xc0, 40]), true), MALFORMED),
        ("a label of 64 octets", |_| Act::Raw(pointers(&[64; 70]), true), MALFORMED),
        ("an answer that is announced and missing", announced, MALFORMED),
    ];
    check(rows);
}

/// A message with one question, whose name these octets are.
fn pointers(name: &[u8]) -> Vec<u8> {
    [&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat()
}

fn announced(query: &Query) -> Act {
    let mut octets = message(query.records(60, [a(1)])).to_vec().unwrap();
    octets[7] = 200;
    Act::Raw(octets[2..].to_vec(), true)
}

#[test]
fn answers_of_somebody_else() {
    let rows: &[(&str, Script, _)] = &[
        ("from another port", |q| Act::Elsewhere(message(q.records(60, [a(66)]))), Lookup::Failed(Failure::Timeout)),
        ("to another question", other_question, Lookup::Failed(Failure::Timeout)),
        ("with another id, then the true one", other_ids, found(1)),
        ("a query in place of an answer", a_query, Lookup::Failed(Failure::Malformed)),
    ];
    check(rows);
}

fn other_question(query: &Query) -> Act {
    let mut message = message(query.records(60, [a(66)]));
    message.queries[0].name = name("y.test.");
    Act::Answer(message)
}

fn other_ids(query: &Query) -> Act {
    let forged = (1..=50).map(|change| {
        let mut message = message(query.records(60, [a(66)]));
        message.metadata.id = message.metadata.id.wrapping_add(change);
        message.to_vec().unwrap()
    });
    Act::After(forged.collect(), message(query.records(60, [a(1)])))
}

fn a_query(query: &Query) -> Act {
    let mut octets = message(query.records(60, [a(66)])).to_vec().unwrap();
    octets[2] &= 0x7f;
    Act::Raw(octets[2..].to_vec(), true)
}

/// RFC 2136, RFC 6891 and unassigned ones: only NOERROR and NXDOMAIN say anything of a name.
#[test]
fn codes() {
    for code in (1..=23).filter(|code| *code != 3) {
        let server = Server::start(move |query| {
            let mut message = message(query.records(60, [a(1)]));
            message.metadata.response_code = ResponseCode::from(code >> 4, code & 15);
            if code > 15 {
                // The upper bits stand in the OPT record (RFC 6891 §6.1.3).
                message.edns = Some(hickory_proto::op::Edns::new());
            }
            Act::Answer(message)
        });
        run_local(|| async {
            let answer = dns(&[server.address]).a("x.test", soon()).await;
            let expected = if code == 5 { Failure::Refused } else { Failure::ServFail };
            assert_eq!(answer.lookup, Lookup::Failed(expected), "RCODE {code}");
        })
        .unwrap();
    }
}

#[test]
fn aliases_without_end() {
    fn chain(query: &Query, links: usize) -> Act {
        let mut message = query.empty();
        for link in 0..links {
            let owner = if link == 0 { query.name.clone() } else { format!("l{link}.test.") };
            message.add_answer(Record::from_rdata(name(&owner), 60, cname(&format!("l{}.test.", link + 1))));
        }
        message.add_answer(Record::from_rdata(name(&format!("l{links}.test.")), 60, a(1)));
        Act::Answer(message)
    }
    let rows: &[(&str, Script, _)] = &[
        ("to itself", |q| q.records(60, [cname("x.test.")]), Lookup::Failed(Failure::CnameChain)),
        (
            "to each other",
            |q| q.records(60, [cname(if q.name == "x.test." { "y.test." } else { "x.test." })]),
            Lookup::Failed(Failure::CnameChain),
        ),
        ("eight in one answer", |q| chain(q, 8), found(1)),
        ("nine in one answer", |q| chain(q, 9), Lookup::Failed(Failure::CnameChain)),
        ("twenty in one answer", |q| chain(q, 20), Lookup::Failed(Failure::CnameChain)),
        ("always one more", |q| q.records(60, [cname(&format!("a.{}", q.name))]), Lookup::Failed(Failure::CnameChain)),
    ];
    check(rows);
}

/// RFC 2317: a zone of addresses handed on by aliases.
#[test]
fn reverse_names_behind_an_alias() {
    let server = Server::start(|query| {
        let mut message = query.empty();
        message.add_answer(Record::from_rdata(name(&query.name), 60, cname("7.0-127.2.0.192.in-addr.arpa.")));
        message.add_answer(Record::from_rdata(name("7.0-127.2.0.192.in-addr.arpa."), 60, ptr("mail.test.")));
        Act::Answer(message)
    });
    run_local(|| async {
        let names = dns(&[server.address]).ptr(v4(7), soon()).await.lookup.found().unwrap();
        assert_eq!(*names, ["mail.test".into()]);
    })
    .unwrap();
}

#[test]
fn names_of_any_octets() {
    let long: [&[u8]; 4] = [&[b'a'; 63], &[b'b'; 63], &[0; 63], &[b'\n'; 61]];
    let rows: [(&[&[u8]], String); 5] = [
        (&[b"mail\r\n250 ok", b"test"], "mail\\013\\010250\\032ok.test".into()),
        (&[b"nul\0nul", b"test"], "nul\\000nul.test".into()),
        (&[b"a.b", b"test"], "a\\046b.test".into()),
        (&[b"(x);\"y\\", b"test"], "\\040x\\041\\059\\034y\\092.test".into()),
        (&long, format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "\\000".repeat(63), "\\010".repeat(61))),
    ];
    for (labels, expected) in rows {
        let labels: Vec<Vec<u8>> = labels.iter().map(|label| label.to_vec()).collect();
        let server = Server::start(move |query| {
            let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
            query.records(60, [ptr_labels(&labels)])
        });
        run_local(|| async {
            let names = dns(&[server.address]).ptr(v4(7), soon()).await.lookup.found().unwrap();
            assert_eq!(*names, [expected.as_str().into()]);
            assert!(names[0].bytes().all(|octet| octet.is_ascii_graphic()));
        })
        .unwrap();
    }
}

#[test]
fn a_hundred_names_of_one_address() {
    let server = Server::start(|query| match query.tcp {
        true => query.records(60, (0..100).map(|n| ptr(&format!("h{n}.test.")))),
        false => truncated(query),
    });
    run_local(|| async {
        let names = dns(&[server.address]).ptr(v4(7), soon()).await.lookup.found().unwrap();
        assert_eq!((names.len(), &*names[63]), (64, "h63.test"), "the first, in their order");
    })
    .unwrap();
}

/// A message over TCP has 65,535 octets at most, and so has what is kept of it.
#[test]
fn texts_of_64_kib() {
    let server = Server::start(|query| {
        let strings = |count| -> RData { txt(&vec!["x".repeat(255).as_str(); count]) };
        match query.name.split('.').next().unwrap() {
            _ if !query.tcp => truncated(query),
            "one" => query.records(60, [strings(255)]),
            "many" => query.records(60, (0..500).map(|n| txt(&[&format!("{n:0>110}")]))),
            _ => query.records(60, (0..1000).map(|n| txt(&[&format!("{n:0>40}")]))),
        }
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let cache: TxtCache<Text> = TxtCache::new(1 << 20);
        let one = dns.txt(&cache, "one.test", soon()).await.lookup.found().unwrap();
        assert_eq!((one.0.len(), one.0[0].len()), (1, 65_025));
        let many = dns.txt(&cache, "many.test", soon()).await.lookup.found().unwrap();
        assert_eq!((many.0.len(), many.0[499].len()), (500, 110));
        let thousand = dns.txt(&cache, "thousand.test", soon()).await;
        assert_eq!(thousand.lookup, Lookup::Failed(Failure::TooBig));
    })
    .unwrap();
}

/// A datagram larger than what we said we take (1,232 octets): it is read if it fits hickory's buffer, and is no answer otherwise.
#[test]
fn datagrams_above_what_was_offered() {
    for strings in [6, 16, 200] {
        let server = Server::start(move |query| query.records(60, [txt(&vec!["x".repeat(255).as_str(); strings])]));
        run_local(|| async {
            let cache: TxtCache<Text> = TxtCache::new(1 << 20);
            let lookup = dns(&[server.address]).txt(&cache, "x.test", soon()).await.lookup;
            println!(
                "{strings} strings: {}",
                match &lookup {
                    Lookup::Found(text) => format!("{} octets", text.0[0].len()),
                    other => format!("{other:?}"),
                }
            );
            match lookup {
                Lookup::Found(text) => assert_eq!(text.0[0].len(), strings * 255, "whole or not at all"),
                other => assert!(matches!(other, Lookup::Failed(Failure::Malformed | Failure::Timeout)), "{other:?}"),
            }
        })
        .unwrap();
    }
}

/// What an answer holds besides what was asked for is not believed, whichever section it stands in.
#[test]
fn nothing_is_learnt_of_other_names() {
    let server = Server::start(|query| {
        let victim = || Record::from_rdata(name("victim.test."), 600, a(66));
        let mut message = message(query.records(60, [a(1)]));
        message.add_answer(victim());
        message.add_authority(victim());
        message.add_additional(victim());
        Act::Answer(message)
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        assert_eq!(dns.a("x.test", soon()).await.lookup, found(1));
        assert!(dns.cached_a("victim.test").is_none());
    })
    .unwrap();
}

/// A hostile answer is paid for once: the failure is remembered.
#[test]
fn failures_of_this_kind_are_remembered() {
    let server = Server::start(truncated);
    run_local(|| async {
        let dns = dns(&[server.address]);
        for _ in 0..5 {
            assert_eq!(dns.a("x.test", soon()).await.lookup, Lookup::Failed(Failure::TooBig));
        }
    })
    .unwrap();
    assert_eq!((server.udp(), server.tcp()), (1, 1));
    assert_eq!(server.log(), [("x.test.".to_owned(), RecordType::A)]);
}
