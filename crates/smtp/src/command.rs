//! One command line, parsed (RFC 5321 §4.1.1): one function per ABNF rule, borrowing the line. Parameters are in `parameters`.
//!
//! The line comes from a peer, without its CRLF; that it holds no other CR or LF and no NUL is `frame`'s word, and nothing here would break
//! if it did. No rule looks beyond the line and none copies it.
//!
//! Quirks, on purpose more lenient than the ABNF: [`blank_after_colon`], [`helo_argument`], trailing blanks
//! ([`Command::parse`]), the blanks of `parameters` and the underscore of `address`.

mod parameters;

use core::fmt;

use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, map, opt, recognize, verify};
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use crate::address::{self, ForwardPath, ReversePath};
use crate::limits::DOMAIN_OCTETS_MAX;
use crate::{EnhancedCode, Reply};

use parameters::{blanks, size_value};

pub use parameters::{MailDsn, MailParameters, RcptDsn};

/// A command that this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `HELO`, RFC 5321 §4.1.1.1.
    Helo {
        /// What the client calls itself: see [`Command::parse`].
        domain: &'a str,
    },
    /// `EHLO`, RFC 5321 §4.1.1.1.
    Ehlo {
        /// What the client calls itself: see [`Command::parse`].
        domain: &'a str,
    },
    /// `MAIL FROM:`, RFC 5321 §4.1.1.2.
    Mail {
        /// The sender.
        reverse_path: ReversePath<'a>,
        /// What came with it.
        parameters: MailParameters<'a>,
    },
    /// `RCPT TO:`, RFC 5321 §4.1.1.3.
    Rcpt {
        /// The recipient.
        forward_path: ForwardPath<'a>,
        /// What came with it.
        dsn: RcptDsn<'a>,
    },
    /// `STARTTLS`, RFC 3207 §4.
    StartTls,
    /// `DATA`, RFC 5321 §4.1.1.4.
    Data,
    /// `BDAT`, RFC 3030 §2; the chunk follows its line.
    Bdat {
        /// Octets of the chunk; a number that `u64` cannot hold is `u64::MAX`.
        octets: u64,
        /// Whether it is the last of its message.
        last: bool,
    },
    /// `RSET`, RFC 5321 §4.1.1.5.
    Rset,
    /// `VRFY`, RFC 5321 §4.1.1.6; whom it asks about is of no interest.
    Vrfy,
    /// `HELP`, RFC 5321 §4.1.1.8.
    Help,
    /// `NOOP`, RFC 5321 §4.1.1.9.
    Noop,
    /// `QUIT`, RFC 5321 §4.1.1.10.
    Quit,
}

/// What is wrong with a command line. It is always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// No command that anybody knows.
    Unknown,
    /// A command of SMTP that this server does not have.
    NotImplemented,
    /// `BDAT` of an unknown size: what follows is octets of a message, and they must not be taken for commands.
    Chunking,
    /// A command of HTTP: somebody makes a browser or a proxy speak to us.
    NotSmtp,
    /// An argument that is missing, malformed, repeated or not wanted.
    Argument,
    /// The reverse-path of MAIL.
    ReversePath,
    /// The forward-path of RCPT.
    ForwardPath,
    /// An address that is not ASCII, in a transaction without SMTPUTF8 (RFC 6531 §3.5).
    NonAsciiPath,
    /// A parameter of MAIL or RCPT that nobody knows, or that was not offered.
    UnknownParameter,
}

impl CommandError {
    /// What the peer is told.
    #[must_use]
    pub const fn reply(self) -> Reply {
        let (code, enhanced, text) = match self {
            CommandError::Unknown => (500, EnhancedCode(5, 5, 2), "Command not recognized."),
            CommandError::NotImplemented => (502, EnhancedCode(5, 5, 1), "Command not implemented."),
            CommandError::Chunking => (501, EnhancedCode(5, 5, 4), "Syntax error in chunk size."),
            CommandError::NotSmtp => (421, EnhancedCode(4, 7, 0), "This is not an HTTP server, closing connection."),
            CommandError::Argument => (501, EnhancedCode(5, 5, 4), "Syntax error in arguments."),
            CommandError::ReversePath => (501, EnhancedCode(5, 1, 7), "Syntax error in sender address."),
            CommandError::ForwardPath => (501, EnhancedCode(5, 1, 3), "Syntax error in recipient address."),
            CommandError::NonAsciiPath => {
                (553, EnhancedCode(5, 6, 7), "Address is not ASCII, and SMTPUTF8 not in use.")
            }
            CommandError::UnknownParameter => (555, EnhancedCode(5, 5, 4), "Parameter not recognized."),
        };
        Reply::fixed(code, enhanced, text)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer sent a bad command: {}", self.reply())
    }
}

impl core::error::Error for CommandError {}

