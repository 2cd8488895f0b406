//! The report on a terminal, at most 100 columns wide where a word allows it.

use std::fmt::Write as _;

use super::event::{Objection, Outcome};
use super::tally::{Kind, Sender, Tally};
use super::{Report, words};
use crate::calendar::Utc;
use crate::escape::printable;
use crate::units::{count, counted, duration, octets, share};

/// The whole report.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    let total = &report.total;
    if total.records == 0 {
        text.push_str("No decision record about a recipient was found: nothing can be said.\n");
        complaints(&mut text, report);
        return text;
    }
    match report.domains.iter().next() {
        Some((name, tally)) if report.domains.len() == 1 => {
            fill(&mut text, &words::verdict(name, tally), 0);
            section(&mut text, total, report.options.top);
        }
        _ => {
            fill(&mut text, &words::verdict(&words::subject(report), total), 0);
            section(&mut text, total, report.options.top);
            domains(&mut text, report);
        }
    }
    advice(&mut text, total);
    complaints(&mut text, report);
    text.push('\n');
    for line in words::method(report) {
        wrapped(&mut text, "note", &line);
    }
    text
}

/// A tally in full.
fn section(text: &mut String, tally: &Tally, top: usize) {
    text.push('\n');
    let period = tally.last_ms.saturating_sub(tally.first_ms);
    wrapped(text, "period", &format!("{} to {} UTC, {}", Utc(tally.first_ms), Utc(tally.last_ms), duration(period)));
    let (records, sessions) = (counted(tally.records, "record"), counted(tally.sessions(), "session"));
    wrapped(text, "read", &format!("{records} of {sessions}"));
    outcomes(text, tally);
    objections(text, tally);
    for kind in Kind::ALL {
        senders(text, tally, kind, top);
    }
}

fn outcomes(text: &mut String, tally: &Tally) {
    _ = writeln!(text, "\n{:<38}{:>12}{:>12}{:>12}", "mail", "messages", "recipients", "octets");
    for outcome in Outcome::ALL {
        let volume = tally.outcome(outcome);
        if volume.messages > 0 {
            let size = if volume.octets == 0 { "-".to_owned() } else { octets(volume.octets) };
            let (messages, recipients) = (count(volume.messages), count(volume.recipients));
            _ = writeln!(text, "{:<38}{messages:>12}{recipients:>12}{size:>12}", outcome.words());
        }
    }
    if tally.again > 0 {
        _ = writeln!(text, "{:<38}{:>12}", "  refused again, later tries", count(tally.again));
    }
    if tally.next_hop_refused > 0 {
        let words = "  of these a rule objected as well";
        _ = writeln!(text, "{words:<38}{:>12}", count(tally.next_hop_refused));
    }
}

fn objections(text: &mut String, tally: &Tally) {
    if tally.objected() == 0 {
        return;
    }
    _ = writeln!(text, "\n{:<38}{:>12}{:>12}{:>12}  {}", "rule", "messages", "recipients", "of IPv6", "for");
    for objection in Objection::ALL {
        let volume = tally.objection(objection);
        if volume.messages > 0 {
            let (messages, recipients) = (count(volume.messages), count(volume.recipients));
            let lasts = if objection.is_temporary() { "now" } else { "good" };
            let share = share(volume.messages, tally.judged());
            _ = writeln!(text, "{:<38}{messages:>12}{recipients:>12}{share:>12}  {lasts}", objection.words());
        }
    }
}

fn senders(text: &mut String, tally: &Tally, kind: Kind, top: usize) {
    let senders = tally.senders(kind);
    if senders.all.is_empty() || top == 0 {
        return;
    }
    _ = writeln!(text, "\n{:<38}{:>9}{:>10}  {:<22} {}", kind.words(), "messages", "octets", "rule", "came back");
    for sender in senders.ranked().into_iter().take(top) {
        line_of(text, sender, kind);
    }
    if senders.all.len() > top {
        _ = writeln!(text, "... and {} more; --top shows more, --json all", count((senders.all.len() - top) as u64));
    }
}

