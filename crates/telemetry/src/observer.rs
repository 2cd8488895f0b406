//! A thread that reads the decision records as they are written, for whoever looks at a running gate: the most frequent prefixes and domains, the last decisions, what
//! would have been refused on trial, and signs that addresses are not those of the clients.
//!
//! The writer of the log hands it whole lines and never waits for it: what it cannot take is counted as unseen.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::Deserialize;

use crate::decision::unix_ms_of;
use crate::feed::Feed;
use crate::gateway::Gateways;
use crate::ranking::Ranking;
use crate::status::{LastRefusal, Observed, WouldRefuse};

/// What was seen; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    feed: Feed<Arc<str>>,
}

/// The writer's end.
pub(crate) struct Lines {
    sender: SyncSender<Vec<u8>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    records: u64,
    unseen: u64,
    prefixes: Ranking,
    domains: Ranking,
    /// `rule domain prefix`.
    would: Ranking,
    recent: VecDeque<Arc<str>>,
    last_refusals: BTreeMap<(String, String), LastRefusal>,
    gateways: Gateways,
}

/// What is needed of a record.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    session: Cow<'a, str>,
    client: IpAddr,
    connector: bool,
    #[serde(borrow)]
    helo: Cow<'a, str>,
    #[serde(borrow)]
    domain: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    verdict: Cow<'a, str>,
    #[serde(borrow)]
    would_rule: Option<Cow<'a, str>>,
}

impl Observer {
    /// Starts the thread; it ends with the writer.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(&self) -> std::io::Result<Lines> {
        let (sender, lines) = sync_channel(PORTIONS_MAX);
        let observer = self.clone();
        thread::Builder::new().name("mx6-observe".into()).spawn(move || observer.run(&lines))?;
        Ok(Lines { sender, seen: Arc::clone(&self.seen) })
    }

    fn run(&self, lines: &Receiver<Vec<u8>>) {
        while let Ok(portion) = lines.recv() {
            for line in portion.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                self.take(line);
            }
        }
        self.feed.close();
    }

    fn take(&self, line: &[u8]) {
        // Lines about lost records are not decisions.
        let Ok(record) = serde_json::from_slice::<Record<'_>>(line) else { return };
        let Ok(text) = std::str::from_utf8(line) else { return };
        let text: Arc<str> = text.into();
        self.seen().take(&record, Arc::clone(&text));
        if self.feed.is_heard() {
            self.feed.tell(&text);
        }
    }

    /// Every record as its line, as long as somebody listens.
    #[must_use]
    pub fn decisions(&self) -> &Feed<Arc<str>> {
        &self.feed
    }

    /// What was seen so far.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let seen = self.seen();
        Observed {
            records: seen.records,
            unseen: seen.unseen,
            prefixes: seen.prefixes.top(TOP, |counts| counts.accepted + counts.refused + counts.would_refuse),
            refused_domains: seen.domains.top(TOP, |counts| counts.refused),
            would_refuse: seen
                .would
                .top(TOP_WOULD, |counts| counts.would_refuse)
                .into_iter()
                .map(would_refuse)
                .collect(),
            recent: seen.recent.iter().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            last_refusals: seen.last_refusals.values().cloned().collect(),
            findings: seen.gateways.findings(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Hands `lines` over, each with its end, without waiting.
    pub(crate) fn hand(&self, lines: &[u8]) {
        if let Err(TrySendError::Full(lines)) = self.sender.try_send(lines.to_vec()) {
            let count = lines.iter().filter(|octet| **octet == b'\n').count() as u64;
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).unseen += count;
        }
    }
}

impl Seen {
    fn take(&mut self, record: &Record<'_>, line: Arc<str>) {
        self.records += 1;
        let prefix = prefix_of(record.client);
        let is_accepted = record.verdict == "accept";
        let is_refused = !is_accepted && record.verdict != "none";
        let names = [(&mut self.prefixes, prefix.as_str()), (&mut self.domains, &record.domain)];
        for (ranking, name) in names.into_iter().filter(|(_, name)| !name.is_empty()) {
            let counts = ranking.counts(name);
            match (is_refused, &record.would_rule) {
                (true, _) => counts.refused += 1,
                (false, Some(_)) => counts.would_refuse += 1,
                (false, None) => counts.accepted += u64::from(is_accepted),
            }
        }
        if let Some(rule) = &record.would_rule {
            self.would.counts(&format!("{rule} {} {prefix}", record.domain)).would_refuse += 1;
        }
        if is_refused {
            let refusal = LastRefusal {
                stage: record.stage.clone().into_owned(),
                rule: record.rule.clone().into_owned(),
                verdict: record.verdict.clone().into_owned(),
                session: record.session.clone().into_owned(),
                unix_ms: unix_ms_of(&record.time).unwrap_or_default(),
            };
            // As many as there are stages and rules.
            self.last_refusals.insert((refusal.stage.clone(), refusal.rule.clone()), refusal);
        }
        if !record.connector {
            self.gateways.take(record.client, &record.helo);
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }
}

fn would_refuse(ranked: crate::Ranked) -> WouldRefuse {
    let mut words = ranked.name.splitn(3, ' ').map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    WouldRefuse { rule: next(), domain: next(), prefix: next(), count: ranked.would_refuse, error: ranked.error }
}

/// The /64 of an IPv6 address, an IPv4 address itself.
fn prefix_of(client: IpAddr) -> String {
    match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Portions that wait for the thread, each of at most some 64 KiB.
const PORTIONS_MAX: usize = 64;
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
            line("192.0.2.1", "open.example", "abandoned", "none", None),
            "{\"records_lost\":3}".to_owned(),
        ];
        let sender = observer.start().unwrap();
        sender.hand((lines.join("\n") + "\n").as_bytes());
        drop(sender);
        let heard: Vec<_> = std::iter::from_fn(|| block_on(listener.next())).collect();
        assert_eq!(heard.len(), 4);
        let seen = observer.observed();
        assert_eq!((seen.records, seen.unseen, seen.recent.len()), (4, 0, 4));
        assert_eq!(seen.recent[0]["helo"], "mail.\u{1b}[31m");
        let first = &seen.prefixes[0];
        assert_eq!((first.name.as_str(), first.accepted, first.refused), ("2001:db8:0:1::/64", 1, 1));
        assert_eq!(seen.refused_domains.len(), 1);
        let would = &seen.would_refuse[0];
        let words = (would.rule.as_str(), would.domain.as_str(), would.prefix.as_str(), would.count);
        assert_eq!(words, ("reverse-dns", "trial.example", "2001:db8:0:2::/64", 1));
        assert_eq!(seen.last_refusals.len(), 1);
        assert_eq!(seen.last_refusals[0].session, "s-reverse-dns");
        assert_eq!(seen.last_refusals[0].unix_ms % 1000, 250);
    }

    #[test]
    fn what_cannot_be_taken_is_counted() {
        let observer = Observer::default();
        let (sender, lines) = sync_channel(1);
        let sender = Lines { sender, seen: Arc::clone(&observer.seen) };
        (0..3).for_each(|_| sender.hand(b"{}\n{}\n"));
        assert_eq!(observer.observed().unseen, 4);
        drop(lines);
        sender.hand(b"{}\n");
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
