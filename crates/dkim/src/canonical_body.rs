//! Body canonicalization (RFC 6376 §3.4.3 simple, §3.4.4 relaxed), as a stream.
//!
//! Any chunking of the same octets gives the same output. What cannot be decided yet is held back as counts and flags, never as
//! octets: empty lines (which vanish at the end of the body), one run of blanks, one CR. Only CRLF ends a line; a CR or LF alone is an
//! octet like any other (messages with one are refused elsewhere, whatever DKIM says).

use memchr::{memchr, memchr2_iter};

/// The two algorithms of `c=` (RFC 6376 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Canonicalization {
    Simple,
    Relaxed,
}

/// Where canonical octets go.
pub(crate) trait Sink {
    fn push(&mut self, octets: &[u8]);
}

/// What has been read but not yet written.
#[derive(Debug)]
pub(crate) struct BodyCanonicalizer {
    algorithm: Canonicalization,
    /// Line ends read and not written; written when something follows them.
    line_ends: u64,
    /// Relaxed: blanks follow the line ends; written as one SP when something other than a line end follows.
    blank: bool,
    /// A CR follows all that; the next octet tells whether it ends the line.
    carriage_return: bool,
    /// Something was written.
    written: bool,
}

impl BodyCanonicalizer {
    pub(crate) fn new(algorithm: Canonicalization) -> BodyCanonicalizer {
        BodyCanonicalizer { algorithm, line_ends: 0, blank: false, carriage_return: false, written: false }
    }

    pub(crate) fn algorithm(&self) -> Canonicalization {
        self.algorithm
    }

    pub(crate) fn feed(&mut self, mut octets: &[u8], sink: &mut impl Sink) {
        let Some(first) = octets.first() else { return };
        if std::mem::take(&mut self.carriage_return) {
            if *first == b'\n' {
                self.end_line();
                octets = &octets[1..];
            } else {
                self.write(b"\r", sink);
            }
        }
        match self.algorithm {
            Canonicalization::Simple => self.feed_simple(octets, sink),
            Canonicalization::Relaxed => self.feed_relaxed(octets, sink),
        }
    }

    /// The end of the body: empty lines at the end vanish, the last line gets its CRLF; an empty body is CRLF when simple (§3.4.3) and
    /// nothing when relaxed (§3.4.4).
    pub(crate) fn finish(&mut self, sink: &mut impl Sink) {
        if std::mem::take(&mut self.carriage_return) {
            self.write(b"\r", sink);
        }
        if self.written || self.algorithm == Canonicalization::Simple {
            sink.push(b"\r\n");
        }
    }

    /// Everything but the line ends at the very end goes through as it is.
    fn feed_simple(&mut self, octets: &[u8], sink: &mut impl Sink) {
        let mut head = octets;
        let carriage_return = head.ends_with(b"\r");
        if carriage_return {
            head = &head[..head.len() - 1];
        }
        let mut line_ends = 0;
        while let [rest @ .., b'\r', b'\n'] = head {
            head = rest;
            line_ends += 1;
        }
        if !head.is_empty() {
            self.write(head, sink);
        }
        self.line_ends += line_ends;
        self.carriage_return = carriage_return;
    }

    fn feed_relaxed(&mut self, mut octets: &[u8], sink: &mut impl Sink) {
        while !octets.is_empty() {
            let same = if self.blank { 0 } else { unchanged_by_relaxing(octets) };
            if same > 0 {
                self.feed_simple(&octets[..same], sink);
                octets = &octets[same..];
            }
            let Some(at) = memchr(b'\r', octets) else { return self.text(octets, sink) };
            self.text(&octets[..at], sink);
            octets = match &octets[at + 1..] {
                [] => {
                    self.carriage_return = true;
                    return;
                }
                [b'\n', rest @ ..] => {
                    self.end_line();
                    rest
                }
                rest => {
                    self.write(b"\r", sink);
                    rest
                }
            };
        }
    }

    /// A part of one line, relaxed: runs of blanks become one SP, those before a line end nothing.
    fn text(&mut self, mut octets: &[u8], sink: &mut impl Sink) {
        if !self.blank && !has_tab_or_double_space(octets) {
            // The usual line: nothing to collapse, at most one blank to hold back.
            self.blank = octets.ends_with(b" ");
            let kept = &octets[..octets.len() - usize::from(self.blank)];
            if !kept.is_empty() {
                let held_back = std::mem::take(&mut self.blank);
                self.write(kept, sink);
                self.blank = held_back;
            }
            return;
        }
        while let [first, ..] = octets {
            let run = if is_blank(*first) {
                self.blank = true;
                octets.iter().position(|&octet| !is_blank(octet)).unwrap_or(octets.len())
            } else {
                let run = before_changing_blank(octets);
                self.write(&octets[..run], sink);
                run
            };
            octets = &octets[run..];
        }
    }

