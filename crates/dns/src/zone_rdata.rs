//! Names, times and record data of a master file.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::zone_lex::Token;

/// A name: `@` is the origin, a name without a final dot is below it.
pub(crate) fn name(token: &Token<'_>, origin: &Name) -> Result<Name, String> {
    if token.raw == "@" {
        return Ok(origin.clone());
    }
    if token.raw == "." {
        return Ok(Name::root());
    }
    let fault = |what: &str| format!("name `{}`: {what}", token.raw);
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    for (octet, escaped) in token.octets_and_escapes()? {
        match labels.last_mut() {
            Some(label) if octet != b'.' || escaped => label.push(octet),
            _ => labels.push(Vec::new()),
        }
    }
    let complete = labels.len() > 1 && labels.last().is_some_and(Vec::is_empty);
    if complete {
        labels.pop();
    }
    if labels.iter().any(|label| label.is_empty() || label.len() > 63) {
        return Err(fault("a label is empty or longer than 63 octets"));
    }
    let rest = if complete { Name::root() } else { origin.clone() };
    let labels = labels.iter().map(Vec::as_slice).chain(rest.iter());
    Name::from_labels(labels).map_err(|_| fault("longer than 255 octets"))
}

/// Seconds, or `1w2d3h4m5s` in any part and case.
pub(crate) fn ttl(token: &Token<'_>) -> Result<u32, String> {
    let fault = || format!("`{}` is no time", token.raw);
    let (mut total, mut number) = (0_u64, None);
    for octet in token.raw.bytes() {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                number = Some(number.unwrap_or(0_u64).saturating_mul(10).saturating_add(u64::from(digit - b'0')));
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return Err(fault()),
        };
        total = total.saturating_add(number.take().ok_or_else(fault)?.saturating_mul(unit));
    }
    match (number, total) {
        (Some(seconds), total) => u32::try_from(total.saturating_add(seconds)).map_err(|_| fault()),
        (None, 0) if !token.raw.starts_with('0') => Err(fault()),
        (None, total) => u32::try_from(total).map_err(|_| fault()),
    }
}

/// The data of one record; `None` for types that nobody asks for here, whose data is not read.
pub(crate) fn rdata(record_type: RecordType, tokens: &[Token<'_>], origin: &Name) -> Result<Option<RData>, String> {
    let fault = |what: &str| format!("{record_type} record: expected {what}");
    let data = match (record_type, tokens) {
        (RecordType::A, [address]) => {
            RData::A(A(address.raw.parse::<Ipv4Addr>().map_err(|_| fault("an IPv4 address"))?))
        }
        (RecordType::AAAA, [address]) => {
            RData::AAAA(AAAA(address.raw.parse::<Ipv6Addr>().map_err(|_| fault("an IPv6 address"))?))
        }
        (RecordType::CNAME, [target]) => RData::CNAME(CNAME(name(target, origin)?)),
        (RecordType::PTR, [target]) => RData::PTR(PTR(name(target, origin)?)),
        (RecordType::NS, [target]) => RData::NS(NS(name(target, origin)?)),
        (RecordType::MX, [preference, exchange]) => {
            let preference = preference.raw.parse().map_err(|_| fault("a preference up to 65535"))?;
            RData::MX(MX::new(preference, name(exchange, origin)?))
        }
        (RecordType::TXT, [_, ..]) => RData::TXT(text(tokens)?),
        (RecordType::SOA, tokens) => RData::SOA(start_of_authority(tokens, origin)?),
        (RecordType::A | RecordType::AAAA, _) => return Err(fault("one address")),
        (RecordType::CNAME | RecordType::PTR | RecordType::NS, _) => return Err(fault("one name")),
        (RecordType::MX, _) => return Err(fault("a preference and a name")),
        (RecordType::TXT, _) => return Err(fault("at least one string")),
        _ => return Ok(None),
    };
    Ok(Some(data))
}

fn text(tokens: &[Token<'_>]) -> Result<TXT, String> {
    let strings = tokens.iter().map(Token::octets).collect::<Result<Vec<_>, _>>()?;
    if strings.iter().any(|string| string.len() > 255) {
        return Err("TXT record: a string has more than 255 octets; split it in several".to_owned());
    }
    Ok(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
}

fn start_of_authority(tokens: &[Token<'_>], origin: &Name) -> Result<SOA, String> {
    let [mname, rname, serial, refresh, retry, expire, minimum] = tokens else {
        return Err("SOA record: expected two names and five numbers".to_owned());
    };
    let serial = serial.raw.parse().map_err(|_| format!("SOA record: serial `{}` is no number", serial.raw))?;
    let time = |token| ttl(token).map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX));
    let (refresh, retry, expire) = (time(refresh)?, time(retry)?, time(expire)?);
    Ok(SOA::new(name(mname, origin)?, name(rname, origin)?, serial, refresh, retry, expire, ttl(minimum)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(raw: &str) -> Token<'_> {
        Token { raw, quoted: false }
    }

    #[test]
    fn times() {
        let cases = [
            ("0", Some(0)),
            ("3600", Some(3600)),
            ("1h", Some(3600)),
            ("1W2D3h4m5s", Some(788_645)),
            ("1h30", Some(3630)),
            ("0s", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("99999999999999999999w", None),
            ("h", None),
            ("", None),
            ("1x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(ttl(&token(text)).ok(), expected, "{text}");
        }
    }

    #[test]
    fn names() {
        let origin = Name::from_ascii("Example.com.").unwrap();
        let check = |text: &str, expected: Option<&[&str]>| {
            let got = name(&token(text), &origin).ok();
            let labels =
                |name: Name| name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect::<Vec<_>>();
            assert!(got.as_ref().is_none_or(Name::is_fqdn), "{text}");
            assert_eq!(
                got.map(labels),
                expected.map(|labels| labels.iter().map(|&label| label.to_owned()).collect()),
                "{text}"
            );
        };
        check("@", Some(&["Example", "com"]));
        check(".", Some(&[]));
        check("www", Some(&["www", "Example", "com"]));
        check("www.", Some(&["www"]));
        check("*.a.test.", Some(&["*", "a", "test"]));
        check("_dmarc", Some(&["_dmarc", "Example", "com"]));
        check("a\\.b.test.", Some(&["a.b", "test"]));
        check("a\\032b.test.", Some(&["a b", "test"]));
        check("a..b", None);
        check(".a", None);
        check("", None);
        check(&"x".repeat(64), None);
        check(&"abcdefg.".repeat(40), None);
    }
}
