//! From a master file to a zone's nodes. hickory parses; the line of a fault is found here, since hickory does not tell it.

use std::collections::HashMap;
use std::path::Path;

use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt::Parser;

use crate::config::DnsError;
use crate::zone::{Node, RecordSet, ancestors};

/// Reads `text`, which stands in `path`.
pub(crate) fn read(text: &str, path: &Path) -> Result<HashMap<Name, Node>, DnsError> {
    let fault = |line, what| DnsError::Zone { path: path.to_owned(), line, what };
    let sets = parse(text, path).map_err(|what| {
        let line = line_of_fault(text, path);
        fault(line, what)
    })?;
    let mut nodes: HashMap<Name, Node> = HashMap::new();
    for (name, set) in sets {
        nodes.entry(name).or_default().0.push(set);
    }
    if let Some(what) = contradiction(&nodes) {
        return Err(fault(0, what));
    }
    add_empty_non_terminals(&mut nodes);
    Ok(nodes)
}

fn parse(text: &str, path: &Path) -> Result<Vec<(Name, RecordSet)>, String> {
    let parser = Parser::new(text, Some(path.to_owned()), Some(Name::root()));
    let (_, sets) = parser.parse().map_err(|error| error.to_string())?;
    let sets = sets.into_values().map(|set| {
        let mut name = set.name().to_lowercase();
        name.set_fqdn(true);
        let records = set.records_without_rrsigs().map(|record| record.data.clone()).collect();
        (name, RecordSet { record_type: set.record_type(), ttl_s: set.ttl(), records })
    });
    Ok(sets.collect())
}

/// The line, from 1, at which the shortest beginning of the file that does not parse ends; 0 if only the whole does not.
///
/// A beginning can also fail because it ends inside parentheses or quotes, so only beginnings that end with an entry are tried;
/// a fault in one shows in all longer ones, which makes it a binary search.
fn line_of_fault(text: &str, path: &Path) -> usize {
    let ends = entry_ends(text);
    let bad = ends.partition_point(|&(octets, _)| parse(&text[..octets], path).is_ok());
    let first_line = if bad == 0 { 1 } else { ends.get(bad - 1).map_or(1, |&(_, line)| line + 1) };
    let Some(&(octets, _)) = ends.get(bad) else { return 0 };
    // The first line of the entry that is not blank or a comment.
    let start = if bad == 0 { 0 } else { ends[bad - 1].0 };
    let blank = text[start..octets].lines().take_while(|line| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with(';')
    });
    first_line + blank.count()
}

/// Where entries end: octets up to and with the line end, and the number of that line. Quotes and parentheses (RFC 1035 §5.1) keep an
/// entry open over line ends.
fn entry_ends(text: &str) -> Vec<(usize, usize)> {
    let (mut ends, mut line, mut depth) = (Vec::new(), 1, 0_i32);
    let (mut quoted, mut comment, mut escaped) = (false, false, false);
    for (index, octet) in text.bytes().enumerate() {
        let was_escaped = std::mem::take(&mut escaped);
        match octet {
            b'\n' => {
                comment = false;
                if depth <= 0 && !quoted {
                    ends.push((index + 1, line));
                }
                line += 1;
            }
            _ if comment || was_escaped => {}
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b';' => comment = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    if ends.last().is_none_or(|&(octets, _)| octets < text.len()) {
        ends.push((text.len(), line));
    }
    ends
}

/// An alias must stand alone at its name (RFC 1034 §3.6.2, RFC 2181 §10.1).
fn contradiction(nodes: &HashMap<Name, Node>) -> Option<String> {
    let broken = nodes.iter().find(|(_, node)| match node.set(RecordType::CNAME) {
        Some(alias) => alias.records.len() > 1 || node.0.iter().any(|set| !may_stand_with_alias(set.record_type)),
        None => false,
    });
    broken.map(|(name, _)| format!("{name} has a CNAME record and another record"))
}

fn may_stand_with_alias(record_type: RecordType) -> bool {
    matches!(record_type, RecordType::CNAME | RecordType::RRSIG | RecordType::NSEC)
}

/// Names between a zone's apex and a record exist, without data (RFC 4592 §2.2.2).
fn add_empty_non_terminals(nodes: &mut HashMap<Name, Node>) {
    let apexes: Vec<Name> = nodes
        .iter()
        .filter(|(_, node)| node.0.iter().any(|set| set.records.iter().any(|record| matches!(record, RData::SOA(_)))))
        .map(|(name, _)| name.clone())
        .collect();
    let names: Vec<Name> = nodes.keys().cloned().collect();
    for name in names {
        let Some(apex) = ancestors(&name).find(|ancestor| apexes.contains(ancestor)) else { continue };
        for between in ancestors(&name).take_while(|ancestor| *ancestor != apex) {
            nodes.entry(between).or_default();
        }
    }
}
