//! The reference of the options for the manual, and a schema of the file for editors.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::options::REGISTRY;
use super::registry::{Default, Entry, Group, Shape};

/// A table for each group, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut entries: Vec<&Entry> = REGISTRY.iter().collect();
    entries.sort_by_key(|entry| entry.group);
    let mut out = String::new();
    let mut group: Option<Group> = None;
    for entry in entries {
        if group.replace(entry.group) != Some(entry.group) {
            let _ = write!(out, "{}## {}\n\n", if out.is_empty() { "" } else { "\n" }, entry.group.title());
            out += "| option | value | default | at a reload | what it is |\n|---|---|---|---|---|\n";
        }
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {}{} |",
            entry.key,
            cell(&value(entry)),
            cell(&entry.default_in_words()),
            if entry.fixed { "stays" } else { "changes" },
            cell(entry.text),
            entry.also.map(|also| format!(" Also `--{also}`.")).unwrap_or_default()
        );
    }
    out
}

/// What a value looks like, how it is counted, and what is taken.
fn value(entry: &Entry) -> String {
    let mut value = match entry.shape {
        Shape::Switch => "true or false".to_owned(),
        _ => format!("`{}`", entry.value_name),
    };
    if entry.shape.is_list() {
        value += ", repeatable";
    }
    match (entry.unit.symbol(), entry.range_in_words()) {
        (unit, range) if !range.is_empty() => value = format!("{range} {unit}").trim_end().to_owned(),
        _ => {}
    }
    value
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// A JSON Schema (2020-12) of the file, as editors use it for TOML.
#[must_use]
pub fn schema() -> Value {
    let properties: Map<String, Value> = REGISTRY.iter().map(|entry| (entry.key.to_owned(), property(entry))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mx6",
        "description": "Configuration file of mx6.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn property(entry: &Entry) -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let table = |value: Value| json!({ "type": "object", "additionalProperties": value });
    let mut property = match entry.shape {
        Shape::Text | Shape::Path => json!({ "type": "string" }),
        Shape::Choice => json!({ "type": "string", "enum": entry.choices().collect::<Vec<_>>() }),
        Shape::NumberOrText => json!({ "type": ["integer", "string"], "minimum": 0 }),
        Shape::Number => json!({ "type": "integer", "minimum": 0 }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Texts | Shape::Paths => texts,
        Shape::Table => table(json!({ "type": "string" })),
        // Without quotes `64.messages` is a table in a table.
        Shape::TextsOrTable => json!({ "anyOf": [texts, table(json!({ "type": ["string", "integer", "object"] }))] }),
    };
    if let Some((least, most)) = entry.range {
        property["minimum"] = least.into();
        if most < u64::MAX {
            property["maximum"] = most.into();
        }
    }
    let unit = entry.unit.symbol();
    let unit = if unit.is_empty() { String::new() } else { format!(" In {unit}.") };
    property["description"] = format!("{}{unit} Default: {}.", entry.text, entry.default_in_words()).into();
    match entry.default {
        Default::Number(number) => property["default"] = number.into(),
        Default::Text(text) => property["default"] = text.into(),
        Default::Unsaid | Default::Required | Default::Words(_) => {}
    }
    property
}
