//! What one worker saw. Each has its own, so that nothing is contended; once a second the sampler takes the window out of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::expectation::Outcome;
use crate::measurement::{ErrorCount, ReplyCount, Stage, StageName, WRONG_SAMPLES_MAX, WrongAnswer, latencies_us};
use crate::population::Class;

/// Shared with the sampler.
pub(super) struct Recorder {
    inner: Mutex<Record>,
}

impl Recorder {
    pub(super) fn new() -> Recorder {
        Recorder { inner: Mutex::new(Record::new()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Latencies of the parts of one message, as they are measured.
#[derive(Default)]
pub(super) struct Marks {
    marks: Vec<(StageName, Duration)>,
}

impl Marks {
    pub(super) fn push(&mut self, stage: StageName, took: Duration) {
        self.marks.push((stage, took));
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }
}

/// One message that got its reply.
pub(super) struct Finished<'m> {
    pub(super) class: Class,
    pub(super) intended: Instant,
    pub(super) started: Instant,
    pub(super) finished: Instant,
    pub(super) marks: &'m Marks,
    pub(super) outcome: &'m Outcome,
    pub(super) expected: bool,
    /// On this connection, since the last message.
    pub(super) octets_sent: u64,
}

/// Everything that is counted.
pub(super) struct Record {
    /// Messages that were to start before this are the warm-up's.
    from: Option<Instant>,
    stages: Vec<Stage>,
    replies: HashMap<ReplyKey, u64>,
    errors: HashMap<&'static str, u64>,
    pub(super) messages: u64,
    /// Of the warm-up too.
    pub(super) messages_ever: u64,
    pub(super) connections: u64,
    pub(super) tls_connections: u64,
    pub(super) octets_sent: u64,
    pub(super) wrong: u64,
    pub(super) wrong_samples: Vec<WrongAnswer>,
    pub(super) arrivals: u64,
    pub(super) late_starts: u64,
    pub(super) late_us: Histogram<u64>,
    pub(super) window: WindowRecord,
}

/// What happened since the sampler last looked.
pub(super) struct WindowRecord {
    pub(super) latencies_us: Histogram<u64>,
    pub(super) late_us_max: u64,
}

/// What makes two replies the same for counting.
#[derive(PartialEq, Eq, Hash, Clone)]
struct ReplyKey {
    class: Class,
    stage: StageName,
    code: u16,
    enhanced: [u16; 3],
    expected: bool,
}

impl Record {
    fn new() -> Record {
        Record {
            from: None,
            stages: StageName::ALL.map(Stage::new).into(),
            replies: HashMap::new(),
            errors: HashMap::new(),
            messages: 0,
            messages_ever: 0,
            connections: 0,
            tls_connections: 0,
            octets_sent: 0,
            wrong: 0,
            wrong_samples: Vec::new(),
            arrivals: 0,
            late_starts: 0,
            late_us: latencies_us(),
            window: WindowRecord { latencies_us: latencies_us(), late_us_max: 0 },
        }
    }

    /// From now on everything counts.
    pub(super) fn begin(&mut self, from: Instant) {
        self.from = Some(from);
    }

    fn counts(&self, intended: Instant) -> bool {
        self.from.is_some_and(|from| intended >= from)
    }

    /// A connection started, and with it a message. `asked`: when it was to. Further messages on it have no time of their own.
    pub(super) fn arrival(&mut self, asked: Instant) {
        let late_us = us(asked.elapsed());
        self.window.late_us_max = self.window.late_us_max.max(late_us);
        if self.counts(asked) {
            self.arrivals += 1;
            self.late_starts += u64::from(late_us > LATE_US);
            self.late_us.saturating_record(late_us);
        }
    }

    /// A connection is open and has greeted.
    pub(super) fn connection(&mut self, intended: Instant, marks: &Marks, tls: bool) {
        if self.counts(intended) {
            self.connections += 1;
            self.tls_connections += u64::from(tls);
            self.latencies(marks);
        }
    }

    /// A message got its reply.
    pub(super) fn message(&mut self, message: &Finished<'_>) {
        self.messages_ever += 1;
        let latency_us = us(message.finished - message.intended);
        self.window.latencies_us.saturating_record(latency_us);
        self.wrong += u64::from(!message.expected);
        // What was begun in the warm-up and ends after it is work of the time measured, but has no latency of it.
        if self.from.is_some_and(|from| message.finished >= from) {
            self.messages += 1;
            self.octets_sent += message.octets_sent;
            *self.replies.entry(ReplyKey::new(message)).or_default() += 1;
        }
        if self.counts(message.intended) {
            self.latencies(message.marks);
            self.latency(StageName::Service, message.finished - message.started);
            self.latency(StageName::Message, message.finished - message.intended);
        }
    }

    fn latencies(&mut self, marks: &Marks) {
        for (stage, took) in &marks.marks {
            self.latency(*stage, *took);
        }
    }

    fn latency(&mut self, stage: StageName, took: Duration) {
        self.stages[stage as usize].histogram.saturating_record(us(took));
    }

    /// No reply came. `wrong` when one was expected.
    pub(super) fn failure(&mut self, kind: &'static str, wrong: bool) {
        *self.errors.entry(kind).or_default() += 1;
        self.wrong += u64::from(wrong);
    }

    /// Keeps the first of them. `sample` is asked only if there is room.
    pub(super) fn wrong_sample(&mut self, sample: impl FnOnce() -> WrongAnswer) {
        if self.wrong_samples.len() < WRONG_SAMPLES_MAX {
            self.wrong_samples.push(sample());
        }
    }

    /// Takes in what another worker saw.
    pub(super) fn merge(&mut self, other: Record) {
        for (stage, more) in self.stages.iter_mut().zip(other.stages) {
            add(&mut stage.histogram, &more.histogram);
        }
        for (key, count) in other.replies {
            *self.replies.entry(key).or_default() += count;
        }
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.messages += other.messages;
        self.messages_ever += other.messages_ever;
        self.connections += other.connections;
        self.tls_connections += other.tls_connections;
        self.octets_sent += other.octets_sent;
        self.wrong += other.wrong;
        self.wrong_samples.extend(other.wrong_samples);
        self.wrong_samples.truncate(WRONG_SAMPLES_MAX);
        self.arrivals += other.arrivals;
        self.late_starts += other.late_starts;
        add(&mut self.late_us, &other.late_us);
    }

    /// Takes everything out but the window, which is the sampler's.
    pub(super) fn take(&mut self) -> Record {
        let mut fresh = Record::new();
        std::mem::swap(&mut fresh.window, &mut self.window);
        std::mem::replace(self, fresh)
    }

    /// Takes the window out.
    pub(super) fn take_window(&mut self) -> WindowRecord {
        std::mem::replace(&mut self.window, WindowRecord { latencies_us: latencies_us(), late_us_max: 0 })
    }

    /// Of a stage, in µs.
    pub(super) fn percentile_us(&self, stage: StageName, percent: f64) -> u64 {
        self.stages[stage as usize].percentile_us(percent)
    }

    /// Stages that happened.
    pub(super) fn into_stages(self) -> Vec<Stage> {
        self.stages.into_iter().filter(|stage| !stage.histogram.is_empty()).collect()
    }

    /// Most frequent first.
    pub(super) fn reply_counts(&self) -> Vec<ReplyCount> {
        let mut counts: Vec<ReplyCount> = self.replies.iter().map(|(key, count)| key.count(*count)).collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.class.cmp(&b.class)));
        counts
    }

    /// Most frequent first.
    pub(super) fn error_counts(&self) -> Vec<ErrorCount> {
        let count = |(kind, count): (&&str, &u64)| ErrorCount { kind: (*kind).to_owned(), count: *count };
        let mut counts: Vec<ErrorCount> = self.errors.iter().map(count).collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
        counts
    }
}

impl ReplyKey {
    fn new(message: &Finished<'_>) -> ReplyKey {
        let Outcome { stage, code, text } = message.outcome;
        ReplyKey {
            class: message.class,
            stage: *stage,
            code: *code,
            enhanced: enhanced(text),
            expected: message.expected,
        }
    }

