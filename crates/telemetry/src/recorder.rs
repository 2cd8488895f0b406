//! From shard to disk: one bounded ring a shard, one writer thread.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crate::{Counter, Counters, Decision};

/// Where decision records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is created if absent.
    File(PathBuf),
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log {path}: {source}", path = path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// All rings and the thread that empties them.
pub struct Recorders {
    recorders: Vec<Option<Recorder>>,
    shared: Arc<Shared>,
    writer: JoinHandle<io::Result<()>>,
}

/// One shard's end.
pub struct Recorder {
    ring: rtrb::Producer<Decision>,
    shared: Arc<Shared>,
    writer: Thread,
    counters: Counters,
}

struct Shared {
    asleep: AtomicBool,
    closing: AtomicBool,
}

impl Recorders {
    /// Opens the log and starts the writer for one ring per entry of `counters`.
    ///
    /// # Errors
    /// If the log cannot be opened or the thread cannot be started.
    pub fn start(target: &LogTarget, counters: &[Counters]) -> Result<Recorders, LogError> {
        let (path, sink): (PathBuf, Box<dyn Write + Send>) = match target {
            LogTarget::Stdout => ("stdout".into(), Box::new(io::stdout())),
            LogTarget::File(path) => {
                let open = File::options().append(true).create(true).open(path);
                let file = open.map_err(|source| LogError { path: path.clone(), source })?;
                (path.clone(), Box::new(file))
            }
        };
        let shared = Arc::new(Shared { asleep: AtomicBool::new(false), closing: AtomicBool::new(false) });
        let (producers, rings): (Vec<_>, Vec<_>) =
            counters.iter().map(|counters| (rtrb::RingBuffer::new(RING_RECORDS), counters.clone())).map(split).unzip();
        let thread_shared = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("mx6-log".into())
            .spawn(move || write_records(rings, &mut BufWriter::with_capacity(BUFFER_OCTETS, sink), &thread_shared))
            .map_err(|source| LogError { path, source })?;
        let recorders = producers
            .into_iter()
            .map(|(ring, counters)| {
                let shared = Arc::clone(&shared);
                Some(Recorder { ring, shared, writer: writer.thread().clone(), counters })
            })
            .collect();
        Ok(Recorders { recorders, shared, writer })
    }

    /// The recorder of shard `index`, once.
    #[must_use]
    pub fn take(&mut self, index: usize) -> Option<Recorder> {
        self.recorders.get_mut(index).and_then(Option::take)
    }

    /// Writes what is still in the rings and ends the thread. Call when every shard has ended.
    ///
    /// # Errors
    /// If writing failed at any time.
    pub fn close(self) -> io::Result<()> {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.writer.thread().unpark();
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the log's thread panicked")))
    }
}

type Ends = ((rtrb::Producer<Decision>, Counters), (rtrb::Consumer<Decision>, Counters));

fn split(((producer, consumer), counters): ((rtrb::Producer<Decision>, rtrb::Consumer<Decision>), Counters)) -> Ends {
    ((producer, counters.clone()), (consumer, counters))
}

impl Recorder {
    /// Hands a record over without waiting; a full ring loses it, counted as [`Counter::RecordsLost`].
    pub fn record(&mut self, decision: Decision) {
        if self.ring.push(decision).is_err() {
            self.counters.add_one(Counter::RecordsLost);
        }
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.writer.unpark();
        }
    }
}

