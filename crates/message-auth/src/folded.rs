//! A header field that folds itself (RFC 5322 §2.2.3) between words, never inside one.

use crate::limits::FOLD_OCTETS;

/// The field so far. Its name is written, its end is not.
pub(crate) struct Folded {
    octets: Vec<u8>,
    line_start: usize,
}

impl Folded {
    /// Starts `name:`; `capacity` is a guess at the whole field's length.
    pub(crate) fn new(name: &str, capacity: usize) -> Folded {
        let mut octets = Vec::with_capacity(capacity);
        octets.extend_from_slice(name.as_bytes());
        octets.push(b':');
        Folded { octets, line_start: 0 }
    }

    /// Appends a blank and one word; the blank becomes a fold when the line would grow too long.
    pub(crate) fn word(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.octets.len();
        if self.line_is_fresh() {
            write(&mut self.octets);
            return;
        }
        self.octets.push(b' ');
        write(&mut self.octets);
        if self.octets.len() - self.line_start > FOLD_OCTETS {
            self.octets.splice(start..=start, *b"\r\n\t");
            self.line_start = start + 2;
        }
    }

    /// Appends octets that belong to the word before (`;`).
    pub(crate) fn join(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Goes on in a new line.
    pub(crate) fn fold(&mut self) {
        self.octets.extend_from_slice(b"\r\n\t");
        self.line_start = self.octets.len() - 1;
    }

    /// The whole field, CRLF included.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.octets.extend_from_slice(b"\r\n");
        self.octets
    }

    fn line_is_fresh(&self) -> bool {
        self.line_start > 0 && self.octets.len() == self.line_start + 1
    }
}
