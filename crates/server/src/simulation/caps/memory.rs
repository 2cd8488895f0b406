//! Y: what a message reserves of its shard's memory at most, and that all of it is given back, by the shard's own counters.

use mx6_delivery::SPILL_ABOVE_OCTETS;
use mx6_runtime::simulation::simulate;
use mx6_smtp::limits::{HEADER_OCTETS_MAX, RECIPIENTS_MAX};
use mx6_telemetry::Counter;

use super::{Gate, RESOLVER, address, connect, discarding, replies, rest, send};
use crate::limits::{MESSAGE_BUFFER_OCTETS, MESSAGE_OVERHEAD_OCTETS};
use crate::simulation::resolver;
use crate::{Config, Options};

/// 2.5 MiB: twice the header section; the body until it spills, with one more buffer and what its last chunk has free; reading and hashing.
const MEMORY_MAX: usize =
    2 * HEADER_OCTETS_MAX + SPILL_ABOVE_OCTETS + 2 * MESSAGE_BUFFER_OCTETS + MESSAGE_OVERHEAD_OCTETS;
const SMALL: usize = MESSAGE_OVERHEAD_OCTETS + MESSAGE_BUFFER_OCTETS;

struct Row {
    what: &'static str,
    recipients: usize,
    /// With its blank line.
    header: String,
    body_mebibytes: usize,
    reply: &'static str,
    /// What it reserves, in octets.
    peak: std::ops::RangeInclusive<usize>,
}

fn config() -> Config {
    Options { size_limit: Some(128 << 20), ..discarding() }.check().unwrap()
}

/// Fields of 64 KiB, and a last one that makes it `octets` with the blank line.
fn header_of(octets: usize) -> String {
    let mut header = String::new();
    let field = |octets: usize| format!("X-Long:{}\r\n", "x".repeat(octets - "X-Long:\r\n".len()));
    while octets - header.len() > 2 * (64 << 10) {
        header += &field(64 << 10);
    }
    header += &field(octets - header.len() - 2);
    header + "\r\n"
}

fn rows() -> Vec<Row> {
    let row = |what, header: &str, peak| {
        let header = header.to_owned();
        Row { what, recipients: 1, header, body_mebibytes: 0, reply: "250 2.0.0 ", peak }
    };
    let names = format!("DKIM-Signature: v=1; h=from{}\r\n", ":a".repeat(60_000));
    let (names, body) = (format!("{names}From: a@pass.test\r\n\r\n"), SPILL_ABOVE_OCTETS + 2 * MESSAGE_BUFFER_OCTETS);
    let whole = header_of(HEADER_OCTETS_MAX);
    vec![
        row("a small message", "A: b\r\n\r\n", MESSAGE_OVERHEAD_OCTETS..=SMALL),
        Row { recipients: 10_000, ..row("10,000 recipients", "A: b\r\n\r\n", MESSAGE_OVERHEAD_OCTETS..=SMALL) },
        row("60,000 names in h=", &names, 2 * names.len()..=2 * names.len() + SMALL),
        Row {
            body_mebibytes: 100,
            ..row("100 MiB", "A: b\r\n\r\n", SPILL_ABOVE_OCTETS..=body + MESSAGE_OVERHEAD_OCTETS)
        },
        Row {
            body_mebibytes: 1,
            ..row("the largest header section", &whole, 2 * HEADER_OCTETS_MAX + SPILL_ABOVE_OCTETS..=MEMORY_MAX)
        },
        Row {
            reply: "552 5.3.4 ",
            ..row("one octet more", &header_of(HEADER_OCTETS_MAX + 1), 2 * HEADER_OCTETS_MAX..=MEMORY_MAX)
        },
    ]
}

#[test]
fn a_message_reserves_what_is_said_and_gives_it_back() {
    assert_eq!(MEMORY_MAX, 5 << 19, "SECURITY.md says 2.5 MiB");
    for row in rows() {
        let (reply, counters) = simulate(4, || async {
            resolver::serve_all(address(RESOLVER));
            let gate = Gate::start(config());
            let mut stream = connect().await;
            send(&mut stream, b"EHLO client.test\r\nMAIL FROM:<a@pass.test>\r\n").await;
            replies(&mut stream, 3).await;
            for number in 0..row.recipients {
                send(&mut stream, format!("RCPT TO:<r{number}@open.test>\r\n").as_bytes()).await;
                replies(&mut stream, 1).await;
            }
            send(&mut stream, b"DATA\r\n").await;
            replies(&mut stream, 1).await;
            send(&mut stream, row.header.as_bytes()).await;
            let mebibyte = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(1 << 14);
            for _ in 0..row.body_mebibytes {
                send(&mut stream, mebibyte.as_bytes()).await;
            }
            send(&mut stream, b".\r\nQUIT\r\n").await;
            (rest(&mut stream).await, gate.end().await)
        });
        let what = row.what;
        assert!(reply.starts_with(row.reply), "{what}: {reply}");
        let peak = counters.value(Counter::MemoryPeak) as usize;
        println!("{what}: {peak} octets reserved");
        assert!(row.peak.contains(&peak), "{what}: {peak} octets reserved, {:?} expected", row.peak);
        assert_eq!(counters.value(Counter::MemoryReserved), counters.value(Counter::MemoryReturned), "{what}");
        assert_eq!(counters.value(Counter::RecipientsAccepted) as usize, row.recipients.min(RECIPIENTS_MAX));
    }
}
