//! What each metric means, from the table that the exposition comes from: as markdown for the manual, as HTML for the page.

use std::fmt::Write as _;

use crate::metrics::{Family, families};
use crate::page::escaped;

/// Every metric as a markdown table: name, type, labels, what it counts, when to worry.
#[must_use]
pub fn metrics_reference() -> String {
    let mut out = "| metric | type | labels | what it counts | when to worry |\n|---|---|---|---|---|\n".to_owned();
    for family in families() {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let name = family.name();
        let cells = [
            format!("`{name}`"),
            family.kind.word().into(),
            labels.join(", "),
            sentence(family.help),
            sentence(family.worry),
        ];
        let _ = writeln!(out, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    out
}

/// Every metric as a section of HTML, its name the fragment.
pub(crate) fn table() -> String {
    families().map(|family| section(&family)).collect()
}

fn section(family: &Family) -> String {
    let name = escaped(&family.name());
    let labels = if family.labels.is_empty() { "none".into() } else { family.labels.join(", ") };
    let unit = family.unit.map_or("a number", |unit| unit.as_str());
    let worry = if family.worry.is_empty() { "Never by itself".into() } else { escaped(family.worry) };
    format!(
        "<section class=\"card\" id=\"{name}\"><h2><a href=\"#{name}\">{name}</a></h2><p>{}.</p>\
         <dl><dt>Type</dt><dd>{}</dd><dt>Unit</dt><dd>{}</dd><dt>Labels</dt><dd>{}</dd><dt>When to worry</dt><dd>{worry}.</dd></dl></section>\n",
        escaped(family.help),
        family.kind.word(),
        escaped(unit),
        escaped(&labels),
    )
}

fn sentence(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}.") }
}
