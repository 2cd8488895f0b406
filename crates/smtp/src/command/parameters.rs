//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2, RFC 1870, RFC 3461, RFC 6152, RFC 6531): one function per ABNF rule, borrowing the line.
//!
//! Values that only a next hop understands are checked and handed on as the client wrote them: nothing in them can end a line or begin
//! another parameter.
//!
//! Quirk, on purpose more lenient than the ABNF: [`blanks`]. On purpose stricter: [`notify_list`] (nothing twice), [`hexchar`] (nothing
//! that RFC 3461 §4.2 and §4.4 forbid in the decoded text).

use core::str;

use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, map, opt, recognize, value, verify};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use super::{CommandError, only};
use crate::address::{self, Beyond, atom};
use crate::limits::{ENVID_OCTETS_MAX, ORCPT_OCTETS_MAX, SIZE_DIGITS_MAX};

/// The parameters of MAIL that can be offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailParameters<'a> {
    /// `SIZE=`, octets (RFC 1870); a number that `u64` cannot hold is `u64::MAX`.
    pub size: Option<u64>,
    /// `BODY=`: `Some(true)` for `8BITMIME`, `Some(false)` for `7BIT` (RFC 6152).
    pub body_8bit: Option<bool>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtp_utf8: bool,
    /// `RET=` and `ENVID=`.
    pub dsn: MailDsn<'a>,
}

/// What MAIL says of delivery status notifications (RFC 3461 §4.3, §4.4), as the client wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailDsn<'a> {
    /// `RET=`: `FULL` or `HDRS`, in any case.
    pub ret: Option<&'a str>,
    /// `ENVID=`, in xtext.
    pub envid: Option<&'a str>,
}

/// What RCPT says of delivery status notifications (RFC 3461 §4.1, §4.2), as the client wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RcptDsn<'a> {
    /// `NOTIFY=`: `NEVER`, or some of `SUCCESS`, `FAILURE` and `DELAY` with commas between them, in any case.
    pub notify: Option<&'a str>,
    /// `ORCPT=`: an address type, a semicolon, and an address in xtext; in UTF-8 only with SMTPUTF8 (RFC 6533 §3).
    pub orcpt: Option<&'a str>,
}

impl RcptDsn<'_> {
    /// Whether it can go where SMTPUTF8 is not known.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.orcpt.is_none_or(str::is_ascii)
    }
}

impl<'a> MailParameters<'a> {
    /// One parameter more; a second one of the same name is an error, whichever would have won.
    pub(super) fn take(&mut self, keyword: &[u8], argument: Option<&'a [u8]>) -> Result<(), CommandError> {
        if keyword.eq_ignore_ascii_case(b"SMTPUTF8") {
            return once(core::mem::replace(&mut self.smtp_utf8, true) || argument.is_some());
        }
        let argument = argument.unwrap_or_default();
        let repeated = if keyword.eq_ignore_ascii_case(b"SIZE") {
            self.size.replace(only(size_value, argument)?).is_some()
        } else if keyword.eq_ignore_ascii_case(b"BODY") {
            self.body_8bit.replace(only(body_value, argument)?).is_some()
        } else if keyword.eq_ignore_ascii_case(b"RET") {
            self.dsn.ret.replace(only(ret_value, argument)?).is_some()
        } else if keyword.eq_ignore_ascii_case(b"ENVID") {
            self.dsn.envid.replace(only(envid_value, argument)?).is_some()
        } else {
            return Err(CommandError::UnknownParameter);
        };
        once(repeated)
    }
}

impl<'a> RcptDsn<'a> {
    /// One parameter more, as [`MailParameters::take`].
    pub(super) fn take(&mut self, keyword: &[u8], argument: Option<&'a [u8]>) -> Result<(), CommandError> {
        let argument = argument.unwrap_or_default();
        let repeated = if keyword.eq_ignore_ascii_case(b"NOTIFY") {
            self.notify.replace(only(notify_value, argument)?).is_some()
        } else if keyword.eq_ignore_ascii_case(b"ORCPT") {
            self.orcpt.replace(only(orcpt_value, argument)?).is_some()
        } else {
            return Err(CommandError::UnknownParameter);
        };
        once(repeated)
    }
}

fn once(repeated: bool) -> Result<(), CommandError> {
    if repeated { Err(CommandError::Argument) } else { Ok(()) }
}

/// ```abnf
/// Mail-parameters = esmtp-param *(SP esmtp-param)
/// ```
pub(super) fn each<'a>(
    mut rest: &'a [u8],
    mut take: impl FnMut(&'a [u8], Option<&'a [u8]>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    while !rest.is_empty() {
        let (after, (keyword, value)) =
            preceded(blanks, esmtp_param).parse(rest).map_err(|_| CommandError::Argument)?;
        if !matches!(after.first(), None | Some(b' ')) {
            return Err(CommandError::Argument);
        }
        take(keyword, value)?;
        rest = after;
    }
    Ok(())
}

/// Named quirk: more than one SP before a parameter.
pub(super) fn blanks(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet| octet == b' ').parse(input)
}

/// A keyword and its value.
type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// ```abnf
/// esmtp-param = esmtp-keyword ["=" esmtp-value]
/// ```
fn esmtp_param(input: &[u8]) -> IResult<&[u8], Parameter<'_>> {
    pair(esmtp_keyword, opt(preceded(char('='), esmtp_value))).parse(input)
}

