//! Decision records as they are read: one line of the gate's log, borrowed where that is cheap.
//!
//! Logs outlive versions: a field that is not known is passed over, and one that a gate did not write yet is absent.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::calendar;

/// What one line of a log is.
#[derive(Debug)]
pub enum Line<'a> {
    /// A decision.
    Record(Box<Record<'a>>),
    /// So many records before this line were lost: the ring or the disk was full.
    Lost(u64),
}

impl<'a> Line<'a> {
    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// The line is neither a record nor says how many were lost. Whose fault that is cannot be known: a torn line, or another program's file.
    pub fn parse(line: &'a [u8]) -> Result<Line<'a>, LineError> {
        let text = str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
        let trimmed = text.trim_ascii();
        if trimmed.starts_with("{\"records_lost\"") {
            return serde_json::from_str(trimmed)
                .map(|lost: Lost| Line::Lost(lost.records_lost))
                .map_err(LineError::NotARecord);
        }
        serde_json::from_str(trimmed).map(|record| Line::Record(Box::new(record))).map_err(LineError::NotARecord)
    }
}

/// Why a line is none.
#[derive(Debug, Error)]
pub enum LineError {
    /// Octets that are no text.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not JSON, or without what every record has.
    #[error("not a decision record: {0}")]
    NotARecord(#[source] serde_json::Error),
    /// Nothing that a gate writes is so long.
    #[error("longer than {LINE_OCTETS_MAX} octets")]
    TooLong,
}

/// Octets of the longest line that is read.
pub const LINE_OCTETS_MAX: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Lost {
    records_lost: u64,
}

/// One decision about one recipient. The fields are those of `mx6_telemetry::Decision`; its words are kept as words, so that those of a
/// newer gate can be read.
#[derive(Debug, Clone, Deserialize)]
pub struct Record<'a> {
    /// When, in milliseconds since 1970.
    #[serde(rename = "time", deserialize_with = "deserialize_time")]
    pub unix_ms: u64,
    /// The session's id.
    #[serde(borrow)]
    pub session: Text<'a>,
    /// Which shard.
    #[serde(default)]
    pub shard: usize,
    /// The client's address.
    pub client: IpAddr,
    /// The client is a connector.
    #[serde(default)]
    pub connector: bool,
    /// The name that the client gave.
    #[serde(borrow, default)]
    pub helo: Text<'a>,
    /// The reverse-path without brackets; empty for the null one.
    #[serde(borrow, default)]
    pub mail_from: Text<'a>,
    /// The forward-path without brackets; empty before there was one.
    #[serde(borrow, default)]
    pub rcpt_to: Text<'a>,
    /// The recipient's domain, A-labels in lower case.
    #[serde(borrow, default)]
    pub domain: Text<'a>,
    /// `enforced`, `monitored` or `exempt`; absent when refused before that was known.
    #[serde(borrow, default)]
    pub class: Option<Text<'a>>,
    /// `connect`, `mail`, `rcpt` or `end-of-data`.
    #[serde(borrow)]
    pub stage: Text<'a>,
    /// The rule that decided.
    #[serde(borrow)]
    pub rule: Text<'a>,
    /// `accept`, `defer`, `reject`, or `none` for an abandoned transaction.
    #[serde(borrow)]
    pub verdict: Text<'a>,
    /// The reply.
    #[serde(borrow, default)]
    pub reply: Text<'a>,
    /// On trial: the reply that would have been given.
    #[serde(borrow, default)]
    pub would: Option<Text<'a>>,
    /// The rule behind `would`; older gates do not say it.
    #[serde(borrow, default)]
    pub would_rule: Option<Text<'a>>,
    /// The Message-ID without angle brackets; older gates do not say it.
    #[serde(borrow, default)]
    pub message_id: Option<Text<'a>>,
    /// Octets of the message; absent before there was one.
    #[serde(default)]
    pub size_octets: Option<u64>,
    /// Delivery, if it was asked.
    #[serde(borrow, default)]
    pub delivery: Option<Delivery<'a>>,
    /// Reverse DNS.
    #[serde(borrow, default)]
    pub iprev: Option<Iprev<'a>>,
    /// SPF.
    #[serde(borrow, default)]
    pub spf: Option<Spf<'a>>,
    /// DKIM, one entry a signature.
    #[serde(borrow, default)]
    pub dkim: Option<Vec<Dkim<'a>>>,
    /// DMARC.
    #[serde(borrow, default)]
    pub dmarc: Option<Dmarc<'a>>,
    /// Where time went.
    #[serde(default)]
    pub duration_ms: Durations,
    /// Decisions before this one that were counted and not written.
    #[serde(default)]
    pub unrecorded: Option<u64>,
}

/// What delivery did.
#[derive(Debug, Clone, Deserialize)]
pub struct Delivery<'a> {
    /// `accepted`, `refused` or `unknown`.
    #[serde(borrow)]
    pub outcome: Text<'a>,
    /// The next hop as configured.
    #[serde(borrow, default)]
    pub next_hop: Option<Text<'a>>,
}

