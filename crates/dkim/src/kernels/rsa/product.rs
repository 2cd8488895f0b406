//! Montgomery's product in every lane, and the power 65537 made of it.
//!
//! R = 2^(limbs · bits of a limb). The product of a and b is (a·b + q·n) / R with the one q below R that makes the division exact, so it
//! is a·b/R modulo n. Classically n is subtracted once more if that is needed; here it never is ("almost Montgomery"):
//!
//! Let n + 2^2025 be the *bound*. A product of two numbers below the bound is below it again, because
//! a·b < (2^2048 + 2^2025)² < 2^4097 and q·n < R·n, and R is 2^2072 or more, which makes (a·b + q·n) / R < 2^2025 + n. A signature and
//! R² mod n are below 2^2048, so they and all their products keep to that.
//!
//! At the end a block B of RFC 8017 §9.2 is looked for. B lies between 2^2032 and 2^2033, so B < n < B + n, and B + n is not below the
//! bound: what is below it and congruent to B is B itself. Comparing limbs is comparing residues.

use super::machine::{Machine, ROWS_MAX};
use super::modulus::{self, Modulus, Words};

/// A number in each lane.
pub(super) struct Number<V, const PLACES: usize>([V; PLACES]);

/// A modulus in each lane.
pub(super) struct Moduli<V, const PLACES: usize> {
    n: Number<V, PLACES>,
    square_of_r: Number<V, PLACES>,
    quotient_factor: V,
}

impl<V: Copy, const PLACES: usize> Number<V, PLACES> {
    #[inline(always)]
    pub(super) fn new<M, const LANES: usize>(machine: M, lanes: [&Words; LANES]) -> Number<V, PLACES>
    where
        M: Machine<LANES, PLACES, Vector = V>,
    {
        let mut places = [machine.vector([0; LANES]); PLACES];
        for (place, vector) in places.iter_mut().enumerate().take(M::LIMBS) {
            let mut limbs = [0; LANES];
            for lane in 0..LANES {
                limbs[lane] = modulus::limb(lanes[lane], place, M::LIMB_BITS);
            }
            *vector = machine.vector(limbs);
        }
        Number(places)
    }

