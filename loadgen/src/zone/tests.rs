//! The zone over real sockets, against what the population promises.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RData, RecordType};

use super::{Faults, Zone, sender_domain};
use crate::keys;
use crate::population::tests::population;
use crate::population::{Class, Population, Source};

const NONE: Faults = Faults { delay_ms: 0.0, jitter_ms: 0.0, loss: 0.0, servfail: 0.0, truncate: 0.0 };

fn start(population: &Arc<Population>, faults: Faults) -> Zone {
    Zone::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), population.clone(), faults, 1).unwrap()
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message.to_vec().unwrap()
}

fn over_udp(zone: &Zone, name: &str, kind: RecordType) -> Option<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&question(name, kind), zone.address).unwrap();
    let mut buffer = [0; 4_096];
    let octets = socket.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..octets]).unwrap())
}

fn over_tcp(zone: &Zone, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(zone.address).unwrap();
    let question = question(name, kind);
    stream.write_all(&[&u16::try_from(question.len()).unwrap().to_be_bytes()[..], &question].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

/// Code and records, as text.
fn ask(zone: &Zone, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let mut answer = over_udp(zone, name, kind).unwrap();
    if answer.metadata.truncation {
        answer = over_tcp(zone, name, kind);
    }
    assert!(answer.metadata.authoritative && answer.metadata.message_type == MessageType::Response);
    let is_negative = answer.answers.is_empty() && answer.metadata.response_code != ResponseCode::ServFail;
    let has_soa = answer.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    assert_eq!(has_soa, is_negative, "{name} {kind}: absence comes with an SOA record");
    (answer.metadata.response_code, answer.answers.iter().map(|record| text(&record.data)).collect())
}

fn text(data: &RData) -> String {
    match data {
        RData::TXT(txt) => txt.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect(),
        data => data.to_string(),
    }
}

fn reverse(address: Ipv6Addr) -> String {
    let nibbles = format!("{:032x}", address.to_bits());
    nibbles.chars().rev().flat_map(|nibble| [nibble, '.']).collect::<String>() + "ip6.arpa"
}

/// A few sources of every class: reverse name, its way back, SPF and keys, each as the class has it.
#[test]
fn every_class_is_as_promised() {
    for prefixes in [&["--prefix", "2001:db8::/32"][..], &["--prefix", "2001:db8::/32", "--prefix", "3fff::/20"]] {
        let population = Arc::new(population(&[prefixes, &["--sources", "100000"]].concat()));
        let zone = start(&population, NONE);
        for class in Class::ALL {
            for index in [0, 1, 2, 19, 498, 499] {
                check_source(&zone, &population, Source { class, index });
            }
        }
    }
}

fn check_source(zone: &Zone, population: &Population, source: Source) {
    let address = population.address(source);
    let (code, names) = ask(zone, &reverse(address), RecordType::PTR);
    match source.class {
        Class::NoPtr => assert_eq!(code, ResponseCode::NXDomain, "{source}"),
        Class::TempError if source.index.is_multiple_of(2) => assert_eq!(code, ResponseCode::ServFail, "{source}"),
        _ => {
            assert_eq!((code, names), (ResponseCode::NoError, vec![format!("{source}.")]));
            let (_, addresses) = ask(zone, &source.to_string(), RecordType::AAAA);
            let leads_back = addresses == [address.to_string()];
            assert_eq!(leads_back, source.class != Class::NoFcrdns, "{source}: {addresses:?}");
            assert_eq!(addresses.len(), 1);
            assert_eq!(ask(zone, &source.to_string(), RecordType::TXT), (ResponseCode::NoError, Vec::new()));
        }
    }
    for number in [1, 2, 1_000] {
        let domain = sender_domain(number, source.spf_fails_for_now());
        let (code, record) = spf(zone, &domain);
        if source.spf_fails_for_now() {
            assert_eq!(code, ResponseCode::ServFail, "{domain}");
            continue;
        }
        let passes = !matches!(source.class, Class::DkimRsa | Class::DkimEd25519 | Class::Neither | Class::TempError);
        assert_eq!(spf_passes(&record, address), passes, "{source}: {record}");
    }
}

/// The record, with what it includes.
fn spf(zone: &Zone, domain: &str) -> (ResponseCode, String) {
    let (code, records) = ask(zone, domain, RecordType::TXT);
    let record = records.concat();
    match record.strip_prefix("v=spf1 include:").and_then(|rest| rest.strip_suffix(" -all")) {
        Some(included) => spf(zone, included),
        None => (code, record),
    }
}

/// Whether one of the record's networks has the address.
fn spf_passes(record: &str, address: Ipv6Addr) -> bool {
    let terms = record.strip_prefix("v=spf1 ").and_then(|rest| rest.strip_suffix(" -all")).unwrap_or_default();
    terms.split(' ').any(|term| {
        let (network, length) = term.strip_prefix("ip6:").unwrap().split_once('/').unwrap();
        let (network, length): (Ipv6Addr, u32) = (network.parse().unwrap(), length.parse().unwrap());
        (network.to_bits() ^ address.to_bits()) >> (128 - length) == 0
    })
}

#[test]
fn names_of_domains() {
    use RecordType::{A, AAAA, MX, NS, PTR, SOA, TXT};
    use ResponseCode::{NXDomain, NoError};
    let population = Arc::new(population(&[]));
    let zone = start(&population, NONE);
    let some = |name: &str, kind| {
        let (code, records) = ask(&zone, name, kind);
        assert!(code == NoError && records.len() == 1, "{name} {kind}: {code} {records:?}");
        records.concat()
    };
    assert_eq!(some("rsa._domainkey.d7.example", TXT), keys::RSA_RECORD);
    assert_eq!(some("ed._domainkey.d7.example", TXT), keys::ED25519_RECORD);
    assert_eq!(some("ED._DomainKey.D7.Example", TXT), keys::ED25519_RECORD);
    assert_eq!(some("_dmarc.d7.example", TXT), "v=DMARC1; p=none");
    assert_eq!(some("open.example", MX), "10 mx.open.example.");
    assert_eq!(some("mx.v4only.example", A), "127.0.0.1");
    assert_eq!(some("d1000.example", MX), "10 mx.d1000.example.");
    for apex in ["example", "d7.example", "t7.example", "hosts.example", "open.example", "8.b.d.0.1.0.0.2.ip6.arpa"] {
        assert!(some(apex, SOA).starts_with("ns.example. "), "{apex}");
        assert_eq!(some(apex, NS), "ns.example.", "{apex}");
    }
    for (name, kind, code) in [
        ("d7.example", A, NoError),
        ("_domainkey.d7.example", TXT, NoError),
        ("t7.example", MX, NoError),
        ("spf.hosts.example", AAAA, NoError),
        ("2.ip6.arpa", PTR, NoError),
        ("0.8.b.d.0.1.0.0.2.ip6.arpa", PTR, NoError),
        ("_dmarc.d8.example", TXT, NXDomain),
        ("_dmarc.example", TXT, NXDomain),
        ("other._domainkey.d7.example", TXT, NXDomain),
        ("d0.example", TXT, NXDomain),
        ("d01.example", TXT, NXDomain),
        ("d1001.example", TXT, NXDomain),
        ("x.d7.example", A, NXDomain),
        ("hffffff.spf.hosts.example", AAAA, NXDomain),
        ("mail.google.com", A, NXDomain),
        ("1.0.0.127.in-addr.arpa", PTR, NXDomain),
        (&reverse(Ipv6Addr::LOCALHOST), PTR, NXDomain),
    ] {
        assert_eq!(ask(&zone, name, kind), (code, Vec::new()), "{name} {kind}");
    }
}

/// Truncation makes the question come again over TCP, and there the answer is whole.
#[test]
fn faults() {
    let population = Arc::new(population(&[]));
    let host = Source { class: Class::Spf, index: 1 }.to_string();
    let truncating = start(&population, Faults { truncate: 100.0, ..NONE });
    assert!(over_udp(&truncating, &host, RecordType::AAAA).unwrap().metadata.truncation);
    assert_eq!(ask(&truncating, &host, RecordType::AAAA).1.len(), 1);
    assert!(
        truncating.counters.to_string().ends_with("AAAA 3; 1 over TCP; 2 truncated on purpose"),
        "{}",
        truncating.counters
    );

    let failing = start(&population, Faults { servfail: 100.0, ..NONE });
    assert_eq!(ask(&failing, &host, RecordType::AAAA).0, ResponseCode::ServFail);

    let some = start(&population, Faults { servfail: 50.0, delay_ms: 1.0, jitter_ms: 1.0, ..NONE });
    let failed = (0..200).filter(|_| ask(&some, &host, RecordType::AAAA).0 == ResponseCode::ServFail).count();
    assert!((60..140).contains(&failed), "{failed} of 200");

    // Nothing comes for the lost one; the question over TCP behind it is answered, and both were seen.
    let losing = start(&population, Faults { loss: 100.0, ..NONE });
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.send_to(&question(&host, RecordType::AAAA), losing.address).unwrap();
    while !losing.counters.to_string().contains("1 dropped") {
        std::thread::yield_now();
    }
    assert_eq!(over_tcp(&losing, &host, RecordType::AAAA).answers.len(), 1);
    assert!(socket.recv(&mut [0; 512]).is_err());
}

#[test]
fn numbers_that_cannot_be() {
    let population = Arc::new(population(&[]));
    for faults in
        [Faults { loss: 101.0, ..NONE }, Faults { servfail: -1.0, ..NONE }, Faults { delay_ms: f64::NAN, ..NONE }]
    {
        assert!(Zone::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), population.clone(), faults, 1).is_err());
    }
}
