//! Command lines parsed, against smtp-proto on the same lines. Ours are lines without CRLF, which `frame` has taken off; theirs finds it itself.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use mx6_smtp::Command;

use crate::settings;

const LINES: [(&str, &str); 5] = [
    ("EHLO", "EHLO mail-ej1-f52.sender.example"),
    ("MAIL", "MAIL FROM:<bounces+1234567-89ab-bob=open.example@em1234.sender.example> SIZE=52345 BODY=8BITMIME"),
    ("RCPT", "RCPT TO:<bob.the.builder@open.example>"),
    ("DATA", "DATA"),
    ("QUIT", "QUIT"),
];

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    for (name, line) in LINES {
        let wire = format!("{line}\r\n");
        Command::parse(line.as_bytes()).expect("a good line");
        smtp_proto::Request::parse(&mut wire.as_bytes().iter()).expect("a good line");
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}/mx6"), |bencher| {
            bencher.iter(|| Command::parse(black_box(line.as_bytes())).is_ok());
        });
        group.bench_function(format!("{name}/smtp-proto"), |bencher| {
            bencher.iter(|| smtp_proto::Request::parse(&mut black_box(wire.as_bytes()).iter()).is_ok());
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = commands);
