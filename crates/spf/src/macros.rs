//! Macro strings: parsed once with the record, expanded at evaluation (RFC 7208 §7).
//!
//! Trusts nothing: the text is a record's, the values are a client's. Expansion into a name stops as soon as more octets
//! stand than a name can have, so its cost does not grow with the number of macros times the length of their values.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;

use crate::limits::{EXPLANATION_OCTETS_MAX, NAME_OCTETS_MAX};
use crate::name;

/// Where a macro string stands: `c`, `r` and `t` are for explanation texts only (§7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Term,
    Explanation,
}

/// `domain-spec = macro-string domain-end` (§7.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DomainSpec {
    /// No macros: the target name, ready to be asked for.
    Name(Box<str>),
    /// No macros, and the target name cannot be in DNS.
    Malformed,
    /// To be expanded.
    Macros(MacroString),
}

impl DomainSpec {
    /// ```abnf
    /// domain-spec = macro-string domain-end
    /// domain-end  = ( "." toplabel [ "." ] ) / macro-expand
    /// ```
    /// `text` is printable ASCII.
    pub(crate) fn parse(text: &str) -> Result<DomainSpec, &'static str> {
        let (string, literal_from) = MacroString::parse_with_end(text, Place::Term)?;
        let literal_end = &text[literal_from..];
        let ends_in_macro = literal_from > 0 && literal_end.is_empty();
        if !ends_in_macro && !ends_in_toplabel(literal_end) {
            return Err("domain-spec does not end in a top label or a macro");
        }
        Ok(match &*string.pieces {
            [Piece::Literal(literal)] => match name::target_name(literal) {
                Some(name) => DomainSpec::Name(name.into()),
                None => DomainSpec::Malformed,
            },
            _ => DomainSpec::Macros(string),
        })
    }

    /// Octets on the heap.
    pub(crate) fn heap_octets(&self) -> usize {
        match self {
            DomainSpec::Name(name) => name.len(),
            DomainSpec::Malformed => 0,
            DomainSpec::Macros(string) => string.heap_octets(),
        }
    }
}

/// ```abnf
/// macro-string  = *( macro-expand / macro-literal )
/// macro-expand  = ( "%{" macro-letter transformers *delimiter "}" ) / "%%" / "%_" / "%-"
/// macro-literal = %x21-24 / %x26-7E
/// ```
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MacroString {
    /// Neighbouring literals are one piece.
    pieces: Box<[Piece]>,
    needs_validated_name: bool,
    tells_of_sender: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Macro(Macro),
}

/// `"%{" macro-letter transformers *delimiter "}"`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Macro {
    letter: Letter,
    /// Right-hand parts to keep, 0 for all.
    parts: u16,
    reverse: bool,
    /// The letter was upper case: escape as in URLs (§7.3).
    escape: bool,
    /// One bit for each octet of `DELIMITERS`.
    delimiters: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Sender,
    LocalPart,
    SenderDomain,
    Domain,
    Ip,
    ValidatedName,
    IpVersion,
    Helo,
    ReadableIp,
    Receiver,
    Time,
}

/// What the letters stand for (§7.2).
#[derive(Debug, Clone)]
pub(crate) struct Values<'v> {
    pub(crate) local_part: &'v str,
    pub(crate) sender_domain: &'v str,
    pub(crate) domain: &'v str,
    pub(crate) client: IpAddr,
    /// `unknown` when there is none.
    pub(crate) validated_name: &'v str,
    pub(crate) helo: &'v str,
    pub(crate) receiver: &'v str,
    pub(crate) now_unix_s: u64,
    /// Octets that were made of them and of what stands between.
    pub(crate) octets_expanded: Cell<usize>,
}

