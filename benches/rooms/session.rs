//! A whole SMTP session without a socket: commands parsed, message scanned, replies written.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group};
use mx6_smtp::{Session, SessionConfig, Step, Verdict};

use crate::settings;

fn conversation(body_octets: usize) -> Vec<u8> {
    let mut octets = b"EHLO client.example\r\nMAIL FROM:<alice@sender.example> SIZE=4096 BODY=8BITMIME\r\nRCPT TO:<bob@open.example>\r\nDATA\r\nFrom: alice@sender.example\r\nSubject: bench\r\n\r\n".to_vec();
    let line = b"Sixty-four octets of plain text make up every line of this mail.\r\n";
    octets.extend(line.iter().cycle().take(body_octets / line.len() * line.len()));
    octets.extend_from_slice(b".\r\nQUIT\r\n");
    octets
}

fn drive(config: &Arc<SessionConfig>, input: &[u8]) -> usize {
    let mut session = Session::new(Arc::clone(config), 0);
    let mut rest = input;
    let mut octets = 0;
    loop {
        let (taken, step) = session.step(0, rest);
        rest = &rest[taken..];
        match step {
            Step::Question(question) => {
                black_box(question);
                session.verdict(0, Verdict::Accept);
            }
            Step::Octets(slice) => octets += slice.len(),
            Step::Output => session.output_written(session.output().len()),
            Step::Notice(_) => {}
            Step::NeedInput | Step::Close | Step::StartTls => return octets,
        }
    }
}

fn sessions(criterion: &mut Criterion) {
    let config = Arc::new(SessionConfig::default());
    let mut group = criterion.benchmark_group("session");
    for body_octets in [0, 4 << 10, 50 << 10] {
        let input = conversation(body_octets);
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(format!("{body_octets} octets of body"), |bencher| {
            bencher.iter(|| drive(&config, black_box(&input)));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = sessions);
