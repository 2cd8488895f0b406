//! Lookups of one shard.

use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use hickory_proto::rr::{Name, RecordType};
use mx6_runtime::{Deadline, Share, deadline, now_ms, spawn};

use crate::cache::{Caches, Entry, Key, Store, TxtCache};
use crate::config::{DnsConfig, DnsError, TtlLimits};
use crate::counters::{ShardCounters, count};
use crate::limits::{FAILURE_STREAK_MS, FAILURE_TTL_FIRST_S, FAILURE_TTL_MAX_S, IN_FLIGHT_MAX, STALE_AFTER};
use crate::lookup::{Answer, Failure, Lookup, Mx, Source, TxtValue};
use crate::name::{self, SCRATCH};
use crate::oneshot::oneshot;
use crate::upstream::{Told, Upstream};
use crate::values::Value;
use crate::zone::Zone;

/// The door to DNS for one shard. Clones are the same; it stays on the shard it was made on.
#[derive(Clone)]
pub struct Dns {
    shard: Rc<Shard>,
    /// For lookups under way.
    places: Share,
}

struct Shard {
    caches: Caches,
    backend: Backend,
    ttl: TtlLimits,
    /// How long after their TTL answers may stand in.
    stale_ms: u64,
    counters: Arc<ShardCounters>,
}

enum Backend {
    Zone(Zone),
    Network(Upstream),
}

impl Dns {
    /// A resolver for the shard that calls, over caches that all shards share.
    ///
    /// # Errors
    /// [`DnsError`] when the configuration has neither a server nor a zone.
    pub fn new(config: &DnsConfig, caches: Caches) -> Result<Dns, DnsError> {
        config.check()?;
        let counters = caches.join();
        let backend = match &config.zone {
            Some(zone) => Backend::Zone(zone.clone()),
            None => Backend::Network(Upstream::new(config, counters.clone())),
        };
        let stale_ms = u64::try_from(config.stale.as_millis()).unwrap_or(u64::MAX);
        let shard = Rc::new(Shard { caches, backend, ttl: config.ttl, stale_ms, counters });
        Ok(Dns { shard, places: Share::new(IN_FLIGHT_MAX) })
    }

    /// The places for lookups under way: for making parts of them.
    #[must_use]
    pub fn places(&self) -> &Share {
        &self.places
    }

    /// The same door for those who have a part of the places; a lookup that finds none fails ([`Failure::Overload`]).
    #[must_use]
    pub fn within(&self, places: Share) -> Dns {
        Dns { shard: Rc::clone(&self.shard), places }
    }

    /// The names an address points to (RFC 1035 §3.3.12), at most 64. An IPv4-mapped IPv6 address is asked for as IPv4.
    pub async fn ptr(&self, address: IpAddr, d: Deadline) -> Answer<Arc<[Box<str>]>> {
        let address = address.to_canonical();
        if let Some(answer) = self.cached_ptr(address) {
            return answer;
        }
        self.wait(&self.shard.caches.0.ptr, address, name::reverse(address), d).await
    }

    /// The IPv4 addresses of a name (RFC 1035 §3.4.1).
    pub async fn a(&self, name: &str, d: Deadline) -> Answer<Arc<[Ipv4Addr]>> {
        self.named(&self.shard.caches.0.a, name, d).await
    }

    /// The IPv6 addresses of a name (RFC 3596 §2.1).
    pub async fn aaaa(&self, name: &str, d: Deadline) -> Answer<Arc<[Ipv6Addr]>> {
        self.named(&self.shard.caches.0.aaaa, name, d).await
    }

    /// The mail exchangers of a name (RFC 1035 §3.3.9), in no order.
    pub async fn mx(&self, name: &str, d: Deadline) -> Answer<Arc<[Mx]>> {
        self.named(&self.shard.caches.0.mx, name, d).await
    }

    /// The TXT records of a name (RFC 1035 §3.3.14), as `cache` reads them.
    pub async fn txt<T: TxtValue>(&self, cache: &TxtCache<T>, name: &str, d: Deadline) -> Answer<Arc<T>> {
        self.named(&cache.0, name, d).await
    }

    /// [`Dns::ptr`] if it need not wait: from a fresh cache entry or from the zone.
    #[must_use]
    pub fn cached_ptr(&self, address: IpAddr) -> Option<Answer<Arc<[Box<str>]>>> {
        let address = address.to_canonical();
        self.known(&self.shard.caches.0.ptr, &address, || address, || Some(name::reverse(address)))
    }

    /// [`Dns::a`] if it need not wait.
    #[must_use]
    pub fn cached_a(&self, name: &str) -> Option<Answer<Arc<[Ipv4Addr]>>> {
        self.known_name(&self.shard.caches.0.a, name)
    }

    /// [`Dns::aaaa`] if it need not wait.
    #[must_use]
    pub fn cached_aaaa(&self, name: &str) -> Option<Answer<Arc<[Ipv6Addr]>>> {
        self.known_name(&self.shard.caches.0.aaaa, name)
    }

