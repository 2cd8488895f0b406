//! What the figures come to, in sentences: the same on the terminal and in the page.

use super::event::{Objection, Outcome};
use super::fallback::Fate;
use super::tally::{Fates, Kind, Sender, Tally};
use super::{Missing, Report};
use crate::units::{count, counted, duration, share};

/// What happens, or would, at a domain (or all): the sentence to begin with.
pub(crate) fn verdict(name: &str, tally: &Tally) -> String {
    let (would, refused) = (tally.outcome(Outcome::WouldRefuse).messages, tally.outcome(Outcome::Refused).messages);
    let judged = tally.judged();
    if judged == 0 {
        return match tally.outcome(Outcome::NotOpen).messages {
            0 => format!("{name}: no mail over IPv6 was judged by the rules, so nothing can be said of opening it."),
            closed => format!(
                "{name} is not open to IPv6: {} turned away, and none judged. Put it on trial (monitor) to learn what opening it would do.",
                counted(closed, "message")
            ),
        };
    }
    let whole = counted(judged, "message");
    let of = |part: u64| format!("{} of {whole} over IPv6 ({})", count(part), share(part, judged));
    let networks = counted(tally.senders(Kind::Network).all.len() as u64, "network");
    match (would, refused) {
        (0, 0) => format!("Nothing of {whole} over IPv6 to {name} was refused by the rules, or would have been."),
        (would, 0) => format!("Opening {name} would have refused {}, from {networks}.{}", of(would), trial(tally)),
        (0, refused) => format!("{name} refused {}, from {networks}.{}", of(refused), real(&tally.refused)),
        (would, refused) => format!(
            "{name} refused {} and, on trial, would have refused {} more, from {networks}.{}{}",
            of(refused),
            count(would),
            real(&tally.refused),
            trial(tally)
        ),
    }
}

/// What became of mail that was refused.
fn real(fates: &Fates) -> String {
    let mut parts = Vec::new();
    for (fate, over) in [(Fate::OverV4, "came back over IPv4"), (Fate::OverV6, "passed over IPv6 later")] {
        if fates.count(fate) > 0 {
            parts.push(format!("{} {over}", count(fates.count(fate))));
        }
    }
    if let (Some(last), Some(median), Some(p90)) = (parts.last_mut(), fates.percentile_ms(50), fates.percentile_ms(90))
    {
        last.push_str(&format!(" (half within {}, nine in ten within {})", duration(median), duration(p90)));
    }
    for (fate, words) in [
        (Fate::Partly, "came back for some of the recipients only"),
        (Fate::TooRecent, "too recent to tell"),
        (Fate::Unwatched, "not followed"),
    ] {
        if fates.count(fate) > 0 {
            let is = if fate == Fate::Partly { "" } else { if fates.count(fate) == 1 { "is " } else { "are " } };
            parts.push(format!("{} {is}{words}", count(fates.count(fate))));
        }
    }
    let lost = fates.count(Fate::NotSeen);
    let last = match lost {
        0 => String::new(),
        1 => "1 was not seen again: look at it.".to_owned(),
        lost => format!("{} were not seen again: look at these.", count(lost)),
    };
    match (parts.is_empty(), last.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" {last}"),
        (false, true) => format!(" {}.", parts.join("; ")),
        (false, false) => format!(" {}; {last}", parts.join("; ")),
    }
}

/// What could become of mail that only would have been refused. It was taken, so no sender had to try again; who also sends over IPv4
/// is likely to fall back.
fn trial(tally: &Tally) -> String {
    let would = tally.outcome(Outcome::WouldRefuse).messages;
    let back = tally.on_trial.back();
    let mut text = String::new();
    let temporary: u64 = Objection::ALL
        .into_iter()
        .filter(|objection| objection.is_temporary())
        .map(|objection| tally.objection(objection).messages)
        .sum();
    if temporary > 0 {
        text.push_str(&format!(
            " {} of them for a temporary DNS failure, which says nothing of the sender.",
            count(temporary)
        ));
    }
    text.push_str(" The trial refused nothing, so nobody had to come back;");
    if back > 0 {
        let over_v4 = tally.on_trial.count(Fate::OverV4);
        text.push_str(&format!(" {} came again all the same ({} over IPv4);", count(back), count(over_v4)));
    }
    let known = tally.known_over_ipv4().min(tally.objected());
    let is_all = known >= would;
    let strangers = would.saturating_sub(known);
    text.push_str(&match (known, is_all) {
        (_, true) => " all are of sender domains that deliver over IPv4 too.".to_owned(),
        (0, _) => " none is of a sender domain that was seen to deliver over IPv4: look at these.".to_owned(),
        _ => format!(
            " {} are of sender domains that deliver over IPv4 too, {} are not: look at these.",
            count(known),
            count(strangers)
        ),
    });
    text
}

