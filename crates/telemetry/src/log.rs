//! Where decision records are written: standard output, a file that may be rotated, the journal.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::journal::{self, Journal};
use crate::observer::Lines;

/// Where decision records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is created if absent, and again when it was moved away or removed (log rotation).
    File(PathBuf),
    /// The systemd journal.
    Journal,
}

impl LogTarget {
    /// Opens it. Apart from [`Recorders::start`], because it may take rights that the process gives up before it starts a thread.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self) -> Result<OpenLog, LogError> {
        match self {
            LogTarget::Stdout => Ok(OpenLog { at: None, sink: Box::new(io::stdout()) }),
            LogTarget::Journal => {
                let path = Path::new(journal::SOCKET);
                let failed = |source| LogError { path: path.to_owned(), source };
                Ok(OpenLog { at: None, sink: Box::new(Journal::connect(path).map_err(failed)?) })
            }
            LogTarget::File(path) => {
                let file = append_to(path).map_err(|source| LogError { path: path.clone(), source })?;
                let at = FileAt {
                    path: path.clone(),
                    inode: inode(&file.metadata().map_err(|source| LogError { path: path.clone(), source })?),
                };
                Ok(OpenLog { at: Some(at), sink: Box::new(file) })
            }
        }
    }
}

/// A log that is open.
pub struct OpenLog {
    pub(crate) at: Option<FileAt>,
    pub(crate) sink: Box<dyn Write + Send>,
}

/// Which file was opened under a path.
pub(crate) struct FileAt {
    pub(crate) path: PathBuf,
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
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Lines on their way to the sink. A full disk or a closed pipe does not end the gate, and no gap is silent: what could not be written is
/// counted, told once on standard error, and told in the log itself as soon as that can be written again.
pub(crate) struct Log {
    sink: Box<dyn Write + Send>,
    /// None for a sink that is no file.
    at: Option<FileAt>,
    pub(crate) looked_at: Instant,
    /// It may have been moved away since.
    pub(crate) is_doubted: bool,
    pub(crate) lines: Vec<u8>,
    observer: Option<Lines>,
    /// Lines that could not be written.
    pub(crate) lost_writing: u64,
    /// Lost records, rings included, that a line in the log has told of; the second is the value once what is in `lines` is written.
    reported: (u64, u64),
    /// The last write ended inside a line.
    torn: bool,
    failing: bool,
    pub(crate) first_error: Option<io::Error>,
}

impl Log {
    /// Lines to an open log.
    pub(crate) fn new(OpenLog { at, sink }: OpenLog) -> Log {
        let lines = Vec::with_capacity(BUFFER_OCTETS);
        let looked_at = Instant::now();
        Log {
            sink,
            at,
            looked_at,
            is_doubted: false,
            lines,
            observer: None,
            lost_writing: 0,
            reported: (0, 0),
            torn: false,
            failing: false,
            first_error: None,
        }
    }

    /// The same, with somebody who sees every line.
    pub(crate) fn seen_by(self, observer: Option<Lines>) -> Log {
        Log { observer, ..self }
    }

    /// Takes all lines that are in the ring, and writes each time enough have come together. Returns their octets.
    pub(crate) fn take(&mut self, ring: &mut rtrb::Consumer<u8>) -> usize {
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
    pub(crate) fn report_lost(&mut self, lost_in_rings: u64) {
        let lost = lost_in_rings + self.lost_writing;
        if lost > self.reported.0 {
            self.lines.extend_from_slice(format!("{{\"records_lost\":{}}}\n", lost - self.reported.0).as_bytes());
            self.reported.1 = lost;
        }
    }

    pub(crate) fn flush(&mut self) {
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
        if !std::mem::take(&mut self.is_doubted) && self.looked_at.elapsed() < LOOK_PERIOD {
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
                crate::failure!("{} cannot be opened again after rotation: {error}", at.path.display())
            }
            Err(_) => {}
        }
    }

    fn went_well(&mut self) {
        self.reported.0 = self.reported.1;
        if std::mem::take(&mut self.failing) {
            crate::say!("the decision log can be written again, {} records were lost", self.lost_writing);
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
            crate::failure!("the decision log cannot be written: {error}; records are being lost");
        }
        self.first_error.get_or_insert(error);
    }
}

/// What is gathered before it is written.
pub(crate) const BUFFER_OCTETS: usize = 64 << 10;
/// How often the log's path is looked at, when there is something to write.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_secs(1);
