//! From records to messages. A record is about one recipient; those of one message stand together, but not exactly: shards write in turns,
//! and several gates' logs are read at once.
//!
//! Events wait in a heap until the newest is [`DISORDER_MS`] ahead, then those of one session with the same reverse-path, outcome, size and
//! Message-ID are one [`Attempt`]. A refusal at RCPT has no message: the ones of a session for one reverse-path that lie within
//! [`ATTEMPT_MS`] are taken for one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::event::Event;

/// A client's try to hand over one message, to those recipients for whom it had the same outcome.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The first recipient's record: what it says of session and message holds for all.
    pub(crate) event: Event,
    /// Forward-path and domain of each recipient.
    pub(crate) recipients: Vec<(Box<str>, Box<str>)>,
}

/// Puts events in order and messages together.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    waiting: BinaryHeap<Reverse<Waiting>>,
    newest_ms: u64,
    arrived: u64,
    open: VecDeque<Attempt>,
    /// Number (over all) of the attempt at the front.
    front: u64,
    /// Number of the last open attempt of a session.
    last: HashMap<Box<str>, Vec<u64>>,
}

impl Attempts {
    /// Takes an event, and hands on the attempts that it shows to be whole, oldest first.
    pub(crate) fn push(&mut self, event: Event, mut whole: impl FnMut(Attempt)) {
        self.newest_ms = self.newest_ms.max(event.unix_ms);
        self.waiting.push(Reverse(Waiting { unix_ms: event.unix_ms, number: self.arrived, event }));
        self.arrived += 1;
        while self.waiting.peek().is_some_and(|Reverse(first)| {
            first.unix_ms + DISORDER_MS < self.newest_ms || self.waiting.len() > WAITING_MAX
        }) {
            self.join(&mut whole);
        }
    }

    /// The end of the records.
    pub(crate) fn finish(&mut self, mut whole: impl FnMut(Attempt)) {
        while !self.waiting.is_empty() {
            self.join(&mut whole);
        }
        while let Some(attempt) = self.take_front() {
            whole(attempt);
        }
    }

    /// The oldest event that waits joins its attempt, or begins one.
    fn join(&mut self, whole: &mut impl FnMut(Attempt)) {
        let Some(Reverse(Waiting { event, .. })) = self.waiting.pop() else { return };
        while self
            .open
            .front()
            .is_some_and(|first| first.event.unix_ms + ATTEMPT_MS < event.unix_ms || self.open.len() > OPEN_MAX)
        {
            self.take_front().into_iter().for_each(&mut *whole);
        }
        let numbers = self.last.entry(event.session.clone()).or_default();
        let mut open = numbers.iter().filter_map(|number| usize::try_from(number - self.front).ok());
        let joined = open.find(|at| self.open.get(*at).is_some_and(|attempt| attempt.is_joined_by(&event)));
        if let Some(attempt) = joined.and_then(|at| self.open.get_mut(at)) {
            attempt.recipients.push((event.rcpt_to, event.domain));
            return;
        }
        numbers.push(self.front + self.open.len() as u64);
        let recipients = vec![(event.rcpt_to.clone(), event.domain.clone())];
        self.open.push_back(Attempt { event, recipients });
    }

    fn take_front(&mut self) -> Option<Attempt> {
        let attempt = self.open.pop_front()?;
        if let Some(numbers) = self.last.get_mut(&attempt.event.session) {
            numbers.retain(|number| *number != self.front);
            if numbers.is_empty() {
                self.last.remove(&attempt.event.session);
            }
        }
        self.front += 1;
        Some(attempt)
    }
}

impl Attempt {
    fn is_joined_by(&self, event: &Event) -> bool {
        let own = &self.event;
        let same = own.is_message == event.is_message
            && own.outcome == event.outcome
            && own.objection == event.objection
            && own.size_octets == event.size_octets
            && own.message_id == event.message_id
            && own.mail_from == event.mail_from;
        // A recipient that comes again is another message: two of a newsletter may agree in all else.
        let is_new = || self.recipients.iter().all(|(path, _)| *path != event.rcpt_to);
        same && self.recipients.len() < RECIPIENTS_MAX && is_new()
    }
}

/// An event in the heap, by time and then by arrival.
#[derive(Debug)]
struct Waiting {
    unix_ms: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        (self.unix_ms, self.number).cmp(&(other.unix_ms, other.number))
    }
}

/// How far records may stand from their place: shards write at least once a second, clocks of several gates agree as well as NTP makes them.
const DISORDER_MS: u64 = 3_000;
/// How far the records of one message may lie apart.
const ATTEMPT_MS: u64 = 2_000;
/// Events in the heap: some hundred MB would be beyond it.
const WAITING_MAX: usize = 100_000;
/// Attempts that are put together at the same time.
const OPEN_MAX: usize = 100_000;
/// Recipients of one message; a gate takes no more.
const RECIPIENTS_MAX: usize = 1_000;
