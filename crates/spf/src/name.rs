//! Domain names as SPF uses them: lower case, no final dot, only such that can be asked for (RFC 7208 §4.3, §4.8, §7.3).

use crate::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};

/// The domain of an identity, if it can have a policy (§4.3): well-formed, more than one label, no address literal.
pub(crate) fn identity_domain(text: &str) -> Option<String> {
    let name = without_final_dot(text);
    let plausible =
        !name.starts_with('[') && name.bytes().all(|octet| octet.is_ascii_graphic()) && is_well_formed(name);
    plausible.then(|| name.to_ascii_lowercase())
}

/// The target name of an expanded domain-spec (§4.8): cut from the left if it is too long (§7.3); `None` if it cannot
/// be in DNS even so.
pub(crate) fn target_name(expanded: &str) -> Option<String> {
    let name = cut_left(without_final_dot(expanded));
    is_well_formed(name).then(|| name.to_ascii_lowercase())
}

/// A name out of DNS (an MX host, a PTR target), if it can be asked for.
pub(crate) fn host_name(text: &str) -> Option<String> {
    let name = without_final_dot(text);
    is_well_formed(name).then(|| name.to_ascii_lowercase())
}

/// Whether `name` is `parent` or below it. Both in the form of this module.
pub(crate) fn is_at_or_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|left| left.is_empty() || left.ends_with('.'))
}

fn without_final_dot(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}

/// Removes labels from the left until at most 253 octets are left (§7.3). A last label that is longer stays whole, and
/// is not well-formed.
fn cut_left(name: &str) -> &str {
    let excess = name.len().saturating_sub(NAME_OCTETS_MAX);
    if excess == 0 {
        return name;
    }
    let from = excess - 1;
    match name.as_bytes()[from..].iter().position(|octet| *octet == b'.') {
        Some(dot) => &name[from + dot + 1..],
        None => name,
    }
}

/// At least two labels of 1–63 octets, at most 253 octets in all.
fn is_well_formed(name: &str) -> bool {
    let mut labels = 0usize;
    let fits = name.len() <= NAME_OCTETS_MAX
        && name.split('.').all(|label| {
            labels += 1;
            (1..=LABEL_OCTETS_MAX).contains(&label.len())
        });
    fits && labels >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_domains() {
        let label_63 = format!("{}.example.com", "a".repeat(63));
        let label_64 = format!("{}.example.com", "a".repeat(64));
        let long = format!("{}com", "abcdefg.".repeat(32));
        for (text, want) in [
            ("example.com", Some("example.com")),
            ("EXAMPLE.Com.", Some("example.com")),
            (&label_63, Some(label_63.as_str())),
            (&label_64, None),
            (&long, None),
            ("example.com..", None),
            (".example.com", None),
            ("a...example.com", None),
            ("localhost", None),
            ("localhost.", None),
            ("", None),
            (".", None),
            ("[192.0.2.1]", None),
            ("[IPv6:2001:db8::1]", None),
            ("exa mple.com", None),
            ("b\u{fc}cher.example", None),
        ] {
            assert_eq!(identity_domain(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn targets_are_cut_from_the_left() {
        let label = "a".repeat(49);
        let five = [label.as_str(); 5].join(".");
        assert_eq!(five.len(), 249);
        let exact = format!("abc.{five}");
        assert_eq!(exact.len(), 253);
        let one_more = format!("abcd.{five}");
        let ten = [label.as_str(); 10].join(".");
        let undivided = "a".repeat(300);
        for (text, want) in [
            (exact.as_str(), Some(exact.as_str())),
            (&format!("{exact}."), Some(exact.as_str())),
            (&one_more, Some(five.as_str())),
            (&ten, Some(five.as_str())),
            (&format!("x.{undivided}"), None),
            (&undivided, None),
            ("a b.Example.org", Some("a b.example.org")),
            ("example..org", None),
            ("org", None),
        ] {
            assert_eq!(target_name(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn at_or_below() {
        for (name, parent, want) in [
            ("example.org", "example.org", true),
            ("mx.example.org", "example.org", true),
            ("badexample.org", "example.org", false),
            ("org", "example.org", false),
        ] {
            assert_eq!(is_at_or_below(name, parent), want, "{name} {parent}");
        }
    }
}
