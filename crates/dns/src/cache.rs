//! The caches, shared by all shards.
//!
//! moka bounds them by octets and forgets what was used least recently. How long an entry holds is written in the entry and judged by
//! us: moka's own expiry takes an entry away, and with it the memory of how often a name has failed, and the answer that could stand
//! in while the resolver fails (RFC 8767).

use std::borrow::Borrow;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use mx6_runtime::now_ms;

use crate::config::CacheSizes;
use crate::counters::{Counters, ShardCounters};
use crate::limits::{ENTRY_OVERHEAD_OCTETS, STALE_TTL_S};
use crate::lookup::{Lookup, Mx, TxtValue};
use crate::values::Value;

/// What all shards know of PTR, A, AAAA and MX records; clones are the same caches.
#[derive(Clone)]
pub struct Caches(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) ptr: Store<IpAddr, Arc<[Box<str>]>>,
    pub(crate) a: Store<Box<str>, Arc<[Ipv4Addr]>>,
    pub(crate) aaaa: Store<Box<str>, Arc<[Ipv6Addr]>>,
    pub(crate) mx: Store<Box<str>, Arc<[Mx]>>,
    shards: Mutex<Vec<Arc<ShardCounters>>>,
}

impl Caches {
    /// Empty caches of the given sizes.
    #[must_use]
    pub fn new(sizes: &CacheSizes) -> Caches {
        Caches(Arc::new(Shared {
            ptr: Store::new(sizes.ptr_octets),
            a: Store::new(sizes.address_octets),
            aaaa: Store::new(sizes.address_octets),
            mx: Store::new(sizes.mx_octets),
            shards: Mutex::default(),
        }))
    }

    /// Counts over all shards that use these caches, TXT lookups included.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in self.0.shards.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            shard.add_to(&mut sum);
        }
        sum
    }

    /// What is in each of the four caches.
    #[must_use]
    pub fn fill(&self) -> [CacheFill; 4] {
        let shared = &self.0;
        [shared.ptr.fill("ptr"), shared.a.fill("a"), shared.aaaa.fill("aaaa"), shared.mx.fill("mx")]
    }

    /// Counters for one more shard.
    pub(crate) fn join(&self) -> Arc<ShardCounters> {
        let counters = Arc::new(ShardCounters::default());
        self.0.shards.lock().unwrap_or_else(PoisonError::into_inner).push(counters.clone());
        counters
    }
}

/// What all shards know of TXT records of one meaning, parsed; clones are the same cache.
pub struct TxtCache<T>(pub(crate) Store<Box<str>, Arc<T>>);

impl<T: TxtValue> TxtCache<T> {
    /// An empty cache that takes at most `max_octets`.
    #[must_use]
    pub fn new(max_octets: u64) -> TxtCache<T> {
        TxtCache(Store::new(max_octets))
    }

    /// What is in it; `name` is what it is called.
    #[must_use]
    pub fn fill(&self, name: &'static str) -> CacheFill {
        self.0.fill(name)
    }
}

impl<T> Clone for TxtCache<T> {
    fn clone(&self) -> TxtCache<T> {
        TxtCache(self.0.clone())
    }
}

/// One cache; clones are the same.
pub(crate) struct Store<K, T> {
    pub(crate) cache: Cache<K, Entry<T>>,
}

impl<K, T> Clone for Store<K, T> {
    fn clone(&self) -> Store<K, T> {
        Store { cache: self.cache.clone() }
    }
}

impl<K: Key, T: Value> Store<K, T> {
    fn new(max_octets: u64) -> Store<K, T> {
        let cache = Cache::builder()
            .max_capacity(max_octets)
            .weigher(|key: &K, entry: &Entry<T>| {
                let value = match &entry.lookup {
                    Lookup::Found(value) => value.octets(),
                    _ => 0,
                };
                let octets = ENTRY_OVERHEAD_OCTETS + key.octets() + size_of::<K>() + size_of::<Entry<T>>() + value;
                u32::try_from(octets).unwrap_or(u32::MAX)
            })
            // A newcomer always enters: a failure that must be remembered is not weighed against popular names.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Store { cache }
    }

    /// The entry, fresh or not: one hash lookup and a clone of an `Arc`.
    ///
    /// moka's lookup is a future only for its housekeeping, and that never waits for anything slow; should it not be done
    /// at once, the entry counts as unknown.
    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<Entry<T>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.get(key).now_or_never().flatten()
    }

    fn fill(&self, name: &'static str) -> CacheFill {
        let octets_max = self.cache.policy().max_capacity().unwrap_or_default();
        CacheFill { name, entries: self.cache.entry_count(), octets: self.cache.weighted_size(), octets_max }
    }
}

/// What is in a cache, as far as moka has counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFill {
    /// What it is called.
    pub name: &'static str,
    /// Entries.
    pub entries: u64,
    /// Octets that they take.
    pub octets: u64,
    /// Octets that they may take.
    pub octets_max: u64,
}

/// What a cache keeps of a name.
#[derive(Debug, Clone)]
pub(crate) struct Entry<T> {
    pub(crate) lookup: Lookup<T>,
    /// Used without asking until then, on the clock of `now_ms`.
    pub(crate) fresh_until_ms: u64,
    /// When its TTL ends: earlier than [`Entry::fresh_until_ms`] only in an answer that is used because the resolver fails.
    pub(crate) expires_ms: u64,
    /// How many failures in a row this one is the last of; 0 if it is none.
    pub(crate) failures: u8,
}

impl<T> Entry<T> {
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh_until_ms > now_ms()
    }

    /// Whether its TTL has ended, while it is used.
    pub(crate) fn is_stale(&self) -> bool {
        self.expires_ms < self.fresh_until_ms
    }

    /// The same, to be used for a while because the resolver fails: records only, and no longer than `limit_ms` after their TTL
    /// (RFC 8767 §4). What is known not to exist, and failures, are never used for longer than they hold.
    pub(crate) fn stale(self, limit_ms: u64) -> Option<Entry<T>> {
        let (now_ms, end_ms) = (now_ms(), self.expires_ms.saturating_add(limit_ms));
        let is_usable = matches!(self.lookup, Lookup::Found(_)) && end_ms > now_ms;
        is_usable.then(|| Entry { fresh_until_ms: (now_ms + u64::from(STALE_TTL_S) * 1000).min(end_ms), ..self })
    }

    /// Seconds left, rounded up, so that a fresh entry never shows 0.
    pub(crate) fn ttl_s(&self) -> u32 {
        u32::try_from(self.fresh_until_ms.saturating_sub(now_ms()).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

/// What a cache is keyed by.
pub(crate) trait Key: Hash + Eq + Clone + Send + Sync + 'static {
    /// Octets on the heap.
    fn octets(&self) -> usize;
}

impl Key for IpAddr {
    fn octets(&self) -> usize {
        0
    }
}

impl Key for Box<str> {
    fn octets(&self) -> usize {
        self.len()
    }
}
