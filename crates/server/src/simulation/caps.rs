//! What one session can cost at most, counted in the simulated world: DNS queries, recipients, octets taken, and time.

mod memory;
mod neighbourhood;
mod slow;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::rr::rdata::{AAAA, MX, PTR, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use mx6_message_auth::limits::{DKIM_KEYS_MAX, DMARC_NAMES_MAX, SPF_QUERIES_MAX};
use mx6_runtime::Stream;
use mx6_runtime::simulation::{connect_from, simulate};
use mx6_smtp::limits::RECIPIENTS_MAX;
use mx6_telemetry::Counter;

use super::resolver::serve_answers;
use super::{GATE, Gate, RESOLVER, address, options};
use crate::{Config, Options};

/// A gate that takes mail for open.test and throws it away.
fn discarding() -> Options {
    Options { deliver: vec!["discard:".into()], size_limit: Some(1 << 20), ..options(None) }
}

pub(super) fn config() -> Config {
    discarding().check().unwrap()
}

async fn connect() -> Stream {
    let local: SocketAddr = "[2001:db8:1::1]:1024".parse().unwrap();
    connect_from(local, address(GATE)).await.unwrap()
}

/// Writes all; a gate that has closed is not written to.
async fn send(stream: &mut Stream, octets: &[u8]) -> bool {
    stream.write_all(octets).await.is_ok()
}

/// Everything that comes until the connection ends.
async fn rest(stream: &mut Stream) -> String {
    String::from_utf8(rest_octets(stream).await).unwrap()
}

async fn rest_octets(stream: &mut Stream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(octets @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..octets]);
    }
    all
}

/// Reads as many replies; fewer if the connection ends.
pub(super) async fn replies(stream: &mut Stream, count: usize) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    let is_last_line = |line: &&str| line.ends_with('\n') && line.as_bytes()[3] == b' ';
    while text.split_inclusive('\n').filter(is_last_line).count() < count {
        match stream.read(&mut buffer).await {
            Ok(octets @ 1..) => text.push_str(std::str::from_utf8(&buffer[..octets]).unwrap()),
            _ => break,
        }
    }
    text
}

const ENVELOPE: &str = "EHLO client.test\r\nMAIL FROM:<a@evil.test>\r\nRCPT TO:<b@open.test>\r\nDATA\r\n";
/// The greeting, and those to [`ENVELOPE`].
const ENVELOPE_REPLIES: usize = 5;

/// A zone that answers every question with as much work as it can; with this SPF record for the sender.
fn hostile(record: &str, name: &str, record_type: RecordType) -> Vec<RData> {
    let text = |text: String| vec![RData::TXT(TXT::new(vec![text]))];
    let all = |make: fn(Name) -> RData, host: &str| {
        (0..10).map(|at| make(Name::from_ascii(format!("{host}{at}.{name}")).unwrap())).collect()
    };
    match record_type {
        RecordType::TXT if name == "evil.test." => text(record.into()),
        RecordType::TXT if name == SLOW => text(mail_exchangers("v=spf1", "n", 9)),
        RecordType::MX => all(|host| RData::MX(MX::new(10, host)), "h"),
        RecordType::AAAA => vec![RData::AAAA(AAAA("2001:db8:ffff::1".parse().unwrap()))],
        RecordType::PTR => {
            (0..30).map(|at| RData::PTR(PTR(Name::from_ascii(format!("p{at}.test.")).unwrap()))).collect()
        }
        _ => Vec::new(),
    }
}

/// Answers late: what comes behind it in a record is asked ahead of time.
const SLOW: &str = "slow.test.";

/// An SPF record with so many further terms, each of which asks eleven questions.
fn mail_exchangers(record: &str, name: &str, count: usize) -> String {
    (0..count).fold(record.into(), |record, at| format!("{record} mx:{name}{at}.test")) + " -all"
}

/// Z: reverse DNS 1 + 10, SPF, DKIM keys, DMARC and whether the author's domain exists.
const QUERIES_MAX: usize = 11 + SPF_QUERIES_MAX + DKIM_KEYS_MAX + DMARC_NAMES_MAX + 1;

#[test]
fn dns_queries_of_a_message() {
    dns_queries(mail_exchangers("v=spf1", "m", 10));
    dns_queries(mail_exchangers("v=spf1 include:slow.test", "m", 9));
}

fn dns_queries(record: String) {
    let asked = simulate(1, || async {
        let asked: Rc<RefCell<HashMap<(String, RecordType), usize>>> = Rc::default();
        let log = Rc::clone(&asked);
        serve_answers(address(RESOLVER), move |name, record_type| {
            *log.borrow_mut().entry((name.to_owned(), record_type)).or_default() += 1;
            let delay = Duration::from_millis(if name == SLOW { 600 } else { 1 });
            Some((delay, hostile(&record, name, record_type)))
        });
        let gate = Gate::start(config());
        let mut stream = connect().await;
        send(&mut stream, ENVELOPE.as_bytes()).await;
        replies(&mut stream, ENVELOPE_REPLIES).await;
        for number in 0..500 {
            let signature = format!(
                "DKIM-Signature: v=1; a=rsa-sha256; d=d{number}.test; s=s; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
            );
            send(&mut stream, signature.as_bytes()).await;
        }
        send(&mut stream, b"From: x@a.b.c.d.e.f.g.h.i.j.k.l.evil.test\r\n\r\n.\r\nQUIT\r\n").await;
        let replies = rest(&mut stream).await;
        // A verdict, and no temporary failure: what was asked ahead of time leaves enough for the rest.
        assert!(replies.starts_with("450 4.7.26 "), "{replies}");
        gate.end().await;
        asked.take()
    });
    let keys = asked.keys().filter(|(name, _)| name.contains("._domainkey.")).count();
    println!("{} names asked, {keys} of them keys", asked.len());
    assert!(asked.values().all(|times| *times == 1), "asked twice: {asked:?}");
    assert!(keys <= DKIM_KEYS_MAX && asked.len() <= QUERIES_MAX, "{} names asked", asked.len());
    assert!(asked.len() > 120, "this zone is not hostile: {}", asked.len());
}

#[test]
fn ten_thousand_recipients_and_a_hundred_megabytes() {
    let (accepted, octets) = simulate(3, || async {
        super::resolver::serve_all(address(RESOLVER));
        let gate = Gate::start(config());
        let mut stream = connect().await;
        send(&mut stream, b"EHLO client.test\r\nMAIL FROM:<a@evil.test>\r\n").await;
        replies(&mut stream, 3).await;
        for number in 0..10_000 {
            send(&mut stream, format!("RCPT TO:<r{number}@open.test>\r\n").as_bytes()).await;
            let reply = replies(&mut stream, 1).await;
            let expected = if number < RECIPIENTS_MAX { "250 " } else { "452 4.5.3 " };
            assert!(reply.starts_with(expected), "{number}: {reply}");
        }
        send(&mut stream, b"DATA\r\n").await;
        replies(&mut stream, 1).await;
        let megabyte = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(1 << 14);
        for _ in 0..100 {
            send(&mut stream, megabyte.as_bytes()).await;
        }
        send(&mut stream, b"\r\n.\r\nQUIT\r\n").await;
        let replies = rest(&mut stream).await;
        assert!(replies.starts_with("552 5.3.4 "), "{replies}");
        let counters = gate.end().await;
        (counters.value(Counter::RecipientsAccepted), counters.value(Counter::MessageOctets))
    });
    assert_eq!(accepted, RECIPIENTS_MAX as u64);
    assert!(octets <= 1 << 20, "{octets} octets were taken");
}