    fn count(&self, count: u64) -> ReplyCount {
        let [class, subject, detail] = self.enhanced;
        let reply = match class {
            0 => format!("{:03}", self.code),
            _ => format!("{:03} {class}.{subject}.{detail}", self.code),
        };
        ReplyCount { class: self.class.as_str().into(), stage: self.stage, reply, count, expected: self.expected }
    }
}

/// The enhanced code behind the code (RFC 3463), or zeros.
fn enhanced(text: &[u8]) -> [u16; 3] {
    let word = text.get(4..).unwrap_or_default().split(|octet| *octet == b' ').next().unwrap_or_default();
    let mut numbers = word.split(|octet| *octet == b'.').map(|number| std::str::from_utf8(number).ok()?.parse().ok());
    match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
        [Some(Some(class)), Some(Some(subject)), Some(Some(detail)), None] => [class, subject, detail],
        _ => [0; 3],
    }
}

/// Both have the same bounds: adding cannot fail.
fn add(to: &mut Histogram<u64>, more: &Histogram<u64>) {
    let added = to.add(more);
    debug_assert!(added.is_ok());
}

/// In µs.
pub(super) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// An arrival that starts later than this after its time is late.
const LATE_US: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes() {
        for (text, expected) in [
            ("250 2.0.0 OK", [2, 0, 0]),
            ("450 4.7.25 Service unavailable", [4, 7, 25]),
            ("250-2.1.5 Ok\n250 2.1.5 Ok", [2, 1, 5]),
            ("250 OK", [0; 3]),
            ("250", [0; 3]),
            ("", [0; 3]),
            ("550 5.7 x", [0; 3]),
            ("550 1.2.3.4 is bad", [0; 3]),
        ] {
            assert_eq!(enhanced(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn stages_stand_in_their_order() {
        for (at, stage) in StageName::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, at);
        }
    }
}
