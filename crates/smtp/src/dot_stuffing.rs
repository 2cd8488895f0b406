//! Dot-stuffing and the end of a message, on the way out (RFC 5321 §4.5.2).
//!
//! Nothing is copied: a chunk is cut after the first dot of a line, and the next piece begins with that same dot, so that the pieces written
//! one after the other hold it twice. A line begins after any LF, not only after CRLF: such octets are refused long before they come here,
//! and should one ever come, a next hop that takes a bare LF for a line end still finds no end of message inside the message.

use memchr::memmem;

use crate::pairs::octets_without;

/// Follows one message from its first octet to its terminator, in chunks cut anywhere.
#[derive(Debug, Clone)]
pub struct DotStuffing {
    before: Before,
}

impl DotStuffing {
    /// At the start of a message, which is the start of a line.
    #[must_use]
    pub const fn new() -> DotStuffing {
        DotStuffing { before: Before::CrLf }
    }

    /// The pieces of the next chunk: written in their order they are the chunk, stuffed. The iterator must be run to its end.
    pub fn pieces<'s, 'c>(&'s mut self, chunk: &'c [u8]) -> Pieces<'s, 'c> {
        let dot = if self.at_line_start() && chunk.first() == Some(&b'.') { Some(0) } else { None };
        Pieces { stuffing: self, chunk, from: 0, dot }
    }

    /// What ends the message after the octets seen so far: CRLF first if the last line lacks it, then the line with the dot.
    #[must_use]
    pub const fn terminator(&self) -> &'static [u8] {
        match self.before {
            Before::CrLf => b".\r\n",
            Before::Cr | Before::Lf | Before::Other => b"\r\n.\r\n",
        }
    }

    fn at_line_start(&self) -> bool {
        matches!(self.before, Before::CrLf | Before::Lf)
    }

    fn passed(&mut self, chunk: &[u8]) {
        self.before = match *chunk {
            [] => return,
            [.., b'\r', b'\n'] => Before::CrLf,
            [b'\n'] if self.before == Before::Cr => Before::CrLf,
            [.., b'\n'] => Before::Lf,
            [.., b'\r'] => Before::Cr,
            _ => Before::Other,
        };
    }
}

impl Default for DotStuffing {
    fn default() -> DotStuffing {
        DotStuffing::new()
    }
}

/// How many octets at the end of [`DotStuffing::terminator`] are the line with the dot. While none of them was given to the network the
/// next hop cannot have a whole message; from the first of them on it may.
pub const END_OF_DATA_OCTETS: usize = 3;

/// The iterator of [`DotStuffing::pieces`].
#[derive(Debug)]
pub struct Pieces<'s, 'c> {
    stuffing: &'s mut DotStuffing,
    chunk: &'c [u8],
    /// Where the next piece begins.
    from: usize,
    /// A dot that the chunk itself begins with, at the start of a line.
    dot: Option<usize>,
}

impl<'c> Iterator for Pieces<'_, 'c> {
    type Item = &'c [u8];

    fn next(&mut self) -> Option<&'c [u8]> {
        let dot = self.dot.take().or_else(|| dotted_line(self.chunk, self.from));
        if let Some(dot) = dot {
            let piece = &self.chunk[self.from..=dot];
            self.from = dot;
            return Some(piece);
        }
        let piece = &self.chunk[self.from..];
        self.from = self.chunk.len();
        if piece.is_empty() {
            return None;
        }
        self.stuffing.passed(self.chunk);
        Some(piece)
    }
}

/// Where the next line that begins with a dot does, behind an LF at `from` or later.
fn dotted_line(chunk: &[u8], from: usize) -> Option<usize> {
    let from = from + octets_without(&chunk[from..], |one, next| (one == b'\n') & (next == b'.'));
    memmem::find(&chunk[from..], b"\n.").map(|line_feed| from + line_feed + 1)
}

/// What the octets seen so far end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    CrLf,
    Cr,
    Lf,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// One octet at a time, as the RFC says it.
    fn naive(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, octet) in message.iter().enumerate() {
            if *octet == b'.' && (at == 0 || message[at - 1] == b'\n') {
                out.push(b'.');
            }
            out.push(*octet);
        }
        if !(message.is_empty() || message.ends_with(b"\r\n")) {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    fn stuffed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut stuffing = DotStuffing::new();
        let mut out = Vec::new();
        for chunk in chunks {
            for piece in stuffing.pieces(chunk) {
                assert!(!piece.is_empty());
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(stuffing.terminator());
        out
    }

    #[test]
    fn stuffing_of_known_messages_over_every_split() {
        let cases: [(&[u8], &[u8]); 12] = [
            (b"", b".\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"..a\r\n", b"...a\r\n.\r\n"),
            (b"a\r\n.\r\n", b"a\r\n..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r", b"a\r\r\n.\r\n"),
            (b"a\n", b"a\n\r\n.\r\n"),
            (b"a\n.\r\nb\r\n", b"a\n..\r\nb\r\n.\r\n"),
            (b"\r\n\r\n", b"\r\n\r\n.\r\n"),
            (b"a.b\r\n", b"a.b\r\n.\r\n"),
            (b".\r\n.\r\n..\r\n", b"..\r\n..\r\n...\r\n.\r\n"),
            (b"\n", b"\n\r\n.\r\n"),
        ];
        for (message, wire) in cases {
            assert_eq!(naive(message), wire, "the model itself: {message:?}");
            for first in 0..=message.len() {
                for second in first..=message.len() {
                    let chunks = [&message[..first], &message[first..second], &message[second..]];
                    assert_eq!(stuffed(chunks), wire, "{message:?} cut at {first} and {second}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn stuffing_is_the_naive_model(
            parts in proptest::collection::vec(prop_oneof![4 => "[.\r\na]{0,20}", 1 => "(\r\n)?a{250,600}(\r\n)?"], 0..12),
            chunk_octets in prop_oneof![1usize..40, 200usize..3000],
        ) {
            let message = parts.concat().into_bytes();
            prop_assert_eq!(stuffed(message.chunks(chunk_octets)), naive(&message));
        }

        #[test]
        fn only_the_terminator_ends_a_message(lines in proptest::collection::vec("\\.{0,3}[a.]{0,5}", 0..30)) {
            let message = lines.join("\r\n").into_bytes();
            let wire = stuffed([message.as_slice()]);
            let end = wire.windows(5).position(|window| window == b"\r\n.\r\n");
            prop_assert!(end.is_none_or(|at| at + 5 == wire.len()));
            prop_assert!(!wire.starts_with(b".\r\n") || wire.len() == 3);
        }
    }
}
