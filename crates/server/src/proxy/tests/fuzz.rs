//! PROXY headers: no octet less than the whole header is enough, and none behind it matters.

use super::*;
use crate::inputs::{ITERATIONS, Tried, octets};

const WORDS: [&[u8]; 22] = [
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"192.0.2.1 ",
    b"2001:db8::1 ",
    b"::ffff:192.0.2.1 ",
    b"1000 ",
    b"25",
    b"99999",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"PROXY TCP6 2001:db8::1 ::1 1000 25\r\n",
    v2::PROTOCOL_PREFIX,
    b"\x21\x21\x00\x24",
    b"\x21\x11\x00\x0c",
    b"\x20\x00\x00\x00",
    b"\x21\x31\x00\xd8",
    b"\x03\x00\x04\x00\x00\x00\x00",
    b"EHLO a.example\r\n",
];

#[test]
fn headers_are_whole_or_not() {
    let tried = Tried::new("PROXY header");
    bolero::check!().with_type::<(u8, Vec<u8>)>().with_iterations(ITERATIONS).for_each(|(begin, codes)| {
        let begins: [&[u8]; 4] = [b"", b"PROXY TCP6 ", b"PROXY TCP4 ", v2::PROTOCOL_PREFIX];
        let input = [begins[usize::from(begin % 4)], &octets(codes, &WORDS)].concat();
        let found = parse(&input);
        match found {
            ProxyHeader::Complete { octets, ends } => {
                assert!(octets <= OCTETS_MAX && octets <= input.len());
                for cut in 0..octets {
                    assert_eq!(parse(&input[..cut]), ProxyHeader::Incomplete, "cut at {cut}");
                }
                assert_eq!(parse(&input[..octets]), ProxyHeader::Complete { octets, ends });
            }
            // As many octets are read at most: with them something must be known.
            ProxyHeader::Incomplete => assert!(input.len() < OCTETS_MAX),
            ProxyHeader::Malformed => assert_eq!(parse(&[&input[..], b"\r\n"].concat()), ProxyHeader::Malformed),
        }
        tried.count(usize::from(matches!(found, ProxyHeader::Complete { .. })));
    });
}
