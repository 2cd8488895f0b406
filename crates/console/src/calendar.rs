//! Times as people and records write them: RFC 3339, a date, or so long ago. All in UTC, milliseconds since 1970.

use std::fmt;

/// A moment, RFC 3339 to the second: what tables show.
#[derive(Debug, Clone, Copy)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (second, (year, month, day)) = (self.0 / 1000 % 86_400, civil(self.0 / DAY_MS));
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

/// `2026-11-26T21:10:00.123Z`, with or without a fraction, in any offset. None for anything else, and for what was before 1970.
#[must_use]
pub fn rfc3339(text: &str) -> Option<u64> {
    let (date, clock) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes().get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let zone_at = clock.rfind(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone_at);
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let seconds = seconds_of_day(whole)?;
    let milliseconds = digits(&format!("{fraction:0<3}").get(..3)?.to_owned())?;
    let offset_ms = match zone {
        "Z" | "z" => 0,
        _ => i64::try_from(seconds_of_day(&format!("{}:00", &zone[1..]))?).ok()? * 1000,
    };
    let offset_ms = if zone.starts_with('-') { -offset_ms } else { offset_ms };
    let local_ms = this_date(date)? + seconds * 1000 + milliseconds;
    u64::try_from(i64::try_from(local_ms).ok()? - offset_ms).ok()
}

/// A moment as an operator gives it: RFC 3339, a date (its first instant), or `30m`, `24h`, `7d` before `now_ms`.
///
/// # Errors
/// What would have been understood.
pub fn moment(text: &str, now_ms: u64) -> Result<u64, String> {
    let ago = || Some(now_ms.saturating_sub(span_ms(text)?));
    rfc3339(text).or_else(|| this_date(text)).or_else(ago).ok_or_else(|| {
        format!("`{text}` is no time; give 2026-11-26T21:10:00Z, 2026-11-26, or how long ago: 30m, 24h, 7d")
    })
}

/// `90s`, `30m`, `24h`, `7d` in milliseconds.
#[must_use]
pub fn span_ms(text: &str) -> Option<u64> {
    let unit_ms = match text.chars().last()? {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS,
        _ => return None,
    };
    digits(&text[..text.len() - 1])?.checked_mul(unit_ms)
}

/// The first instant of `2026-11-26`.
fn this_date(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    // The 31st of November is the 1st of December: no such day.
    (civil(days) == (year, month, day)).then_some(days * DAY_MS)
}

fn seconds_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    // 60 is a leap second.
    let valid = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    valid.then_some(hour * 3600 + minute * 60 + second)
}

/// Decimal digits, and nothing but these.
fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Days since 1970-01-01 in the Gregorian calendar; years are counted from March, so that the leap day ends one.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year / 400, year % 400);
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The inverse: year, month, day.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day - (153 * march_month + 2) / 5 + 1)
}

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = 1_795_611_600_000;
        for (text, unix_ms) in [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("2000-02-29T00:00:00.001Z", Some(951_782_400_001)),
            ("2024-03-01T00:00:00Z", Some(1_709_251_200_000)),
            ("2024-03-01 01:30:00.5+01:30", Some(1_709_251_200_500)),
            ("2024-02-29T19:00:00.1239-05:00", Some(1_709_251_200_123)),
            ("2024-03-01", Some(1_709_251_200_000)),
            ("90s", Some(now - 90_000)),
            ("7d", Some(now - 7 * DAY_MS)),
            ("99999d", Some(0)),
            ("2024-02-30", None),
            ("2023-02-29T00:00:00Z", None),
            ("2024-03-01T24:00:00Z", None),
            ("2024-03-01T00:00:00", None),
            ("2024-3-1", None),
            ("1969-12-31T23:59:59Z", None),
            ("99999999999999999999d", None),
            ("d", None),
            ("-1d", None),
            ("", None),
            ("7ä", None),
            ("2024-03-01TüüüüüüZ", None),
        ] {
            assert_eq!(moment(text, now).ok(), unix_ms, "{text}");
        }
        assert_eq!(Utc(951_782_400_001).to_string(), "2000-02-29 00:00:00");
    }
}
