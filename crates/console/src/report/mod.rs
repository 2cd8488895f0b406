//! `mx6 report`: what enforcing the rules would refuse, or did; from whom, how much, and whether it came back.
//!
//! Records are read once, in order of time ([`input`]), put together to messages ([`attempts`]), followed until they come back ([`fallback`]),
//! and counted ([`tally`]). Memory does not grow with the log: senders, domains and refusals that are waited for have limits, and
//! [`Report::limits_reached`] says which were met.

mod attempts;
mod event;
mod fallback;
mod html;
mod input;
mod json;
mod plots;
mod tally;
mod text;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use attempts::{Attempt, Attempts};
use event::{Event, Outcome};
use fallback::{Fallback, Settled};
pub use input::Missing;
use tally::{Kind, Place, SENDERS_MAX, Tally, envelope_domain};

use crate::records::Record;

/// What is to be reported on.
#[derive(Debug, Clone)]
pub struct Options {
    /// Recipient domains, as A-labels in lower case; empty for all.
    pub domains: Vec<String>,
    /// Records from here on, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Records before this.
    pub until_ms: Option<u64>,
    /// How long a refused message may take to come again.
    pub fallback_window_ms: u64,
    /// How many senders of each kind are shown.
    pub top: usize,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A log cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A plot could not be drawn: ours.
    #[error("cannot draw the plots: {0}")]
    Draw(String),
}

/// The figures.
#[derive(Debug)]
pub struct Report {
    options: Options,
    missing: Missing,
    total: Tally,
    domains: BTreeMap<String, Tally>,
    /// Refusals before there was a recipient: no domain can be charged with them.
    early_refusals: u64,
    limits_reached: Vec<String>,
}

impl Report {
    /// Reads all files (standard input if there are none, or for `-`), in whatever order they are named.
    ///
    /// # Errors
    /// A file cannot be opened. Lines that are no records are counted, and [`Report::missing`] tells of them.
    pub fn read(options: Options, files: &[PathBuf]) -> Result<Report, ReportError> {
        let mut counting = Counting::new(options);
        let missing = input::read(files, |record| counting.record(record))?;
        Ok(counting.finish(missing))
    }

    /// What the report cannot know.
    #[must_use]
    pub fn missing(&self) -> &Missing {
        &self.missing
    }

    /// The limits of this report that were met: what it says beyond them is less than what was.
    #[must_use]
    pub fn limits_reached(&self) -> &[String] {
        &self.limits_reached
    }

    /// For a terminal, in at most 100 columns.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::text(self)
    }

    /// One object, for scripts: all senders, times in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json::json(self)
    }

    /// One page that loads nothing.
    ///
    /// # Errors
    /// [`ReportError::Draw`].
    pub fn to_html(&self) -> Result<String, ReportError> {
        html::page(self)
    }
}

/// The report while it is made.
struct Counting {
    options: Options,
    attempts: Attempts,
    fallback: Fallback<Watch>,
    total: Tally,
    domains: BTreeMap<String, Tally>,
    early_refusals: u64,
    domains_left_out: bool,
    unwatched: u64,
    over_ipv4: OverIpv4,
    hasher: RandomState,
}

/// Where the fate of a refused message is to be counted.
type Watch = (Place, Vec<(Box<str>, Place)>);

