//! The sessions of a saved transcript, as far as they are whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mx6_telemetry::{Event, Line, TranscriptError, TranscriptReader, What};

/// Why a transcript cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptFault {
    /// The file.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line of it.
    #[error("{}:{}:{}: {}", path.display(), error.line, error.column, error.reason)]
    Line {
        /// Its path.
        path: PathBuf,
        /// Where, and what.
        error: TranscriptError,
    },
    /// No session of that name.
    #[error("{} has no session {wanted}; {}", path.display(), listed(known))]
    NoSuchSession {
        /// Its path.
        path: PathBuf,
        /// The one that was asked for.
        wanted: String,
        /// Those that there are, the first of them.
        known: Vec<String>,
    },
    /// Nothing in it can be replayed.
    #[error("{} has no session that can be replayed{}", path.display(), reasons(left_out))]
    Nothing {
        /// Its path.
        path: PathBuf,
        /// Sessions that are not whole, and why.
        left_out: Vec<LeftOut>,
    },
}

/// A session that is not replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id.
    pub session: String,
    /// Why not.
    pub why: String,
}

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) sessions: Vec<Session>,
    pub(super) left_out: Vec<LeftOut>,
    /// Sessions that the trace itself left out.
    pub(super) dropped: u64,
    /// Events that the trace missed. Nobody knows of which session: a file may have each session together, so where that is told says nothing.
    pub(super) missed: u64,
}

/// One session, from its connection on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) client: IpAddr,
    pub(super) events: Vec<What>,
    /// It ended while it was traced.
    pub(super) has_ended: bool,
}

/// The sessions of a file, or the one of them that is wanted.
pub(super) fn read(path: &Path, wanted: Option<&str>) -> Result<Saved, TranscriptFault> {
    let unreadable = |error| TranscriptFault::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    read_from(BufReader::new(file.take(FILE_OCTETS_MAX + 1)), path, wanted)
}

fn read_from(from: impl std::io::BufRead, path: &Path, wanted: Option<&str>) -> Result<Saved, TranscriptFault> {
    let mut reading = Reading { wanted, ..Reading::default() };
    let mut reader = TranscriptReader::new(Counted { from, octets: 0 });
    while let Some(line) = reader.next() {
        let number = reader.line();
        let at = |error| TranscriptFault::Line { path: path.to_owned(), error };
        let fault = |reason: String| at(TranscriptError { line: number, column: 1, reason });
        match line.map_err(at)? {
            Line::Event(event) => reading.take(event).map_err(fault)?,
            Line::Missed(count) => reading.saved.missed += count,
            Line::DroppedSessions(count) => reading.saved.dropped += count,
        }
    }
    reading.end(path)
}

/// Says where the file is too long, as the end of what is read of it looks like that of the file.
struct Counted<R> {
    from: R,
    octets: u64,
}

impl<R: std::io::Read> std::io::Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.octets += count as u64;
        self.checked(count)
    }
}

impl<R> Counted<R> {
    fn checked<T>(&self, value: T) -> std::io::Result<T> {
        if self.octets > FILE_OCTETS_MAX {
            let reason = format!("the file is longer than {} MiB; save fewer sessions in one", FILE_OCTETS_MAX >> 20);
            return Err(std::io::Error::other(reason));
        }
        Ok(value)
    }
}

impl<R: std::io::BufRead> std::io::BufRead for Counted<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.checked(())?;
        self.from.fill_buf()
    }

    fn consume(&mut self, octets: usize) {
        self.octets += octets as u64;
        self.from.consume(octets);
    }
}

/// A file while it is read.
#[derive(Default)]
struct Reading<'a> {
    wanted: Option<&'a str>,
    saved: Saved,
    /// Where in `saved.sessions` each is; none for one that is left out.
    places: HashMap<String, Option<usize>>,
    /// All ids, for who asks for one that is not there.
    known: Vec<String>,
}

