//! How numbers are written for people: times, octets, counts, shares. No locale, three digits of precision.

/// A time in the unit that leaves one to three digits before the point.
#[must_use]
pub fn duration(ms: u64) -> String {
    let ms = ms as f64;
    match ms {
        ms if ms < 1e3 => format!("{ms} ms"),
        ms if ms < 120e3 => format!("{} s", three_digits(ms / 1e3)),
        ms if ms < 7200e3 => format!("{} min", three_digits(ms / 60e3)),
        ms if ms < 48.0 * 3600e3 => format!("{} h", three_digits(ms / 3600e3)),
        ms => format!("{} days", three_digits(ms / 86_400e3)),
    }
}

/// Memory or traffic, in binary units.
#[must_use]
pub fn octets(octets: u64) -> String {
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
#[must_use]
pub fn count(count: u64) -> String {
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

/// So many of something: `1 message`, `2 messages`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A share of a whole, as percent. What is not nothing does not look like nothing, nor what is not all like all.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    match percent {
        percent if part > 0 && percent < 0.005 => "<0.01 %".to_owned(),
        percent if part < whole && percent >= 99.995 => ">99.99 %".to_owned(),
        percent => format!("{percent:.2} %"),
    }
}

/// Three significant digits, without zeros at the end.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (119_000, "119 s"),
            (240_000, "4 min"),
            (7_200_000, "2 h"),
            (86_400_000, "24 h"),
            (691_200_000, "8 days"),
        ] {
            assert_eq!(duration(ms), text);
        }
        for (size, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16384 PiB")] {
            assert_eq!(octets(size), text);
        }
        for (part, whole, text) in [
            (0, 0, "0.00 %"),
            (12, 48_210, "0.02 %"),
            (1, 1_000_000, "<0.01 %"),
            (999_999, 1_000_000, ">99.99 %"),
            (5, 5, "100.00 %"),
        ] {
            assert_eq!(share(part, whole), text);
        }
        assert_eq!(
            (count(1_234_567), counted(1, "sender"), counted(0, "sender")),
            ("1,234,567".into(), "1 sender".into(), "0 senders".into())
        );
    }
}
