//! What a recommendation is reckoned with. Each number says how it was measured, so that it can be measured again; what is assumed and
//! not measured says so.

use crate::limits;

/// Resident memory of the process without its shards: `VmRSS` of a gate that has served a few connections is 24.6 MB with one shard and 35.3 MB
/// with two (release build); the difference taken from the first, rounded up. On top of that the table of the limits at its default
/// size, which is taken at the start.
pub(super) const PROCESS_OCTETS: u64 = (16 + limits::LIMIT_TABLE_MIB_DEFAULT) << 20;
/// What a shard adds: that difference of 10.7 MB, and the 64 message buffers of 64 KiB that it keeps once it has needed them.
pub(super) const SHARD_OCTETS: u64 = 15 << 20;
/// An idle connection in user space: growth of `VmRSS` over 2,000 sessions after EHLO and MAIL, by 2,000: 4,260 octets on one shard, 5,343 over
/// two; rounded up.
pub(super) const CONNECTION_OCTETS: u64 = 6 << 10;
/// The same connection in the kernel: growth of the slabs of sockets, files and dentries over the same 2,000, both ends on the machine, halved:
/// 3,900 octets. Queued octets come on top, and are what the peer sends and we do not read.
pub(super) const KERNEL_CONNECTION_OCTETS: u64 = 4 << 10;

/// An entry of the PTR cache, as the cache counts it against `--cache-ptr` (`cargo bench -p mx6-benches --bench entry_octets`: 100,000
/// entries from a zone, counted octets and growth of `VmRSS`): 310, resident 368.
pub(super) const PTR_ENTRY_OCTETS: u64 = 310;
/// An entry of the caches of addresses; same command: 309, resident 414.
pub(super) const ADDRESS_ENTRY_OCTETS: u64 = 309;
/// A parsed SPF record with six mechanisms; same command: 751, resident 982.
pub(super) const SPF_ENTRY_OCTETS: u64 = 751;
/// A parsed RSA key of 2048 bits; same command: 2069, resident 1780.
pub(super) const DKIM_ENTRY_OCTETS: u64 = 2_069;
/// What a cache takes in resident memory by what it counts, percent: 119, 134, 131 and 86 in that order; the largest.
pub(super) const CACHE_RESIDENT_PERCENT: u64 = 134;

/// CPU time of a relayed and checked message of 4 KB (`benches/relay_cost.py`, the cheapest row of PERFORMANCE.md that relays: the more
/// messages a core takes, the more are in flight).
pub(super) const MESSAGE_CPU_US: u64 = 240;
/// The thread that writes decision records: 20.3 of 393 µs a message (schedstat of each thread, 5,000 messages of 4 KB relayed).
pub(super) const RECORD_CPU_PERCENT: u64 = 5;
/// CPU time of unbound for one answer from its memory: 12.1 to 16.4 µs (60,000 queries over loopback, its schedstat by their number).
pub(super) const RESOLVER_QUERY_CPU_US: u64 = 14;
/// Questions about a sender that was never seen: PTR, AAAA, SPF, DKIM key, DMARC.
pub(super) const QUERIES_OF_NEW_SENDER: u64 = 5;

/// Assumed: messages from senders that are in no cache.
pub(super) const NEW_SENDERS_PERCENT: u64 = 50;
/// Assumed: how long a message is in flight, from its first octet to our reply; a sender over the sea and a filter that thinks.
pub(super) const MESSAGE_IN_FLIGHT_MS: u64 = 500;
/// Assumed: distinct sending addresses that are worth remembering, for each core. Their domains are a quarter of that.
pub(super) const SENDERS_PER_CORE: u64 = 125_000;
/// Assumed: next hops behind one gate.
pub(super) const NEXT_HOPS: u64 = 2;
/// Assumed: what the rest of the system needs, at least; and an eighth of the memory where that is more.
pub(super) const SYSTEM_OCTETS: u64 = 256 << 20;
