//! What the gate tells its operator in words: one line on standard error for each message, as far as the level goes.
//!
//! Standard error may be a pipe that nobody reads any more: that must never hurt. Under systemd each line says its level as the journal expects it
//! (sd-daemon(3)).

use std::fmt::{self, Arguments};
use std::io::Write as _;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

/// How much a message matters; what matters less than the level that was set is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something will not work for long, or not as it should.
    Warning,
    /// What an operator wants to know.
    #[default]
    Info,
    /// Every session.
    Debug,
}

impl Level {
    /// Every level, the least talkative first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warning, Level::Info, Level::Debug];

    /// `error`, `warning`, `info` or `debug`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The prefix that the journal takes for the level (syslog(3)).
    fn prefix(self) -> &'static str {
        match self {
            Level::Error => "<3>",
            Level::Warning => "<4>",
            Level::Info => "<6>",
            Level::Debug => "<7>",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let found = Level::ALL.into_iter().find(|level| level.word() == text);
        found.ok_or_else(|| format!("`{}` is not one of error, warning, info, debug", text.escape_default()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Sets what is told from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// What is told now.
#[must_use]
pub fn level() -> Level {
    Level::ALL.get(usize::from(LEVEL.load(Ordering::Relaxed))).copied().unwrap_or_default()
}

/// Whether a message of that level is told: one load, for whoever would have to prepare it.
#[must_use]
pub fn is_told(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Tells `message`, if the level goes so far. For the macros.
pub fn tell(level: Level, message: Arguments<'_>) {
    if !is_told(level) {
        return;
    }
    let prefix = if is_under_journal() { level.prefix() } else { "" };
    let word = match level {
        Level::Error | Level::Info => "",
        Level::Warning => "warning: ",
        Level::Debug => "debug: ",
    };
    // As one write, so that lines of several threads do not mix.
    let line = format!("{prefix}mx6: {word}{message}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether standard error is the journal's.
fn is_under_journal() -> bool {
    static IS_UNDER_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_UNDER_JOURNAL.get_or_init(|| std::env::var_os("JOURNAL_STREAM").is_some())
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Something does not work.
#[macro_export]
macro_rules! failure {
    ($($argument:tt)*) => { $crate::tell($crate::Level::Error, format_args!($($argument)*)) };
}

/// Something will not work for long, or not as it should.
#[macro_export]
macro_rules! warning {
    ($($argument:tt)*) => { $crate::tell($crate::Level::Warning, format_args!($($argument)*)) };
}

/// What an operator wants to know.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => { $crate::tell($crate::Level::Info, format_args!($($argument)*)) };
}

/// One of very many.
#[macro_export]
macro_rules! detail {
    ($($argument:tt)*) => {
        if $crate::is_told($crate::Level::Debug) {
            $crate::tell($crate::Level::Debug, format_args!($($argument)*));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (number, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(level as usize, number);
            assert_eq!(level.word().parse(), Ok(level));
        }
        assert!("loud\u{1b}".parse::<Level>().unwrap_err().contains("`loud\\u{1b}` is not one of error, "));
        assert!(is_told(Level::Error) && is_told(level()) && !is_told(Level::Debug));
    }
}
