//! A zone file in place of the network: answers as an authoritative server for its zones would give them (RFC 1034 §4.3.2).
//!
//! - Names outside every SOA of the file are taken as one zone from the root: what the file holds is answered, nothing else exists.
//! - A name at or below an NS that is not its zone's own is delegated to servers nobody can reach offline: SERVFAIL.
//! - Wildcards work as in RFC 4592; names that exist only because something lies below them have no data, and block wildcards.
//! - CNAMEs are followed within the file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use crate::config::DnsError;
use crate::limits::CNAME_CHAIN_MAX;
use crate::lookup::Failure;
use crate::upstream::Told;
use crate::zone_file;

/// The records of a zone file; clones share them.
#[derive(Debug, Clone)]
pub struct Zone(Arc<HashMap<Name, Node>>);

/// What a name holds; nothing, if it exists only for what lies below.
#[derive(Debug, Default)]
pub(crate) struct Node(pub(crate) Vec<RecordSet>);

/// The records of one type.
#[derive(Debug)]
pub(crate) struct RecordSet {
    pub(crate) record_type: RecordType,
    pub(crate) ttl_s: u32,
    pub(crate) records: Vec<RData>,
}

impl Zone {
    /// Reads a master file (RFC 1035 §5, RFC 2308 §4 for `$TTL`). `$INCLUDE` works relative to the file's directory; names that are
    /// not complete and without `$ORIGIN` are relative to the root.
    ///
    /// # Errors
    /// [`DnsError::Zone`] with file and line.
    pub fn load(path: &Path) -> Result<Zone, DnsError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| DnsError::Zone { path: path.to_owned(), line: 0, what: error.to_string() })?;
        Zone::parse(&text, path)
    }

    /// As [`Zone::load`] for text at hand; `path` is used in errors and for `$INCLUDE`.
    ///
    /// # Errors
    /// [`DnsError::Zone`] with file and line.
    pub fn parse(text: &str, path: &Path) -> Result<Zone, DnsError> {
        Ok(Zone(Arc::new(zone_file::read(text, path)?)))
    }

    /// Answers a question.
    pub(crate) fn ask<T>(
        &self,
        name: &Name,
        record_type: RecordType,
        read: impl Fn(&[&RData]) -> Result<T, Failure>,
    ) -> Result<Told<T>, Failure> {
        let (mut name, mut chain_ttl_s) = (name.to_lowercase(), u32::MAX);
        for _ in 0..=CNAME_CHAIN_MAX {
            let own = self.apex(&name);
            if own.as_ref().is_some_and(|apex| self.is_delegated(&name, apex)) {
                return Err(Failure::ServFail);
            }
            let apex = own.unwrap_or_else(Name::root);
            let negative_s = self.negative_ttl(&apex).map(|ttl_s| ttl_s.min(chain_ttl_s));
            let Some(node) = self.node(&name, &apex) else { return Ok(Told::NxDomain { ttl_s: negative_s }) };
            if let Some(set) = node.set(record_type) {
                let records: Vec<&RData> = set.records.iter().collect();
                return Ok(Told::Found { value: read(&records)?, ttl_s: set.ttl_s.min(chain_ttl_s) });
            }
            let Some((target, ttl_s)) = node.alias() else { return Ok(Told::NoData { ttl_s: negative_s }) };
            (name, chain_ttl_s) = (target.to_lowercase(), chain_ttl_s.min(ttl_s));
        }
        Err(Failure::CnameChain)
    }

    /// The zone that `name` belongs to: its longest ancestor, or itself, with an SOA.
    fn apex(&self, name: &Name) -> Option<Name> {
        ancestors(name).find(|ancestor| self.0.get(ancestor).is_some_and(|node| node.set(RecordType::SOA).is_some()))
    }

    fn negative_ttl(&self, apex: &Name) -> Option<u32> {
        let soa = self.0.get(apex)?.set(RecordType::SOA)?;
        soa.records.iter().find_map(|record| match record {
            RData::SOA(data) => Some(soa.ttl_s.min(data.minimum)),
            _ => None,
        })
    }

    fn is_delegated(&self, name: &Name, apex: &Name) -> bool {
        let below = ancestors(name).take_while(|ancestor| ancestor != apex);
        below.into_iter().any(|ancestor| self.0.get(&ancestor).is_some_and(|node| node.set(RecordType::NS).is_some()))
    }

    /// The name's own node, or that of the wildcard under its closest encloser (RFC 4592 §3.3.1).
    fn node(&self, name: &Name, apex: &Name) -> Option<&Node> {
        if let Some(node) = self.0.get(name) {
            return Some(node);
        }
        let encloser = ancestors(name).skip(1).find(|ancestor| ancestor == apex || self.0.contains_key(ancestor))?;
        self.0.get(&encloser.prepend_label("*").ok()?)
    }
}

impl Node {
    pub(crate) fn set(&self, record_type: RecordType) -> Option<&RecordSet> {
        self.0.iter().find(|set| set.record_type == record_type)
    }

    fn alias(&self) -> Option<(&Name, u32)> {
        let set = self.set(RecordType::CNAME)?;
        set.records.iter().find_map(|record| match record {
            RData::CNAME(target) => Some((&target.0, set.ttl_s)),
            _ => None,
        })
    }
}

/// The name, its parent, and so on up to the root.
pub(crate) fn ancestors(name: &Name) -> impl Iterator<Item = Name> + use<> {
    std::iter::successors(Some(name.clone()), |name| if name.is_root() { None } else { Some(name.base_name()) })
}