fn line_of(text: &mut String, sender: &Sender, kind: Kind) {
    let (name, rule) = (printable(&sender.name, 37), printable(&words::main_objection(sender), 22));
    let (messages, mut size) = (count(sender.volume.messages), octets(sender.volume.octets));
    if sender.volume.octets == 0 {
        size = "-".to_owned();
    }
    _ = writeln!(text, "{name:<38}{messages:>9}{size:>10}  {rule:<22} {}", words::fates(&sender.fates));
    let mut details = vec![format!("{} to {}", Utc(sender.first_ms), Utc(sender.last_ms))];
    details.push(format!("session {}", sender.session));
    if sender.again > 0 {
        details.push(format!("refused again {}", counted(sender.again, "time")));
    }
    if let Some(median) = sender.fates.percentile_ms(50) {
        details.push(format!("back within {} (median)", duration(median)));
    }
    match sender.over_ipv4 {
        Some(true) => details.push("also delivers over IPv4".to_owned()),
        Some(false) => details.push("never over IPv4".to_owned()),
        None => {}
    }
    if kind == Kind::Network && !sender.facts.is_empty() {
        details.push(sender.facts.to_string());
    }
    _ = write!(text, "{:DETAIL_COLUMNS$}", "");
    fill(text, &details.join("; "), DETAIL_COLUMNS);
}

/// Each domain in one line, and what it comes to.
fn domains(text: &mut String, report: &Report) {
    _ = writeln!(text, "\n{:<38}{:>12}{:>12}{:>12}{:>12}", "domain", "over IPv6", "objected", "share", "over IPv4");
    let mut ranked: Vec<_> = report.domains.iter().collect();
    ranked.sort_by_key(|(_, tally)| std::cmp::Reverse((tally.objected(), tally.judged())));
    for (name, tally) in ranked.iter().take(DOMAINS_SHOWN) {
        let (judged, objected) = (count(tally.judged()), count(tally.objected()));
        let share = share(tally.objected(), tally.judged());
        let over_ipv4 = count(tally.outcome(Outcome::AcceptedV4).messages);
        _ = writeln!(text, "{:<38}{judged:>12}{objected:>12}{share:>12}{over_ipv4:>12}", printable(name, 37));
    }
    if ranked.len() > DOMAINS_SHOWN {
        _ = writeln!(text, "... and {} more; --json has all", ranked.len() - DOMAINS_SHOWN);
    }
    for (name, tally) in ranked.iter().take(DOMAINS_TOLD).filter(|(_, tally)| tally.objected() > 0) {
        text.push('\n');
        fill(text, &words::verdict(name, tally), 0);
    }
    text.push_str("\nmx6 report --domain NAME has the senders behind each.\n");
}

fn advice(text: &mut String, tally: &Tally) {
    let objections = Objection::ALL.into_iter().filter(|objection| tally.objection(*objection).messages > 0);
    for (number, objection) in objections.enumerate() {
        if number == 0 {
            text.push_str("\nwhat these senders could publish to pass\n");
        }
        _ = write!(text, "  {:<26}", objection.words());
        fill(text, words::advice(objection), 28);
    }
}

/// What is missing, and what was beyond the limits: last but one, where it is seen.
fn complaints(text: &mut String, report: &Report) {
    let gaps = words::gaps(&report.missing);
    if !gaps.is_empty() || !report.limits_reached.is_empty() {
        text.push('\n');
    }
    for gap in gaps {
        wrapped(text, "MISSING", &gap);
    }
    for complaint in &report.missing.complaints {
        wrapped(text, "", complaint);
    }
    for reached in &report.limits_reached {
        wrapped(text, "LIMIT", reached);
    }
}

/// A name, and a text beside it that goes on below itself.
fn wrapped(text: &mut String, name: &str, fact: &str) {
    _ = write!(text, "{name:<NAME_COLUMNS$}");
    fill(text, fact, NAME_COLUMNS);
}

/// Goes on in a line that is at `indent` already.
fn fill(text: &mut String, fact: &str, indent: usize) {
    let mut column = indent;
    for (index, word) in printable(fact, FACT_CHARACTERS_MAX).split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS {
            _ = write!(text, "\n{:<indent$}", "");
            column = indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

const COLUMNS: usize = 100;
const NAME_COLUMNS: usize = 9;
/// Of the second line of a sender.
const DETAIL_COLUMNS: usize = 4;
/// Of one fact: some screens.
const FACT_CHARACTERS_MAX: usize = 2_000;
/// Domains in the table, and those with a sentence of their own.
const DOMAINS_SHOWN: usize = 40;
const DOMAINS_TOLD: usize = 10;
