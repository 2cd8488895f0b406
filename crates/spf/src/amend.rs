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

/// Several records made one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The one record.
    pub record: String,
    /// How the records end, each way once: `-all`, `redirect=…`, or empty where a record says nothing.
    pub ends: Vec<String>,
}

/// One record with the terms of all of them, each once. It is never stricter than one of them: it ends as the mildest does, as far as `?all`, and a `redirect=` beside
/// another end becomes an `include:`, whose own end is then not known here.
#[must_use]
pub fn merged(records: &[String]) -> Merged {
    let (mut mechanisms, mut ends): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut redirects: Vec<&str> = Vec::new();
    for record in records {
        let all = terms(record).position(is_all);
        let reached = || terms(record).take(all.unwrap_or(usize::MAX));
        let redirect = reached().find(|term| is_redirect(term)).filter(|_| all.is_none());
        redirects.extend(redirect);
        let end = all.and_then(|at| terms(record).nth(at)).or(redirect).unwrap_or_default();
        push_once(&mut ends, end);
        reached().filter(|term| !is_redirect(term)).for_each(|term| push_once(&mut mechanisms, term));
    }
    match ends.as_slice() {
        [same] => mechanisms.extend((!same.is_empty()).then(|| same.clone())),
        _ => {
            for redirect in redirects {
                push_once(&mut mechanisms, &format!("include:{}", &redirect[REDIRECT.len()..]));
            }
            let mildest = ends.iter().map(|end| mildness(end)).max().unwrap_or_default();
            mechanisms.push(ENDS[mildest].to_owned());
        }
    }
    let mechanisms: Vec<&str> = mechanisms.iter().map(String::as_str).collect();
    Merged { record: written(&mechanisms), ends }
}

/// `record` without those terms.
#[must_use]
pub fn without_terms(record: &str, unwanted: &[String]) -> String {
    let is_wanted = |term: &&str| !unwanted.iter().any(|unwanted| unwanted.eq_ignore_ascii_case(term));
    written(&terms(record).filter(is_wanted).collect::<Vec<_>>())
}

/// The terms of `record` that ask DNS, as published, those behind `all` left out (RFC 7208 §4.6.4).
#[must_use]
pub fn lookup_terms(record: &str) -> Vec<String> {
    let has_all = terms(record).any(is_all);
    let reached = terms(record).take_while(|term| !is_all(term));
    let asks_dns = |term: &&str| match term::parse(term) {
        Ok(Term::Directive(_, mechanism)) => mechanism.asks_dns(),
        Ok(Term::Redirect(_)) => !has_all,
        _ => false,
    };
    reached.filter(asks_dns).map(str::to_owned).collect()
}

fn push_once(terms: &mut Vec<String>, term: &str) {
    if !terms.iter().any(|known| known.eq_ignore_ascii_case(term)) {
        terms.push(term.to_owned());
    }
}

/// The index in [`ENDS`] of an end that is not stricter. Nothing is neutral (RFC 7208 §4.7), and what is redirected to is unknown.
fn mildness(end: &str) -> usize {
    match end.as_bytes().first() {
        Some(b'-') => 0,
        Some(b'~') => 1,
        _ => 2,
    }
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

/// The strictest first. `+all` is not among them: it lets everybody pass, which nobody should be told to publish.
const ENDS: [&str; 3] = ["-all", "~all", "?all"];
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
        for (records, one, ends) in [
            (&["v=spf1 a -all", "v=spf1 mx a ~all"][..], "v=spf1 a mx ~all", &["-all", "~all"][..]),
            (&["v=spf1 a ~all", "v=spf1 mx -all"], "v=spf1 a mx ~all", &["~all", "-all"]),
            (&["v=spf1 a -all", "v=spf1 mx -ALL"], "v=spf1 a mx -all", &["-all"]),
            (&["v=spf1 a -all", "v=spf1 mx"], "v=spf1 a mx ?all", &["-all", ""]),
            (&["v=spf1 a -all", "v=spf1 mx +all"], "v=spf1 a mx ?all", &["-all", "+all"]),
            (
                &["v=spf1 redirect=x.example", "v=spf1 ip6:::1 -all"],
                "v=spf1 ip6:::1 include:x.example ?all",
                &["redirect=x.example", "-all"],
            ),
            (
                &["v=spf1 a redirect=x.example", "v=spf1 redirect=X.example"],
                "v=spf1 a redirect=x.example",
                &["redirect=x.example"],
            ),
            (
                &["v=spf1 redirect=x.example", "v=spf1 redirect=y.example"],
                "v=spf1 include:x.example include:y.example ?all",
                &["redirect=x.example", "redirect=y.example"],
            ),
            // What stands behind `all` counts for nothing, and must not begin to.
            (&["v=spf1 -all ip6:::1 redirect=x.example", "v=spf1 a -all"], "v=spf1 a -all", &["-all"]),
            (&["v=spf1", "v=spf1"], "v=spf1", &[""]),
        ] {
            let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
            let merged = merged(&records);
            assert_eq!((merged.record.as_str(), merged.ends), (one, owned(ends)), "{records:?}");
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn terms_that_ask() {
        for (record, asking) in [
            ("v=spf1 a ip6:::1 -mx:x.example include:y.example -all", &["a", "-mx:x.example", "include:y.example"][..]),
            ("v=spf1 ptr redirect=x.example", &["ptr", "redirect=x.example"]),
            ("v=spf1 exists:%{i}.x.example all a redirect=x.example", &["exists:%{i}.x.example"]),
            ("v=spf1 broken: exp=x.example", &[]),
        ] {
            assert_eq!(lookup_terms(record), owned(asking), "{record}");
        }
        let record = "v=spf1 a:x.example mx A:X.example -all";
        assert_eq!(without_terms(record, &owned(&["a:x.example"])), "v=spf1 mx -all");
    }

    #[test]
    fn which_records_are_meant() {
        let records = [&b"v=spf1 a"[..], b"v=spf10", b"v=DMARC1", b"V=spf1"].map(<[u8]>::to_vec);
        assert_eq!(spf_records(&records), ["v=spf1 a", "V=spf1"]);
    }
}
