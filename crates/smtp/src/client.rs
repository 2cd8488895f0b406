//! The client's side of the protocol: commands to write, replies to read, what a next hop offers (RFC 5321 §3, §4.2; RFC 1870, 2034, 2920,
//! 3461, 6152, 6531).
//!
//! The next hop is ours, yet it is not trusted: its replies are bounded in lines and in octets, anything that is no reply ends the
//! connection, and its text reaches a client only through [`pass_on`] and [`Reply::write_to`].

mod extensions;
mod origin;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use memchr::memchr;

pub use extensions::{Attributes, Extensions};
pub use origin::{Origin, OriginName, origin_commands, write_proxy_header};

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

/// Whether a path may stand between `<` and `>` of a command that we send: printable and of a length that fits a command line, ASCII alone
/// unless the mail transaction is one with SMTPUTF8 (RFC 6531 §3.3). The session has parsed it; this is the last door before the next hop.
#[must_use]
pub fn is_sendable_path(path: &str, smtp_utf8: bool) -> bool {
    path.len() <= PATH_OCTETS_MAX && path.chars().all(|c| c == ' ' || is_sendable_char(c, smtp_utf8))
}

/// The same for the value of a parameter, which has no blank in it.
#[must_use]
pub fn is_sendable_value(value: &str, smtp_utf8: bool) -> bool {
    (1..=VALUE_OCTETS_MAX).contains(&value.len()) && value.chars().all(|c| is_sendable_char(c, smtp_utf8))
}

fn is_sendable_char(c: char, smtp_utf8: bool) -> bool {
    c.is_ascii_graphic() || smtp_utf8 && !c.is_ascii() && !c.is_control()
}

/// Twice and more what RFC 5321 §4.5.3.1.3 grants a path.
const PATH_OCTETS_MAX: usize = 1000;

/// What RFC 3461 §4.2 grants ORCPT, the longest parameter.
const VALUE_OCTETS_MAX: usize = 500;

/// Appends `EHLO hostname`.
pub fn write_ehlo(out: &mut Vec<u8>, hostname: &str) {
    write_parts(out, &["EHLO ", hostname, "\r\n"]);
}

/// Appends `LHLO hostname` (RFC 2033 §4.1).
pub fn write_lhlo(out: &mut Vec<u8>, hostname: &str) {
    write_parts(out, &["LHLO ", hostname, "\r\n"]);
}

/// What MAIL says.
#[derive(Debug, Clone, Copy, Default)]
pub struct MailFrom<'m> {
    /// Without `<>`.
    pub reverse_path: &'m str,
    /// The declared size in octets of what we shall send.
    pub size_octets: Option<u64>,
    /// `BODY=8BITMIME`.
    pub body_8bit: bool,
    /// `SMTPUTF8` (RFC 6531 §3.4).
    pub smtp_utf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<&'m str>,
    /// `ENVID=`, in xtext (RFC 3461 §4.4).
    pub envid: Option<&'m str>,
}

/// Appends MAIL with those parameters that `offered` allows.
pub fn write_mail(out: &mut Vec<u8>, mail: &MailFrom<'_>, offered: &Extensions) {
    write_parts(out, &["MAIL FROM:<", mail.reverse_path, ">"]);
    if let Some(size_octets) = mail.size_octets.filter(|_| offered.size) {
        write_parts(out, &[" SIZE=", &alloc::format!("{size_octets}")]);
    }
    if mail.body_8bit && offered.eight_bit_mime {
        write_parts(out, &[" BODY=8BITMIME"]);
    }
    if mail.smtp_utf8 && offered.smtp_utf8 {
        write_parts(out, &[" SMTPUTF8"]);
    }
    write_parameter(out, " RET=", mail.ret.filter(|_| offered.dsn));
    write_parameter(out, " ENVID=", mail.envid.filter(|_| offered.dsn));
    write_parts(out, &["\r\n"]);
}

/// What RCPT says.
#[derive(Debug, Clone, Copy, Default)]
pub struct RcptTo<'r> {
    /// Without `<>`.
    pub forward_path: &'r str,
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Option<&'r str>,
    /// `ORCPT=` (RFC 3461 §4.2).
    pub orcpt: Option<&'r str>,
}

/// Appends RCPT with those parameters that `offered` allows.
pub fn write_rcpt(out: &mut Vec<u8>, rcpt: &RcptTo<'_>, offered: &Extensions) {
    write_parts(out, &["RCPT TO:<", rcpt.forward_path, ">"]);
    write_parameter(out, " NOTIFY=", rcpt.notify.filter(|_| offered.dsn));
    write_parameter(out, " ORCPT=", rcpt.orcpt.filter(|_| offered.dsn));
    write_parts(out, &["\r\n"]);
}

fn write_parameter(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        write_parts(out, &[name, value]);
    }
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
