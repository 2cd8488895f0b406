//! A scan for two octets side by side, many at a time.

/// How many octets at the start of `octets` hold no pair of neighbours that `is_found` names; less than there may be, as whole pieces are
/// looked at. The pair of the last of them and its successor is not named either, and there is a successor.
///
/// Never a part of its callers: one that the compiler thinks cold would have it look at single octets.
#[inline(never)]
pub(crate) fn octets_without(octets: &[u8], is_found: impl Fn(u8, u8) -> bool) -> usize {
    let (mut without, mut piece_octets) = (0, PIECE_OCTETS_MIN);
    while let Some(piece) = octets.get(without..=without + piece_octets) {
        // Without an early exit, so that the compiler compares many octets at once.
        let pairs = piece.iter().zip(&piece[1..]);
        if pairs.fold(false, |found, (&one, &next)| found | is_found(one, next)) {
            break;
        }
        without += piece_octets;
        piece_octets = PIECE_OCTETS.min(2 * piece_octets);
    }
    without
}

/// What is looked at together at most.
pub(crate) const PIECE_OCTETS: usize = 256;

/// What is looked at together first, and twice that next: where there is something to find every few octets, little is looked at in vain.
const PIECE_OCTETS_MIN: usize = 16;
