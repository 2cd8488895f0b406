//! From a master file to a zone's nodes (RFC 1035 §5.1, RFC 2308 §4 `$TTL`, RFC 3597 §5 `TYPEnnn`).
//!
//! hickory's parser is not used: it takes the quotes and semicolons of strings inside parentheses, the way DKIM keys are
//! written everywhere, for something else without a word; it reads `\032` as octal, and does not tell the line of a fault.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::str::FromStr;

use hickory_proto::rr::{Name, RData, RecordType};

use crate::config::DnsError;
use crate::zone::{Node, RecordSet, ancestors};
use crate::zone_lex::{Entry, Token, entries};
use crate::zone_rdata::{name, rdata, ttl};

/// Reads `text`, which stands in `path`.
pub(crate) fn read(text: &str, path: &Path) -> Result<HashMap<Name, Node>, DnsError> {
    let mut reader = Reader { nodes: HashMap::new(), default_ttl_s: None, last_ttl_s: None };
    reader.file(text, path, Name::root(), 0)?;
    let mut nodes = reader.nodes;
    if let Some(what) = contradiction(&nodes) {
        return Err(DnsError::Zone { path: path.to_owned(), line: 0, what });
    }
    add_empty_non_terminals(&mut nodes);
    Ok(nodes)
}

/// What one file leaves to the next line of another.
struct Reader {
    nodes: HashMap<Name, Node>,
    default_ttl_s: Option<u32>,
    last_ttl_s: Option<u32>,
}

impl Reader {
    /// Reads one file. Origin and owner are the file's own: an included file changes neither for the one that includes it.
    fn file(&mut self, text: &str, path: &Path, mut origin: Name, depth: usize) -> Result<(), DnsError> {
        let fault = |line, what| DnsError::Zone { path: path.to_owned(), line, what };
        let mut owner = None;
        for entry in entries(text) {
            let entry = entry.map_err(|(line, what)| fault(line, what))?;
            let line = entry.line;
            match directive(&entry) {
                Some("$ORIGIN") => {
                    origin = one_argument(&entry)
                        .and_then(|token| name(token, &origin))
                        .map_err(|what| fault(line, what))?;
                }
                Some("$TTL") => {
                    let seconds = one_argument(&entry).and_then(ttl).map_err(|what| fault(line, what))?;
                    self.default_ttl_s = Some(seconds);
                }
                Some("$INCLUDE") => self.include(&entry, path, &origin, depth)?,
                Some(other) => return Err(fault(line, format!("{other} is not supported"))),
                None => self.record(&entry, &origin, &mut owner).map_err(|what| fault(line, what))?,
            }
        }
        Ok(())
    }

    /// `$INCLUDE file [origin]`, the file relative to the directory of the one that names it.
    fn include(&mut self, entry: &Entry<'_>, path: &Path, origin: &Name, depth: usize) -> Result<(), DnsError> {
        let fault = |what| DnsError::Zone { path: path.to_owned(), line: entry.line, what };
        let (file, origin) = match entry.tokens.as_slice() {
            [_, file] => (file, origin.clone()),
            [_, file, new] => (file, name(new, origin).map_err(fault)?),
            _ => return Err(fault("expected a file name and, if wanted, an origin".to_owned())),
        };
        if depth >= INCLUDE_DEPTH_MAX {
            return Err(fault(format!("more than {INCLUDE_DEPTH_MAX} files included in one another")));
        }
        let file = path.parent().unwrap_or(Path::new("")).join(file.raw);
        let text = std::fs::read_to_string(&file).map_err(|error| fault(format!("{}: {error}", file.display())))?;
        self.file(&text, &file, origin, depth + 1)
    }

