//! Signatures of messages that are ready together, verified through the batch's door by each kernel that this CPU has; `portable` is
//! aws-lc-rs, one after the other. Ed25519 has no kernel.

use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use mx6_dkim::kernels::{KernelName, Kernels};
use mx6_dkim::{DkimResult, KeyAnswer, KeyTxt, Verification};

use crate::settings;
use crate::signed_mail::{KEY_NAME, Signer, arrived};

/// A message that is hashed and whose key is there: all but its signature is done.
fn ready(message: &[u8], key: &Arc<KeyTxt>) -> Verification {
    let mut verification = arrived(message);
    verification.keys(|name| if name == KEY_NAME { KeyAnswer::Found(Arc::clone(key)) } else { KeyAnswer::NoKey });
    verification
}

/// Verifies all of them; how many passed.
fn verify(kernels: &Kernels, mut batch: Vec<Verification>) -> usize {
    kernels.verify(&mut batch);
    let passed = |verification: &mut Verification| verification.results()[0].result == DkimResult::Pass;
    batch.iter_mut().map(passed).filter(|passed| *passed).count()
}

fn batches(criterion: &mut Criterion) {
    let names = KernelName::ALL.map(KernelName::as_str);
    let verifies = |choice: &&str| *choice == "portable" || choice.starts_with("rsa-");
    let select = |choice: &str| Some((choice.to_owned(), Kernels::select(choice.parse().ok()?).ok()?.kernels));
    let kernels: Vec<_> = ["portable"].into_iter().chain(names).filter(verifies).filter_map(select).collect();
    for (algorithm, signer) in [("rsa-2048", Signer::rsa_2048()), ("ed25519", Signer::ed25519())] {
        let key = Arc::new(KeyTxt::parse(&[signer.record.clone().into_bytes()]));
        let message = signer.message(500);
        let mut group = criterion.benchmark_group(format!("signatures, {algorithm}"));
        for count in [1, 2, 3, 4, 8, 16] {
            let batch = || (0..count).map(|_| ready(&message, &key)).collect::<Vec<_>>();
            group.throughput(Throughput::Elements(count as u64));
            for (name, kernels) in kernels.iter().filter(|(name, _)| algorithm != "ed25519" || name == "portable") {
                assert_eq!(verify(kernels, batch()), count, "{name}");
                group.bench_function(BenchmarkId::new(name, count), |bencher| {
                    bencher.iter_batched(batch, |batch| verify(kernels, batch), BatchSize::SmallInput);
                });
            }
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = settings::quick(); targets = batches);
