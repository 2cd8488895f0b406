//! The report for scripts: one object, times in milliseconds (RFC 3339 where they are moments), sizes in octets.
//!
//! It is serialized from the figures as they are: a tree of all senders would need more memory than the figures.

use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::event::{Objection, Outcome};
use super::fallback::Fate;
use super::tally::{BINS, Fates, Histogram, Kind, Sender, Tally, Volume};
use super::{Report, words};
use crate::calendar::Utc;

/// Writes the whole object.
pub(crate) fn write(report: &Report, mut to: impl io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, &Object(report))?;
    to.write_all(b"\n")?;
    to.flush()
}

/// The whole object.
struct Object<'a>(&'a Report);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Object(report) = self;
        let missing = &report.missing;
        let mut object = serializer.serialize_map(None)?;
        let subject = words::subject(report);
        object.serialize_entry("total", &OfTally { name: &subject, tally: &report.total })?;
        object.serialize_entry("domains", &Domains(report))?;
        object.serialize_entry("early_refusals", &report.early_refusals)?;
        object.serialize_entry("fallback_window_ms", &report.options.fallback_window_ms)?;
        let missing = json!({
            "records_lost": missing.records_lost,
            "unrecorded": missing.unrecorded,
            "malformed_lines": missing.malformed,
            "files_cut": missing.files_cut,
            "complaints": missing.complaints,
        });
        object.serialize_entry("missing", &missing)?;
        object.serialize_entry("limits_reached", &report.limits_reached)?;
        object.end()
    }
}

struct Domains<'a>(&'a Report);

impl Serialize for Domains<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.domains.iter().map(|(name, tally)| (name, OfTally { name, tally })))
    }
}

/// A domain, or all.
struct OfTally<'a> {
    name: &'a str,
    tally: &'a Tally,
}

impl Serialize for OfTally<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (name, value) in figures(self.name, self.tally) {
            object.serialize_entry(&name, &value)?;
        }
        object.serialize_entry("senders", &Senders(self.tally))?;
        object.end()
    }
}

struct Senders<'a>(&'a Tally);

impl Serialize for Senders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Kind::ALL.map(|kind| (kind.key(), OfKind(self.0, kind))))
    }
}

/// Senders of a kind, one at a time.
struct OfKind<'a>(&'a Tally, Kind);

impl Serialize for OfKind<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.senders(self.1).ranked().into_iter().map(sender))
    }
}

/// All that is not of a sender.
fn figures(name_of_it: &str, tally: &Tally) -> Map<String, Value> {
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
    let figures = json!({
        "verdict": words::verdict(name_of_it, tally).join(" "),
        "first": (tally.records > 0).then(|| moment(tally.first_ms)),
        "last": (tally.records > 0).then(|| moment(tally.last_ms)),
        "records": tally.records,
        "sessions": tally.sessions(),
        "judged_messages": tally.judged(),
        "objected_messages": tally.objected(),
        "temporary_on_trial_messages": tally.temporary_on_trial,
        "more_tries": tally.again,
        "refused_by_next_hop_as_well": tally.next_hop_refused,
        "outcomes": Map::from_iter(outcomes),
        "rules": Map::from_iter(rules),
        "fallback": {
            "refused": with_histogram(&tally.refused, &tally.refused_histogram),
            "on_trial": with_histogram(&tally.on_trial, &tally.on_trial_histogram),
        },
        "hours": Value::from_iter(hours),
    });
    match figures {
        Value::Object(figures) => figures,
        _ => Map::new(),
    }
}

fn volume(volume: Volume) -> Value {
    json!({"messages": volume.messages, "recipients": volume.recipients, "octets": volume.octets})
}

fn fates(fates: &Fates) -> Value {
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
    })
}

fn with_histogram(of: &Fates, histogram: &Histogram) -> Value {
    let mut object = fates(of);
    let bins = BINS.iter().zip(histogram);
    let bins = bins.map(|((_, name), [v4, v6])| json!({"within": name, "ipv4": v4, "ipv6": v6}));
    object["histogram"] = Value::from_iter(bins);
    object
}

fn sender(sender: &Sender) -> Value {
    let rules = Objection::ALL.map(|objection| (name(objection), sender.objections[objection as usize].into()));
    json!({
        "name": sender.name,
        "messages": sender.volume.messages,
        "on_trial_messages": sender.on_trial_messages,
        "recipients": sender.volume.recipients,
        "octets": sender.volume.octets,
        "more_tries": sender.again,
        "rules": Map::from_iter(rules),
        "first": moment(sender.first_ms),
        "last": moment(sender.last_ms),
        "session": sender.session,
        "facts": sender.facts,
        "also_over_ipv4": sender.over_ipv4,
        "fallback": {"refused": fates(&sender.refused), "on_trial": fates(&sender.on_trial)},
    })
}

fn moment(unix_ms: u64) -> String {
    format!("{}Z", Utc(unix_ms).to_string().replace(' ', "T"))
}

/// The word that serde has for it.
fn name(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
