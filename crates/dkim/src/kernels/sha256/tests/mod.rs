//! Every kernel of this CPU, and the lane algorithm emulated, against aws-lc-rs.

mod fuzz;

use std::panic::RefUnwindSafe;

use aws_lc_rs::digest::{SHA256, digest};

use super::emulated::Emulated;
use super::lanes::{Lanes, Queue};
use super::*;

/// A way to advance jobs.
type Advance = Box<dyn Fn(Vec<Sha256Job<'_>>) + RefUnwindSafe>;

/// The ways to be tried: all, or those that `MX6_TEST_KERNEL` names, for machines that take their time.
fn ways() -> Vec<(String, Advance)> {
    let wanted = std::env::var("MX6_TEST_KERNEL").unwrap_or_default();
    let ways: Vec<_> = all_ways().into_iter().filter(|(name, _)| wanted.is_empty() || *name == wanted).collect();
    assert!(!ways.is_empty(), "this CPU has no {wanted}");
    ways
}

fn all_ways() -> Vec<(String, Advance)> {
    let mut ways: Vec<(String, Advance)> = vec![
        ("portable".into(), Box::new(|jobs| Sha256Kernels::PORTABLE.advance(jobs))),
        ("sixteen lanes, emulated".into(), Box::new(|jobs| Queue::new(jobs.into_iter()).run::<16>(Emulated, 1))),
        ("eight lanes, emulated".into(), Box::new(|jobs| Queue::new(jobs.into_iter()).run::<8>(Emulated, 1))),
        (
            "sixteen lanes, emulated, then portable".into(),
            Box::new(|jobs| {
                let mut queue = Queue::new(jobs.into_iter());
                queue.run::<16>(Emulated, 5);
                queue.run::<1>(Portable, 1);
            }),
        ),
    ];
    for name in KernelName::ALL.into_iter().filter(|name| Sha256Kernels::can_run(*name)) {
        let kernels = Sha256Kernels::only(Names::from_iter([name]));
        ways.push((name.to_string(), Box::new(move |jobs| kernels.advance(jobs))));
    }
    let all = Sha256Kernels::fastest(KernelName::ALL.into_iter().collect());
    ways.push((format!("auto: {all}"), Box::new(move |jobs| all.advance(jobs))));
    let not_sha_ni = [KernelName::Avx2, KernelName::Avx512];
    let not_sha_ni =
        Sha256Kernels::fastest(not_sha_ni.into_iter().filter(|name| Sha256Kernels::can_run(*name)).collect());
    ways.push((format!("without SHA-NI: {not_sha_ni}"), Box::new(move |jobs| not_sha_ni.advance(jobs))));
    ways
}

fn octets(count: usize, seed: u64) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// FIPS 180-4 §5.1.1.
fn padded(message: &[u8]) -> Vec<u8> {
    let mut octets = message.to_vec();
    octets.push(0x80);
    while octets.len() % 64 != 56 {
        octets.push(0);
    }
    octets.extend_from_slice(&(8 * message.len() as u64).to_be_bytes());
    octets
}

/// The digests of all messages come out of one batch.
fn check(advance: &Advance, messages: &[Vec<u8>], what: &str) {
    let padded: Vec<Vec<u8>> = messages.iter().map(|message| padded(message)).collect();
    let mut states = vec![INITIAL_STATE; messages.len()];
    let jobs = states.iter_mut().zip(&padded).map(|(state, octets)| Sha256Job { state, blocks: octets.as_chunks().0 });
    advance(jobs.collect());
    for (at, (message, state)) in messages.iter().zip(states).enumerate() {
        let found: Vec<u8> = state.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(found, digest(&SHA256, message).as_ref(), "{what}: message {at}, {} octets", message.len());
    }
}

#[test]
fn every_length_alone_and_together() {
    let messages: Vec<Vec<u8>> = (0..=300).map(|length| octets(length, length as u64)).collect();
    for (name, advance) in ways() {
        for message in &messages {
            check(&advance, std::slice::from_ref(message), &name);
        }
        check(&advance, &messages, &name);
    }
}

#[test]
fn large() {
    let messages: Vec<Vec<u8>> = [65_535, 65_536, 1_000_000].map(|length| octets(length, 7)).into();
    for (name, advance) in ways() {
        check(&advance, &messages, &name);
    }
}

/// NIST, Examples with Intermediate Values, and the empty message.
#[test]
fn known_answers_are_known() {
    for (name, advance) in ways() {
        assert!(known_answers::are_right(&advance), "{name}");
    }
}

/// FIPS 180-2 §B.3: a million times `a`.
#[test]
fn a_million_a() {
    let expected =
        [0xcdc7_6e5c_u32, 0x9914_fb92, 0x81a1_c7e2, 0x84d7_3e67, 0xf180_9a48, 0xa497_200e, 0x046d_39cc, 0xc711_2cd0];
    let octets = padded(&[b'a'; 1_000_000]);
    for (name, advance) in ways() {
        let mut states = [INITIAL_STATE; 3];
        let jobs = states.iter_mut().map(|state| Sha256Job { state, blocks: octets.as_chunks().0 });
        advance(jobs.collect());
        assert_eq!(states, [expected; 3], "{name}");
    }
}

#[test]
fn random_ragged_batches() {
    let mut seed = 1;
    for (name, advance) in ways() {
        for count in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64] {
            let messages: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    seed += 1;
                    let [high, low, ..] = octets(8, seed)[..] else { unreachable!() };
                    octets(usize::from(high) << (low % 6), seed)
                })
                .collect();
            check(&advance, &messages, &name);
        }
    }
}

#[test]
fn jobs_without_blocks_are_left_alone() {
    let octets = padded(b"abc");
    for (name, advance) in ways() {
        let mut states = [[1; 8], INITIAL_STATE, [2; 8], [3; 8]];
        let blocks = [&[], octets.as_chunks().0, &[], &[]];
        let jobs = states.iter_mut().zip(blocks).map(|(state, blocks)| Sha256Job { state, blocks });
        advance(jobs.collect());
        assert_eq!((states[0], states[2], states[3]), ([1; 8], [2; 8], [3; 8]), "{name}");
        assert_eq!(states[1][0], 0xba78_16bf, "{name}");
        advance(Vec::new());
    }
}

/// Right in every lane but one, and wrong there only from the second block of a turn on: known answers must find it.
#[derive(Clone, Copy)]
struct Broken<const LANE: usize>;

impl<const LANE: usize> Lanes<4> for Broken<LANE> {
    fn compress(self, states: &mut [State; 4], blocks: &[&[Block]; 4]) {
        for (lane, (state, blocks)) in states.iter_mut().zip(blocks).enumerate() {
            Portable.compress(std::array::from_mut(state), &[blocks]);
            if lane == LANE && blocks.len() > 1 {
                state[7] ^= 1;
            }
        }
    }
}

#[test]
fn a_broken_lane_is_found() {
    assert!(known_answers::are_right(|jobs| Queue::new(jobs.into_iter()).run::<4>(Broken::<9>, 1)));
    assert!(!known_answers::are_right(|jobs| Queue::new(jobs.into_iter()).run::<4>(Broken::<0>, 1)));
    assert!(!known_answers::are_right(|jobs| Queue::new(jobs.into_iter()).run::<4>(Broken::<3>, 1)));
}
