//! Lines and messages: however the input is cut, and against the definition written down once more.

#[path = "../../../../../tests/fuzz/mod.rs"]
mod inputs;

use super::*;
use inputs::{ITERATIONS, Tried, has_bare_cr_or_lf, octets, pieces};
use std::string::String;

const WORDS: [&[u8]; 16] = [
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"\0",
    b"\r\n.\r\n",
    b"\r\n..",
    b"\r\n\r\n",
    b"a",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\r\r\n",
    b"\n.\r\n",
    b".\r\n",
    b"NOOP\r\n",
    b"a: b\r\n",
    b"\r\n.",
];

/// Lines of an input that comes in pieces, as the driver hands it on: what was not taken comes again.
fn lines_of<'i>(pieces: impl IntoIterator<Item = &'i [u8]>, octets_max: usize) -> Vec<String> {
    let (mut frame, mut held, mut lines) = (LineFrame::default(), Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let (taken, line) = frame.next(&held, octets_max);
            let partial = line == Line::Partial;
            if !partial {
                lines.push(std::format!("{line:?}"));
            }
            held.drain(..taken);
            assert!(held.len() < octets_max || !partial, "more than a line is held back");
            if partial {
                break;
            }
        }
    }
    lines
}

#[test]
fn lines_by_definition_and_at_any_cut() {
    let tried = Tried::new("frame, lines");
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().with_iterations(ITERATIONS).for_each(|(codes, cuts)| {
        let input = octets(codes, &WORDS);
        let found = lines_of([&input[..]], 64);
        assert_eq!(lines_of(pieces(&input, cuts), 64), found);
        let mut expected = Vec::new();
        let mut rest = &input[..];
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let line = &rest[..end];
            expected.push(std::format!(
                "{:?}",
                match line {
                    _ if end + 2 > 64 => Line::TooLong,
                    _ if line.iter().any(|octet| b"\r\n\0".contains(octet)) => Line::Broken,
                    _ => Line::Whole(line),
                }
            ));
            rest = &rest[end + 2..];
        }
        assert_eq!(found, expected);
        tried.count(found.len());
    });
}

#[test]
fn messages_by_definition_and_at_any_cut() {
    let tried = Tried::new("frame, messages");
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().with_iterations(ITERATIONS).for_each(|(codes, cuts)| {
        let input = octets(codes, &WORDS);
        let whole = handed_on([&input[..]].into_iter());
        assert_eq!(handed_on(pieces(&input, cuts).into_iter()), whole);
        let (found, bare, end) = whole;
        assert!(!has_bare_cr_or_lf(found.strip_suffix(b"\r").unwrap_or(&found)));
        let (expected, expected_end) = by_definition(&input);
        if expected_end {
            assert_eq!((found, end.is_some()), (expected.0, true));
            assert_eq!(bare.len(), expected.1);
        } else {
            assert_eq!(end, None);
        }
        tried.count(usize::from(expected_end));
    });
}

/// RFC 5321 §4.1.1.4 and §4.5.2 on the whole input at once: what is handed on and how many CR and LF are bare in it; and whether it ends.
fn by_definition(input: &[u8]) -> ((Vec<u8>, usize), bool) {
    let stuffed = [b"\r\n", input].concat();
    let Some(end) = stuffed.windows(5).position(|octets| octets == b"\r\n.\r\n") else {
        return ((Vec::new(), 0), false);
    };
    let (mut plain, mut at) = (Vec::new(), 0);
    while at < end + 2 {
        plain.push(stuffed[at]);
        at += if stuffed[..=at].ends_with(b"\r\n") && at + 1 < end + 2 && stuffed[at + 1] == b'.' { 2 } else { 1 };
    }
    let plain = &plain[2..];
    let is_bare = |at: usize| match plain[at] {
        b'\r' => plain.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || plain[at - 1] != b'\r',
        _ => false,
    };
    let bare = (0..plain.len()).filter(|at| is_bare(*at)).count();
    let kept = (0..plain.len()).filter(|at| !is_bare(*at)).map(|at| plain[at]).collect();
    ((kept, bare), true)
}

/// What a message in chunks hands on, how many CR and LF in it are bare, and where its header section ends.
fn handed_on_of_chunks(chunks: &[&[u8]]) -> (Vec<u8>, usize, Option<usize>) {
    let mut frame = MessageFrame::chunked();
    let (mut octets, mut bare, mut header_end) = (Vec::new(), 0, None);
    let mut take = |piece: Piece<'_>| match piece {
        Piece::Octets(more) => octets.extend_from_slice(more),
        Piece::HeaderEnd(more) => {
            octets.extend_from_slice(more);
            assert_eq!(header_end.replace(octets.len()), None);
        }
        Piece::Bare => bare += 1,
        Piece::NeedInput => {}
        Piece::End => panic!("chunks have no end of their own"),
    };
    for chunk in chunks {
        let mut rest = *chunk;
        while !rest.is_empty() {
            let (taken, piece) = frame.next(rest);
            rest = &rest[taken..];
            take(piece);
        }
    }
    if let Some(piece) = frame.end_of_chunks() {
        take(piece);
    }
    (octets, bare, header_end)
}

/// RFC 3030 §2: however a message is cut into chunks, it is its octets; here with a CRLF at its end, and without what is bare.
#[test]
fn chunks_by_definition_and_at_any_cut() {
    let tried = Tried::new("frame, BDAT");
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().with_iterations(ITERATIONS).for_each(|(codes, cuts)| {
        let input = octets(codes, &WORDS);
        let whole = handed_on_of_chunks(&[&input]);
        assert_eq!(handed_on_of_chunks(&pieces(&input, cuts)), whole);
        let is_bare = |at: usize| match input[at] {
            b'\r' => input.get(at + 1) != Some(&b'\n'),
            b'\n' => at == 0 || input[at - 1] != b'\r',
            _ => false,
        };
        let bare = (0..input.len()).filter(|at| is_bare(*at)).count();
        assert_eq!(whole.1, bare);
        if bare == 0 {
            let mut expected = input.clone();
            if !input.is_empty() && !input.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            assert_eq!(whole.0, expected);
            assert!(!has_bare_cr_or_lf(&whole.0));
            let blank = [b"\r\n", &expected[..]].concat().windows(4).position(|octets| octets == b"\r\n\r\n");
            assert_eq!(whole.2, blank.map(|at| at + 2));
            tried.count(1);
        } else {
            tried.count(0);
        }
    });
}
