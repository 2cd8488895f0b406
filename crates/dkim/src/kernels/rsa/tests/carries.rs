//! Numbers at the edges: of a limb, of the modulus, of the bound that products keep, and of the range of signatures.

use num_bigint::BigUint;

use super::super::product::{is_below_bound, product};
use super::emulation::{LikeAvx2, LikeIfma};
use super::keys::{aws_lc_verifies, octets, power_of_2, primes};
use super::*;

/// Odd numbers of 2048 bits, prime or not.
fn moduli() -> Vec<BigUint> {
    let top = power_of_2(2047);
    let mut moduli: Vec<BigUint> = primes().into_iter().map(|key| key.n).collect();
    moduli.extend([
        power_of_2(2048) - 1_u8,
        &top + 1_u8,
        &top + power_of_2(2028) - 1_u8,
        &top + power_of_2(1976) + 1_u8,
        power_of_2(2048) - power_of_2(2028) + 1_u8,
        power_of_2(2048) - power_of_2(1024) - 1_u8,
    ]);
    moduli
}

fn from_words(words: &[u64]) -> BigUint {
    words.iter().rev().fold(BigUint::ZERO, |number, word| (number << 64) + *word)
}

#[test]
fn what_is_computed_of_a_modulus() {
    for n in moduli() {
        for form in [Form::Limbs52, Form::Limbs28] {
            let modulus = Modulus::new(&octets(&n), form.r_bits()).unwrap();
            assert_eq!(from_words(modulus.n()), n);
            assert_eq!(from_words(modulus.square_of_r()), power_of_2(2 * form.r_bits()) % &n, "{form:?} {n:x}");
            assert_eq!(modulus.quotient_factor().wrapping_mul(modulus.n()[0]), u64::MAX, "-1 modulo 2^64: {n:x}");
        }
    }
}

#[test]
fn moduli_out_of_range() {
    let rows = [power_of_2(2047), power_of_2(2047) - 1_u8, power_of_2(2048) - 2_u8, BigUint::ZERO, BigUint::from(1_u8)];
    for n in rows {
        assert_eq!(Modulus::new(&octets(&n), Form::Limbs52.r_bits()), None, "{n:x}");
    }
}

#[test]
fn the_bits_of_r_are_those_of_all_limbs() {
    fn bits<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(_: M) -> u32 {
        assert!(M::LIMBS.is_multiple_of(M::ROWS) && PLACES == M::LIMBS + M::ROWS && M::ROWS <= machine::ROWS_MAX);
        M::LIMB_BITS * u32::try_from(M::LIMBS).unwrap()
    }
    assert_eq!(Form::Limbs52.r_bits(), bits(LikeIfma));
    assert_eq!(Form::Limbs28.r_bits(), bits(LikeAvx2));
}

/// Numbers below the bound, those at its edge included.
fn factors(n: &BigUint) -> Vec<BigUint> {
    let bound = n + power_of_2(2025);
    let small = [BigUint::ZERO, BigUint::from(1_u8), BigUint::from(3_u8)];
    let of_limbs = [52, 56, 1976, 2016, 2028, 2047].map(power_of_2);
    let of_ones = [28, 52, 1960, 2028, 2047].map(|bits| power_of_2(bits) - 1_u8);
    let of_n = [n >> 1, n - 1_u8, n.clone(), n + 1_u8, &bound - 1_u8, n + power_of_2(2024)];
    let of_r = [2072, 2080, 4144, 4160].map(|bits| power_of_2(bits) % n);
    let all = small.into_iter().chain(of_limbs).chain(of_ones).chain(of_n).chain(of_r);
    all.filter(|factor| *factor < bound).collect()
}

/// A number of any size in each lane: the test's own way in and out.
fn into_lanes<M, const LANES: usize, const PLACES: usize>(
    machine: M,
    lanes: [&BigUint; LANES],
) -> Number<M::Vector, PLACES>
where
    M: Machine<LANES, PLACES>,
{
    let mask = power_of_2(M::LIMB_BITS) - 1_u8;
    Number::of_places(std::array::from_fn(|place| {
        let limb = |number: &BigUint| ((number >> (M::LIMB_BITS as usize * place)) & &mask).try_into().unwrap();
        machine.vector(lanes.map(limb))
    }))
}

