//! The PROXY header that a load balancer puts before the session (PROXY protocol 1 and 2).
//!
//! Framed before parsed, like everything from outside: the parser (crate `ppp`) only ever sees one whole header of bounded length.

use std::net::IpAddr;

use ppp::{v1, v2};

use crate::origin::Ends;

/// What the first octets of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// Read on.
    Incomplete,
    /// A whole header of `octets` octets. `ends` is absent for LOCAL and UNKNOWN: the proxy speaks for itself.
    Complete { octets: usize, ends: Option<Ends> },
    /// Not a header, and no further octet will make it one.
    Malformed,
}

/// Looks for a header at the start of `input`.
pub(crate) fn parse(input: &[u8]) -> ProxyHeader {
    let known = input.len().min(v2::PROTOCOL_PREFIX.len());
    if input[..known] == v2::PROTOCOL_PREFIX[..known] {
        if known < v2::PROTOCOL_PREFIX.len() { ProxyHeader::Incomplete } else { parse_v2(input) }
    } else {
        parse_v1(input)
    }
}

fn parse_v1(input: &[u8]) -> ProxyHeader {
    let known = input.len().min(V1_PREFIX.len());
    if input[..known] != V1_PREFIX[..known] {
        return ProxyHeader::Malformed;
    }
    let window = &input[..input.len().min(V1_OCTETS_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2) else {
        return if input.len() < V1_OCTETS_MAX { ProxyHeader::Incomplete } else { ProxyHeader::Malformed };
    };
    let ends = match v1::Header::try_from(&input[..end]).map(|header| header.addresses) {
        Ok(v1::Addresses::Tcp4(told)) => Some(ends(
            (told.source_address.into(), told.source_port),
            (told.destination_address.into(), told.destination_port),
        )),
        Ok(v1::Addresses::Tcp6(told)) => Some(ends(
            (told.source_address.into(), told.source_port),
            (told.destination_address.into(), told.destination_port),
        )),
        Ok(v1::Addresses::Unknown) => None,
        Err(_) => return ProxyHeader::Malformed,
    };
    ProxyHeader::Complete { octets: end, ends }
}

fn parse_v2(input: &[u8]) -> ProxyHeader {
    let Some(length) = input.get(14..16).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]]))) else {
        return ProxyHeader::Incomplete;
    };
    let octets = V2_FIXED_OCTETS + length;
    if octets > OCTETS_MAX {
        return ProxyHeader::Malformed;
    }
    if input.len() < octets {
        return ProxyHeader::Incomplete;
    }
    let Ok(header) = v2::Header::try_from(&input[..octets]) else { return ProxyHeader::Malformed };
    let ends = match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (v2::Command::Proxy, v2::Addresses::IPv4(_) | v2::Addresses::IPv6(_))
            if header.protocol != v2::Protocol::Stream =>
        {
            return ProxyHeader::Malformed;
        }
        (v2::Command::Proxy, v2::Addresses::IPv4(told)) => Some(ends(
            (told.source_address.into(), told.source_port),
            (told.destination_address.into(), told.destination_port),
        )),
        (v2::Command::Proxy, v2::Addresses::IPv6(told)) => Some(ends(
            (told.source_address.into(), told.source_port),
            (told.destination_address.into(), told.destination_port),
        )),
        (v2::Command::Proxy, _) => None,
    };
    ProxyHeader::Complete { octets, ends }
}

fn ends(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Ends {
    Ends { source: source.into(), destination: Some(destination.into()) }
}

/// The largest header taken: version 2 with room for its TLVs.
pub(crate) const OCTETS_MAX: usize = 1_024;
/// Given by the protocol's text, §2.1.
const V1_OCTETS_MAX: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY ";
const V2_FIXED_OCTETS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    mod fuzz;

    fn v2(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([version_command, family]);
        header.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        header.extend(payload);
        header
    }

    fn ipv6_payload(tlvs: usize) -> Vec<u8> {
        let source: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
        let mut payload = source.octets().to_vec();
        payload.extend(std::net::Ipv6Addr::LOCALHOST.octets());
        payload.extend([0, 25, 0, 25]);
        payload.resize(payload.len() + tlvs, 0);
        payload
    }

    #[test]
    fn headers() {
        // (octets, source, destination)
        let complete = |octets, ends: Option<(&str, &str)>| ProxyHeader::Complete {
            octets,
            ends: ends.map(|(source, destination)| Ends {
                source: source.parse().unwrap(),
                destination: Some(destination.parse().unwrap()),
            }),
        };
        let cases: Vec<(Vec<u8>, ProxyHeader)> = vec![
            (
                b"PROXY TCP6 2001:db8::1 ::1 1000 25\r\nEHLO".to_vec(),
                complete(36, Some(("[2001:db8::1]:1000", "[::1]:25"))),
            ),
            (
                b"PROXY TCP4 192.0.2.1 127.0.0.1 1000 25\r\n".to_vec(),
                complete(40, Some(("192.0.2.1:1000", "127.0.0.1:25"))),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(),
                complete(37, Some(("[::ffff:192.0.2.1]:1", "[::1]:2"))),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), complete(15, None)),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), complete(35, None)),
            (b"PROXY TCP4 2001:db8::1 ::1 1000 25\r\n".to_vec(), ProxyHeader::Malformed),
            (b"PROXY TCP6 2001:db8::1 ::1 1000 25\n".to_vec(), ProxyHeader::Incomplete),
            (b"PROXY TCP6 2001:db8::1 ::1 99999 25\r\n".to_vec(), ProxyHeader::Malformed),
            (b"EHLO client.example\r\n".to_vec(), ProxyHeader::Malformed),
            (b"\r\nX".to_vec(), ProxyHeader::Malformed),
            ([b"PROXY ".as_slice(), &[b'x'; 120]].concat(), ProxyHeader::Malformed),
            (v2(0x21, 0x21, &ipv6_payload(0)), complete(52, Some(("[2001:db8::7]:25", "[::1]:25")))),
            (v2(0x21, 0x21, &ipv6_payload(100)), complete(152, Some(("[2001:db8::7]:25", "[::1]:25")))),
            (v2(0x21, 0x21, &ipv6_payload(2000)), ProxyHeader::Malformed),
            (v2(0x21, 0x22, &ipv6_payload(0)), ProxyHeader::Malformed),
            (v2(0x20, 0x00, &[]), complete(16, None)),
            (v2(0x21, 0x00, &[]), complete(16, None)),
            (v2(0x31, 0x21, &ipv6_payload(0)), ProxyHeader::Malformed),
            (v2(0x21, 0x21, &[0; 8]), ProxyHeader::Malformed),
        ];
        for (input, expected) in cases {
            assert_eq!(parse(&input), expected, "{}", String::from_utf8_lossy(&input));
            if let ProxyHeader::Complete { octets, .. } = expected {
                for cut in 0..octets {
                    assert_eq!(parse(&input[..cut]), ProxyHeader::Incomplete, "cut at {cut}");
                }
            }
        }
    }
}
