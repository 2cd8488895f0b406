//! A thread that reads the decision records as they are written, for whoever looks at a running gate: the most frequent prefixes and domains, the last decisions, what
//! would have been refused on trial, and signs that addresses are not those of the clients.
//!
//! The writer of the log leaves whole lines for it and does not wait: those without room are counted as unseen. The thread may share a core with a shard, so it
//! wakes seldom, and reads of a line only what it needs.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::decision::unix_ms_of;
use crate::feed::{Feed, locked};
use crate::gateway::Gateways;
use crate::ranking::{Counts, Ranking};
use crate::record_front::RecordFront;
use crate::status::{LastRefusal, Observed, WouldRefuse};

/// What was seen; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    left: Arc<Mutex<Left>>,
    seen: Arc<Mutex<Seen>>,
    feed: Feed<Arc<str>>,
}

/// The writer's end.
pub(crate) struct Lines {
    left: Arc<Mutex<Left>>,
    reader: Thread,
}

/// What the writer has left for the thread. Either holds it for no longer than a copy takes.
#[derive(Debug, Default)]
struct Left {
    /// Whole lines, each with its end.
    lines: Vec<u8>,
    /// Lines for which there was no room.
    no_room: u64,
    /// The thread waits until it is told of more.
    is_awaited: bool,
    /// There will be no more.
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Seen {
    records: u64,
    /// Lines that are no records: none is known.
    unreadable: u64,
    prefixes: Ranking<Prefix>,
    domains: Ranking<String>,
    /// `rule domain prefix`.
    would: Ranking<String>,
    /// The last decisions, as their lines.
    recent: VecDeque<String>,
    /// One for each stage and rule.
    last_refusals: Vec<LastRefusal>,
    gateways: Gateways,
}

/// An IPv4 address, or an IPv6 address whose last 64 bits are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Prefix(IpAddr);

impl Observer {
    /// Starts the thread; it ends with the writer.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(&self) -> std::io::Result<Lines> {
        let observer = self.clone();
        let thread = thread::Builder::new().name("mx6-observe".into()).spawn(move || observer.run())?;
        Ok(Lines { left: Arc::clone(&self.left), reader: thread.thread().clone() })
    }

    fn run(&self) {
        let mut lines = Vec::new();
        loop {
            let is_closed = self.left().take(&mut lines);
            match std::str::from_utf8(&lines) {
                Ok("") if is_closed => return self.feed.close(),
                Ok("") => thread::park(),
                Ok(text) => {
                    self.take(text);
                    thread::park_timeout(GATHER_TIME);
                }
                // Records are JSON, which is UTF-8.
                Err(_) => self.seen().unreadable += count_lines(&lines),
            }
        }
    }

    fn take(&self, text: &str) {
        let is_heard = self.feed.is_heard();
        let mut seen = self.seen();
        let mut recent = VecDeque::with_capacity(RECENT);
        for line in lines_of(text) {
            let Some(record) = RecordFront::of(line) else {
                seen.unreadable += 1;
                continue;
            };
            seen.count(&record);
            if is_heard {
                self.feed.tell(&line.into());
            }
            if recent.len() >= RECENT {
                recent.pop_front();
            }
            recent.push_back(line);
        }
        seen.remember(recent);
    }

    /// Every record as its line, as long as somebody listens.
    #[must_use]
    pub fn decisions(&self) -> &Feed<Arc<str>> {
        &self.feed
    }

    /// What was seen so far.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let no_room = self.left().no_room;
        let seen = self.seen();
        let would_refuse = seen.would.top(TOP_WOULD, |counts| counts.would_refuse);
        let mut last_refusals = seen.last_refusals.clone();
        last_refusals.sort_by(|a, b| (&a.stage, &a.rule).cmp(&(&b.stage, &b.rule)));
        Observed {
            records: seen.records,
            unseen: no_room + seen.unreadable,
            prefixes: seen.prefixes.top(TOP, |counts| counts.accepted + counts.refused + counts.would_refuse),
            refused_domains: seen.domains.top(TOP, |counts| counts.refused),
            would_refuse: would_refuse.into_iter().map(would_refuse_of).collect(),
            recent: seen.recent.iter().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            last_refusals,
            findings: seen.gateways.findings(),
        }
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        locked(&self.left)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }
}

