//! Names: from the caller's text to a cache key and to the wire, and from the wire to text.

use std::net::IpAddr;

use hickory_proto::rr::Name;

/// Room for a lower-cased name (RFC 1035 §2.3.4: 255 octets on the wire are 253 in text).
pub(crate) type Scratch = [u8; NAME_OCTETS_MAX];

/// An empty [`Scratch`].
pub(crate) const SCRATCH: Scratch = [0; NAME_OCTETS_MAX];

/// The key of a name: lower case, no final dot. Borrows `text` when that is what it is already, else `scratch`.
///
/// `None` when the name cannot exist.
pub(crate) fn key<'a>(text: &'a str, scratch: &'a mut Scratch) -> Option<&'a str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > NAME_OCTETS_MAX {
        return None;
    }
    let (mut upper, mut label) = (false, 0);
    for octet in text.bytes() {
        if octet == b'.' {
            if label == 0 {
                return None;
            }
            label = 0;
        } else {
            label += 1;
            if label > LABEL_OCTETS_MAX {
                return None;
            }
            upper |= octet.is_ascii_uppercase();
        }
    }
    if label == 0 {
        return None;
    }
    if !upper {
        return Some(text);
    }
    let lower = &mut scratch[..text.len()];
    lower.copy_from_slice(text.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

/// The name for the wire. `key` comes from [`key`], whose checks make failure impossible.
pub(crate) fn wire(key: &str) -> Option<Name> {
    Name::from_labels(key.split('.').map(str::as_bytes)).ok()
}

/// `2.0.192.in-addr.arpa` (RFC 1035 §3.5), `…ip6.arpa` (RFC 3596 §2.5).
pub(crate) fn reverse(address: IpAddr) -> Name {
    Name::from(address)
}

/// A name as text: see the crate's documentation for its form.
pub(crate) fn text(name: &Name) -> Box<str> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &octet in label {
            match octet {
                b'A'..=b'Z' => text.push(octet.to_ascii_lowercase().into()),
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'/' | b'*' => text.push(octet.into()),
                _ => {
                    text.push('\\');
                    for digit in [octet / 100, octet / 10 % 10, octet % 10] {
                        text.push((b'0' + digit).into());
                    }
                }
            }
        }
    }
    text.into_boxed_str()
}

const NAME_OCTETS_MAX: usize = 253;
const LABEL_OCTETS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(key(text, &mut SCRATCH.clone()), expected, "{text}");
        let label63 = "a".repeat(63);
        let label64 = "a".repeat(64);
        let name253 = format!("{label63}.{label63}.{label63}.{}", "a".repeat(61));
        check("example.com", Some("example.com"));
        check("example.com.", Some("example.com"));
        check("Example.COM.", Some("example.com"));
        check("_dmarc.Ex_ample", Some("_dmarc.ex_ample"));
        check("com", Some("com"));
        check("a\\.b", Some("a\\.b"));
        check("bücher.example", Some("bücher.example"));
        check("BÜCHER.example", Some("bÜcher.example"));
        check("", None);
        check(".", None);
        check("..", None);
        check("a..b", None);
        check(".a", None);
        check("a..", None);
        check(&label63, Some(&label63));
        check(&label64, None);
        check(&name253, Some(&name253));
        check(&format!("{name253}."), Some(&name253));
        check(&format!("{name253}a"), None);
    }

    #[test]
    fn every_key_goes_on_the_wire() {
        let label63 = "a".repeat(63);
        for name in [
            "com",
            "a\\.b.c",
            "bücher.example",
            "*.x",
            "-",
            &format!("{label63}.{label63}.{label63}.{}", "a".repeat(61)),
        ] {
            let wire = wire(name).unwrap();
            assert!(wire.is_fqdn());
            assert_eq!(wire.iter().collect::<Vec<_>>(), name.split('.').map(str::as_bytes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn texts() {
        let check = |labels: &[&[u8]], expected: &str| {
            assert_eq!(&*text(&Name::from_labels(labels.iter().copied()).unwrap()), expected);
        };
        check(&[], "");
        check(&[b"MX1", b"Example", b"COM"], "mx1.example.com");
        check(&[b"_dmarc", b"0/25", b"*"], "_dmarc.0/25.*");
        check(&[b"a.b", b"c\\d", b"e f", b"\xff\0"], "a\\046b.c\\092d.e\\032f.\\255\\000");
        check(&[b"a)b(", b"x;y"], "a\\041b\\040.x\\059y");
    }

    #[test]
    fn reverse_names() {
        let check = |address: &str, expected: &str| assert_eq!(&*text(&reverse(address.parse().unwrap())), expected);
        check("192.0.2.7", "7.2.0.192.in-addr.arpa");
        check("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    }
}
