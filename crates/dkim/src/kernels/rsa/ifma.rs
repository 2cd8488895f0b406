//! AVX-512 with IFMA: VPMADD52LUQ and VPMADD52HUQ, eight lanes, 40 limbs of 52 bits.
//!
//! A product of limbs has 104 bits: its low half goes to one column and its high half to the next. A column sums at most 160 halves, so
//! it stays below 2^60.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_srli_epi64, _mm512_storeu_si512,
};

use super::super::cpu::Ifma;
use super::Check;
use super::machine::{Machine, Sums};

pub(super) const LANES: usize = 8;
pub(super) const LIMB_BITS: u32 = 52;
pub(super) const LIMBS: usize = 40;
pub(super) const ROWS: usize = 4;
pub(super) const PLACES: usize = LIMBS + ROWS;

/// As [`super::verify`], compiled for these instructions.
pub(super) fn verify(machine: Ifma, checks: &[Option<Check<'_>>; LANES]) -> [bool; LANES] {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn compiled(machine: Ifma, checks: &[Option<Check<'_>>; LANES]) -> [bool; LANES] {
        super::verify(machine, checks)
    }
    // SAFETY: `machine` proves that the processor has the features.
    unsafe { compiled(machine, checks) }
}

impl Machine<LANES, PLACES> for Ifma {
    type Vector = __m512i;

    const LIMB_BITS: u32 = LIMB_BITS;
    const LIMBS: usize = LIMBS;
    const ROWS: usize = ROWS;

    #[inline(always)]
    fn vector(self, lanes: [u64; LANES]) -> __m512i {
        // SAFETY: `self` proves the feature; 64 octets are read from 64 octets, at any alignment.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn lanes(self, vector: __m512i) -> [u64; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: `self` proves the feature; 64 octets are written to 64 octets, at any alignment.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), vector) };
        lanes
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_add_epi64(a, b) }
    }

    #[inline(always)]
    fn multiply(self, (low, high): Sums<__m512i>, a: __m512i, b: __m512i, below: __m512i) -> Sums<__m512i> {
        // SAFETY: `self` proves the feature.
        unsafe { (_mm512_madd52lo_epu64(low, a, b), _mm512_madd52hi_epu64(high, a, below)) }
    }

    #[inline(always)]
    fn multiply_lowest(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_madd52lo_epu64(sum, a, b) }
    }

    #[inline(always)]
    fn low_limb_of_product(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_madd52lo_epu64(_mm512_setzero_si512(), a, b) }
    }

    #[inline(always)]
    fn carry(self, vector: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_srli_epi64::<LIMB_BITS>(vector) }
    }

    #[inline(always)]
    fn limb(self, vector: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_and_si512(vector, _mm512_set1_epi64((1 << LIMB_BITS) - 1)) }
    }
}
