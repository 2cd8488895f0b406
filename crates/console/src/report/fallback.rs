//! Whether what was refused came again, and over what.
//!
//! A refused message waits for each of its recipients under two keys: Message-ID and recipient, and reverse-path and recipient. Mail that is
//! taken settles what waits under its own; two different Message-IDs are two messages, whatever their envelopes. What has not come after the
//! window was not seen again, unless the records end before that.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::attempts::Attempt;
use super::event::Outcome;

/// What became of a refused message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All recipients got it, the last over IPv4.
    OverV4,
    /// All recipients got it, the last over IPv6.
    OverV6,
    /// Some recipients got it, others did not.
    Partly,
    /// Not seen in the whole window.
    NotSeen,
    /// The records end before its window.
    TooRecent,
    /// It was not watched: more were waiting than the report remembers.
    Unwatched,
}

/// How many, by fate.
pub(crate) const FATES: usize = 6;

/// The end of a refused message's story.
#[derive(Debug)]
pub(crate) struct Settled<P> {
    /// What the message was watched for.
    pub(crate) place: P,
    pub(crate) fate: Fate,
    /// From the first refusal to the last recipient that got it.
    pub(crate) took_ms: u64,
    /// It was known again by its Message-ID, not only by its envelope.
    pub(crate) by_message_id: bool,
    /// It was not refused, only would have been.
    pub(crate) on_trial: bool,
}

/// The messages that were refused and may come again. `P` is what the caller wants to hear with their fate.
#[derive(Debug)]
pub(crate) struct Fallback<P> {
    window_ms: u64,
    watched_max: usize,
    watched: VecDeque<Option<Watched<P>>>,
    /// Number (over all) of the one at the front.
    front: u64,
    by_key: HashMap<u64, u64>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Watched<P> {
    place: P,
    refused_ms: u64,
    on_trial: bool,
    message_id: Option<u64>,
    by_message_id: bool,
    /// Recipients, and those that still lack the message.
    recipients: usize,
    missing: usize,
    keys: Vec<u64>,
}

impl<P> Fallback<P> {
    /// Waits so long for each; remembers at most so many.
    pub(crate) fn new(window_ms: u64, watched_max: usize) -> Fallback<P> {
        let (watched, by_key, hasher) = (VecDeque::new(), HashMap::new(), RandomState::new());
        Fallback { window_ms, watched_max, watched, front: 0, by_key, hasher }
    }

    /// It is `now_ms`: what has waited long enough is settled.
    pub(crate) fn pass(&mut self, now_ms: u64, mut settled: impl FnMut(Settled<P>)) {
        while let Some(first) = self.watched.front() {
            if first.as_ref().is_some_and(|first| first.refused_ms + self.window_ms >= now_ms) {
                break;
            }
            self.take_front(Fate::NotSeen).into_iter().for_each(&mut settled);
        }
    }

    /// The records end.
    pub(crate) fn finish(&mut self, end_ms: u64, mut settled: impl FnMut(Settled<P>)) {
        self.pass(end_ms, &mut settled);
        while !self.watched.is_empty() {
            self.take_front(Fate::TooRecent).into_iter().for_each(&mut settled);
        }
    }

    /// Mail was taken: perhaps it is what was refused before.
    pub(crate) fn taken(&mut self, attempt: &Attempt, mut settled: impl FnMut(Settled<P>)) {
        for (path, _) in &attempt.recipients {
            let Some((number, by_message_id)) = self.find(attempt, path) else { continue };
            let Some(watched) = self.at(number) else { continue };
            if attempt.event.outcome == Outcome::WouldRefuse && watched.on_trial {
                continue;
            }
            watched.by_message_id |= by_message_id;
            watched.missing = watched.missing.saturating_sub(1);
            let is_whole = watched.missing == 0;
            self.forget_keys(number, attempt, path);
            if is_whole {
                let fate = if attempt.event.client.is_ipv4() { Fate::OverV4 } else { Fate::OverV6 };
                self.take(number, fate, attempt.event.unix_ms).into_iter().for_each(&mut settled);
            }
        }
    }

