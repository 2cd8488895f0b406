//! SPF records as they are cached: selected (RFC 7208 §4.5) and parsed whole (§4.6), once.
//!
//! A [`Record`] keeps what can ever be reached: nothing behind `all`, and of the terms that ask DNS one more than the
//! limit allows. Syntax is checked to the end nevertheless.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::limits::{LOOKUPS_MAX, RECORD_OCTETS_MAX};
use crate::macros::{DomainSpec, is_printable};
use crate::request::SpfResult;
use crate::term::{self, Term};

/// What the TXT records of a name say about SPF.
#[derive(Debug, PartialEq, Eq)]
pub enum SpfTxt {
    /// No record begins with the version section `v=spf1`.
    None,
    /// The one record.
    Record(Box<Record>),
    /// More than one record, or one with a syntax error; with the reason.
    PermError(&'static str),
}

impl SpfTxt {
    /// Octets of memory, for a cache that is bound by weight.
    #[must_use]
    pub fn weight_octets(&self) -> u32 {
        let heap = match self {
            SpfTxt::Record(record) => record.heap_octets(),
            SpfTxt::None | SpfTxt::PermError(_) => 0,
        };
        u32::try_from(size_of::<SpfTxt>() + heap).unwrap_or(u32::MAX)
    }
}

/// A parsed SPF record.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    text: Box<str>,
    directives: Box<[Directive]>,
    redirect: Option<DomainSpec>,
    explanation: Option<DomainSpec>,
}

impl Record {
    /// The record as published.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// The directive at `index` as published, for example `~include:example.org`.
    pub(crate) fn directive_text(&self, index: usize) -> &str {
        let Some(directive) = self.directives.get(index) else { return "" };
        &self.text[usize::from(directive.text.start)..usize::from(directive.text.end)]
    }

    /// `None` also when it cannot be reached because of an `all`.
    pub(crate) fn redirect(&self) -> Option<&DomainSpec> {
        self.redirect.as_ref()
    }

    pub(crate) fn explanation(&self) -> Option<&DomainSpec> {
        self.explanation.as_ref()
    }

    fn heap_octets(&self) -> usize {
        let specs = self.directives.iter().filter_map(|directive| directive.mechanism.domain_spec());
        let modifiers = self.redirect.iter().chain(&self.explanation);
        let specs_octets: usize = specs.chain(modifiers).map(DomainSpec::heap_octets).sum();
        size_of::<Record>() + self.text.len() + size_of_val(&*self.directives) + specs_octets
    }
}

/// `directive = [ qualifier ] mechanism` (§4.6.1)
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) qualifier: Qualifier,
    pub(crate) mechanism: Mechanism,
    /// Terms behind this one in the record that ask DNS, its redirect included.
    pub(crate) lookups_after: u8,
    text: Range<u16>,
}

/// `qualifier = "+" / "-" / "?" / "~"`: the result of a match (§4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

impl Qualifier {
    pub(crate) fn result(self) -> SpfResult {
        match self {
            Qualifier::Pass => SpfResult::Pass,
            Qualifier::Fail => SpfResult::Fail,
            Qualifier::SoftFail => SpfResult::SoftFail,
            Qualifier::Neutral => SpfResult::Neutral,
        }
    }
}

/// The mechanisms of §5.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    All,
    Include(DomainSpec),
    A(Option<DomainSpec>, DualCidr),
    Mx(Option<DomainSpec>, DualCidr),
    Ptr(Option<DomainSpec>),
    /// Prefix length 0–32.
    Ip4(Ipv4Addr, u8),
    /// Prefix length 0–128.
    Ip6(Ipv6Addr, u8),
    Exists(DomainSpec),
}

impl Mechanism {
    /// Whether it counts as a lookup (§4.6.4).
    pub(crate) fn asks_dns(&self) -> bool {
        !matches!(self, Mechanism::All | Mechanism::Ip4(..) | Mechanism::Ip6(..))
    }

    fn domain_spec(&self) -> Option<&DomainSpec> {
        match self {
            Mechanism::Include(spec) | Mechanism::Exists(spec) => Some(spec),
            Mechanism::A(spec, _) | Mechanism::Mx(spec, _) | Mechanism::Ptr(spec) => spec.as_ref(),
            Mechanism::All | Mechanism::Ip4(..) | Mechanism::Ip6(..) => None,
        }
    }
}

