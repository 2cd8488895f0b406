//! Records as their owner should write them: with one more mechanism, without what is wrong, several made one.
//!
//! Works on the text, so that the owner finds his own words again. Whether the outcome says what it should is for [`check_host`](crate::check_host) to tell.

use crate::record::is_spf1;
use crate::term::{self, Term};

/// Where a mechanism goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before `all`; without one before `redirect=`; else at the end.
    BeforeAll,
    /// Before everything else: needed where an earlier term decides or cannot be evaluated.
    First,
}

/// A term that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultyTerm {
    /// As published.
    pub term: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The records among the TXT records of a name that are meant as SPF (RFC 7208 §4.5); octets that are not UTF-8 are replaced.
#[must_use]
pub fn spf_records(records: &[Vec<u8>]) -> Vec<String> {
    let selected = records.iter().filter(|record| is_spf1(record));
    selected.map(|record| String::from_utf8_lossy(record).into_owned()).collect()
}

/// `record` with `mechanism` at `place`.
#[must_use]
pub fn amended(record: &str, mechanism: &str, place: Place) -> String {
    let mut terms: Vec<&str> = terms(record).collect();
    let at = match place {
        Place::First => 0,
        Place::BeforeAll => {
            let last =
                terms.iter().position(|term| is_all(term)).or_else(|| terms.iter().position(|term| is_redirect(term)));
            last.unwrap_or(terms.len())
        }
    };
    terms.insert(at, mechanism);
    written(&terms)
}

/// `record` without the terms that make it a permerror (RFC 7208 §4.6), and these.
#[must_use]
pub fn without_faulty_terms(record: &str) -> (String, Vec<FaultyTerm>) {
    let (mut kept, mut faulty) = (Vec::new(), Vec::new());
    let (mut redirects, mut explanations) = (0, 0);
    for term in terms(record) {
        let reason = match term::parse(term) {
            _ if !term.bytes().all(|octet| octet.is_ascii_graphic()) => Some("an octet that is not printable ASCII"),
            Err(reason) => Some(reason),
            Ok(Term::Redirect(_)) => repeated(&mut redirects, "redirect= more than once"),
            Ok(Term::Explanation(_)) => repeated(&mut explanations, "exp= more than once"),
            Ok(Term::Directive(..) | Term::UnknownModifier) => None,
        };
        match reason {
            Some(reason) => faulty.push(FaultyTerm { term: term.to_owned(), reason }),
            None => kept.push(term),
        }
    }
    (written(&kept), faulty)
}

/// One record with the terms of all of them, each once; of several `all` or `redirect=` the first.
#[must_use]
pub fn merged(records: &[String]) -> String {
    let (mut mechanisms, mut last): (Vec<&str>, Option<&str>) = (Vec::new(), None);
    for term in records.iter().flat_map(|record| terms(record)) {
        if is_all(term) || is_redirect(term) {
            last = Some(last.filter(|last| is_all(last) || is_redirect(term)).unwrap_or(term));
        } else if !mechanisms.iter().any(|known| known.eq_ignore_ascii_case(term)) {
            mechanisms.push(term);
        }
    }
    mechanisms.extend(last);
    written(&mechanisms)
}

fn terms(record: &str) -> impl Iterator<Item = &str> {
    record.get(VERSION.len()..).unwrap_or_default().split(' ').filter(|term| !term.is_empty())
}

fn written(terms: &[&str]) -> String {
    let mut record = VERSION.to_owned();
    for term in terms {
        record.push(' ');
        record.push_str(term);
    }
    record
}

fn repeated(seen: &mut u8, reason: &'static str) -> Option<&'static str> {
    *seen = seen.saturating_add(1);
    (*seen > 1).then_some(reason)
}

fn is_all(term: &str) -> bool {
    term.strip_prefix(['+', '-', '?', '~']).unwrap_or(term).eq_ignore_ascii_case("all")
}

fn is_redirect(term: &str) -> bool {
    term.split_at_checked(REDIRECT.len()).is_some_and(|(name, _)| name.eq_ignore_ascii_case(REDIRECT))
}

const VERSION: &str = "v=spf1";
const REDIRECT: &str = "redirect=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_mechanism_goes() {
        for (record, before_all, first) in [
            ("v=spf1", "v=spf1 ip6:::1", "v=spf1 ip6:::1"),
            ("V=SPF1 -all", "v=spf1 ip6:::1 -all", "v=spf1 ip6:::1 -all"),
            (
                "v=spf1  a  ~ALL exp=x.example",
                "v=spf1 a ip6:::1 ~ALL exp=x.example",
                "v=spf1 ip6:::1 a ~ALL exp=x.example",
            ),
            (
                "v=spf1 mx redirect=x.example",
                "v=spf1 mx ip6:::1 redirect=x.example",
                "v=spf1 ip6:::1 mx redirect=x.example",
            ),
            (
                "v=spf1 redirect=x.example -all",
                "v=spf1 redirect=x.example ip6:::1 -all",
                "v=spf1 ip6:::1 redirect=x.example -all",
            ),
            ("v=spf1 include:all", "v=spf1 include:all ip6:::1", "v=spf1 ip6:::1 include:all"),
        ] {
            assert_eq!(amended(record, "ip6:::1", Place::BeforeAll), before_all, "{record}");
            assert_eq!(amended(record, "ip6:::1", Place::First), first, "{record}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_record() {
        for (record, kept, faulty) in [
            ("v=spf1 a -all", "v=spf1 a -all", &[][..]),
            ("v=spf1 ipv6:::1 -all", "v=spf1 -all", &[("ipv6:::1", "unknown mechanism")]),
            ("v=spf1 all: ip6:x a", "v=spf1 a", &[("all:", "all takes no argument"), ("ip6:x", "invalid ip6 network")]),
            (
                "v=spf1 redirect=a.example redirect=b.example",
                "v=spf1 redirect=a.example",
                &[("redirect=b.example", "redirect= more than once")],
            ),
            ("v=spf1 a\tb -all", "v=spf1 -all", &[("a\tb", "an octet that is not printable ASCII")]),
        ] {
            let (left, found) = without_faulty_terms(record);
            let found: Vec<_> = found.iter().map(|fault| (fault.term.as_str(), fault.reason)).collect();
            assert_eq!((left.as_str(), found.as_slice()), (kept, faulty), "{record}");
        }
    }

    #[test]
    fn several_made_one() {
        for (records, one) in [
            (&["v=spf1 a -all", "v=spf1 mx a ~all"][..], "v=spf1 a mx -all"),
            (&["v=spf1 redirect=x.example", "v=spf1 ip6:::1 -all"], "v=spf1 ip6:::1 -all"),
            (&["v=spf1 -all", "v=spf1 redirect=x.example"], "v=spf1 -all"),
            (&["v=spf1", "v=spf1"], "v=spf1"),
        ] {
            let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
            assert_eq!(merged(&records), one, "{records:?}");
        }
    }

    #[test]
    fn which_records_are_meant() {
        let records = [&b"v=spf1 a"[..], b"v=spf10", b"v=DMARC1", b"V=spf1"].map(<[u8]>::to_vec);
        assert_eq!(spf_records(&records), ["v=spf1 a", "V=spf1"]);
    }
}
