//! Zone files: a zone, or an error that names a line; see `tests/fuzz/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;

use std::path::Path;

use inputs::{ITERATIONS, Tried, text};
use mx6_dns::{DnsError, Zone};

const WORDS: [&[u8]; 46] = [
    b"\n",
    b" ",
    b"\t",
    b"a.example. ",
    b"b ",
    b"@ ",
    b"*.wild ",
    b"IN ",
    b"CH ",
    b"3600 ",
    b"1h30m ",
    b"99999999999 ",
    b"SOA ns host 1 2 3 4 5\n",
    b"SOA ",
    b"NS ns\n",
    b"A 192.0.2.1\n",
    b"A ",
    b"AAAA 2001:db8::1\n",
    b"AAAA ",
    b"MX 10 mail\n",
    b"MX ",
    b"PTR host.example.\n",
    b"CNAME b\n",
    b"TXT \"v=spf1 -all\"\n",
    b"TXT ",
    b"TYPE65280 \\# 2 abcd\n",
    b"\\# ",
    b"$ORIGIN example.\n",
    b"$ORIGIN ",
    b"$TTL 1h\n",
    b"$TTL ",
    b"$INCLUDE nothing\n",
    b"$",
    b"(",
    b")",
    b"\"",
    b"\\",
    b"\\046",
    b"\\999",
    b";",
    b"; comment\n",
    b".",
    b"..",
    b"\r\n",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\0",
];

#[test]
fn zone_files() {
    let tried = Tried::new("zone file");
    bolero::check!().with_type::<Vec<u8>>().with_iterations(ITERATIONS).for_each(|codes| {
        let text = text(codes, &WORDS);
        let lines = text.split('\n').count();
        let read = Zone::parse(&text, Path::new("/nonexistent/test.zone"));
        match &read {
            Ok(_) => {}
            Err(DnsError::Zone { line, what, .. }) => assert!(*line <= lines && !what.is_empty(), "{line}: {what}"),
            Err(other) => panic!("{other}"),
        }
        tried.count(usize::from(read.is_ok()));
    });
}