    /// `[owner] [ttl] [class] type rdata`, ttl and class in any order.
    fn record(&mut self, entry: &Entry<'_>, origin: &Name, owner: &mut Option<Name>) -> Result<(), String> {
        let mut tokens = entry.tokens.as_slice();
        if !entry.continues_owner {
            let Some((first, rest)) = tokens.split_first() else { return Ok(()) };
            *owner = Some(name(first, origin)?);
            tokens = rest;
        }
        let owner = owner.as_ref().ok_or("the first record has no owner name")?;
        let (ttl_s, record_type, data) = self.fields(tokens)?;
        let data = rdata(record_type, data, origin)?;
        self.insert(owner.to_lowercase(), record_type, ttl_s, data);
        Ok(())
    }

    fn fields<'a, 't>(&mut self, mut tokens: &'a [Token<'t>]) -> Result<(u32, RecordType, &'a [Token<'t>]), String> {
        let mut stated = None;
        loop {
            let (first, rest) = tokens.split_first().ok_or("the record has no type")?;
            tokens = rest;
            let word = first.raw.to_ascii_uppercase();
            match word.as_str() {
                "IN" => continue,
                "CH" | "CS" | "HS" => return Err(format!("class {word} is not supported")),
                _ if first.raw.starts_with(|first: char| first.is_ascii_digit()) => {
                    stated = Some(ttl(first)?);
                    continue;
                }
                _ => {}
            }
            if stated.is_some() {
                self.last_ttl_s = stated;
            }
            let ttl_s = stated.or(self.default_ttl_s).or(self.last_ttl_s).unwrap_or(TTL_OF_NO_STATEMENT_S);
            return Ok((ttl_s, record_type(&word)?, tokens));
        }
    }

    fn insert(&mut self, owner: Name, record_type: RecordType, ttl_s: u32, data: Option<RData>) {
        let node = self.nodes.entry(owner).or_default();
        let index = node.0.iter().position(|set| set.record_type == record_type).unwrap_or_else(|| {
            node.0.push(RecordSet { record_type, ttl_s, records: Vec::new() });
            node.0.len() - 1
        });
        let set = &mut node.0[index];
        // One TTL a set (RFC 2181 §5.2), each record once (§5).
        set.ttl_s = set.ttl_s.min(ttl_s);
        if let Some(data) = data
            && !set.records.contains(&data)
        {
            set.records.push(data);
        }
    }
}

/// The word of a control entry.
fn directive<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    let first = entry.tokens.first()?;
    if entry.continues_owner || first.quoted || !first.raw.starts_with('$') {
        return None;
    }
    // Matched in any case; the rest of the file decides.
    Some(
        ["$ORIGIN", "$TTL", "$INCLUDE"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(first.raw))
            .unwrap_or(first.raw),
    )
}

fn one_argument<'a, 't>(entry: &'a Entry<'t>) -> Result<&'a Token<'t>, String> {
    match entry.tokens.as_slice() {
        [_, argument] => Ok(argument),
        _ => Err("expected one argument".to_owned()),
    }
}

/// A mnemonic or `TYPEnnn`.
fn record_type(word: &str) -> Result<RecordType, String> {
    if let Some(number) = word.strip_prefix("TYPE").and_then(|digits| digits.parse::<u16>().ok()) {
        return Ok(RecordType::from(number));
    }
    match word {
        // Answers below it would be wrong without it.
        "DNAME" => Err("type DNAME is not supported".to_owned()),
        "SPF" => Ok(RecordType::from(99)),
        "LOC" => Ok(RecordType::from(29)),
        _ => RecordType::from_str(word).map_err(|_| format!("`{word}` is no record type")),
    }
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
    let is_apex = |(_, node): &(&Name, &Node)| node.set(RecordType::SOA).is_some();
    let apexes: HashSet<Name> = nodes.iter().filter(is_apex).map(|(name, _)| name.clone()).collect();
    let names: Vec<Name> = nodes.keys().cloned().collect();
    for name in names {
        let Some(apex) = ancestors(&name).find(|ancestor| apexes.contains(ancestor)) else { continue };
        for between in ancestors(&name).take_while(|ancestor| *ancestor != apex) {
            nodes.entry(between).or_default();
        }
    }
}

/// Files included in one another.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Where neither the record, nor `$TTL`, nor a record before it states one.
const TTL_OF_NO_STATEMENT_S: u32 = 3600;
