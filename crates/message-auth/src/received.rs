//! Writing `Received` (RFC 5321 §4.4), our hop's line in the trace of a message.
//!
//! Trusts our own hostname and session id; HELO, the reverse name and the recipient come from peers and go through
//! `escape`. Dates are RFC 5322 §3.3, in UTC, computed from the time that is handed in.

use std::io::Write as _;
use std::net::IpAddr;

use crate::escape::{is_domain_name, is_dot_atom, push_name};
use crate::folded::Folded;
use crate::limits::VALUE_OCTETS_MAX;

/// What a `Received` field says of one transaction.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedParts<'a> {
    /// The client's address, IPv4-mapped ones already turned into IPv4.
    pub client: IpAddr,
    /// What the client called itself in HELO or EHLO.
    pub helo: &'a str,
    /// The client's forward-confirmed name, if it has one.
    pub client_name: Option<&'a str>,
    /// How the message came.
    pub with: Protocol,
    /// What the session's TLS is, if there is any.
    pub tls: Option<TlsFacts<'a>>,
    /// Our name for the session; the decision log bears the same.
    pub session_id: &'a str,
    /// The recipient, when there is exactly one: several would tell each of the others (RFC 5321 §7.2).
    pub recipient: Option<&'a str>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
}

/// The registered words for how a message came (RFC 3848, RFC 6531 §3.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HELO; there is no word for HELO inside TLS.
    Smtp,
    /// EHLO.
    Esmtp,
    /// EHLO, inside TLS.
    Esmtps,
    /// SMTPUTF8.
    Utf8Smtp,
    /// SMTPUTF8, inside TLS.
    Utf8Smtps,
}

impl Protocol {
    /// The word for a session opened with EHLO (`extended`) or HELO, in TLS or in the clear, and a transaction with or without SMTPUTF8.
    #[must_use]
    pub fn of(extended: bool, in_tls: bool, smtp_utf8: bool) -> Protocol {
        match (smtp_utf8, in_tls) {
            (true, true) => Protocol::Utf8Smtps,
            (true, false) => Protocol::Utf8Smtp,
            (false, true) if extended => Protocol::Esmtps,
            (false, false) if extended => Protocol::Esmtp,
            (false, _) => Protocol::Smtp,
        }
    }

    fn word(self) -> &'static [u8] {
        match self {
            Protocol::Smtp => b"SMTP",
            Protocol::Esmtp => b"ESMTP",
            Protocol::Esmtps => b"ESMTPS",
            Protocol::Utf8Smtp => b"UTF8SMTP",
            Protocol::Utf8Smtps => b"UTF8SMTPS",
        }
    }

    fn has_utf8(self) -> bool {
        matches!(self, Protocol::Utf8Smtp | Protocol::Utf8Smtps)
    }
}

/// What a TLS handshake came to.
#[derive(Debug, Clone, Copy)]
pub struct TlsFacts<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite by IANA's name.
    pub cipher: &'a str,
}

/// The whole field, CRLF included, as written by the host `hostname`.
///
/// A recipient whose local part needs quoting is left out, as is one that is not ASCII unless the message came with SMTPUTF8: `for` is optional, and `>` inside quotes misleads readers.
#[must_use]
pub fn received(hostname: &str, parts: &ReceivedParts<'_>) -> Vec<u8> {
    let mut field = Folded::new("Received", 384);
    field.word(|out| out.extend_from_slice(b"from"));
    field.word(|out| match parts.helo {
        "" => push_address_literal(out, parts.client),
        helo => push_name(out, helo),
    });
    field.word(|out| {
        out.push(b'(');
        if let Some(name) = parts.client_name {
            push_name(out, name);
            out.push(b' ');
        }
        push_address_literal(out, parts.client);
        out.push(b')');
    });
    field.fold();
    field.word(|out| out.extend_from_slice(b"by"));
    field.word(|out| push_name(out, hostname));
    field.word(|out| {
        out.extend_from_slice(b"with ");
        out.extend_from_slice(parts.with.word());
    });
    if let Some(tls) = parts.tls {
        field.fold();
        field.word(|out| {
            out.extend_from_slice(b"(version=");
            push_name(out, tls.version);
            out.extend_from_slice(b" cipher=");
            push_name(out, tls.cipher);
            out.push(b')');
        });
    }
    field.word(|out| {
        out.extend_from_slice(b"id ");
        push_name(out, parts.session_id);
    });
    if let Some(recipient) = parts.recipient.filter(|recipient| is_plain_path(recipient, parts.with.has_utf8())) {
        field.fold();
        field.word(|out| {
            out.extend_from_slice(b"for <");
            out.extend_from_slice(recipient.as_bytes());
            out.push(b'>');
        });
    }
    field.join(b";");
    field.fold();
    field.word(|out| push_date(out, parts.unix_s));
    field.finish()
}

