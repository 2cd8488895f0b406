//! Telling the next hop who the client is: XFORWARD and XCLIENT (Postfix, XFORWARD_README and XCLIENT_README), and the PROXY protocol 2.
//!
//! What a client said about itself goes on in xtext, so that nothing of it can end a command or an attribute.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Attributes;

/// The client behind a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where it speaks from; IPv4 as such and not mapped.
    pub address: IpAddr,
    /// Its TCP port, if that is known.
    pub port: Option<u16>,
    /// Its name.
    pub name: OriginName,
    /// What it said in HELO or EHLO.
    pub helo: String,
    /// Whether it said EHLO.
    pub with_esmtp: bool,
    /// The address and port that it connected to, if they are known.
    pub destination: Option<SocketAddr>,
}

/// The name that an address resolves to and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginName {
    /// That name.
    Known(String),
    /// It has none.
    Unavailable,
    /// It could not be looked up for now.
    NotNow,
}

/// The commands that tell `origin` with the attributes that are `offered`, each with its line end; none when nothing is offered.
/// `verb` is XFORWARD or XCLIENT.
#[must_use]
pub fn origin_commands(verb: &str, origin: &Origin, offered: Attributes) -> Vec<Vec<u8>> {
    let mut commands: Vec<Vec<u8>> = Vec::new();
    let values = Attributes::ALL.iter().filter(|(attribute, _)| offered.contains(*attribute));
    for (attribute, name) in values {
        let value = format!(" {name}={}", value(*attribute, origin));
        match commands.last_mut().filter(|command| command.len() + value.len() <= COMMAND_OCTETS_MAX) {
            Some(command) => command.extend_from_slice(value.as_bytes()),
            None => commands.push(format!("{verb}{value}").into_bytes()),
        }
    }
    commands.iter_mut().for_each(|command| command.extend_from_slice(b"\r\n"));
    commands
}

fn value(attribute: Attributes, origin: &Origin) -> String {
    let value = match attribute {
        Attributes::NAME => match &origin.name {
            OriginName::Known(name) => xtext(name),
            OriginName::Unavailable => None,
            OriginName::NotNow => return "[TEMPUNAVAIL]".to_string(),
        },
        Attributes::ADDR => Some(match origin.address {
            IpAddr::V6(address) => format!("IPV6:{address}"),
            IpAddr::V4(address) => address.to_string(),
        }),
        Attributes::PORT => origin.port.map(|port| port.to_string()),
        Attributes::PROTO => Some(if origin.with_esmtp { "ESMTP" } else { "SMTP" }.to_string()),
        Attributes::HELO => xtext(&origin.helo),
        Attributes::SOURCE => Some("REMOTE".to_string()),
        _ => None,
    };
    value.unwrap_or_else(|| "[UNAVAILABLE]".to_string())
}

/// RFC 3461 §4: printable ASCII but for `+` and `=`, and `+XX` for every other octet. None when there is nothing, or too much to tell.
fn xtext(text: &str) -> Option<String> {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_graphic() && !matches!(octet, b'+' | b'=') {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("+{octet:02X}"));
        }
    }
    (1..=VALUE_OCTETS_MAX).contains(&encoded.len()).then_some(encoded)
}

