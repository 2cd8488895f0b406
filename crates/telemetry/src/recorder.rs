//! From shard to disk: one bounded ring of octets a shard, one writer thread.
//!
//! The shard writes the line itself: handing strings to another thread to be written and freed there costs more than writing them.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::observer::{Lines, Observer};
use crate::{Counter, Counters, Decision};

/// Where decision records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is created if absent, and again when it was moved away or removed (log rotation).
    File(PathBuf),
}

impl LogTarget {
    /// Opens it. Apart from [`Recorders::start`], because it may take rights that the process gives up before it starts a thread.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self) -> Result<OpenLog, LogError> {
        match self {
            LogTarget::Stdout => Ok(OpenLog { path: None, sink: Box::new(io::stdout()) }),
            LogTarget::File(path) => {
                let file = append_to(path).map_err(|source| LogError { path: path.clone(), source })?;
                let at = FileAt {
                    path: path.clone(),
                    inode: inode(&file.metadata().map_err(|source| LogError { path: path.clone(), source })?),
                };
                Ok(OpenLog { path: Some(at), sink: Box::new(file) })
            }
        }
    }
}

/// A log that is open.
pub struct OpenLog {
    path: Option<FileAt>,
    sink: Box<dyn Write + Send>,
}

/// Which file was opened under a path.
struct FileAt {
    path: PathBuf,
    inode: (u64, u64),
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
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
    ring: rtrb::Producer<u8>,
    /// Where a line is put together.
    line: Vec<u8>,
    shared: Arc<Shared>,
    writer: Thread,
    counters: Counters,
    /// Since the last record that was written.
    unrecorded: u64,
}

struct Shared {
    asleep: AtomicBool,
    closing: AtomicBool,
}

impl Recorders {
    /// Starts the writer for one ring per entry of `counters`; `observer` is handed what it takes out of them.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(log: OpenLog, counters: &[Counters], observer: Option<&Observer>) -> Result<Recorders, LogError> {
        let path = log.path.as_ref().map_or_else(|| "stdout".into(), |at| at.path.clone());
        let shared = Arc::new(Shared { asleep: AtomicBool::new(false), closing: AtomicBool::new(false) });
        let (producers, rings): (Vec<_>, Vec<_>) =
            counters.iter().map(|counters| (rtrb::RingBuffer::new(RING_OCTETS), counters.clone())).map(split).unzip();
        let thread_shared = Arc::clone(&shared);
        let failed = |source| LogError { path: path.clone(), source };
        let observer = observer.map(Observer::start).transpose().map_err(failed)?;
        let writer = thread::Builder::new()
            .name("mx6-log".into())
            .spawn(move || write_records(rings, Log { observer, ..Log::new(log) }, &thread_shared))
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

/// Lines on their way to the sink. A full disk or a closed pipe does not end the gate, and no gap is silent: what could not be written is
/// counted, told once on standard error, and told in the log itself as soon as that can be written again.
struct Log {
    sink: Box<dyn Write + Send>,
    /// None for a sink that is no file.
    at: Option<FileAt>,
    looked_at: Instant,
    lines: Vec<u8>,
    observer: Option<Lines>,
    /// Lines that could not be written.
    lost_writing: u64,
    /// Lost records, rings included, that a line in the log has told of; the second is the value once what is in `lines` is written.
    reported: (u64, u64),
    /// The last write ended inside a line.
    torn: bool,
    failing: bool,
    first_error: Option<io::Error>,
}

impl Log {
    fn new(OpenLog { path: at, sink }: OpenLog) -> Log {
        let lines = Vec::with_capacity(BUFFER_OCTETS);
        let looked_at = Instant::now();
        Log {
            sink,
            at,
            looked_at,
            lines,
            observer: None,
            lost_writing: 0,
            reported: (0, 0),
            torn: false,
            failing: false,
            first_error: None,
        }
    }

    /// Takes all lines that are in the ring, and writes each time enough have come together. Returns their octets.
    fn take(&mut self, ring: &mut rtrb::Consumer<u8>) -> usize {
        let mut taken = 0;
        while let Ok(chunk) = ring.read_chunk(ring.slots().min(BUFFER_OCTETS)) {
            if chunk.is_empty() {
                break;
            }
            let start = self.lines.len();
            let (first, second) = chunk.as_slices();
            self.lines.extend_from_slice(first);
            self.lines.extend_from_slice(second);
            // What is behind the last whole line stays for the next round; of a very long line the rest follows at once.
            let whole = self.lines[start..].iter().rposition(|octet| *octet == b'\n').map_or(chunk.len(), |at| at + 1);
            self.lines.truncate(start + whole);
            if let Some(observer) = &self.observer {
                observer.hand(&self.lines[start..]);
            }
            chunk.commit(whole);
            taken += whole;
            if self.lines.len() >= BUFFER_OCTETS && self.lines.ends_with(b"\n") {
                self.flush();
            }
        }
        taken
    }

