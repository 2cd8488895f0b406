//! Numbers and bars of the screen, each as narrow as it can be read.

use std::time::Duration;

use ratatui::style::Color;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// The locale is UTF-8: blocks and ellipses.
    pub unicode: bool,
    /// Colours are wanted.
    pub colour: bool,
}

impl Looks {
    /// As the environment asks: `NO_COLOR`, and the first of `LC_ALL`, `LC_CTYPE`, `LANG` that is set.
    #[must_use]
    pub fn of_environment() -> Looks {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        let unicode = locale.to_ascii_lowercase().replace('-', "").contains("utf8");
        Looks { unicode, colour: variable("NO_COLOR").is_none() }
    }

    /// The last `width` values as heights, the newest on the right, the highest as high as can be.
    #[must_use]
    pub fn spark(self, values: &[f64], width: usize) -> String {
        let shown = &values[values.len().saturating_sub(width)..];
        let highest = shown.iter().copied().fold(0.0, f64::max);
        let step = |value: &f64| {
            // What is not nothing does not look like nothing; seven eighths are the highest, so that curves do not touch each other.
            let eighths = if highest > 0.0 { (value / highest * 7.0).ceil() } else { 0.0 };
            self.step(eighths as usize)
        };
        let bars: String = shown.iter().map(step).collect();
        format!("{bars:>width$}")
    }

    /// A bar of `share` of `width` columns.
    #[must_use]
    pub fn bar(self, share: f64, width: usize) -> String {
        let (full, empty) = if self.unicode { ('█', '░') } else { ('#', '.') };
        let filled = ((share.clamp(0.0, 1.0) * width as f64).ceil() as usize).min(width);
        (0..width).map(|at| if at < filled { full } else { empty }).collect()
    }

    /// So many eighths of a cell, filled from below.
    #[must_use]
    pub(super) fn step(self, eighths: usize) -> char {
        let steps = if self.unicode { UNICODE_STEPS } else { ASCII_STEPS };
        steps[eighths.min(steps.len() - 1)]
    }

    /// Safe text, cut at `columns`.
    #[must_use]
    pub(super) fn cut(self, text: &str, columns: usize) -> String {
        if text.chars().count() <= columns {
            return text.to_owned();
        }
        let ellipsis = if self.unicode { '…' } else { '~' };
        text.chars().take(columns.saturating_sub(1)).chain([ellipsis]).take(columns).collect()
    }

    /// A mark that says how well something is, for eyes that see no colours as well.
    #[must_use]
    pub(super) fn mark(self, state: State) -> &'static str {
        match (state, self.unicode) {
            (State::Well, true) => "●",
            (State::Look, true) => "▲",
            (State::Ill, true) => "✖",
            (State::Well, false) => "o",
            (State::Look, false) => "!",
            (State::Ill, false) => "X",
        }
    }

    /// Text of a peer, safe, at most `columns` wide.
    #[must_use]
    pub fn text(self, text: &str, columns: usize) -> String {
        let shown = crate::escape::printable(text, columns);
        if self.unicode { shown } else { shown.replace('…', "~").replace(|c: char| !c.is_ascii(), "?") }
    }
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// As it should be.
    Well,
    /// Somebody should look at it today.
    Look,
    /// Somebody should look at it now.
    Ill,
}

impl State {
    /// Its colour, of the terminal's own palette: it can be read on dark and on light.
    pub(super) fn colour(self) -> Color {
        match self {
            State::Well => Color::Green,
            State::Look => Color::Yellow,
            State::Ill => Color::Red,
        }
    }
}

/// A rate in events a second: `0.04`, `7.3`, `812`, `12.4k`.
#[must_use]
pub(super) fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0".to_owned(),
        rate if rate < 0.995 => format!("{rate:.2}"),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate if rate < 9_999.5 => format!("{rate:.0}"),
        rate if rate < 999_500.0 => format!("{:.1}k", rate / 1e3),
        rate => format!("{:.1}M", rate / 1e6),
    }
}

/// A time in microseconds: `850 us`, `12 ms`, `1.3 s`, `2 min`.
#[must_use]
pub(super) fn time(us: u64) -> String {
    match us {
        0 => "-".to_owned(),
        1..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..120_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => format!("{} min", us / 60_000_000),
    }
}

/// How long something has run: `3 d 4 h`, `5 h 12 min`, `47 s`.
#[must_use]
pub(super) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A share as whole percent; what is not nothing is not `0 %`.
#[must_use]
pub(super) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.005 { "<1 %".to_owned() } else { format!("{:.0} %", share * 100.0) }
}

const UNICODE_STEPS: &[char] = &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_STEPS: &[char] = &[' ', '.', ':', '-', '=', '+', '*', '#', '@'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (per_s, text) in
            [(0.0, "0"), (0.04, "0.04"), (7.25, "7.2"), (812.4, "812"), (12_400.0, "12.4k"), (2e6, "2.0M")]
        {
            assert_eq!(rate(per_s), text);
        }
        for (us, text) in
            [(0, "-"), (850, "850 us"), (1_280, "1.3 ms"), (12_800, "12 ms"), (1_300_000, "1.3 s"), (1 << 31, "35 min")]
        {
            assert_eq!(time(us), text);
        }
        for (seconds, text) in [(47, "47 s"), (3_600, "60 min"), (18_720, "5 h 12 min"), (273_600, "3 d 4 h")] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!([0.0, 0.001, 0.5, 1.0].map(percent), ["0 %", "<1 %", "50 %", "100 %"]);
    }

    #[test]
    fn bars() {
        let (rich, poor) = (Looks { unicode: true, colour: true }, Looks { unicode: false, colour: false });
        assert_eq!(rich.spark(&[0.0, 0.1, 4.0, 8.0], 6), "   ▁▄▇");
        assert_eq!(poor.spark(&[9.0, 0.0, 8.0], 2), " #");
        assert_eq!(
            (rich.bar(0.01, 4), poor.bar(2.0, 4), poor.bar(0.0, 2)),
            ("█░░░".into(), "####".into(), "..".into())
        );
        assert_eq!(poor.text("b\u{fc}cher.example\x1b", 8), "b?cher.~");
    }
}
