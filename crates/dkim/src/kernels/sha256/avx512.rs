//! Sixteen bodies at once in AVX-512 registers.

use std::arch::x86_64::*;

use super::lanes::Lanes;
use super::vector::{Vector, compress_lanes};
use super::{Block, State};
use crate::kernels::cpu::Avx512;

impl Lanes<16> for Avx512 {
    fn compress(self, states: &mut [State; 16], blocks: &[&[Block]; 16]) {
        // SAFETY: an `Avx512` exists only where the CPU has these instructions.
        unsafe { compress_sixteen(self, states, blocks) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress_sixteen(cpu: Avx512, states: &mut [State; 16], blocks: &[&[Block]; 16]) {
    compress_lanes::<Words, 16>(cpu, states, blocks);
}

#[derive(Clone, Copy)]
struct Words(__m512i);

// SAFETY, of every block here that says no more: a `Words` or an `Avx512` is at hand, so the CPU has AVX-512 F and BW.
impl Vector<16> for Words {
    type Cpu = Avx512;

    #[inline(always)]
    fn splat(_: Avx512, word: u32) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm512_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn load(_: Avx512, words: &[u32; 16]) -> Words {
        // SAFETY: see above; reads the 64 octets of `words`, no alignment is needed.
        Words(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, words: &mut [u32; 16]) {
        // SAFETY: see above; writes the 64 octets of `words`, no alignment is needed.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) }
    }

    /// There is one part, the whole block.
    #[inline(always)]
    fn load_big_endian(_: Avx512, block: &Block, _: usize) -> Words {
        // SAFETY: see above; reads the 64 octets of `block`, no alignment is needed.
        Words(unsafe {
            let reversed = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
            _mm512_shuffle_epi8(_mm512_loadu_si512(block.as_ptr().cast()), reversed)
        })
    }

    #[inline(always)]
    fn plus(self, other: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, second: Words, third: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm512_ternarylogic_epi32::<0x96>(self.0, second.0, third.0) })
    }

    #[inline(always)]
    fn choose(self, ones: Words, zeros: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm512_ternarylogic_epi32::<0xca>(self.0, ones.0, zeros.0) })
    }

    #[inline(always)]
    fn majority(self, second: Words, third: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm512_ternarylogic_epi32::<0xe8>(self.0, second.0, third.0) })
    }

    #[inline(always)]
    fn rotate_right<const RIGHT: u32, const LEFT: u32>(self) -> Words {
        const { assert!(RIGHT + LEFT == 32) };
        // SAFETY: see above.
        Words(unsafe {
            let counts = _mm512_set1_epi32(RIGHT.cast_signed());
            _mm512_rorv_epi32(self.0, counts)
        })
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Words {
        // SAFETY: see above.
        Words(unsafe { _mm512_srli_epi32::<BITS>(self.0) })
    }

    #[inline(always)]
    fn interleave_low(self, other: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe {
            let order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            _mm512_permutex2var_epi32(self.0, order, other.0)
        })
    }

    #[inline(always)]
    fn interleave_high(self, other: Words) -> Words {
        // SAFETY: see above.
        Words(unsafe {
            let order = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            _mm512_permutex2var_epi32(self.0, order, other.0)
        })
    }
}