    /// Whether this refusal is of a message that was refused before; recipients that were not there then are waited for as well.
    pub(crate) fn is_again(&mut self, attempt: &Attempt) -> bool {
        let on_trial = attempt.event.outcome == Outcome::WouldRefuse;
        let before = attempt.recipients.iter().find_map(|(path, _)| {
            let (number, by_message_id) = self.find(attempt, path)?;
            let watched = self.at(number)?;
            // On trial the first was taken: only the same Message-ID makes the second one its copy.
            (watched.on_trial == on_trial && (by_message_id || !on_trial)).then_some(number)
        });
        let Some(number) = before else { return false };
        for (path, _) in &attempt.recipients {
            if self.find(attempt, path).is_none() {
                self.add_recipient(number, attempt, path);
            }
        }
        true
    }

    /// Waits for a message that was refused for the first time. What had to be given up for it is handed on.
    pub(crate) fn watch(&mut self, attempt: &Attempt, place: P) -> Option<Settled<P>> {
        let given_up = if self.watched.len() >= self.watched_max { self.take_front(Fate::Unwatched) } else { None };
        let event = &attempt.event;
        let number = self.front + self.watched.len() as u64;
        self.watched.push_back(Some(Watched {
            place,
            refused_ms: event.unix_ms,
            on_trial: event.outcome == Outcome::WouldRefuse,
            message_id: event.message_id.as_deref().map(|id| self.hasher.hash_one(id)),
            by_message_id: false,
            recipients: 0,
            missing: 0,
            keys: Vec::new(),
        }));
        for (path, _) in &attempt.recipients {
            self.add_recipient(number, attempt, path);
        }
        given_up
    }

    fn add_recipient(&mut self, number: u64, attempt: &Attempt, path: &str) {
        let keys = self.keys(attempt, path);
        let Some(watched) = self.at(number) else { return };
        watched.recipients += 1;
        watched.missing += 1;
        watched.keys.extend(keys.iter().flatten());
        for key in keys.into_iter().flatten() {
            self.by_key.insert(key, number);
        }
    }

    /// Message-ID and recipient, if there is one; reverse-path and recipient. Domains do not differ by case, and few local parts do.
    fn keys(&self, attempt: &Attempt, path: &str) -> [Option<u64>; 2] {
        let path = path.to_lowercase();
        let id = attempt.event.message_id.as_deref();
        let envelope = self.hasher.hash_one(("envelope", attempt.event.mail_from.to_lowercase(), &path));
        [id.map(|id| self.hasher.hash_one(("message-id", id, &path))), Some(envelope)]
    }

    /// The one that waits for this message at this recipient, and whether its Message-ID says so.
    fn find(&mut self, attempt: &Attempt, path: &str) -> Option<(u64, bool)> {
        let [by_id, by_envelope] = self.keys(attempt, path).map(|key| Some(*self.by_key.get(&key?)?));
        if let Some(number) = by_id {
            return Some((number, true));
        }
        let number = by_envelope?;
        let own = attempt.event.message_id.as_deref().map(|id| self.hasher.hash_one(id));
        let other = self.at(number)?.message_id;
        let differ = own.is_some() && other.is_some() && own != other;
        (!differ).then_some((number, false))
    }

    fn forget_keys(&mut self, number: u64, attempt: &Attempt, path: &str) {
        for key in self.keys(attempt, path).into_iter().flatten() {
            if self.by_key.get(&key) == Some(&number) {
                self.by_key.remove(&key);
            }
        }
    }

    fn at(&mut self, number: u64) -> Option<&mut Watched<P>> {
        self.watched.get_mut(usize::try_from(number.checked_sub(self.front)?).ok()?)?.as_mut()
    }

    fn take(&mut self, number: u64, fate: Fate, now_ms: u64) -> Option<Settled<P>> {
        let at = usize::try_from(number.checked_sub(self.front)?).ok()?;
        let watched = self.watched.get_mut(at)?.take()?;
        for key in &watched.keys {
            if self.by_key.get(key) == Some(&number) {
                self.by_key.remove(key);
            }
        }
        let is_part = watched.missing > 0 && watched.missing < watched.recipients;
        Some(Settled {
            fate: if is_part && fate == Fate::NotSeen { Fate::Partly } else { fate },
            took_ms: now_ms.saturating_sub(watched.refused_ms),
            by_message_id: watched.by_message_id,
            on_trial: watched.on_trial,
            place: watched.place,
        })
    }

    fn take_front(&mut self, fate: Fate) -> Option<Settled<P>> {
        let settled = self.take(self.front, fate, 0);
        if self.watched.pop_front().is_some() {
            self.front += 1;
        }
        settled
    }
}
