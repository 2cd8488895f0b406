//! A reply: code, enhanced code, text (RFC 5321 §4.2, RFC 2034).
//!
//! Text may come from a peer (the next hop's reply is passed on), so [`Reply::write_to`] is the one place where it is made safe:
//! whatever is not printable ASCII leaves as `?`, and a line is never longer than a client must accept.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// An enhanced status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

/// One reply to a command or to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// Absent only where RFC 2034 §4 wants none: the greeting, the replies to HELO and EHLO, and 3xx.
    pub enhanced: Option<EnhancedCode>,
    /// The text; `\n` separates the lines of a multi-line reply.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply whose text is known when the program is built: costs no allocation.
    #[must_use]
    pub const fn fixed(code: u16, enhanced: EnhancedCode, text: &'static str) -> Reply {
        Reply { code, enhanced: Some(enhanced), text: Cow::Borrowed(text) }
    }

    /// A reply whose text was made for this occasion.
    #[must_use]
    pub fn new(code: u16, enhanced: Option<EnhancedCode>, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, enhanced, text: text.into() }
    }

    /// 2xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx: the client may come again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Appends the reply as it goes over the wire, each line ended by CRLF.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            push_number(out, u32::from(self.code));
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(EnhancedCode(class, subject, detail)) = self.enhanced {
                push_number(out, u32::from(class));
                out.push(b'.');
                push_number(out, u32::from(subject));
                out.push(b'.');
                push_number(out, u32::from(detail));
                out.push(b' ');
            }
            let printable = line.bytes().take(TEXT_OCTETS_MAX);
            out.extend(printable.map(|octet| if (b' '..=b'~').contains(&octet) { octet } else { b'?' }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl core::fmt::Display for Reply {
    /// The reply as one line of text without CRLF, lines joined by ` / `: for logs and records.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(EnhancedCode(class, subject, detail)) = self.enhanced {
            write!(f, "{class}.{subject}.{detail} ")?;
        }
        for (index, line) in self.text.split('\n').enumerate() {
            if index > 0 {
                f.write_str(" / ")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

fn push_number(out: &mut Vec<u8>, number: u32) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The most of a line of text that goes over the wire. RFC 5321 §4.5.3.1.5 allows 512 octets for a reply line: code, enhanced code and CRLF take up to 20 of them.
pub const TEXT_OCTETS_MAX: usize = 490;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    #[test]
    fn replies_on_the_wire() {
        let long = "x".repeat(600);
        let cases: [(Reply, String); 5] = [
            (Reply::fixed(250, EnhancedCode(2, 1, 0), "OK"), "250 2.1.0 OK\r\n".into()),
            (Reply::new(354, None, "Go"), "354 Go\r\n".into()),
            (Reply::new(550, Some(EnhancedCode(5, 7, 1)), "a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n".into()),
            (Reply::new(451, Some(EnhancedCode(4, 0, 0)), "a\r\u{1b}é"), "451 4.0.0 a????\r\n".into()),
            (Reply::new(250, None, long), alloc::format!("250 {}\r\n", "x".repeat(490))),
        ];
        for (reply, wire) in cases {
            let mut out = Vec::new();
            reply.write_to(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), wire);
        }
        assert_eq!(Reply::new(550, Some(EnhancedCode(5, 7, 1)), "a\nb").to_string(), "550 5.7.1 a / b");
    }
}
