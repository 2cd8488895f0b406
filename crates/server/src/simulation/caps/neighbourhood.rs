//! What one client does to a shard's lookups and memory costs itself, and nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::{MX, PTR, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use mx6_runtime::Stream;
use mx6_runtime::simulation::{connect_from, simulate};
use mx6_telemetry::Counter;

use super::super::resolver::{self, serve_answers};
use super::super::{GATE, Gate, RESOLVER, address};
use super::{config, replies, send};
use crate::Config;

/// Mail exchangers without end, whose addresses nobody ever tells.
fn serve_swamp() {
    serve_answers(address(RESOLVER), |name, record_type| {
        let below = |at: usize| Name::from_ascii(format!("h{at}.{name}")).unwrap();
        let text = |text: String| vec![RData::TXT(TXT::new(vec![text]))];
        let data = match record_type {
            RecordType::TXT if name == "good.test." => text("v=spf1 ip6:2001:db8:2::/48 -all".into()),
            RecordType::TXT => text((0..10).fold("v=spf1".into(), |record, at| format!("{record} mx:m{at}.{name}"))),
            RecordType::MX => (0..10).map(|at| RData::MX(MX::new(10, below(at)))).collect(),
            RecordType::PTR => vec![RData::PTR(PTR(Name::from_ascii("host.test.").unwrap()))],
            _ => return None,
        };
        Some((Duration::from_millis(1), data))
    });
}

async fn session(client: &str) -> Stream {
    let client: SocketAddr = address(client);
    let mut stream = connect_from(client, address(GATE)).await.unwrap();
    send(&mut stream, b"EHLO client.test\r\n").await;
    replies(&mut stream, 2).await;
    stream
}

const MESSAGE: &str = "RCPT TO:<b@open.test>\r\nDATA\r\n";

#[test]
fn lookups_that_nobody_answers() {
    let (reply, accepted) = simulate(1, || async {
        serve_swamp();
        let gate = Gate::start(config());
        let mut greedy = session("[2001:db8:1::1]:1024").await;
        for number in 0..900 {
            send(&mut greedy, format!("MAIL FROM:<a@d{number}.swamp.test>\r\nRSET\r\n").as_bytes()).await;
            assert!(replies(&mut greedy, 2).await.starts_with("250 2.1.0"));
        }
        mx6_runtime::sleep(Duration::from_millis(100)).await;
        let mut other = session("[2001:db8:2::1]:1024").await;
        send(&mut other, format!("MAIL FROM:<a@good.test>\r\n{MESSAGE}Subject: x\r\n\r\n.\r\n").as_bytes()).await;
        let reply = replies(&mut other, 4).await;
        drop((greedy, other));
        (reply, gate.end().await.value(Counter::MessagesAccepted))
    });
    assert!(accepted == 1, "{reply}");
}

#[test]
fn messages_that_never_end() {
    let told = simulate(1, || async {
        resolver::serve_all(address(RESOLVER));
        let gate = Gate::start(Config { memory_octets: 64 << 20, ..config() });
        let mut held = Vec::new();
        let mut told = Vec::new();
        for number in 0..400 {
            let mut greedy = session(&format!("[2001:db8:1::{number:x}]:1024")).await;
            send(&mut greedy, format!("MAIL FROM:<a@pass.test>\r\n{MESSAGE}").as_bytes()).await;
            let reply = replies(&mut greedy, 3).await;
            told.push(reply.contains("354 "));
            held.push(greedy);
        }
        let taken = told.iter().filter(|taken| **taken).count();
        let mut other = session("[2001:db8:2::1]:1024").await;
        send(&mut other, format!("MAIL FROM:<a@pass.test>\r\n{MESSAGE}").as_bytes()).await;
        let reply = replies(&mut other, 3).await;
        drop((held, other));
        gate.end().await;
        (taken, reply)
    });
    // A quarter of 64 MiB, at 128 KiB a message that has not begun.
    assert_eq!(told.0, 128);
    assert!(told.1.contains("354 "), "{}", told.1);
}