impl MacroString {
    /// Parses printable ASCII; spaces only in explanations (`explain-string = *( macro-string / SP )`).
    pub(crate) fn parse(text: &str, place: Place) -> Result<MacroString, &'static str> {
        Self::parse_with_end(text, place).map(|(string, _)| string)
    }

    /// Also gives the offset behind the last macro-expand, 0 if there is none.
    fn parse_with_end(text: &str, place: Place) -> Result<(MacroString, usize), &'static str> {
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let (mut rest, mut end) = (text, 0);
        let (mut needs_validated_name, mut tells_of_sender) = (false, false);
        while let Some(percent) = rest.find('%') {
            literal.push_str(&rest[..percent]);
            let (expand, after) = macro_expand(&rest[percent + 1..], place)?;
            match expand {
                Expand::Text(text) => literal.push_str(text),
                Expand::Macro(expand) => {
                    flush(&mut literal, &mut pieces);
                    needs_validated_name |= expand.letter == Letter::ValidatedName;
                    tells_of_sender |= expand.letter.tells_of_sender();
                    pieces.push(Piece::Macro(expand));
                }
            }
            rest = after;
            end = text.len() - rest.len();
        }
        literal.push_str(rest);
        flush(&mut literal, &mut pieces);
        Ok((MacroString { pieces: pieces.into(), needs_validated_name, tells_of_sender }, end))
    }

    /// Whether `%{p}` occurs, which must be looked up first.
    pub(crate) fn needs_validated_name(&self) -> bool {
        self.needs_validated_name
    }

    /// Whether a macro occurs whose value differs among the senders of one domain at one client, or with time.
    pub(crate) fn tells_of_sender(&self) -> bool {
        self.tells_of_sender
    }

    /// Expands into a target name (§4.8, §7.3); `None` if that cannot be in DNS, as whatever tells a local part that is not ASCII (RFC 8616
    /// §4).
    pub(crate) fn expand_name(&self, values: &Values<'_>) -> Option<String> {
        if !values.local_part.is_ascii() && self.tells_local_part() {
            return None;
        }
        // From the right: whatever stands left of more than 253 octets and a final dot is cut off anyway.
        let (mut parts, mut octets) = (Vec::new(), 0);
        for piece in self.pieces.iter().rev() {
            let part = piece.expand(values);
            octets += part.len();
            if !part.is_empty() {
                parts.push(part);
            }
            if octets > NAME_OCTETS_MAX + 1 {
                break;
            }
        }
        parts.reverse();
        name::target_name(&parts.concat())
    }

    fn tells_local_part(&self) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Literal(_) => false,
            Piece::Macro(expand) => matches!(expand.letter, Letter::Sender | Letter::LocalPart),
        })
    }

    /// Expands into an explanation, cut at [`EXPLANATION_OCTETS_MAX`]; `None` if a value made it anything but printable
    /// ASCII.
    pub(crate) fn expand_text(&self, values: &Values<'_>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            text.push_str(&piece.expand(values));
            if text.len() >= EXPLANATION_OCTETS_MAX {
                break;
            }
        }
        if !text.bytes().all(is_printable) {
            return None;
        }
        text.truncate(EXPLANATION_OCTETS_MAX);
        Some(text)
    }

    fn heap_octets(&self) -> usize {
        let literals = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => literal.len(),
            Piece::Macro(_) => 0,
        });
        size_of_val(&*self.pieces) + literals.sum::<usize>()
    }
}

impl Letter {
    /// Not `o`: it is the domain of the identity itself.
    fn tells_of_sender(self) -> bool {
        matches!(self, Letter::Sender | Letter::LocalPart | Letter::Helo | Letter::Time)
    }
}

impl Piece {
    fn expand<'v>(&'v self, values: &Values<'v>) -> Cow<'v, str> {
        let part = match self {
            Piece::Literal(literal) => Cow::Borrowed(&**literal),
            Piece::Macro(expand) => expand.expand(values),
        };
        values.octets_expanded.set(values.octets_expanded.get() + part.len());
        part
    }
}

impl Macro {
    /// The value, split, reversed, shortened, joined with dots, escaped, in this order (§7.3).
    fn expand<'v>(&self, values: &Values<'v>) -> Cow<'v, str> {
        let mut value = values.value(self.letter);
        if self.parts > 0 || self.reverse || self.delimiters != DOT {
            value = Cow::Owned(self.transform(&value));
        }
        if self.escape {
            value = Cow::Owned(url_escape(&value));
        }
        value
    }

    fn transform(&self, value: &str) -> String {
        let mut parts: Vec<&str> = value.split(|octet| delimiter_bit(octet) & self.delimiters != 0).collect();
        if self.reverse {
            parts.reverse();
        }
        let keep = match self.parts {
            0 => parts.len(),
            keep => parts.len().min(usize::from(keep)),
        };
        parts[parts.len() - keep..].join(".")
    }
}

impl<'v> Values<'v> {
    fn value(&self, letter: Letter) -> Cow<'v, str> {
        match letter {
            Letter::Sender => Cow::Owned(format!("{}@{}", self.local_part, self.sender_domain)),
            Letter::LocalPart => Cow::Borrowed(self.local_part),
            Letter::SenderDomain => Cow::Borrowed(self.sender_domain),
            Letter::Domain => Cow::Borrowed(self.domain),
            Letter::Ip => Cow::Owned(dotted(self.client)),
            Letter::ValidatedName => Cow::Borrowed(self.validated_name),
            Letter::IpVersion => Cow::Borrowed(if self.client.is_ipv4() { "in-addr" } else { "ip6" }),
            Letter::Helo => Cow::Borrowed(self.helo),
            Letter::ReadableIp => Cow::Owned(self.client.to_string()),
            Letter::Receiver if self.receiver.is_empty() => Cow::Borrowed("unknown"),
            Letter::Receiver => Cow::Borrowed(self.receiver),
            Letter::Time => Cow::Owned(self.now_unix_s.to_string()),
        }
    }
}

