//! What was answered then: the gate's replies in their order, what it offered, and its decisions.

use mx6_smtp::{SessionConfig, StartTls};
use mx6_telemetry::What;
use serde_json::Value;

use super::saved;

/// A reply as it went over the wire, CRLF included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said(pub(super) Vec<u8>);

impl Said {
    pub(super) fn code(&self) -> u16 {
        self.0.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
    }

    pub(super) fn is_positive(&self) -> bool {
        self.code() / 100 == 2
    }

    /// On one line, as records have it: the texts of its lines joined by ` / `.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (number, line) in self.lines().enumerate() {
            match number {
                0 => text.push_str(&line.replacen('-', " ", usize::from(line.as_bytes().get(3) == Some(&b'-')))),
                _ => {
                    text.push_str(" / ");
                    text.push_str(without_codes(&line));
                }
            }
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let text = String::from_utf8_lossy(&self.0).into_owned();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.into_iter()
    }
}

/// A line of a reply without its code, and without its enhanced one.
fn without_codes(line: &str) -> &str {
    let rest = line.get(4..).unwrap_or_default();
    let is_enhanced = |word: &str| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 3
            && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()))
    };
    rest.split_once(' ').filter(|(word, _)| is_enhanced(word)).map_or(rest, |(_, text)| text)
}

/// Cuts octets into replies (RFC 5321 §4.2).
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub(super) whole: Vec<Said>,
    begun: Vec<u8>,
}

impl Replies {
    pub(super) fn push(&mut self, octets: &[u8]) {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let at = self.begun.len();
            self.begun.extend_from_slice(line);
            // A line that was cut between two events is looked at from its beginning.
            let start = self.begun[..at].iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
            let is_last = self.begun.ends_with(b"\n") && self.begun[start..].get(3) != Some(&b'-');
            if is_last {
                self.whole.push(Said(std::mem::take(&mut self.begun)));
            }
        }
    }
}

/// What a session was told.
#[derive(Debug)]
pub(super) struct Then {
    pub(super) replies: Vec<Said>,
    decisions: Vec<Option<Value>>,
    was_in_tls: bool,
}

impl Then {
    pub(super) fn of(session: &saved::Session) -> Then {
        let mut replies = Replies::default();
        let mut decisions = Vec::new();
        for what in &session.events {
            match what {
                What::Server(said) => replies.push(&said.octets),
                What::Decision { record } => decisions.push(Some(record.clone())),
                _ => {}
            }
        }
        let was_in_tls = session.events.iter().any(|what| matches!(what, What::Tls { .. }));
        Then { replies: replies.whole, decisions, was_in_tls }
    }

    /// The record of a decision that was not taken yet; each recipient of a transaction has its own.
    pub(super) fn take_decision(&mut self, mail_from: &str, rcpt_to: &str, stage: &str) -> Option<Value> {
        let fits = |record: &Value| {
            record["mail_from"] == mail_from && record["rcpt_to"] == rcpt_to && record["stage"] == stage
        };
        self.decisions.iter_mut().find(|record| record.as_ref().is_some_and(fits))?.take()
    }

    /// How many octets the message for that recipient had.
    pub(super) fn message_octets(&self, mail_from: &str, rcpt_to: &str) -> Option<u64> {
        let mut records = self.decisions.iter().flatten();
        let fits = |record: &&Value| record["mail_from"] == mail_from && record["rcpt_to"] == rcpt_to;
        records.find(|record| fits(record) && !record["size_octets"].is_null())?["size_octets"].as_u64()
    }

    /// The connector whose certificate the client showed.
    pub(super) fn connector(&self) -> Option<String> {
        let records = self.decisions.iter().flatten();
        records.filter_map(|record| record["tls"]["connector"].as_str()).next().map(str::to_owned)
    }

    /// A session that offers what was offered then: that depends on certificates and next hops, which are not asked.
    pub(super) fn session_config(&self, size_limit: u64) -> SessionConfig {
        let hellos: Vec<String> =
            self.replies.iter().flat_map(Said::lines).filter(|line| line.starts_with("250")).collect();
        let hellos: Vec<&str> = hellos.iter().filter_map(|line| line.get(4..)).collect();
        let is_offered = |word: &str| hellos.iter().any(|line| line.split(' ').next() == Some(word));
        let knows_esmtp = is_offered("PIPELINING");
        let number = |prefix: &str| {
            let words = hellos.iter().flat_map(|line| line.split(' '));
            words.filter_map(|word| word.strip_prefix(prefix)?.parse::<u64>().ok()).next()
        };
        let then_size = hellos.iter().find_map(|line| line.strip_prefix("SIZE ")?.parse::<u64>().ok());
        let usual = SessionConfig::default();
        let greeting = self.replies.first().map(Said::text).unwrap_or_default();
        SessionConfig {
            hostname: greeting.split(' ').nth(1).unwrap_or("localhost").to_owned(),
            // The larger of both, so that the octets of the message stay a message; 0 is no limit.
            size_limit: match then_size.unwrap_or(size_limit) {
                0 => 0,
                _ if size_limit == 0 => 0,
                then_size => then_size.max(size_limit),
            },
            eight_bit_mime: !knows_esmtp || is_offered("8BITMIME"),
            smtp_utf8: !knows_esmtp || is_offered("SMTPUTF8"),
            dsn: !knows_esmtp || is_offered("DSN"),
            recipients_max: number("RCPTMAX=").and_then(|max| max.try_into().ok()).unwrap_or(usual.recipients_max),
            transactions_max: number("MAILMAX=").and_then(|max| max.try_into().ok()).unwrap_or(usual.transactions_max),
            one_domain: hellos.iter().any(|line| line.ends_with("RCPTDOMAINMAX=1")),
            starttls: match (self.was_in_tls, is_offered("STARTTLS")) {
                (true, _) => StartTls::Offered,
                (false, true) if self.replies.iter().any(|said| said.0.starts_with(b"454 4.7.0 TLS ")) => {
                    StartTls::Unavailable
                }
                (false, true) => StartTls::Offered,
                (false, false) => StartTls::NotOffered,
            },
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_cut_wherever_octets_were() {
        let wire = b"220 mx.example ESMTP mx6\r\n250-mx.example\r\n250 SIZE 9\r\n550-5.1.1 No\r\n550 5.1.1 such user\r\n250 2.0.0 OK\r\n";
        let texts = ["220 mx.example ESMTP mx6", "250 mx.example / SIZE 9", "550 5.1.1 No / such user", "250 2.0.0 OK"];
        for piece in 1..wire.len() {
            let mut replies = Replies::default();
            wire.chunks(piece).for_each(|octets| replies.push(octets));
            let told: Vec<String> = replies.whole.iter().map(Said::text).collect();
            assert_eq!(told, texts, "{piece}");
        }
    }
}
