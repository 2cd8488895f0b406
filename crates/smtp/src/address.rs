//! Mail addresses as MAIL and RCPT carry them (RFC 5321 §4.1.2, §4.1.3): one function per ABNF rule, borrowing the command line.
//!
//! The octets come from a peer and are not trusted: what a rule lets through is ASCII without controls, or UTF-8 without
//! controls (RFC 6531 §3.3); nothing else.
//!
//! Quirks, on purpose more lenient than the ABNF: [`Beyond::UNDERSCORE`]. On purpose stricter: [`address_literal`] (no tag but `IPv6`)
//! and [`ipv4_address_literal`] (no leading zeros).

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str;

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, map, opt, recognize, value, verify};
use nom::multi::many0_count;
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{IResult, Parser};

use crate::limits::{DOMAIN_OCTETS_MAX, LOCAL_PART_OCTETS_MAX, PATH_OCTETS_MAX};

/// What stands after the `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain<'a> {
    /// A domain name, as sent: its case is kept, there is no final dot, labels are not looked at further than the ABNF does.
    Name(&'a str),
    /// An address literal, with its brackets; the address in it is valid.
    Literal(&'a str),
}

impl<'a> Domain<'a> {
    /// The text as sent; a literal with its brackets.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        match self {
            Domain::Name(text) | Domain::Literal(text) => text,
        }
    }
}

impl fmt::Display for Domain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `local-part@domain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mailbox<'a> {
    /// As sent; a quoted string keeps its quotes and its backslashes.
    pub local_part: &'a str,
    /// As sent.
    pub domain: Domain<'a>,
}

impl<'a> Mailbox<'a> {
    /// Reads a mailbox without angle brackets, with the leniency granted to senders: for command lines of tools, not for the wire.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Mailbox<'a>> {
        let (_, found) =
            all_consuming(|input| ascii_or_utf8(input, Beyond::UNDERSCORE, mailbox)).parse(text.as_bytes()).ok()?;
        Some(found)
    }

    fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain.as_str().is_ascii()
    }
}

impl fmt::Display for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain)
    }
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReversePath<'a> {
    /// `<>`: the message is itself a notification and nothing may be sent back (RFC 5321 §4.5.5).
    Null,
    /// A sender.
    Mailbox(Mailbox<'a>),
}

impl ReversePath<'_> {
    /// Whether it can go where SMTPUTF8 is not known (RFC 6531 §3.2).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        match self {
            ReversePath::Null => true,
            ReversePath::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

impl fmt::Display for ReversePath<'_> {
    /// Without angle brackets: the null reverse-path is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardPath<'a> {
    /// `<postmaster>` in any case and without a domain: it must be accepted (RFC 5321 §4.5.1).
    Postmaster,
    /// A recipient.
    Mailbox(Mailbox<'a>),
}

impl ForwardPath<'_> {
    /// Whether it can go where SMTPUTF8 is not known (RFC 6531 §3.2).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        match self {
            ForwardPath::Postmaster => true,
            ForwardPath::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

impl fmt::Display for ForwardPath<'_> {
    /// Without angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("postmaster"),
            ForwardPath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// What the rules take beyond the ASCII ones of RFC 5321: two grammars by a parameter, so that the usual one costs nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beyond(u8);

impl Beyond {
    pub(crate) const NOTHING: Beyond = Beyond(0);
    /// Named quirk: `_` counts as a letter in the domains of senders, where such hosts exist and reach everybody else. No recipient domain
    /// that is served here has one.
    pub(crate) const UNDERSCORE: Beyond = Beyond(UNDERSCORE);

    /// RFC 6531 §3.3: every octet of UTF-8 that is not ASCII counts as a letter. That they are UTF-8 is for others to see.
    const fn and_utf8(self) -> Beyond {
        Beyond(self.0 | UTF8)
    }
}

/// A path in ASCII, else one with UTF-8 (RFC 6531 §3.3); whether the latter is allowed is for others to say.
fn ascii_or_utf8<'a, T>(
    input: &'a [u8],
    beyond: Beyond,
    rule: impl Fn(&'a [u8], Beyond) -> IResult<&'a [u8], T>,
) -> IResult<&'a [u8], T> {
    match rule(input, beyond) {
        Err(_) if !input.is_ascii() && is_utf8_without_controls(input) => rule(input, beyond.and_utf8()),
        result => result,
    }
}

/// Without U+0000 to U+001F and U+007F to U+009F.
pub(crate) fn is_utf8_without_controls(octets: &[u8]) -> bool {
    str::from_utf8(octets).is_ok_and(|text| !text.contains(char::is_control))
}

/// ```abnf
/// Reverse-path = Path / "<>"
/// ```
pub(crate) fn reverse_path(input: &[u8]) -> IResult<&[u8], ReversePath<'_>> {
    let mailbox = map(|input| ascii_or_utf8(input, Beyond::UNDERSCORE, path), ReversePath::Mailbox);
    alt((value(ReversePath::Null, tag("<>")), mailbox)).parse(input)
}

