//! Keys with moduli of every kind, signatures by them, and aws-lc-rs as the other opinion.
//!
//! A prime is as good a modulus as any for a verifier, and its owner can sign: so there are valid signatures under moduli whose limbs are
//! all ones or zeros.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents};
use num_bigint::BigUint;

use super::super::*;

/// A prime modulus, and what to know about it.
pub(super) struct PrimeKey {
    pub(super) name: &'static str,
    pub(super) n: BigUint,
    pub(super) modulus: Moduli,
}

/// A modulus in each form.
#[derive(Clone)]
pub(super) struct Moduli([Modulus; 2]);

impl Moduli {
    pub(super) fn new(n: &BigUint) -> Option<Moduli> {
        let in_form = |form: Form| Modulus::new(&octets(n), form.r_bits());
        Some(Moduli([in_form(Form::Limbs52)?, in_form(Form::Limbs28)?]))
    }

    pub(super) fn of(&self, form: Form) -> &Modulus {
        &self.0[usize::from(form == Form::Limbs28)]
    }
}

/// A number of 2048 bits as octets.
pub(super) fn octets(number: &BigUint) -> [u8; MODULUS_OCTETS] {
    let short = number.to_bytes_be();
    let mut octets = [0; MODULUS_OCTETS];
    octets[MODULUS_OCTETS - short.len()..].copy_from_slice(&short);
    octets
}

pub(super) fn power_of_2(exponent: u32) -> BigUint {
    BigUint::from(1_u8) << exponent
}

/// Limbs of 52 bits, all ones, at these places.
fn ones(places: impl Iterator<Item = usize>) -> BigUint {
    places.map(|at| (power_of_2(52) - 1_u8) << (52 * at)).sum()
}

/// Moduli with extreme limbs, all prime.
pub(super) fn primes() -> Vec<PrimeKey> {
    let top = power_of_2(2047);
    let rows = [
        ("the largest: ones, but for the last word", power_of_2(2048) - 1557_u16),
        ("the smallest: zeros, but for the ends", &top + 1919_u16),
        ("odd limbs are ones", &top + ones((1..39).step_by(2)) + 95_u8),
        ("even limbs are ones", &top + ones((2..39).step_by(2)) + 419_u16),
        ("the last limb is ones: the quotient is the sum itself", &top + (BigUint::from(965_u16) << 52) + ones(0..1)),
        (
            "ones above, and the last limb is 1",
            power_of_2(2048) - power_of_2(104) + (BigUint::from(600_u16) << 52) + 1_u8,
        ),
    ];
    rows.map(|(name, n)| PrimeKey { name, modulus: Moduli::new(&n).unwrap(), n }).into()
}

impl PrimeKey {
    /// The signature of a digest.
    pub(super) fn sign(&self, digest: &[u8; 32]) -> [u8; MODULUS_OCTETS] {
        let order = &self.n - 1_u8;
        let exponent = BigUint::from(65_537_u32).modinv(&order).unwrap();
        octets(&BigUint::from_bytes_be(&block(digest)).modpow(&exponent, &self.n))
    }
}

/// What aws-lc-rs says.
pub(super) fn aws_lc_verifies(n: &BigUint, signature: &[u8], digest: &[u8; 32]) -> bool {
    let key = RsaPublicKeyComponents { n: n.to_bytes_be(), e: vec![1, 0, 1] };
    let key = key.to_parsed_public_key(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY).unwrap();
    key.verify_digest_sig(&Digest::import_less_safe(digest, &SHA256).unwrap(), signature).is_ok()
}