fn out_of_lane<M, const LANES: usize, const PLACES: usize>(
    machine: M,
    number: &Number<M::Vector, PLACES>,
    lane: usize,
) -> BigUint
where
    M: Machine<LANES, PLACES>,
{
    let limbs = number.places()[..M::LIMBS].iter().rev();
    limbs.fold(BigUint::ZERO, |out, limb| (out << M::LIMB_BITS) + machine.lanes(*limb)[lane])
}

fn products_are_right<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(machine: M, form: Form) {
    for n in moduli() {
        let modulus = Modulus::new(&octets(&n), form.r_bits()).unwrap();
        let moduli = Moduli::new(machine, [&modulus; LANES]);
        let factors = factors(&n);
        let pairs: Vec<_> = factors.iter().flat_map(|a| factors.iter().map(move |b| (a, b))).collect();
        for chunk in pairs.chunks(LANES) {
            let lane = |at: usize| chunk[at % chunk.len()];
            let a = into_lanes(machine, std::array::from_fn(|at| lane(at).0));
            let b = into_lanes(machine, std::array::from_fn(|at| lane(at).1));
            let mut out = into_lanes(machine, [&BigUint::ZERO; LANES]);
            product(machine, &mut out, &a, &b, &moduli);
            assert!(is_below_bound(machine, &out, &moduli), "{n:x}");
            for at in 0..LANES {
                let (a, b) = lane(at);
                let out = out_of_lane(machine, &out, at);
                assert!(out < &n + power_of_2(2025));
                assert_eq!((out << form.r_bits()) % &n, (a * b) % &n, "{a:x} * {b:x} mod {n:x}");
            }
        }
    }
}

#[test]
fn products_stay_below_the_bound_and_are_right() {
    products_are_right(LikeIfma, Form::Limbs52);
    products_are_right(LikeAvx2, Form::Limbs28);
}

fn bound_is_right<M: Machine<LANES, PLACES>, const LANES: usize, const PLACES: usize>(machine: M, form: Form) {
    for n in moduli() {
        let modulus = Modulus::new(&octets(&n), form.r_bits()).unwrap();
        let moduli = Moduli::new(machine, [&modulus; LANES]);
        let bound = &n + power_of_2(2025);
        let rows = [
            (BigUint::ZERO, true),
            (n.clone(), true),
            (&bound - 1_u8, true),
            (bound.clone(), false),
            (&bound + 1_u8, false),
            (power_of_2(2049), false),
        ];
        for (number, below) in rows {
            for lane in 0..LANES {
                let lanes = std::array::from_fn(|at| if at == lane { &number } else { &BigUint::ZERO });
                assert_eq!(is_below_bound(machine, &into_lanes(machine, lanes), &moduli), below, "{number:x} {n:x}");
            }
        }
    }
}

#[test]
fn the_bound_is_where_it_is_said_to_be() {
    bound_is_right(LikeIfma, Form::Limbs52);
    bound_is_right(LikeAvx2, Form::Limbs28);
}

pub(super) fn powers_are_right<M, const LANES: usize, const PLACES: usize>(
    machine: M,
    form: Form,
    n: &BigUint,
    bases: &[BigUint],
) where
    M: Machine<LANES, PLACES>,
{
    let modulus = Modulus::new(&octets(n), form.r_bits()).unwrap();
    let moduli = Moduli::new(machine, [&modulus; LANES]);
    for chunk in bases.chunks(LANES) {
        let base = |at: usize| &chunk[at % chunk.len()];
        let powers = power_65537(machine, &into_lanes(machine, std::array::from_fn(base)), &moduli);
        for at in 0..LANES.min(chunk.len()) {
            let power = out_of_lane(machine, &powers, at) % n;
            assert_eq!(power, base(at).modpow(&BigUint::from(65_537_u32), n), "{:x} mod {n:x}", base(at));
        }
    }
}

#[test]
fn powers_of_extreme_numbers() {
    for n in moduli() {
        // A signature that is not below n goes through the products too, before it is refused.
        let below_2048 = factors(&n).into_iter().filter(|base| base.bits() <= 2048);
        let bases: Vec<_> = below_2048.chain([power_of_2(2048) - 1_u8]).collect();
        powers_are_right(LikeIfma, Form::Limbs52, &n, &bases);
        powers_are_right(LikeAvx2, Form::Limbs28, &n, &bases);
    }
}

