//! What the kernel needs of a processor.

/// Operations on vectors of numbers of 64 bits, the same in each of the `LANES`; and how long numbers are cut for them.
///
/// A long number is [`Machine::LIMBS`] limbs of [`Machine::LIMB_BITS`] bits, the lowest first, each in a vector of its own, with
/// [`Machine::ROWS`] zeros on top: `PLACES` vectors.
///
/// Whoever holds a value of such a type knows that the processor has the instructions; that is why the methods are safe. They are
/// `#[inline(always)]` in every implementation and in all that is generic over them: the instructions may be used only inside a function
/// that is compiled for them.
pub(super) trait Machine<const LANES: usize, const PLACES: usize>: Copy {
    /// One number for each lane.
    type Vector: Copy;

    /// Bits of a limb: what one instruction multiplies without loss.
    const LIMB_BITS: u32;

    /// Limbs of a number. Their bits are the bits of R.
    const LIMBS: usize;

    /// Limbs that are multiplied in one round: as many as registers allow. It divides [`Machine::LIMBS`] and is [`ROWS_MAX`] at most.
    const ROWS: usize;

    /// A vector of these numbers.
    fn vector(self, lanes: [u64; LANES]) -> Self::Vector;

    /// The numbers of a vector.
    fn lanes(self, vector: Self::Vector) -> [u64; LANES];

    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// What a column gets of limb `a` times a number whose limb is `b` there and `below` one place below: to the two sums, each of which is
    /// as good as the other.
    fn multiply(
        self,
        sums: Sums<Self::Vector>,
        a: Self::Vector,
        b: Self::Vector,
        below: Self::Vector,
    ) -> Sums<Self::Vector>;

    /// As [`Machine::multiply`], where there is nothing below.
    fn multiply_lowest(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The low limb of `a · b`, of both of which only the low limb is looked at.
    fn low_limb_of_product(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// What lies above the low limb, moved down: the carry into the next column.
    fn carry(self, vector: Self::Vector) -> Self::Vector;

    /// The low limb.
    fn limb(self, vector: Self::Vector) -> Self::Vector;
}

/// Two sums that do not wait for each other, to be added in the end.
pub(super) type Sums<V> = (V, V);

/// Bounds [`Machine::ROWS`].
pub(super) const ROWS_MAX: usize = 4;
