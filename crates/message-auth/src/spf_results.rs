//! SPF results that hold for every sender of a domain at a client, kept for as long as the answers that they rest on.
//!
//! A result is kept only where evaluating again would give the same (RFC 7208 §4): nothing was made of the local part, the HELO name or the
//! time; no answer was a failure, even one that did not decide (`ptr`, §5.5); none was used after its TTL. Then client, identity and
//! domain, with the answers, are all that goes into it.

use std::net::IpAddr;

use mx6_dns::{CacheFill, DerivedCache};
use mx6_policy::facts::{CacheState, MethodResult, Spf, SpfIdentity};

/// The results, shared by all shards; clones are the same cache.
#[derive(Clone)]
pub(crate) struct SpfResults(DerivedCache<Key, Spf>);

/// What a result is about.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Never IPv4-mapped.
    client: IpAddr,
    identity: SpfIdentity,
    /// Lower case.
    domain: Box<str>,
}

impl Key {
    /// `client` in its canonical form, `domain` as sent.
    pub(crate) fn new(client: IpAddr, identity: SpfIdentity, domain: &str) -> Key {
        Key { client, identity, domain: domain.to_ascii_lowercase().into() }
    }
}

impl SpfResults {
    /// An empty cache that takes at most `max_octets`.
    pub(crate) fn new(max_octets: u64) -> SpfResults {
        SpfResults(DerivedCache::new(max_octets, |key, spf| key.domain.len() + spf.domain.len() + spf.reason.len()))
    }

    /// What is in it.
    pub(crate) fn fill(&self) -> CacheFill {
        self.0.fill("spf-result")
    }

    /// The result, if it is known.
    pub(crate) fn get(&self, key: &Key) -> Option<Spf> {
        let spf = self.0.get(key)?;
        Some(Spf { cache: CacheState::Hit, ..Spf::clone(&spf) })
    }

    /// Keeps a result for which nothing was made of the sender but its domain, until `holds_until_ms`.
    pub(crate) fn keep(&self, key: Key, spf: &Spf, holds_until_ms: u64) {
        if spf.result != MethodResult::TempError {
            self.0.insert(key, spf.clone(), holds_until_ms);
        }
    }
}
