//! Who has got which message already, after an LMTP next hop took it for some recipients and not for others.
//!
//! Such a message is deferred as a whole, for SMTP has one reply after the dot (RFC 5321 §4.1.1.4), and comes again for all. The ledger
//! lets that retry skip who has it. It is memory and bounded, shared by the shards of a process: an entry that is lost, by a restart
//! or to a newer one, means that somebody gets a message twice, and never that somebody does not get it.
//!
//! **An entry** says that this recipient has the message of this digest from this reverse-path; the digest is SHA-256 over the octets
//! as the client sent them. Whoever sends the same octets in the same envelope is told 250 though nothing is delivered: the recipient
//! has exactly that.
//!
//! **Who was refused for good** is not skipped: told 250 it would be a loss, and told 5xx for the whole message a false bounce for those
//! who have it. Instead the recipient is marked as *alone*: in the next transactions of the same reverse-path it is not taken together with
//! others (452 4.5.3, too many recipients), so that each hears its own reply. A mark is not a verdict: it costs a transaction more, so it
//! may stand for any message of that envelope and needs no digest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use mx6_runtime::now_ms;

use crate::{LEDGER_LIFETIME, LEDGER_OCTETS_MAX};

/// SHA-256.
pub(crate) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// What the shards of a process remember of LMTP deliveries.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Whether there ever was an entry: most processes never take the lock.
    is_used: AtomicBool,
    entries: Mutex<Entries>,
    recorded: AtomicU64,
    evicted: AtomicU64,
}

/// Counters of a ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerCounters {
    /// Entries since the start, marks included.
    pub recorded: u64,
    /// Entries that had to go before their time.
    pub evicted: u64,
    /// Entries now.
    pub held: usize,
}

#[derive(Debug, Default)]
struct Entries {
    /// By envelope: what is known of it, oldest first.
    known: HashMap<Digest, VecDeque<Entry>>,
    /// The envelopes of all entries, oldest first.
    order: VecDeque<Digest>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    fact: Fact,
    until_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    /// It has the message of this digest.
    Has(Digest),
    /// It was refused for good where others were not.
    Alone,
}

impl Ledger {
    /// Whether anything at all is known of this envelope; cheap while the ledger is empty.
    pub(crate) fn knows(&self, reverse_path: &str, forward_path: &str) -> bool {
        self.any(reverse_path, forward_path, |fact| matches!(fact, Fact::Has(_)))
    }

    /// Whether this recipient has the message of this digest.
    pub(crate) fn has(&self, reverse_path: &str, forward_path: &str, message: &Digest) -> bool {
        self.any(reverse_path, forward_path, |fact| fact == Fact::Has(*message))
    }

    /// Whether this recipient is to be in a transaction of its own.
    pub(crate) fn is_alone(&self, reverse_path: &str, forward_path: &str) -> bool {
        self.any(reverse_path, forward_path, |fact| fact == Fact::Alone)
    }

    /// Remembers that this recipient has the message of this digest.
    pub(crate) fn record(&self, reverse_path: &str, forward_path: &str, message: Digest) {
        self.add(envelope(reverse_path, forward_path), Fact::Has(message), now_ms());
    }

