//! The header section as a list of fields (RFC 5322 §2.2, with the blank before the colon of §4.5).
//!
//! One linear scan that keeps ranges only, so that the same list serves DKIM, DMARC, the loop check and the removal of fields.
//! Only CRLF ends a line. A line that is no field (no colon, or folded with nothing before it) is kept as a field without a name, so
//! that the ranges of all fields cover the section and nothing is hidden from whoever counts octets.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// One header field; ranges are octets of the block given to [`Header::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, without the white space that may precede the colon. Empty for a line that is no field.
    pub name: Range<usize>,
    /// Everything after the colon, folding included, without the final CRLF.
    pub value: Range<usize>,
    /// The field with its final CRLF.
    pub whole: Range<usize>,
}

/// A parsed header section.
#[derive(Debug, Clone)]
pub struct Header<'m> {
    block: &'m [u8],
    fields: Vec<Field>,
    section_octets: usize,
}

impl<'m> Header<'m> {
    /// Scans `block` (CRLF line ends) up to its first empty line or its end.
    #[must_use]
    pub fn parse(block: &'m [u8]) -> Header<'m> {
        let mut fields: Vec<Field> = Vec::with_capacity(32);
        let mut start = 0;
        for end in line_ends(block) {
            let line = &block[start..end];
            if line == b"\r\n" {
                break;
            }
            let content_end = end - if line.ends_with(b"\r\n") { 2 } else { 0 };
            match fields.last_mut() {
                Some(field) if matches!(line.first(), Some(b' ' | b'\t')) => {
                    field.value.end = content_end;
                    field.whole.end = end;
                }
                _ => fields.push(first_line(line, start, content_end, end)),
            }
            start = end;
        }
        Header { block, fields, section_octets: start }
    }

    /// The fields in their order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields whose name is `name`, ASCII case ignored, from the top.
    pub fn named<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h Field> {
        self.fields.iter().filter(move |field| self.name(field).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The name of a field of this header, as sent; empty for a line that is no field.
    #[must_use]
    pub fn name(&self, field: &Field) -> &'m [u8] {
        self.octets(&field.name)
    }

    /// The value of a field of this header, as sent: folded, with the blank after the colon.
    #[must_use]
    pub fn value(&self, field: &Field) -> &'m [u8] {
        self.octets(&field.value)
    }

    /// A whole field of this header with its final CRLF.
    #[must_use]
    pub fn whole(&self, field: &Field) -> &'m [u8] {
        self.octets(&field.whole)
    }

    /// Octets of the header section without the empty line that ends it.
    #[must_use]
    pub fn section_octets(&self) -> usize {
        self.section_octets
    }

    fn octets(&self, range: &Range<usize>) -> &'m [u8] {
        self.block.get(range.clone()).unwrap_or_default()
    }
}

fn first_line(line: &[u8], start: usize, content_end: usize, end: usize) -> Field {
    let folded = matches!(line.first(), Some(b' ' | b'\t'));
    match memchr(b':', line).filter(|_| !folded) {
        Some(colon) => {
            let blanks = line[..colon].iter().rev().take_while(|&&octet| matches!(octet, b' ' | b'\t')).count();
            Field { name: start..start + colon - blanks, value: start + colon + 1..content_end, whole: start..end }
        }
        None => Field { name: start..start, value: start..content_end, whole: start..end },
    }
}

/// Where each line ends: after its CRLF, and the end of the block if the last line has none.
fn line_ends(block: &[u8]) -> impl Iterator<Item = usize> {
    let unterminated = (!block.is_empty() && !block.ends_with(b"\r\n")).then_some(block.len());
    memchr_iter(b'\n', block)
        .filter(|&line_feed| line_feed > 0 && block[line_feed - 1] == b'\r')
        .map(|line_feed| line_feed + 1)
        .chain(unterminated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_blocks() {
        // (block, [(name, value)], octets of the section)
        type Row<'r> = (&'r [u8], &'r [(&'r str, &'r str)], usize);
        let rows: &[Row] = &[
            (b"", &[], 0),
            (b"\r\n", &[], 0),
            (b"\r\nA: b\r\n", &[], 0),
            (b"A: b\r\n\r\nB: c\r\n", &[("A", " b")], 6),
            (b"A: b\r\nB:c\r\n", &[("A", " b"), ("B", "c")], 11),
            (b"A \t: b", &[("A", " b")], 6),
            (b"A: b\r\n\tc\r\n d\r\nE:\r\n\r\n", &[("A", " b\r\n\tc\r\n d"), ("E", "")], 18),
            (b" folded\r\nA: b\r\n", &[("", " folded"), ("A", " b")], 15),
            (b" folded: x\r\n", &[("", " folded: x")], 12),
            (b"no colon\r\n more\r\nA: b\r\n\r\n", &[("", "no colon\r\n more"), ("A", " b")], 23),
            (b"A: b\nB: c\r\n\r\n", &[("A", " b\nB: c")], 11),
            (b"A: b\r\n \r\n\r\n", &[("A", " b\r\n ")], 9),
            (b"\nA: b\r\n", &[("\nA", " b")], 7),
            (b": x\r\n", &[("", " x")], 5),
            (b"A: b\r", &[("A", " b\r")], 5),
        ];
        for (block, expected, octets) in rows {
            let header = Header::parse(block);
            let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
            let seen: Vec<_> = header.fields().iter().map(|f| (text(header.name(f)), text(header.value(f)))).collect();
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(seen, expected, "{block:?}");
            assert_eq!(header.section_octets(), *octets, "{block:?}");
            let covered: usize = header.fields().iter().map(|f| f.whole.len()).sum();
            assert_eq!(covered, *octets, "{block:?}");
        }
    }

    #[test]
    fn named_ignores_case() {
        let header = Header::parse(b"From: a\r\nfrom : b\r\nFromage: c\r\nFROM:d\r\n\r\n");
        let values: Vec<_> = header.named("From").map(|field| header.value(field)).collect();
        assert_eq!(values, [b" a".as_slice(), b" b", b"d"]);
    }
}