/// What stands after a `%`.
enum Expand {
    Text(&'static str),
    Macro(Macro),
}

/// `text` begins behind the `%`; also gives what stands behind the macro.
fn macro_expand(text: &str, place: Place) -> Result<(Expand, &str), &'static str> {
    let Some(kind) = text.bytes().next().filter(u8::is_ascii) else { return Err(LONELY_PERCENT) };
    let rest = &text[1..];
    match kind {
        b'%' => Ok((Expand::Text("%"), rest)),
        b'_' => Ok((Expand::Text(" "), rest)),
        b'-' => Ok((Expand::Text("%20"), rest)),
        b'{' => {
            let (body, rest) = rest.split_once('}').ok_or("macro is not closed")?;
            Ok((Expand::Macro(macro_body(body, place)?), rest))
        }
        _ => Err(LONELY_PERCENT),
    }
}

/// ```abnf
/// macro-letter transformers *delimiter
/// transformers = *DIGIT [ "r" ]
/// delimiter    = "." / "-" / "+" / "," / "/" / "_" / "="
/// ```
fn macro_body(body: &str, place: Place) -> Result<Macro, &'static str> {
    let first = body.chars().next().ok_or("macro without a letter")?;
    let letter = macro_letter(first, place)?;
    let rest = &body[first.len_utf8()..];
    let digits = rest.len() - rest.trim_start_matches(|octet: char| octet.is_ascii_digit()).len();
    let parts = rest[..digits].bytes().fold(0u16, |sum, digit| {
        // More parts than a value can have are as good as the right number.
        sum.saturating_mul(10).saturating_add(u16::from(digit - b'0'))
    });
    if digits > 0 && parts == 0 {
        return Err("macro keeps zero parts");
    }
    let (reverse, rest) = match rest[digits..].strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, &rest[digits..]),
    };
    let mut delimiters = 0;
    for octet in rest.chars() {
        match delimiter_bit(octet) {
            0 => return Err("unknown delimiter in a macro"),
            bit => delimiters |= bit,
        }
    }
    let delimiters = if delimiters == 0 { DOT } else { delimiters };
    Ok(Macro { letter, parts, reverse, escape: first.is_ascii_uppercase(), delimiters })
}

fn macro_letter(letter: char, place: Place) -> Result<Letter, &'static str> {
    Ok(match (letter.to_ascii_lowercase(), place) {
        ('s', _) => Letter::Sender,
        ('l', _) => Letter::LocalPart,
        ('o', _) => Letter::SenderDomain,
        ('d', _) => Letter::Domain,
        ('i', _) => Letter::Ip,
        ('p', _) => Letter::ValidatedName,
        ('v', _) => Letter::IpVersion,
        ('h', _) => Letter::Helo,
        ('c', Place::Explanation) => Letter::ReadableIp,
        ('r', Place::Explanation) => Letter::Receiver,
        ('t', Place::Explanation) => Letter::Time,
        ('c' | 'r' | 't', Place::Term) => return Err("macro letter is for explanations only"),
        _ => return Err("unknown macro letter"),
    })
}

fn flush(literal: &mut String, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
}

/// ```abnf
/// "." toplabel [ "." ]
/// toplabel = ( *alphanum ALPHA *alphanum ) / ( 1*alphanum "-" *( alphanum / "-" ) alphanum )
/// ```
fn ends_in_toplabel(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else { return false };
    let octets = label.as_bytes();
    octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        && octets.iter().any(|octet| !octet.is_ascii_digit())
        && !octets.starts_with(b"-")
        && !octets.ends_with(b"-")
}

/// `%{i}`: dotted quad, or the nibbles of an IPv6 address (§7.3).
fn dotted(client: IpAddr) -> String {
    let address = match client {
        IpAddr::V4(address) => return address.to_string(),
        IpAddr::V6(address) => address,
    };
    let mut text = String::with_capacity(64);
    for octet in address.octets() {
        for nibble in [octet >> 4, octet & 15] {
            text.push(char::from(HEX[usize::from(nibble)]));
            text.push('.');
        }
    }
    text.pop();
    text
}

/// Escapes all but `unreserved = ALPHA / DIGIT / "-" / "." / "_" / "~"` (§7.3, RFC 3986 §2.3).
fn url_escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(octet >> 4)]));
            text.push(char::from(HEX[usize::from(octet & 15)]));
        }
    }
    text
}

/// The bit of a delimiter, 0 for all else.
fn delimiter_bit(octet: char) -> u8 {
    DELIMITERS.find(octet).map_or(0, |at| 1 << at)
}

/// SP and visible ASCII.
pub(crate) fn is_printable(octet: u8) -> bool {
    matches!(octet, 0x20..=0x7e)
}

const DELIMITERS: &str = ".-+,/_=";
const DOT: u8 = 1;
const HEX: &[u8; 16] = b"0123456789ABCDEF";
const LONELY_PERCENT: &str = "% is not part of a macro";

#[cfg(test)]
mod tests;
