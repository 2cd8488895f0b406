//! SHA-256 of batches by each kernel that this CPU has, against aws-lc-rs, one body after the other.

use std::hint::black_box;

use aws_lc_rs::digest::{SHA256, digest};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use mx6_dkim::kernels::{Block, INITIAL_STATE, KernelName, Kernels, Sha256Job};

use crate::settings;

/// Every way to hash here, with its name.
fn kernels() -> Vec<(String, Kernels)> {
    let names = KernelName::ALL.map(KernelName::as_str);
    let choices = ["portable", "auto"].into_iter().chain(names);
    let select = |choice: &str| Some((choice.to_owned(), Kernels::select(choice.parse().ok()?).ok()?.kernels));
    let hashes = |choice: &&str| !choice.starts_with("rsa-");
    choices.filter(hashes).filter_map(select).collect()
}

/// Lengths of `count` bodies: all of 10 KiB, or 1 to 64 KiB with as many between 1 and 2 as between 32 and 64, longest first.
fn lengths(count: usize, ragged: bool) -> Vec<usize> {
    let mut word = 12345_u64;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        (word % 6000) as f64 / 1000.0
    };
    let mut lengths: Vec<usize> =
        (0..count).map(|_| if ragged { (1024.0 * next().exp2()) as usize } else { 10 << 10 }).collect();
    lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
    lengths
}

fn sha256(criterion: &mut Criterion) {
    for (count, ragged) in [1, 2, 8, 16, 64].into_iter().flat_map(|count| [(count, false), (count, true)]) {
        let octets = vec![0x5a_u8; 64 << 10];
        // Whole blocks for all. aws-lc-rs pads besides, one block more for each body: 0.6 % of 10 KiB.
        let bodies: Vec<&[Block]> =
            lengths(count, ragged).into_iter().map(|length| &octets.as_chunks().0[..length.div_ceil(64)]).collect();
        let shape = format!("{count} {}", if ragged { "ragged" } else { "even" });
        let mut group = criterion.benchmark_group("sha256");
        group.throughput(Throughput::Bytes(bodies.iter().map(|blocks| blocks.as_flattened().len() as u64).sum()));
        group.bench_function(BenchmarkId::new("aws-lc-rs", &shape), |bencher| {
            bencher.iter(|| {
                for body in black_box(&bodies) {
                    black_box(digest(&SHA256, body.as_flattened()));
                }
            });
        });
        for (name, kernels) in kernels() {
            group.bench_function(BenchmarkId::new(name, &shape), |bencher| {
                bencher.iter(|| {
                    let mut states = [INITIAL_STATE; 64];
                    let jobs = states.iter_mut().zip(black_box(&bodies));
                    kernels.sha256().advance(jobs.map(|(state, blocks)| Sha256Job { state, blocks }));
                    black_box(states);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = settings::quick(); targets = sha256);