impl Reading<'_> {
    fn take(&mut self, event: Event) -> Result<(), String> {
        let Event { session: id, what, .. } = event;
        if !self.places.contains_key(&id) && self.known.len() < SESSIONS_NAMED_MAX {
            self.known.push(id.clone());
        }
        if self.wanted.is_some_and(|wanted| wanted != id) {
            self.places.entry(id).or_insert(None);
            return Ok(());
        }
        match (what, self.places.get(&id).copied()) {
            (What::Connect { client }, None) => self.begin(id, client),
            (What::Connect { .. }, Some(_)) => Err(format!("session {id} begins once more")),
            (_, None) => {
                let why = "its beginning is not in the file".to_owned();
                self.saved.left_out.push(LeftOut { session: id.clone(), why });
                self.places.insert(id, None);
                Ok(())
            }
            (_, Some(None)) => Ok(()),
            (what, Some(Some(at))) => {
                let Some(session) = self.saved.sessions.get_mut(at) else { return Ok(()) };
                if session.has_ended {
                    return Err(format!("session {id} goes on after its end"));
                }
                session.has_ended = what == What::End;
                session.events.push(what);
                Ok(())
            }
        }
    }

    fn begin(&mut self, id: String, client: IpAddr) -> Result<(), String> {
        if self.saved.sessions.len() >= SESSIONS_MAX {
            return Err(format!("more than {SESSIONS_MAX} sessions; choose one of them with --session"));
        }
        self.places.insert(id.clone(), Some(self.saved.sessions.len()));
        self.saved.sessions.push(Session { id, client, events: Vec::new(), has_ended: false });
        Ok(())
    }

    fn end(self, path: &Path) -> Result<Saved, TranscriptFault> {
        let path = path.to_owned();
        match (self.wanted, self.saved.sessions.is_empty()) {
            (Some(wanted), true) if self.saved.left_out.is_empty() => {
                Err(TranscriptFault::NoSuchSession { path, wanted: wanted.to_owned(), known: self.known })
            }
            (_, true) => Err(TranscriptFault::Nothing { path, left_out: self.saved.left_out }),
            (_, false) => Ok(self.saved),
        }
    }
}

fn listed(known: &[String]) -> String {
    match known {
        [] => "it has none at all".to_owned(),
        [only] => format!("it has {only}"),
        several if several.len() < SESSIONS_NAMED_MAX => format!("it has {}", several.join(", ")),
        several => format!("it has {} and more", several.join(", ")),
    }
}

fn reasons(left_out: &[LeftOut]) -> String {
    let first = left_out.iter().take(SESSIONS_NAMED_MAX);
    first.map(|it| format!("; session {}: {}", it.session, it.why)).collect()
}

/// Of a file, which is held in memory.
const FILE_OCTETS_MAX: u64 = 256 << 20;
/// Of a file.
const SESSIONS_MAX: usize = 1_000;
/// In an error.
const SESSIONS_NAMED_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, wanted: Option<&str>) -> Result<Saved, String> {
        read_from(text.as_bytes(), Path::new("saved.jsonl"), wanted).map_err(|fault| fault.to_string())
    }

    fn event(session: &str, rest: &str) -> String {
        format!("{{\"session\":\"{session}\",\"ms\":0,\"event\":{rest}}}\n")
    }

    const CONNECT: &str = "\"connect\",\"client\":\"2001:db8::1\"";
    const END: &str = "\"end\"";

    #[test]
    fn which_sessions_are_replayed() {
        let both = event("a", CONNECT) + &event("b", CONNECT) + &event("a", END) + &event("b", END);
        let late = event("c", END) + &event("a", CONNECT);
        let gap = event("a", CONNECT) + &event("a", END) + &event("b", CONNECT) + "{\"missed\":2}\n" + &event("b", END);
        for (text, wanted, sessions, left_out) in [
            (&both, None, &["a", "b"][..], &[][..]),
            (&both, Some("b"), &["b"], &[]),
            (&late, None, &["a"], &[("c", "its beginning is not in the file")]),
            (&gap, None, &["a", "b"], &[]),
        ] {
            let saved = read_text(text, wanted).unwrap();
            let ids: Vec<&str> = saved.sessions.iter().map(|session| session.id.as_str()).collect();
            let out: Vec<_> = saved.left_out.iter().map(|it| (it.session.as_str(), it.why.as_str())).collect();
            assert_eq!((ids.as_slice(), out.as_slice()), (sessions, left_out), "{text}");
            assert_eq!(saved.missed, if text == &gap { 2 } else { 0 });
        }
    }

    #[test]
    fn what_cannot_be_replayed_is_located() {
        let many: String = (0..=SESSIONS_MAX).map(|number| event(&number.to_string(), CONNECT)).collect();
        for (text, wanted, fault) in [
            (event("a", CONNECT) + "{\"session\":", None, "saved.jsonl:2:11: EOF"),
            (event("a", CONNECT) + &event("a", CONNECT), None, "saved.jsonl:2:1: session a begins once more"),
            (
                event("a", CONNECT) + &event("a", END).repeat(2),
                None,
                "saved.jsonl:3:1: session a goes on after its end",
            ),
            (event("a", "\"connect\",\"client\":\"x\""), None, "saved.jsonl:1:1: is no event: "),
            (event("a", CONNECT), Some("b"), "saved.jsonl has no session b; it has a"),
            (String::new(), Some("b"), "saved.jsonl has no session b; it has none at all"),
            (String::new(), None, "saved.jsonl has no session that can be replayed"),
            (
                event("a", END),
                Some("a"),
                "saved.jsonl has no session that can be replayed; session a: its beginning is not in the file",
            ),
            (many, None, "saved.jsonl:1001:1: more than 1000 sessions; choose one of them with --session"),
        ] {
            let told = read_text(&text, wanted).unwrap_err();
            assert!(told.starts_with(fault), "{told}");
        }
    }
}
