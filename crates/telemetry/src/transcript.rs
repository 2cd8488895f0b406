//! What was said in a session, as a live trace shows it and a saved one is read again: one JSON object an event, one line each.

use std::io::{BufRead, Read as _};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// One event of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The session's id.
    pub session: String,
    /// Milliseconds since the connection was taken.
    pub ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The connection was taken.
    Connect {
        /// The client's address.
        client: IpAddr,
    },
    /// The client sent these, in the clear.
    Client(Said),
    /// The gate sent these, in the clear.
    Server(Said),
    /// The session goes on inside TLS.
    Tls {
        /// `TLSv1.2` or `TLSv1.3`.
        version: String,
    },
    /// A decision fell.
    Decision {
        /// Its record.
        record: Value,
    },
    /// The connection has ended.
    End,
}

/// Octets as text, or as Base64 if they are not UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The octets, as far as they were kept.
    pub octets: Vec<u8>,
    /// Octets that followed and were left out.
    pub cut: u64,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    cut: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Serialize for Said {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (text, base64) = match std::str::from_utf8(&self.octets) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&self.octets))),
        };
        Written { text, base64, cut: self.cut }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Said, D::Error> {
        let Written { text, base64, cut } = Written::deserialize(deserializer)?;
        let octets = match (text, base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).map_err(serde::de::Error::custom)?,
            _ => return Err(serde::de::Error::custom("either `text` or `base64` must be there")),
        };
        Ok(Said { octets, cut })
    }
}

/// A saved transcript cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct TranscriptError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1; 0 if the whole line is meant.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// What a line of a saved transcript says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Something happened in a session.
    Event(Event),
    /// The trace missed so many events, of whatever sessions were under way.
    Missed(u64),
    /// The trace left out so many sessions, from their beginnings to their ends.
    DroppedSessions(u64),
}

/// Reads a saved transcript line by line. Empty lines are passed over; after an error there is nothing more.
#[derive(Debug)]
pub struct TranscriptReader<R> {
    from: R,
    line: usize,
    octets: Vec<u8>,
    has_failed: bool,
}

impl<R: BufRead> TranscriptReader<R> {
    /// Reads from the beginning of a line.
    pub fn new(from: R) -> TranscriptReader<R> {
        TranscriptReader { from, line: 0, octets: Vec::new(), has_failed: false }
    }

    /// The number of the line that was read last, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next line that says something. At most [`LINE_OCTETS_MAX`] octets are held.
    fn read(&mut self) -> Result<Option<Line>, TranscriptError> {
        loop {
            self.octets.clear();
            self.line += 1;
            let line = self.line;
            let failed = |column, reason: String| TranscriptError { line, column, reason };
            let mut limited = (&mut self.from).take(LINE_OCTETS_MAX + 1);
            let count = limited.read_until(b'\n', &mut self.octets).map_err(|error| failed(0, error.to_string()))?;
            if count == 0 {
                return Ok(None);
            }
            if count as u64 > LINE_OCTETS_MAX {
                return Err(failed(0, format!("is longer than {LINE_OCTETS_MAX} octets")));
            }
            let text = std::str::from_utf8(&self.octets)
                .map_err(|error| failed(error.valid_up_to() + 1, "an octet that is not UTF-8".to_owned()))?;
            if !text.trim().is_empty() {
                return parsed(text, line).map(Some);
            }
        }
    }
}

impl<R: BufRead> Iterator for TranscriptReader<R> {
    type Item = Result<Line, TranscriptError>;

    fn next(&mut self) -> Option<Result<Line, TranscriptError>> {
        if self.has_failed {
            return None;
        }
        let read = self.read().transpose();
        self.has_failed = matches!(read, Some(Err(_)));
        read
    }
}

fn parsed(text: &str, line: usize) -> Result<Line, TranscriptError> {
    let failed = |column, reason: String| TranscriptError { line, column, reason };
    let value: Value = serde_json::from_str(text).map_err(|error| failed(error.column(), without_place(&error)))?;
    let count = |key: &str| value.get(key).filter(|_| value.get("session").is_none()).and_then(Value::as_u64);
    if let Some(missed) = count("missed") {
        return Ok(Line::Missed(missed));
    }
    if let Some(dropped) = count("dropped_sessions") {
        return Ok(Line::DroppedSessions(dropped));
    }
    let event = serde_json::from_value(value).map_err(|error| failed(1, format!("is no event: {error}")))?;
    Ok(Line::Event(event))
}

