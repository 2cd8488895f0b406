//! Every kernel against aws-lc-rs on random batches: how many bodies, how long each, what is in them, and in which pieces they come.
//!
//! Bounded when it runs with the other tests. For long: `BOLERO_RANDOM_TEST_TIME_MS=600000 BOLERO_RANDOM_ITERATIONS=1000000000 cargo test
//! --release -p mx6-dkim kernels::sha256::tests::fuzz -- --nocapture`, which says at its end what it has tried. `MX6_TEST_KERNEL=sha-ni`
//! tries that kernel only.

use std::sync::atomic::{AtomicU64, Ordering};

use bolero::TypeGenerator;

use super::*;

#[derive(Debug, TypeGenerator)]
struct Body {
    octets: Octets,
    /// Advanced in two turns: the first has this share of the blocks, out of 256.
    first_turn: u8,
    seed: u16,
}

#[derive(Debug, TypeGenerator)]
enum Octets {
    /// Around the ends of blocks.
    Short(u8),
    Long(u16),
    /// One octet again and again.
    Repeated(u8, u16),
    /// Every octet from the generator.
    Given(Vec<u8>),
}

impl Body {
    fn message(&self) -> Vec<u8> {
        match &self.octets {
            Octets::Short(length) => octets((*length).into(), self.seed.into()),
            Octets::Long(length) => octets(usize::from(*length) % 20_000, self.seed.into()),
            Octets::Repeated(octet, length) => vec![*octet; usize::from(*length) % 5_000],
            Octets::Given(octets) => octets.clone(),
        }
    }
}

/// The digests of all bodies, which come in two turns as mail does.
fn digests(advance: &Advance, bodies: &[Body], padded: &[Vec<u8>]) -> Vec<State> {
    let mut states = vec![INITIAL_STATE; bodies.len()];
    for turn in 0..2 {
        let jobs = states.iter_mut().zip(bodies).zip(padded).map(|((state, body), octets)| {
            let (blocks, _) = octets.as_chunks();
            let (first, second) = blocks.split_at(blocks.len() * usize::from(body.first_turn) / 256);
            Sha256Job { state, blocks: if turn == 0 { first } else { second } }
        });
        advance(jobs.collect());
    }
    states
}

#[test]
fn batches() {
    let ways = ways();
    let [batches, messages] = [AtomicU64::new(0), AtomicU64::new(0)];
    bolero::check!().with_type::<Vec<Body>>().with_iterations(100).for_each(|bodies| {
        let bodies = &bodies[..bodies.len().min(100)];
        let plain: Vec<Vec<u8>> = bodies.iter().map(Body::message).collect();
        let padded: Vec<Vec<u8>> = plain.iter().map(|message| padded(message)).collect();
        for (name, advance) in &ways {
            for (message, state) in plain.iter().zip(digests(advance, bodies, &padded)) {
                let found: Vec<u8> = state.iter().flat_map(|word| word.to_be_bytes()).collect();
                assert_eq!(found, digest(&SHA256, message).as_ref(), "{name}: {} octets", message.len());
            }
        }
        batches.fetch_add(1, Ordering::Relaxed);
        messages.fetch_add(plain.len() as u64, Ordering::Relaxed);
    });
    println!("{} batches, {} bodies, each in {} ways", batches.into_inner(), messages.into_inner(), ways.len());
}