/// What a sender whom this rule stopped can do.
pub(crate) fn advice(objection: Objection) -> &'static str {
    match objection {
        Objection::ReverseDns => {
            "The owner of the address publishes a PTR record for it, whose name resolves back to the address; whoever rents out the \
             address can usually set it. Or the host sends over IPv4 only."
        }
        Objection::SpfOrDkim => {
            "The sender's domain names the IPv6 address in its SPF record (v=spf1 ip6:… -all), or the mail is signed with DKIM and the \
             public key is published at SELECTOR._domainkey.DOMAIN. A forwarder breaks SPF: it must leave the signed parts as they are, or \
             rewrite the reverse-path to a domain of its own (SRS)."
        }
        Objection::ReverseDnsTemperror => {
            "Nothing is known to be missing: the name servers of the address's reverse zone did not answer. The sender tries again. If it \
             is many senders at once, look at your resolver first; if always the same, their reverse zone is broken."
        }
        Objection::SpfOrDkimTemperror => {
            "Nothing is known to be missing: the name servers of the sender's domain did not answer for SPF or the DKIM key. The sender \
             tries again. If it is many senders at once, look at your resolver first; if always the same, their zone is broken."
        }
    }
}

/// What the picture lacks; empty if nothing is known to.
pub(crate) fn gaps(missing: &Missing) -> Vec<String> {
    let mut gaps = Vec::new();
    if missing.records_lost > 0 {
        gaps.push(format!(
            "{} lost by the gate (its ring or the disk was full): all figures are lower than what was.",
            counted(missing.records_lost, "record")
        ));
    }
    if missing.unrecorded > 0 {
        gaps.push(format!(
            "{} counted by the gate and not written: all figures are lower than what was.",
            counted(missing.unrecorded, "decision")
        ));
    }
    if missing.malformed > 0 {
        gaps.push(format!("{} no decision record and passed over.", are(missing.malformed, "line")));
    }
    if missing.files_cut > 0 {
        gaps.push(format!("{} not be read to the end.", counted(missing.files_cut, "file") + " could"));
    }
    gaps
}

fn are(number: u64, one: &str) -> String {
    format!("{} {}", counted(number, one), if number == 1 { "is" } else { "are" })
}

/// How the figures were made: what a reader must know to trust them no further than they reach.
pub(crate) fn method(report: &Report) -> Vec<String> {
    let window = duration(report.options.fallback_window_ms);
    let (refused, on_trial) = (&report.total.refused, &report.total.on_trial);
    let by_id = refused.by_message_id + on_trial.by_message_id;
    let by_envelope = refused.back() + on_trial.back() - by_id;
    let mut lines = vec![
        "Shares are of the messages over IPv6 that the rules let through, refused, or would have refused.".to_owned(),
        format!(
            "A refused message is known again within {window} by Message-ID and recipient, else by reverse-path and recipient: \
             {} by Message-ID, {} by envelope. By envelope alone, another message of the same sender to the same recipient looks the same.",
            count(by_id),
            count(by_envelope)
        ),
    ];
    if report.total.outcome(Outcome::Refused).messages > 0 {
        lines.push(
            "A refusal at RCPT has no message, and no size: those of one session and reverse-path within 2 s count as one message. \
             A message that is refused again counts once."
                .to_owned(),
        );
    }
    if report.early_refusals > 0 {
        lines.push(format!(
            "{} before there was a recipient (limits, load, the breaker for DNS) belong to no domain and are in no other figure.",
            counted(report.early_refusals, "refusal")
        ));
    }
    lines
}

/// The rule that stopped most of a sender's messages, and how many others did.
pub(crate) fn main_objection(sender: &Sender) -> String {
    let most = Objection::ALL
        .into_iter()
        .max_by_key(|objection| (sender.objections[*objection as usize], std::cmp::Reverse(*objection)));
    let others = sender.objections.iter().filter(|count| **count > 0).count().saturating_sub(1);
    let Some(most) = most.filter(|most| sender.objections[*most as usize] > 0) else {
        return "unknown rule".to_owned();
    };
    if others == 0 { most.words().to_owned() } else { format!("{} +{others}", most.words()) }
}

/// `9 IPv4, 1 IPv6, 2 not seen`: what became of a sender's messages.
pub(crate) fn fates(fates: &Fates) -> String {
    let parts = [
        (Fate::OverV4, "IPv4"),
        (Fate::OverV6, "IPv6"),
        (Fate::Partly, "in part"),
        (Fate::NotSeen, "not seen"),
        (Fate::TooRecent, "open"),
        (Fate::Unwatched, "unknown"),
    ];
    let parts = parts.into_iter().filter(|(fate, _)| fates.count(*fate) > 0);
    parts.map(|(fate, words)| format!("{} {words}", count(fates.count(fate)))).collect::<Vec<_>>().join(", ")
}

/// The domains' names, for the title.
pub(crate) fn subject(report: &Report) -> String {
    match report.domains.len() {
        0 => "no domain".to_owned(),
        1 => report.domains.keys().next().cloned().unwrap_or_default(),
        domains => format!("{domains} domains"),
    }
}