/// A dot-atom, `@`, and a domain name or address literal; or `postmaster` alone. With `utf8` also what is not ASCII (RFC 6531 §3.7.3).
fn is_plain_path(recipient: &str, utf8: bool) -> bool {
    if recipient.len() > VALUE_OCTETS_MAX {
        return false;
    }
    if !recipient.is_ascii() {
        // As if every character that is not ASCII were a letter.
        let letters: String = recipient.chars().map(|letter| if letter.is_ascii() { letter } else { 'x' }).collect();
        return utf8 && !recipient.contains(char::is_control) && is_plain_path(&letters, false);
    }
    match recipient.as_bytes().iter().position(|&octet| octet == b'@') {
        None => is_dot_atom(recipient.as_bytes()),
        Some(at) => {
            let (local_part, domain) = (&recipient.as_bytes()[..at], &recipient.as_bytes()[at + 1..]);
            is_atext_run(local_part) && (is_domain_name(domain) || is_address_literal(domain))
        }
    }
}

/// RFC 5322 §3.2.3 dot-atom: what needs no quoting in a local part.
fn is_atext_run(local_part: &[u8]) -> bool {
    local_part.split(|&octet| octet == b'.').all(|atom| {
        !atom.is_empty()
            && atom.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(octet))
    })
}

fn is_address_literal(domain: &[u8]) -> bool {
    domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).is_some_and(|inside| {
        !inside.is_empty() && inside.iter().all(|octet| octet.is_ascii_alphanumeric() || b".:-".contains(octet))
    })
}

/// RFC 5321 §4.1.3.
fn push_address_literal(out: &mut Vec<u8>, address: IpAddr) {
    // Writing into a Vec cannot fail.
    let _ = match address {
        IpAddr::V4(address) => write!(out, "[{address}]"),
        IpAddr::V6(address) => write!(out, "[IPv6:{address}]"),
    };
}

/// `Thu, 01 Jan 1970 00:00:00 +0000` (RFC 5322 §3.3).
fn push_date(out: &mut Vec<u8>, unix_s: u64) {
    let days = unix_s / 86_400;
    let second_of_day = unix_s % 86_400;
    let (year, month, day) = civil_date(days);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000");
}

/// Year, month (1–12) and day of the month (1–31) of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts in years that begin in March, so that the leap day is the last of its year, and in eras of 400 years.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + DAYS_FROM_0000_03_01_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

