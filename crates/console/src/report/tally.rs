//! Figures: of all mail, and of each recipient domain. Everything has a limit, and says when it was reached.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::attempts::Attempt;
use super::event::{Event, Objection, Outcome};
use super::fallback::{FATES, Fate};

/// How much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) messages: u64,
    pub(crate) recipients: u64,
    pub(crate) octets: u64,
}

impl Volume {
    fn add(&mut self, recipients: u64, octets: u64) {
        self.messages += 1;
        self.recipients += recipients;
        self.octets += octets;
    }
}

/// What became of refused messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fates {
    counts: [u64; FATES],
    /// How many of them were known again by their Message-ID.
    pub(crate) by_message_id: u64,
    /// How long those took that came back, in milliseconds: the first [`TIMES_MAX`].
    times_ms: Vec<u64>,
    /// Those that came back, by bin of [`BINS`] and whether over IPv6.
    pub(crate) histogram: [[u64; 2]; BINS.len()],
}

impl Fates {
    pub(crate) fn count(&self, fate: Fate) -> u64 {
        self.counts[fate as usize]
    }

    /// How many came back, over whatever.
    pub(crate) fn back(&self) -> u64 {
        self.count(Fate::OverV4) + self.count(Fate::OverV6)
    }

    fn add(&mut self, fate: Fate, took_ms: u64, by_message_id: bool, times_max: usize) {
        self.counts[fate as usize] += 1;
        if !matches!(fate, Fate::OverV4 | Fate::OverV6) {
            return;
        }
        self.by_message_id += u64::from(by_message_id);
        if self.times_ms.len() < times_max {
            self.times_ms.push(took_ms);
        }
        let bin = BINS.iter().position(|(end_ms, _)| took_ms < *end_ms).unwrap_or(BINS.len() - 1);
        self.histogram[bin][usize::from(fate == Fate::OverV6)] += 1;
    }

    /// The time within which so many in a hundred were back; none if nothing came back.
    pub(crate) fn percentile_ms(&self, percent: usize) -> Option<u64> {
        let mut times = self.times_ms.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).copied()
    }
}

/// Ends of the bins of times to come back, and their names.
pub(crate) const BINS: [(u64, &str); 9] = [
    (10_000, "<10 s"),
    (60_000, "<1 min"),
    (300_000, "<5 min"),
    (900_000, "<15 min"),
    (3_600_000, "<1 h"),
    (4 * 3_600_000, "<4 h"),
    (12 * 3_600_000, "<12 h"),
    (24 * 3_600_000, "<24 h"),
    (u64::MAX, "later"),
];

/// By what senders are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Network,
    Helo,
    EnvelopeDomain,
    FromDomain,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Network, Kind::Helo, Kind::EnvelopeDomain, Kind::FromDomain];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Network => "client network (/64)",
            Kind::Helo => "HELO name",
            Kind::EnvelopeDomain => "envelope sender domain",
            Kind::FromDomain => "From domain",
        }
    }

    /// Key of the JSON object.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::Network => "networks",
            Kind::Helo => "helo_names",
            Kind::EnvelopeDomain => "envelope_domains",
            Kind::FromDomain => "from_domains",
        }
    }

    fn name(self, event: &Event) -> Option<String> {
        match self {
            Kind::Network => Some(network(event.client)),
            Kind::Helo => Some(event.helo.to_ascii_lowercase()),
            Kind::EnvelopeDomain => Some(envelope_domain(event)),
            Kind::FromDomain => event.from_domain.as_deref().map(str::to_ascii_lowercase),
        }
    }
}

/// The /64 of an IPv6 address; an IPv4 address stands for itself.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// The domain of the reverse-path; `<>` for the null one.
pub(crate) fn envelope_domain(event: &Event) -> String {
    let domain = event.mail_from.rsplit_once('@').map_or(&*event.mail_from, |(_, domain)| domain);
    if domain.is_empty() { NULL_REVERSE_PATH.to_owned() } else { domain.to_ascii_lowercase() }
}

