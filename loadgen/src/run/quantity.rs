//! Durations and sizes as they are written on a command line.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};

use crate::measurement::Body;

/// `30s`, `500ms`, `2m`, or seconds.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().with_context(|| format!("`{text}`: expected a duration such as 30s or 500ms"))?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        unit => bail!("`{text}`: unit `{unit}` is not known; the units are ms, s, m, h"),
    };
    if !(0.0..=DURATION_S_MAX).contains(&seconds) {
        bail!("`{text}`: expected 0 to {DURATION_S_MAX} seconds");
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `4k`, `50k`, `1m`, a number of octets, or `mail`.
pub(crate) fn body(text: &str) -> Result<Body> {
    if text == "mail" {
        return Ok(Body::LogNormal {
            median_octets: MAIL_MEDIAN_OCTETS,
            sigma: MAIL_SIGMA,
            octets_max: MAIL_OCTETS_MAX,
        });
    }
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let number: u64 = digits.parse().with_context(|| format!("`{text}`: expected a size such as 4k, or `mail`"))?;
    let octets = number.saturating_mul(unit);
    if !(BODY_OCTETS_MIN..=BODY_OCTETS_MAX).contains(&octets) {
        bail!("`{text}`: expected {BODY_OCTETS_MIN} to {BODY_OCTETS_MAX} octets");
    }
    Ok(Body::Fixed { octets })
}

/// `FROM:TO:STEP`, messages a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RampRange {
    from: f64,
    to: f64,
    step: f64,
}

impl RampRange {
    /// Every rate, slowest first.
    pub(crate) fn rates(self) -> Vec<f64> {
        let steps = ((self.to - self.from) / self.step + 1e-9) as usize;
        (0..=steps).map(|step| self.from + step as f64 * self.step).collect()
    }
}

impl FromStr for RampRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<RampRange> {
        let parts: Result<Vec<f64>, _> = text.split(':').map(str::parse).collect();
        match parts.as_deref() {
            Ok([from, to, step]) if *from > 0.0 && to >= from && *step > 0.0 && to.is_finite() => {
                let ramp = RampRange { from: *from, to: *to, step: *step };
                if (ramp.to - ramp.from) / ramp.step > RAMP_STEPS_MAX {
                    bail!("`{text}`: more than {RAMP_STEPS_MAX} steps");
                }
                Ok(ramp)
            }
            _ => bail!("`{text}`: expected FROM:TO:STEP in messages a second, such as 500:5000:500"),
        }
    }
}

/// Half of all mail is smaller: about what a mail with text and HTML parts and no attachment has.
const MAIL_MEDIAN_OCTETS: u64 = 12 << 10;

/// Of the logarithm: with the median it makes a mean of 32 KiB and one in a hundred above 300 KiB.
const MAIL_SIGMA: f64 = 1.4;

/// Larger ones are cut to this.
const MAIL_OCTETS_MAX: u64 = 2 << 20;

const BODY_OCTETS_MIN: u64 = 64;
const BODY_OCTETS_MAX: u64 = 64 << 20;
const DURATION_S_MAX: f64 = 604_800.0;
const RAMP_STEPS_MAX: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("1.5", 1_500), ("0", 0)]
        {
            assert_eq!(duration(text).unwrap().as_millis(), ms, "{text}");
        }
        for text in ["", "s", "3d", "-1", "1e9h", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bodies() {
        for (text, octets) in [("4k", 4_096), ("50K", 51_200), ("1m", 1 << 20), ("1000", 1_000)] {
            assert_eq!(body(text).unwrap(), Body::Fixed { octets }, "{text}");
        }
        assert!(matches!(body("mail"), Ok(Body::LogNormal { .. })));
        for text in ["", "k", "4kb", "63", "99999999999m", "-4k"] {
            assert!(body(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ramps() {
        let rates = |text: &str| text.parse::<RampRange>().map(RampRange::rates).ok();
        assert_eq!(rates("500:2000:500"), Some(vec![500.0, 1_000.0, 1_500.0, 2_000.0]));
        assert_eq!(rates("0.1:0.3:0.1").map(|rates| rates.len()), Some(3));
        assert_eq!(rates("5:5:1"), Some(vec![5.0]));
        for text in ["", "1:2", "0:5:1", "5:1:1", "1:5:0", "1:inf:1", "1:5000:1", "1:2:3:4"] {
            assert_eq!(rates(text), None, "{text}");
        }
    }
}
