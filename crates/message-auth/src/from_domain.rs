//! The author's domain: the domain of the mailboxes in the From field (RFC 5322 §3.6.2, RFC 7489 §6.6.1).
//!
//! Trusts nothing. Reads what real mail has (unquoted dots and at signs in display names, encoded words, groups), in
//! one pass and without recursion; DMARC asks only for the domain, so that is all it looks for.

use std::borrow::Cow;

use mail_auth::common::to_a_label;
use mx6_dkim::Header;

use crate::escape::is_domain_name;
use crate::limits::FROM_FIELD_OCTETS_MAX;

/// Who says to have written a message: what its From field has for DMARC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Author(pub(crate) FromDomain);

impl Author {
    /// The author by the header section of a message: exactly one From field (RFC 5322 §3.6), not too long.
    #[must_use]
    pub fn of(header: &Header<'_>) -> Author {
        let mut fields = header.named("From");
        Author(match (fields.next(), fields.next()) {
            (Some(field), None) if field.value.len() <= FROM_FIELD_OCTETS_MAX => from_domain(header.value(field)),
            _ => FromDomain::Unusable,
        })
    }

    /// The one domain of its mailboxes: A-labels, lower case.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match &self.0 {
            FromDomain::Single(domain) => Some(domain),
            FromDomain::Several | FromDomain::Unusable => None,
        }
    }
}

/// What the From field says of the author's domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum FromDomain {
    /// All its mailboxes are of this domain: A-labels, lower case.
    Single(String),
    /// Its mailboxes are of several domains: DMARC does not apply (RFC 7489 §6.6.1).
    Several,
    /// There is no mailbox with a domain name in it.
    #[default]
    Unusable,
}

/// The author's domain in the value of a From field.
pub(crate) fn from_domain(value: &[u8]) -> FromDomain {
    let mut scan = Scan { domain: None, verdict: None };
    scan.mailboxes(value);
    match (scan.verdict, scan.domain) {
        (Some(verdict), _) => verdict,
        (None, Some(domain)) => FromDomain::Single(domain),
        (None, None) => FromDomain::Unusable,
    }
}

struct Scan {
    domain: Option<String>,
    verdict: Option<FromDomain>,
}

impl Scan {
    /// Splits the field into mailboxes; comments and quoted-strings are skipped, `<…>` overrules what stands outside.
    fn mailboxes(&mut self, value: &[u8]) {
        let mut address = Vec::with_capacity(value.len().min(ADDRESS_OCTETS_USUAL));
        let mut angle = false;
        let mut octets = value.iter().copied().peekable();
        let mut inside_angle = false;
        while let Some(octet) = octets.next() {
            match octet {
                b'(' => skip_until_closed(&mut octets),
                b'"' => {
                    skip_quoted(&mut octets);
                    // The local part is there, whatever it is; its octets must not be taken for an at sign.
                    address.push(b'x');
                }
                b'<' => {
                    address.clear();
                    (angle, inside_angle) = (true, true);
                }
                b'>' => inside_angle = false,
                b',' | b';' if !inside_angle => {
                    self.mailbox(&address);
                    address.clear();
                    angle = false;
                }
                // The name of a group ends; inside `<…>` a colon ends a source route.
                b':' => address.clear(),
                _ if angle && !inside_angle => {}
                _ => address.push(octet),
            }
        }
        self.mailbox(&address);
    }

    fn mailbox(&mut self, address: &[u8]) {
        let address = address.trim_ascii();
        if address.is_empty() {
            return;
        }
        let domain = address.iter().rposition(|&octet| octet == b'@').and_then(|at| domain_name(&address[at + 1..]));
        match (domain, &self.domain) {
            (None, _) => self.verdict = self.verdict.take().or(Some(FromDomain::Unusable)),
            (Some(domain), None) => self.domain = Some(domain),
            (Some(domain), Some(before)) if *before != domain => self.verdict = Some(FromDomain::Several),
            _ => {}
        }
    }
}

/// `domain` as lower-case A-labels without a final dot, if it is a domain name.
fn domain_name(domain: &[u8]) -> Option<String> {
    let domain = std::str::from_utf8(domain.trim_ascii()).ok()?;
    // White space around dots is obsolete syntax (RFC 5322 §4.4) and means nothing.
    let domain = if domain.bytes().any(|octet| octet.is_ascii_whitespace()) {
        Cow::Owned(domain.split_ascii_whitespace().collect())
    } else {
        Cow::Borrowed(domain)
    };
    let domain = to_a_label(domain.strip_suffix('.').unwrap_or(&domain)).into_owned();
    is_domain_name(domain.as_bytes()).then_some(domain)
}

fn skip_until_closed(octets: &mut impl Iterator<Item = u8>) {
    let mut depth = 1_usize;
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => _ = octets.next(),
            b'(' => depth += 1,
            b')' if depth == 1 => return,
            b')' => depth -= 1,
            _ => {}
        }
    }
}

fn skip_quoted(octets: &mut impl Iterator<Item = u8>) {
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => _ = octets.next(),
            b'"' => return,
            _ => {}
        }
    }
}

/// Most addresses, with the name before them, fit without growing.
const ADDRESS_OCTETS_USUAL: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (value, want) in [
            (" a@example.com", "example.com"),
            ("a@EXAMPLE.com\r\n", "example.com"),
            (" <a@example.com>", "example.com"),
            ("A. U. Thor <a@example.com>", "example.com"),
            ("\"x@evil.example\" <a@example.com>", "example.com"),
            ("x@evil.example <a@example.com>", "example.com"),
            ("=?utf-8?q?x=40evil.example?= <a@example.com>", "example.com"),
            ("(x@evil.example) a@example.com (y@evil.example)", "example.com"),
            ("(\\)(nested) x@evil.example) a@example.com", "example.com"),
            ("\"a b@c\"@example.com", "example.com"),
            ("\"a\\\"@b\"@example.com", "example.com"),
            ("<@relay.example:a@example.com>", "example.com"),
            ("a@example.com, b@example.com", "example.com"),
            ("Us: a@example.com, B <b@example.com>;", "example.com"),
            ("\"x, y\" <a@example.com>", "example.com"),
            ("x\r\n <a@example.com>", "example.com"),
            ("a@example . com", "example.com"),
            ("a@example.com.", "example.com"),
            ("a@b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("a@localhost", "localhost"),
        ] {
            assert_eq!(from_domain(value.as_bytes()), FromDomain::Single(want.to_owned()), "{value:?}");
        }
    }

    #[test]
    fn none_single() {
        for (value, want) in [
            ("a@example.com, b@example.org", FromDomain::Several),
            ("Us: a@example.com, b@example.org;", FromDomain::Several),
            ("", FromDomain::Unusable),
            ("  \r\n", FromDomain::Unusable),
            ("<>", FromDomain::Unusable),
            ("postmaster", FromDomain::Unusable),
            ("a@example.com, postmaster", FromDomain::Unusable),
            ("a@", FromDomain::Unusable),
            ("a@[192.0.2.1]", FromDomain::Unusable),
            ("a@b..c", FromDomain::Unusable),
            ("a@b;c=d", FromDomain::Unusable),
            ("a@b\0c", FromDomain::Unusable),
            ("undisclosed:;", FromDomain::Unusable),
            ("(a@example.com", FromDomain::Unusable),
            ("\"a@example.com", FromDomain::Unusable),
        ] {
            assert_eq!(from_domain(value.as_bytes()), want, "{value:?}");
        }
    }
}
