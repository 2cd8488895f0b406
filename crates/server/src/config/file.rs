//! The configuration file: TOML, with errors that say where and what to do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::{Layer, Origin};
use super::options::{REGISTRY, entry, nearest_key};
use super::registry::{Entry, Shape};
use super::{ConfigError, Options};

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
    /// It is not valid TOML, a key is unknown, or a value has the wrong type or cannot be used.
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1, in characters.
        column: usize,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// Reads the options in `path`: what can be used, and everything that cannot.
pub(super) fn read(path: &Path) -> (Layer, Vec<ConfigError>) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) => {
            let error = FileError::Unreadable { path: path.to_owned(), source };
            return (Layer::default(), vec![error.into()]);
        }
    };
    let (givens, faults) = parse(&text);
    let path: Arc<Path> = path.into();
    let mut layer = Layer::default();
    let mut errors: Vec<ConfigError> = faults
        .into_iter()
        .map(|Fault(offset, message)| {
            let (line, column) = place(&text, offset);
            FileError::Invalid { path: path.to_path_buf(), line, column, message }.into()
        })
        .collect();
    for given in givens {
        let (line, column) = place(&text, given.offset);
        let origin = Origin::File { path: Arc::clone(&path), line, column };
        if let Err(message) = layer.set(given.entry.key, given.texts(), origin) {
            errors.push(FileError::Invalid { path: path.to_path_buf(), line, column, message }.into());
        }
    }
    (layer, errors)
}

/// Line and column of an octet, from 1; columns are characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// One key with what stands behind it, in the form of the command line.
#[derive(Debug)]
struct Given {
    entry: &'static Entry,
    /// Of the key, in octets.
    offset: usize,
    values: Vec<Value>,
}

/// One value, and where it stands.
#[derive(Debug)]
struct Value {
    offset: usize,
    text: String,
}

/// Something wrong: where, in octets, and what.
#[derive(Debug)]
struct Fault(usize, String);

impl Given {
    fn texts(&self) -> Vec<OsString> {
        self.values.iter().map(|value| OsString::from(&value.text)).collect()
    }

    /// What is wrong with the values: each by itself, and if all are good alone, together.
    fn check(&self, faults: &mut Vec<Fault>) {
        let wrong = |texts: Vec<OsString>| Options::check_alone(self.entry.key, texts).err();
        let before = faults.len();
        for value in &self.values {
            if let Some(error) = wrong(vec![OsString::from(&value.text)]) {
                faults.push(Fault(value.offset, error.to_string()));
            }
        }
        if before == faults.len()
            && let Some(error) = wrong(self.texts())
        {
            faults.push(Fault(self.offset, error.to_string()));
        }
    }
}

/// The keys that can be used, and all that is wrong, in the order of the text.
fn parse(text: &str) -> (Vec<Given>, Vec<Fault>) {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            return (Vec::new(), vec![Fault(offset, error.message().to_owned())]);
        }
    };
    let (mut givens, mut faults) = (Vec::new(), Vec::new());
    for (key, value) in table.get_ref() {
        let offset = key.span().start;
        let Some(entry) = entry(key.get_ref()) else {
            faults.push(Fault(offset, unknown_key(key.get_ref())));
            continue;
        };
        match values(entry, value) {
            Ok(values) => {
                let given = Given { entry, offset, values };
                given.check(&mut faults);
                givens.push(given);
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.sort_by_key(|fault| fault.0);
    (givens, faults)
}

fn unknown_key(key: &str) -> String {
    match nearest_key(key) {
        Some(known) => format!("unknown key `{key}`; did you mean `{known}`?"),
        None => {
            let known: Vec<&str> = REGISTRY.iter().map(|entry| entry.key).collect();
            format!("unknown key `{key}`; known are {}", known.join(", "))
        }
    }
}

/// What stands behind a key, in the form of the command line.
fn values(entry: &Entry, value: &Spanned<DeValue<'_>>) -> Result<Vec<Value>, Fault> {
    let one = |text: String| Ok(vec![Value { offset: value.span().start, text }]);
    match (entry.shape, value.get_ref()) {
        (Shape::Text | Shape::Choice | Shape::Path | Shape::NumberOrText, DeValue::String(text)) => {
            one(text.clone().into_owned())
        }
        (Shape::Number | Shape::NumberOrText, number @ DeValue::Integer(_)) => one(whole_number(number, value)?),
        (Shape::Switch, DeValue::Boolean(on)) => Ok(if *on { one("true".to_owned())? } else { Vec::new() }),
        (Shape::Texts | Shape::Paths | Shape::TextsOrTable, DeValue::Array(items)) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(Value { offset: item.span().start, text: text.clone().into_owned() }),
                other => Err(wrong_type(item, other, "a string")),
            })
            .collect(),
        (Shape::Table, DeValue::Table(table)) => table
            .iter()
            .map(|(name, mode)| match mode.get_ref() {
                DeValue::String(text) => {
                    Ok(Value { offset: name.span().start, text: format!("{}={text}", name.get_ref()) })
                }
                other => Err(wrong_type(mode, other, "a string")),
            })
            .collect(),
        (Shape::TextsOrTable, DeValue::Table(table)) => {
            let mut found = Vec::new();
            bounds("", table, &mut found)?;
            Ok(found)
        }
        (_, other) => Err(wrong_type(value, other, expected(entry.shape))),
    }
}

