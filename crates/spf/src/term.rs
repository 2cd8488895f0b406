//! The grammar of one term: directive or modifier, one function per ABNF rule (RFC 7208 §4.6.1, §5, §6, §12).
//!
//! Given printable ASCII without spaces. Names are case-insensitive.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::macros::{DomainSpec, MacroString, Place};
use crate::record::{DualCidr, Mechanism, Qualifier};

/// `directive / modifier`
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Directive(Qualifier, Mechanism),
    Redirect(DomainSpec),
    Explanation(DomainSpec),
    UnknownModifier,
}

/// A modifier has a `=` behind its name, before any `:` or `/` (§4.6.1).
pub(crate) fn parse(text: &str) -> Result<Term, &'static str> {
    match text.find(['=', ':', '/']) {
        Some(at) if text[at..].starts_with('=') => modifier(&text[..at], &text[at + 1..]),
        _ => directive(text),
    }
}

/// ```abnf
/// modifier         = redirect / explanation / unknown-modifier
/// redirect         = "redirect" "=" domain-spec
/// explanation      = "exp" "=" domain-spec
/// unknown-modifier = name "=" macro-string
/// name             = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." )
/// ```
fn modifier(name: &str, value: &str) -> Result<Term, &'static str> {
    if name.eq_ignore_ascii_case("redirect") {
        return Ok(Term::Redirect(DomainSpec::parse(value)?));
    }
    if name.eq_ignore_ascii_case("exp") {
        return Ok(Term::Explanation(DomainSpec::parse(value)?));
    }
    let octets = name.as_bytes();
    let name_is_valid = octets.first().is_some_and(u8::is_ascii_alphabetic)
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(octet));
    if !name_is_valid {
        return Err("invalid modifier name");
    }
    MacroString::parse(value, Place::Term)?;
    Ok(Term::UnknownModifier)
}

/// ```abnf
/// directive = [ qualifier ] mechanism
/// qualifier = "+" / "-" / "?" / "~"
/// ```
fn directive(text: &str) -> Result<Term, &'static str> {
    let qualifier = match text.as_bytes().first() {
        Some(b'-') => Qualifier::Fail,
        Some(b'~') => Qualifier::SoftFail,
        Some(b'?') => Qualifier::Neutral,
        _ => Qualifier::Pass,
    };
    let mechanism_text = text.strip_prefix(['+', '-', '?', '~']).unwrap_or(text);
    Ok(Term::Directive(qualifier, mechanism(mechanism_text)?))
}

/// `mechanism = ( all / include / a / mx / ptr / ip4 / ip6 / exists )`
fn mechanism(text: &str) -> Result<Mechanism, &'static str> {
    let (name, arguments) = text.split_at(text.find([':', '/']).unwrap_or(text.len()));
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if is("ip4") {
        ip4(arguments)
    } else if is("ip6") {
        ip6(arguments)
    } else if is("include") {
        Ok(Mechanism::Include(required_domain_spec(arguments)?))
    } else if is("a") {
        domain_spec_and_cidr(arguments).map(|(spec, cidr)| Mechanism::A(spec, cidr))
    } else if is("mx") {
        domain_spec_and_cidr(arguments).map(|(spec, cidr)| Mechanism::Mx(spec, cidr))
    } else if is("all") {
        if arguments.is_empty() { Ok(Mechanism::All) } else { Err("all takes no argument") }
    } else if is("exists") {
        Ok(Mechanism::Exists(required_domain_spec(arguments)?))
    } else if is("ptr") {
        Ok(Mechanism::Ptr(optional_domain_spec(arguments)?))
    } else {
        Err("unknown mechanism")
    }
}

/// ```abnf
/// ip4         = "ip4" ":" ip4-network [ ip4-cidr-length ]
/// ip4-network = qnum "." qnum "." qnum "." qnum
/// ```
fn ip4(arguments: &str) -> Result<Mechanism, &'static str> {
    let (network, length) = network_and_length(arguments, 32)?;
    let network: Ipv4Addr = network.parse().map_err(|_| "invalid ip4 network")?;
    Ok(Mechanism::Ip4(network, length))
}