    fn end_line(&mut self) {
        self.line_ends += 1;
        self.blank = false;
    }

    /// Octets that are neither blank (relaxed) nor a line end: everything held back before them counts now.
    fn write(&mut self, octets: &[u8], sink: &mut impl Sink) {
        while self.line_ends > 0 {
            let together = self.line_ends.min(LINE_ENDS_AT_ONCE);
            sink.push(&LINE_ENDS[..2 * usize::try_from(together).unwrap_or(0)]);
            self.line_ends -= together;
        }
        if std::mem::take(&mut self.blank) {
            sink.push(b" ");
        }
        sink.push(octets);
        self.written = true;
    }
}

pub(crate) fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// How many octets at the start are the same in both algorithms whatever follows them, lines and empty lines included; less than there may
/// be, as whole pieces are looked at. It ends neither in a blank nor in a CR.
fn unchanged_by_relaxing(octets: &[u8]) -> usize {
    let mut same = 0;
    // Each octet of a piece is looked at together with the one that follows it.
    while let Some(piece) = octets.get(same..=same + PIECE_OCTETS) {
        // Without an early exit, so that the compiler compares many octets at once.
        let changes = piece.iter().zip(&piece[1..]).fold(false, |found, (&one, &next)| {
            let blanks = (one == b' ') & ((next == b' ') | (next == b'\r'));
            found | (one == b'\t') | blanks | ((one == b'\r') & (next != b'\n'))
        });
        if changes {
            break;
        }
        same += PIECE_OCTETS;
    }
    same - usize::from(matches!(octets[..same].last(), Some(b' ' | b'\r')))
}

/// How many octets come before the first blank that is not a single space between two other octets. The first is no blank.
fn before_changing_blank(octets: &[u8]) -> usize {
    let stays = |at: usize| octets[at] == b' ' && octets.get(at + 1).is_some_and(|&next| !is_blank(next));
    let changing = memchr2_iter(b' ', b'\t', octets).find(|&at| !stays(at));
    changing.unwrap_or(octets.len())
}

/// Without an early exit, so that the compiler compares many octets at once.
fn has_tab_or_double_space(octets: &[u8]) -> bool {
    let tab = octets.iter().fold(false, |found, &octet| found | (octet == b'\t'));
    let pairs = octets.iter().zip(octets.get(1..).unwrap_or_default());
    tab | pairs.fold(false, |found, (&one, &two)| found | ((one == b' ') & (two == b' ')))
}

