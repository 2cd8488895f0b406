//! Where a command line ends and where a message ends: the only code that knows (RFC 5321 §2.3.8, §4.1.1.4, §4.5.2; RFC 3030 §2).
//!
//! CRLF ends a line; CRLF.CRLF ends a message that came by DATA, the last octet of its last chunk one that came by BDAT; and nothing else ends anything: a CR or LF by itself is reported as what it is, an error, and
//! the line or the message goes on. That leaves no two ways to read the same octets, which is what smuggling needs. Nothing is copied: lines and
//! octets are slices of the input, and leading dots are taken away by where the slices begin.

use memchr::{memchr, memchr2};

use crate::pairs::octets_without;

/// What is at the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'i> {
    /// No whole line yet: the input must come again, with more behind it.
    Partial,
    /// A line, without its CRLF; there is no other CR or LF in it and no NUL.
    Whole(&'i [u8]),
    /// A line that had a CR, an LF or a NUL in it.
    Broken,
    /// The end of a line that was longer than allowed.
    TooLong,
}

/// Cuts command lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineFrame {
    /// The line is too long and its end is awaited; `true` inside: the last octet was a CR.
    discarding: Option<bool>,
}

impl LineFrame {
    /// How many octets of `input` the next line takes, and what it is. A line, with its CRLF, has at most `octets_max`.
    pub(crate) fn next<'i>(&mut self, input: &'i [u8], octets_max: usize) -> (usize, Line<'i>) {
        if let Some(after_cr) = self.discarding {
            return self.discard(input, 0, after_cr);
        }
        let window = &input[..input.len().min(octets_max)];
        let Some(end) = end_of_line(window) else {
            return if window.len() < octets_max { (0, Line::Partial) } else { self.discard(input, 0, false) };
        };
        let line = &window[..end - 2];
        let broken = memchr2(b'\r', 0, line).is_some() || memchr(b'\n', line).is_some();
        (end, if broken { Line::Broken } else { Line::Whole(line) })
    }

    fn discard<'i>(&mut self, input: &'i [u8], from: usize, after_cr: bool) -> (usize, Line<'i>) {
        let rest = &input[from..];
        if after_cr && rest.first() == Some(&b'\n') {
            self.discarding = None;
            return (from + 1, Line::TooLong);
        }
        if let Some(end) = end_of_line(rest) {
            self.discarding = None;
            return (from + end, Line::TooLong);
        }
        self.discarding = Some(rest.last().map_or(after_cr, |&octet| octet == b'\r'));
        (input.len(), Line::Partial)
    }
}

/// Just behind the first CRLF.
fn end_of_line(octets: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let lf = from + memchr(b'\n', &octets[from..])?;
        if lf > 0 && octets[lf - 1] == b'\r' {
            return Some(lf + 1);
        }
        from = lf + 1;
    }
}

/// What came next of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'i> {
    /// The input is used up.
    NeedInput,
    /// Octets of the message, its dot-stuffing undone; never empty.
    Octets(&'i [u8]),
    /// The last octets of the header section: they end with its blank line. Comes once.
    HeaderEnd(&'i [u8]),
    /// A CR or an LF by itself, which is not handed on.
    Bare,
    /// The line with the dot: the message is complete.
    End,
}

/// Cuts one message, from its first octet to its end, out of input that may be cut anywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageFrame {
    place: Place,
    in_header: bool,
    /// Lines that begin with a dot are stuffed, and one that is a dot ends the message: DATA. In chunks a dot is an octet like any other.
    dots: bool,
}

/// Where in a line the next octet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind a CRLF, or at the first octet of the message.
    Start,
    /// Behind a dot at the start, which is not handed on.
    Dot,
    /// Behind a dot at the start and a CR; neither is handed on.
    DotCr,
    /// Somewhere behind the first octet.
    Inside,
    /// Behind a CR that is not handed on before its LF is seen; `blank`: there is nothing before it in the line.
    Cr { blank: bool },
}

impl MessageFrame {
    /// Of a message that comes by DATA.
    pub(crate) fn dotted() -> MessageFrame {
        MessageFrame { place: Place::Start, in_header: true, dots: true }
    }

    /// Of a message that comes by BDAT: its chunks are the input, one behind the other, and [`MessageFrame::end_of_chunks`] is its end.
    pub(crate) fn chunked() -> MessageFrame {
        MessageFrame { place: Place::Start, in_header: true, dots: false }
    }