    /// `lost_in_rings`: over the whole run.
    fn report_lost(&mut self, lost_in_rings: u64) {
        let lost = lost_in_rings + self.lost_writing;
        if lost > self.reported.0 {
            self.lines.extend_from_slice(format!("{{\"records_lost\":{}}}\n", lost - self.reported.0).as_bytes());
            self.reported.1 = lost;
        }
    }

    fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        self.follow_rotation();
        if self.torn {
            self.lines.insert(0, b'\n');
        }
        let mut written = 0;
        let result = loop {
            match self.sink.write(&self.lines[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(octets) => written += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if written == self.lines.len() {
                break self.sink.flush();
            }
        };
        self.torn = self.lines[..written].last().map_or(self.torn, |octet| *octet != b'\n');
        match result {
            Ok(()) => self.went_well(),
            Err(error) => self.went_wrong(written, error),
        }
        self.lines.clear();
    }

    /// Whoever rotates logs moves the file away: what stands under the path now is opened, or created. Nothing is lost meanwhile, the old
    /// file takes what comes until then.
    fn follow_rotation(&mut self) {
        let Some(at) = &mut self.at else { return };
        if self.looked_at.elapsed() < LOOK_PERIOD {
            return;
        }
        self.looked_at = Instant::now();
        if std::fs::metadata(&at.path).is_ok_and(|found| inode(&found) == at.inode) {
            return;
        }
        match append_to(&at.path).and_then(|file| Ok((inode(&file.metadata()?), file))) {
            Ok((inode, file)) => {
                at.inode = inode;
                self.sink = Box::new(file);
                self.torn = false;
            }
            Err(error) if !self.failing => {
                failure!("{} cannot be opened again after rotation: {error}", at.path.display())
            }
            Err(_) => {}
        }
    }

    fn went_well(&mut self) {
        self.reported.0 = self.reported.1;
        if std::mem::take(&mut self.failing) {
            say!("the decision log can be written again, {} records were lost", self.lost_writing);
        }
    }

    fn went_wrong(&mut self, written: usize, error: io::Error) {
        let mut end = 0;
        for line in self.lines.split_inclusive(|octet| *octet == b'\n') {
            end += line.len();
            if end > written && line.starts_with(b"{\"time\"") {
                self.lost_writing += 1;
            }
        }
        self.reported.1 = self.reported.0;
        if !std::mem::replace(&mut self.failing, true) {
            failure!("the decision log cannot be written: {error}; records are being lost");
        }
        self.first_error.get_or_insert(error);
    }
}

/// What a ring holds: a second or more of decisions of one busy shard, at a kilobyte each.
const RING_OCTETS: usize = 8 << 20;
const BUFFER_OCTETS: usize = 64 << 10;
/// After a write the thread waits this long, so that under load one write carries many records.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// How often the log's path is looked at, when there is something to write.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How long `close` waits for the writer, in steps.
const CLOSE_POLLS: u32 = 500;
const CLOSE_POLL: Duration = Duration::from_millis(10);
/// A wake-up that was missed costs at most this.
const PARK_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durations, Shown};

