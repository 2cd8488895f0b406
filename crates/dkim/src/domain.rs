//! Domains, selectors and identities of signatures (RFC 6376 §3.5 `d=`, `s=`, `i=`).

use psl::Type;

use crate::tag_list::is_white_space;

/// A dotted name as text, lower case: labels of 1 to 63 letters, digits, `-` or `_` (used by many selectors), at most 253 octets.
///
/// Nothing else can be asked of DNS unambiguously, and nothing else may reach a header field of ours.
pub(crate) fn dotted_name(octets: &[u8]) -> Option<String> {
    let valid = octets.len() <= NAME_OCTETS_MAX && octets.split(|&octet| octet == b'.').all(is_label);
    if !valid {
        return None;
    }
    String::from_utf8(octets.to_ascii_lowercase()).ok()
}

fn is_label(label: &[u8]) -> bool {
    (1..=LABEL_OCTETS_MAX).contains(&label.len())
        && label.iter().all(|&octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

/// Whether `domain` (lower case) is a public suffix: one of the ICANN section of the list, or a single label. Names of the private
/// section (`github.io`) have an owner who can be held to account, and count.
pub(crate) fn is_public_suffix(domain: &str) -> bool {
    psl::suffix(domain.as_bytes())
        .is_some_and(|suffix| suffix.as_bytes().len() == domain.len() && suffix.typ() != Some(Type::Private))
}

/// An identity `[ local-part ] "@" domain-name` in dkim-quoted-printable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Decoded, as sent.
    pub(crate) text: String,
    /// Lower case.
    pub(crate) domain: String,
}

impl Identity {
    pub(crate) fn parse(value: &[u8]) -> Option<Identity> {
        let text = String::from_utf8(quoted_printable(value)?).ok()?;
        if text.chars().any(char::is_control) {
            return None;
        }
        let (local_part, domain) = text.rsplit_once('@')?;
        // Whoever splits at the first `@` must see the same domain.
        if local_part.contains('@') && !(local_part.starts_with('"') && local_part.ends_with('"')) {
            return None;
        }
        let domain = dotted_name(domain.as_bytes())?;
        Some(Identity { text, domain })
    }

    /// RFC 6376 §3.5 `i=`: the same as `d=` or a subdomain of it.
    pub(crate) fn is_within(&self, domain: &str) -> bool {
        self.domain.strip_suffix(domain).is_some_and(|subdomain| subdomain.is_empty() || subdomain.ends_with('.'))
    }
}

/// dkim-quoted-printable (RFC 6376 §2.11): white space is dropped, `=` is followed by two hexadecimal digits.
fn quoted_printable(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut octets = value.iter().copied().filter(|&octet| !is_white_space(octet));
    while let Some(octet) = octets.next() {
        decoded.push(if octet == b'=' { hex(octets.next()?)? << 4 | hex(octets.next()?)? } else { octet });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// RFC 1035 §2.3.4.
const LABEL_OCTETS_MAX: usize = 63;
/// RFC 1035 §2.3.4: 255 on the wire.
pub(crate) const NAME_OCTETS_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long_label = "a".repeat(64);
        let long_name = ["a".repeat(63).as_str(); 4].join(".");
        let rows: &[(&str, Option<&str>)] = &[
            ("example.com", Some("example.com")),
            ("Example.COM", Some("example.com")),
            ("_x-1.example.com", Some("_x-1.example.com")),
            ("com", Some("com")),
            ("", None),
            (".com", None),
            ("example.com.", None),
            ("a..b", None),
            ("a b", None),
            ("legitimate.com(.attacker.com", None),
            ("ex\u{e4}mple.com", None),
            ("a\0.com", None),
            (&long_label, None),
            (&long_name, None),
        ];
        for (name, expected) in rows {
            assert_eq!(dotted_name(name.as_bytes()).as_deref(), *expected, "{name:?}");
        }
    }

    #[test]
    fn public_suffixes() {
        let rows = [
            ("com", true),
            ("co.uk", true),
            ("example.com", false),
            ("github.io", false),
            ("user.github.io", false),
            ("blogspot.com", false),
            ("foo.ck", true),
            ("www.ck", false),
            ("unknown-tld", true),
            ("host.unknown-tld", false),
            ("xn--p1ai", true),
        ];
        for (domain, expected) in rows {
            assert_eq!(is_public_suffix(domain), expected, "{domain}");
        }
    }

    #[test]
    fn identities() {
        let rows: &[(&str, Option<(&str, &str)>)] = &[
            ("@example.com", Some(("@example.com", "example.com"))),
            ("Joe@News.Example.com", Some(("Joe@News.Example.com", "news.example.com"))),
            ("j=6Fe@example.com", Some(("joe@example.com", "example.com"))),
            ("j=6fe @exa\r\n mple.com", Some(("joe@example.com", "example.com"))),
            ("\"a@b\"@example.com", Some(("\"a@b\"@example.com", "example.com"))),
            ("a=40b@example.com", None),
            ("a@example.net@example.com", None),
            ("example.com", None),
            ("joe@", None),
            ("joe@exa_mple.com(", None),
            ("joe=0D=0A@example.com", None),
            ("joe=-b@example.com", None),
            ("joe=4", None),
            ("joe=FF@example.com", None),
        ];
        for (value, expected) in rows {
            let seen = Identity::parse(value.as_bytes());
            let seen = seen.as_ref().map(|identity| (identity.text.as_str(), identity.domain.as_str()));
            assert_eq!(seen, *expected, "{value:?}");
        }
    }

    #[test]
    fn identity_within_domain() {
        let rows = [("@a.example", true), ("@b.a.example", true), ("@ba.example", false), ("@example", false)];
        for (identity, expected) in rows {
            assert_eq!(Identity::parse(identity.as_bytes()).unwrap().is_within("a.example"), expected, "{identity}");
        }
    }
}
