//! AVX2: VPMULUDQ, four lanes, 74 limbs of 28 bits.
//!
//! A product of limbs has 56 bits, and a column sums all 148 of them and a carry: less than 2^64.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_set1_epi64x,
    _mm256_srli_epi64, _mm256_storeu_si256,
};

use super::super::cpu::Avx2;
use super::Check;
use super::machine::{Machine, Sums};

pub(super) const LANES: usize = 4;
pub(super) const LIMB_BITS: u32 = 28;
pub(super) const LIMBS: usize = 74;
pub(super) const ROWS: usize = 2;
pub(super) const PLACES: usize = LIMBS + ROWS;

/// As [`super::verify`], compiled for these instructions.
pub(super) fn verify(machine: Avx2, checks: &[Option<Check<'_>>; LANES]) -> [bool; LANES] {
    #[target_feature(enable = "avx2")]
    fn compiled(machine: Avx2, checks: &[Option<Check<'_>>; LANES]) -> [bool; LANES] {
        super::verify(machine, checks)
    }
    // SAFETY: `machine` proves that the processor has the feature.
    unsafe { compiled(machine, checks) }
}

impl Machine<LANES, PLACES> for Avx2 {
    type Vector = __m256i;

    const LIMB_BITS: u32 = LIMB_BITS;
    const LIMBS: usize = LIMBS;
    const ROWS: usize = ROWS;

    #[inline(always)]
    fn vector(self, lanes: [u64; LANES]) -> __m256i {
        // SAFETY: `self` proves the feature; 32 octets are read from 32 octets, at any alignment.
        unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn lanes(self, vector: __m256i) -> [u64; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: `self` proves the feature; 32 octets are written to 32 octets, at any alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), vector) };
        lanes
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm256_add_epi64(a, b) }
    }

    #[inline(always)]
    fn multiply(self, (sum, other): Sums<__m256i>, a: __m256i, b: __m256i, _below: __m256i) -> Sums<__m256i> {
        (self.multiply_lowest(sum, a, b), other)
    }

    #[inline(always)]
    fn multiply_lowest(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm256_add_epi64(sum, _mm256_mul_epu32(a, b)) }
    }

    #[inline(always)]
    fn low_limb_of_product(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves the feature. What the instruction takes of `a` and `b` above the limb is above the limb in the product.
        self.limb(unsafe { _mm256_mul_epu32(a, b) })
    }

    #[inline(always)]
    fn carry(self, vector: __m256i) -> __m256i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm256_srli_epi64::<{ LIMB_BITS.cast_signed() }>(vector) }
    }

    #[inline(always)]
    fn limb(self, vector: __m256i) -> __m256i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm256_and_si256(vector, _mm256_set1_epi64x((1 << LIMB_BITS) - 1)) }
    }
}