impl Lines {
    /// Leaves `lines`, each with its end, for the thread.
    pub(crate) fn hand(&self, lines: &[u8]) {
        let mut left = locked(&self.left);
        if left.lines.len() + lines.len() > LEFT_OCTETS_MAX {
            left.no_room += count_lines(lines);
            return;
        }
        left.lines.extend_from_slice(lines);
        let is_due = std::mem::take(&mut left.is_awaited) || left.lines.len() > LEFT_OCTETS_MAX / 4;
        drop(left);
        if is_due {
            self.reader.unpark();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        locked(&self.left).is_closed = true;
        self.reader.unpark();
    }
}

impl Left {
    /// Whether there is no more to come.
    fn take(&mut self, lines: &mut Vec<u8>) -> bool {
        lines.clear();
        std::mem::swap(&mut self.lines, lines);
        self.is_awaited = lines.is_empty();
        self.is_closed
    }
}

/// As [`str::lines`], which looks at every octet for itself: records are long.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text.as_bytes()).map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|octet| **octet == b'\n').count() as u64
}

impl Seen {
    /// Each in the place of the oldest.
    fn remember(&mut self, lines: VecDeque<&str>) {
        for line in lines {
            let oldest = if self.recent.len() < RECENT { None } else { self.recent.pop_front() };
            let mut place = oldest.unwrap_or_default();
            line.clone_into(&mut place);
            self.recent.push_back(place);
        }
    }

    fn count(&mut self, record: &RecordFront<'_>) {
        self.records += 1;
        let prefix = Prefix::of(record.client);
        let is_accepted = record.verdict == "accept";
        let is_refused = !is_accepted && record.verdict != "none";
        let count = |counts: &mut Counts| match (is_refused, &record.would_rule) {
            (true, _) => counts.refused += 1,
            (false, Some(_)) => counts.would_refuse += 1,
            (false, None) => counts.accepted += u64::from(is_accepted),
        };
        self.prefixes.count(&prefix, count);
        if !record.domain.is_empty() {
            self.domains.count(&*record.domain, count);
        }
        if let Some(rule) = &record.would_rule {
            self.would.count(&*format!("{rule} {} {prefix}", record.domain), |counts| counts.would_refuse += 1);
        }
        if is_refused {
            self.refused(record);
        }
        if !record.connector {
            self.gateways.take(record.client, &record.helo);
        }
    }

    fn refused(&mut self, record: &RecordFront<'_>) {
        let is_same = |last: &LastRefusal| last.stage == record.stage && last.rule == record.rule;
        let at = self.last_refusals.iter().position(is_same).unwrap_or_else(|| {
            let (stage, rule) = (record.stage.clone().into_owned(), record.rule.clone().into_owned());
            self.last_refusals.push(LastRefusal { stage, rule, ..LastRefusal::default() });
            self.last_refusals.len() - 1
        });
        let last = &mut self.last_refusals[at];
        (*record.verdict).clone_into(&mut last.verdict);
        (*record.session).clone_into(&mut last.session);
        last.unix_ms = unix_ms_of(&record.time).unwrap_or_default();
    }
}

fn would_refuse_of(ranked: crate::Ranked) -> WouldRefuse {
    let mut words = ranked.name.splitn(3, ' ').map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    WouldRefuse { rule: next(), domain: next(), prefix: next(), count: ranked.would_refuse, error: ranked.error }
}

impl Prefix {
    /// The /64 of an IPv6 address, an IPv4 address itself.
    fn of(client: IpAddr) -> Prefix {
        Prefix(match client {
            IpAddr::V4(_) => client,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        })
    }
}