const PIECE_OCTETS: usize = 64;
const LINE_ENDS_AT_ONCE: u64 = 32;
const LINE_ENDS: [u8; 64] = {
    let mut octets = [b'\r'; 64];
    let mut at = 1;
    while at < octets.len() {
        octets[at] = b'\n';
        at += 2;
    }
    octets
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Sink for Vec<u8> {
        fn push(&mut self, octets: &[u8]) {
            self.extend_from_slice(octets);
        }
    }

    fn canonical(algorithm: Canonicalization, chunks: &[&[u8]]) -> Vec<u8> {
        let mut canonicalizer = BodyCanonicalizer::new(algorithm);
        let mut out = Vec::new();
        for chunk in chunks {
            canonicalizer.feed(chunk, &mut out);
        }
        canonicalizer.finish(&mut out);
        out
    }

    /// The definition, word by word, over the whole body at once.
    fn by_definition(algorithm: Canonicalization, body: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
        let mut at = 0;
        while at < body.len() {
            if body[at..].starts_with(b"\r\n") {
                lines.push(Vec::new());
                at += 2;
            } else {
                lines.last_mut().unwrap().push(body[at]);
                at += 1;
            }
        }
        if algorithm == Canonicalization::Relaxed {
            for line in &mut lines {
                line.iter_mut().for_each(|octet| *octet = if *octet == b'\t' { b' ' } else { *octet });
                line.dedup_by(|two, one| *two == b' ' && *one == b' ');
                if line.last() == Some(&b' ') {
                    line.pop();
                }
            }
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        if lines.is_empty() && algorithm == Canonicalization::Simple {
            lines.push(Vec::new());
        }
        lines.iter().flat_map(|line| line.iter().copied().chain(*b"\r\n")).collect()
    }

    #[test]
    fn bodies() {
        // (body, simple, relaxed)
        let rows: &[(&str, &str, &str)] = &[
            ("", "\r\n", ""),
            ("\r\n", "\r\n", ""),
            ("\r\n\r\n\r\n", "\r\n", ""),
            (" ", " \r\n", ""),
            (" \t\r\n \r\n", " \t\r\n \r\n", ""),
            ("a", "a\r\n", "a\r\n"),
            ("a\r\n", "a\r\n", "a\r\n"),
            ("a\r\n\r\n\r\n", "a\r\n", "a\r\n"),
            ("\r\n\r\na", "\r\n\r\na\r\n", "\r\n\r\na\r\n"),
            (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
            ("a\r\n \r\n\t\r\n", "a\r\n \r\n\t\r\n", "a\r\n"),
            ("a\r\n \r\nb", "a\r\n \r\nb\r\n", "a\r\n\r\nb\r\n"),
            ("a  b", "a  b\r\n", "a b\r\n"),
            ("a\tb", "a\tb\r\n", "a b\r\n"),
            ("a\rb\nc", "a\rb\nc\r\n", "a\rb\nc\r\n"),
            ("a\r\r\n", "a\r\r\n", "a\r\r\n"),
            ("a\r", "a\r\r\n", "a\r\r\n"),
            ("\r", "\r\r\n", "\r\r\n"),
            ("a \r b", "a \r b\r\n", "a \r b\r\n"),
            ("a\n\r\n\r\n", "a\n\r\n", "a\n\r\n"),
        ];
        // Behind more octets than are looked at together, at every distance from the end of a piece.
        let before: Vec<String> =
            [0].into_iter().chain(PIECE_OCTETS - 3..=2 * PIECE_OCTETS + 3).map(|octets| "x".repeat(octets)).collect();
        for (body, before) in rows.iter().flat_map(|(body, ..)| before.iter().map(move |before| (body, before))) {
            let body = format!("{before}{body}");
            for algorithm in [Canonicalization::Simple, Canonicalization::Relaxed] {
                let seen = canonical(algorithm, &[body.as_bytes()]);
                assert_eq!(seen, by_definition(algorithm, body.as_bytes()), "{algorithm:?} {body:?}");
            }
        }
        for (body, simple, relaxed) in rows {
            for (algorithm, expected) in [(Canonicalization::Simple, simple), (Canonicalization::Relaxed, relaxed)] {
                let seen = canonical(algorithm, &[body.as_bytes()]);
                assert_eq!(String::from_utf8(seen).unwrap(), **expected, "{algorithm:?} {body:?}");
                assert_eq!(by_definition(algorithm, body.as_bytes()), expected.as_bytes(), "{algorithm:?} {body:?}");
            }
        }
    }

    #[test]
    fn many_empty_lines_are_counted() {
        let mut canonicalizer = BodyCanonicalizer::new(Canonicalization::Relaxed);
        let mut out = Vec::new();
        for _ in 0..10_000 {
            canonicalizer.feed(b" \t \r\n", &mut out);
        }
        assert!(out.is_empty());
        canonicalizer.feed(b"x", &mut out);
        assert_eq!(out.len(), 20_001);
    }

    /// Bodies over the octets that matter, as chunks.
    fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let octet = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'\t'), Just(b'a'), Just(b'.')];
        let piece = prop_oneof![
            4 => proptest::collection::vec(octet, 0..6),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(b"some words in a line".to_vec()),
            1 => Just(b"two  blanks and a\ttab \r\n".to_vec()),
            1 => Just(b"plain words, more of them than one piece that is looked at together has\r\n".to_vec()),
        ];
        proptest::collection::vec(piece, 0..16)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_chunking_gives_the_definition(chunks in chunks()) {
            let whole: Vec<u8> = chunks.concat();
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let octets: Vec<&[u8]> = whole.chunks(1).collect();
            for algorithm in [Canonicalization::Simple, Canonicalization::Relaxed] {
                let expected = by_definition(algorithm, &whole);
                prop_assert_eq!(&canonical(algorithm, &chunks), &expected);
                prop_assert_eq!(&canonical(algorithm, &octets), &expected);
                for at in 0..=whole.len() {
                    prop_assert_eq!(&canonical(algorithm, &[&whole[..at], &whole[at..]]), &expected);
                }
            }
        }
    }
}