/// `"64.messages" = "600/1h"`; written without quotes, `64.messages` is a table in a table.
fn bounds(above: &str, table: &DeTable<'_>, found: &mut Vec<Value>) -> Result<(), Fault> {
    for (name, value) in table {
        let text = format!("{above}{}", name.get_ref());
        let offset = name.span().start;
        match value.get_ref() {
            DeValue::String(bound) => found.push(Value { offset, text: format!("{text}={bound}") }),
            number @ DeValue::Integer(_) => {
                found.push(Value { offset, text: format!("{text}={}", whole_number(number, value)?) });
            }
            DeValue::Table(inner) => bounds(&format!("{text}."), inner, found)?,
            other => return Err(wrong_type(value, other, "a string such as \"600/1h\", or a number")),
        }
    }
    Ok(())
}

/// In decimal, however it is written.
fn whole_number(number: &DeValue<'_>, at: &Spanned<DeValue<'_>>) -> Result<String, Fault> {
    let read = number.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
    read.map(|number| number.to_string()).ok_or_else(|| wrong_type(at, number, "a whole number from 0"))
}

fn expected(shape: Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::Choice | Shape::Path => "a string",
        Shape::NumberOrText => "a number or a list in quotes, such as \"0,1\"",
        Shape::Number => "a whole number from 0",
        Shape::Switch => "true or false",
        Shape::Texts | Shape::Paths => "a list of strings, such as [\"…\"]",
        Shape::Table => "a table, such as [domain] with \"open.example\" = \"accept\" below it",
        Shape::TextsOrTable => "a list such as [\"64.messages=600/1h\"], or a table of \"64.messages\" = \"600/1h\"",
    }
}

fn wrong_type(at: &Spanned<DeValue<'_>>, value: &DeValue<'_>, expected: &str) -> Fault {
    let found = match value {
        DeValue::String(text) => format!("string \"{}\"", text.escape_debug()),
        DeValue::Integer(number) => format!("integer `{}`", number.as_str()),
        DeValue::Float(number) => format!("number `{}`", number.as_str()),
        DeValue::Boolean(on) => format!("boolean `{on}`"),
        DeValue::Datetime(time) => format!("time `{time}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    Fault(at.span().start, format!("invalid type: {found}, expected {expected}"))
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
            (
                "hostname = \"a\"\ncores = true\n",
                ":2:9: invalid type: boolean `true`, expected a number or a list in quotes",
            ),
            ("hostname = 3\n", ":1:12: invalid type: integer `3`, expected a string"),
            ("hostname = \n", ":1:1"),
            ("[domain]\n\"open.example\" = 3\n", ":2:18: invalid type"),
            (
                "[domain]\n\"a.example\" = \"accept\"\n\"b.example\" = \"perhaps\"\n",
                ":3:1: --domain: domain mode `perhaps`",
            ),
            ("hostname = \"a\"\ndns-server = [\"127.0.0.1\", \"x\"]\n", ":2:28: --dns-server: resolver `x`"),
            ("listen = [\n  \"::1:25\",\n]\n", ":2:3: --listen `::1:25`"),
            ("\n\ncache-ptr = 0\n", ":3:13: --cache-ptr `0`"),
            ("limit = [\n \"64.messages=600\"]\n", ":2:2: --limit: messages are limited in a time"),
            ("[limit]\n\"64.sessions\" = 5\n\"32.sessions\" = 5\n", ":3:1: --limit: scope `32`"),
            ("limit = 3\n", ":1:9: invalid type: integer `3`, expected a list such as"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).1[0].to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        let absent = read(&directory.path().join("absent")).1[0].to_string();
        assert!(absent.contains("absent: "), "{absent}");
    }

    #[test]
    fn every_fault_is_told() {
        let text = "hostnam = \"a\"\nmemory = 0\nlisten = [\"::1:25\", \"[::1]:25\", \"x\"]\ncores = true\n";
        let told: Vec<usize> = parse(text).1.into_iter().map(|fault| place(text, fault.0).0).collect();
        assert_eq!(told, [1, 2, 3, 3, 4]);
    }

    #[test]
    fn a_whole_file() {
        let text = "hostname = \"mx.example\"\nlimit.64.messages = \"5/1s\"\nlimit.\"48.sessions\" = 7\ncores = 2\n\
                    listen = [\"[::1]:2525\"]\ncache-ptr = 0x8\none-domain = false\n[domain]\n\"b.example\" = \"reject\"\n\
                    \"a.example\" = \"accept\"\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mx6.toml");
        std::fs::write(&path, text).unwrap();
        let (layer, faults) = read(&path);
        assert!(faults.is_empty(), "{faults:?}");
        let options = layer.options;
        assert_eq!(options.hostname.as_deref(), Some("mx.example"));
        assert_eq!((options.cache_ptr, options.one_domain), (Some(8), false));
        assert_eq!(options.limit, ["48.sessions=7", "64.messages=5/1s"]);
        assert_eq!(options.domain, ["a.example=accept", "b.example=reject"]);
    }
}
