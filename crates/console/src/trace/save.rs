//! The file of a trace: JSON lines as the gate told them, each session together, written when it ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mx6_telemetry::{Event, What};

use super::TraceError;

/// A file under way.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
    file: File,
    /// Lines of the sessions that go on.
    waiting: HashMap<String, Vec<u8>>,
    octets: usize,
    octets_max: usize,
    partly: u64,
}

impl Saved {
    /// Begins a file; what was in it is gone. Only its owner may read it: it has people's mail.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path) -> io::Result<Saved> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let path = path.to_owned();
        Ok(Saved { path, file, waiting: HashMap::new(), octets: 0, octets_max: WAITING_OCTETS_MAX, partly: 0 })
    }

    /// Sessions of which only a part is in the file.
    #[must_use]
    pub fn partly(&self) -> u64 {
        self.partly
    }

    /// Keeps an event until its session ends.
    pub(super) fn take(&mut self, event: &Event, line: &[u8]) -> Result<(), TraceError> {
        if matches!(event.what, What::Connect { .. }) {
            self.waiting.insert(event.session.clone(), Vec::new());
        }
        // One that is not here was too large already.
        let Some(waiting) = self.waiting.get_mut(&event.session) else { return Ok(()) };
        waiting.extend_from_slice(line);
        waiting.push(b'\n');
        self.octets += line.len() + 1;
        if event.what == What::End {
            let session = event.session.clone();
            return self.write(&session);
        }
        while self.octets > self.octets_max {
            let largest = self.waiting.iter().max_by_key(|(_, lines)| lines.len());
            let Some((session, _)) = largest.map(|(session, lines)| (session.clone(), lines)) else { break };
            self.partly += 1;
            self.write(&session)?;
        }
        Ok(())
    }

    /// Writes what the trace says of itself: who reads the file must know that something is missing.
    pub(super) fn note(&mut self, line: &[u8]) -> Result<(), TraceError> {
        let failed = |error| TraceError::Save { path: self.path.clone(), error };
        self.file.write_all(&[line, b"\n"].concat()).map_err(failed)
    }

    /// Writes what waits, as far as it came.
    pub(super) fn finish(&mut self) -> Result<(), TraceError> {
        let mut sessions: Vec<String> = self.waiting.keys().cloned().collect();
        sessions.sort_unstable();
        sessions.iter().try_for_each(|session| self.write(session))
    }

    /// Whole lines in one call: the file is whole whenever this process ends.
    fn write(&mut self, session: &str) -> Result<(), TraceError> {
        let Some(lines) = self.waiting.remove(session) else { return Ok(()) };
        self.octets -= lines.len();
        let failed = |error| TraceError::Save { path: self.path.clone(), error };
        self.file.write_all(&lines).map_err(failed)
    }

    #[cfg(test)]
    pub(super) fn with_room(self, octets_max: usize) -> Saved {
        Saved { octets_max, ..self }
    }
}

/// Of the sessions that go on; beyond it the largest is written as far as it came, and the rest of it is not saved.
const WAITING_OCTETS_MAX: usize = 64 << 20;
