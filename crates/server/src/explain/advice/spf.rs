//! SPF: the record that lets the sending address pass.

use std::net::IpAddr;

use mx6_message_auth::SpfInquiry;
use mx6_policy::Rule;
use mx6_policy::facts::{MethodResult, SpfIdentity};
use mx6_spf::limits::{LOOKUPS_MAX, VOID_LOOKUPS_MAX};
use mx6_spf::{Place, amended, merged, without_faulty_terms};

use super::{Advice, Case, DnsRecord, resolvers};

pub(super) async fn advise(case: &Case<'_>, rule: Rule) -> Vec<Advice> {
    let spf = &case.facts.spf;
    let inquiry = case.auth.inquire_spf(case.facts.client, case.helo, case.reverse_path).await;
    let domain = spf.domain.as_str();
    let who = format!("whoever runs the DNS of {domain}");
    if spf.result == MethodResult::TempError {
        return vec![Advice::new(rule, who, temporary(case, &inquiry))];
    }
    if !mx6_message_auth::is_valid_target(domain) {
        return vec![Advice::new(rule, "whoever runs the sending server", without_domain(case))];
    }
    let identity = identity(case);
    let Some(published) = inquiry.published.as_deref() else {
        let text = format!("SPF does not pass for {identity}, and its record could not be looked up again just now.");
        return vec![Advice::new(rule, who, text)];
    };
    let replaces = published.iter().map(|record| DnsRecord::txt(domain, record)).collect();
    let fault = fault(case, &inquiry, published);
    match recommended(case, published).await {
        Some(record) => {
            let text = format!("{fault} {}{}", action(case.facts.client, published), size(&record));
            vec![Advice { replaces, ..Advice::new(rule, who, text).publish(DnsRecord::txt(domain, &record)) }]
        }
        None => {
            let text = format!("{fault} The record must be corrected before the address can be added to it.");
            vec![Advice { replaces, ..Advice::new(rule, who, text) }]
        }
    }
}

/// The record with the least change that passes: evaluated, not assumed.
async fn recommended(case: &Case<'_>, published: &[String]) -> Option<String> {
    let address = case.facts.client;
    let mechanism = match address {
        IpAddr::V4(address) => format!("ip4:{address}"),
        IpAddr::V6(address) => format!("ip6:{address}"),
    };
    if published.is_empty() {
        return Some(format!("v=spf1 {mechanism} -all"));
    }
    let (readable, _) = without_faulty_terms(&merged_if_several(published));
    for place in [Place::BeforeAll, Place::First] {
        let record = amended(&readable, &mechanism, place);
        let published = (case.facts.spf.domain.as_str(), record.as_str());
        if case.auth.spf_would_pass(address, case.helo, case.reverse_path, published).await {
            return Some(record);
        }
    }
    None
}

fn merged_if_several(published: &[String]) -> String {
    match published {
        [only] => only.clone(),
        several => merged(several),
    }
}

/// Why SPF does not pass.
fn fault(case: &Case<'_>, inquiry: &SpfInquiry, published: &[String]) -> String {
    let (spf, identity) = (&case.facts.spf, identity(case));
    let faulty: Vec<String> = published
        .iter()
        .flat_map(|record| without_faulty_terms(record).1)
        .map(|faulty| format!("\"{}\" ({})", faulty.term, faulty.reason))
        .collect();
    let elsewhere = inquiry.decided_by.as_deref().filter(|decider| *decider != spf.domain);
    match spf.result {
        MethodResult::None => format!("There is no SPF record for {identity}."),
        MethodResult::PermError if published.len() > 1 => {
            format!(
                "There are {} SPF records for {identity}, and only one is allowed (RFC 7208 §4.5): none of them counts.",
                published.len()
            )
        }
        MethodResult::PermError if !faulty.is_empty() => {
            format!("The SPF record for {identity} cannot be read: {}.", faulty.join(", "))
        }
        MethodResult::PermError => {
            let counted = format!(
                "It took {} lookups (allowed are {LOOKUPS_MAX}), and {} found nothing (allowed are {VOID_LOOKUPS_MAX}).",
                inquiry.lookups, inquiry.void_lookups
            );
            let third_party = elsewhere.map_or_else(String::new, |decider| {
                format!(" The fault is in the record of {decider}, which yours includes or redirects to: tell whoever runs that.")
            });
            format!("The SPF record for {identity} cannot be evaluated: {}. {counted}{third_party}", spf.reason)
        }
        _ => {
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

/// What is to be done with the record.
fn action(address: IpAddr, published: &[String]) -> String {
    match published {
        [] => {
            "Publish one. If other servers send mail of this domain, name them in it too, before \"-all\".".to_owned()
        }
        [record] if without_faulty_terms(record).1.is_empty() => format!(
            "Publish this one instead: it also names {address}. If that should not send mail of this domain, leave the record as it is."
        ),
        [_] => format!(
            "Publish this one instead: it leaves that out and names {address}. If that term meant other servers, write them as ip4: or ip6:."
        ),
        _ => format!("Publish one record in place of them; this one has the terms of all and names {address}."),
    }
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
        "SPF for {} could not be evaluated now ({}): {} got no answer from the name servers of {name}, or one that says they have trouble. Nothing has to be \
         changed: the sending server will try again by itself. If it lasts, check that they answer: dig +tcp TXT {name}",
        identity(case),
        case.facts.spf.reason,
        resolvers(case.names)
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