/// ```abnf
/// ip6         = "ip6" ":" ip6-network [ ip6-cidr-length ]
/// ip6-network = <as per Section 2.2 of RFC 4291>
/// ```
fn ip6(arguments: &str) -> Result<Mechanism, &'static str> {
    let (network, length) = network_and_length(arguments, 128)?;
    let network: Ipv6Addr = network.parse().map_err(|_| "invalid ip6 network")?;
    Ok(Mechanism::Ip6(network, length))
}

fn network_and_length(arguments: &str, length_max: u8) -> Result<(&str, u8), &'static str> {
    let text = arguments.strip_prefix(':').ok_or("network is missing")?;
    match text.split_once('/') {
        Some((network, length)) => Ok((network, cidr_length(length, length_max)?)),
        None => Ok((text, length_max)),
    }
}

/// `":" domain-spec`
fn required_domain_spec(arguments: &str) -> Result<DomainSpec, &'static str> {
    DomainSpec::parse(arguments.strip_prefix(':').ok_or("domain-spec is missing")?)
}

/// `[ ":" domain-spec ]`
fn optional_domain_spec(arguments: &str) -> Result<Option<DomainSpec>, &'static str> {
    if arguments.is_empty() { Ok(None) } else { required_domain_spec(arguments).map(Some) }
}

/// ```abnf
/// [ ":" domain-spec ] [ dual-cidr-length ]
/// dual-cidr-length = [ ip4-cidr-length ] [ "/" ip6-cidr-length ]
/// ```
/// A slash may be part of the domain-spec, but neither a top label nor a macro ends in a slash and digits: if the text
/// does, these are prefix lengths.
fn domain_spec_and_cidr(arguments: &str) -> Result<(Option<DomainSpec>, DualCidr), &'static str> {
    let mut cidr = DualCidr::FULL;
    let mut text = arguments;
    if let Some((before, digits)) = text.rsplit_once("//").filter(|(_, digits)| is_number(digits)) {
        (text, cidr.ip6) = (before, cidr_length(digits, 128)?);
    }
    if let Some((before, digits)) = text.rsplit_once('/').filter(|(_, digits)| is_number(digits)) {
        (text, cidr.ip4) = (before, cidr_length(digits, 32)?);
    }
    Ok((optional_domain_spec(text)?, cidr))
}

