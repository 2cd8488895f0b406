//! From shard to disk: one bounded ring of octets a shard, one writer thread.
//!
//! The shard writes the line itself: handing strings to another thread to be written and freed there costs more than writing them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crate::log::{Log, LogError, OpenLog};
use crate::observer::Observer;
use crate::{Counter, Counters, Decision};

/// All rings and the thread that empties them.
pub struct Recorders {
    recorders: Vec<Option<Recorder>>,
    shared: Arc<Shared>,
    writer: JoinHandle<io::Result<()>>,
}

/// One shard's end.
pub struct Recorder {
    ring: rtrb::Producer<u8>,
    /// Where a line is put together.
    line: Vec<u8>,
    shared: Arc<Shared>,
    writer: Thread,
    counters: Counters,
    /// Since the last record that was written.
    unrecorded: u64,
}

#[derive(Debug, Default)]
struct Shared {
    asleep: AtomicBool,
    closing: AtomicBool,
    reopening: AtomicBool,
}

/// For whoever rotated the log and cannot wait until that is noticed.
#[derive(Debug, Clone)]
pub struct Reopen(Arc<Shared>);

impl Reopen {
    /// Has the log's path looked at, and opened if it is another file now, before the next record is written.
    pub fn ask(&self) {
        self.0.reopening.store(true, Ordering::SeqCst);
    }
}

impl Recorders {
    /// Starts the writer for one ring per entry of `counters`; `observer` is handed what it takes out of them.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(log: OpenLog, counters: &[Counters], observer: Option<&Observer>) -> Result<Recorders, LogError> {
        let path = log.at.as_ref().map_or_else(|| "stdout".into(), |at| at.path.clone());
        let shared = Arc::<Shared>::default();
        let (producers, rings): (Vec<_>, Vec<_>) =
            counters.iter().map(|counters| (rtrb::RingBuffer::new(RING_OCTETS), counters.clone())).map(split).unzip();
        let thread_shared = Arc::clone(&shared);
        let failed = |source| LogError { path: path.clone(), source };
        let observer = observer.map(Observer::start).transpose().map_err(failed)?;
        let writer = thread::Builder::new()
            .name("mx6-log".into())
            .spawn(move || write_records(rings, Log::new(log).seen_by(observer), &thread_shared))
            .map_err(failed)?;
        let recorders = producers
            .into_iter()
            .map(|(ring, counters)| {
                let shared = Arc::clone(&shared);
                let (writer, line) = (writer.thread().clone(), Vec::new());
                Some(Recorder { ring, line, shared, writer, counters, unrecorded: 0 })
            })
            .collect();
        Ok(Recorders { recorders, shared, writer })
    }

    /// For whoever rotates the log.
    #[must_use]
    pub fn reopen(&self) -> Reopen {
        Reopen(Arc::clone(&self.shared))
    }

    /// The recorder of shard `index`, once.
    #[must_use]
    pub fn take(&mut self, index: usize) -> Option<Recorder> {
        self.recorders.get_mut(index).and_then(Option::take)
    }

    /// Writes what is still in the rings and ends the thread; gives up on a reader that stands still. Call when every shard has ended.
    ///
    /// # Errors
    /// If writing failed at any time, or could not be finished.
    pub fn close(self) -> io::Result<()> {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.writer.thread().unpark();
        for _ in 0..CLOSE_POLLS {
            if self.writer.is_finished() {
                return self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the log's thread panicked")));
            }
            thread::sleep(CLOSE_POLL);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it, the last records are lost"))
    }
}

type Ends = ((rtrb::Producer<u8>, Counters), (rtrb::Consumer<u8>, Counters));

fn split(((producer, consumer), counters): ((rtrb::Producer<u8>, rtrb::Consumer<u8>), Counters)) -> Ends {
    ((producer, counters.clone()), (consumer, counters))
}

impl Recorder {
    /// Hands a record over without waiting; a ring without room for it loses it, counted as [`Counter::RecordsLost`].
    pub fn record(&mut self, decision: Decision<'_>) {
        let unrecorded = (self.unrecorded > 0).then_some(self.unrecorded);
        self.line.clear();
        // A record is plain data: writing it to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.line, &Decision { unrecorded, ..decision });
        self.line.push(b'\n');
        match self.ring.push_entire_slice(&self.line) {
            Ok(()) => self.unrecorded = 0,
            Err(_) => self.counters.add_one(Counter::RecordsLost),
        }
        // Pairs with the writer's look at the rings after it has set the flag. Read before it is written: while the writer is awake the
        // flag's cache line stays shared by all shards.
        fence(Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::Relaxed) && self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.writer.unpark();
        }
    }

    /// A decision that is not recorded: the next record says how many there were.
    pub fn pass_over(&mut self) {
        self.unrecorded += 1;
    }

    /// Whether the writer is so far behind that what matters less should not be recorded.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        self.ring.slots() < self.ring.buffer().capacity() / 2
    }
}

fn write_records(mut rings: Vec<(rtrb::Consumer<u8>, Counters)>, mut log: Log, shared: &Shared) -> io::Result<()> {
    loop {
        // Read before draining: what was pushed before `closing` was set is then seen by this drain.
        let closing = shared.closing.load(Ordering::SeqCst);
        let mut written = 0;
        for (ring, _) in &mut rings {
            written += log.take(ring);
        }
        let lost = rings.iter().map(|(_, counters)| counters.value(Counter::RecordsLost)).sum();
        log.report_lost(lost);
        log.is_doubted |= shared.reopening.swap(false, Ordering::SeqCst);
        log.flush();
        if closing {
            return log.first_error.map_or(Ok(()), Err);
        }
        if written > 0 {
            thread::sleep(GATHER_TIME);
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if rings.iter().all(|(ring, _)| ring.is_empty()) && !shared.closing.load(Ordering::SeqCst) {
            thread::park_timeout(PARK_TIME_MAX);
        }
        shared.asleep.store(false, Ordering::SeqCst);
    }
}

/// What a ring holds: a second or more of decisions of one busy shard, at a kilobyte each.
const RING_OCTETS: usize = 8 << 20;
/// After a write the thread waits this long, so that under load one write carries many records.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// How long `close` waits for the writer, in steps.
const CLOSE_POLLS: u32 = 500;
const CLOSE_POLL: Duration = Duration::from_millis(10);
/// A wake-up that was missed costs at most this.
const PARK_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