    /// What the last chunk left open. A last line without CRLF gets one: the message goes on by DATA, whose lines all end, and to
    /// DKIM both are the same (RFC 6376 §3.4.3, §3.4.4).
    pub(crate) fn end_of_chunks(&mut self) -> Option<Piece<'static>> {
        match core::mem::replace(&mut self.place, Place::Start) {
            Place::Cr { .. } => Some(Piece::Bare),
            Place::Inside => Some(Piece::Octets(b"\r\n")),
            Place::Start | Place::Dot | Place::DotCr => None,
        }
    }

    /// How many octets of `input` the next piece takes, and what it is. The octets it takes are not looked at again.
    pub(crate) fn next<'i>(&mut self, input: &'i [u8]) -> (usize, Piece<'i>) {
        let Some(&first) = input.first() else { return (0, Piece::NeedInput) };
        match (self.place, first) {
            (Place::Start, b'.') if self.dots => {
                self.place = Place::Dot;
                let (taken, piece) = self.next(&input[1..]);
                (taken + 1, piece)
            }
            (Place::Dot, b'\r') => {
                self.place = Place::DotCr;
                let (taken, piece) = self.next(&input[1..]);
                (taken + 1, piece)
            }
            (Place::DotCr, b'\n') => (1, Piece::End),
            (Place::Cr { blank }, b'\n') => (1, self.line_ended(blank, b"\r\n")),
            // The CR before this octet was bare; the octet itself is looked at when it comes again.
            (Place::DotCr | Place::Cr { .. }, _) => {
                self.place = Place::Inside;
                (0, Piece::Bare)
            }
            (Place::Start | Place::Dot | Place::Inside, _) => self.run(input),
        }
    }

    /// The longest slice that can be handed on as it is: up to a line that begins with a dot, to the end of the header section, to a bare
    /// CR or LF, or to the end of the input.
    fn run<'i>(&mut self, input: &'i [u8]) -> (usize, Piece<'i>) {
        let mut blank = self.place == Place::Start;
        let mut at = if self.in_header { 0 } else { plain_octets(input) };
        while let Some(found) = memchr2(b'\r', b'\n', &input[at..]) {
            let end = at + found;
            blank &= found == 0;
            match (input[end], input.get(end + 1)) {
                (b'\r', Some(b'\n')) => at = end + 2,
                (b'\r', None) => return self.cr_at_the_end(blank, input),
                _ => return self.bare(&input[..end]),
            }
            if blank && self.in_header {
                return (at, self.line_ended(true, &input[..at]));
            }
            if self.dots && input.get(at) == Some(&b'.') {
                self.place = Place::Start;
                return (at, Piece::Octets(&input[..at]));
            }
            blank = true;
        }
        self.place = if at == input.len() { Place::Start } else { Place::Inside };
        (input.len(), Piece::Octets(input))
    }

    fn line_ended<'i>(&mut self, blank: bool, octets: &'i [u8]) -> Piece<'i> {
        self.place = Place::Start;
        if blank && self.in_header {
            self.in_header = false;
            return Piece::HeaderEnd(octets);
        }
        Piece::Octets(octets)
    }

    fn cr_at_the_end<'i>(&mut self, blank: bool, input: &'i [u8]) -> (usize, Piece<'i>) {
        self.place = Place::Cr { blank };
        match &input[..input.len() - 1] {
            [] => (1, Piece::NeedInput),
            octets => (input.len(), Piece::Octets(octets)),
        }
    }

    /// A bare CR or LF behind these octets. It is taken when it comes first.
    fn bare<'i>(&mut self, before: &'i [u8]) -> (usize, Piece<'i>) {
        self.place = Place::Inside;
        if before.is_empty() { (1, Piece::Bare) } else { (before.len(), Piece::Octets(before)) }
    }
}

