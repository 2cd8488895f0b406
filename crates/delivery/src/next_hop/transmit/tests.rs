//! The last write of a message against a next hop that reads nothing, over real sockets.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mx6_runtime::run_local;

use super::super::connection::Slot;
use super::super::opening::{Endpoint, Opening, Protocol};
use super::*;
use crate::Body;

/// What the next hop does while the last write waits. It keeps the connection open if it gives it back.
type Then = fn(TcpStream) -> Option<TcpStream>;

const SILENT: Then = Some;
const RESETS: Then = |_| None;
const REFUSES: Then = |stream| say(stream, "552 5.3.4 too large\r\n");
const CLOSES: Then = |stream| say(stream, "421 4.3.2 going down\r\n");
const ACCEPTS: Then = |stream| say(stream, "250 2.0.0 queued\r\n");

#[test]
fn only_a_last_write_of_which_nothing_was_taken_is_no_terminator() {
    let (small, large) = (10, 32 << 20);
    // Whether the socket is full before the write, the octets of the write.
    let cases: [(&str, bool, usize, Then, &str, Stage); 8] = [
        ("full, and stays so", true, small, SILENT, "dead: timed out", Stage::Body),
        ("full, then reset", true, small, RESETS, "dead: connection reset", Stage::Body),
        ("full, then a refusal", true, small, REFUSES, "refused: 552 5.3.4 too large", Stage::Body),
        ("full, then 421", true, small, CLOSES, "dead: 421", Stage::Body),
        ("full, then it claims to have it", true, small, ACCEPTS, "unknown: unexpected reply code", Stage::Body),
        ("a part goes out", false, large, SILENT, "unknown: timed out", Stage::EndOfData),
        ("a part goes out, then reset", false, large, RESETS, "unknown: connection reset", Stage::EndOfData),
        ("a part goes out, then 421", false, large, CLOSES, "refused: 421 4.3.2 going down", Stage::EndOfData),
    ];
    for (name, is_full, octets, then, expected, expected_stage) in cases {
        // Where the next hop does something, it must have had the time for it on a busy machine.
        let patience = Duration::from_millis(if expected.ends_with("timed out") { 500 } else { 2_000 });
        assert_eq!(last_write(is_full, octets, then, patience), (expected.to_owned(), expected_stage), "{name}");
    }
}

fn last_write(is_full: bool, octets: usize, then: Then, patience: Duration) -> (String, Stage) {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let (begin, begun) = channel();
    let hop = std::thread::spawn(move || play(&listener, then, &begun));
    let result = run_local(async move || {
        let config = DeliveryConfig { block_timeout: patience, ..DeliveryConfig::new("mx.example") };
        let until = Deadline::after(Duration::from_secs(20));
        let slot = Slot::take(&Rc::new(Cell::new(0)), 1).unwrap();
        let mut stage = Stage::default();
        let opening = Opening { config: &config, protocol: Protocol::Smtp, origin: None };
        let mut connection = opening.connect(&Endpoint::Tcp(addr), slot, until, &mut stage).await.unwrap();
        if is_full {
            fill(&mut connection).await;
        }
        begin.send(()).unwrap();
        // With an empty body all of it is one write.
        let body = Body::new(Path::new("/nowhere"));
        let message = Message { added: vec![b'x'; octets], header: Vec::new(), leave_out: Vec::new(), body };
        let mut transmission =
            Transmission { connection: &mut connection, config: &config, until, stage: &mut stage, has_begun: false };
        let sent = transmission.message(&message).await.unwrap_err();
        drop(begin);
        (told(sent), stage)
    })
    .unwrap();
    hop.join().unwrap();
    result
}

/// Greeting and EHLO; 100 ms after word that the last write begins, what is to be done then; holds out to the end.
fn play(listener: &TcpListener, then: Then, begun: &Receiver<()>) {
    let mut stream = listener.accept().unwrap().0;
    stream.write_all(b"220 hop.example\r\n").unwrap();
    BufReader::new(&stream).read_line(&mut String::new()).unwrap();
    stream.write_all(b"250 hop.example\r\n").unwrap();
    begun.recv().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let _stream = then(stream);
    assert!(begun.recv().is_err());
}

fn say(mut stream: TcpStream, reply: &str) -> Option<TcpStream> {
    stream.write_all(reply.as_bytes()).unwrap();
    Some(stream)
}

/// Writes until the kernel takes nothing any more.
async fn fill(connection: &mut Connection) {
    let mut refused = 0;
    while refused < 3 {
        let mut taken = 0;
        let until = Deadline::after(Duration::from_millis(50));
        let _ = connection.send_counted(&[&[b'x'; 64 << 10]], until, &mut taken).await;
        refused = if taken == 0 { refused + 1 } else { 0 };
    }
}

fn told(sent: Sent) -> String {
    match sent {
        Sent::Dead(fault) => format!("dead: {}", fault.reason()),
        Sent::Unknown(fault) => format!("unknown: {}", fault.reason()),
        Sent::Refused(reply) => format!("refused: {reply}"),
        sent => format!("{sent:?}"),
    }
}
