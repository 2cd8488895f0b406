//! What the fuzz targets share: inputs put together from words that mean something, cuts, and a count of what was tried.
//!
//! A target includes this file by its path. It is bounded when it runs with the other tests; for long, all of them one after the other:
//! `tests/fuzz.sh SECONDS`. A failing input is printed, made as small as bolero can.
#![allow(dead_code, unreachable_pub, reason = "each target uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

/// Inputs of a target when it runs with the other tests.
pub const ITERATIONS: usize = 5_000;

/// Counts inputs, and says at its end how many there were.
pub struct Tried {
    target: &'static str,
    inputs: AtomicU64,
    reached: AtomicU64,
}

impl Tried {
    /// Nothing yet.
    pub const fn new(target: &'static str) -> Tried {
        Tried { target, inputs: AtomicU64::new(0), reached: AtomicU64::new(0) }
    }

    /// One more, and how often it reached what the target is about: records that were valid, say.
    pub fn count(&self, reached: usize) {
        self.inputs.fetch_add(1, Ordering::Relaxed);
        self.reached.fetch_add(reached as u64, Ordering::Relaxed);
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let [inputs, reached] = [&self.inputs, &self.reached].map(|count| count.load(Ordering::Relaxed));
        std::println!("fuzz {}: {inputs} inputs, {reached} reached their aim", self.target);
    }
}

/// Each code, taken modulo 64, that is the number of a word becomes that word; every other code is itself. So inputs mean something, and
/// octets that are nobody's word still occur.
pub fn octets(codes: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut octets = Vec::new();
    for code in codes {
        match words.get(usize::from(code % 64)) {
            Some(word) => octets.extend_from_slice(word),
            None => octets.push(*code),
        }
    }
    octets
}

/// As [`octets`], for readers of text: what is no UTF-8 is replaced.
pub fn text(codes: &[u8], words: &[&[u8]]) -> std::string::String {
    std::string::String::from_utf8_lossy(&octets(codes, words)).into_owned()
}

/// `input` in pieces as long as `cuts` says, again and again; each has at least one octet.
pub fn pieces<'i>(mut input: &'i [u8], cuts: &[u8]) -> Vec<&'i [u8]> {
    let mut pieces = Vec::new();
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut) % 40 + 1).cycle();
    while !input.is_empty() {
        let (piece, rest) = input.split_at(lengths.next().unwrap_or(input.len()).min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces
}

/// Whether there is a CR without LF or an LF without CR.
pub fn has_bare_cr_or_lf(octets: &[u8]) -> bool {
    let cr_before = |at: usize| at > 0 && octets[at - 1] == b'\r';
    octets.iter().enumerate().any(|(at, octet)| match octet {
        b'\n' => !cr_before(at),
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        _ => false,
    })
}
