//! How numbers are written for people: times, octets, counts, dates. No locale, three digits of precision.

/// A time, in the unit that leaves one to four digits before the point.
pub(crate) fn duration(us: u64) -> String {
    let us = us as f64;
    match us {
        us if us < 1_000.0 => format!("{us} µs"),
        us if us < 1_000_000.0 => format!("{} ms", three_digits(us / 1_000.0)),
        us if us < 600_000_000.0 => format!("{} s", three_digits(us / 1_000_000.0)),
        us => format!("{} min", three_digits(us / 60_000_000.0)),
    }
}

/// Memory or traffic, in binary units.
pub(crate) fn octets(octets: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if octets < 1024 {
        return format!("{octets} B");
    }
    let mut value = octets as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A count, its thousands apart.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or another measured number: whole from 1000 on, three digits below.
pub(crate) fn number(value: f64) -> String {
    if value.abs() >= 999.5 && value.abs() < 1e15 {
        let whole = count(value.abs().round() as u64);
        return if value < 0.0 { format!("-{whole}") } else { whole };
    }
    three_digits(value)
}

/// A share of a whole, as percent. What is not nothing does not look like nothing.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    if part > 0 && percent < 0.005 { "<0.01 %".to_owned() } else { format!("{percent:.2} %") }
}

/// Three significant digits, without zeros at the end.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A moment, in UTC.
pub(crate) fn utc(unix_s: u64) -> String {
    let (day, second) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar, whose years of this sum begin in March so
/// that the leap day is their last.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day - (153 * march_month + 2) / 5 + 1)
}

/// Text from a peer or a file on one line: control characters escaped, cut at `columns`.
pub(crate) fn printable(text: &str, columns: usize) -> String {
    let mut line: Vec<char> = Vec::new();
    for character in text.chars() {
        if is_shown(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
        if line.len() > columns {
            line.truncate(columns.saturating_sub(1));
            line.push('…');
            break;
        }
    }
    line.into_iter().collect()
}

/// Whether a character stands still on a terminal and in a page: no control, and no change of direction.
fn is_shown(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let durations = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1 ms"),
            (1_234, "1.23 ms"),
            (99_960, "100 ms"),
            (123_456, "123 ms"),
            (1_500_000, "1.5 s"),
            (3_600_000_000, "60 min"),
        ];
        for (us, text) in durations {
            assert_eq!(duration(us), text, "{us}");
        }
        let sizes =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (50 * 1024 * 1024, "50 MiB"), (u64::MAX, "16384 PiB")];
        for (size, text) in sizes {
            assert_eq!(octets(size), text, "{size}");
        }
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(value), text);
        }
        let numbers =
            [(0.0, "0"), (1.5, "1.5"), (99.96, "100"), (999.6, "1,000"), (-1234.0, "-1,234"), (f64::NAN, "NaN")];
        for (value, text) in numbers {
            assert_eq!(number(value), text);
        }
        for (part, whole, text) in [(0, 0, "0.00 %"), (1, 3, "33.33 %"), (1, 1_000_000, "<0.01 %"), (5, 5, "100.00 %")]
        {
            assert_eq!(share(part, whole), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let dates = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_795_611_600, "2026-11-25 13:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (unix_s, text) in dates {
            assert_eq!(utc(unix_s), text);
        }
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let inputs = [
            ("250 ok", 20, "250 ok"),
            ("250 ok", 6, "250 ok"),
            ("250 ok!", 6, "250 o…"),
            ("a\r\nb\x1b[2J", 40, "a\\r\\nb\\u{1b}[2J"),
            ("\u{202e}x", 40, "\\u{202e}x"),
            ("\x1b\x1b\x1b", 8, "\\u{1b}\\…"),
            ("", 0, ""),
        ];
        for (text, columns, line) in inputs {
            assert_eq!(printable(text, columns), line);
        }
    }
}
