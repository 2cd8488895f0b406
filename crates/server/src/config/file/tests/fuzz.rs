//! Configuration files: options or an error with a place in the file; and options become a `Config` or an error.

use super::*;
use crate::inputs::{ITERATIONS, Tried, text};

/// Values of options, good and bad, and what TOML is made of. Keys are drawn from [`REGISTRY`].
const WORDS: [&[u8]; 48] = [
    b"\"mx.example\"",
    b"\"[::1]:2525\"",
    b"\"smtp://127.0.0.1:25\"",
    b"\"maildir:./mail\"",
    b"\"discard:\"",
    b"\"lmtp://x\"",
    b"\"a.example=accept\"",
    b"\"*.b.example=monitor\"",
    b"\"c.example=reject\"",
    b"\"x=y\"",
    b"\"2001:db8::/32\"",
    b"\"::1/128\"",
    b"\"127.0.0.1:53\"",
    b"\"0,1\"",
    b"\"0-3\"",
    b"\"exists\"",
    b"\"fcrdns\"",
    b"\"enforce\"",
    b"\"monitor\"",
    b"\"auto\"",
    b"\"none\"",
    b"\"\"",
    b"0",
    b"1",
    b"2",
    b"64",
    b"1048577",
    b"18446744073709551615",
    b"-1",
    b"1.5",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"=",
    b" = ",
    b"\n",
    b"[domain]\n",
    b"\"a.example\" = \"accept\"\n",
    b"\"b.example\" = \"perhaps\"\n",
    b"# comment\n",
    b"\"",
    b"'''",
    b".",
    b"\\u0000",
    b"\xff",
];

#[test]
fn any_file_is_read_or_refused_with_a_place() {
    let tried = Tried::new("configuration");
    bolero::check!().with_type::<Vec<(u8, Vec<u8>)>>().with_iterations(ITERATIONS).for_each(|lines| {
        let mut file = String::new();
        for (key, codes) in lines.iter().take(20) {
            let value = text(&codes[..codes.len().min(6)], &WORDS);
            match REGISTRY.get(usize::from(*key)).map(|entry| entry.key) {
                Some(key) if codes.len() % 2 == 1 => file += &format!("{key} = [{value}]\n"),
                Some(key) => file += &format!("{key} = {value}\n"),
                None => file += &value,
            }
        }
        let (givens, faults) = parse(&file);
        for Fault(offset, message) in &faults {
            assert!(*offset <= file.len() && !message.is_empty(), "{offset}: {message}");
        }
        let mut options = Options::default();
        let are_set = givens.iter().all(|given| options.set(given.entry.key, given.texts()).is_ok());
        let reached = if faults.is_empty() && are_set { usize::from(options.check().is_ok()) + 1 } else { 0 };
        tried.count(reached);
    });
}
