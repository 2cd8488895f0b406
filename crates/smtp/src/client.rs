//! The client's side of the protocol: commands to write, replies to read, what a next hop offers (RFC 5321 §3, §4.2; RFC 1870, 2034, 2920, 6152).
//!
//! The next hop is ours, yet it is not trusted: its replies are bounded in lines and in octets, anything that is no reply ends the
//! connection, and its text reaches a client only through [`pass_on`] and [`Reply::write_to`].

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use memchr::memchr;

use crate::{EnhancedCode, Reply};

/// Reads replies from octets that come in pieces of any size. One for each connection.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The beginning of a line whose end has not come; at most [`REPLY_LINE_OCTETS_MAX`].
    partial: Vec<u8>,
    /// The lines of a reply whose last line has not come.
    unfinished: Option<Unfinished>,
}

impl ReplyReader {
    /// A reader for a new connection.
    #[must_use]
    pub fn new() -> ReplyReader {
        ReplyReader::default()
    }

    /// Takes a prefix of `input`: how many octets, and the reply that ends there. Without a reply all of `input` was taken.
    ///
    /// # Errors
    /// The peer does not speak SMTP; the reader must not be used again.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Reply>), ReplyFault> {
        let mut taken = 0;
        while let Some(line_feed) = memchr(b'\n', &input[taken..]) {
            let line = &input[taken..=taken + line_feed];
            taken += line.len();
            if self.partial.len() + line.len() > REPLY_LINE_OCTETS_MAX {
                return Err(ReplyFault::LineTooLong);
            }
            let last = if self.partial.is_empty() {
                self.line(line)?
            } else {
                let mut whole = core::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?
            };
            if last {
                return Ok((taken, self.unfinished.take().map(Unfinished::finish)));
            }
        }
        let rest = &input[taken..];
        if self.partial.len() + rest.len() > REPLY_LINE_OCTETS_MAX {
            return Err(ReplyFault::LineTooLong);
        }
        self.partial.extend_from_slice(rest);
        Ok((input.len(), None))
    }

    /// Whether a reply has begun and not ended.
    #[must_use]
    pub fn in_reply(&self) -> bool {
        self.unfinished.is_some() || !self.partial.is_empty()
    }

    /// Adds one line with its line end; tells whether it is the last of the reply.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyFault> {
        let ReplyLine { code, last, text } = reply_line(line)?;
        match &mut self.unfinished {
            None => self.unfinished = Some(Unfinished::new(code, text)),
            Some(reply) if reply.code != code => return Err(ReplyFault::CodesDiffer),
            Some(reply) if reply.lines == REPLY_LINES_MAX => return Err(ReplyFault::TooManyLines),
            Some(reply) => reply.add(text),
        }
        Ok(last)
    }
}

/// How the peer broke the protocol. All of them are the next hop's fault and end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyFault {
    /// Over [`REPLY_LINE_OCTETS_MAX`] octets without a line end.
    LineTooLong,
    /// Over [`REPLY_LINES_MAX`] lines.
    TooManyLines,
    /// Not three digits from 200 to 599 followed by blank, hyphen or CRLF; or a line end without CR.
    NotAReply,
    /// Lines of one reply with different codes (RFC 5321 §4.2.1).
    CodesDiffer,
}

impl fmt::Display for ReplyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplyFault::LineTooLong => "reply line too long",
            ReplyFault::TooManyLines => "reply of too many lines",
            ReplyFault::NotAReply => "not an SMTP reply",
            ReplyFault::CodesDiffer => "reply whose lines have different codes",
        })
    }
}

impl core::error::Error for ReplyFault {}

/// A reply line may have this many octets, CRLF included: four times what RFC 5321 §4.5.3.1.5 allows.
pub const REPLY_LINE_OCTETS_MAX: usize = 2048;

/// A reply may have this many lines.
pub const REPLY_LINES_MAX: u32 = 100;

/// What the next hop said to EHLO, as far as it matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920: commands may be sent in groups.
    pub pipelining: bool,
    /// RFC 6152: `BODY=8BITMIME` may be sent with MAIL.
    pub eight_bit_mime: bool,
    /// RFC 1870: `SIZE=` may be sent with MAIL.
    pub size: bool,
    /// The largest message in octets; none when nothing or 0 was said.
    pub size_max: Option<u64>,
}

impl Extensions {
    /// Reads the lines after the first; words it does not know are passed over.
    #[must_use]
    pub fn parse(reply: &Reply) -> Extensions {
        let mut extensions = Extensions::default();
        for line in reply.text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default();
            if keyword.eq_ignore_ascii_case("PIPELINING") {
                extensions.pipelining = true;
            } else if keyword.eq_ignore_ascii_case("8BITMIME") {
                extensions.eight_bit_mime = true;
            } else if keyword.eq_ignore_ascii_case("SIZE") {
                extensions.size = true;
                extensions.size_max = words.next().and_then(|octets| octets.parse().ok()).filter(|octets| *octets > 0);
            }
        }
        extensions
    }
}

/// Whether a greeting or an EHLO reply names `hostname` as the host that speaks: then the next hop is we ourselves, and mail would loop.
#[must_use]
pub fn names_host(reply: &Reply, hostname: &str) -> bool {
    let name = reply.text.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
    name.trim_end_matches('.').eq_ignore_ascii_case(hostname.trim_end_matches('.'))
}