const DAYS_FROM_0000_03_01_TO_1970: u64 = 719_468;
const DAYS_PER_ERA: u64 = 146_097;
/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: ReceivedParts<'_> = ReceivedParts {
        client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        helo: "helo.example",
        client_name: None,
        with: Protocol::Esmtp,
        tls: None,
        session_id: "s1",
        recipient: None,
        unix_s: 0,
    };

    fn check(parts: &ReceivedParts<'_>, want: &str) {
        let field = received("mx.example", parts);
        assert_eq!(String::from_utf8(field).unwrap(), want, "{parts:?}");
    }

    #[test]
    fn fields() {
        check(
            &PARTS,
            "Received: from helo.example ([192.0.2.1])\r\n\tby mx.example with ESMTP id s1;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        );
        check(
            &ReceivedParts {
                client: "2001:db8::1".parse().unwrap(),
                client_name: Some("mail.example.org"),
                with: Protocol::Smtp,
                recipient: Some("a.b+c@example.net"),
                unix_s: 1_764_000_000,
                ..PARTS
            },
            "Received: from helo.example (mail.example.org [IPv6:2001:db8::1])\r\n\tby mx.example with SMTP id s1\r\n\
             \tfor <a.b+c@example.net>;\r\n\tMon, 24 Nov 2025 16:00:00 +0000\r\n",
        );
        check(
            &ReceivedParts { helo: "a)\r\nX: (b", ..PARTS },
            "Received: from a???X:??b ([192.0.2.1])\r\n\tby mx.example with ESMTP id s1;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        );
        check(
            &ReceivedParts { helo: "", ..PARTS },
            "Received: from [192.0.2.1] ([192.0.2.1])\r\n\tby mx.example with ESMTP id s1;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        );
    }

    #[test]
    fn recipients() {
        for (recipient, shown) in [
            ("a@example.net", true),
            ("a=b/c@example.net", true),
            ("a@[IPv6:2001:db8::1]", true),
            ("postmaster", true),
            ("\"a>b\"@example.net", false),
            ("a b@example.net", false),
            ("a>@example.net", false),
            ("a@b@example.net", false),
            ("a\r\nX: y@example.net", false),
            ("a@example.net\r\nX: y", false),
            ("@example.net", false),
            ("", false),
            ("ü@example.net", false),
        ] {
            let field = received("mx.example", &ReceivedParts { recipient: Some(recipient), ..PARTS });
            let field = String::from_utf8(field).unwrap();
            assert_eq!(field.contains("for <"), shown, "{recipient:?}");
            assert_eq!(field.matches("\r\n").count(), if shown { 4 } else { 3 }, "{recipient:?}");
        }
    }

    #[test]
    fn internationalized_recipients() {
        for (recipient, shown) in [
            ("ü@example.net", true),
            ("用户@例子.example", true),
            ("a@bücher.example", true),
            ("a@example.net", true),
            ("\"ü >\"@example.net", false),
            ("ü>@example.net", false),
            ("ü\u{85}@example.net", false),
            ("ü\r\nX: y@example.net", false),
        ] {
            let parts = ReceivedParts { recipient: Some(recipient), with: Protocol::Utf8Smtp, ..PARTS };
            let field = String::from_utf8(received("mx.example", &parts)).unwrap();
            assert_eq!(field.contains(&format!("for <{recipient}>")), shown, "{recipient:?}");
            assert_eq!(field.matches("\r\n").count(), if shown { 4 } else { 3 }, "{recipient:?}");
        }
    }

    #[test]
    fn protocols() {
        for (extended, in_tls, smtp_utf8, word) in [
            (false, false, false, "SMTP"),
            (false, true, false, "SMTP"),
            (true, false, false, "ESMTP"),
            (true, true, false, "ESMTPS"),
            (true, false, true, "UTF8SMTP"),
            (true, true, true, "UTF8SMTPS"),
        ] {
            let with = Protocol::of(extended, in_tls, smtp_utf8);
            assert_eq!(with.word(), word.as_bytes());
        }
        let tls = Some(TlsFacts { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" });
        check(
            &ReceivedParts { with: Protocol::Esmtps, tls, ..PARTS },
            "Received: from helo.example ([192.0.2.1])\r\n\tby mx.example with ESMTPS\r\n\
             \t(version=TLSv1.3 cipher=TLS_AES_128_GCM_SHA256) id s1;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        );
    }

    #[test]
    fn no_line_is_too_long() {
        let long = "x".repeat(3_000);
        let field = received(
            &long,
            &ReceivedParts {
                helo: &long,
                client_name: Some(&long),
                session_id: &long,
                recipient: Some(&long),
                ..PARTS
            },
        );
        assert!(field.split(|&octet| octet == b'\n').all(|line| line.len() < 998));
    }

    #[test]
    fn dates() {
        for (unix_s, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 +0000"),
            (880_106_106, "Fri, 21 Nov 1997 09:55:06 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 +0000"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            let mut out = Vec::new();
            push_date(&mut out, unix_s);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
