//! Limits of this crate that no operator sets. Those that one does are in [`crate::DeliveryConfig`].

use std::time::Duration;

use mx6_runtime::BLOCKING_THREADS_MAX;

/// Memory of the ledger of a process, in octets.
pub const LEDGER_OCTETS_MAX: usize = 16 << 20;

/// How long the ledger remembers: as long as clients try again (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
pub const LEDGER_LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);

/// How long a connection to a next hop waits for a lookup of its name, if addresses are known from before.
pub const LOOKUP_PATIENCE: Duration = Duration::from_secs(1);

/// How long after a lookup that failed the addresses from before do without another.
pub const LOOKUP_RETRY: Duration = Duration::from_secs(30);

/// How much older than [`crate::DeliveryConfig::addresses_timeout`] addresses may be for connections not to wait for
/// the lookup.
pub const ADDRESSES_STALE: Duration = Duration::from_secs(60);

/// Lookups of names of next hops that are on a thread at once, all shards together: a quarter of those that may block.
pub const LOOKUPS_MAX: usize = BLOCKING_THREADS_MAX / 4;
