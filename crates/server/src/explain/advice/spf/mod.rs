//! SPF: why it does not pass, and the record that lets the sending address pass.

mod mend;

use mx6_message_auth::{SpfInquiry, SpfSurvey};
use mx6_policy::Rule;
use mx6_policy::facts::{MethodResult, SpfIdentity};
use mx6_spf::limits::{LOOKUPS_MAX, SURVEY_LOOKUPS_MAX, VOID_LOOKUPS_MAX};
use mx6_spf::{SpfResult, lookup_terms, without_faulty_terms};

use super::{Advice, Case, DnsRecord, unanswered};
use mend::{Mended, QUALIFIERS, mended, one};

pub(super) async fn advise(case: &Case<'_>, rule: Rule) -> Vec<Advice> {
    let spf = &case.facts.spf;
    let inquiry = case.auth.inquire_spf(&case.sender()).await;
    let domain = spf.domain.as_str();
    if spf.result == MethodResult::TempError {
        return vec![Advice::new(rule, owner_of(domain), temporary(case, &inquiry))];
    }
    if !mx6_message_auth::is_valid_target(domain) {
        return vec![Advice::new(rule, "whoever runs the sending server", without_domain(case))];
    }
    let another = anothers_name(case, rule).await;
    let condition = another.as_ref().map(|_| {
        format!(
            "This helps only if {domain} is the name of the server at {} and not of another one. ",
            case.facts.client
        )
    });
    let record = of_record(case, rule, &inquiry, &condition.unwrap_or_default()).await;
    another.into_iter().chain([record]).collect()
}

/// What is to be done with the record.
async fn of_record(case: &Case<'_>, rule: Rule, inquiry: &SpfInquiry, condition: &str) -> Advice {
    let domain = case.facts.spf.domain.as_str();
    let Some(published) = inquiry.published.as_deref() else {
        let text =
            format!("SPF does not pass for {}, and its record could not be looked up again just now.", identity(case));
        return Advice::new(rule, owner_of(domain), text);
    };
    let replaces = published.iter().map(|record| DnsRecord::txt(domain, record)).collect();
    let fault = fault(case, inquiry, published).await;
    let advice = match mended(case, published).await {
        Some(mended) => {
            let text = format!("{condition}{fault} {}{}", action(case, published, &mended), size(&mended.record));
            Advice::new(rule, owner_of(domain), text).publish(DnsRecord::txt(domain, &mended.record))
        }
        None => {
            let text =
                format!("{condition}{fault} The record must be corrected before the address can be added to it.");
            Advice::new(rule, owner_of(domain), text)
        }
    };
    Advice { replaces, ..advice }
}

/// A notice goes by the HELO name: one that leads elsewhere is more likely wrong than its record.
async fn anothers_name(case: &Case<'_>, rule: Rule) -> Option<Advice> {
    let (client, helo) = (case.facts.client, case.facts.spf.domain.as_str());
    if case.facts.spf.identity != SpfIdentity::Helo || case.auth.resolves_to(client, helo).await != Some(false) {
        return None;
    }
    let iprev = &case.facts.iprev;
    let own = iprev.confirmed.as_ref().or(iprev.names.first()).filter(|own| !own.eq_ignore_ascii_case(helo));
    let own = match own {
        Some(own) if case.auth.spf(client, own, None, false).await.result == MethodResult::Pass => {
            format!(": {own}, as reverse DNS has it. SPF passes for that already")
        }
        Some(own) => format!(": {own}, as reverse DNS has it. That then needs an SPF record such as \"v=spf1 a -all\""),
        None => ", and publish an SPF record for that, such as \"v=spf1 a -all\"".to_owned(),
    };
    let text = format!(
        "The message is a notice without a sender address, so SPF goes by the name the server calls itself (HELO). It says {helo}, which does not resolve to {client}: \
         most likely that is the name of another server. Let this one call itself by its own name{own}."
    );
    Some(Advice::new(rule, "whoever runs the sending server", text))
}

/// Why SPF does not pass.
async fn fault(case: &Case<'_>, inquiry: &SpfInquiry, published: &[String]) -> String {
    let (spf, identity) = (&case.facts.spf, identity(case));
    let faulty: Vec<String> = published
        .iter()
        .flat_map(|record| without_faulty_terms(record).1)
        .map(|faulty| format!("\"{}\" ({})", faulty.term, faulty.reason))
        .collect();
    match (spf.result, published) {
        (MethodResult::None, _) => format!("There is no SPF record for {identity}."),
        (MethodResult::PermError, [_, _, ..]) => format!(
            "There are {} SPF records for {identity}, and only one is allowed (RFC 7208 §4.5): none of them counts.",
            published.len()
        ),
        (MethodResult::PermError, _) if !faulty.is_empty() => {
            format!("The SPF record for {identity} cannot be read: {}.", faulty.join(", "))
        }
        (MethodResult::PermError, [record]) => broken(case, record).await,
        _ => {
            let elsewhere = inquiry.decided_by.as_deref().filter(|decider| *decider != spf.domain);
            let by = elsewhere
                .map_or_else(String::new, |decider| format!(" in the record of {decider}, to which it redirects"));
            format!(
                "The SPF record for {identity} does not name the sending address {}: the result is {}, by \"{}\"{by}.",
                case.facts.client,
                spf.result.word(),
                spf.reason
            )
        }
    }
}

