//! Events as lines: JSON as it came, or a transcript for eyes.
//!
//! Sessions go on at the same time, so every line says whose it is and when. Octets of both sides are escaped: the gate repeats what clients say.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::IpAddr;

use mx6_telemetry::{Event, Said, What};

use super::TraceError;
use crate::escape::{octets, printable, wrapped};
use crate::records::{Line, Record};
use crate::tail;
use crate::units::{count, duration};

/// How events are written.
#[derive(Debug)]
pub struct Shown {
    form: Form,
    sessions: HashMap<String, Session>,
    /// In which they began: the oldest are forgotten when there are too many.
    order: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text { colour: bool, width: usize },
}

/// One that goes on.
#[derive(Debug, Default)]
struct Session {
    /// The beginning of a line of the client whose end did not come yet, and when it began.
    partial: Vec<u8>,
    since_ms: u64,
    /// What the client sends is a message.
    in_message: bool,
}

/// Which words a line begins with, and how it looks.
struct Looks {
    who: &'static str,
    colour: &'static str,
}

impl Shown {
    /// Lines as the gate tells them.
    #[must_use]
    pub fn json() -> Shown {
        Shown::new(Form::Json)
    }

    /// A transcript in lines of at most `width` characters.
    #[must_use]
    pub fn text(colour: bool, width: usize) -> Shown {
        Shown::new(Form::Text { colour, width })
    }

    fn new(form: Form) -> Shown {
        Shown { form, sessions: HashMap::new(), order: VecDeque::new() }
    }

    /// Sessions that go on.
    pub(super) fn under_way(&self) -> u64 {
        self.sessions.len() as u64
    }

    pub(super) fn knows(&self, session: &str) -> bool {
        self.sessions.contains_key(session)
    }

    pub(super) fn begin(&mut self, session: &str) {
        while self.sessions.len() >= SESSIONS_MAX {
            // Its end was missed.
            let Some(oldest) = self.order.pop_front() else { break };
            self.sessions.remove(&oldest);
        }
        if self.order.len() >= 2 * SESSIONS_MAX {
            self.order.retain(|session| self.sessions.contains_key(session));
        }
        self.order.push_back(session.to_owned());
        self.sessions.insert(session.to_owned(), Session::default());
    }

    pub(super) fn end(&mut self, session: &str) {
        self.sessions.remove(session);
    }

    /// Writes an event.
    pub(super) fn event(&mut self, event: &Event, line: &[u8], out: &mut dyn Write) -> Result<(), TraceError> {
        let written = match self.form {
            Form::Json => out.write_all(&[line, b"\n"].concat()),
            Form::Text { .. } => {
                let text = self.transcript(event);
                out.write_all(text.as_bytes())
            }
        };
        written.and_then(|()| out.flush()).map_err(TraceError::Write)
    }

    /// Writes what the trace says of itself.
    pub(super) fn note(
        &self,
        words: &str,
        line: &[u8],
        out: &mut dyn Write,
        notes: &mut dyn Write,
    ) -> Result<(), TraceError> {
        let written = match self.form {
            Form::Json => {
                out.write_all(&[line, b"\n"].concat()).and_then(|()| writeln!(notes, "mx6: warning: {words}"))
            }
            Form::Text { width, .. } => {
                let lines = wrapped(&format!("!! {words}"), width.max(WRAPPED_COLUMNS_MIN));
                lines.iter().try_for_each(|line| writeln!(out, "{}", self.styled("1;33", line)))
            }
        };
        written.map_err(TraceError::Write)
    }

    /// Writes a line that is no event.
    pub(super) fn unknown(&self, line: &[u8], out: &mut dyn Write) -> Result<(), TraceError> {
        let written = match self.form {
            Form::Json => out.write_all(&[line, b"\n"].concat()),
            Form::Text { .. } => writeln!(out, "{}", self.styled("2", &octets(line, LINE_CHARACTERS_MAX))),
        };
        written.map_err(TraceError::Write)
    }

    /// What waits for the end of its line.
    pub(super) fn rest(&mut self) -> String {
        let mut sessions: Vec<String> = self.sessions.keys().cloned().collect();
        sessions.sort_unstable();
        sessions.iter().map(|session| self.flushed(session)).collect()
    }