/// One sender of refused mail.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) name: String,
    pub(crate) volume: Volume,
    /// Refusals of messages that had been refused before.
    pub(crate) again: u64,
    pub(crate) objections: [u64; Objection::ALL.len()],
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    /// The first session, and what was known there.
    pub(crate) session: Box<str>,
    pub(crate) facts: Box<str>,
    pub(crate) fates: Fates,
    /// It is known to deliver over IPv4 too; none where that cannot be told, as of a network.
    pub(crate) over_ipv4: Option<bool>,
}

/// Senders of one kind.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    pub(crate) all: Vec<Sender>,
    by_name: HashMap<String, u32>,
    /// Messages of senders for whom there was no more room.
    pub(crate) left_out: u64,
}

impl Senders {
    fn index(&mut self, name: &str, event: &Event) -> Option<u32> {
        if let Some(index) = self.by_name.get(name) {
            return Some(*index);
        }
        let index = u32::try_from(self.all.len()).ok().filter(|index| *index < SENDERS_MAX)?;
        self.by_name.insert(name.to_owned(), index);
        self.all.push(Sender {
            name: name.to_owned(),
            volume: Volume::default(),
            again: 0,
            objections: Default::default(),
            first_ms: event.unix_ms,
            last_ms: event.unix_ms,
            session: event.session.clone(),
            facts: event.facts.clone(),
            fates: Fates::default(),
            over_ipv4: None,
        });
        Some(index)
    }

    /// Those with most messages first.
    pub(crate) fn ranked(&self) -> Vec<&Sender> {
        let mut ranked: Vec<&Sender> = self.all.iter().collect();
        ranked.sort_by(|a, b| (b.volume.messages, &a.name).cmp(&(a.volume.messages, &b.name)));
        ranked
    }
}

/// Which senders of a tally a message belongs to, one a kind.
pub(crate) type Place = [Option<u32>; Kind::ALL.len()];

/// Figures of one recipient domain, or of all.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    sessions: Recent,
    outcomes: [Volume; Outcome::ALL.len()],
    /// Refused messages that came again and were refused again: so many more attempts.
    pub(crate) again: u64,
    /// Mail that a rule would have refused, and that the next hop did refuse.
    pub(crate) next_hop_refused: u64,
    objections: [Volume; Objection::ALL.len()],
    /// Of what was refused, and of what would have been.
    pub(crate) refused: Fates,
    pub(crate) on_trial: Fates,
    senders: [Senders; Kind::ALL.len()],
    /// Messages by hour since 1970 and outcome.
    pub(crate) hours: BTreeMap<u64, [u32; Outcome::ALL.len()]>,
    pub(crate) hours_left_out: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            records: 0,
            first_ms: u64::MAX,
            last_ms: 0,
            sessions: Recent::default(),
            outcomes: Default::default(),
            again: 0,
            next_hop_refused: 0,
            objections: Default::default(),
            refused: Fates::default(),
            on_trial: Fates::default(),
            senders: Default::default(),
            hours: BTreeMap::new(),
            hours_left_out: 0,
        }
    }
}

impl Tally {
    /// A record, before it is known to what message it belongs.
    pub(crate) fn record(&mut self, unix_ms: u64, session: u64) {
        self.records += 1;
        self.first_ms = self.first_ms.min(unix_ms);
        self.last_ms = self.last_ms.max(unix_ms);
        self.sessions.see(session);
    }

    /// A message, to so many recipients of this tally.
    pub(crate) fn message(&mut self, attempt: &Attempt, recipients: u64) -> Place {
        let event = &attempt.event;
        self.outcomes[event.outcome as usize].add(recipients, event.size_octets);
        self.next_hop_refused += u64::from(event.next_hop_refused);
        let hour = event.unix_ms / 3_600_000;
        if self.hours.len() < HOURS_MAX || self.hours.contains_key(&hour) {
            self.hours.entry(hour).or_default()[event.outcome as usize] += 1;
        } else {
            self.hours_left_out += 1;
        }
        if !event.outcome.is_refusal() {
            return Place::default();
        }
        if let Some(objection) = event.objection {
            self.objections[objection as usize].add(recipients, event.size_octets);
        }
        Kind::ALL.map(|kind| self.sent_by(kind, event, recipients))
    }