/// ```abnf
/// ip4-cidr-length = "/" ("0" / %x31-39 0*1DIGIT) ; value range 0-32
/// ip6-cidr-length = "/" ("0" / %x31-39 0*2DIGIT) ; value range 0-128
/// ```
fn cidr_length(digits: &str, max: u8) -> Result<u8, &'static str> {
    let well_formed = is_number(digits) && (digits == "0" || !digits.starts_with('0'));
    let length = digits.parse::<u8>().ok().filter(|length| well_formed && *length <= max);
    length.ok_or("invalid prefix length")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainSpec {
        DomainSpec::Name(text.into())
    }

    fn pass(mechanism: Mechanism) -> Term {
        Term::Directive(Qualifier::Pass, mechanism)
    }

    #[test]
    fn terms() {
        let cidr = |ip4, ip6| DualCidr { ip4, ip6 };
        let net4 = Ipv4Addr::new(192, 0, 2, 1);
        for (text, want) in [
            ("all", pass(Mechanism::All)),
            ("+ALL", pass(Mechanism::All)),
            ("-all", Term::Directive(Qualifier::Fail, Mechanism::All)),
            ("~aLL", Term::Directive(Qualifier::SoftFail, Mechanism::All)),
            ("?all", Term::Directive(Qualifier::Neutral, Mechanism::All)),
            ("include:example.org", pass(Mechanism::Include(name("example.org")))),
            ("a", pass(Mechanism::A(None, DualCidr::FULL))),
            ("A/0", pass(Mechanism::A(None, cidr(0, 128)))),
            ("a//0", pass(Mechanism::A(None, cidr(32, 0)))),
            ("a/24//64", pass(Mechanism::A(None, cidr(24, 64)))),
            ("a:b.org", pass(Mechanism::A(Some(name("b.org")), DualCidr::FULL))),
            ("a:b.org/32//128", pass(Mechanism::A(Some(name("b.org")), DualCidr::FULL))),
            ("a:b.org//1", pass(Mechanism::A(Some(name("b.org")), cidr(32, 1)))),
            ("mx:c/24//3.b.org/9", pass(Mechanism::Mx(Some(name("c/24//3.b.org")), cidr(9, 128)))),
            ("mx", pass(Mechanism::Mx(None, DualCidr::FULL))),
            ("mx:a=b.org", pass(Mechanism::Mx(Some(name("a=b.org")), DualCidr::FULL))),
            ("ptr", pass(Mechanism::Ptr(None))),
            ("ptr:b.org", pass(Mechanism::Ptr(Some(name("b.org"))))),
            ("ip4:192.0.2.1", pass(Mechanism::Ip4(net4, 32))),
            ("ip4:192.0.2.1/0", pass(Mechanism::Ip4(net4, 0))),
            ("IP6:2001:DB8::/32", pass(Mechanism::Ip6("2001:db8::".parse().unwrap(), 32))),
            ("ip6:::1.1.1.1", pass(Mechanism::Ip6("::1.1.1.1".parse().unwrap(), 128))),
            ("exists:b.org", pass(Mechanism::Exists(name("b.org")))),
            ("exists:b%%.org", pass(Mechanism::Exists(name("b%.org")))),
            ("redirect=b.org", Term::Redirect(name("b.org"))),
            ("Exp=b.org", Term::Explanation(name("b.org"))),
            ("x=", Term::UnknownModifier),
            ("a=b", Term::UnknownModifier),
            ("moo.cow-far_out=man:dog/cat", Term::UnknownModifier),
            ("x=%{d}%%=", Term::UnknownModifier),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&want), "{text}");
        }
    }

    #[test]
    fn faults() {
        for text in [
            "moo",
            "+",
            "-",
            "++all",
            "all:",
            "all/8",
            "all.",
            "include",
            "include:",
            "include/24",
            "include:a.org/24",
            "a:",
            "a/",
            "a//",
            "a/33",
            "a//129",
            "a/24/64",
            "a///64",
            "a/-1",
            "a/+1",
            "a/024",
            "a//064",
            "a:b.org/",
            "a:b.org/24/64",
            "a:b.org//64/24",
            "a:b.org/33",
            "a:b.org//129",
            "a:b.org/4294967320",
            "a:museum",
            "a:192.0.2.1",
            "a:192.0.2.1/24",
            "mx:",
            "mx:b.org:25",
            "ptr:",
            "ptr/0",
            "ptr:b.org/24",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.4.5",
            "ip4:1.2.3.256",
            "ip4:1.2.3.04",
            "ip4:1.2.3.4:25",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4/032",
            "ip4:1.2.3.4//32",
            "ip4:::1",
            "ip4/8",
            "ip4:%{i}",
            "ip6",
            "ip6:",
            "ip6:1.2.3.4",
            "ip6::1::2",
            "ip6:::1/129",
            "ip6:::1//64",
            "ip6:fe80::1%eth0",
            "ip6:[::1]",
            "ip6:::1/",
            "exists",
            "exists:",
            "exists/24",
            "exists:b.org/24",
            "redirect:b.org",
            "redirect=",
            "redirect=-all",
            "exp=",
            "exp=-all",
            "exp:b.org",
            "-exp=b.org",
            "=all",
            "1up=foo",
            "a b=c",
            "x%=y",
            "x=%abc",
            "x=%{c}",
            "x=%",
            "moo.cow/far_out=man:dog/cat",
            "moo:cow=man",
            "v\u{e9}=x",
            "%{d}",
            "a.b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
