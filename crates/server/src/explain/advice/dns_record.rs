//! DNS records as they are published: one line of a zone file (RFC 1035 §5.1).

use std::fmt;
use std::net::IpAddr;

/// A record to publish, or one that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::explain) struct DnsRecord {
    /// The owner, with its final dot.
    pub(in crate::explain) name: String,
    /// `PTR`, `AAAA`, `A` or `TXT`.
    pub(in crate::explain) kind: &'static str,
    /// The data as in a zone file.
    pub(in crate::explain) value: String,
    /// What we recommend, in seconds.
    pub(in crate::explain) ttl_s: u32,
}

impl DnsRecord {
    /// Reverse DNS of `address`.
    pub(super) fn ptr(address: IpAddr, target: &str) -> DnsRecord {
        DnsRecord { name: reverse_name(address), kind: "PTR", value: absolute(target), ttl_s: TTL_S }
    }

    /// The address of a name.
    pub(super) fn address(name: &str, address: IpAddr) -> DnsRecord {
        let kind = if address.is_ipv6() { "AAAA" } else { "A" };
        DnsRecord { name: absolute(name), kind, value: address.to_string(), ttl_s: TTL_S }
    }

    /// A text, in strings of at most 255 octets (RFC 1035 §3.3.14).
    pub(super) fn txt(name: &str, text: &str) -> DnsRecord {
        let strings: Vec<String> = text.as_bytes().chunks(STRING_OCTETS_MAX).map(quoted).collect();
        DnsRecord { name: absolute(name), kind: "TXT", value: strings.join(" "), ttl_s: TTL_S }
    }
}

impl fmt::Display for DnsRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} IN {} {}", self.name, self.ttl_s, self.kind, self.value)
    }
}

/// A name with its final dot; octets that mean something in a zone file, or nothing on a line, are written as `\\DDD` (RFC 1035 §5.1).
fn absolute(name: &str) -> String {
    let mut absolute = String::new();
    for octet in name.strip_suffix('.').unwrap_or(name).bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' | b'=' | b'+' => {
                absolute.push(char::from(octet));
            }
            _ => absolute.push_str(&format!("\\{octet:03}")),
        }
    }
    absolute + "."
}

fn quoted(octets: &[u8]) -> String {
    let mut string = String::from("\"");
    for octet in octets {
        match octet {
            b'"' | b'\\' => string.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => string.push(char::from(*octet)),
            _ => string.push_str(&format!("\\{octet:03}")),
        }
    }
    string + "\""
}

/// Where the PTR records of `address` are (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa."
        }
    }
}

const STRING_OCTETS_MAX: usize = 255;
const TTL_S: u32 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_zone_file() {
        let long = format!("{}\"\\\u{7f}", "x".repeat(254));
        let v6 = "2001:db8::1".parse().unwrap();
        for (record, line) in [
            (
                DnsRecord::ptr(v6, "mail.sender.example"),
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 3600 IN PTR mail.sender.example."
                    .to_owned(),
            ),
            (
                DnsRecord::ptr("192.0.2.1".parse().unwrap(), "a.example."),
                "1.2.0.192.in-addr.arpa. 3600 IN PTR a.example.".to_owned(),
            ),
            (
                DnsRecord::address("a b\n;ü.example", v6),
                "a\\032b\\010\\059\\195\\188.example. 3600 IN AAAA 2001:db8::1".to_owned(),
            ),
            (DnsRecord::address("a.example", v6), "a.example. 3600 IN AAAA 2001:db8::1".to_owned()),
            (
                DnsRecord::txt("a.example", &long),
                format!("a.example. 3600 IN TXT \"{}\\\"\" \"\\\\\\127\"", "x".repeat(254)),
            ),
        ] {
            assert_eq!(record.to_string(), line);
        }
    }
}
