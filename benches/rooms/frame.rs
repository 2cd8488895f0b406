//! The octets of a message between DATA and CRLF.CRLF: the end found, dot-stuffing undone, bare CR and LF seen; against smtp-proto on the same
//! octets. `frame` is private to `mx6-smtp`, so ours goes through its door, a session in the middle of a message. Both are told what they
//! find the way they do it: ours lends slices of its input, theirs copies into a vector and looks for no bare CR or LF.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use mx6_smtp::{Session, SessionConfig, Step, Verdict};
use smtp_proto::request::receiver::DataReceiver;

use crate::settings;

const COMMANDS: &[u8] = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";

/// A session that has said 354.
fn session() -> Session {
    let mut session = Session::new(Arc::new(SessionConfig::default()), 0);
    assert_eq!(turn(&mut session, COMMANDS), 0);
    assert!(session.receiving_message());
    session
}

/// Hands over input that ends with a line; how many octets of a message there were.
fn turn(session: &mut Session, mut input: &[u8]) -> usize {
    let mut octets = 0;
    loop {
        let (taken, step) = session.step(0, input);
        input = &input[taken..];
        match step {
            Step::Question(_) => session.verdict(0, Verdict::Accept),
            Step::Octets(slice) => octets += black_box(slice).len(),
            Step::Output => session.output_written(session.output().len()),
            Step::Notice(_) => {}
            Step::NeedInput | Step::Close | Step::StartTls => return octets,
        }
    }
}

/// Messages of about 50 KB as they stand on the wire.
fn messages() -> [(&'static str, Vec<u8>); 3] {
    let header = "From: alice@sender.example\r\nSubject: bench\r\n\r\n";
    let wire = |line: &str| format!("{header}{}.\r\n", line.repeat(50_000 / line.len())).into_bytes();
    let base64 = "VGhpcyBpcyBhIGxpbmUgb2YgYmFzZTY0IGFzIGl0IHN0YW5kcyBpbiBhdHRhY2htZW50cywgb2Y=\r\n";
    [("lines of 78", wire(base64)), ("lines of 20", wire("eighteen octets ok\r\n")), ("stuffed dots", wire("..\r\n"))]
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, wire) in messages() {
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(format!("{name}/mx6"), |bencher| {
            bencher.iter_batched_ref(session, |session| turn(session, black_box(&wire)), BatchSize::SmallInput);
        });
        group.bench_function(format!("{name}/smtp-proto"), |bencher| {
            let receive = |message: &mut Vec<u8>| DataReceiver::new().ingest(&mut black_box(&wire).iter(), message);
            bencher.iter_batched_ref(|| Vec::with_capacity(wire.len()), receive, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = frames);
