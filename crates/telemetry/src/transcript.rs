//! What was said in a session, as a live trace shows it and a saved one is read again: one JSON object an event, one line each.

use std::io::BufRead;
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

/// The events of a saved transcript. Empty lines, and what a trace says of itself (how much it missed), are passed over.
///
/// # Errors
/// At the first line that is no event.
pub fn read_transcript(from: impl BufRead) -> Result<Vec<Event>, TranscriptError> {
    let mut events = Vec::new();
    for (number, line) in from.lines().enumerate() {
        let failed = |column, reason: String| TranscriptError { line: number + 1, column, reason };
        let line = line.map_err(|error| failed(0, error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&line).map_err(|error| failed(error.column(), error.to_string()))?;
        if value.get("session").is_none() && ["missed", "dropped_sessions"].iter().any(|key| value.get(key).is_some()) {
            continue;
        }
        events.push(serde_json::from_value(value).map_err(|error| failed(1, format!("is no event: {error}")))?);
    }
    Ok(events)
}

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
    fn what_is_no_event_is_located() {
        for (text, words) in [
            ("{\"session\":\"s\",\"ms\":1,\"event\":\"end\"}\n{\"session\":", "line 2, column 11: EOF"),
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
        ] {
            let error = read_transcript(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