fn write_records(
    mut rings: Vec<(rtrb::Consumer<Decision>, Counters)>,
    sink: &mut BufWriter<Box<dyn Write + Send>>,
    shared: &Shared,
) -> io::Result<()> {
    let mut result = Ok(());
    let mut lost_reported = 0;
    loop {
        // Read before draining: what was pushed before `closing` was set is then seen by this drain.
        let closing = shared.closing.load(Ordering::SeqCst);
        let written = drain(&mut rings, sink, &mut result);
        report_lost(&rings, sink, &mut lost_reported, &mut result);
        keep_first_error(&mut result, sink.flush());
        if closing {
            return result;
        }
        if written > 0 {
            thread::sleep(GATHER_TIME);
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        if rings.iter().all(|(ring, _)| ring.is_empty()) && !shared.closing.load(Ordering::SeqCst) {
            thread::park_timeout(PARK_TIME_MAX);
        }
        shared.asleep.store(false, Ordering::SeqCst);
    }
}

fn drain(
    rings: &mut [(rtrb::Consumer<Decision>, Counters)],
    sink: &mut BufWriter<Box<dyn Write + Send>>,
    result: &mut io::Result<()>,
) -> usize {
    let mut written = 0;
    for (ring, _) in rings {
        while let Ok(decision) = ring.pop() {
            let line = serde_json::to_writer(&mut *sink, &decision).map_err(io::Error::from);
            keep_first_error(result, line.and_then(|()| sink.write_all(b"\n")));
            written += 1;
        }
    }
    written
}

/// One line says how many records were lost since the last such line: a gap in the log is never silent.
fn report_lost(
    rings: &[(rtrb::Consumer<Decision>, Counters)],
    sink: &mut BufWriter<Box<dyn Write + Send>>,
    reported: &mut u64,
    result: &mut io::Result<()>,
) {
    let lost: u64 = rings.iter().map(|(_, counters)| counters.value(Counter::RecordsLost)).sum();
    if lost > *reported {
        keep_first_error(result, writeln!(sink, "{{\"records_lost\":{}}}", lost - *reported));
        *reported = lost;
    }
}

/// A full disk or a closed pipe must not end the gate: the first failure is said on standard error and returned at the end.
fn keep_first_error(result: &mut io::Result<()>, step: io::Result<()>) {
    if let (Ok(()), Err(error)) = (&result, step) {
        eprintln!("mx6: the decision log cannot be written: {error}; records are being lost");
        *result = Err(error);
    }
}

/// Records a ring holds: about a second of decisions of one busy shard.
const RING_RECORDS: usize = 8192;
const BUFFER_OCTETS: usize = 64 << 10;
/// After a write the thread waits this long, so that under load one write carries many records.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// A wake-up that was missed costs at most this.
const PARK_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durations;

    fn decision(session: &str) -> Decision {
        Decision {
            unix_ms: 0,
            session: session.into(),
            shard: 0,
            client: "2001:db8::1".into(),
            connector: false,
            helo: "a\"b\r\n".into(),
            mail_from: String::new(),
            rcpt_to: "bob@open.example".into(),
            domain: "open.example".into(),
            class: None,
            stage: "rcpt",
            rule: "reverse-dns",
            verdict: "defer",
            reply: "450 4.7.25 no".into(),
            would: None,
            delivery: None,
            size_octets: None,
            iprev: None,
            spf: None,
            dkim: None,
            dkim_cache: None,
            dmarc: None,
            duration_ms: Durations::default(),
        }
    }

    #[test]
    fn every_record_is_a_line_and_loss_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.log");
        let counters = [Counters::default(), Counters::default()];
        let mut recorders = Recorders::start(&LogTarget::File(path.clone()), &counters).unwrap();
        let mut first = recorders.take(0).unwrap();
        assert!(recorders.take(0).is_none());
        let mut second = recorders.take(1).unwrap();
        let pushed = RING_RECORDS * 4;
        for number in 0..pushed {
            first.record(decision(&number.to_string()));
        }
        second.record(decision("other"));
        recorders.close().unwrap();

        let lines: Vec<serde_json::Value> =
            std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let lost: u64 = lines.iter().filter_map(|line| line["records_lost"].as_u64()).sum();
        let records = lines.iter().filter(|line| line["session"].is_string()).count() as u64;
        assert_eq!(records + lost, pushed as u64 + 1);
        assert_eq!(lost, counters[0].value(Counter::RecordsLost));
        assert_eq!(lines[0]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[0]["helo"], "a\"b\r\n");
    }

    #[test]
    fn a_log_that_cannot_be_opened() {
        let error = Recorders::start(&LogTarget::File("/nonexistent/x".into()), &[]).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/x"), "{error}");
    }
}