    /// [`Dns::mx`] if it need not wait.
    #[must_use]
    pub fn cached_mx(&self, name: &str) -> Option<Answer<Arc<[Mx]>>> {
        self.known_name(&self.shard.caches.0.mx, name)
    }

    /// [`Dns::txt`] if it need not wait.
    #[must_use]
    pub fn cached_txt<T: TxtValue>(&self, cache: &TxtCache<T>, name: &str) -> Option<Answer<Arc<T>>> {
        self.known_name(&cache.0, name)
    }

    /// Whether a name is answered for at this moment: its A records are asked for past the caches, and past the limit of lookups under way.
    /// Takes as long as the resolvers' attempts.
    pub async fn probe(&self, name: &str) -> Lookup<()> {
        let mut scratch = SCRATCH;
        let Some(wire) = name::key(name, &mut scratch).and_then(name::wire) else { return Lookup::NxDomain };
        let told = match &self.shard.backend {
            Backend::Network(upstream) => upstream.ask(wire, RecordType::A, |_| Ok(())).await,
            Backend::Zone(zone) => zone.ask(&wire, RecordType::A, |_| Ok(())),
        };
        match told {
            Ok(Told::Found { .. }) => Lookup::Found(()),
            Ok(Told::NoData { .. }) => Lookup::NoData,
            Ok(Told::NxDomain { .. }) => Lookup::NxDomain,
            Err(failure) => Lookup::Failed(failure),
        }
    }

    /// The caches that this shard shares with the others.
    #[must_use]
    pub fn caches(&self) -> &Caches {
        &self.shard.caches
    }

    async fn named<T: Value>(&self, store: &Store<Box<str>, T>, name: &str, d: Deadline) -> Answer<T> {
        if let Some(answer) = self.known_name(store, name) {
            return answer;
        }
        let mut scratch = SCRATCH;
        let Some(key) = name::key(name, &mut scratch) else { return impossible() };
        let Some(wire) = name::wire(key) else { return impossible() };
        let key = Box::from(key);
        self.wait(store, key, wire, d).await
    }

    fn known_name<T: Value>(&self, store: &Store<Box<str>, T>, name: &str) -> Option<Answer<T>> {
        let mut scratch = SCRATCH;
        match name::key(name, &mut scratch) {
            Some(key) => self.known(store, key, || Box::from(key), || name::wire(key)),
            None => Some(impossible()),
        }
    }

    /// What is known without waiting. On a hit this is all that a lookup costs.
    fn known<K, Q, T>(
        &self,
        store: &Store<K, T>,
        key: &Q,
        owned: impl FnOnce() -> K,
        wire: impl FnOnce() -> Option<Name>,
    ) -> Option<Answer<T>>
    where
        K: Key + Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        T: Value,
    {
        let source = match self.shard.backend {
            Backend::Zone(_) => Source::Zone,
            Backend::Network(_) => Source::Cache,
        };
        if let Some(entry) = store.peek(key).filter(Entry::is_fresh) {
            count(&self.shard.counters.hits);
            if entry.lookup.is_negative() {
                count(&self.shard.counters.negative_hits);
            }
            return Some(self.shard.answer(entry, source));
        }
        let Backend::Zone(zone) = &self.shard.backend else { return None };
        count(&self.shard.counters.zone_answers);
        let told = zone.ask(&wire()?, T::TYPE, T::read);
        let entry = Entry { fresh_until_ms: u64::MAX, expires_ms: u64::MAX, ..self.shard.entry(told, T::TYPE, 0) };
        // Should moka not take it at once, the next lookup reads the zone again.
        let _ = store.cache.insert(owned(), entry.clone()).now_or_never();
        Some(self.shard.answer(entry, source))
    }

    /// Has a task of the shard find out, and waits for it until `d`; less long if there is something to fall back on.
    async fn wait<K: Key, T: Value>(&self, store: &Store<K, T>, key: K, wire: Name, d: Deadline) -> Answer<T> {
        let shard = &self.shard;
        count(&shard.counters.misses);
        let stale = store.peek(&key).and_then(|old| old.stale(shard.stale_ms));
        let begun = if d.has_passed() {
            Err((&shard.counters.gave_up, Failure::Timeout))
        } else {
            self.places.take(1).ok_or((&shard.counters.overload, Failure::Overload))
        };
        let place = match begun {
            Ok(place) => place,
            Err((counter, failure)) => {
                count(counter);
                return stale.map_or_else(|| failed(failure), |entry| shard.answer(entry, Source::Stale));
            }
        };
        let d = if stale.is_some() { d.earlier(Deadline::after(STALE_AFTER)) } else { d };
        let (sender, receiver) = oneshot();
        let (asker, store) = (Rc::clone(shard), store.clone());
        spawn("dns lookup", async move {
            let entry = asker.fill(&store, key, wire).await;
            drop(place);
            sender.send(entry);
        });
        match deadline(d, receiver).await {
            Some(Some(entry)) => shard.answer(entry, Source::Network),
            Some(None) => failed(Failure::Internal),
            None => match stale {
                Some(entry) => shard.answer(entry, Source::Stale),
                None => {
                    count(&shard.counters.gave_up);
                    failed(Failure::Timeout)
                }
            },
        }
    }
}