    fn sent_by(&mut self, kind: Kind, event: &Event, recipients: u64) -> Option<u32> {
        let senders = &mut self.senders[kind as usize];
        let Some(index) = senders.index(&kind.name(event)?, event) else {
            senders.left_out += 1;
            return None;
        };
        let sender = senders.all.get_mut(index as usize)?;
        sender.volume.add(recipients, event.size_octets);
        if let Some(objection) = event.objection {
            sender.objections[objection as usize] += 1;
        }
        sender.last_ms = sender.last_ms.max(event.unix_ms);
        Some(index)
    }

    /// A message that had been refused before was refused again.
    pub(crate) fn message_again(&mut self, event: &Event) {
        self.again += 1;
        for kind in Kind::ALL {
            let Some(name) = kind.name(event) else { continue };
            let senders = &mut self.senders[kind as usize];
            let index = senders.by_name.get(&name).copied();
            if let Some(sender) = index.and_then(|index| senders.all.get_mut(index as usize)) {
                sender.again += 1;
                sender.last_ms = sender.last_ms.max(event.unix_ms);
            }
        }
    }

    /// The fate of a refused message is known.
    pub(crate) fn settle(&mut self, place: &Place, fate: Fate, (took_ms, by_message_id, on_trial): (u64, bool, bool)) {
        let fates = if on_trial { &mut self.on_trial } else { &mut self.refused };
        fates.add(fate, took_ms, by_message_id, TIMES_MAX);
        for (senders, index) in self.senders.iter_mut().zip(place) {
            if let Some(sender) = index.and_then(|index| senders.all.get_mut(index as usize)) {
                sender.fates.add(fate, took_ms, by_message_id, SENDER_TIMES_MAX);
            }
        }
    }

    /// Whose mail also came over IPv4, by what was seen there.
    pub(crate) fn compare(&mut self, came_over_ipv4: impl Fn(Kind, &str) -> bool) {
        for kind in [Kind::Helo, Kind::EnvelopeDomain] {
            for sender in &mut self.senders[kind as usize].all {
                sender.over_ipv4 = (sender.name != NULL_REVERSE_PATH).then(|| came_over_ipv4(kind, &sender.name));
            }
        }
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> Volume {
        self.outcomes[outcome as usize]
    }

    pub(crate) fn objection(&self, objection: Objection) -> Volume {
        self.objections[objection as usize]
    }

    pub(crate) fn senders(&self, kind: Kind) -> &Senders {
        &self.senders[kind as usize]
    }

    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.count
    }

    /// Messages that a rule refused or would have refused.
    pub(crate) fn objected(&self) -> u64 {
        self.outcome(Outcome::WouldRefuse).messages + self.outcome(Outcome::Refused).messages
    }

    /// Messages over IPv6 that the rules were asked about, or would have let through: what a share is of.
    pub(crate) fn judged(&self) -> u64 {
        self.outcome(Outcome::AcceptedV6).messages + self.objected()
    }

    /// Would-be-refused messages of envelope domains that also deliver over IPv4.
    pub(crate) fn known_over_ipv4(&self) -> u64 {
        let senders = self.senders(Kind::EnvelopeDomain).all.iter().filter(|sender| sender.over_ipv4 == Some(true));
        senders.map(|sender| sender.volume.messages).sum()
    }
}

/// Counts what is different, of what comes close together: remembers the last ones, so that it needs no more memory for more.
#[derive(Debug, Default)]
struct Recent {
    count: u64,
    current: HashSet<u64>,
    before: HashSet<u64>,
}

impl Recent {
    fn see(&mut self, hash: u64) {
        if self.current.contains(&hash) {
            return;
        }
        if self.current.len() >= RECENT_MAX {
            self.before = std::mem::take(&mut self.current);
        }
        self.count += u64::from(!self.before.contains(&hash));
        self.current.insert(hash);
    }
}

/// How the null reverse-path is shown.
const NULL_REVERSE_PATH: &str = "<>";
/// Senders of one kind of one tally.
pub(crate) const SENDERS_MAX: u32 = 10_000;
/// Times that percentiles are made of: of a tally, and of a sender.
const TIMES_MAX: usize = 20_000;
const SENDER_TIMES_MAX: usize = 100;
/// More than a year.
const HOURS_MAX: usize = 10_000;
/// Sessions that are remembered twice.
const RECENT_MAX: usize = 16_384;