/// What is wrong; the place within the line is told before it.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// The events of a saved transcript. What a trace says of itself (how much it missed) is passed over.
///
/// # Errors
/// At the first line that is no event.
pub fn read_transcript(from: impl BufRead) -> Result<Vec<Event>, TranscriptError> {
    let mut events = Vec::new();
    for line in TranscriptReader::new(from) {
        if let Line::Event(event) = line? {
            events.push(event);
        }
    }
    Ok(events)
}

/// Of one line: a mebibyte, which is the most of a message that a trace shows, takes up to six as JSON; and a record beside it.
const LINE_OCTETS_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_written_and_read_again() {
        let said = |octets: &[u8], cut| Said { octets: octets.to_vec(), cut };
        let whats = [
            (
                What::Connect { client: "2001:db8::1".parse().unwrap() },
                json!({"event":"connect","client":"2001:db8::1"}),
            ),
            (What::Client(said(b"EHLO \"x\"\r\n", 0)), json!({"event":"client","text":"EHLO \"x\"\r\n"})),
            (What::Server(said(b"\xff\0", 0)), json!({"event":"server","base64":"/wA="})),
            (What::Client(said(b"Subject: x\r\n", 9)), json!({"event":"client","text":"Subject: x\r\n","cut":9})),
            (What::Tls { version: "TLSv1.3".into() }, json!({"event":"tls","version":"TLSv1.3"})),
            (
                What::Decision { record: json!({"rule":"accepted"}) },
                json!({"event":"decision","record":{"rule":"accepted"}}),
            ),
            (What::End, json!({"event":"end"})),
        ];
        let mut text = String::from("\n{\"missed\":3}\n");
        let mut written = Vec::new();
        for (number, (what, mut expected)) in whats.into_iter().enumerate() {
            let event = Event { session: "s-1".into(), ms: number as u64, what };
            expected["session"] = "s-1".into();
            expected["ms"] = number.into();
            assert_eq!(serde_json::to_value(&event).unwrap(), expected);
            text += &(serde_json::to_string(&event).unwrap() + "\n");
            written.push(event);
        }
        assert_eq!(read_transcript(text.as_bytes()).unwrap(), written);
    }

    #[test]
    fn what_a_trace_says_of_itself() {
        let text = "{\"missed\":3}\n\n{\"session\":\"s\",\"ms\":1,\"event\":\"end\"}\n{\"dropped_sessions\":2}";
        let mut reader = TranscriptReader::new(text.as_bytes());
        let mut told = Vec::new();
        while let Some(line) = reader.next() {
            told.push((reader.line(), line.unwrap()));
        }
        let end = Event { session: "s".into(), ms: 1, what: What::End };
        assert_eq!(told, [(1, Line::Missed(3)), (3, Line::Event(end)), (4, Line::DroppedSessions(2))]);
    }

    #[test]
    fn what_is_no_event_is_located() {
        for (text, words) in [
            (
                "{\"session\":\"s\",\"ms\":1,\"event\":\"end\"}\n{\"session\":",
                "line 2, column 11: EOF while parsing a value",
            ),
            ("{\"session\":\"s\",\"ms\":1,\"event\":\"client\"}", "line 1, column 1: is no event: either `text` or"),
            (
                "{\"session\":\"s\",\"ms\":1,\"event\":\"shout\"}",
                "line 1, column 1: is no event: unknown variant `shout`",
            ),
            (
                "{\"session\":\"s\",\"ms\":1,\"event\":\"client\",\"base64\":\"?\"}",
                "line 1, column 1: is no event: Invalid",
            ),
            ("[]", "line 1, column 1: is no event"),
            ("\n\n{} {}", "line 3, column 4: trailing characters"),
        ] {
            let error = read_transcript(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
        let error = read_transcript(&b"\n{\"session\":\"\xff"[..]).unwrap_err();
        assert_eq!((error.line, error.column), (2, 13), "{error}");
        let long = vec![b' '; 9 << 20];
        let error = read_transcript(long.as_slice()).unwrap_err().to_string();
        assert_eq!(error, "line 1, column 0: is longer than 8388608 octets");
    }
}
