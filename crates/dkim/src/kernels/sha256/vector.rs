//! SHA-256 of `N` bodies at once in vectors of `N` words: word `i` of a vector belongs to body `i`.
//!
//! The algorithm is written once, over [`Vector`]. Everything is `inline(always)`, so that it is compiled with the instructions of the
//! function that calls [`compress_lanes`]; closures would not be.

use super::{Block, ROUND_CONSTANTS, State};

/// `N` words of 32 bits, one of each body.
///
/// A value exists only where the CPU has the instructions that its methods use: the first one is made from a [`Vector::Cpu`].
pub(super) trait Vector<const N: usize>: Copy {
    /// Proof of the instructions.
    type Cpu: Copy;

    fn splat(cpu: Self::Cpu, word: u32) -> Self;
    fn load(cpu: Self::Cpu, words: &[u32; N]) -> Self;
    fn store(self, words: &mut [u32; N]);
    /// `N` words of a block, big-endian, from word `N * part` on.
    fn load_big_endian(cpu: Self::Cpu, block: &Block, part: usize) -> Self;
    fn plus(self, other: Self) -> Self;
    fn xor(self, second: Self, third: Self) -> Self;
    /// Ch of FIPS 180-4 §4.1.2: bits of `ones` where `self` has 1, of `zeros` where it has 0.
    fn choose(self, ones: Self, zeros: Self) -> Self;
    /// Maj of FIPS 180-4 §4.1.2.
    fn majority(self, second: Self, third: Self) -> Self;
    /// By `RIGHT` bits; `LEFT` is 32 less that.
    fn rotate_right<const RIGHT: u32, const LEFT: u32>(self) -> Self;
    fn shift_right<const BITS: u32>(self) -> Self;
    /// The lower halves of both, word by word in turn.
    fn interleave_low(self, other: Self) -> Self;
    /// The upper halves of both, word by word in turn.
    fn interleave_high(self, other: Self) -> Self;
}

/// Advances each state over its own blocks, as many as the shortest has.
#[inline(always)]
pub(super) fn compress_lanes<V: Vector<N>, const N: usize>(
    cpu: V::Cpu,
    states: &mut [State; N],
    blocks: &[&[Block]; N],
) {
    let turn = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or_default();
    let mut words = load_states::<V, N>(cpu, states);
    for at in 0..turn {
        let mut message = load_message::<V, N>(cpu, blocks, at);
        let before = words;
        let (sixteens, _) = ROUND_CONSTANTS.as_flattened().as_chunks::<16>();
        sixteen_rounds::<true, V, N>(cpu, &mut words, &mut message, &sixteens[0]);
        for constants in &sixteens[1..] {
            sixteen_rounds::<false, V, N>(cpu, &mut words, &mut message, constants);
        }
        for word in 0..8 {
            words[word] = words[word].plus(before[word]);
        }
    }
    store_states(&words, states);
}

/// After the first sixteen, each round needs a message word made of four earlier ones.
#[inline(always)]
fn sixteen_rounds<const FIRST: bool, V: Vector<N>, const N: usize>(
    cpu: V::Cpu,
    words: &mut [V; 8],
    message: &mut [V; 16],
    constants: &[u32; 16],
) {
    macro_rules! rounds {
        ($($t:literal)*) => { $(
            if !FIRST {
                let small0 = small_sigma0(message[($t + 1) % 16]);
                let small1 = small_sigma1(message[($t + 14) % 16]);
                message[$t] = message[$t].plus(small0).plus(message[($t + 9) % 16]).plus(small1);
            }
            round::<$t, V, N>(words, message[$t].plus(V::splat(cpu, constants[$t])));
        )* };
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// Round `T` of FIPS 180-4 §6.2.2 step 3. The words stay where they are and change their names instead: each round `a` is called `b`,
/// and so on.
#[inline(always)]
fn round<const T: usize, V: Vector<N>, const N: usize>(words: &mut [V; 8], message_and_constant: V) {
    let [a, b, c, d, e, f, g, h] = const { names(T) };
    let big1 =
        words[e].rotate_right::<6, 26>().xor(words[e].rotate_right::<11, 21>(), words[e].rotate_right::<25, 7>());
    let choice = words[e].choose(words[f], words[g]);
    let first = words[h].plus(message_and_constant).plus(choice).plus(big1);
    let big0 =
        words[a].rotate_right::<2, 30>().xor(words[a].rotate_right::<13, 19>(), words[a].rotate_right::<22, 10>());
    let second = big0.plus(words[a].majority(words[b], words[c]));
    words[d] = words[d].plus(first);
    words[h] = first.plus(second);
}

/// Where `a` to `h` stand in round `t`.
const fn names(t: usize) -> [usize; 8] {
    let mut names = [0; 8];
    let mut name = 0;
    while name < 8 {
        names[name] = (name + 64 - t) % 8;
        name += 1;
    }
    names
}

#[inline(always)]
fn small_sigma0<V: Vector<N>, const N: usize>(word: V) -> V {
    word.rotate_right::<7, 25>().xor(word.rotate_right::<18, 14>(), word.shift_right::<3>())
}

#[inline(always)]
fn small_sigma1<V: Vector<N>, const N: usize>(word: V) -> V {
    word.rotate_right::<17, 15>().xor(word.rotate_right::<19, 13>(), word.shift_right::<10>())
}

/// The sixteen message words of block `at` of every body.
#[inline(always)]
fn load_message<V: Vector<N>, const N: usize>(cpu: V::Cpu, blocks: &[&[Block]; N], at: usize) -> [V; 16] {
    let mut message = [V::splat(cpu, 0); 16];
    for part in 0..16 / N {
        let mut rows = [V::splat(cpu, 0); N];
        for lane in 0..N {
            rows[lane] = V::load_big_endian(cpu, &blocks[lane][at], part);
        }
        transpose(&mut rows);
        message[part * N..(part + 1) * N].copy_from_slice(&rows);
    }
    message
}

/// Rows become columns. To interleave row `i` with row `i + N / 2` turns the digits of the index (row, column), taken as one binary
/// number, left by one; after as many rounds as the row has digits, row and column have changed places.
#[inline(always)]
fn transpose<V: Vector<N>, const N: usize>(rows: &mut [V; N]) {
    let mut digit = 0;
    while digit < N.trailing_zeros() {
        let before = *rows;
        for pair in 0..N / 2 {
            rows[2 * pair] = before[pair].interleave_low(before[pair + N / 2]);
            rows[2 * pair + 1] = before[pair].interleave_high(before[pair + N / 2]);
        }
        digit += 1;
    }
}

#[inline(always)]
fn load_states<V: Vector<N>, const N: usize>(cpu: V::Cpu, states: &[State; N]) -> [V; 8] {
    let mut words = [V::splat(cpu, 0); 8];
    for word in 0..8 {
        let mut column = [0; N];
        for lane in 0..N {
            column[lane] = states[lane][word];
        }
        words[word] = V::load(cpu, &column);
    }
    words
}

#[inline(always)]
fn store_states<V: Vector<N>, const N: usize>(words: &[V; 8], states: &mut [State; N]) {
    for word in 0..8 {
        let mut column = [0; N];
        words[word].store(&mut column);
        for lane in 0..N {
            states[lane][word] = column[lane];
        }
    }
}
