//! Canonicalizing and hashing bodies: one message alone, and several advanced together through the batching door.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use mx6_dkim::kernels::KernelChoice;
use mx6_dkim::{Header, Kernels, Verification};

use crate::settings;

const HEADER: &[u8] = b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=sender.example; s=s; h=from;\r\n\
\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\nFrom: alice@sender.example\r\n\r\n";

fn bodies(criterion: &mut Criterion) {
    let line = b"Sixty-four octets of plain text  make up every line of this mail.\r\n";
    let kernels = Kernels::select(KernelChoice::Auto).map_or(Kernels::PORTABLE, |selection| selection.kernels);
    let mut group = criterion.benchmark_group("relaxed body hash");
    for (count, octets) in [(1, 4 << 10), (1, 50 << 10), (8, 10 << 10), (16, 10 << 10)] {
        let body: Vec<u8> = line.iter().copied().cycle().take(octets).collect();
        group.throughput(Throughput::Bytes((count * octets) as u64));
        group.bench_function(format!("{count} of {octets} octets"), |bencher| {
            let header = Header::parse(HEADER);
            assert_eq!(Verification::new(&header, 0).body_hashes().len(), 1, "there is something to hash");
            bencher.iter(|| {
                let mut messages: Vec<Verification> = (0..count).map(|_| Verification::new(&header, 0)).collect();
                for message in &mut messages {
                    message.body(black_box(&body));
                    message.end_of_body();
                }
                let mut lanes: Vec<_> = messages.iter_mut().flat_map(|message| message.body_hashes()).collect();
                kernels.compress(&mut lanes);
                drop(lanes);
                messages
            });
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = bodies);
