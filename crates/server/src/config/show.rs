//! The effective options, as a file that can be used again.

use std::fmt::Write as _;

use serde_json::json;

use super::layers::{Layers, Origin};
use super::options::REGISTRY;
use super::registry::{Entry, Shape};

/// What is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what differs from the default.
    pub changed: bool,
    /// And where each value comes from.
    pub origin: bool,
}

/// One option as it holds.
struct Effective {
    entry: &'static Entry,
    /// As on a command line; empty if there is no value to be written.
    texts: Vec<String>,
    origin: Origin,
}

/// The options in the order of their groups.
fn effective(layers: &Layers, selection: Selection) -> Vec<Effective> {
    let mut entries: Vec<&Entry> = REGISTRY.iter().collect();
    entries.sort_by_key(|entry| entry.group);
    let all = entries.into_iter().map(|entry| {
        let given = layers.options().texts(entry.key);
        let given: Vec<String> = given.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        let texts = if given.is_empty() { entry.default.values() } else { given };
        Effective { entry, texts, origin: layers.origin(entry.key) }
    });
    all.filter(|option| !selection.changed || option.differs()).collect()
}

impl Effective {
    /// Whether it is not what it would be if nobody had said anything.
    fn differs(&self) -> bool {
        self.origin != Origin::Default && self.texts != self.entry.default.values()
    }

    /// Where it comes from, as a comment.
    fn comment(&self, selection: Selection) -> String {
        if selection.origin { format!("  # {}", one_line(&self.origin.to_string())) } else { String::new() }
    }

    /// Its value in TOML; tables are written elsewhere.
    fn value(&self) -> String {
        match self.entry.shape {
            Shape::Number | Shape::Switch => self.texts.concat(),
            Shape::NumberOrText if self.texts.concat().parse::<u32>().is_ok() => self.texts.concat(),
            shape if shape.is_list() => {
                let texts: Vec<String> = self.texts.iter().map(|text| quoted(text)).collect();
                format!("[{}]", texts.join(", "))
            }
            _ => quoted(&self.texts.concat()),
        }
    }
}

/// As TOML that says what `layers` say; what has no value is a comment.
#[must_use]
pub fn to_toml(layers: &Layers, selection: Selection) -> String {
    let (mut out, mut tables) = (String::new(), String::new());
    let mut group = None;
    for option in effective(layers, selection) {
        let (entry, comment) = (option.entry, option.comment(selection));
        if entry.shape == Shape::Table && !option.texts.is_empty() {
            let _ = writeln!(tables, "\n[{}]{comment}", entry.key);
            for text in &option.texts {
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                let _ = writeln!(tables, "{} = {}", quoted(name.trim()), quoted(value.trim()));
            }
            continue;
        }
        if group.replace(entry.group) != Some(entry.group) {
            let _ = writeln!(out, "{}# {}", if out.is_empty() { "" } else { "\n" }, entry.group.title());
        }
        let _ = match option.texts.is_empty() {
            true => writeln!(out, "# {}: {}{comment}", entry.key, entry.default_in_words()),
            false => writeln!(out, "{} = {}{comment}", entry.key, option.value()),
        };
    }
    out + &tables
}

/// As one JSON object: for each key its value (null for none), where it comes from, and whether it differs from the default.
#[must_use]
pub fn to_json(layers: &Layers, selection: Selection) -> serde_json::Value {
    let member = |option: Effective| {
        let value = match option.entry.shape {
            _ if option.texts.is_empty() => serde_json::Value::Null,
            Shape::Number => option.texts.concat().parse::<u64>().map_or(serde_json::Value::Null, Into::into),
            Shape::Switch => true.into(),
            shape if shape.is_list() => option.texts.clone().into(),
            _ => option.texts.concat().into(),
        };
        let (changed, key) = (option.differs(), option.entry.key.to_owned());
        (
            key,
            json!({ "value": value, "unit": option.entry.unit.symbol(), "origin": option.origin.to_string(), "changed": changed }),
        )
    };
    serde_json::Value::Object(effective(layers, selection).into_iter().map(member).collect())
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// A comment ends with its line, whatever a file is called.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
