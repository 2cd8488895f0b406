//! Eight bodies at once in AVX2 registers.

use std::arch::x86_64::*;

use super::lanes::Lanes;
use super::vector::{Vector, compress_lanes};
use super::{Block, State};
use crate::kernels::cpu::Avx2;

impl Lanes<8> for Avx2 {
    fn compress(self, states: &mut [State; 8], blocks: &[&[Block]; 8]) {
        // SAFETY: an `Avx2` exists only where the CPU has these instructions.
        unsafe { compress_eight(self, states, blocks) }
    }
}

#[target_feature(enable = "avx2")]
fn compress_eight(cpu: Avx2, states: &mut [State; 8], blocks: &[&[Block]; 8]) {
    compress_lanes::<Words, 8>(cpu, states, blocks);
}

#[derive(Clone, Copy)]
struct Words(__m256i);

// SAFETY, of every block here that says no more: a `Words` or an `Avx2` is at hand, so the CPU has AVX2.
impl Vector<8> for Words {
    type Cpu = Avx2;

    #[inline(always)]
    fn splat(_: Avx2, word: u32) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm256_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn load(_: Avx2, words: &[u32; 8]) -> Words {
        // SAFETY: see above; reads the 32 octets of `words`, no alignment is needed.
        Words(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, words: &mut [u32; 8]) {
        // SAFETY: see above; writes the 32 octets of `words`, no alignment is needed.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn load_big_endian(_: Avx2, block: &Block, part: usize) -> Words {
        let (halves, _) = block.as_chunks::<32>();
        // SAFETY: see above; reads the 32 octets of the half, no alignment is needed.
        Words(unsafe {
            let reversed = _mm256_set_epi64x(
                0x0c0d_0e0f_0809_0a0b,
                0x0405_0607_0001_0203,
                0x0c0d_0e0f_0809_0a0b,
                0x0405_0607_0001_0203,
            );
            _mm256_shuffle_epi8(_mm256_loadu_si256(halves[part].as_ptr().cast()), reversed)
        })
    }

    #[inline(always)]
    fn plus(self, other: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm256_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, second: Words, third: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm256_xor_si256(_mm256_xor_si256(self.0, second.0), third.0) })
    }

    #[inline(always)]
    fn choose(self, ones: Words, zeros: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm256_xor_si256(zeros.0, _mm256_and_si256(self.0, _mm256_xor_si256(ones.0, zeros.0))) })
    }

    #[inline(always)]
    fn majority(self, second: Words, third: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe {
            let either = _mm256_or_si256(self.0, second.0);
            _mm256_or_si256(_mm256_and_si256(self.0, second.0), _mm256_and_si256(either, third.0))
        })
    }

    #[inline(always)]
    fn rotate_right<const RIGHT: u32, const LEFT: u32>(self) -> Words {
        const { assert!(RIGHT + LEFT == 32) };
        // SAFETY: see above.
        Words(unsafe {
            let right = _mm256_srl_epi32(self.0, _mm_cvtsi32_si128(RIGHT.cast_signed()));
            _mm256_or_si256(right, _mm256_sll_epi32(self.0, _mm_cvtsi32_si128(LEFT.cast_signed())))
        })
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm256_srl_epi32(self.0, _mm_cvtsi32_si128(BITS.cast_signed())) })
    }

    #[inline(always)]
    fn interleave_low(self, other: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe {
            let [low, high] = [_mm256_unpacklo_epi32(self.0, other.0), _mm256_unpackhi_epi32(self.0, other.0)];
            _mm256_permute2x128_si256::<0x20>(low, high)
        })
    }

    #[inline(always)]
    fn interleave_high(self, other: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe {
            let [low, high] = [_mm256_unpacklo_epi32(self.0, other.0), _mm256_unpackhi_epi32(self.0, other.0)];
            _mm256_permute2x128_si256::<0x31>(low, high)
        })
    }
}
