//! The one place through which values of peers reach header fields.
//!
//! Trusts nothing: whatever goes in, what comes out is printable ASCII of a bounded length that ends where it
//! should. There is one filter for octets ([`visible`]) and three shapes around it: a `value` (RFC 2045 §5.1, quoted
//! when it has to be), a name (where RFC 5321 §4.4 knows no quoting), and free text.

use crate::limits::VALUE_OCTETS_MAX;

/// Appends `value` as RFC 2045 §5.1 `value`: bare if it is a token, else as a quoted-string.
///
/// Octets that are not printable ASCII become `?`; beyond [`VALUE_OCTETS_MAX`] octets the value is cut.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &str) {
    let value = cut(value.as_bytes(), VALUE_OCTETS_MAX);
    if is_token(value) { out.extend_from_slice(value) } else { push_quoted(out, value) }
}

/// The same for RFC 8601 §2.2 `pvalue`, where a plain mailbox may stand bare too.
pub(crate) fn push_pvalue(out: &mut Vec<u8>, value: &str) {
    let octets = cut(value.as_bytes(), VALUE_OCTETS_MAX);
    if is_plain_mailbox(octets) { out.extend_from_slice(octets) } else { push_value(out, value) }
}

/// Appends `name` as a domain or address literal; every octet that cannot stand in one becomes `?`.
pub(crate) fn push_name(out: &mut Vec<u8>, name: &str) {
    let name = cut(name.as_bytes(), VALUE_OCTETS_MAX);
    out.extend(name.iter().map(|&octet| if is_name_octet(octet) { octet } else { b'?' }));
}

/// Appends free text; every octet that is not printable ASCII becomes `?`.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str, octets_max: usize) {
    out.extend(cut(text.as_bytes(), octets_max).iter().map(|&octet| visible(octet)));
}

/// Whether `value` can stand bare where a token is wanted (RFC 2045 §5.1).
pub(crate) fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|&octet| is_token_octet(octet))
}

/// A token octet: printable ASCII, no space, no tspecial.
pub(crate) fn is_token_octet(octet: u8) -> bool {
    TOKEN_OCTETS[usize::from(octet)]
}

/// Every octet of every value is looked up in here, often more than once.
const TOKEN_OCTETS: [bool; 256] = {
    let tspecials = b"()<>@,;:\\\"/[]?=";
    let mut table = [false; 256];
    let mut octet = 0x21;
    while octet < 0x7f {
        table[octet] = true;
        octet += 1;
    }
    let mut at = 0;
    while at < tspecials.len() {
        table[tspecials[at] as usize] = false;
        at += 1;
    }
    table
};

/// `[local-part] "@" domain-name` in which nothing needs quoting. Local parts with octets that are tspecials are
/// legal bare, but quoted they mean the same and no reader trips over them.
fn is_plain_mailbox(value: &[u8]) -> bool {
    let Some(at) = value.iter().position(|&octet| octet == b'@') else { return false };
    let (local_part, domain) = (&value[..at], &value[at + 1..]);
    (local_part.is_empty() || is_dot_atom(local_part)) && is_domain_name(domain)
}

/// Dot-separated non-empty runs of token octets.
pub(crate) fn is_dot_atom(value: &[u8]) -> bool {
    value.split(|&octet| octet == b'.').all(is_token)
}

/// Dot-separated non-empty labels of letters, digits, hyphens and underscores, at most 63 octets each, 253 in all.
pub(crate) fn is_domain_name(name: &[u8]) -> bool {
    name.len() <= 253
        && name.split(|&octet| octet == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(octet))
        })
}

fn push_quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for &octet in value {
        let octet = visible(octet);
        if octet == b'"' || octet == b'\\' {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// The filter itself: a control or non-ASCII octet is shown as `?`.
fn visible(octet: u8) -> u8 {
    if (0x20..0x7f).contains(&octet) { octet } else { b'?' }
}

fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet)
}

fn cut(value: &[u8], octets_max: usize) -> &[u8] {
    &value[..value.len().min(octets_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, want) in [
            ("example.com", "example.com"),
            ("a@example.com", "a@example.com"),
            ("@example.com", "@example.com"),
            ("a.b+c@example.com", "a.b+c@example.com"),
            ("2001:db8::1", "\"2001:db8::1\""),
            ("192.0.2.1", "192.0.2.1"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("x; dkim=pass", "\"x; dkim=pass\""),
            ("x\r\nSubject: no", "\"x??Subject: no\""),
            ("a(b)", "\"a(b)\""),
            ("a/b", "\"a/b\""),
            ("a@b@c", "\"a@b@c\""),
            ("a..b@c", "\"a..b@c\""),
            ("SRS0=x=y=z@example.com", "\"SRS0=x=y=z@example.com\""),
            ("bücher.example", "\"b??cher.example\""),
            ("a\0b\x7f", "\"a?b?\""),
        ] {
            let mut out = Vec::new();
            push_pvalue(&mut out, value);
            assert_eq!(String::from_utf8_lossy(&out), want, "{value:?}");
            out.clear();
            push_value(&mut out, value);
            let quoted =
                if want.contains('@') && !want.starts_with('"') { format!("\"{want}\"") } else { want.to_owned() };
            assert_eq!(String::from_utf8_lossy(&out), quoted, "{value:?}");
        }
    }

    #[test]
    fn names() {
        for (name, want) in [
            ("mail.example.com", "mail.example.com"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("_dmarc.a_b.example", "_dmarc.a_b.example"),
            ("a b\r\n(c);\"", "a?b???c???"),
            ("bücher", "b??cher"),
        ] {
            let mut out = Vec::new();
            push_name(&mut out, name);
            assert_eq!(String::from_utf8_lossy(&out), want, "{name:?}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        let mut out = Vec::new();
        push_value(&mut out, &"\"".repeat(5000));
        assert_eq!(out.len(), 2 * VALUE_OCTETS_MAX + 2);
        out.clear();
        push_name(&mut out, &"a".repeat(5000));
        assert_eq!(out.len(), VALUE_OCTETS_MAX);
    }
}