impl Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// What the writer leaves at most.
const LEFT_OCTETS_MAX: usize = 4 << 20;
/// The thread looks this often for more, so that it does not take the CPU from a shard for every few lines; sooner if very many come.
const GATHER_TIME: Duration = Duration::from_millis(50);
/// Decisions that are remembered.
const RECENT: usize = 100;
/// Of prefixes and domains, those that are shown.
const TOP: usize = 20;
/// On trial more are: they are what the trial is about.
const TOP_WOULD: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(client: &str, domain: &str, rule: &str, verdict: &str, would: Option<&str>) -> String {
        let mut record = json!({
            "time": "2026-11-26T21:00:00.250Z", "session": format!("s-{rule}"), "client": client, "connector": false,
            "helo": "mail.\u{1b}[31m", "domain": domain, "stage": "rcpt", "rule": rule, "verdict": verdict,
        });
        if let Some(would) = would {
            record["would_rule"] = would.into();
        }
        record.to_string()
    }

    #[test]
    fn what_is_seen() {
        let observer = Observer::default();
        let mut listener = observer.decisions().listen(10).unwrap();
        let lines = [
            line("2001:db8:0:1::25", "open.example", "accepted", "accept", None),
            line("2001:db8:0:1::26", "open.example", "reverse-dns", "defer", None),
            line("2001:db8:0:2::1", "trial.example", "reverse-dns", "accept", Some("reverse-dns")),
            line("2001:db8:0:2::1", "open.example", "relay", "reject", None),
            line("2001:db8:0:1::27", "open.example", "reverse-dns", "defer", None),
            line("192.0.2.1", "open.example", "abandoned", "none", None),
            "no record".to_owned(),
        ];
        let sender = observer.start().unwrap();
        sender.hand((lines.join("\n") + "\n").as_bytes());
        drop(sender);
        let heard: Vec<_> = std::iter::from_fn(|| block_on(listener.next())).collect();
        assert_eq!(heard.len(), 6);
        let seen = observer.observed();
        assert_eq!((seen.records, seen.unseen, seen.recent.len()), (6, 1, 6));
        assert_eq!(seen.recent[0]["helo"], "mail.\u{1b}[31m");
        let first = &seen.prefixes[0];
        assert_eq!((first.name.as_str(), first.accepted, first.refused), ("2001:db8:0:1::/64", 1, 2));
        assert_eq!(seen.refused_domains.len(), 1);
        let would = &seen.would_refuse[0];
        let words = (would.rule.as_str(), would.domain.as_str(), would.prefix.as_str(), would.count);
        assert_eq!(words, ("reverse-dns", "trial.example", "2001:db8:0:2::/64", 1));
        assert_eq!(seen.last_refusals.len(), 2, "one for each rule");
        assert_eq!([&*seen.last_refusals[0].session, &*seen.last_refusals[1].session], ["s-relay", "s-reverse-dns"]);
        assert_eq!(seen.last_refusals[0].unix_ms % 1000, 250);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let observer = Observer::default();
        let sender = Lines { left: Arc::clone(&observer.left), reader: thread::current() };
        let lines = "{}\n".repeat(LEFT_OCTETS_MAX / 3);
        sender.hand(lines.as_bytes());
        assert_eq!(observer.observed().unseen, 0);
        sender.hand(b"{}\n{}\n");
        assert_eq!(observer.observed().unseen, 2);
        observer.left().take(&mut Vec::new());
        sender.hand(lines.as_bytes());
        assert_eq!(observer.observed().unseen, 2);
    }

    #[test]
    fn the_last_are_remembered() {
        let observer = Observer::default();
        for portion in [1, 3, RECENT * 2, 5, RECENT - 1] {
            let of = |n| line("192.0.2.1", &format!("{portion}-{n}.example"), "accepted", "accept", None) + "\n";
            observer.take(&(0..portion).map(of).collect::<String>());
        }
        let seen = observer.seen();
        assert_eq!((seen.recent.len(), seen.records), (RECENT, 308));
        let last = |at: usize| RecordFront::of(&seen.recent[at]).unwrap().domain.into_owned();
        assert_eq!([last(0), last(1), last(RECENT - 1)], ["5-4.example", "99-0.example", "99-98.example"]);
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let waker = std::task::Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }

    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