impl Shard {
    /// Brings the entry of `key` up to date: by asking, or by waiting for whoever asks already, on any shard.
    async fn fill<K: Key, T: Value>(&self, store: &Store<K, T>, key: K, wire: Name) -> Entry<T> {
        let old = store.cache.get(&key).await;
        let failures = match &old {
            Some(old) if old.fresh_until_ms.saturating_add(FAILURE_STREAK_MS) > now_ms() => old.failures,
            _ => 0,
        };
        let asked = Cell::new(false);
        let ask = async {
            asked.set(true);
            let told = match &self.backend {
                Backend::Network(upstream) => upstream.ask(wire, T::TYPE, T::read).await,
                Backend::Zone(zone) => zone.ask(&wire, T::TYPE, T::read),
            };
            let entry = self.entry(told, T::TYPE, failures);
            match old.filter(|_| entry.lookup.is_unanswered()).and_then(|old| old.stale(self.stale_ms)) {
                Some(stale) => Entry { failures: entry.failures, ..stale },
                None => entry,
            }
        };
        let entry = store.cache.entry(key).or_insert_with_if(ask, |old| !old.is_fresh()).await.into_value();
        if !asked.get() {
            count(&self.counters.merged);
        }
        entry
    }

    /// The cache's entry for what was told: how long it holds is decided here.
    fn entry<T>(&self, told: Result<Told<T>, Failure>, record_type: RecordType, failures: u8) -> Entry<T> {
        let limits = &self.ttl;
        let negative = |ttl_s: Option<u32>| {
            let ceiling_s = match record_type {
                RecordType::PTR => limits.negative_ptr_ceiling_s.min(limits.negative_ceiling_s),
                _ => limits.negative_ceiling_s,
            };
            ttl_s.unwrap_or(limits.negative_without_soa_s).max(limits.floor_s).min(ceiling_s)
        };
        let (lookup, ttl_s, failures) = match told {
            Ok(Told::Found { value, ttl_s }) => {
                (Lookup::Found(value), ttl_s.max(limits.floor_s).min(limits.ceiling_s), 0)
            }
            Ok(Told::NoData { ttl_s }) => (Lookup::NoData, negative(ttl_s), 0),
            Ok(Told::NxDomain { ttl_s }) => (Lookup::NxDomain, negative(ttl_s), 0),
            Err(failure) => {
                count(&self.counters.failures);
                if failure == Failure::Timeout {
                    count(&self.counters.timeouts);
                }
                (Lookup::Failed(failure), failure_ttl(failures), failures.saturating_add(1))
            }
        };
        let expires_ms = now_ms().saturating_add(u64::from(ttl_s) * 1000);
        Entry { lookup, fresh_until_ms: expires_ms, expires_ms, failures }
    }

    /// The answer of an entry that came from `source`.
    fn answer<T>(&self, entry: Entry<T>, source: Source) -> Answer<T> {
        let source = if entry.is_stale() { Source::Stale } else { source };
        if source == Source::Stale {
            count(&self.counters.stale);
        }
        Answer { ttl_s: entry.ttl_s(), fresh_until_ms: entry.fresh_until_ms, lookup: entry.lookup, source }
    }
}

/// 1, 2, 4 … seconds after 0, 1, 2 … failures in a row (RFC 9520 §3.2: at least 1 s, and back off).
fn failure_ttl(failures: u8) -> u32 {
    FAILURE_TTL_FIRST_S.checked_shl(u32::from(failures)).unwrap_or(FAILURE_TTL_MAX_S).min(FAILURE_TTL_MAX_S)
}

/// A name that breaks the rules of RFC 1035 §2.3.4 exists nowhere, for ever.
fn impossible<T>() -> Answer<T> {
    Answer { lookup: Lookup::NxDomain, source: Source::Cache, ttl_s: u32::MAX, fresh_until_ms: u64::MAX }
}

fn failed<T>(failure: Failure) -> Answer<T> {
    Answer { lookup: Lookup::Failed(failure), source: Source::Network, ttl_s: 0, fresh_until_ms: 0 }
}

#[cfg(test)]
mod tests {
    use super::failure_ttl;

    #[test]
    fn failures_back_off() {
        let ttls: Vec<u32> = [0, 1, 2, 3, 4, 5, 6, 31, 32, 255].into_iter().map(failure_ttl).collect();
        assert_eq!(ttls, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
    }
}