    /// Marks this recipient.
    pub(crate) fn mark_alone(&self, reverse_path: &str, forward_path: &str) {
        self.add(envelope(reverse_path, forward_path), Fact::Alone, now_ms());
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> LedgerCounters {
        LedgerCounters {
            recorded: self.recorded.load(Ordering::Relaxed),
            evicted: self.evicted.load(Ordering::Relaxed),
            held: self.lock().order.len(),
        }
    }

    fn any(&self, reverse_path: &str, forward_path: &str, is_meant: impl Fn(Fact) -> bool) -> bool {
        if !self.is_used.load(Ordering::Acquire) {
            return false;
        }
        let (envelope, now_ms) = (envelope(reverse_path, forward_path), now_ms());
        let entries = self.lock();
        let known = entries.known.get(&envelope);
        known.is_some_and(|known| known.iter().any(|entry| entry.until_ms > now_ms && is_meant(entry.fact)))
    }

    fn add(&self, envelope: Digest, fact: Fact, now_ms: u64) {
        let mut entries = self.lock();
        // Said again, it lives longer.
        entries.remove(&envelope, fact);
        entries.expire(now_ms);
        while entries.order.len() >= ENTRIES_MAX && entries.remove_oldest() {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        let until_ms = now_ms.saturating_add(LEDGER_LIFETIME.as_millis() as u64);
        entries.known.entry(envelope).or_default().push_back(Entry { fact, until_ms });
        entries.order.push_back(envelope);
        self.recorded.fetch_add(1, Ordering::Relaxed);
        self.is_used.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// All live equally long, so the oldest goes first.
    fn expire(&mut self, now_ms: u64) {
        let is_over = |entries: &Entries| {
            let oldest = entries.order.front().and_then(|envelope| entries.known.get(envelope)?.front());
            oldest.is_some_and(|entry| entry.until_ms <= now_ms)
        };
        while is_over(self) && self.remove_oldest() {}
    }

    fn remove_oldest(&mut self) -> bool {
        let Some(envelope) = self.order.pop_front() else { return false };
        if let Some(known) = self.known.get_mut(&envelope) {
            known.pop_front();
            self.give_room_back(&envelope);
        }
        true
    }

    /// After an entry of this envelope went.
    fn give_room_back(&mut self, envelope: &Digest) {
        let Some(known) = self.known.get_mut(envelope) else { return };
        if known.is_empty() {
            self.known.remove(envelope);
        } else if known.capacity() > PLACES_MAX * known.len() {
            known.shrink_to(PLACES_MAX / 2 * known.len());
        }
    }

    /// Rare, and rarer still of an envelope with many entries: a mixed outcome that comes again.
    fn remove(&mut self, envelope: &Digest, fact: Fact) {
        let Some(known) = self.known.get_mut(envelope) else { return };
        let Some(at) = known.iter().position(|entry| entry.fact == fact) else { return };
        known.remove(at);
        self.give_room_back(envelope);
        // The same place among the entries of this envelope, which stand in the same order.
        let place = self.order.iter().enumerate().filter(|(_, other)| *other == envelope).nth(at);
        if let Some((place, _)) = place {
            self.order.remove(place);
        }
    }
}

/// Reverse-path and forward-path; the first is without a line end, so the two cannot be confused with others.
fn envelope(reverse_path: &str, forward_path: &str) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(reverse_path.as_bytes());
    context.update(b"\n");
    context.update(forward_path.as_bytes());
    finish(context)
}

/// The digest that `context` has come to.
pub(crate) fn finish(context: digest::Context) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// What an entry takes, map and queues included, at the worst: an envelope of its own (32 octets of key twice, a queue of four places of
/// 48 octets, a slot of the map at half its load).
const ENTRY_OCTETS: usize = 400;
/// So many places of a queue has an entry at the most.
const PLACES_MAX: usize = 4;
const ENTRIES_MAX: usize = LEDGER_OCTETS_MAX / ENTRY_OCTETS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_an_envelope() {
        let ledger = Ledger::default();
        let (one, two) = ([1; 32], [2; 32]);
        assert!(!ledger.knows("s@a", "r@b") && !ledger.is_alone("s@a", "r@b"));
        ledger.record("s@a", "r@b", one);
        ledger.mark_alone("s@a", "q@b");
        // (reverse-path, forward-path, knows, has one, has two, is alone)
        let cases = [
            ("s@a", "r@b", true, true, false, false),
            ("s@a", "q@b", false, false, false, true),
            ("s@a", "R@b", false, false, false, false),
            ("", "r@b", false, false, false, false),
            ("s@ar@b", "", false, false, false, false),
        ];
        for (from, to, knows, has_one, has_two, alone) in cases {
            let got = (ledger.knows(from, to), ledger.has(from, to, &one), ledger.has(from, to, &two));
            assert_eq!((got, ledger.is_alone(from, to)), ((knows, has_one, has_two), alone), "{from} {to}");
        }
        ledger.record("s@a", "r@b", two);
        assert!(ledger.has("s@a", "r@b", &one) && ledger.has("s@a", "r@b", &two));
        // Said again, an entry stays one.
        ledger.record("s@a", "r@b", one);
        ledger.mark_alone("s@a", "q@b");
        assert_eq!(ledger.counters(), LedgerCounters { recorded: 5, evicted: 0, held: 3 });
    }

    #[test]
    fn it_is_bounded_and_forgets() {
        let ledger = Ledger::default();
        let lifetime_ms = LEDGER_LIFETIME.as_millis() as u64;
        let envelope_of = |number: usize| envelope("s@a", &number.to_string());
        for number in 0..ENTRIES_MAX + 10 {
            ledger.add(envelope_of(number), Fact::Has([0; 32]), 0);
        }
        let counters = ledger.counters();
        assert_eq!((counters.held, counters.evicted), (ENTRIES_MAX, 10));
        assert!(!ledger.lock().known.contains_key(&envelope_of(9)), "the oldest go first");
        assert!(ledger.lock().known.contains_key(&envelope_of(10)));
        ledger.add(envelope_of(0), Fact::Alone, lifetime_ms);
        assert_eq!((ledger.counters().held, ledger.counters().evicted), (1, 10), "over is not evicted");
        let entries = ledger.lock();
        assert_eq!((entries.known.len(), entries.order.len()), (1, 1));
        // 48 octets an entry, as reckoned above.
        assert!(size_of::<Entry>() <= 48);
    }

    #[test]
    fn who_had_many_entries_keeps_no_room_for_them() {
        let ledger = Ledger::default();
        let many = envelope("s@a", "many");
        for number in 0..10_000_u64 {
            let mut message = [0; 32];
            message[..8].copy_from_slice(&number.to_be_bytes());
            ledger.add(many, Fact::Has(message), 0);
        }
        // All but ten of them give way to others.
        for number in 0..ENTRIES_MAX - 10 {
            ledger.add(envelope("s@a", &number.to_string()), Fact::Alone, 0);
        }
        let left = |entries: &Entries| entries.known.get(&many).map(|known| (known.len(), known.capacity()));
        let (len, capacity) = left(&ledger.lock()).unwrap();
        assert_eq!(len, 10);
        assert!(capacity <= PLACES_MAX * len, "{capacity} places");
    }
}