    #[cfg(test)]
    pub(super) fn of_places(places: [V; PLACES]) -> Number<V, PLACES> {
        Number(places)
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> &[V; PLACES] {
        &self.0
    }

    /// Whether the number in `lane` is this one.
    #[inline(always)]
    pub(super) fn lane_is<M, const LANES: usize>(&self, machine: M, lane: usize, number: &Words) -> bool
    where
        M: Machine<LANES, PLACES, Vector = V>,
    {
        let mut same = true;
        for place in 0..M::LIMBS {
            same &= machine.lanes(self.0[place])[lane] == modulus::limb(number, place, M::LIMB_BITS);
        }
        same
    }
}

impl<V: Copy, const PLACES: usize> Moduli<V, PLACES> {
    #[inline(always)]
    pub(super) fn new<M, const LANES: usize>(machine: M, moduli: [&Modulus; LANES]) -> Moduli<V, PLACES>
    where
        M: Machine<LANES, PLACES, Vector = V>,
    {
        Moduli {
            n: Number::new(machine, moduli.map(Modulus::n)),
            square_of_r: Number::new(machine, moduli.map(Modulus::square_of_r)),
            quotient_factor: machine.vector(moduli.map(Modulus::quotient_factor)),
        }
    }
}

/// `base`^65537 modulo n, below the bound: into Montgomery's form, sixteen times squared, and times `base`, which takes the form off.
#[inline(always)]
pub(super) fn power_65537<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(
    machine: M,
    base: &Number<M::Vector, PLACES>,
    moduli: &Moduli<M::Vector, PLACES>,
) -> Number<M::Vector, PLACES> {
    let (mut one, mut other) = (Number(base.0), Number(base.0));
    let (mut power, mut next) = (&mut one, &mut other);
    // One place that multiplies: the product is inlined, and large.
    for step in 0..PRODUCTS {
        let factor = match step {
            0 => &moduli.square_of_r,
            LAST_PRODUCT => base,
            _ => &*power,
        };
        product(machine, next, power, factor, moduli);
        debug_assert!(is_below_bound(machine, next, moduli), "product {step} is not below the bound");
        std::mem::swap(&mut power, &mut next);
    }
    Number(power.0)
}

/// `out := a · b / R` modulo n.
///
/// Some limbs of `a` at once, and with them as many limbs of q, are multiplied with all of `b` and n; then as many limbs are zero
/// and drop out below. What a column sums stays below 2^64; each machine says why.
#[inline(always)]
pub(super) fn product<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(
    machine: M,
    out: &mut Number<M::Vector, PLACES>,
    a: &Number<M::Vector, PLACES>,
    b: &Number<M::Vector, PLACES>,
    moduli: &Moduli<M::Vector, PLACES>,
) {
    let zero = machine.vector([0; LANES]);
    let (b, n) = (&b.0, &moduli.n.0);
    let mut columns = [zero; PLACES];
    for round in 0..M::LIMBS / M::ROWS {
        let mut a_rows = [zero; ROWS_MAX];
        for row in 0..M::ROWS {
            a_rows[row] = a.0[round * M::ROWS + row];
        }
        let (q_rows, mut carry) = quotient(machine, &columns, &a_rows, b, moduli);
        for at in M::ROWS..PLACES {
            let mut of_a = (columns[at], carry);
            let mut of_q = (zero, zero);
            for row in 0..M::ROWS {
                of_a = machine.multiply(of_a, a_rows[row], b[at - row], b[at - row - 1]);
                of_q = machine.multiply(of_q, q_rows[row], n[at - row], n[at - row - 1]);
            }
            carry = zero;
            columns[at - M::ROWS] = machine.add(machine.add(of_a.0, of_a.1), machine.add(of_q.0, of_q.1));
        }
    }
    let mut carry = zero;
    for at in 0..M::LIMBS {
        let sum = machine.add(columns[at], carry);
        carry = machine.carry(sum);
        out.0[at] = machine.limb(sum);
    }
    debug_assert!(machine.lanes(carry) == [0; LANES], "a product is not below R");
}

/// The limbs of q that make the lowest columns zero, and what those carry into the next.
#[inline(always)]
fn quotient<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(
    machine: M,
    columns: &[M::Vector; PLACES],
    a_rows: &[M::Vector; ROWS_MAX],
    b: &[M::Vector; PLACES],
    moduli: &Moduli<M::Vector, PLACES>,
) -> ([M::Vector; ROWS_MAX], M::Vector) {
    let zero = machine.vector([0; LANES]);
    let n = &moduli.n.0;
    let mut q_rows = [zero; ROWS_MAX];
    let mut carry = zero;
    for at in 0..M::ROWS {
        let mut sums = (machine.multiply_lowest(machine.add(columns[at], carry), a_rows[at], b[0]), zero);
        for row in 0..at {
            sums = machine.multiply(sums, a_rows[row], b[at - row], b[at - row - 1]);
            sums = machine.multiply(sums, q_rows[row], n[at - row], n[at - row - 1]);
        }
        let sum = machine.add(sums.0, sums.1);
        q_rows[at] = machine.low_limb_of_product(sum, moduli.quotient_factor);
        carry = machine.carry(machine.multiply_lowest(sum, q_rows[at], n[0]));
    }
    (q_rows, carry)
}

/// Whether every lane is below n + 2^2025.
pub(super) fn is_below_bound<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(
    machine: M,
    number: &Number<M::Vector, PLACES>,
    moduli: &Moduli<M::Vector, PLACES>,
) -> bool {
    let limb = |number: &Number<M::Vector, PLACES>, place: usize, lane: usize| machine.lanes(number.0[place])[lane];
    (0..LANES).all(|lane| {
        let mut carry = 0;
        let mut below = false;
        for place in 0..M::LIMBS {
            let bit = 2025_usize.checked_sub(place * M::LIMB_BITS as usize).filter(|bit| *bit < M::LIMB_BITS as usize);
            let sum = limb(&moduli.n, place, lane) + bit.map_or(0, |bit| 1 << bit) + carry;
            carry = sum >> M::LIMB_BITS;
            let bound = sum & ((1 << M::LIMB_BITS) - 1);
            let own = limb(number, place, lane);
            // The highest limb that differs has the last word.
            below = own < bound || own == bound && below;
        }
        below
    })
}

/// Into Montgomery's form, sixteen squares, and once by the base.
const PRODUCTS: usize = 18;
const LAST_PRODUCT: usize = PRODUCTS - 1;