/// The next hop's reply as our client gets it. 421 becomes 451, for our connection stays open; a reply without an enhanced code gets
/// `X.0.0`, for we offer ENHANCEDSTATUSCODES (RFC 2034 §4).
#[must_use]
pub fn pass_on(reply: Reply) -> Reply {
    let class = (reply.code / 100) as u8;
    let code = if reply.code == 421 { 451 } else { reply.code };
    Reply { code, enhanced: Some(reply.enhanced.unwrap_or(EnhancedCode(class, 0, 0))), text: reply.text }
}

/// Whether a path may stand between `<` and `>` of a command that we send: printable ASCII and of a length that fits a command line. The
/// session has parsed it; this is the last door before the next hop.
#[must_use]
pub fn is_sendable_path(path: &str) -> bool {
    path.len() <= PATH_OCTETS_MAX && path.bytes().all(|octet| (b' '..=b'~').contains(&octet))
}

/// Twice and more what RFC 5321 §4.5.3.1.3 grants a path.
const PATH_OCTETS_MAX: usize = 1000;

/// Appends `EHLO hostname`.
pub fn write_ehlo(out: &mut Vec<u8>, hostname: &str) {
    write_parts(out, &["EHLO ", hostname, "\r\n"]);
}

/// Appends `MAIL FROM:<reverse_path>` with those parameters that `offered` allows. `size_octets` is the declared size of what we shall send.
pub fn write_mail(
    out: &mut Vec<u8>,
    reverse_path: &str,
    size_octets: Option<u64>,
    body_8bit: bool,
    offered: &Extensions,
) {
    write_parts(out, &["MAIL FROM:<", reverse_path, ">"]);
    if let Some(size_octets) = size_octets.filter(|_| offered.size) {
        write_parts(out, &[" SIZE=", &alloc::format!("{size_octets}")]);
    }
    if body_8bit && offered.eight_bit_mime {
        write_parts(out, &[" BODY=8BITMIME"]);
    }
    write_parts(out, &["\r\n"]);
}

/// Appends `RCPT TO:<forward_path>`.
pub fn write_rcpt(out: &mut Vec<u8>, forward_path: &str) {
    write_parts(out, &["RCPT TO:<", forward_path, ">\r\n"]);
}

/// The command that asks to send the message.
pub const DATA: &[u8] = b"DATA\r\n";
/// The command that ends a mail transaction.
pub const RSET: &[u8] = b"RSET\r\n";
/// The command that ends the connection.
pub const QUIT: &[u8] = b"QUIT\r\n";

fn write_parts(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A reply of which some lines have come.
#[derive(Debug)]
struct Unfinished {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: String,
    lines: u32,
}

impl Unfinished {
    fn new(code: u16, text: &[u8]) -> Unfinished {
        let (enhanced, text) = split_enhanced_code(code, text);
        let mut reply = Unfinished { code, enhanced, text: String::with_capacity(text.len()), lines: 1 };
        reply.push_printable(text);
        reply
    }

    fn add(&mut self, text: &[u8]) {
        let (enhanced, without) = split_enhanced_code(self.code, text);
        self.lines += 1;
        self.text.push('\n');
        self.push_printable(if enhanced == self.enhanced { without } else { text });
    }

    fn push_printable(&mut self, text: &[u8]) {
        self.text.extend(text.iter().map(|octet| if (b' '..=b'~').contains(octet) { char::from(*octet) } else { '?' }));
    }

    fn finish(self) -> Reply {
        Reply { code: self.code, enhanced: self.enhanced, text: Cow::Owned(self.text) }
    }
}

/// One line of a reply, without its line end.
struct ReplyLine<'l> {
    code: u16,
    last: bool,
    text: &'l [u8],
}

/// ```abnf
/// Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
/// Reply-code = %x32-35 %x30-35 %x30-39
/// ```
/// The second digit may be any, as it decides nothing.
fn reply_line(line: &[u8]) -> Result<ReplyLine<'_>, ReplyFault> {
    let line = line.strip_suffix(b"\r\n").ok_or(ReplyFault::NotAReply)?;
    let (digits, rest) = line.split_at_checked(3).ok_or(ReplyFault::NotAReply)?;
    if !(digits.iter().all(u8::is_ascii_digit) && (b'2'..=b'5').contains(&digits[0])) {
        return Err(ReplyFault::NotAReply);
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Ok(ReplyLine { code, last: true, text: b"" }),
        [b' ', text @ ..] => Ok(ReplyLine { code, last: true, text }),
        [b'-', text @ ..] => Ok(ReplyLine { code, last: false, text }),
        _ => Err(ReplyFault::NotAReply),
    }
}

/// ```abnf
/// status-code = ("2" / "4" / "5") "." 1*3digit "." 1*3digit
/// ```
/// at the start of the text and followed by a blank or nothing (RFC 2034 §3, §4); its class must be that of the code.
fn split_enhanced_code(code: u16, text: &[u8]) -> (Option<EnhancedCode>, &[u8]) {
    let word_octets = memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at(word_octets);
    match enhanced_code(word).filter(|enhanced| u16::from(enhanced.0) == code / 100 && enhanced.0 != 3) {
        Some(enhanced) => (Some(enhanced), rest.strip_prefix(b" ").unwrap_or(rest)),
        None => (None, text),
    }
}

fn enhanced_code(word: &[u8]) -> Option<EnhancedCode> {
    let mut numbers = word.split(|octet| *octet == b'.').map(|digits| {
        let is_number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
    });
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && class < 10).then_some(EnhancedCode(class as u8, subject, detail))
}

#[cfg(test)]
mod tests;