/// ```abnf
/// Forward-path = Path
/// rcpt         = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) …
/// ```
pub(crate) fn forward_path(input: &[u8]) -> IResult<&[u8], ForwardPath<'_>> {
    let mailbox = map(|input| ascii_or_utf8(input, Beyond::NOTHING, path), ForwardPath::Mailbox);
    alt((mailbox, value(ForwardPath::Postmaster, tag_no_case("<postmaster>")))).parse(input)
}

/// ```abnf
/// Path = "<" [ A-d-l ":" ] Mailbox ">"
/// ```
///
/// The route is read and dropped: it "SHOULD be ignored" (RFC 5321 appendix C).
fn path(input: &[u8], beyond: Beyond) -> IResult<&[u8], Mailbox<'_>> {
    let route = opt(terminated(|input| a_d_l(input, beyond), char(':')));
    let mailbox = preceded(route, |input| mailbox(input, beyond));
    let (rest, found) = delimited(char('<'), mailbox, char('>')).parse(input)?;
    if input.len() - rest.len() > PATH_OCTETS_MAX {
        return Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::TooLarge)));
    }
    Ok((rest, found))
}

/// ```abnf
/// A-d-l     = At-domain *( "," At-domain )
/// At-domain = "@" Domain
/// ```
fn a_d_l(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let at_domain = |input| preceded(char('@'), |input| domain(input, beyond)).parse(input);
    recognize(pair(at_domain, many0_count(preceded(char(','), at_domain)))).parse(input)
}

/// ```abnf
/// Mailbox = Local-part "@" ( Domain / address-literal )
/// ```
fn mailbox(input: &[u8], beyond: Beyond) -> IResult<&[u8], Mailbox<'_>> {
    let name = map(|input| domain(input, beyond), |octets| Domain::Name(text(octets)));
    let literal = map(address_literal, |octets| Domain::Literal(text(octets)));
    let (rest, (local, _, domain)) =
        (|input| local_part(input, beyond), char('@'), alt((name, literal))).parse(input)?;
    Ok((rest, Mailbox { local_part: text(local), domain }))
}

/// ```abnf
/// Local-part = Dot-string / Quoted-string
/// ```
fn local_part(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let string = alt((|input| dot_string(input, beyond), |input| quoted_string(input, beyond)));
    verify(string, |octets: &[u8]| octets.len() <= LOCAL_PART_OCTETS_MAX).parse(input)
}

/// ```abnf
/// Dot-string = Atom *("." Atom)
/// ```
fn dot_string(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let atom = |input| atom(input, beyond);
    recognize(pair(atom, many0_count(preceded(char('.'), atom)))).parse(input)
}

/// ```abnf
/// Atom  = 1*atext
/// atext = ALPHA / DIGIT / "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "/" / "=" / "?" / "^" / "_" / "`" / "{" / "|" / "}" / "~"
/// atext =/ UTF8-non-ascii
/// ```
pub(crate) fn atom(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    take_while1(|octet| octet_is(octet, ATEXT | (beyond.0 & UTF8))).parse(input)
}

/// ```abnf
/// Quoted-string = DQUOTE *QcontentSMTP DQUOTE
/// QcontentSMTP  = qtextSMTP / quoted-pairSMTP
/// ```
fn quoted_string(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let content = many0_count(alt((|input| qtext_smtp(input, beyond), quoted_pair_smtp)));
    recognize(delimited(char('"'), content, char('"'))).parse(input)
}