/// Appends the header of the PROXY protocol 2 (§2.2 of its text) for a client, or LOCAL when we speak for ourselves. A destination that
/// is unknown, or of the other address family, is told as the unspecified address.
pub fn write_proxy_header(out: &mut Vec<u8>, origin: Option<&Origin>) {
    out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n");
    let Some(origin) = origin else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return;
    };
    let destination = origin.destination.map(|destination| destination.ip().to_canonical());
    match origin.address {
        IpAddr::V6(source) => {
            let destination = match destination {
                Some(IpAddr::V6(address)) => address,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        IpAddr::V4(source) => {
            let destination = match destination {
                Some(IpAddr::V4(address)) => address,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
    }
    for port in [origin.port, origin.destination.map(|destination| destination.port())] {
        out.extend_from_slice(&port.unwrap_or(0).to_be_bytes());
    }
}

/// Both texts grant a command so many octets, CRLF included.
const COMMAND_OCTETS_MAX: usize = 512 - 2;

/// What fits a command of its own.
const VALUE_OCTETS_MAX: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;
    use crate::client::Extensions;

    fn origin(address: &str) -> Origin {
        Origin {
            address: address.parse().unwrap(),
            port: Some(4025),
            name: OriginName::Known("mail.there.example".into()),
            helo: "there.example".into(),
            with_esmtp: true,
            destination: Some("[2001:db8::25]:25".parse().unwrap()),
        }
    }

    fn commands(origin: &Origin, offered: &str) -> String {
        let reply = Reply::new(250, None, format!("hop\nXFORWARD {offered}"));
        let commands = origin_commands("XFORWARD", origin, Extensions::parse(&reply).xforward);
        assert!(commands.iter().all(|command| command.len() <= 512));
        String::from_utf8(commands.concat()).unwrap()
    }

    #[test]
    fn attributes_that_are_offered_are_told() {
        let v6 = origin("2001:db8::7");
        let bare =
            Origin { port: None, name: OriginName::Unavailable, helo: String::new(), with_esmtp: false, ..v6.clone() };
        let not_now = Origin { name: OriginName::NotNow, ..v6.clone() };
        let odd = Origin { helo: "a=b +\r\nDATA\u{e9}".into(), ..v6.clone() };
        let all = "NAME ADDR PORT PROTO HELO IDENT SOURCE";
        let cases = [
            (
                &v6,
                all,
                "XFORWARD NAME=mail.there.example ADDR=IPV6:2001:db8::7 PORT=4025 PROTO=ESMTP HELO=there.example SOURCE=REMOTE\r\n",
            ),
            (&origin("192.0.2.7"), "ADDR", "XFORWARD ADDR=192.0.2.7\r\n"),
            (
                &bare,
                "HELO NAME PORT PROTO",
                "XFORWARD NAME=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=SMTP HELO=[UNAVAILABLE]\r\n",
            ),
            (&not_now, "NAME", "XFORWARD NAME=[TEMPUNAVAIL]\r\n"),
            (&odd, "HELO", "XFORWARD HELO=a+3Db+20+2B+0D+0ADATA+C3+A9\r\n"),
            (&v6, "", ""),
            (&v6, "LOGIN", ""),
        ];
        for (origin, offered, expected) in cases {
            assert_eq!(commands(origin, offered), expected);
        }
    }

    #[test]
    fn long_values_come_in_several_commands() {
        let long = Origin { name: OriginName::Known("n".repeat(400)), helo: "h".repeat(400), ..origin("::1") };
        let expected =
            format!("XFORWARD NAME={} ADDR=IPV6:::1\r\nXFORWARD HELO={}\r\n", "n".repeat(400), "h".repeat(400));
        assert_eq!(commands(&long, "NAME ADDR HELO"), expected);
        let longer = Origin { helo: "h".repeat(1000), ..long };
        assert_eq!(commands(&longer, "HELO"), "XFORWARD HELO=[UNAVAILABLE]\r\n");
    }

    #[test]
    fn proxy_headers() {
        let header = |origin: Option<&Origin>| {
            let mut out = Vec::new();
            write_proxy_header(&mut out, origin);
            assert_eq!(out[..12], *b"\r\n\r\n\0\r\nQUIT\n");
            out.split_off(12)
        };
        assert_eq!(header(None), [0x20, 0, 0, 0]);
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let expected = [&[0x21, 0x21, 0, 36][..], &ip("2001:db8::7"), &ip("2001:db8::25"), &[15, 185, 0, 25]].concat();
        assert_eq!(header(Some(&origin("2001:db8::7"))), expected);
        // A destination of the other family.
        assert_eq!(header(Some(&origin("192.0.2.7"))), [0x21, 0x11, 0, 12, 192, 0, 2, 7, 0, 0, 0, 0, 15, 185, 0, 25]);
        let unknown = Origin { destination: None, port: None, ..origin("192.0.2.7") };
        assert_eq!(header(Some(&unknown)), [0x21, 0x11, 0, 12, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mapped = Origin { destination: Some("[::ffff:192.0.2.1]:25".parse().unwrap()), ..unknown };
        assert_eq!(header(Some(&mapped)), [0x21, 0x11, 0, 12, 192, 0, 2, 7, 192, 0, 2, 1, 0, 0, 0, 25]);
    }
}