impl<'a> Command<'a> {
    /// Parses a line without its CRLF; blanks at its end are tolerated, as RFC 5321 §4.1.1 wishes.
    ///
    /// The argument of HELO and EHLO is any token of letters, digits and `-._:[]%`, up to 255 octets: clients are seen to say all sorts of
    /// things, and what may be concluded from them is not for a parser to say.
    ///
    /// All parameters are known here that can be offered; whether they were is for the session to say, as is whether MAIL's SMTPUTF8 allows
    /// RCPT an address that is not ASCII.
    ///
    /// # Errors
    /// What the peer did wrong; [`CommandError::reply`] says it to him.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let line = trim_end(line);
        let letters = line.iter().position(|octet| !octet.is_ascii_alphabetic()).unwrap_or(line.len());
        let (verb, argument) = line.split_at(letters);
        if !matches!(argument.first(), None | Some(b' ')) {
            return Err(CommandError::Unknown);
        }
        let Ok(mut verb) = <[u8; 4]>::try_from(verb) else {
            if verb.eq_ignore_ascii_case(b"STARTTLS") {
                return alone(Command::StartTls, argument);
            }
            return Err(unsupported(verb));
        };
        verb.make_ascii_uppercase();
        match &verb {
            b"HELO" => only(helo_argument, argument).map(|domain| Command::Helo { domain }),
            b"EHLO" => only(helo_argument, argument).map(|domain| Command::Ehlo { domain }),
            b"MAIL" => mail(argument),
            b"RCPT" => rcpt(argument),
            b"DATA" => alone(Command::Data, argument),
            b"BDAT" => bdat(argument),
            b"RSET" => alone(Command::Rset, argument),
            b"QUIT" => alone(Command::Quit, argument),
            b"NOOP" => Ok(Command::Noop),
            b"HELP" => Ok(Command::Help),
            b"VRFY" if argument.is_empty() => Err(CommandError::Argument),
            b"VRFY" => Ok(Command::Vrfy),
            _ => Err(unsupported(&verb)),
        }
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |last| last + 1);
    &line[..end]
}

/// The commands that exist and are not ours. The name alone decides, so that a client learns what is missing whatever it sent with it.
fn unsupported(verb: &[u8]) -> CommandError {
    let is_one_of = |names: &[&str]| names.iter().any(|name| verb.eq_ignore_ascii_case(name.as_bytes()));
    if is_one_of(&["EXPN", "AUTH", "TURN", "ATRN", "ETRN", "SEND", "SOML", "SAML"]) {
        CommandError::NotImplemented
    } else if is_one_of(&["GET", "POST", "PUT", "HEAD", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"]) {
        CommandError::NotSmtp
    } else {
        CommandError::Unknown
    }
}

/// A rule that must match the whole argument.
fn only<'a, T>(rule: fn(&'a [u8]) -> IResult<&'a [u8], T>, argument: &'a [u8]) -> Result<T, CommandError> {
    let (_, found) = all_consuming(rule).parse(argument).map_err(|_| CommandError::Argument)?;
    Ok(found)
}

/// ```abnf
/// data     = "DATA" CRLF
/// rset     = "RSET" CRLF
/// quit     = "QUIT" CRLF
/// starttls = "STARTTLS" CRLF
/// ```
fn alone<'a>(command: Command<'a>, argument: &[u8]) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Argument) }
}

/// ```abnf
/// ehlo = "EHLO" SP ( Domain / address-literal ) CRLF
/// helo = "HELO" SP Domain CRLF
/// ```
///
/// Named quirk: any token of [`helo_octet`]s.
fn helo_argument(input: &[u8]) -> IResult<&[u8], &str> {
    let token = verify(take_while1(helo_octet), |octets: &[u8]| octets.len() <= DOMAIN_OCTETS_MAX);
    map(preceded(char(' '), token), address::text).parse(input)
}

/// What names, address literals with a zone and addresses without brackets are made of, and nothing that means anything in a header field.
fn helo_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b':' | b'[' | b']' | b'%')
}

/// ```abnf
/// mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF
/// ```
fn mail(argument: &[u8]) -> Result<Command<'_>, CommandError> {
    let (rest, _) = from(argument).map_err(|_| CommandError::Argument)?;
    let (rest, reverse_path) = address::reverse_path(rest).map_err(|_| CommandError::ReversePath)?;
    let mut parameters = MailParameters::default();
    parameters::each(rest, |keyword, value| parameters.take(keyword, value))?;
    if !parameters.smtp_utf8 && !reverse_path.is_ascii() {
        return Err(CommandError::NonAsciiPath);
    }
    Ok(Command::Mail { reverse_path, parameters })
}

/// ```abnf
/// rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF
/// ```
fn rcpt(argument: &[u8]) -> Result<Command<'_>, CommandError> {
    let (rest, _) = to(argument).map_err(|_| CommandError::Argument)?;
    let (rest, forward_path) = address::forward_path(rest).map_err(|_| CommandError::ForwardPath)?;
    let mut dsn = RcptDsn::default();
    parameters::each(rest, |keyword, value| dsn.take(keyword, value))?;
    Ok(Command::Rcpt { forward_path, dsn })
}

/// ```abnf
/// bdat-cmd   = "BDAT" SP chunk-size [ SP end-marker ] CR LF
/// chunk-size = 1*DIGIT
/// end-marker = "LAST"
/// ```
fn bdat(argument: &[u8]) -> Result<Command<'_>, CommandError> {
    let size = preceded(blanks, size_value);
    let end_marker = opt(preceded(blanks, tag_no_case("LAST")));
    let (_, (octets, last)) =
        all_consuming(pair(size, end_marker)).parse(argument).map_err(|_| CommandError::Chunking)?;
    Ok(Command::Bdat { octets, last: last.is_some() })
}

/// `SP "FROM:"`, in any case.
fn from(input: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(pair(tag_no_case(" FROM:"), blank_after_colon)).parse(input)
}

/// `SP "TO:"`, in any case.
fn to(input: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(pair(tag_no_case(" TO:"), blank_after_colon)).parse(input)
}

/// Named quirk: `MAIL FROM: <a@b>`, a blank that RFC 5321 §3.3 expressly forbids and old clients send nevertheless.
fn blank_after_colon(input: &[u8]) -> IResult<&[u8], Option<char>> {
    opt(char(' ')).parse(input)
}

#[cfg(test)]
mod tests;
