//! The machines in plain Rust, each operation as the manual of the processor defines it: what tests run where a processor lacks them.
//!
//! Sums are added with Rust's `+`: in a debug build one that does not fit into 64 bits is a panic.

use super::machine::{Machine, Sums};
use super::{avx2, ifma};

/// As [`ifma`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LikeIfma;

/// As [`avx2`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LikeAvx2;

/// What is the same in both, but for the measures.
macro_rules! with_measures_of {
    ($like:ident) => {
        type Vector = [u64; $like::LANES];

        const LIMB_BITS: u32 = $like::LIMB_BITS;
        const LIMBS: usize = $like::LIMBS;
        const ROWS: usize = $like::ROWS;

        fn vector(self, lanes: Self::Vector) -> Self::Vector {
            lanes
        }

        fn lanes(self, vector: Self::Vector) -> Self::Vector {
            vector
        }

        fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
            std::array::from_fn(|lane| a[lane] + b[lane])
        }

        fn carry(self, vector: Self::Vector) -> Self::Vector {
            vector.map(|number| number >> $like::LIMB_BITS)
        }

        fn limb(self, vector: Self::Vector) -> Self::Vector {
            vector.map(|number| number & ((1 << $like::LIMB_BITS) - 1))
        }
    };
}

impl Machine<{ ifma::LANES }, { ifma::PLACES }> for LikeIfma {
    with_measures_of!(ifma);

    fn multiply(
        self,
        (low, high): Sums<Self::Vector>,
        a: Self::Vector,
        b: Self::Vector,
        below: Self::Vector,
    ) -> Sums<Self::Vector> {
        let high = std::array::from_fn(|lane| high[lane] + (product_of_52_bits(a[lane], below[lane]) >> 52) as u64);
        (self.multiply_lowest(low, a, b), high)
    }

    fn multiply_lowest(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.add(sum, self.low_limb_of_product(a, b))
    }

    fn low_limb_of_product(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.limb(std::array::from_fn(|lane| product_of_52_bits(a[lane], b[lane]) as u64))
    }
}

/// VPMADD52LUQ and VPMADD52HUQ, before they part: 104 bits.
fn product_of_52_bits(a: u64, b: u64) -> u128 {
    let mask = (1 << 52) - 1;
    u128::from(a & mask) * u128::from(b & mask)
}

impl Machine<{ avx2::LANES }, { avx2::PLACES }> for LikeAvx2 {
    with_measures_of!(avx2);

    fn multiply(
        self,
        (sum, other): Sums<Self::Vector>,
        a: Self::Vector,
        b: Self::Vector,
        _below: Self::Vector,
    ) -> Sums<Self::Vector> {
        (self.multiply_lowest(sum, a, b), other)
    }

    fn multiply_lowest(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.add(sum, product_of_32_bits(a, b))
    }

    fn low_limb_of_product(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.limb(product_of_32_bits(a, b))
    }
}

/// VPMULUDQ.
fn product_of_32_bits(a: [u64; avx2::LANES], b: [u64; avx2::LANES]) -> [u64; avx2::LANES] {
    std::array::from_fn(|lane| u64::from(a[lane] as u32) * u64::from(b[lane] as u32))
}