/// ```abnf
/// qtextSMTP =  %d32-33 / %d35-91 / %d93-126
/// qtextSMTP =/ UTF8-non-ascii
/// ```
fn qtext_smtp(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let utf8 = beyond.0 & UTF8;
    take_while1(|octet| matches!(octet, 32..=33 | 35..=91 | 93..=126) || octet_is(octet, utf8)).parse(input)
}

/// ```abnf
/// quoted-pairSMTP = %d92 %d32-126
/// ```
fn quoted_pair_smtp(input: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(pair(char('\\'), take_while_m_n(1, 1, |octet| matches!(octet, 32..=126)))).parse(input)
}

/// ```abnf
/// Domain = sub-domain *("." sub-domain)
/// ```
pub(crate) fn domain(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let label = |input| sub_domain(input, beyond);
    let name = recognize(pair(label, many0_count(preceded(char('.'), label))));
    verify(name, |octets: &[u8]| octets.len() <= DOMAIN_OCTETS_MAX).parse(input)
}

/// ```abnf
/// sub-domain = Let-dig [Ldh-str]
/// Let-dig    = ALPHA / DIGIT
/// Ldh-str    = *( ALPHA / DIGIT / "-" ) Let-dig
/// sub-domain =/ U-label
/// ```
///
/// Whether a label is one of IDNA's is not looked at.
fn sub_domain(input: &[u8], beyond: Beyond) -> IResult<&[u8], &[u8]> {
    let label = take_while1(|octet| octet_is(octet, LDH | beyond.0));
    verify(label, |octets: &[u8]| octets.first() != Some(&b'-') && octets.last() != Some(&b'-')).parse(input)
}

/// ```abnf
/// address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
/// ```
///
/// Stricter: of the tags that a General-address-literal may bear none was ever registered, so there is no such literal.
pub(crate) fn address_literal(input: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(delimited(char('['), alt((ipv6_address_literal, ipv4_address_literal)), char(']'))).parse(input)
}

/// ```abnf
/// IPv4-address-literal = Snum 3("." Snum)
/// Snum                 = 1*3DIGIT
/// ```
///
/// Stricter: a leading zero is refused, because half the world reads it as octal.
fn ipv4_address_literal(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let digits = take_while_m_n(7, 15, |octet: u8| octet.is_ascii_digit() || octet == b'.');
    verify(digits, |octets: &[u8]| text(octets).parse::<Ipv4Addr>().is_ok()).parse(input)
}

/// ```abnf
/// IPv6-address-literal = "IPv6:" IPv6-addr
/// ```
fn ipv6_address_literal(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let digits = take_while_m_n(2, 45, |octet: u8| octet.is_ascii_hexdigit() || octet == b':' || octet == b'.');
    let address = verify(digits, |octets: &[u8]| text(octets).parse::<Ipv6Addr>().is_ok());
    preceded(tag_no_case("IPv6:"), address).parse(input)
}

/// Octets that a rule has matched: they are ASCII, or UTF-8 throughout, so that the text is never empty by mistake.
pub(crate) fn text(octets: &[u8]) -> &str {
    debug_assert!(str::from_utf8(octets).is_ok());
    str::from_utf8(octets).unwrap_or_default()
}

fn octet_is(octet: u8, class: u8) -> bool {
    CLASSES[usize::from(octet)] & class != 0
}

const ATEXT: u8 = 1;
const LDH: u8 = 2;
const UNDERSCORE: u8 = 4;
const UTF8: u8 = 8;

/// The classes of each octet; a table because these loops are where parsing spends its time.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0u8;
    while octet < 128 {
        if octet.is_ascii_alphanumeric() {
            classes[octet as usize] = ATEXT | LDH;
        }
        octet += 1;
    }
    let specials = b"!#$%&'*+-/=?^_`{|}~";
    let mut at = 0;
    while at < specials.len() {
        classes[specials[at] as usize] |= ATEXT;
        at += 1;
    }
    classes[b'-' as usize] |= LDH;
    classes[b'_' as usize] |= UNDERSCORE;
    let mut octet = 128;
    while octet < 256 {
        classes[octet] = UTF8;
        octet += 1;
    }
    classes
};

#[cfg(test)]
mod tests;