/// Reverse DNS.
#[derive(Debug, Clone, Deserialize)]
pub struct Iprev<'a> {
    /// The result.
    #[serde(borrow)]
    pub result: Text<'a>,
    /// The PTR names.
    #[serde(borrow, default)]
    pub names: Vec<Text<'a>>,
}

/// SPF.
#[derive(Debug, Clone, Deserialize)]
pub struct Spf<'a> {
    /// The result.
    #[serde(borrow)]
    pub result: Text<'a>,
    /// The domain evaluated.
    #[serde(borrow, default)]
    pub domain: Text<'a>,
}

/// One DKIM signature.
#[derive(Debug, Clone, Deserialize)]
pub struct Dkim<'a> {
    /// The result.
    #[serde(borrow)]
    pub result: Text<'a>,
    /// `d=`.
    #[serde(borrow, default)]
    pub domain: Text<'a>,
}

/// DMARC.
#[derive(Debug, Clone, Deserialize)]
pub struct Dmarc<'a> {
    /// The result.
    #[serde(borrow)]
    pub result: Text<'a>,
    /// The From field's domain.
    #[serde(borrow, default)]
    pub domain: Text<'a>,
}

/// Milliseconds spent.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Durations {
    /// From accept to this decision.
    pub session: u64,
    /// From the final dot to the verdict.
    pub verdict: u64,
    /// From the verdict to delivery's outcome.
    pub delivery: u64,
}

/// A string of a line, borrowed unless it has escapes. It is a peer's: see [`crate::escape`] before it is shown.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

fn deserialize_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Text::deserialize(deserializer)?;
    calendar::rfc3339(&text).ok_or_else(|| serde::de::Error::custom("`time` is not RFC 3339"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As today's gate writes it, cut to what every record has.
    const LEAST: &str = r#"{"time":"2026-11-26T21:10:00.123Z","session":"a1","client":"2001:db8::1","stage":"rcpt","rule":"reverse-dns","verdict":"defer"}"#;

    #[test]
    fn records_of_all_ages_are_read() {
        let Line::Record(record) = Line::parse(LEAST.as_bytes()).unwrap() else { panic!("no record") };
        assert_eq!((record.unix_ms, &*record.session, record.class), (1_795_727_400_123, "a1", None));
        let more = LEAST.replace(
            '}',
            r#","helo":"a\u001bb","message_id":"x@y","would":"450 4","would_rule":"reverse-dns","size_octets":5,
            "dkim":[{"result":"fail","domain":"d","selector":"s","new":[1]}],"unrecorded":7,"novelty":{"a":null}}"#,
        );
        let Line::Record(record) = Line::parse(more.as_bytes()).unwrap() else { panic!("no record") };
        assert_eq!(
            (&*record.helo, record.message_id.as_deref(), record.unrecorded),
            ("a\u{1b}b", Some("x@y"), Some(7))
        );
        assert_eq!(&*record.dkim.unwrap()[0].domain, "d");
        assert!(
            matches!(record.session.0, Cow::Borrowed("a1")) && matches!(record.message_id.unwrap().0, Cow::Borrowed(_))
        );
        assert!(matches!(Line::parse(b"{\"records_lost\":12}\n").unwrap(), Line::Lost(12)));
    }

    #[test]
    fn what_is_no_record_says_why() {
        for (line, why) in [
            (&b"\xff\xfe"[..], "not UTF-8"),
            (b"", "EOF"),
            (b"{\"time\":\"2026-11-26T21", "EOF"),
            (b"{}", "missing field"),
            (LEAST.replace("21:10", "21:99").as_bytes(), "`time` is not RFC 3339"),
            (LEAST.replace("2001:db8::1", "nowhere").as_bytes(), "IP address"),
            (b"{\"records_lost\":-1}", "invalid value"),
        ] {
            let error = Line::parse(line).unwrap_err().to_string();
            assert!(error.contains(why), "{error}, not {why}");
        }
    }
}
