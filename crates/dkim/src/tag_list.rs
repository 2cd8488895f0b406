//! Tag lists (RFC 6376 §3.2): signatures and key records.
//!
//! ```text
//! tag-list  = tag-spec *( ";" tag-spec ) [ ";" ]
//! tag-spec  = [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
//! tag-name  = ALPHA *( ALPHA / DIGIT / "_" )
//! ```
//! Names are case-sensitive; a name twice makes the whole list invalid. Empty tag-specs (`;;`) are let through, as by most
//! verifiers. What a value may contain is up to its tag.

use std::ops::Range;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memchr_iter;

use crate::cause::Cause;

/// One tag.
#[derive(Debug, Clone)]
pub(crate) struct Tag<'v> {
    pub(crate) name: &'v [u8],
    /// Without surrounding white space.
    pub(crate) value: &'v [u8],
    /// Everything between `=` and `;` or the end, surrounding white space included; octets of the text parsed.
    pub(crate) span: Range<usize>,
}

/// A tag list without duplicates.
#[derive(Debug)]
pub(crate) struct TagList<'v> {
    /// Sorted by name.
    tags: Vec<Tag<'v>>,
}

impl<'v> TagList<'v> {
    /// Faults: [`Cause::TagListSyntax`], [`Cause::DuplicateTag`].
    pub(crate) fn parse(text: &'v [u8]) -> Result<TagList<'v>, Cause> {
        let mut tags = Vec::with_capacity(16);
        let mut start = 0;
        for end in memchr_iter(b';', text).chain([text.len()]) {
            let spec = &text[start..end];
            if !trim(spec).is_empty() {
                tags.push(tag_spec(spec, start)?);
            }
            start = end + 1;
        }
        tags.sort_unstable_by_key(|tag| tag.name);
        if tags.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(Cause::DuplicateTag);
        }
        Ok(TagList { tags })
    }

    pub(crate) fn tag(&self, name: &str) -> Option<&Tag<'v>> {
        self.tags.binary_search_by_key(&name.as_bytes(), |tag| tag.name).ok().map(|at| &self.tags[at])
    }

    pub(crate) fn value(&self, name: &str) -> Option<&'v [u8]> {
        self.tag(name).map(|tag| tag.value)
    }
}

fn tag_spec(spec: &[u8], offset: usize) -> Result<Tag<'_>, Cause> {
    let equals = spec.iter().position(|&octet| octet == b'=').ok_or(Cause::TagListSyntax)?;
    let name = trim(&spec[..equals]);
    let valid = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|&octet| octet.is_ascii_alphanumeric() || octet == b'_');
    if !valid {
        return Err(Cause::TagListSyntax);
    }
    Ok(Tag { name, value: trim(&spec[equals + 1..]), span: offset + equals + 1..offset + spec.len() })
}

/// Folding white space of a field already split off at its CRLF: blanks and line ends.
pub(crate) fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

pub(crate) fn trim(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets
        && is_white_space(*first)
    {
        octets = rest;
    }
    while let [rest @ .., last] = octets
        && is_white_space(*last)
    {
        octets = rest;
    }
    octets
}

/// The items of a colon-separated value, white space around each removed.
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&octet| octet == b':').map(trim)
}

/// Whether a colon-separated value has `item`, ASCII case ignored.
pub(crate) fn has_item(value: &[u8], item: &str) -> bool {
    items(value).any(|each| each.eq_ignore_ascii_case(item.as_bytes()))
}

/// A base64string (RFC 6376 §2.10): white space anywhere, padding optional.
pub(crate) fn base64(value: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(value.len());
    value.split(|&octet| is_white_space(octet)).for_each(|run| packed.extend_from_slice(run));
    BASE64.decode(packed).ok()
}

/// Unpadded and sloppily ended values exist in published keys; what they decode to is not in doubt.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        // (text, tags sorted by name or the fault)
        type Row<'r> = (&'r str, Result<&'r [(&'r str, &'r str)], Cause>);
        let rows: &[Row] = &[
            ("", Ok(&[])),
            ("a=1", Ok(&[("a", "1")])),
            ("a=1;", Ok(&[("a", "1")])),
            (" b =\t1 ;\r\n a = 2 ", Ok(&[("a", "2"), ("b", "1")])),
            ("a=", Ok(&[("a", "")])),
            ("a=b=c", Ok(&[("a", "b=c")])),
            ("a=1;;b=2; ;", Ok(&[("a", "1"), ("b", "2")])),
            ("a_1=x", Ok(&[("a_1", "x")])),
            ("a=1; A=2", Ok(&[("A", "2"), ("a", "1")])),
            ("a", Err(Cause::TagListSyntax)),
            ("=1", Err(Cause::TagListSyntax)),
            ("1a=1", Err(Cause::TagListSyntax)),
            ("a b=1", Err(Cause::TagListSyntax)),
            ("a-b=1", Err(Cause::TagListSyntax)),
            ("a=1; junk; b=2", Err(Cause::TagListSyntax)),
            ("a=1; b=2; a=1", Err(Cause::DuplicateTag)),
            ("zz=1; zz=1", Err(Cause::DuplicateTag)),
        ];
        for (text, expected) in rows {
            let seen = TagList::parse(text.as_bytes()).map(|list| {
                list.tags
                    .iter()
                    .map(|tag| (std::str::from_utf8(tag.name).unwrap(), std::str::from_utf8(tag.value).unwrap()))
                    .collect::<Vec<_>>()
            });
            assert_eq!(seen, expected.map(<[_]>::to_vec), "{text:?}");
        }
    }

    #[test]
    fn span_keeps_white_space() {
        let text = b"a=1; b = xy \r\n ;c=3";
        let list = TagList::parse(text).unwrap();
        assert_eq!(&text[list.tag("b").unwrap().span.clone()], b" xy \r\n ");
        let last = b"a=1; b= xy\r\n\t";
        assert_eq!(&last[TagList::parse(last).unwrap().tag("b").unwrap().span.clone()], b" xy\r\n\t");
    }

    #[test]
    fn base64_strings() {
        let rows: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("YQ==", Some(b"a")),
            ("YQ", Some(b"a")),
            ("Y\r\n Q = =", Some(b"a")),
            ("YR==", Some(b"a")),
            ("YWJj", Some(b"abc")),
            ("Y", None),
            ("Y*==", None),
            ("YQ==YQ==", None),
        ];
        for (text, expected) in rows {
            assert_eq!(base64(text.as_bytes()).as_deref(), *expected, "{text:?}");
        }
    }
}