/// How many octets at the start of a body, or of a part of it that is not cut behind a CR, can be handed on as they are; there may be more.
/// They do not end with a CR.
fn plain_octets(input: &[u8]) -> usize {
    if input.first() == Some(&b'\n') {
        return 0;
    }
    let plain = octets_without(input, |one, next| {
        let bare = (one == b'\r') != (next == b'\n');
        bare | ((one == b'\n') & (next == b'.'))
    });
    plain - usize::from(input[..plain].ends_with(b"\r"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::PIECE_OCTETS;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    mod fuzz;

    /// Whole lines, and what is left over.
    fn lines(mut input: &[u8], octets_max: usize) -> (Vec<Line<'_>>, &[u8]) {
        let mut frame = LineFrame::default();
        let mut lines = Vec::new();
        loop {
            let (taken, line) = frame.next(input, octets_max);
            input = &input[taken..];
            if line == Line::Partial {
                return (lines, input);
            }
            lines.push(line);
        }
    }

    #[test]
    fn command_lines() {
        use Line::{Broken, TooLong, Whole};
        let cases: [(&[u8], &[Line<'_>], &[u8]); 18] = [
            (b"", &[], b""),
            (b"a", &[], b"a"),
            (b"a\r", &[], b"a\r"),
            (b"a\n", &[], b"a\n"),
            (b"\r\n", &[Whole(b"")], b""),
            (b"ab\r\ncd\r\ne", &[Whole(b"ab"), Whole(b"cd")], b"e"),
            (b"a\nb\r\n", &[Broken], b""),
            (b"\n\r\n", &[Broken], b""),
            (b"\n\n\r\n", &[Broken], b""),
            (b"a\rb\r\n", &[Broken], b""),
            (b"a\r\r\n", &[Broken], b""),
            (b"a\0b\r\nc\r\n", &[Broken, Whole(b"c")], b""),
            (b"a\n\rb\r\n", &[Broken], b""),
            (b"12345678\r\n1\r\n", &[Whole(b"12345678"), Whole(b"1")], b""),
            (b"123456789\r\n1\r\n", &[TooLong, Whole(b"1")], b""),
            (b"1234567890\r\n1\r\n", &[TooLong, Whole(b"1")], b""),
            (b"1234567890\n1\r\r\n1\r\n", &[TooLong, Whole(b"1")], b""),
            (b"12345678901", &[], b""),
        ];
        for (input, expected, left) in cases {
            let (found, rest) = lines(input, 10);
            assert_eq!((&found[..], rest), (expected, left), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn messages_in_one_piece() {
        use Piece::{Bare, End, HeaderEnd, NeedInput, Octets};
        let cases: [(&[u8], &[Piece<'_>]); 20] = [
            (b"", &[NeedInput]),
            (b".\r\n", &[End]),
            (b".", &[NeedInput]),
            (b".\r", &[NeedInput]),
            (b"\r\n.\r\n", &[HeaderEnd(b"\r\n"), End]),
            (b"\r\n\r\n", &[HeaderEnd(b"\r\n"), Octets(b"\r\n"), NeedInput]),
            (b"a\r\n.\r\n", &[Octets(b"a\r\n"), End]),
            (b"a\r\n\r\nb\r\n\r\nc\r\n.\r\n", &[HeaderEnd(b"a\r\n\r\n"), Octets(b"b\r\n\r\nc\r\n"), End]),
            (b"..a\r\n...\r\n.b", &[Octets(b".a\r\n"), Octets(b"..\r\n"), Octets(b"b"), NeedInput]),
            (b"a\r", &[Octets(b"a"), NeedInput]),
            (b"a\rb", &[Octets(b"a"), Bare, Octets(b"b"), NeedInput]),
            (b"a\nb", &[Octets(b"a"), Bare, Octets(b"b"), NeedInput]),
            (b"\n", &[Bare, NeedInput]),
            (b"a\n.\r\nb", &[Octets(b"a"), Bare, Octets(b".\r\nb"), NeedInput]),
            (b"a\r.\r\nb", &[Octets(b"a"), Bare, Octets(b".\r\nb"), NeedInput]),
            (b"a\r\n.\nb", &[Octets(b"a\r\n"), Bare, Octets(b"b"), NeedInput]),
            (b".\rb", &[Bare, Octets(b"b"), NeedInput]),
            (b".\r\r\nb", &[Bare, Octets(b"\r\nb"), NeedInput]),
            (b"a\r\r\n.\r\n", &[Octets(b"a"), Bare, Octets(b"\r\n"), End]),
            (b"\0.\r\n", &[Octets(b"\0.\r\n"), NeedInput]),
        ];
        for (input, expected) in cases {
            let mut frame = MessageFrame::dotted();
            let (mut found, mut rest) = (Vec::new(), input);
            while !matches!(found.last(), Some(NeedInput | End)) {
                let (taken, piece) = frame.next(rest);
                rest = &rest[taken..];
                // Octets that were taken without anything to hand on are followed by a question for more.
                if piece != NeedInput || rest.is_empty() {
                    found.push(piece);
                }
            }
            assert_eq!(found, expected, "{}", input.escape_ascii());
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn messages_in_chunks() {
        use Piece::{Bare, HeaderEnd, NeedInput, Octets};
        let end = Some(Octets(b"\r\n"));
        type Case<'i> = (&'i [&'i [u8]], &'i [Piece<'i>], Option<Piece<'static>>);
        let cases: [Case<'_>; 12] = [
            (&[], &[], None),
            (&[b""], &[NeedInput], None),
            (&[b"a"], &[Octets(b"a"), NeedInput], end),
            (&[b"a\r\n"], &[Octets(b"a\r\n"), NeedInput], None),
            (&[b".\r\n"], &[Octets(b".\r\n"), NeedInput], None),
            (&[b"\r\n.\r\n..a\r\n"], &[HeaderEnd(b"\r\n"), Octets(b".\r\n..a\r\n"), NeedInput], None),
            (
                &[b"a\r\n\r\nb\r", b"\n.\r\n"],
                &[HeaderEnd(b"a\r\n\r\n"), Octets(b"b"), NeedInput, Octets(b"\r\n"), Octets(b".\r\n"), NeedInput],
                None,
            ),
            (
                &[b"a\r", b"\n\r", b"\nb"],
                &[Octets(b"a"), NeedInput, Octets(b"\r\n"), NeedInput, HeaderEnd(b"\r\n"), Octets(b"b"), NeedInput],
                end,
            ),
            (&[b"a\r", b"b"], &[Octets(b"a"), NeedInput, Bare, Octets(b"b"), NeedInput], end),
            (&[b"a\r"], &[Octets(b"a"), NeedInput], Some(Bare)),
            (&[b"\r"], &[NeedInput], Some(Bare)),
            (&[b"a\n"], &[Octets(b"a"), Bare, NeedInput], end),
        ];
        for (chunks, expected, at_the_end) in cases {
            let mut frame = MessageFrame::chunked();
            let mut found = Vec::new();
            for chunk in chunks {
                let mut rest = *chunk;
                loop {
                    let (taken, piece) = frame.next(rest);
                    rest = &rest[taken..];
                    found.push(piece);
                    if piece == NeedInput {
                        break;
                    }
                }
            }
            assert_eq!((&found[..], frame.end_of_chunks()), (expected, at_the_end), "{chunks:?}");
        }
    }

    /// The octets handed on, and behind how many of them a bare CR or LF was and the message ended.
    fn handed_on<'i>(pieces: impl Iterator<Item = &'i [u8]>) -> (Vec<u8>, Vec<usize>, Option<usize>) {
        let mut frame = MessageFrame::dotted();
        let (mut octets, mut bare, mut end) = (Vec::new(), Vec::new(), None);
        for mut input in pieces {
            while end.is_none() {
                let (taken, piece) = frame.next(input);
                input = &input[taken..];
                match piece {
                    Piece::NeedInput if input.is_empty() => break,
                    Piece::NeedInput => {}
                    Piece::Octets(more) | Piece::HeaderEnd(more) => octets.extend_from_slice(more),
                    Piece::Bare => bare.push(octets.len()),
                    Piece::End => end = Some(octets.len()),
                }
            }
        }
        (octets, bare, end)
    }

    proptest! {
        /// Octet by octet nothing is ever looked at in pieces.
        #[test]
        fn bodies_longer_than_a_piece(
            parts in proptest::collection::vec((0..2 * PIECE_OCTETS, prop_oneof![
                12 => Just("\r\n"), 3 => Just("\r\n.."), 1 => Just("\r\n.a"), 1 => Just("\r\n\r\n"),
                1 => Just("\r"), 1 => Just("\n"), 1 => Just("\n."), 1 => Just("."), 1 => Just("\r\n.\r\n"),
            ]), 1..12),
            cut in 1..4 * PIECE_OCTETS,
        ) {
            let mut message = b"a: b\r\n\r\n".to_vec();
            for (filling, ending) in parts {
                message.resize(message.len() + filling, b'x');
                message.extend_from_slice(ending.as_bytes());
            }
            prop_assert_eq!(handed_on(message.chunks(cut)), handed_on(message.chunks(1)));
        }
    }
}
