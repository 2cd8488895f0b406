//! The configuration file: TOML, with errors that say where and what to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, DeValue};

use super::options::{KEYS, Options};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not valid TOML, a key is unknown, or a value has the wrong type.
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// Reads the options in `path`.
///
/// # Errors
/// If it cannot be read, or at the first thing in it that is wrong.
pub(super) fn read(path: &Path) -> Result<Options, FileError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    parse(&text).map_err(|(offset, message)| {
        let before = &text[..text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        FileError::Invalid { path: path.to_owned(), line, column, message }
    })
}

/// The options, or the octet offset of the fault and what it is.
fn parse(text: &str) -> Result<Options, (usize, String)> {
    let table = DeTable::parse(text).map_err(located)?;
    for key in table.get_ref().keys() {
        if !KEYS.contains(&key.get_ref().as_ref()) {
            return Err((key.span().start, unknown_key(key.get_ref())));
        }
    }
    let options = toml::from_str(text).map_err(located)?;
    for (key, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(entries) => {
                for (name, mode) in entries {
                    let entry = &text[name.span().start..mode.span().end];
                    check_alone(&format!("[{}]\n{entry}", key.get_ref()), name.span().start)?;
                }
            }
            _ => check_alone(&text[key.span().start..value.span().end], key.span().start)?,
        }
    }
    Ok(options)
}

/// Checks the value of one `key = value` by itself, so that what is wrong with it can be located.
fn check_alone(pair: &str, offset: usize) -> Result<(), (usize, String)> {
    // What cannot be read alone (a part of a dotted key) was read with the rest, and is checked with the rest.
    let Ok(options) = toml::from_str::<Options>(pair) else { return Ok(()) };
    options.check_values().map_err(|error| (offset, error.to_string()))
}

fn located(error: toml::de::Error) -> (usize, String) {
    let offset = error.span().map_or(0, |span| span.start);
    (offset, error.message().to_owned())
}

fn unknown_key(key: &str) -> String {
    let nearest = KEYS.iter().min_by_key(|known| strsim::damerau_levenshtein(key, known));
    match nearest {
        Some(known) if strsim::damerau_levenshtein(key, known) <= 3.max(known.len() / 2) => {
            format!("unknown key `{key}`; did you mean `{known}`?")
        }
        _ => format!("unknown key `{key}`; known are {}", KEYS.join(", ")),
    }
}

/// `[domain]` is a table of names and modes; each entry becomes the `NAME=MODE` of the command line.
pub(super) fn domain_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let table = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(table.into_iter().map(|(domain, mode)| format!("{domain}={mode}")).collect())
}

/// `limit = ["64.messages=600/1h"]`, or a table `[limit]` of `"64.messages" = "600/1h"`; each becomes what stands on the command line.
pub(super) fn limit_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a list such as [\"64.messages=600/1h\"], or a table of \"64.messages\" = \"600/1h\""
    )]
    enum Limits {
        List(Vec<String>),
        Table(BTreeMap<String, Bound>),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Bound {
        Text(String),
        Number(u32),
        // Written without quotes, `64.messages` is a table in a table.
        Table(BTreeMap<String, Bound>),
    }
    fn push(name: &str, bound: Bound, limits: &mut Vec<String>) {
        match bound {
            Bound::Text(text) => limits.push(format!("{name}={text}")),
            Bound::Number(number) => limits.push(format!("{name}={number}")),
            Bound::Table(table) => {
                table.into_iter().for_each(|(what, bound)| push(&format!("{name}.{what}"), bound, limits));
            }
        }
    }
    Ok(match Limits::deserialize(deserializer)? {
        Limits::List(limits) => limits,
        Limits::Table(table) => {
            let mut limits = Vec::new();
            table.into_iter().for_each(|(name, bound)| push(&name, bound, &mut limits));
            limits
        }
    })
}

/// `cores = 2` and `cores = "0,1"`.
pub(super) fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number or a list in quotes, such as \"0,1\"")]
    enum NumberOrText {
        Number(u32),
        Text(String),
    }
    Ok(Some(match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    mod fuzz;

    #[test]
    fn faults_are_located_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mx6.toml");
        for (text, words) in [
            ("hostname = \"a\"\nlisen = []\n", ":2:1: unknown key `lisen`; did you mean `listen`?"),
            ("hostname = \"a\"\n  spf-cache = 3\n", ":2:3: unknown key `spf-cache`"),
            ("xyzzyxyzzyxyzzy = 1\n", ":1:1: unknown key `xyzzyxyzzyxyzzy`; known are hostname"),
            ("hostname = \"a\"\ncores = true\n", ":2:9: expected a number or a list in quotes"),
            ("hostname = 3\n", ":1:12: invalid type: integer `3`, expected a string"),
            ("hostname = \n", ":1:1"),
            ("[domain]\n\"open.example\" = 3\n", ":2:18: invalid type"),
            (
                "[domain]\n\"a.example\" = \"accept\"\n\"b.example\" = \"perhaps\"\n",
                ":3:1: --domain: domain mode `perhaps`",
            ),
            ("hostname = \"a\"\ndns-server = [\"127.0.0.1\", \"x\"]\n", ":2:1: --dns-server: resolver `x`"),
            ("listen = [\n  \"::1:25\",\n]\n", ":1:1: --listen `::1:25`"),
            ("\n\ncache-ptr = 0\n", ":3:1: --cache-ptr `0`"),
            ("limit = [\n \"64.messages=600\"]\n", ":1:1: --limit: messages are limited in a time"),
            ("[limit]\n\"64.sessions\" = 5\n\"32.sessions\" = 5\n", ":3:1: --limit: scope `32`"),
            ("limit = 3\n", ":1:9: expected a list such as"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        let absent = read(&directory.path().join("absent")).unwrap_err().to_string();
        assert!(absent.contains("absent: "), "{absent}");
    }

    #[test]
    fn a_whole_file() {
        let options = parse(
            "hostname = \"mx.example\"\nlimit.64.messages = \"5/1s\"\nlimit.\"48.sessions\" = 7\ncores = 2\nlisten = [\"[::1]:2525\"]\ncache-ptr = 8\n[domain]\n\"b.example\" = \"reject\"\n\"a.example\" = \"accept\"\n",
        )
        .unwrap();
        assert_eq!(options.hostname.as_deref(), Some("mx.example"));
        assert_eq!(options.cache_ptr, Some(8));
        assert_eq!(options.limit, ["48.sessions=7", "64.messages=5/1s"]);
        assert_eq!(options.domain, ["a.example=accept", "b.example=reject"]);
    }

    #[test]
    fn every_key_is_known() {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            _options: Options,
        }
        let command = <Flags as clap::CommandFactory>::command();
        let mut flags: Vec<&str> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
        flags.retain(|flag| !matches!(*flag, "help" | "version"));
        assert_eq!(flags.len(), KEYS.len());
        for flag in flags {
            assert!(KEYS.contains(&flag), "{flag} is no key of the file");
        }
    }
}