    fn transcript(&mut self, event: &Event) -> String {
        let (session, ms) = (event.session.as_str(), event.ms);
        if let What::Client(said) = &event.what {
            return self.client(session, ms, said);
        }
        let before = self.flushed(session);
        let text = match &event.what {
            What::Connect { client } => self.row(session, ms, &BESIDE, &connects(*client, session)),
            What::Server(said) => self.server(session, ms, said),
            What::Tls { version } => {
                self.row(session, ms, &BESIDE, &format!("inside TLS from here on ({})", printable(version, 20)))
            }
            What::Decision { record } => self.decision(session, ms, &record.to_string()),
            What::End => self.row(session, ms, &BESIDE, &format!("ended after {}", duration(ms))),
            What::Client(_) => String::new(),
        };
        before + &text
    }

    /// Whole lines of the client; what comes after the last one waits.
    fn client(&mut self, session: &str, ms: u64, said: &Said) -> String {
        let Some(state) = self.sessions.get_mut(session) else { return String::new() };
        let since_ms = if state.partial.is_empty() { ms } else { state.since_ms };
        let mut all = std::mem::take(&mut state.partial);
        let in_message = state.in_message;
        all.extend_from_slice(&said.octets);
        let whole = match all.iter().rposition(|octet| *octet == b'\n') {
            Some(end) => end + 1,
            None if all.len() >= LINE_CHARACTERS_MAX => all.len(),
            None => 0,
        };
        (state.partial, state.since_ms) = (all[whole..].to_vec(), if whole > 0 { ms } else { since_ms });
        let looks = if in_message { &MESSAGE } else { &CLIENT };
        let mut text: String = lines(&all[..whole]).map(|line| self.row(session, since_ms, looks, &line)).collect();
        if said.cut > 0 {
            text += &self.flushed(session);
            let words = format!("{} octets of the message are left out (--octets)", count(said.cut));
            text += &self.row(session, ms, &BESIDE, &words);
        }
        text
    }

    fn server(&mut self, session: &str, ms: u64, said: &Said) -> String {
        if let Some(state) = self.sessions.get_mut(session) {
            // RFC 5321 §4.5.4.1: what follows is the message, until the gate says something again.
            let last = said.octets.strip_suffix(b"\r\n").unwrap_or(&said.octets).rsplit(|octet| *octet == b'\n').next();
            state.in_message = last.is_some_and(|line| line.starts_with(b"354"));
        }
        let looks = |line: &str| match line.as_bytes().first() {
            Some(b'4') => &SERVER_DEFERS,
            Some(b'5') => &SERVER_REJECTS,
            _ => &SERVER,
        };
        lines(&said.octets).map(|line| self.row(session, ms, looks(&line), &line)).collect()
    }

    /// A decision in words; what a newer gate writes otherwise, as it is.
    fn decision(&self, session: &str, ms: u64, record: &str) -> String {
        let Ok(Line::Record(record)) = Line::parse(record.as_bytes()) else {
            return self.row(session, ms, &BESIDE, &printable(record, LINE_CHARACTERS_MAX));
        };
        let looks = match &*record.verdict {
            "accept" if record.would.is_some() => &DEFERS,
            "accept" => &ACCEPTS,
            "defer" => &DEFERS,
            "reject" => &REJECTS,
            _ => &BESIDE,
        };
        let mut text = self.row(session, ms, looks, &printable(&in_words(&record), LINE_CHARACTERS_MAX));
        if let Some(would) = &record.would {
            let words = format!("without the trial: {}", &**would);
            text += &self.row(session, ms, looks, &printable(&words, LINE_CHARACTERS_MAX));
        }
        text
    }

    /// What waits of a client's line.
    fn flushed(&mut self, session: &str) -> String {
        let Some(state) = self.sessions.get_mut(session) else { return String::new() };
        let (partial, since_ms) = (std::mem::take(&mut state.partial), state.since_ms);
        let looks = if state.in_message { &MESSAGE } else { &CLIENT };
        if partial.is_empty() {
            return String::new();
        }
        self.row(session, since_ms, looks, &format!("{} (no line end)", octets(&partial, LINE_CHARACTERS_MAX)))
    }