/// ```abnf
/// esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
/// ```
fn esmtp_keyword(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let keyword = take_while1(|octet: u8| octet.is_ascii_alphanumeric() || octet == b'-');
    verify(keyword, |octets: &[u8]| octets.first() != Some(&b'-')).parse(input)
}

/// ```abnf
/// esmtp-value =  1*(%d33-60 / %d62-126)
/// esmtp-value =/ UTF8-non-ascii
/// ```
fn esmtp_value(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet| matches!(octet, 33..=60 | 62..=126 | 128..)).parse(input)
}

/// ```abnf
/// size-value = 1*20DIGIT
/// ```
///
/// Twenty nines do not fit into 64 bits: the largest number that does stands for all beyond it.
pub(super) fn size_value(input: &[u8]) -> IResult<&[u8], u64> {
    let digits = verify(take_while(|octet: u8| octet.is_ascii_digit()), |digits: &[u8]| {
        (1..=SIZE_DIGITS_MAX).contains(&digits.len())
    });
    let number = |digits: &[u8]| {
        digits.iter().fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    };
    map(digits, number).parse(input)
}

/// ```abnf
/// body-value = "7BIT" / "8BITMIME"
/// ```
fn body_value(input: &[u8]) -> IResult<&[u8], bool> {
    alt((value(true, tag_no_case("8BITMIME")), value(false, tag_no_case("7BIT")))).parse(input)
}

/// ```abnf
/// ret-value = "FULL" / "HDRS"
/// ```
fn ret_value(input: &[u8]) -> IResult<&[u8], &str> {
    map(alt((tag_no_case("FULL"), tag_no_case("HDRS"))), address::text).parse(input)
}

/// ```abnf
/// envid-parameter = xtext
/// ```
fn envid_value(input: &[u8]) -> IResult<&[u8], &str> {
    map(verify(xtext, |octets: &[u8]| (1..=ENVID_OCTETS_MAX).contains(&octets.len())), address::text).parse(input)
}

/// ```abnf
/// notify-esmtp-value = "NEVER" / 1#notify-list-element
/// ```
fn notify_value(input: &[u8]) -> IResult<&[u8], &str> {
    map(alt((tag_no_case("NEVER"), notify_list)), address::text).parse(input)
}

/// ```abnf
/// notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
/// ```
///
/// Stricter: none of them twice, and no empty elements.
fn notify_list(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let (mut rest, mut seen) = notify_list_element(input)?;
    while let Ok((after, element)) = preceded(char(','), notify_list_element).parse(rest) {
        if seen & element != 0 {
            break;
        }
        (rest, seen) = (after, seen | element);
    }
    Ok((rest, &input[..input.len() - rest.len()]))
}

/// A bit for each.
fn notify_list_element(input: &[u8]) -> IResult<&[u8], u8> {
    let (success, failure) = (value(1, tag_no_case("SUCCESS")), value(2, tag_no_case("FAILURE")));
    alt((success, failure, value(4, tag_no_case("DELAY")))).parse(input)
}

/// ```abnf
/// original-recipient-address = addr-type ";" xtext
/// original-recipient-address =/ "utf-8" ";" ( utf-8-addr-xtext / utf-8-addr-unitext )
/// addr-type                  = atom
/// ```
///
/// utf-8-addr-xtext (RFC 6533 §3) is xtext; utf-8-addr-unitext is not looked at further than for being UTF-8.
fn orcpt_value(input: &[u8]) -> IResult<&[u8], &str> {
    let atom = |input| atom(input, Beyond::NOTHING);
    let address = recognize((atom, char(';'), verify(xtext, |octets: &[u8]| !octets.is_empty())));
    let utf8_address = recognize(pair(tag_no_case("utf-8;"), utf8_addr_unitext));
    let fits = |octets: &[u8]| octets.len() <= ORCPT_OCTETS_MAX;
    map(verify(alt((all_consuming(address), utf8_address)), fits), address::text).parse(input)
}

/// ```abnf
/// utf-8-addr-unitext = 1*(QUCHAR / EmbeddedUnicodeChar)
/// QUCHAR             = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e / UTF8-2 / UTF8-3 / UTF8-4
/// ```
fn utf8_addr_unitext(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let octets = take_while1(|octet| matches!(octet, 33..=42 | 44..=60 | 62..=126 | 128..));
    verify(octets, address::is_utf8_without_controls).parse(input)
}

/// ```abnf
/// xtext = *( xchar / hexchar )
/// xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
/// ```
fn xtext(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let xchars = take_while1(|octet| matches!(octet, 33..=42 | 44..=60 | 62..=126));
    recognize(many0_count(alt((xchars, hexchar)))).parse(input)
}

/// ```abnf
/// hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
/// ```
///
/// Stricter: what it stands for is a printable character or a blank.
fn hexchar(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let digits = take_while_m_n(2, 2, |octet| matches!(octet, b'0'..=b'9' | b'A'..=b'F'));
    let printable = |digits: &[u8]| {
        let octet = str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octet.is_some_and(|octet| matches!(octet, b'\t' | b' '..=b'~'))
    };
    recognize(preceded(char('+'), verify(digits, printable))).parse(input)
}