/// `dual-cidr-length = [ ip4-cidr-length ] [ "/" ip6-cidr-length ]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DualCidr {
    /// 0–32.
    pub(crate) ip4: u8,
    /// 0–128.
    pub(crate) ip6: u8,
}

impl DualCidr {
    /// Nothing given: whole addresses.
    pub(crate) const FULL: DualCidr = DualCidr { ip4: 32, ip6: 128 };
}

/// Selects the SPF record among the TXT records of a name (RFC 7208 §4.5) and parses it (§4.6). `records` has one entry
/// a TXT record, its strings joined without anything between them (§3.3).
#[must_use]
pub fn parse_txt(records: &[Vec<u8>]) -> SpfTxt {
    let mut selected = records.iter().filter(|record| is_spf1(record));
    match (selected.next(), selected.next()) {
        (None, _) => SpfTxt::None,
        (Some(_), Some(_)) => SpfTxt::PermError("more than one SPF record"),
        (Some(record), None) => match parse_record(record) {
            Ok(record) => SpfTxt::Record(Box::new(record)),
            Err(reason) => SpfTxt::PermError(reason),
        },
    }
}

/// `version = "v=spf1"`, and then a space or the end.
pub(crate) fn is_spf1(record: &[u8]) -> bool {
    record.split_at_checked(VERSION.len()).is_some_and(|(version, rest)| {
        version.eq_ignore_ascii_case(VERSION) && rest.first().is_none_or(|octet| *octet == b' ')
    })
}

/// ```abnf
/// record = version terms *SP
/// terms  = *( 1*SP ( directive / modifier ) )
/// ```
fn parse_record(record: &[u8]) -> Result<Record, &'static str> {
    if record.len() > RECORD_OCTETS_MAX {
        return Err("record is too long");
    }
    let text = std::str::from_utf8(record).ok().filter(|text| text.bytes().all(is_printable));
    let text = text.ok_or("record contains an octet that is not printable ASCII")?;
    let mut terms = Terms::default();
    let mut start = VERSION.len();
    for part in text[VERSION.len()..].split(' ') {
        if !part.is_empty() {
            terms.push(term::parse(part)?, start..start + part.len())?;
        }
        start += part.len() + 1;
    }
    Ok(terms.into_record(text))
}

/// The terms of a record so far.
#[derive(Default)]
struct Terms {
    directives: Vec<Directive>,
    /// Terms that ask DNS.
    lookups: u8,
    /// No later directive can be reached.
    closed: bool,
    has_all: bool,
    redirect: Option<DomainSpec>,
    explanation: Option<DomainSpec>,
}

impl Terms {
    fn push(&mut self, term: Term, text: Range<usize>) -> Result<(), &'static str> {
        match term {
            Term::Directive(qualifier, mechanism) => self.push_directive(qualifier, mechanism, text),
            Term::Redirect(spec) if self.redirect.is_none() => self.redirect = Some(spec),
            Term::Explanation(spec) if self.explanation.is_none() => self.explanation = Some(spec),
            Term::Redirect(_) => return Err("redirect= more than once"),
            Term::Explanation(_) => return Err("exp= more than once"),
            Term::UnknownModifier => {}
        }
        Ok(())
    }

    fn push_directive(&mut self, qualifier: Qualifier, mechanism: Mechanism, text: Range<usize>) {
        self.has_all |= mechanism == Mechanism::All;
        if self.closed {
            return;
        }
        self.lookups += u8::from(mechanism.asks_dns());
        self.closed = self.has_all || self.lookups > LOOKUPS_MAX;
        // Offsets fit: a record has at most RECORD_OCTETS_MAX octets.
        let text = u16::try_from(text.start).unwrap_or(0)..u16::try_from(text.end).unwrap_or(0);
        self.directives.push(Directive { qualifier, mechanism, lookups_after: 0, text });
    }

    fn into_record(mut self, text: &str) -> Record {
        // "all" anywhere in the record: redirect is ignored (§6.1).
        let redirect = self.redirect.filter(|_| !self.has_all);
        let mut lookups_after = u8::from(redirect.is_some());
        for directive in self.directives.iter_mut().rev() {
            directive.lookups_after = lookups_after;
            lookups_after += u8::from(directive.mechanism.asks_dns());
        }
        Record { text: text.into(), directives: self.directives.into(), redirect, explanation: self.explanation }
    }
}

