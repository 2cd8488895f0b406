//! Limits of this crate that no operator sets. Those that one does are in [`crate::DeliveryConfig`].

use std::time::Duration;

/// Memory of the ledger of a process, in octets.
pub const LEDGER_OCTETS_MAX: usize = 16 << 20;

/// How long the ledger remembers: as long as clients try again (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
pub const LEDGER_LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);
