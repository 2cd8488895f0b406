//! Eight RSA-2048 signatures at once (RFC 8017 §8.2.2, RSASSA-PKCS1-v1_5 with SHA-256).
//!
//! Range: a modulus of exactly 2048 bits, odd; the exponent 65537; a signature of 256 octets below the modulus. That is nearly all of
//! DKIM. Whatever lies outside goes to aws-lc-rs, and so does whatever comes in twos and ones.
//!
//! Each lane of a vector works on a signature of its own, with a key of its own. Long numbers are cut into limbs of the width that the
//! multiplier of a [`machine`] takes, and products are Montgomery's ([`product`]). What comes out is compared with the whole block that
//! RFC 8017 §9.2 prescribes: nothing of a padding is parsed, so there is nothing to parse leniently.
//!
//! Keys, signatures and hashes are public, so time may depend on them. Nothing of them is trusted to be in range: [`Modulus::new`]
//! and [`verify`] look.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(test, target_arch = "x86_64"))]
mod emulation;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod known_answers;
mod machine;
mod modulus;
mod product;
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) mod tests;

pub(crate) use modulus::Modulus;

use super::{KernelName, Names, cpu};
use machine::Machine;
use modulus::{is_below, words};
use product::{Moduli, Number, power_65537};

/// The most lanes that any kernel has.
pub(crate) const LANES_MAX: usize = 8;

/// Octets of a modulus, a signature and a block.
pub(crate) const MODULUS_OCTETS: usize = 256;

/// One signature to verify.
#[derive(Clone, Copy)]
pub(crate) struct Check<'c> {
    /// For the R of the kernel that gets it.
    pub(crate) modulus: &'c Modulus,
    pub(crate) signature: &'c [u8; MODULUS_OCTETS],
    /// The SHA-256 hash that was signed.
    pub(crate) digest: &'c [u8; 32],
}

/// A kernel that this processor can run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RsaKernel {
    #[cfg(target_arch = "x86_64")]
    Ifma(cpu::Ifma),
    #[cfg(target_arch = "x86_64")]
    Avx2(cpu::Avx2),
    #[cfg(all(test, target_arch = "x86_64"))]
    LikeIfma(emulation::LikeIfma),
    #[cfg(all(test, target_arch = "x86_64"))]
    LikeAvx2(emulation::LikeAvx2),
}

/// What a kernel takes its numbers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Limbs of 52 bits.
    Limbs52,
    /// Limbs of 28 bits.
    Limbs28,
}

impl Form {
    /// Of R, whose exponent all limbs of a number make.
    pub(crate) const fn r_bits(self) -> u32 {
        match self {
            Form::Limbs52 => 40 * 52,
            Form::Limbs28 => 74 * 28,
        }
    }
}

impl RsaKernel {
    /// The kernel of this name, if it is one for RSA and this processor can run it.
    pub(super) fn named(name: KernelName) -> Option<RsaKernel> {
        match name {
            #[cfg(target_arch = "x86_64")]
            KernelName::RsaIfma => cpu::Ifma::detect().map(RsaKernel::Ifma),
            #[cfg(target_arch = "x86_64")]
            KernelName::RsaAvx2 => cpu::Avx2::detect().map(RsaKernel::Avx2),
            _ => None,
        }
    }

    /// The fastest of those that are named.
    pub(super) fn fastest(names: Names) -> Option<RsaKernel> {
        let by_speed = [KernelName::RsaIfma, KernelName::RsaAvx2];
        by_speed.into_iter().filter(|name| names.contains(*name)).find_map(RsaKernel::named)
    }

    /// Its name.
    pub(super) fn name(self) -> KernelName {
        match self.form() {
            Form::Limbs52 => KernelName::RsaIfma,
            Form::Limbs28 => KernelName::RsaAvx2,
        }
    }

    /// How many signatures it takes at once.
    pub(crate) fn lanes(self) -> usize {
        match self.form() {
            Form::Limbs52 => 8,
            Form::Limbs28 => 4,
        }
    }

