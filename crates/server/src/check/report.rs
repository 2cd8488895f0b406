//! What `check-config` found: one line a check, for people and for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::{ConfigError, FileError};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// A gate can run; an operator should look.
    Warning,
    /// A gate cannot run, or cannot do its work.
    Error(Fault),
}

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A resolver or next hop, or the way to it.
    Network,
    /// This machine as it is set up.
    Machine,
    /// The configuration.
    Configuration,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Error(_) => "error",
        }
    }

    /// By sysexits.h.
    fn exit_code(self) -> u8 {
        match self {
            Status::Ok | Status::Warning => 0,
            Status::Error(Fault::Network) => 69,
            Status::Error(Fault::Machine) => 71,
            Status::Error(Fault::Configuration) => 78,
        }
    }

    /// In a terminal: green, yellow, red.
    fn color(self) -> &'static str {
        match self {
            Status::Ok => "\u{1b}[32m",
            Status::Warning => "\u{1b}[33m",
            Status::Error(_) => "\u{1b}[1;31m",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `options`, `files`, `TLS`, `DNS`, `next hops`, `machine`.
    pub group: &'static str,
    /// What was looked at.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub text: String,
    /// What to do; empty if nothing, or if `text` says it.
    pub remedy: String,
    /// File, line and column, counted from 1.
    pub place: Option<(PathBuf, usize, usize)>,
}

impl Check {
    pub(super) fn new(group: &'static str, name: impl Into<String>, status: Status, text: impl Into<String>) -> Check {
        Check { group, name: name.into(), status, text: text.into(), remedy: String::new(), place: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Check {
        Check { remedy: remedy.into(), ..self }
    }

    /// Of an option that is missing or wrong.
    pub(super) fn of_option(error: &ConfigError) -> Check {
        let wrong = Status::Error(Fault::Configuration);
        match error {
            ConfigError::File(FileError::Invalid { path, line, column, message }) => {
                let place = Some((path.clone(), *line, *column));
                Check { place, ..Check::new("options", "file", wrong, message) }
            }
            ConfigError::File(FileError::Unreadable { .. }) => Check::new("options", "file", wrong, error.to_string()),
            ConfigError::Missing { .. } => Check::new("options", "missing", wrong, error.to_string()),
            ConfigError::Environment { .. } => Check::new("options", "environment", wrong, error.to_string()),
            _ => Check::new("options", "flag", wrong, error.to_string()),
        }
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// In the order in which it is told.
    pub checks: Vec<Check>,
}

impl CheckReport {
    /// 0: usable, perhaps with warnings. 78: the configuration is wrong. 71: the machine lacks something. 69: a resolver or the next hops do not
    /// answer. Of several the one that must be mended first.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.checks.iter().map(|check| check.status).max().map_or(0, Status::exit_code)
    }

    /// Whether a gate could run and do its work.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.exit_code() == 0
    }

    /// One object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let check = |check: &Check| {
            let place = check.place.as_ref();
            json!({
                "group": check.group, "name": check.name, "status": check.status.word(), "text": check.text, "remedy": check.remedy,
                "where": place.map(|(file, line, column)| json!({ "file": file, "line": line, "column": column })),
            })
        };
        let checks: Vec<Value> = self.checks.iter().map(check).collect();
        json!({ "usable": self.is_usable(), "exit_code": self.exit_code(), "checks": checks })
    }

    /// A heading for each group, a line for each check, and the sum; coloured for a terminal.
    #[must_use]
    pub fn to_text(&self, color: bool) -> String {
        let mut out = String::new();
        let mut group = "";
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH_MAX);
        for check in &self.checks {
            if check.group != group {
                group = check.group;
                let _ = writeln!(out, "{}{group}", if out.is_empty() { "" } else { "\n" });
            }
            let (on, off) = if color { (check.status.color(), "\u{1b}[0m") } else { ("", "") };
            let place = check.place.as_ref();
            let place =
                place.map_or_else(String::new, |(file, line, column)| format!("{}:{line}:{column}: ", file.display()));
            let (status, name) = (check.status.word(), printable(&check.name));
            let _ = writeln!(out, "  {on}{status:<7}{off}  {name:<width$}  {}", printable(&(place + &check.text)));
            if !check.remedy.is_empty() {
                let _ = writeln!(out, "  {:<7}  {:<width$}  → {}", "", "", printable(&check.remedy));
            }
        }
        let count = |is: fn(Status) -> bool| self.checks.iter().filter(|check| is(check.status)).count();
        let errors = count(|status| matches!(status, Status::Error(_)));
        let warnings = count(|status| status == Status::Warning);
        let sum = match (errors, warnings) {
            (0, 0) => "the configuration is usable".to_owned(),
            (0, warnings) => format!("the configuration is usable, with {}", counted(warnings, "warning")),
            (errors, 0) => format!("not usable as it is: {}", counted(errors, "error")),
            (errors, warnings) => {
                format!("not usable as it is: {}, {}", counted(errors, "error"), counted(warnings, "warning"))
            }
        };
        let _ = writeln!(out, "\n{sum}");
        out
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What peers and files say must not steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Wider names push their text to the right.
const NAME_WIDTH_MAX: usize = 32;
