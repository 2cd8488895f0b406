//! The decision record: one JSON object per recipient, one line each. It borrows what it says: it lives only until it is written to the
//! shard's ring.

use std::fmt::{self, Display};
use std::net::IpAddr;

use serde::{Serialize, Serializer};

/// One decision about one recipient. Field order is the order in the line.
#[derive(Clone, Serialize)]
pub struct Decision<'a> {
    /// When, RFC 3339 in UTC with milliseconds; filled in by the writer from `unix_ms`.
    #[serde(serialize_with = "serialize_time", rename = "time")]
    pub unix_ms: u64,
    /// The session's id, also in the Received field.
    pub session: &'a str,
    /// Which shard.
    pub shard: usize,
    /// The client's address, RFC 5952.
    pub client: IpAddr,
    /// The client is a connector.
    pub connector: bool,
    /// TLS, when the client speaks inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsRecord<'a>>,
    /// The client spoke before its turn; absent if it did not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub early_talker: bool,
    /// The name the client gave in HELO or EHLO.
    pub helo: &'a str,
    /// The reverse-path without brackets; empty for the null one.
    pub mail_from: &'a str,
    /// The forward-path without brackets.
    pub rcpt_to: &'a str,
    /// The recipient's domain, A-labels in lower case; empty for `<postmaster>`.
    pub domain: &'a str,
    /// How the rules treat the recipient: `enforced`, `monitored` or `exempt`; absent when it was refused before that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// `connect`, `mail`, `rcpt` or `end-of-data`; at the first two there is no recipient.
    pub stage: &'static str,
    /// The rule that decided, `accepted` if none objected.
    pub rule: &'static str,
    /// `accept`, `defer` or `reject`; `none` for an abandoned transaction.
    pub verdict: &'static str,
    /// The reply, lines joined by ` / `; empty when none was given.
    pub reply: Shown<'a>,
    /// On trial: the rule that objected first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_rule: Option<&'static str>,
    /// On trial: the reply that would have been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Shown<'a>>,
    /// What delivery did; absent when it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryRecord<'a>>,
    /// The message's Message-ID without its brackets, cut at 255 octets; absent before there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<&'a str>,
    /// Octets of the message as received; absent before there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_octets: Option<u64>,
    /// Reverse DNS, when it was known by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iprev: Option<IprevRecord<'a>>,
    /// SPF, when it was known by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spf: Option<SpfRecord<'a>>,
    /// DKIM, one entry for each signature looked at; absent before the end of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dkim: Option<Vec<DkimRecord<'a>>>,
    /// Where the DKIM keys came from: `hit`, `miss`, `stale` or `unused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dkim_cache: Option<&'static str>,
    /// DMARC; absent before the end of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<DmarcRecord<'a>>,
    /// Where time went.
    pub duration_ms: Durations,
    /// Decisions of the shard since the last record that were counted and not recorded; filled in by the recorder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
}

/// Text that is written only when the record is.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a dyn Display);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// TLS in a record.
#[derive(Debug, Clone, Serialize)]
pub struct TlsRecord<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by IANA's name.
    pub cipher: &'a str,
    /// The connector that the client's certificate made known, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<&'a str>,
}

/// Delivery in a record.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryRecord<'a> {
    /// `accepted`, `refused` or `unknown`.
    pub outcome: &'static str,
    /// The next hop's reply for this recipient, where it gave one to each (LMTP); the client may have heard another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Shown<'a>>,
    /// The next hop as configured; absent for a Maildir and `discard:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<&'a str>,
    /// How far it came: `connect`, `greeting`, `ehlo`, `xclient`, `mail`, `rcpt`, `data`, `body` or `end-of-data`.
    pub stage: &'static str,
    /// `fresh` or `pooled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<&'static str>,
    /// Why it failed, when that was not a reply of the next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// How often the envelope was sent once more on another connection.
    pub replays: u32,
}

/// Reverse DNS in a record.
#[derive(Debug, Clone, Serialize)]
pub struct IprevRecord<'a> {
    /// `pass`, `fail`, `temperror` or `permerror`.
    pub result: &'static str,
    /// The PTR names.
    pub names: &'a [String],
    /// `hit`, `miss`, `stale` or `unused`.
    pub cache: &'static str,
}

/// SPF in a record.
#[derive(Debug, Clone, Serialize)]
pub struct SpfRecord<'a> {
    /// The result.
    pub result: &'static str,
    /// `mailfrom` or `helo`.
    pub identity: &'static str,
    /// The domain evaluated.
    pub domain: &'a str,
    /// Why.
    pub reason: &'a str,
    /// `hit`, `miss`, `stale` or `unused`.
    pub cache: &'static str,
}

/// One DKIM signature in a record.
#[derive(Debug, Clone, Serialize)]
pub struct DkimRecord<'a> {
    /// The result.
    pub result: &'static str,
    /// `d=`.
    pub domain: &'a str,
    /// `s=`.
    pub selector: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// DMARC in a record.
#[derive(Debug, Clone, Serialize)]
pub struct DmarcRecord<'a> {
    /// The result.
    pub result: &'static str,
    /// `none`, `quarantine` or `reject`.
    pub policy: &'static str,
    /// The From field's domain.
    pub domain: &'a str,
    /// `hit`, `miss`, `stale` or `unused`.
    pub cache: &'static str,
}

/// Milliseconds spent, measured on the monotonic clock.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Durations {
    /// From accept to this decision.
    pub session: u64,
    /// The lookup of reverse DNS.
    pub iprev: u64,
    /// SPF's lookups.
    pub spf: u64,
    /// The lookup of the DKIM keys.
    pub dkim: u64,
    /// What the next hop took to answer this recipient.
    pub rcpt: u64,
    /// From the final dot to the verdict; 0 before.
    pub verdict: u64,
    /// From the verdict to delivery's outcome; 0 if it was not asked.
    pub delivery: u64,
}

fn serialize_time<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Rfc3339(*unix_ms))
}

/// Milliseconds since 1970 as RFC 3339 text.
struct Rfc3339(u64);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, milliseconds) = (self.0 / 1000, self.0 % 1000);
        let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
}

/// The milliseconds since 1970 of a record's time; none if it is not written as records have it.
#[must_use]
pub fn unix_ms_of(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // The inverse of `civil_date`.
    let (year, shifted_month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + number(20..23)?)
}

/// Days since 1970-01-01 as a date of the Gregorian calendar: years counted from March, so that the leap day ends one.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Rfc3339(unix_ms).to_string(), text);
            assert_eq!(unix_ms_of(text), Some(unix_ms));
        }
    }
}
