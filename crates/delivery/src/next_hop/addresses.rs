//! The addresses of a next hop that was given by name.
//!
//! They are believed for [`DeliveryConfig::addresses_timeout`](crate::DeliveryConfig::addresses_timeout), or until the
//! host fails. Then the first who needs them begins a lookup, which all others share. Addresses that are known from
//! before are good until there are better ones: who has them waits for [`LOOKUP_PATIENCE`] at most, and not at all
//! while they are not much older than they should be. A lookup that fails or takes long is the resolver's fault and not
//! the host's. While nothing was ever found, everybody waits as long as they can.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use mx6_runtime::{Answered, Deadline, deadline, now_ms};

use super::health::millis;
use super::lookup::{self, Found, Lookup};
use super::opening::Endpoint;
use crate::{ADDRESSES_STALE, LOOKUP_PATIENCE, LOOKUP_RETRY};

/// What a shard knows of a name.
#[derive(Debug)]
pub(super) struct Addresses {
    name: Arc<str>,
    port: u16,
    lookup: Lookup,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was found last; empty while nothing ever was.
    known: Arc<[Endpoint]>,
    /// None while nothing is known, and since the host failed.
    believed_until_ms: Option<u64>,
    /// After a lookup that failed: there is none before.
    retry_at_ms: u64,
    under_way: Option<UnderWay>,
}

/// A lookup that was begun, and that nobody has seen the end of.
#[derive(Debug, Clone)]
struct UnderWay {
    found: Shared<Answered<Found>>,
    begun_ms: u64,
}

impl Addresses {
    pub(super) fn new(name: &str, port: u16, lookup: Lookup) -> Addresses {
        Addresses { name: name.into(), port, lookup, state: RefCell::default() }
    }

    /// The addresses, as many as are tried. Empty when none is known by `until`.
    pub(super) async fn get(&self, timeout: Duration, until: Deadline) -> Arc<[Endpoint]> {
        self.learn(timeout);
        if let Some((lookup, patience)) = self.to_wait_for(until) {
            // Whoever wakes first learns it for all.
            let _ = deadline(patience, lookup).await;
            self.learn(timeout);
        }
        self.state.borrow().known.clone()
    }

    /// The host failed: it may be somewhere else now.
    pub(super) fn doubt(&self) {
        self.state.borrow_mut().believed_until_ms = None;
    }

    /// Takes over what the lookup under way has found, if it has ended.
    fn learn(&self, timeout: Duration) {
        let mut state = self.state.borrow_mut();
        let Some(lookup) = &state.under_way else { return };
        let Some(found) = lookup.found.clone().now_or_never() else { return };
        state.under_way = None;
        match found {
            Some(found) if !found.addresses.is_empty() => {
                state.known = found.addresses;
                state.believed_until_ms = Some(found.at_ms.saturating_add(millis(timeout)));
                state.retry_at_ms = 0;
            }
            failed => {
                let at_ms = failed.map_or_else(now_ms, |failed| failed.at_ms);
                state.retry_at_ms = at_ms.saturating_add(millis(LOOKUP_RETRY));
            }
        }
    }

    /// The lookup under way, or a new one, and how long to wait for it. None when what is known will do; a lookup that
    /// was due goes on.
    fn to_wait_for(&self, until: Deadline) -> Option<(Shared<Answered<Found>>, Deadline)> {
        let mut state = self.state.borrow_mut();
        let now_ms = now_ms();
        let is_known = !state.known.is_empty();
        if is_known && state.good_until_ms() > now_ms {
            return None;
        }
        let UnderWay { found, begun_ms } = state
            .under_way
            .get_or_insert_with(|| UnderWay {
                found: lookup::begin(self.lookup, self.name.clone(), self.port).shared(),
                begun_ms: now_ms,
            })
            .clone();
        if !is_known {
            return Some((found, until));
        }
        let is_doubted = state.believed_until_ms.is_none();
        if !is_doubted && now_ms < state.good_until_ms().saturating_add(millis(ADDRESSES_STALE)) {
            return None;
        }
        // Half of the time is for the connection.
        let half = Deadline::after(until.remaining() / 2);
        Some((found, Deadline::at(begun_ms.saturating_add(millis(LOOKUP_PATIENCE))).earlier(half)))
    }
}

impl State {
    /// Until then there is no lookup, if something is known.
    fn good_until_ms(&self) -> u64 {
        self.retry_at_ms.max(self.believed_until_ms.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
