//! The kernels against aws-lc-rs, and their powers against plain long arithmetic, on valid, corrupted and random input.
//!
//! Bounded when it runs with the other tests. For long: `BOLERO_RANDOM_TEST_TIME_MS=600000 BOLERO_RANDOM_ITERATIONS=1000000000 cargo test
//! --release -p mx6-dkim kernels::rsa::tests::fuzz -- --nocapture`, which says at its end what it has tried.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use bolero::TypeGenerator;
use num_bigint::BigUint;

use super::keys::{aws_lc_verifies, octets, primes};
use super::*;

/// What to put into a lane.
#[derive(Debug, TypeGenerator)]
struct Draw {
    key: u8,
    message: u8,
    kind: Kind,
}

#[derive(Debug, TypeGenerator)]
#[allow(clippy::large_enum_variant, reason = "drawn whole, eight at a time")]
enum Kind {
    Empty,
    Valid,
    /// Octets of signature and digest changed: where, and by what.
    Changed([(u16, u8); 3]),
    /// The signature by another key.
    OfAnotherKey(u8),
    /// The signature and a multiple of the modulus, modulo 2^2048.
    PlusModulus(u8),
    /// A number close to the modulus, or to one of its ends.
    NearModulus(i8),
    /// Runs of ones and zeros: (length in bits, set or not).
    Runs([(u8, bool); 24]),
    /// Anything.
    Random([[u8; 32]; 8]),
    /// Anything, under a modulus that is anything odd of 2048 bits.
    RandomModulus([[u8; 32]; 8], [[u8; 32]; 8]),
}

/// A key and what it has signed.
struct Owner {
    n: BigUint,
    modulus: keys::Moduli,
    signed: Vec<([u8; 32], [u8; MODULUS_OCTETS])>,
}

fn owners() -> Vec<Owner> {
    let digests: Vec<[u8; 32]> = (0..4).map(|byte| [byte; 32]).collect();
    let mut owners: Vec<Owner> = primes()
        .into_iter()
        .map(|key| {
            let signed = digests.iter().map(|digest| (*digest, key.sign(digest))).collect();
            Owner { n: key.n, modulus: key.modulus, signed }
        })
        .collect();
    // On an emulated CPU aws-lc finds no entropy to generate keys from, and aborts.
    if std::env::var_os("MX6_TEST_EMULATED").is_none() {
        owners.extend((0..6).map(|_| generated(&digests)));
    }
    owners
}

fn generated(digests: &[[u8; 32]]) -> Owner {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let n = BigUint::from_bytes_be(&pair.public_key().as_ref()[9..9 + MODULUS_OCTETS]);
    let sign = |digest: &[u8; 32]| {
        let mut signature = [0; MODULUS_OCTETS];
        let imported = aws_lc_rs::digest::Digest::import_less_safe(digest, &aws_lc_rs::digest::SHA256).unwrap();
        pair.sign_digest(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &imported, &mut signature).unwrap();
        (*digest, signature)
    };
    Owner { modulus: keys::Moduli::new(&n).unwrap(), signed: digests.iter().map(sign).collect(), n }
}

/// A lane filled.
struct Lane {
    n: BigUint,
    modulus: keys::Moduli,
    signature: [u8; MODULUS_OCTETS],
    digest: [u8; 32],
}

fn fill(draw: &Draw, owners: &[Owner]) -> Option<Lane> {
    let owner = &owners[usize::from(draw.key) % owners.len()];
    let (mut digest, mut signature) = owner.signed[usize::from(draw.message) % owner.signed.len()];
    let (mut n, mut modulus) = (owner.n.clone(), owner.modulus.clone());
    let modulo_2048 = |number: BigUint| octets(&(number % (BigUint::from(1_u8) << 2048)));
    match &draw.kind {
        Kind::Empty => return None,
        Kind::Valid => {}
        Kind::Changed(changes) => {
            for (at, by) in changes {
                let at = usize::from(*at) % (MODULUS_OCTETS + 32);
                match signature.get_mut(at) {
                    Some(octet) => *octet ^= by,
                    None => digest[at - MODULUS_OCTETS] ^= by,
                }
            }
        }
        Kind::OfAnotherKey(key) => {
            let other = &owners[usize::from(*key) % owners.len()];
            signature = other.signed[usize::from(draw.message) % other.signed.len()].1;
        }
        Kind::PlusModulus(times) => signature = modulo_2048(BigUint::from_bytes_be(&signature) + &n * *times),
        Kind::NearModulus(by) => {
            signature = modulo_2048(&n + (BigUint::from(1_u8) << 2048) - 128_u8 + (i16::from(*by) + 128) as u8)
        }
        Kind::Runs(runs) => {
            let number = runs.iter().fold(BigUint::ZERO, |number, (bits, set)| {
                let run = BigUint::from(u8::from(*set)) * ((BigUint::from(1_u8) << *bits) - 1_u8);
                (number << *bits) + run
            });
            signature = modulo_2048(number);
        }
        Kind::Random(octets) => signature.copy_from_slice(octets.as_flattened()),
        Kind::RandomModulus(of_signature, of_modulus) => {
            signature.copy_from_slice(of_signature.as_flattened());
            let mut random = [0; MODULUS_OCTETS];
            random.copy_from_slice(of_modulus.as_flattened());
            random[0] |= 0x80;
            random[MODULUS_OCTETS - 1] |= 1;
            n = BigUint::from_bytes_be(&random);
            modulus = keys::Moduli::new(&n).unwrap();
        }
    }
    Some(Lane { n, modulus, signature, digest })
}

#[test]
fn against_aws_lc() {
    let owners = owners();
    let (calls, valid_lanes, invalid_lanes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    bolero::check!().with_type::<[Draw; LANES_MAX]>().with_iterations(200).for_each(|draws| {
        let lanes: [Option<Lane>; LANES_MAX] = std::array::from_fn(|at| fill(&draws[at], &owners));
        let given = std::array::from_fn(|at| {
            lanes[at].as_ref().map(|lane| Given {
                key: &lane.modulus,
                signature: &lane.signature,
                digest: &lane.digest,
            })
        });
        let valid = verify_by_all(&given);
        calls.fetch_add(1, Ordering::Relaxed);
        for (valid, lane) in valid.into_iter().zip(&lanes) {
            let Some(lane) = lane else {
                assert!(!valid, "an empty lane");
                continue;
            };
            assert_eq!(valid, aws_lc_verifies(&lane.n, &lane.signature, &lane.digest));
            if wanted().is_none() {
                powers_are_right(&lane.n, &lane.signature);
            }
            if valid { &valid_lanes } else { &invalid_lanes }.fetch_add(1, Ordering::Relaxed);
        }
    });
    println!("calls {calls:?}, lanes valid {valid_lanes:?}, not valid {invalid_lanes:?}");
    assert!(valid_lanes.into_inner() > 0 && invalid_lanes.into_inner() > 0);
}

/// The power itself, not only whether it is the block that was hoped for.
fn powers_are_right(n: &BigUint, signature: &[u8; MODULUS_OCTETS]) {
    let bases = [BigUint::from_bytes_be(signature)];
    carries::powers_are_right(emulation::LikeIfma, Form::Limbs52, n, &bases);
    carries::powers_are_right(emulation::LikeAvx2, Form::Limbs28, n, &bases);
}