const VERSION: &[u8] = b"v=spf1";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SpfTxt {
        parse_txt(&[text.as_bytes().to_vec()])
    }

    fn record(text: &str) -> Box<Record> {
        match parse(text) {
            SpfTxt::Record(record) => record,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn selection() {
        let cases: &[(&[&[u8]], &str)] = &[
            (&[], "none"),
            (&[b""], "none"),
            (&[b"v=spf1"], "record"),
            (&[b"V=SPF1 -ALL"], "record"),
            (&[b"v=spf1 "], "record"),
            (&[b"v=spf10"], "none"),
            (&[b"v=spf1\t-all"], "none"),
            (&[b"v=spf1-all"], "none"),
            (&[b" v=spf1 -all"], "none"),
            (&[b"v=spf"], "none"),
            (&[b"v=spf2.0/mfrom -all", b"v=spf1 -all", b"\xff\x00"], "record"),
            (&[b"v=spf1 -all", b"v=spf1 -all"], "permerror"),
            (&[b"v=spf1", b"v=spf1 moo"], "permerror"),
            (&[b"v=spf1 -all \xe9"], "permerror"),
            (&[b"v=spf1 -all\0"], "permerror"),
            (&[b"v=spf1 -all\r"], "permerror"),
            (&[b"v=spf1 a\tmx"], "permerror"),
        ];
        for (records, want) in cases {
            let owned: Vec<Vec<u8>> = records.iter().map(|record| record.to_vec()).collect();
            let got = match parse_txt(&owned) {
                SpfTxt::None => "none",
                SpfTxt::Record(_) => "record",
                SpfTxt::PermError(_) => "permerror",
            };
            assert_eq!(got, *want, "{records:?}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_not_kept() {
        let long = format!("v=spf1{} ip4:192.0.2.1 -all", " a".repeat(1_000));
        for (text, kept, has_redirect) in [
            ("v=spf1 a mx redirect=example.org", 2, true),
            ("v=spf1 a -all mx redirect=example.org", 2, false),
            ("v=spf1 redirect=example.org ?all", 1, false),
            (&long, 11, false),
        ] {
            let record = record(text);
            assert_eq!((record.directives().len(), record.redirect().is_some()), (kept, has_redirect), "{text}");
        }
        assert!(matches!(parse("v=spf1 -all moo"), SpfTxt::PermError(_)));
        assert!(matches!(parse("v=spf1 redirect=a.org redirect=a.org"), SpfTxt::PermError(_)));
        assert!(matches!(parse("v=spf1 exp=a.org EXP=a.org"), SpfTxt::PermError(_)));
    }

    #[test]
    fn directives_know_their_text_and_what_follows() {
        let record = record("v=spf1  ip4:192.0.2.1   ~Include:example.org mx redirect=example.net exp=example.net  ");
        let got: Vec<(&str, u8)> = record
            .directives()
            .iter()
            .enumerate()
            .map(|(at, it)| (record.directive_text(at), it.lookups_after))
            .collect();
        assert_eq!(got, [("ip4:192.0.2.1", 3), ("~Include:example.org", 2), ("mx", 1)]);
    }

    #[test]
    fn weight_follows_size() {
        let small = parse("v=spf1 -all").weight_octets();
        assert!((64..512).contains(&small), "{small}");
        let longest = format!("v=spf1{}", " ip6:::".repeat(9_361));
        assert_eq!(longest.len(), 65_533);
        let weight = parse(&longest).weight_octets();
        assert!((65_533..1 << 20).contains(&weight), "{weight}");
        assert!(matches!(parse(&format!("{longest}   ")), SpfTxt::PermError("record is too long")));
        assert!(size_of::<Directive>() <= 48, "{}", size_of::<Directive>());
    }
}