impl Counting {
    fn new(options: Options) -> Counting {
        Counting {
            fallback: Fallback::new(options.fallback_window_ms, WATCHED_MAX),
            options,
            attempts: Attempts::default(),
            total: Tally::default(),
            domains: BTreeMap::new(),
            early_refusals: 0,
            domains_left_out: false,
            unwatched: 0,
            over_ipv4: OverIpv4::default(),
            hasher: RandomState::new(),
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let options = &self.options;
        let is_outside = options.since_ms.is_some_and(|since_ms| record.unix_ms < since_ms)
            || options.until_ms.is_some_and(|until_ms| record.unix_ms >= until_ms);
        if is_outside {
            return;
        }
        let Some(event) = Event::of(record) else {
            self.early_refusals += 1;
            return;
        };
        if !options.domains.is_empty() && !options.domains.iter().any(|domain| **domain == *event.domain) {
            return;
        }
        let session = self.hasher.hash_one(&event.session);
        self.total.record(event.unix_ms, session);
        if let Some(tally) = self.domain(&event.domain, event.is_foreign) {
            tally.record(event.unix_ms, session);
        }
        let mut whole = Vec::new();
        self.attempts.push(event, |attempt| whole.push(attempt));
        whole.iter().for_each(|attempt| self.attempt(attempt));
    }

    /// The tally of a domain; none for what is not served here, and for more domains than the report has room for.
    fn domain(&mut self, domain: &str, is_foreign: bool) -> Option<&mut Tally> {
        if is_foreign || domain.is_empty() {
            return None;
        }
        if !self.domains.contains_key(domain) {
            if self.domains.len() >= DOMAINS_MAX {
                self.domains_left_out = true;
                return None;
            }
            self.domains.insert(domain.to_owned(), Tally::default());
        }
        self.domains.get_mut(domain)
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let outcome = attempt.event.outcome;
        let mut settled = Vec::new();
        self.fallback.pass(attempt.event.unix_ms, |one| settled.push(one));
        if outcome.is_taken() {
            self.fallback.taken(attempt, |one| settled.push(one));
        }
        if outcome == Outcome::AcceptedV4 {
            self.over_ipv4.see(&attempt.event);
        }
        let recipients = by_domain(attempt);
        if outcome.is_refusal() && self.fallback.is_again(attempt) {
            self.total.message_again(&attempt.event);
            for domain in recipients.keys() {
                if let Some(tally) = self.domain(domain, false) {
                    tally.message_again(&attempt.event);
                }
            }
        } else {
            let place = self.total.message(attempt, attempt.recipients.len() as u64);
            let mut places = Vec::new();
            for (domain, recipients) in recipients {
                if let Some(tally) = self.domain(domain, attempt.event.is_foreign) {
                    places.push((domain.into(), tally.message(attempt, recipients)));
                }
            }
            if outcome.is_refusal() {
                settled.extend(self.fallback.watch(attempt, (place, places)));
            }
        }
        settled.into_iter().for_each(|one| self.settle(one));
    }

    fn settle(&mut self, settled: Settled<Watch>) {
        let (place, places) = settled.place;
        let story = (settled.took_ms, settled.by_message_id, settled.on_trial);
        self.unwatched += u64::from(settled.fate == fallback::Fate::Unwatched);
        self.total.settle(&place, settled.fate, story);
        for (domain, place) in places {
            if let Some(tally) = self.domains.get_mut(&*domain) {
                tally.settle(&place, settled.fate, story);
            }
        }
    }

    fn finish(mut self, missing: Missing) -> Report {
        let mut whole = Vec::new();
        self.attempts.finish(|attempt| whole.push(attempt));
        whole.iter().for_each(|attempt| self.attempt(attempt));
        let mut settled = Vec::new();
        self.fallback.finish(self.total.last_ms, |one| settled.push(one));
        settled.into_iter().for_each(|one| self.settle(one));
        for tally in self.domains.values_mut().chain([&mut self.total]) {
            tally.compare(|kind, name| self.over_ipv4.has(kind, name));
        }
        Report {
            limits_reached: self.limits_reached(),
            options: self.options,
            missing,
            total: self.total,
            domains: self.domains,
            early_refusals: self.early_refusals,
        }
    }

    fn limits_reached(&self) -> Vec<String> {
        let mut reached = Vec::new();
        if self.domains_left_out {
            reached.push(format!("more than {DOMAINS_MAX} recipient domains: further ones are in the total only; name yours with --domain"));
        }
        if self.unwatched > 0 {
            let unwatched = crate::units::counted(self.unwatched, "refused message");
            reached.push(format!(
                "{unwatched} could not be followed, because more than {WATCHED_MAX} were waited for at once; a shorter --fallback-window needs fewer"
            ));
        }
        for kind in Kind::ALL {
            let left_out = self.total.senders(kind).left_out;
            if left_out > 0 {
                let messages = crate::units::counted(left_out, "message");
                reached.push(format!("{messages} of a {} beyond the first {SENDERS_MAX} are in no list", kind.words()));
            }
        }
        if self.over_ipv4.is_full {
            reached.push(format!("more than {OVER_IPV4_MAX} senders over IPv4: `also over IPv4` is not known of all"));
        }
        if self.total.hours_left_out > 0 {
            reached.push(
                "the plot of messages over time ends before the records do: they span more than a year".to_owned(),
            );
        }
        reached
    }
}

/// How many of an attempt's recipients each domain has.
fn by_domain(attempt: &Attempt) -> BTreeMap<&str, u64> {
    let mut domains = BTreeMap::new();
    for (_, domain) in &attempt.recipients {
        *domains.entry(&**domain).or_default() += 1;
    }
    domains
}

/// HELO names and envelope domains whose mail was taken over IPv4.
#[derive(Debug, Default)]
struct OverIpv4 {
    seen: HashSet<u64>,
    hasher: RandomState,
    is_full: bool,
}

impl OverIpv4 {
    fn see(&mut self, event: &Event) {
        for (kind, name) in
            [(Kind::Helo, event.helo.to_ascii_lowercase()), (Kind::EnvelopeDomain, envelope_domain(event))]
        {
            if self.seen.len() < OVER_IPV4_MAX {
                self.seen.insert(self.key(kind, &name));
            } else {
                self.is_full = true;
            }
        }
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        self.seen.contains(&self.key(kind, name))
    }

    fn key(&self, kind: Kind, name: &str) -> u64 {
        self.hasher.hash_one((kind as u8, name))
    }
}

/// Recipient domains with figures of their own.
const DOMAINS_MAX: usize = 256;
/// Refused messages that are waited for at once; each takes some hundred octets.
const WATCHED_MAX: usize = 200_000;
/// Names that are remembered, 16 octets each.
const OVER_IPV4_MAX: usize = 1_000_000;
