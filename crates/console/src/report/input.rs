//! Logs to read: several files in any order, gzipped or not, or standard input.
//!
//! Each file is looked into for the time of its first record; then all are read together, the oldest record first, each file opened when its
//! time has come and closed at its end.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::{cmp::Reverse, mem};

use flate2::bufread::MultiGzDecoder;

use super::ReportError;
use crate::records::{LINE_OCTETS_MAX, Line, LineError, Record};

/// What could not be read, and what a gate says it did not write.
#[derive(Debug, Default)]
pub struct Missing {
    /// Records that the gate lost, as it says itself.
    pub records_lost: u64,
    /// Decisions that the gate counted and did not write.
    pub unrecorded: u64,
    /// Lines that are no records.
    pub malformed: u64,
    /// The first of them, and files that ended in an error: `file:line: why`.
    pub complaints: Vec<String>,
    /// Files that could not be read to their end.
    pub files_cut: u64,
}

impl Missing {
    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint);
        }
    }
}

/// Hands every record of all files to `record`, nearly in order of time, and says what is missing.
///
/// # Errors
/// A file cannot be opened. Nothing else ends the reading: lines that are no records are counted.
pub(crate) fn read(files: &[PathBuf], mut record: impl FnMut(&Record<'_>)) -> Result<Missing, ReportError> {
    let mut missing = Missing::default();
    if files.is_empty() {
        let mut log = Log::open(Path::new("-"))?;
        while log.next(&mut missing) {
            log.hand_on(&mut missing, &mut record);
        }
        return Ok(missing);
    }
    let mut waiting = BinaryHeap::new();
    for (number, path) in files.iter().enumerate() {
        waiting.push(Reverse((first_ms(path)?, number)));
    }
    let mut open: Vec<Option<Log>> = files.iter().map(|_| None).collect();
    while let Some(Reverse((_, number))) = waiting.pop() {
        let Some(slot) = open.get_mut(number) else { continue };
        let mut log = match slot.take() {
            Some(log) => log,
            None => match Log::open(&files[number]).map(|mut log| log.next(&mut missing).then_some(log))? {
                Some(log) => log,
                None => continue,
            },
        };
        // As long as no other file has anything older.
        let next_ms = waiting.peek().map_or(u64::MAX, |Reverse((next_ms, _))| *next_ms);
        let more = loop {
            if log.unix_ms > next_ms {
                break true;
            }
            log.hand_on(&mut missing, &mut record);
            if !log.next(&mut missing) {
                break false;
            }
        };
        if more {
            waiting.push(Reverse((log.unix_ms, number)));
            *slot = Some(log);
        }
    }
    Ok(missing)
}

/// When the first record of a file was written; a file without one is read at once. Standard input cannot be read twice, and comes first.
fn first_ms(path: &Path) -> Result<u64, ReportError> {
    if path == Path::new("-") {
        return Ok(0);
    }
    let mut log = Log::open(path)?;
    let mut passed_over = Missing::default();
    Ok(if log.next(&mut passed_over) { log.unix_ms } else { 0 })
}

/// A file, and the line of it that is to be handed on next.
struct Log {
    name: String,
    octets: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    unix_ms: u64,
}

impl Log {
    fn open(path: &Path) -> Result<Log, ReportError> {
        let failed = |error| ReportError::Open { path: path.to_owned(), error };
        let (name, mut octets): (_, Box<dyn BufRead>) = if path == Path::new("-") {
            ("standard input".to_owned(), Box::new(BufReader::with_capacity(READ_OCTETS, io::stdin())))
        } else {
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            (path.display().to_string(), Box::new(BufReader::with_capacity(READ_OCTETS, file)))
        };
        if octets.fill_buf().map_err(failed)?.starts_with(GZIP_MAGIC) {
            octets = Box::new(BufReader::with_capacity(READ_OCTETS, MultiGzDecoder::new(octets)));
        }
        Ok(Log { name, octets, line: Vec::new(), number: 0, unix_ms: 0 })
    }

    /// Goes on to the next line that is a record; what stands between is counted. False at the end.
    fn next(&mut self, missing: &mut Missing) -> bool {
        loop {
            self.number += 1;
            let fits = match self.read_line() {
                Ok(None) => return false,
                Ok(Some(fits)) => fits,
                Err(error) => {
                    missing.files_cut += 1;
                    missing.complain(format!("{}:{}: reading ends here: {error}", self.name, self.number));
                    return false;
                }
            };
            let line = if fits { Line::parse(&self.line) } else { Err(LineError::TooLong) };
            match line {
                Ok(Line::Record(record)) => {
                    self.unix_ms = record.unix_ms;
                    return true;
                }
                Ok(Line::Lost(lost)) => missing.records_lost += lost,
                Err(_) if self.line.trim_ascii().is_empty() => {}
                Err(error) => {
                    missing.malformed += 1;
                    missing.complain(format!("{}:{}: {error}", self.name, self.number));
                }
            }
        }
    }

    /// Hands on the record that [`Log::next`] found.
    fn hand_on(&self, missing: &mut Missing, record: &mut impl FnMut(&Record<'_>)) {
        if let Ok(Line::Record(found)) = Line::parse(&self.line) {
            missing.unrecorded += found.unrecorded.unwrap_or(0);
            record(&found);
        }
    }

    /// The next line; whether it fits, or none at the end.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let limit = LINE_OCTETS_MAX as u64 + 1;
        if self.octets.by_ref().take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.len() <= LINE_OCTETS_MAX || self.line.ends_with(b"\n") {
            return Ok(Some(true));
        }
        let mut rest = mem::take(&mut self.line);
        while !rest.ends_with(b"\n") {
            rest.clear();
            if self.octets.by_ref().take(limit).read_until(b'\n', &mut rest)? == 0 {
                break;
            }
        }
        self.line.push(b'?');
        Ok(Some(false))
    }
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const READ_OCTETS: usize = 128 * 1024;
/// That many are told one by one.
const COMPLAINTS_MAX: usize = 10;
