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
    /// How long those took that came back, in milliseconds: the first [`TIMES_MAX`], or [`SENDER_TIMES_MAX`].
    times_ms: Vec<u64>,
}

/// Messages that came back, by bin of [`BINS`] and whether over IPv6.
pub(crate) type Histogram = [[u64; 2]; BINS.len()];

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
        if !fate.is_back() {
            return;
        }
        self.by_message_id += u64::from(by_message_id);
        if self.times_ms.len() < times_max {
            self.times_ms.push(took_ms);
        }
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
    /// How many of its messages were on trial: taken, and would have been refused.
    pub(crate) on_trial_messages: u64,
    /// Further tries with messages that are counted.
    pub(crate) again: u64,
    pub(crate) objections: [u64; Objection::ALL.len()],
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    /// The first session, and what was known there.
    pub(crate) session: Box<str>,
    pub(crate) facts: Box<str>,
    /// Of what was refused, and of what was on trial.
    pub(crate) refused: Fates,
    pub(crate) on_trial: Fates,
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
    /// Those of them that were on trial.
    left_out_on_trial: u64,
}

impl Senders {
    /// The place of a sender; none if there is no room for a new one, be it here or in `room` for all domains.
    fn index(&mut self, name: &str, event: &Event, senders_max: u32, room: &mut u32) -> Option<u32> {
        if let Some(index) = self.by_name.get(name) {
            return Some(*index);
        }
        let index = u32::try_from(self.all.len()).ok().filter(|index| *index < senders_max && *room > 0)?;
        *room -= 1;
        self.by_name.insert(name.to_owned(), index);
        self.all.push(Sender {
            name: name.to_owned(),
            volume: Volume::default(),
            on_trial_messages: 0,
            again: 0,
            objections: Default::default(),
            first_ms: event.unix_ms,
            last_ms: event.unix_ms,
            session: event.session.clone(),
            facts: event.facts.clone(),
            refused: Fates::default(),
            on_trial: Fates::default(),
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
    /// Senders of each kind that it has room for.
    senders_max: u32,
    pub(crate) records: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    sessions: Recent,
    outcomes: [Volume; Outcome::ALL.len()],
    /// Further tries with messages that are counted: refused again, or copies of what is on trial.
    pub(crate) again: u64,
    /// Mail that a rule would have refused, and that the next hop did refuse.
    pub(crate) next_hop_refused: u64,
    objections: [Volume; Objection::ALL.len()],
    /// Messages on trial to which a rule objected only because DNS failed.
    pub(crate) temporary_on_trial: u64,
    /// Of what was refused, and of what would have been.
    pub(crate) refused: Fates,
    pub(crate) on_trial: Fates,
    /// The same over time: of what was refused, and of what would have been.
    pub(crate) refused_histogram: Histogram,
    pub(crate) on_trial_histogram: Histogram,
    senders: [Senders; Kind::ALL.len()],
    /// Messages by hour since 1970 and outcome.
    pub(crate) hours: BTreeMap<u64, [u32; Outcome::ALL.len()]>,
    pub(crate) hours_left_out: u64,
}

impl Tally {
    /// Nothing yet, with room for so many senders of each kind.
    pub(crate) fn new(senders_max: u32) -> Tally {
        Tally {
            senders_max,
            records: 0,
            first_ms: u64::MAX,
            last_ms: 0,
            sessions: Recent::default(),
            outcomes: Default::default(),
            again: 0,
            next_hop_refused: 0,
            objections: Default::default(),
            temporary_on_trial: 0,
            refused: Fates::default(),
            on_trial: Fates::default(),
            refused_histogram: Histogram::default(),
            on_trial_histogram: Histogram::default(),
            senders: Default::default(),
            hours: BTreeMap::new(),
            hours_left_out: 0,
        }
    }

    /// A record, before it is known to what message it belongs.
    pub(crate) fn record(&mut self, unix_ms: u64, session: u64) {
        self.records += 1;
        self.first_ms = self.first_ms.min(unix_ms);
        self.last_ms = self.last_ms.max(unix_ms);
        self.sessions.see(session);
    }

    /// A message, to so many recipients of this tally. A sender that is new takes one of `room`.
    pub(crate) fn message(&mut self, attempt: &Attempt, recipients: u64, room: &mut u32) -> Place {
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
            self.temporary_on_trial += u64::from(event.is_on_trial() && objection.is_temporary());
        }
        Kind::ALL.map(|kind| self.sent_by(kind, event, recipients, room))
    }

    fn sent_by(&mut self, kind: Kind, event: &Event, recipients: u64, room: &mut u32) -> Option<u32> {
        let senders = &mut self.senders[kind as usize];
        let Some(index) = senders.index(&kind.name(event)?, event, self.senders_max, room) else {
            senders.left_out += 1;
            senders.left_out_on_trial += u64::from(event.is_on_trial());
            return None;
        };
        let sender = senders.all.get_mut(index as usize)?;
        sender.volume.add(recipients, event.size_octets);
        sender.on_trial_messages += u64::from(event.is_on_trial());
        if let Some(objection) = event.objection {
            sender.objections[objection as usize] += 1;
        }
        sender.last_ms = sender.last_ms.max(event.unix_ms);
        Some(index)
    }

    /// Another try with a message that is counted.
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
        if fate.is_back() {
            let histogram = if on_trial { &mut self.on_trial_histogram } else { &mut self.refused_histogram };
            let bin = BINS.iter().position(|(end_ms, _)| took_ms < *end_ms).unwrap_or(BINS.len() - 1);
            histogram[bin][usize::from(fate == Fate::OverV6)] += 1;
        }
        for (senders, index) in self.senders.iter_mut().zip(place) {
            if let Some(sender) = index.and_then(|index| senders.all.get_mut(index as usize)) {
                let fates = if on_trial { &mut sender.on_trial } else { &mut sender.refused };
                fates.add(fate, took_ms, by_message_id, SENDER_TIMES_MAX);
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

    /// Messages on trial of envelope domains that there was no room for: of these it is not known.
    pub(crate) fn on_trial_left_out(&self) -> u64 {
        self.senders(Kind::EnvelopeDomain).left_out_on_trial
    }

    /// Messages on trial of envelope domains that also deliver over IPv4.
    pub(crate) fn on_trial_known_over_ipv4(&self) -> u64 {
        let senders = self.senders(Kind::EnvelopeDomain).all.iter().filter(|sender| sender.over_ipv4 == Some(true));
        senders.map(|sender| sender.on_trial_messages).sum()
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
/// Times that percentiles are made of: of a tally, and of a sender.
const TIMES_MAX: usize = 20_000;
const SENDER_TIMES_MAX: usize = 32;
/// More than a year.
const HOURS_MAX: usize = 10_000;
/// Sessions that are remembered twice.
const RECENT_MAX: usize = 16_384;
