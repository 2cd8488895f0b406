//! The report for scripts: one object, times in milliseconds (RFC 3339 where they are moments), sizes in octets.

use serde_json::{Map, Value, json};

use super::event::{Objection, Outcome};
use super::fallback::Fate;
use super::tally::{BINS, Fates, Kind, Sender, Tally, Volume};
use super::{Report, words};
use crate::calendar::Utc;

/// The whole object.
pub(crate) fn json(report: &Report) -> Value {
    let domains: Map<String, Value> = report
        .domains
        .iter()
        .map(|(name, domain)| (name.clone(), tally(domain, &words::verdict(name, domain))))
        .collect();
    let missing = &report.missing;
    json!({
        "total": tally(&report.total, &words::verdict(&words::subject(report), &report.total)),
        "domains": domains,
        "early_refusals": report.early_refusals,
        "fallback_window_ms": report.options.fallback_window_ms,
        "missing": {
            "records_lost": missing.records_lost,
            "unrecorded": missing.unrecorded,
            "malformed_lines": missing.malformed,
            "files_cut": missing.files_cut,
            "complaints": missing.complaints,
        },
        "limits_reached": report.limits_reached,
    })
}

fn tally(tally: &Tally, verdict: &str) -> Value {
    let outcomes = Outcome::ALL.map(|outcome| (name(outcome), volume(tally.outcome(outcome))));
    let rules = Objection::ALL.map(|objection| {
        let mut figures = volume(tally.objection(objection));
        figures["temporary"] = objection.is_temporary().into();
        (name(objection), figures)
    });
    let hours = tally.hours.iter().map(|(hour, counts)| {
        let mut row = json!({"hour": moment(hour * 3_600_000)});
        for outcome in Outcome::ALL {
            row[name(outcome)] = counts[outcome as usize].into();
        }
        row
    });
    let senders = Kind::ALL
        .map(|kind| (kind.key().to_owned(), Value::from_iter(tally.senders(kind).ranked().into_iter().map(sender))));
    json!({
        "verdict": verdict,
        "first": (tally.records > 0).then(|| moment(tally.first_ms)),
        "last": (tally.records > 0).then(|| moment(tally.last_ms)),
        "records": tally.records,
        "sessions": tally.sessions(),
        "judged_messages": tally.judged(),
        "objected_messages": tally.objected(),
        "refused_again": tally.again,
        "refused_by_next_hop_as_well": tally.next_hop_refused,
        "outcomes": Map::from_iter(outcomes),
        "rules": Map::from_iter(rules),
        "fallback": {"refused": fates(&tally.refused), "on_trial": fates(&tally.on_trial)},
        "senders": Map::from_iter(senders),
        "hours": Value::from_iter(hours),
    })
}

fn volume(volume: Volume) -> Value {
    json!({"messages": volume.messages, "recipients": volume.recipients, "octets": volume.octets})
}

fn fates(fates: &Fates) -> Value {
    let histogram = BINS.iter().zip(fates.histogram);
    let bin = |((_, name), [v4, v6]): (&(u64, &str), [u64; 2])| json!({"within": name, "ipv4": v4, "ipv6": v6});
    json!({
        "over_ipv4": fates.count(Fate::OverV4),
        "over_ipv6": fates.count(Fate::OverV6),
        "in_part": fates.count(Fate::Partly),
        "not_seen": fates.count(Fate::NotSeen),
        "too_recent": fates.count(Fate::TooRecent),
        "not_followed": fates.count(Fate::Unwatched),
        "by_message_id": fates.by_message_id,
        "median_ms": fates.percentile_ms(50),
        "p90_ms": fates.percentile_ms(90),
        "histogram": Value::from_iter(histogram.map(bin)),
    })
}

fn sender(sender: &Sender) -> Value {
    let rules = Objection::ALL.map(|objection| (name(objection), sender.objections[objection as usize].into()));
    let mut fallback = fates(&sender.fates);
    if let Some(fallback) = fallback.as_object_mut() {
        fallback.remove("histogram");
    }
    json!({
        "name": sender.name,
        "messages": sender.volume.messages,
        "recipients": sender.volume.recipients,
        "octets": sender.volume.octets,
        "refused_again": sender.again,
        "rules": Map::from_iter(rules),
        "first": moment(sender.first_ms),
        "last": moment(sender.last_ms),
        "session": sender.session,
        "facts": sender.facts,
        "also_over_ipv4": sender.over_ipv4,
        "fallback": fallback,
    })
}

fn moment(unix_ms: u64) -> String {
    format!("{}Z", Utc(unix_ms).to_string().replace(' ', "T"))
}

/// The word that serde has for it.
fn name(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
