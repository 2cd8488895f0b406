//! What is made of several answers, kept for as long as all of them hold.

use std::hash::Hash;
use std::sync::Arc;

use futures_util::FutureExt;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use mx6_runtime::now_ms;

use crate::cache::CacheFill;
use crate::limits::ENTRY_OVERHEAD_OCTETS;

/// A cache of values of the caller's own making, shared by all shards; clones are the same cache.
pub struct DerivedCache<K, V>(Cache<K, Kept<V>>);

struct Kept<V> {
    value: Arc<V>,
    /// On the clock of `now_ms`.
    fresh_until_ms: u64,
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> DerivedCache<K, V> {
    /// An empty cache that takes at most `max_octets`; `heap_octets` says what key and value take besides their own size.
    #[must_use]
    pub fn new(max_octets: u64, heap_octets: fn(&K, &V) -> usize) -> DerivedCache<K, V> {
        let fixed = ENTRY_OVERHEAD_OCTETS + size_of::<K>() + size_of::<Kept<V>>() + size_of::<V>();
        let cache = Cache::builder()
            .max_capacity(max_octets)
            .weigher(move |key, kept: &Kept<V>| {
                u32::try_from(fixed + heap_octets(key, &kept.value)).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .build();
        DerivedCache(cache)
    }

    /// The value of `key`, if it still holds.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let kept = self.0.get(key).now_or_never().flatten()?;
        (kept.fresh_until_ms > now_ms()).then_some(kept.value)
    }

    /// Keeps `value` until `fresh_until_ms`: the least [`crate::Answer::fresh_until_ms`] of the answers it was made of.
    pub fn insert(&self, key: K, value: V, fresh_until_ms: u64) {
        if fresh_until_ms > now_ms() {
            // Should moka not take it at once, it is made anew.
            let _ = self.0.insert(key, Kept { value: Arc::new(value), fresh_until_ms }).now_or_never();
        }
    }

    /// What is in it; `name` is what it is called.
    #[must_use]
    pub fn fill(&self, name: &'static str) -> CacheFill {
        let octets_max = self.0.policy().max_capacity().unwrap_or_default();
        CacheFill { name, entries: self.0.entry_count(), octets: self.0.weighted_size(), octets_max }
    }
}

impl<K, V> Clone for DerivedCache<K, V> {
    fn clone(&self) -> DerivedCache<K, V> {
        DerivedCache(self.0.clone())
    }
}

impl<V> Clone for Kept<V> {
    fn clone(&self) -> Kept<V> {
        Kept { value: self.value.clone(), fresh_until_ms: self.fresh_until_ms }
    }
}
