//! Vectors of any width without any instruction set: the algorithm of [`super::vector`] can be tested on every CPU.

use super::lanes::Lanes;
use super::vector::{Vector, compress_lanes};
use super::{Block, State};

/// Lanes, emulated. The methods are not inlined: thousands of them make one block, and the compiler would take minutes.
#[derive(Clone, Copy)]
pub(super) struct Emulated;

impl Lanes<16> for Emulated {
    fn compress(self, states: &mut [State; 16], blocks: &[&[Block]; 16]) {
        compress_lanes::<Words<16>, 16>((), states, blocks);
    }
}

impl Lanes<8> for Emulated {
    fn compress(self, states: &mut [State; 8], blocks: &[&[Block]; 8]) {
        compress_lanes::<Words<8>, 8>((), states, blocks);
    }
}

#[derive(Clone, Copy)]
struct Words<const N: usize>([u32; N]);

impl<const N: usize> Vector<N> for Words<N> {
    type Cpu = ();

    fn splat((): (), word: u32) -> Words<N> {
        Words([word; N])
    }

    fn load((): (), words: &[u32; N]) -> Words<N> {
        Words(*words)
    }

    fn store(self, words: &mut [u32; N]) {
        *words = self.0;
    }

    #[inline(never)]
    fn load_big_endian((): (), block: &Block, part: usize) -> Words<N> {
        let (words, _) = block.as_chunks::<4>();
        Words(std::array::from_fn(|at| u32::from_be_bytes(words[part * N + at])))
    }

    #[inline(never)]
    fn plus(self, other: Words<N>) -> Words<N> {
        Words(std::array::from_fn(|at| self.0[at].wrapping_add(other.0[at])))
    }

    #[inline(never)]
    fn xor(self, second: Words<N>, third: Words<N>) -> Words<N> {
        Words(std::array::from_fn(|at| self.0[at] ^ second.0[at] ^ third.0[at]))
    }

    #[inline(never)]
    fn choose(self, ones: Words<N>, zeros: Words<N>) -> Words<N> {
        Words(std::array::from_fn(|at| (self.0[at] & ones.0[at]) | (!self.0[at] & zeros.0[at])))
    }

    #[inline(never)]
    fn majority(self, second: Words<N>, third: Words<N>) -> Words<N> {
        let [a, b, c] = [self.0, second.0, third.0];
        Words(std::array::from_fn(|at| (a[at] & b[at]) | (a[at] & c[at]) | (b[at] & c[at])))
    }

    #[inline(never)]
    fn rotate_right<const RIGHT: u32, const LEFT: u32>(self) -> Words<N> {
        assert_eq!(RIGHT + LEFT, 32);
        Words(self.0.map(|word| word.rotate_right(RIGHT)))
    }

    #[inline(never)]
    fn shift_right<const BITS: u32>(self) -> Words<N> {
        Words(self.0.map(|word| word >> BITS))
    }

    #[inline(never)]
    fn interleave_low(self, other: Words<N>) -> Words<N> {
        Words(std::array::from_fn(|at| if at % 2 == 0 { self.0[at / 2] } else { other.0[at / 2] }))
    }

    #[inline(never)]
    fn interleave_high(self, other: Words<N>) -> Words<N> {
        let half = N / 2;
        Words(std::array::from_fn(|at| if at % 2 == 0 { self.0[half + at / 2] } else { other.0[half + at / 2] }))
    }
}
