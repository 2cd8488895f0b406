//! The side of DMARC that faces mail-auth: a cache that has an answer to everything, so that mail-auth never looks
//! for one itself.
//!
//! mail-auth asks a [`ResolverCache`] before its own resolver and hands it the name as an opaque key. The name is read
//! off the key's hash: `Borrow` demands that it hashes like a `str`, so a hasher that only collects sees its octets.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::config::{ResolveHosts, ResolverConfig};
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::{DmarcResult, DnsError, Error, MessageAuthenticator, RecordSet, ResolverCache, Txt};
use mx6_dns::{Answer, Dns, Lookup, TxtCache};
use mx6_policy::facts::CacheState;

use crate::MessageAuthError;
use crate::records::DmarcRecord;

/// What is known of `_dmarc` names in one evaluation.
pub(crate) struct Answers<'a> {
    dns: &'a Dns,
    cache: &'a TxtCache<DmarcRecord>,
    /// Answers fetched for this evaluation: kept here, so that it ends even if no cache keeps them.
    fetched: Vec<(String, Txt)>,
    missing: RefCell<Vec<String>>,
    name: RefCell<Octets>,
    state: Cell<CacheState>,
    existence_asked: Cell<bool>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(dns: &'a Dns, cache: &'a TxtCache<DmarcRecord>) -> Answers<'a> {
        Answers {
            dns,
            cache,
            fetched: Vec::new(),
            missing: RefCell::default(),
            name: RefCell::default(),
            state: Cell::default(),
            existence_asked: Cell::new(false),
        }
    }

    /// The names that were asked for and not known, each once.
    pub(crate) fn take_missing(&self) -> Vec<String> {
        self.missing.take()
    }

    /// What the lookups of `names` brought, in the same order.
    pub(crate) fn add(&mut self, names: Vec<String>, found: Vec<Answer<Arc<DmarcRecord>>>) {
        for (name, answer) in names.into_iter().zip(found) {
            self.note(&answer);
            self.fetched.push((name, txt(&answer.lookup)));
        }
    }

    /// How many names were fetched.
    pub(crate) fn known(&self) -> usize {
        self.fetched.len()
    }

    /// Where the answers came from.
    pub(crate) fn cache_state(&self) -> CacheState {
        self.state.get()
    }

    /// Whether the policy depends on the author's domain existing (`np=`).
    pub(crate) fn existence_asked(&self) -> bool {
        self.existence_asked.get()
    }

    fn answer(&self, name: &str) -> Txt {
        if let Some((_, txt)) = self.fetched.iter().find(|(fetched, _)| fetched == name) {
            return txt.clone();
        }
        if let Some(answer) = self.dns.cached_txt(self.cache, name) {
            self.note(&answer);
            return txt(&answer.lookup);
        }
        let mut missing = self.missing.borrow_mut();
        if !missing.iter().any(|known| known == name) {
            missing.push(name.to_owned());
        }
        no_record()
    }

    fn note<T>(&self, answer: &Answer<T>) {
        self.state.set(self.state.get().and(crate::cache_state(answer.source)));
    }
}

impl ResolverCache<Box<str>, Txt> for Answers<'_> {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut octets = self.name.borrow_mut();
        Some(octets.of_key(name).map_or_else(no_record, |name| self.answer(name)))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

impl ResolverCache<Box<str>, RecordSet<Ipv4Addr>> for Answers<'_> {
    /// Asked only for whether the author's domain exists. This cache cannot say no; who asked finds out afterwards.
    fn get<Q>(&self, _: &Q) -> Option<RecordSet<Ipv4Addr>>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.existence_asked.set(true);
        Some(RecordSet { rrset: Arc::from([]), dnssec_status: Default::default() })
    }

    fn remove<Q>(&self, _: &Q) -> Option<RecordSet<Ipv4Addr>>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: RecordSet<Ipv4Addr>, _: Instant) {}
}

/// mail-auth's evaluator. It insists on owning a resolver: this one has no servers, no hosts file, no cache and an
/// empty list of authorities (its default would read the system's, and fail where there is none).
///
/// # Errors
/// Ours, if the unused resolver cannot be built.
pub(crate) fn evaluator() -> Result<MessageAuthenticator, MessageAuthError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| MessageAuthError::Evaluator(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut builder = TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        .with_tls_config(tls);
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.options_mut().cache_size = 0;
    builder.build().map(MessageAuthenticator).map_err(|error| MessageAuthError::Evaluator(error.to_string()))
}

/// A temporary failure, as mail-auth says it.
pub(crate) fn no_network() -> DmarcResult {
    DmarcResult::TempError(Error::Dns(DnsError::Resolver(String::new())))
}

fn txt(lookup: &Lookup<Arc<DmarcRecord>>) -> Txt {
    match lookup {
        Lookup::Found(record) => match &**record {
            DmarcRecord::Record(dmarc) => Txt::Dmarc(Arc::clone(dmarc)),
            DmarcRecord::None => no_record(),
            DmarcRecord::Malformed => Txt::Error(Error::ParseError),
        },
        Lookup::NoData | Lookup::NxDomain => no_record(),
        Lookup::Failed(_) => Txt::Error(Error::Dns(DnsError::Resolver(String::new()))),
    }
}

/// The answer that lets a tree walk go on.
fn no_record() -> Txt {
    Txt::Error(Error::Dns(DnsError::InvalidRecordType))
}

/// A hasher that collects what is hashed.
#[derive(Default)]
struct Octets(Vec<u8>);

impl Octets {
    /// The text of a key that hashes like a `str`: its octets and one that no UTF-8 text contains.
    fn of_key<Q: Hash + ?Sized>(&mut self, key: &Q) -> Option<&str> {
        self.0.clear();
        key.hash(self);
        std::str::from_utf8(self.0.strip_suffix(&[0xff])?).ok()
    }
}

impl Hasher for Octets {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_off_their_hash() {
        let mut octets = Octets::default();
        for name in ["_dmarc.example.com.", "", "_dmarc.xn--bcher-kva.example."] {
            assert_eq!(octets.of_key::<str>(name), Some(name));
            let boxed: Box<str> = name.into();
            assert_eq!(octets.of_key(&boxed), Some(name));
        }
    }
}
