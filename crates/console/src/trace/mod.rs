//! `mx6 trace`: what is said in the sessions of a running gate, on a terminal, as JSON lines, and in a file that `mx6 explain --transcript` replays.
//!
//! The gate drops what nobody reads fast enough and says how much: so does this, when it happens and at the end.

mod save;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mx6_telemetry::{Event, What};
use serde::Deserialize;
use thiserror::Error;

pub use save::Saved;
pub use show::Shown;

use crate::client::ClientError;
use crate::stream::{Lines, Next};
use crate::units::counted;

/// Which sessions, and how much of them. What is absent is not asked about; everything else must fit.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The client is in this network.
    pub prefix: Option<ipnet::IpNet>,
    /// The name that it gave.
    pub helo: Option<String>,
    /// A recipient's domain, as A-labels.
    pub domain: Option<String>,
    /// The stage of a decision.
    pub stage: Option<String>,
    /// The rule of a decision.
    pub rule: Option<String>,
    /// Octets of each message that are told.
    pub message_octets: u64,
}

impl Ask {
    /// As `/trace` takes it.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let octets = Some(self.message_octets).filter(|octets| *octets > 0);
        let asked = [
            ("prefix", self.prefix.map(|prefix| prefix.to_string())),
            ("helo", self.helo.clone()),
            ("domain", self.domain.clone()),
            ("stage", self.stage.clone()),
            ("rule", self.rule.clone()),
            ("octets", octets.map(|octets| octets.to_string())),
        ];
        asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// When to end by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// After so many sessions, the first ones that begin.
    pub sessions: Option<u64>,
    /// At that time.
    pub until: Option<Instant>,
}

/// Why it ended before it was told to.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The gate does not answer any more.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It has ended, or was replaced.
    #[error("the gate has ended the trace: it stops, another one takes its place, or nobody read for too long")]
    Ended,
    /// Standard output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Save {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// How much was traced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sessions that were seen from their beginning to their end.
    pub ended: u64,
    /// Sessions that still go on.
    pub under_way: u64,
    /// Events that the gate could not tell: it does not wait for who reads slowly.
    pub missed: u64,
    /// Sessions that the gate forgot before it was known whether they are wanted.
    pub dropped: u64,
    /// Sessions that are in the file only in part, because too many went on at once.
    pub partly_saved: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} traced", counted(self.ended, "session"))?;
        if self.under_way > 0 {
            write!(f, ", {} not ended yet", self.under_way)?;
        }
        if *self == (Tally { ended: self.ended, under_way: self.under_way, ..Tally::default() }) {
            return f.write_str("; nothing was missed");
        }
        if self.missed > 0 {
            write!(f, "; {} missed: there are gaps, narrow the filters", counted(self.missed, "event"))?;
        }
        if self.dropped > 0 {
            let dropped = counted(self.dropped, "session");
            write!(f, "; {dropped} forgotten before it was known whether wanted, narrow --prefix")?;
        }
        if self.partly_saved > 0 {
            write!(f, "; {} saved only in part", counted(self.partly_saved, "session"))?;
        }
        Ok(())
    }
}

/// What a trace says of itself.
#[derive(Debug, Deserialize)]
enum Note {
    #[serde(rename = "missed")]
    Missed(u64),
    #[serde(rename = "dropped_sessions")]
    Dropped(u64),
}

/// A trace that goes on.
pub struct Trace<'a> {
    bounds: Bounds,
    shown: Shown,
    saved: Option<Saved>,
    out: &'a mut dyn Write,
    /// Where gaps are told beside JSON.
    notes: &'a mut dyn Write,
    began: u64,
    tally: Tally,
}

impl<'a> Trace<'a> {
    /// Writes what comes to `out`, and into a file as well if asked; what is missing to `notes` where `out` has JSON.
    pub fn new(
        bounds: Bounds,
        shown: Shown,
        saved: Option<Saved>,
        out: &'a mut dyn Write,
        notes: &'a mut dyn Write,
    ) -> Trace<'a> {
        Trace { bounds, shown, saved, out, notes, began: 0, tally: Tally::default() }
    }

    /// Traces until `is_ended`, or until it is enough. However it ends, what is in the file is whole.
    ///
    /// # Errors
    /// The gate has ended, or something cannot be written. The tally holds in any case.
    pub fn run(mut self, lines: &Lines, is_ended: &AtomicBool) -> (Tally, Result<(), TraceError>) {
        let result = self.follow(lines, is_ended);
        let rest = self.shown.rest();
        let result = result.and(self.out.write_all(rest.as_bytes()).map_err(TraceError::Write));
        let result = match &mut self.saved {
            Some(saved) => result.and(saved.finish()),
            None => result,
        };
        (self.tally(), result)
    }

    fn follow(&mut self, lines: &Lines, is_ended: &AtomicBool) -> Result<(), TraceError> {
        while !is_ended.load(Ordering::Relaxed) && !self.is_enough() {
            match lines.next(LOOK_EVERY)? {
                Next::Line(line) => self.take(&line)?,
                Next::Nothing => {}
                Next::End => return Err(TraceError::Ended),
            }
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.bounds.sessions.is_some_and(|sessions| self.tally.ended >= sessions)
            || self.bounds.until.is_some_and(|until| Instant::now() >= until)
    }

    fn tally(&self) -> Tally {
        let partly_saved = self.saved.as_ref().map_or(0, Saved::partly);
        Tally { under_way: self.shown.under_way(), partly_saved, ..self.tally }
    }

    /// Takes one line of the stream.
    fn take(&mut self, line: &[u8]) -> Result<(), TraceError> {
        if let Ok(note) = serde_json::from_slice(line) {
            return self.note(&note, line);
        }
        // What a newer gate tells is shown as it is, if JSON is asked for.
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return self.shown.unknown(line, self.out) };
        if matches!(event.what, What::Connect { .. }) {
            if self.bounds.sessions.is_some_and(|sessions| self.began >= sessions) {
                return Ok(());
            }
            self.began += 1;
            self.shown.begin(&event.session);
        }
        if !self.shown.knows(&event.session) {
            return Ok(());
        }
        if let Some(saved) = &mut self.saved {
            saved.take(&event, line)?;
        }
        self.shown.event(&event, line, self.out)?;
        if event.what == What::End {
            self.tally.ended += 1;
            self.shown.end(&event.session);
        }
        Ok(())
    }

    fn note(&mut self, note: &Note, line: &[u8]) -> Result<(), TraceError> {
        let words = match note {
            Note::Missed(missed) => {
                self.tally.missed += missed;
                format!("{} missed here: they came faster than they were read", counted(*missed, "event"))
            }
            Note::Dropped(dropped) => {
                self.tally.dropped += dropped;
                let dropped = counted(*dropped, "session");
                format!("{dropped} forgotten here before it was known whether wanted: narrow --prefix")
            }
        };
        if let Some(saved) = &mut self.saved {
            saved.note(line)?;
        }
        self.shown.note(&words, line, self.out, self.notes)
    }
}

/// How long a signal or a deadline may wait to be seen.
const LOOK_EVERY: Duration = Duration::from_millis(100);