    /// A line of safe words, and where it is too long the rest below them.
    fn row(&self, session: &str, ms: u64, looks: &Looks, words: &str) -> String {
        let width = if let Form::Text { width, .. } = self.form { width } else { usize::MAX };
        let colour = PALETTE[session.bytes().map(usize::from).sum::<usize>() % PALETTE.len()];
        let tag = format!("{:<8}", printable(tag(session), SESSION_CHARACTERS_MAX));
        let clock = format!(" {ms:>6} ms  ");
        let indent = tag.chars().count() + clock.len() + WHO;
        let lines = wrapped(words, width.saturating_sub(indent).max(WRAPPED_COLUMNS_MIN));
        let mut row = self.styled(colour, &tag) + &clock;
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                row += &" ".repeat(indent - WHO);
            }
            let who = if at > 0 { "" } else { looks.who };
            row += &self.styled(looks.colour, format!("{who:<WHO$}{line}").trim_end());
            row.push('\n');
        }
        row
    }

    fn styled(&self, colour: &str, words: &str) -> String {
        match self.form {
            Form::Text { colour: true, .. } if !colour.is_empty() => format!("\x1b[{colour}m{words}\x1b[0m"),
            _ => words.to_owned(),
        }
    }
}

/// Lines without their ends, safe. A CR or LF of its own is not an end (RFC 5321 §2.3.8), and is shown.
fn lines(said: &[u8]) -> impl Iterator<Item = String> {
    let line = |line: &[u8]| {
        let bare = line.strip_suffix(b"\n").filter(|line| !line.ends_with(b"\r"));
        let words = line.strip_suffix(b"\r\n").unwrap_or(line);
        octets(bare.map_or(words, |_| line), LINE_CHARACTERS_MAX)
    };
    said.split_inclusive(|octet| *octet == b'\n').map(line)
}

fn connects(client: IpAddr, session: &str) -> String {
    format!("{client} connects, session {}", printable(session, SESSION_CHARACTERS_MAX))
}

/// What tells sessions of one gate apart: its own id comes first in theirs.
fn tag(session: &str) -> &str {
    session.split_once('-').map_or(session, |(_, tag)| tag)
}

/// `defer by reverse-dns at rcpt, for bob@open.example; iprev fail, spf -, dkim -`.
fn in_words(record: &Record<'_>) -> String {
    let recipient = if record.rcpt_to.is_empty() { String::new() } else { format!(", for {}", &*record.rcpt_to) };
    let verdict = match (&*record.verdict, &*record.rule) {
        ("none", rule) => format!("no verdict, {rule},"),
        (verdict, "accepted") => verdict.to_owned(),
        (verdict, rule) if record.would.is_some() => format!("{verdict} on trial, against {rule},"),
        (verdict, rule) => format!("{verdict} by {rule}"),
    };
    let [iprev, spf, dkim] = tail::results(record);
    format!("{verdict} at {}{recipient}; iprev {iprev}, spf {spf}, dkim {dkim}", &*record.stage)
}

const CLIENT: Looks = Looks { who: "C:", colour: "1" };
const MESSAGE: Looks = Looks { who: "C:", colour: "2" };
const SERVER: Looks = Looks { who: "S:", colour: "" };
const SERVER_DEFERS: Looks = Looks { who: "S:", colour: "33" };
const SERVER_REJECTS: Looks = Looks { who: "S:", colour: "31" };
const BESIDE: Looks = Looks { who: "--", colour: "2" };
const ACCEPTS: Looks = Looks { who: "=>", colour: "1;32" };
const DEFERS: Looks = Looks { who: "=>", colour: "1;33" };
const REJECTS: Looks = Looks { who: "=>", colour: "1;31" };
/// Columns of who says it.
const WHO: usize = 3;
/// A terminal that is narrower breaks lines itself.
const WRAPPED_COLUMNS_MIN: usize = 20;
/// For sessions: neighbours differ, and none looks like a verdict.
const PALETTE: [&str; 5] = ["36", "35", "34", "96", "95"];
/// Of one line; a longer one is cut, or comes in pieces if its end does not come.
const LINE_CHARACTERS_MAX: usize = 4096;
/// Of a session's id.
const SESSION_CHARACTERS_MAX: usize = 40;
/// More do not go on at once in one trace.
const SESSIONS_MAX: usize = 20_000;