    /// From how many ready signatures on a call is worth it: it takes the same time however many lanes are filled. With AVX512-IFMA that
    /// is 27.5 µs where aws-lc-rs takes 13.2 µs for each signature; with AVX2 54 to 62 µs where aws-lc-rs takes 19 to 23.
    pub(crate) fn ready_min(self) -> usize {
        match self.form() {
            Form::Limbs52 => 3,
            Form::Limbs28 => 4,
        }
    }

    /// What moduli it takes.
    pub(crate) fn form(self) -> Form {
        match self {
            #[cfg(target_arch = "x86_64")]
            RsaKernel::Ifma(_) => Form::Limbs52,
            #[cfg(target_arch = "x86_64")]
            RsaKernel::Avx2(_) => Form::Limbs28,
            #[cfg(all(test, target_arch = "x86_64"))]
            RsaKernel::LikeIfma(_) => Form::Limbs52,
            #[cfg(all(test, target_arch = "x86_64"))]
            RsaKernel::LikeAvx2(_) => Form::Limbs28,
        }
    }

    /// Which of the first [`RsaKernel::lanes`] signatures are valid. A lane without one says false.
    pub(crate) fn verify(self, checks: &Checks<'_>) -> [bool; LANES_MAX] {
        match self {
            #[cfg(target_arch = "x86_64")]
            RsaKernel::Ifma(machine) => ifma::verify(machine, checks),
            #[cfg(target_arch = "x86_64")]
            RsaKernel::Avx2(machine) => first_four(checks, |four| avx2::verify(machine, four)),
            #[cfg(all(test, target_arch = "x86_64"))]
            RsaKernel::LikeIfma(machine) => verify(machine, checks),
            #[cfg(all(test, target_arch = "x86_64"))]
            RsaKernel::LikeAvx2(machine) => first_four(checks, |four| verify(machine, four)),
        }
    }
}

/// What one call works on. It costs the same with any lane empty.
pub(crate) type Checks<'c> = [Option<Check<'c>>; LANES_MAX];

#[cfg(target_arch = "x86_64")]
fn first_four(checks: &Checks<'_>, verify: impl FnOnce(&[Option<Check<'_>>; 4]) -> [bool; 4]) -> [bool; LANES_MAX] {
    let [a, b, c, d, ..] = *checks;
    let [a, b, c, d] = verify(&[a, b, c, d]);
    [a, b, c, d, false, false, false, false]
}

/// The whole of it, for whatever machine. Inlined, so that it is compiled for the instructions of its caller.
#[inline(always)]
fn verify<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(
    machine: M,
    checks: &[Option<Check<'_>>; LANES],
) -> [bool; LANES] {
    let mut valid = [false; LANES];
    // An empty lane repeats another.
    let Some(filler) = checks.iter().flatten().next() else { return valid };
    let lanes = checks.map(|check| check.unwrap_or(*filler));
    let signatures = lanes.map(|check| words(check.signature));
    let moduli = Moduli::new(machine, lanes.map(|check| check.modulus));
    let powers = power_65537(machine, &Number::new(machine, signatures.each_ref()), &moduli);
    for lane in 0..LANES {
        let Check { modulus, digest, .. } = lanes[lane];
        let in_range = is_below(&signatures[lane], modulus.n());
        valid[lane] = checks[lane].is_some() && in_range && powers.lane_is(machine, lane, &words(&block(digest)));
    }
    valid
}

/// RFC 8017 §9.2, EMSA-PKCS1-v1_5: `00 01 FF … FF 00`, then DigestInfo with the hash.
fn block(digest: &[u8; 32]) -> [u8; MODULUS_OCTETS] {
    let mut block = [0xff; MODULUS_OCTETS];
    let (front, hash) = block.split_at_mut(MODULUS_OCTETS - 32);
    let (padding, info) = front.split_at_mut(MODULUS_OCTETS - 32 - DIGEST_INFO_SHA256.len());
    padding[..2].copy_from_slice(&[0, 1]);
    padding[padding.len() - 1] = 0;
    info.copy_from_slice(&DIGEST_INFO_SHA256);
    hash.copy_from_slice(digest);
    block
}

/// RFC 8017 §9.2 note 1: DigestInfo up to the hash, which is the last of it.
const DIGEST_INFO_SHA256: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];