/// Why a record that can be read cannot be evaluated, and what its owner does about that.
async fn broken(case: &Case<'_>, record: &str) -> String {
    let domain = case.facts.spf.domain.as_str();
    let mut told = vec![format!("The SPF record for {} cannot be evaluated.", identity(case))];
    match case.auth.survey_spf(&case.sender(), (domain, record)).await {
        Some(survey) => {
            told.extend((survey.lookups > LOOKUPS_MAX).then(|| too_many_lookups(domain, record, &survey)));
            told.extend((survey.void_lookups > VOID_LOOKUPS_MAX).then(|| too_many_void_lookups(domain, &survey)));
            told.extend((survey.result == SpfResult::PermError).then(|| wrong(domain, &survey)));
        }
        None => told.push(format!("Why: {}.", case.facts.spf.reason)),
    }
    // What stands before the fault is evaluated before it.
    told.push("No server that is named only behind the fault passes, neither here nor at other receivers.".to_owned());
    told.join(" ")
}

fn too_many_lookups(domain: &str, record: &str, survey: &SpfSurvey) -> String {
    let mut own: Vec<_> = survey.spent.iter().filter(|spent| spent.domain == domain).collect();
    let unreached: Vec<String> = lookup_terms(record)
        .into_iter()
        .filter(|term| !is_redirect(term) && !own.iter().any(|it| it.term == *term))
        .collect();
    let count = usize::from(survey.lookups) + unreached.len();
    let is_cut = survey.lookups == SURVEY_LOOKUPS_MAX || !unreached.is_empty();
    let redirected: u8 = survey.spent.iter().filter(|spent| spent.domain != domain).map(|spent| spent.lookups).sum();
    own.sort_by_key(|spent| std::cmp::Reverse(spent.lookups));
    let mut costs: Vec<String> = own
        .iter()
        .map(|spent| match is_redirect(&spent.term) {
            true => format!("{} ({})", spent.term, spent.lookups + redirected),
            false => format!("{} ({})", spent.term, spent.lookups),
        })
        .collect();
    costs.extend(unreached.iter().map(|term| format!("{term} (1 or more)")));
    let names_hosts = |term: &&str| {
        let name = term.trim_start_matches(QUALIFIERS);
        ["a", "mx", "ptr"]
            .iter()
            .any(|known| name.split([':', '/']).next().is_some_and(|word| word.eq_ignore_ascii_case(known)))
    };
    let hosts: Vec<&str> = own.iter().map(|spent| spent.term.as_str()).filter(names_hosts).collect();
    let rewritten = if hosts.is_empty() {
        String::new()
    } else {
        format!(" In place of {} write the addresses as ip4: and ip6:, which take none.", listed(&hosts))
    };
    format!(
        "It takes {}{count} DNS lookups, and at most {LOOKUPS_MAX} are allowed (RFC 7208 §4.6.4): {}. Take out what no longer sends mail of {domain}.{rewritten}",
        if is_cut { "at least " } else { "" },
        costs.join(", ")
    )
}

fn too_many_void_lookups(domain: &str, survey: &SpfSurvey) -> String {
    let void: Vec<String> = survey
        .spent
        .iter()
        .filter(|spent| spent.void_lookups > 0)
        .map(|spent| match (spent.void_lookups, spent.domain == domain) {
            (1, true) => spent.term.clone(),
            (count, true) => format!("{} ({count} times)", spent.term),
            (_, false) => format!("{} in the record of {}", spent.term, spent.domain),
        })
        .collect();
    let void: Vec<&str> = void.iter().map(String::as_str).collect();
    format!(
        "{} of its lookups find nothing, and at most {VOID_LOOKUPS_MAX} may (RFC 7208 §4.6.4): {} lead to names that are not in DNS. Correct these terms or take them out.",
        survey.void_lookups,
        listed(&void)
    )
}

