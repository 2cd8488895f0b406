//! What the clients of one neighbourhood may take of a shard: of its lookups under way, and of its memory for messages.
//!
//! Whoever has one address, or one network, is not to use up what is there for all. An IPv4 address or a /64 gets a quarter, a /48 a half,
//! whatever the number of its sessions; what it wants beyond is deferred, for it alone. Connectors have no part of their own.
//!
//! A part is remembered as long as there is a session, a lookup or a message of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use mx6_policy::Client;
use mx6_runtime::{Share, WeakShare};

use crate::limits::{SHARE_LOOKUPS_MIN, SHARE_MEMORY_OCTETS_MIN};

/// The parts of a shard's lookups and memory.
pub(crate) struct Shares {
    all: Parts,
    lookups: Known,
    memory: Known,
}

/// What a client may take of.
pub(crate) struct Parts {
    /// Places for lookups under way.
    pub(crate) lookups: Share,
    /// Octets of message memory.
    pub(crate) memory: Share,
}

/// The parts of one thing by neighbourhood.
#[derive(Default)]
struct Known {
    parts: RefCell<HashMap<IpAddr, WeakShare>>,
    /// When there are so many, those that nobody has any more are forgotten.
    swept_at: Cell<usize>,
}

impl Shares {
    pub(crate) fn new(lookups: Share, memory: Share) -> Shares {
        Shares { all: Parts { lookups, memory }, lookups: Known::default(), memory: Known::default() }
    }

    /// What this client may take of.
    pub(crate) fn of(&self, client: &Client) -> Parts {
        let Parts { lookups, memory } = &self.all;
        if client.is_connector() {
            return Parts { lookups: lookups.clone(), memory: memory.clone() };
        }
        let address = client.address();
        Parts {
            lookups: self.lookups.part(lookups, address, SHARE_LOOKUPS_MIN),
            memory: self.memory.part(memory, address, SHARE_MEMORY_OCTETS_MIN),
        }
    }
}

impl Known {
    /// A quarter for the /64 in a half for the /48, or a quarter for the IPv4 address; never less than `least`.
    fn part(&self, all: &Share, address: IpAddr, least: u64) -> Share {
        let (quarter, half) = ((all.size() / 4).max(least), (all.size() / 2).max(2 * least));
        match address {
            IpAddr::V4(_) => self.named(address, quarter, all),
            IpAddr::V6(address) => {
                // The two names cannot be confused: this one ends in 48.
                let site = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80) | 48);
                let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
                let site = self.named(site.into(), half, all);
                self.named(network.into(), quarter, &site)
            }
        }
    }

    fn named(&self, name: IpAddr, size: u64, whole: &Share) -> Share {
        let mut parts = self.parts.borrow_mut();
        if let Some(part) = parts.get(&name).and_then(WeakShare::upgrade) {
            return part;
        }
        if parts.len() >= self.swept_at.get() {
            parts.retain(|_, part| part.upgrade().is_some());
            self.swept_at.set(2 * parts.len() + SWEPT_AT_MIN);
        }
        let part = whole.part(size);
        parts.insert(name, part.downgrade());
        part
    }
}

const SWEPT_AT_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::new(address.parse().unwrap(), &["2001:db8:ffff::/48".parse().unwrap()])
    }

    fn shares() -> Shares {
        Shares::new(Share::new(400), Share::new(40 * SHARE_MEMORY_OCTETS_MIN))
    }

    #[test]
    fn a_neighbourhood_leaves_something_for_the_others() {
        let shares = shares();
        let room = |address| {
            let Parts { lookups, memory } = shares.of(&client(address));
            let lookups = (0..=400).rev().find_map(|count| lookups.take(count)).unwrap();
            let memory = (0..=40).rev().find_map(|count| memory.take(count * SHARE_MEMORY_OCTETS_MIN)).unwrap();
            (lookups, memory)
        };
        let mut held = Vec::new();
        // What each can take in turn while those before it have theirs.
        for (address, lookups, memory) in [
            ("2001:db8:1:1::1", 100, 10),
            ("2001:db8:1:1::2", 0, 0),
            ("2001:db8:1:2::1", 100, 10),
            ("2001:db8:1:3::1", 0, 0),
            ("192.0.2.1", 100, 10),
            ("::ffff:192.0.2.1", 0, 0),
            ("2001:db8:ffff::1", 100, 10),
            ("192.0.2.2", 0, 0),
        ] {
            let taken = room(address);
            assert_eq!((taken.0.amount(), taken.1.amount() / SHARE_MEMORY_OCTETS_MIN), (lookups, memory), "{address}");
            held.push(taken);
        }
        held.clear();
        assert_eq!(room("2001:db8:1:3::1").0.amount(), 100, "all of it comes back");
    }

    #[test]
    fn who_has_left_is_remembered_by_what_is_still_held_and_then_forgotten() {
        let shares = shares();
        let lookup = shares.of(&client("192.0.2.1")).lookups.take(100).unwrap();
        assert!(shares.of(&client("192.0.2.1")).lookups.take(1).is_none());
        for number in 0..100_000_u32 {
            let _ = shares.of(&Client::new(Ipv6Addr::from_bits(u128::from(number) << 64).into(), &[]));
        }
        assert!(shares.lookups.parts.borrow().len() <= 2 * SWEPT_AT_MIN + 2);
        assert!(shares.of(&client("192.0.2.1")).lookups.take(1).is_none());
        drop(lookup);
        assert!(shares.of(&client("192.0.2.1")).lookups.take(1).is_some());
    }

    #[test]
    fn a_small_budget_still_takes_messages() {
        let shares = Shares::new(Share::new(10), Share::new(256 << 10));
        let parts = shares.of(&client("192.0.2.1"));
        assert!(parts.lookups.take(10).is_some() && parts.memory.take(256 << 10).is_some());
    }
}