#[test]
fn valid_signatures_in_every_lane_between_others() {
    let keys = primes();
    for (row, key) in keys.iter().enumerate() {
        let other = &keys[(row + 1) % keys.len()];
        let (digest, wrong) = ([row as u8; 32], [0xee; 32]);
        let (signature, foreign) = (key.sign(&digest), other.sign(&digest));
        assert!(aws_lc_verifies(&key.n, &signature, &digest), "{}", key.name);
        let right = Given { key: &key.modulus, signature: &signature, digest: &digest };
        let others = [
            Some(Given { digest: &wrong, ..right }),
            Some(Given { signature: &foreign, ..right }),
            Some(Given { key: &other.modulus, ..right }),
            Some(Given { signature: &[0xff; MODULUS_OCTETS], ..right }),
            Some(Given { signature: &[0; MODULUS_OCTETS], ..right }),
            None,
        ];
        for lane in 0..LANES_MAX {
            let given =
                std::array::from_fn(|at| if at == lane { Some(right) } else { others[(at + row) % others.len()] });
            let expected = std::array::from_fn(|at| at == lane);
            assert_eq!(verify_by_all(&given), expected, "{} in lane {lane}", key.name);
        }
        assert_eq!(verify_by_all(&[Some(right); LANES_MAX]), [true; LANES_MAX], "{}", key.name);
    }
}

#[test]
fn any_lane_may_be_empty() {
    let key = &primes()[0];
    let digest = [1; 32];
    let signature = key.sign(&digest);
    let right = Given { key: &key.modulus, signature: &signature, digest: &digest };
    for filled in 0..=u8::MAX {
        let expected: [bool; LANES_MAX] = std::array::from_fn(|at| filled >> at & 1 == 1);
        assert_eq!(verify_by_all(&expected.map(|there| there.then_some(right))), expected);
    }
}

#[test]
fn every_bit_of_a_signature_and_of_a_digest_counts() {
    let key = &primes()[2];
    let digest = [0x5a; 32];
    let signature = key.sign(&digest);
    let right = Given { key: &key.modulus, signature: &signature, digest: &digest };
    let changed = |bit: usize| {
        let (mut signature, mut digest) = (signature, digest);
        match signature.get_mut(bit / 8) {
            Some(octet) => *octet ^= 1 << (bit % 8),
            None => digest[bit / 8 - MODULUS_OCTETS] ^= 1 << (bit % 8),
        }
        (signature, digest)
    };
    let bits: Vec<usize> = (0..8 * (MODULUS_OCTETS + 32)).collect();
    // One lane holds what is right, another one each time.
    for (call, bits) in bits.chunks(LANES_MAX - 1).enumerate() {
        let changed: Vec<_> = bits.iter().map(|bit| changed(*bit)).collect();
        let mut given = [Some(right); LANES_MAX];
        for (at, (signature, digest)) in changed.iter().enumerate() {
            given[(call + at) % LANES_MAX] = Some(Given { signature, digest, ..right });
        }
        let mut expected = [true; LANES_MAX];
        (0..changed.len()).for_each(|at| expected[(call + at) % LANES_MAX] = false);
        assert_eq!(verify_by_all(&given), expected, "bits {bits:?}");
    }
}

#[test]
fn signatures_that_are_not_below_the_modulus() {
    let mut congruent_and_refused = 0;
    for key in primes() {
        for byte in 0..4 {
            let digest = [byte; 32];
            let signature = BigUint::from_bytes_be(&key.sign(&digest));
            let congruent = &signature + &key.n;
            let rows = [
                (signature.clone(), true),
                (congruent.clone(), false),
                (&key.n - &signature, false),
                (BigUint::ZERO, false),
                (BigUint::from(1_u8), false),
                (&key.n - 1_u8, false),
                (key.n.clone(), false),
                (&key.n + 1_u8, false),
                (power_of_2(2048) - 1_u8, false),
            ];
            for (signature, valid) in rows.into_iter().filter(|(signature, _)| signature.bits() <= 2048) {
                congruent_and_refused += u32::from(signature == congruent);
                let signature = octets(&signature);
                let given = Given { key: &key.modulus, signature: &signature, digest: &digest };
                assert_eq!(
                    verify_by_all(&[Some(given); LANES_MAX]),
                    [valid; LANES_MAX],
                    "{} {signature:02x?}",
                    key.name
                );
                assert_eq!(aws_lc_verifies(&key.n, &signature, &digest), valid, "aws-lc: {}", key.name);
            }
        }
    }
    assert!(congruent_and_refused > 0, "no signature was small enough to be tried with n added");
}
