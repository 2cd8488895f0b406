//! A modulus with what Montgomery's multiplication needs of it, computed once for a key.

use super::MODULUS_OCTETS;

/// A number of 2048 bits, low word first.
pub(super) type Words = [u64; WORDS];

const WORDS: usize = MODULUS_OCTETS / 8;

/// The modulus of an RSA key, of exactly 2048 bits and odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modulus {
    n: Words,
    /// R² mod n: a product with it takes a number into Montgomery's form.
    square_of_r: Words,
    /// -n⁻¹ mod 2^64, and so modulo any smaller power of 2.
    quotient_factor: u64,
}

impl Modulus {
    /// The modulus with these octets, the highest first, for R = 2^`r_bits`, which is above 2^2048; none if it is out of range.
    pub(crate) fn new(octets: &[u8; MODULUS_OCTETS], r_bits: u32) -> Option<Modulus> {
        let in_range = octets[0] & 0x80 != 0 && octets[MODULUS_OCTETS - 1] & 1 == 1;
        in_range.then(|| {
            let n = words(octets);
            Modulus { square_of_r: power_of_2(2 * r_bits, &n), quotient_factor: inverse(n[0]).wrapping_neg(), n }
        })
    }

    pub(super) fn n(&self) -> &Words {
        &self.n
    }

    pub(super) fn square_of_r(&self) -> &Words {
        &self.square_of_r
    }

    pub(super) fn quotient_factor(&self) -> u64 {
        self.quotient_factor
    }
}

/// The number with these octets, the highest first.
pub(super) fn words(octets: &[u8; MODULUS_OCTETS]) -> Words {
    let (chunks, _) = octets.as_chunks::<8>();
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(chunks.iter().rev()) {
        *word = u64::from_be_bytes(*chunk);
    }
    words
}

/// The limb at `place` of a number cut into limbs of `limb_bits` bits: 0 above its end.
#[inline(always)]
pub(super) fn limb(words: &Words, place: usize, limb_bits: u32) -> u64 {
    let bit = place * limb_bits as usize;
    let word = |at: usize| words.get(at).copied().map_or(0, u128::from);
    let from_bit = (word(bit / 64 + 1) << 64 | word(bit / 64)) >> (bit % 64);
    from_bit as u64 & ((1 << limb_bits) - 1)
}

/// `a < b`.
pub(super) fn is_below(a: &Words, b: &Words) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: 3 bits are right at first, and each step doubles them.
fn inverse(n: u64) -> u64 {
    let mut inverse = n;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(n.wrapping_mul(inverse)));
    }
    inverse
}

/// 2^`exponent` mod n, for an exponent of 2048 or more: what a long division leaves.
fn power_of_2(exponent: u32, n: &Words) -> Words {
    // The highest bit of n is set, so 2^2048 contains it once and leaves 2^2048 - n, which is below n because n is odd.
    let mut rest = negative(n);
    let more = exponent - 2048;
    for _ in 0..more % 64 {
        double(&mut rest, n);
    }
    for _ in 0..more / 64 {
        divide_step(&mut rest, n);
    }
    rest
}

/// 2^2048 - n.
fn negative(n: &Words) -> Words {
    let mut carry = true;
    n.map(|word| {
        let (word, overflowed) = (!word).overflowing_add(u64::from(carry));
        carry = overflowed;
        word
    })
}

/// `rest := 2 · rest mod n` for `rest < n`.
fn double(rest: &mut Words, n: &Words) {
    let copy = *rest;
    let above = add(rest, &copy);
    if above || !is_below(rest, n) {
        // Adding 2^2048 - n subtracts n; what overflows is what stood above.
        add(rest, &negative(n));
    }
}

/// `rest := rest · 2^64 mod n` for `rest < n`: a step of Knuth's algorithm D (The Art of Computer Programming, §4.3.1). As the highest
/// bit of n is set, the digit estimated from the topmost words is right or too large by one or two.
fn divide_step(rest: &mut Words, n: &Words) {
    let (top, next) = (rest[WORDS - 1], rest[WORDS - 2]);
    let estimate = (u128::from(top) << 64 | u128::from(next)) / u128::from(n[WORDS - 1]);
    let digit = u64::try_from(estimate).unwrap_or(u64::MAX);
    let mut below = 0_u64;
    let mut borrow = 0;
    for (word, n) in rest.iter_mut().zip(n) {
        let subtrahend = u128::from(digit) * u128::from(*n) + u128::from(borrow);
        let (difference, under) = below.overflowing_sub(subtrahend as u64);
        borrow = (subtrahend >> 64) as u64 + u64::from(under);
        below = std::mem::replace(word, difference);
    }
    // Two's complement of what stands above the words: 0, or negative while the digit was too large.
    let mut above = top.wrapping_sub(borrow);
    while above != 0 {
        above = above.wrapping_add(u64::from(add(rest, n)));
    }
}

/// `a := a + b` modulo 2^2048; whether it was above.
fn add(a: &mut Words, b: &Words) -> bool {
    let mut carry = false;
    for (a, b) in a.iter_mut().zip(b) {
        (*a, carry) = a.carrying_add(*b, carry);
    }
    carry
}
