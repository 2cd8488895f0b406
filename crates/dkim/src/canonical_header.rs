//! Header field selection (RFC 6376 §5.4.2) and canonicalization (§3.4.1 simple, §3.4.2 relaxed).
//!
//! The fields are gone through once for all signatures: the distinct names of all `h=` are sorted, each field is looked up among
//! them, and fields of one name are chained from the last to the first. So the cost is linear in the header section, whatever `h=` says
//! and however often a name occurs, and no hash function is there to be collided with.

use std::cell::Cell;
use std::cmp::Ordering;

use crate::canonical_body::{Canonicalization, is_blank};
use crate::header::{Field, Header};
use crate::signature::Signature;

/// The fields that any of some signatures names.
pub(crate) struct SignedFields<'h, 'm> {
    header: &'h Header<'m>,
    /// Distinct, sorted by [`compare_names`].
    names: Vec<&'h [u8]>,
    /// The last field of each name.
    last: Vec<Option<u32>>,
    /// For each field that is named: the one of the same name before it.
    previous: Vec<Option<u32>>,
    looked_at: Cell<usize>,
}

impl<'h, 'm> SignedFields<'h, 'm> {
    /// `names`: those of all signatures of this header, in any order, repeated or not.
    pub(crate) fn new(header: &'h Header<'m>, mut names: Vec<&'h [u8]>) -> SignedFields<'h, 'm> {
        names.sort_unstable_by(|one, two| compare_names(one, two));
        names.dedup_by(|one, two| one.eq_ignore_ascii_case(two));
        let mut last = vec![None; names.len()];
        let mut previous = vec![None; header.fields().len()];
        let looked_at = Cell::new(header.fields().len());
        for (at, field) in (0u32..).zip(header.fields()) {
            if let Some(slot) = slot(&names, header.name(field)) {
                previous[at as usize] = last[slot].replace(at);
            }
        }
        SignedFields { header, names, last, previous, looked_at }
    }

    /// How often a field was looked at so far.
    pub(crate) fn looked_at(&self) -> usize {
        self.looked_at.get()
    }

    /// What a signature signs of the header: the canonicalized fields it names, the last of a name first, then itself without the
    /// value of `b=` and without the final CRLF (§3.7). Names without a (further) field stand for nothing. A signature that names
    /// DKIM-Signature means the others, never itself.
    pub(crate) fn hashed_octets(&self, signature: &Signature<'_>, own: &Field, octets: &mut Vec<u8>) {
        octets.clear();
        let mut next = self.last.clone();
        for name in &signature.signed_names {
            let Some(slot) = slot(&self.names, name) else { continue };
            let mut field = self.take(&mut next[slot]);
            if field.is_some_and(|field| field.whole == own.whole) {
                field = self.take(&mut next[slot]);
            }
            if let Some(field) = field {
                self.push_field(signature.header, field, octets);
            }
        }
        self.push_own(signature, own, octets);
    }

    fn take(&self, next: &mut Option<u32>) -> Option<&'h Field> {
        let at = (*next)? as usize;
        self.looked_at.set(self.looked_at.get() + 1);
        *next = self.previous[at];
        self.header.fields().get(at)
    }

    fn push_field(&self, algorithm: Canonicalization, field: &Field, octets: &mut Vec<u8>) {
        match algorithm {
            Canonicalization::Simple => octets.extend_from_slice(self.header.whole(field)),
            Canonicalization::Relaxed => {
                push_relaxed(self.header.name(field), &[self.header.value(field)], octets);
                octets.extend_from_slice(b"\r\n");
            }
        }
    }

    fn push_own(&self, signature: &Signature<'_>, own: &Field, octets: &mut Vec<u8>) {
        let value = self.header.value(own);
        let before = &value[..signature.signature_span.start];
        let after = &value[signature.signature_span.end..];
        match signature.header {
            Canonicalization::Simple => {
                let whole = self.header.whole(own);
                octets.extend_from_slice(&whole[..own.value.start - own.whole.start]);
                octets.extend_from_slice(before);
                octets.extend_from_slice(after);
            }
            Canonicalization::Relaxed => push_relaxed(self.header.name(own), &[before, after], octets),
        }
    }
}

/// Relaxed, without the final CRLF: the name in lower case, the parts of the value unfolded and put together, runs of blanks one SP, none
/// at either end of the value.
fn push_relaxed(name: &[u8], parts: &[&[u8]], octets: &mut Vec<u8>) {
    octets.extend(name.iter().map(u8::to_ascii_lowercase));
    octets.push(b':');
    let start = octets.len();
    let mut blank = false;
    for part in parts {
        let mut rest = *part;
        while let [first, ..] = rest {
            if is_blank(*first) {
                blank = true;
                rest = &rest[1..];
            } else if rest.starts_with(b"\r\n") {
                rest = &rest[2..];
            } else {
                let run =
                    1 + rest[1..].iter().position(|&octet| is_blank(octet) || octet == b'\r').unwrap_or(rest.len() - 1);
                if std::mem::take(&mut blank) && octets.len() > start {
                    octets.push(b' ');
                }
                octets.extend_from_slice(&rest[..run]);
                rest = &rest[run..];
            }
        }
    }
}

fn slot(names: &[&[u8]], name: &[u8]) -> Option<usize> {
    names.binary_search_by(|each| compare_names(each, name)).ok()
}

/// Any total order that ignores ASCII case; shorter first, so that most comparisons look at no octet.
fn compare_names(one: &[u8], two: &[u8]) -> Ordering {
    let lower = |octet: &u8| octet.to_ascii_lowercase();
    one.len().cmp(&two.len()).then_with(|| one.iter().map(lower).cmp(two.iter().map(lower)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaxed(name: &str, parts: &[&str]) -> String {
        let mut octets = Vec::new();
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        push_relaxed(name.as_bytes(), &parts, &mut octets);
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn relaxed_fields() {
        // (name, parts of the value, canonical)
        let rows: &[(&str, &[&str], &str)] = &[
            ("A", &[" X "], "a:X"),
            ("B", &[" Y\t\r\n\tZ  "], "b:Y Z"),
            ("SubJect", &["  a\r\n  b \r\n\tc"], "subject:a b c"),
            ("x", &[""], "x:"),
            ("x", &[" \r\n \t "], "x:"),
            ("x", &["a\rb\nc"], "x:a\rb\nc"),
            ("x", &["a\r\r\n b"], "x:a\r b"),
            ("x", &["a;b=", ";c=d"], "x:a;b=;c=d"),
            ("x", &["a; ", ";c=d"], "x:a; ;c=d"),
            ("x", &["a; ", " "], "x:a;"),
            ("x", &["", "a"], "x:a"),
        ];
        for (name, parts, expected) in rows {
            assert_eq!(relaxed(name, parts), *expected, "{parts:?}");
        }
    }

    #[test]
    fn names_are_ordered_without_case() {
        let mut names: Vec<&[u8]> = vec![b"To", b"from", b"FROM", b"to", b"Subject", b"x"];
        names.sort_unstable_by(|one, two| compare_names(one, two));
        names.dedup_by(|one, two| one.eq_ignore_ascii_case(two));
        assert_eq!(names.len(), 4);
        for name in ["FrOm", "TO", "subject", "X"] {
            assert!(slot(&names, name.as_bytes()).is_some(), "{name}");
        }
        assert_eq!(slot(&names, b"fro"), None);
    }
}