    fn decision(session: &str) -> Decision<'_> {
        Decision {
            unix_ms: 0,
            session,
            shard: 0,
            client: std::net::Ipv6Addr::LOCALHOST.into(),
            connector: false,
            tls: None,
            early_talker: false,
            helo: "a\"b\r\n",
            mail_from: "",
            rcpt_to: "bob@open.example",
            domain: "open.example",
            class: None,
            stage: "rcpt",
            rule: "reverse-dns",
            verdict: "defer",
            reply: Shown(&"450 4.7.25 no"),
            would_rule: None,
            would: None,
            delivery: None,
            message_id: None,
            size_octets: None,
            iprev: None,
            spf: None,
            dkim: None,
            dkim_cache: None,
            dmarc: None,
            duration_ms: Durations::default(),
            unrecorded: None,
        }
    }

    /// A recorder whose ring is read by the test.
    fn recorder_of(octets: usize) -> (Recorder, rtrb::Consumer<u8>) {
        let (ring, consumer) = rtrb::RingBuffer::new(octets);
        let shared = Arc::new(Shared { asleep: AtomicBool::new(false), closing: AtomicBool::new(false) });
        let writer = thread::current();
        let counters = Counters::default();
        (Recorder { ring, line: Vec::new(), shared, writer, counters, unrecorded: 0 }, consumer)
    }

    #[test]
    fn lines_across_the_end_of_the_ring_and_longer_than_the_buffer() {
        let long = "x".repeat(BUFFER_OCTETS + 100);
        let written = std::sync::Arc::default();
        let disk =
            FullDisk { room: usize::MAX, written: Arc::clone(&written), repaired: Arc::new(AtomicBool::new(true)) };
        let mut log = Log::new(OpenLog { path: None, sink: Box::new(disk) });
        let (mut recorder, mut ring) = recorder_of(3 * BUFFER_OCTETS);
        let mut sent = Vec::new();
        for round in 0..40 {
            let sessions = [round.to_string(), if round % 7 == 0 { long.clone() } else { "y".repeat(round * 10) }];
            for session in sessions {
                recorder.record(decision(&session));
                sent.push(session);
            }
            log.take(&mut ring);
        }
        log.flush();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let read = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["session"].clone());
        assert_eq!(read.collect::<Vec<_>>(), sent);
        assert_eq!(recorder.counters.value(Counter::RecordsLost), 0);
    }

    #[test]
    fn every_record_is_a_line_and_loss_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.log");
        let counters = [Counters::default(), Counters::default()];
        let mut recorders = Recorders::start(LogTarget::File(path.clone()).open().unwrap(), &counters, None).unwrap();
        let mut first = recorders.take(0).unwrap();
        assert!(recorders.take(0).is_none());
        let mut second = recorders.take(1).unwrap();
        // Far more than the ring holds, faster than a disk takes it.
        let pushed = RING_OCTETS / 50;
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
        assert_eq!(lines[0]["client"], "::1");
        assert_eq!(lines[0]["helo"], "a\"b\r\n");
        assert_eq!(lines[0]["reply"], "450 4.7.25 no");
    }

    #[test]
    fn what_is_passed_over_is_told_in_the_next_record_that_is_written() {
        let (mut recorder, mut ring) = recorder_of(1500);
        let mut told = Vec::new();
        for round in 0..40 {
            recorder.pass_over();
            assert_eq!(recorder.is_half_full(), ring.slots() > 750);
            recorder.record(decision("s"));
            if round % 8 == 7 {
                let chunk = ring.read_chunk(ring.slots()).unwrap();
                let text: Vec<u8> = chunk.as_slices().0.iter().chain(chunk.as_slices().1).copied().collect();
                chunk.commit_all();
                for line in text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                    told.push(
                        serde_json::from_slice::<serde_json::Value>(line).unwrap()["unrecorded"].as_u64().unwrap(),
                    );
                }
            }
        }
        let lost = recorder.counters.value(Counter::RecordsLost);
        assert!(lost > 0 && told.len() as u64 == 40 - lost, "{told:?}");
        assert_eq!(told.iter().sum::<u64>() + recorder.unrecorded, 40);
    }

    /// Takes `room` octets in all, until `repaired` is set.
    struct FullDisk {
        room: usize,
        written: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
        repaired: Arc<AtomicBool>,
    }

    impl Write for FullDisk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let taken = if self.repaired.load(Ordering::SeqCst) { octets.len() } else { octets.len().min(self.room) };
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room = self.room.saturating_sub(taken);
            self.written.lock().unwrap().extend_from_slice(&octets[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_nothing_silently() {
        let written = std::sync::Arc::default();
        let repaired = Arc::new(AtomicBool::new(false));
        let disk = FullDisk { room: 1000, written: Arc::clone(&written), repaired: Arc::clone(&repaired) };
        let mut log = Log::new(OpenLog { path: None, sink: Box::new(disk) });
        let (mut recorder, mut ring) = recorder_of(1 << 16);
        for round in 0..20 {
            if round == 10 {
                repaired.store(true, Ordering::SeqCst);
            }
            for _ in 0..3 {
                recorder.record(decision("s"));
            }
            log.take(&mut ring);
            log.report_lost(0);
            log.flush();
        }
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let records = lines.iter().filter(|line| line["session"].is_string()).count() as u64;
        let lost: u64 = lines.iter().filter_map(|line| line["records_lost"].as_u64()).sum();
        assert_eq!((records + lost, lost), (60, log.lost_writing));
        assert!(lost > 20, "{lost}");
        assert_eq!(text.lines().count() - lines.len(), 1, "one torn line at most");
    }

    #[test]
    fn a_log_that_cannot_be_opened() {
        let error = LogTarget::File("/nonexistent/x".into()).open().err().unwrap();
        assert!(error.to_string().contains("/nonexistent/x"), "{error}");
    }

    #[test]
    fn a_log_that_was_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut log = Log::new(LogTarget::File(path.clone()).open().unwrap());
        let mut write = |line: &str| {
            log.lines.extend_from_slice(line.as_bytes());
            log.looked_at -= LOOK_PERIOD;
            log.flush();
        };
        write("first\n");
        std::fs::rename(&path, &moved).unwrap();
        write("second\n");
        write("third\n");
        std::fs::write(&path, "").unwrap();
        write("fourth\n");
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "first\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "fourth\n");
    }
}