/// What is wrong besides the limits, and with whose record.
fn wrong(domain: &str, survey: &SpfSurvey) -> String {
    let decider = survey.decided_by.as_deref().unwrap_or(domain);
    let reason =
        survey.reason.strip_prefix(decider).map_or(survey.reason.as_str(), |rest| rest.trim_start_matches(": "));
    if decider == domain {
        return format!("What is wrong: {reason}.");
    }
    let by = survey.spent.last().map_or_else(String::new, |spent| format!(" by \"{}\"", spent.term));
    format!(
        "The fault is at {decider}, which it takes in{by}: {reason}. Tell whoever runs {decider}; take the term out if that sends no mail of {domain}."
    )
}

/// What is to be done with the record.
fn action(case: &Case<'_>, published: &[String], mended: &Mended) -> String {
    let (address, domain) = (case.facts.client, &case.facts.spf.domain);
    if !mended.is_sound {
        return format!(
            "Until that is mended, this one lets {address} pass, as what stands first is evaluated first. It is no cure: the other servers of {domain} are no better off."
        );
    }
    let dropped: Vec<&str> = mended.dropped.iter().map(String::as_str).collect();
    match published {
        [] => {
            "Publish one. If other servers send mail of this domain, name them in it too, before \"-all\".".to_owned()
        }
        [_] if !dropped.is_empty() => {
            format!("Publish this one instead: it leaves out {} and names {address}.", listed(&dropped))
        }
        [record] if !without_faulty_terms(record).1.is_empty() => format!(
            "Publish this one instead: it leaves that out and names {address}. If that term meant other servers, write them as ip4: or ip6:."
        ),
        [_] if case.facts.spf.result == MethodResult::PermError => {
            format!("Publish this one instead: it names {address}.")
        }
        [_] => format!(
            "Publish this one instead: it also names {address}. If that should not send mail of this domain, leave the record as it is."
        ),
        several => {
            format!(
                "Publish one record in place of them; this one has the terms of all and names {address}.{}",
                end(several, &mended.record)
            )
        }
    }
}

/// How the one record in place of several ends, where they do not agree.
fn end(several: &[String], record: &str) -> String {
    let ends = one(several).ends;
    if ends.len() < 2 {
        return String::new();
    }
    let ends: Vec<String> =
        ends.iter().map(|end| if end.is_empty() { "with neither".to_owned() } else { format!("\"{end}\"") }).collect();
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    let (_, last) = record.rsplit_once(' ').unwrap_or(("", record));
    format!(
        " They end differently ({}): this one ends in \"{last}\", so that it refuses nobody whom one of them does not refuse. Make that \"-all\" once you know that all \
         servers of the domain are named.",
        listed(&ends)
    )
}

/// `a`, `a and b`, `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [before @ .., one, last] => {
            let before: String = before.iter().map(|word| format!("{word}, ")).collect();
            format!("{before}{one} and {last}")
        }
        _ => words.concat(),
    }
}

fn is_redirect(term: &str) -> bool {
    term.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("redirect="))
}

fn owner_of(domain: &str) -> String {
    format!("whoever runs the DNS of {domain}")
}

fn size(record: &str) -> &'static str {
    if record.len() > RECORD_OCTETS_ADVISED {
        " It is long: answers over 512 octets do not get through everywhere (RFC 7208 §3.4), so take out what is no longer needed."
    } else {
        ""
    }
}

fn temporary(case: &Case<'_>, inquiry: &SpfInquiry) -> String {
    let name = inquiry.decided_by.as_deref().unwrap_or(&case.facts.spf.domain);
    format!(
        "SPF for {} could not be evaluated now ({}): {}",
        identity(case),
        case.facts.spf.reason,
        unanswered(case.names, name, &format!("dig +tcp TXT {name}"))
    )
}

fn without_domain(case: &Case<'_>) -> String {
    match case.facts.spf.identity {
        SpfIdentity::Helo => format!(
            "The message is a notice without a sender address, so SPF goes by the name the server calls itself (HELO), and {:?} is no full host name. Let the \
             server call itself by its own, and publish an SPF record for that.",
            case.helo
        ),
        SpfIdentity::MailFrom => {
            format!(
                "{:?}, the domain of the sender address, can have no SPF record. Use one that is in DNS.",
                case.facts.spf.domain
            )
        }
    }
}

/// The domain and what it is of the message.
fn identity(case: &Case<'_>) -> String {
    let domain = &case.facts.spf.domain;
    match case.facts.spf.identity {
        SpfIdentity::MailFrom => format!("{domain} (the domain of the sender address, MAIL FROM)"),
        SpfIdentity::Helo => format!("{domain} (the HELO name: the message is a notice without a sender address)"),
    }
}

/// RFC 7208 §3.4: 512 octets less what question, header and other TXT records take.
const RECORD_OCTETS_ADVISED: usize = 450;
