//! Every limit of this room that is not configured.

use std::time::Duration;

/// Aliases followed for one lookup, over all responses (RFC 1034 §3.6.2 warns of loops; resolvers allow 8 to 16).
pub(crate) const CNAME_CHAIN_MAX: usize = 8;

/// Records kept of one answer. More than that, and the answer is a failure rather than a part of the truth; see
/// [`PTR_NAMES_MAX`] for the exception.
pub(crate) const RECORDS_MAX: usize = 512;

/// Names kept of one PTR answer; the rest is left out. No rule looks at more than ten.
pub(crate) const PTR_NAMES_MAX: usize = 64;

/// Octets of record data kept of one answer.
pub(crate) const ANSWER_OCTETS_MAX: usize = 64 << 10;

/// Lookups of one shard under way at once; a further one fails at once and is not cached.
pub(crate) const IN_FLIGHT_MAX: u64 = 10_000;

/// Servers taken from one configuration.
pub(crate) const SERVERS_MAX: usize = 8;

/// The size of UDP answer we can take (RFC 9715, DNS flag day 2020).
pub(crate) const EDNS_UDP_OCTETS: u16 = 1232;

/// A datagram without an answer is sent a second time after this, within the timeout of the query.
pub(crate) const RETRANSMIT_AFTER_MS: u64 = 700;

/// Datagrams a query may take, the first included.
pub(crate) const DATAGRAMS_PER_QUERY: u8 = 2;

/// All attempts at all servers for one lookup together take no longer.
pub(crate) const LOOKUP_TIME_MAX: Duration = Duration::from_secs(15);

/// A server that did not answer is asked last for this long.
pub(crate) const SERVER_REST_MS: u64 = 10_000;

/// The first failure of a name is remembered this long, each further one twice as long (RFC 9520 §3.2).
pub(crate) const FAILURE_TTL_FIRST_S: u32 = 1;

/// And never longer than this.
pub(crate) const FAILURE_TTL_MAX_S: u32 = 30;

/// An answer whose TTL has ended counts as fresh for this long when it is used because the resolver fails (RFC 8767 §4: 30 s), and its
/// name is not asked for again before: no less than [`FAILURE_TTL_MAX_S`].
pub(crate) const STALE_TTL_S: u32 = 30;

/// A resolver that takes longer is not waited for when there is a stale answer (RFC 8767 §5, client response timer).
pub(crate) const STALE_AFTER: Duration = Duration::from_millis(1_800);

/// A failure that comes this long after the last one was forgotten counts as the first.
pub(crate) const FAILURE_STREAK_MS: u64 = 300_000;

/// An entry's share of moka's own tables, measured roughly.
pub(crate) const ENTRY_OVERHEAD_OCTETS: usize = 200;
