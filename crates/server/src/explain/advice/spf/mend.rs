//! The record that its owner should publish: the least change that lets the sending address pass, evaluated before it is shown.

use std::net::IpAddr;

use mx6_message_auth::SpfSurvey;
use mx6_spf::limits::{LOOKUPS_MAX, VOID_LOOKUPS_MAX};
use mx6_spf::{Merged, Place, SpfResult, amended, lookup_terms, merged, without_faulty_terms, without_terms};

use super::Case;

/// A record that lets the client pass.
pub(super) struct Mended {
    pub(super) record: String,
    /// Terms that are not in it any more because they lead nowhere.
    pub(super) dropped: Vec<String>,
    /// Whether it can be evaluated for the other servers of the domain too.
    pub(super) is_sound: bool,
}

/// The record for `case` in place of what is `published`; none if there is none that passes.
pub(super) async fn mended(case: &Case<'_>, published: &[String]) -> Option<Mended> {
    let mechanism = match case.facts.client {
        IpAddr::V4(address) => format!("ip4:{address}"),
        IpAddr::V6(address) => format!("ip6:{address}"),
    };
    if published.is_empty() {
        return Some(Mended { record: format!("v=spf1 {mechanism} -all"), dropped: Vec::new(), is_sound: true });
    }
    let (readable, _) = without_faulty_terms(&one(published).record);
    let (base, dropped, is_sound) = without_dead_ends(case, readable).await;
    for place in [Place::BeforeAll, Place::First] {
        let record = amended(&base, &mechanism, place);
        if case.auth.spf_would_pass(&case.sender(), (&case.facts.spf.domain, &record)).await {
            return Some(Mended { record, dropped, is_sound });
        }
    }
    None
}

/// All records in one.
pub(super) fn one(published: &[String]) -> Merged {
    match published {
        [only] => Merged { record: only.clone(), ends: Vec::new() },
        several => merged(several),
    }
}

/// The record without the terms that break it and that nobody misses, these, and whether it can then be evaluated.
async fn without_dead_ends(case: &Case<'_>, mut record: String) -> (String, Vec<String>, bool) {
    let mut dropped = Vec::new();
    // Each round takes out at least one of the terms that are reached.
    for _ in 0..=LOOKUPS_MAX {
        let survey = case.auth.survey_spf(&case.sender(), (&case.facts.spf.domain, &record)).await;
        let Some(survey) = survey else { return (record, dropped, false) };
        if survey.is_sound() {
            return (record, dropped, true);
        }
        let dead_ends = dead_ends(case, &record, &survey);
        if dead_ends.is_empty() {
            break;
        }
        record = without_terms(&record, &dead_ends);
        dropped.extend(dead_ends);
    }
    (record, dropped, false)
}

/// Terms of the domain's own record that lead nowhere, where that breaks it: names that are not in DNS, and includes without a record.
fn dead_ends(case: &Case<'_>, record: &str, survey: &SpfSurvey) -> Vec<String> {
    let includes_nothing = survey.result == SpfResult::PermError && survey.reason.ends_with(INCLUDED_NOTHING);
    if let (true, Some(target)) = (includes_nothing, &survey.decided_by) {
        let include = format!("include:{target}");
        let is_meant = |term: &String| term.trim_start_matches(QUALIFIERS).eq_ignore_ascii_case(&include);
        return lookup_terms(record).into_iter().filter(is_meant).collect();
    }
    // For IPv4 a void `a` may be one that has IPv6 addresses.
    if survey.void_lookups <= VOID_LOOKUPS_MAX || case.facts.client.is_ipv4() {
        return Vec::new();
    }
    let own = survey.spent.iter().filter(|spent| spent.domain == case.facts.spf.domain && spent.void_lookups > 0);
    own.filter(|spent| is_plain_a(&spent.term)).map(|spent| spent.term.clone()).collect()
}

/// An `a` whose name is the same for every sender.
fn is_plain_a(term: &str) -> bool {
    let (name, _) = term.split_at(term.find([':', '/']).unwrap_or(term.len()));
    name.trim_start_matches(QUALIFIERS).eq_ignore_ascii_case("a") && !term.contains('%')
}

/// How the evaluation words it.
const INCLUDED_NOTHING: &str = "included here, but no SPF record";
pub(super) const QUALIFIERS: [char; 4] = ['+', '-', '?', '~'];
