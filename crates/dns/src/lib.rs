//! DNS for a mail gate: what a name holds, asked once by however many sessions on however many shards.
//!
//! What it is: lookups of PTR, A, AAAA, MX and TXT by hickory on the shard's own executor ([`Dns`]), caches shared by all
//! shards and bounded by octets ([`Caches`], [`TxtCache`], [`DerivedCache`]), and a zone file that stands in for the network ([`Zone`]).
//!
//! What it trusts: the configured resolvers, for what they say; not for how much of it (records, octets and chains are capped),
//! and not that they answer.
//!
//! Rules that hold for every lookup:
//! - The caller gets an [`Answer`]: never an error type of a library, and a temporary failure is never mistaken for
//!   absence ([`Lookup::Failed`] against [`Lookup::NoData`] and [`Lookup::NxDomain`]).
//! - A query belongs to the shard, not to the caller: a caller that leaves, or whose deadline passes, cancels nothing, and the answer
//!   still enters the cache.
//! - One name of one type is asked once at a time by the whole process.
//! - A name is text split at dots; labels are taken as they are (no escapes), letters in any case, one final dot allowed. A
//!   name that cannot exist (an empty label, a label above 63 octets, more than 253 in all) is `NxDomain` without a query.
//! - Times to live: RFC 2181 §8, RFC 2308 (negative answers by the SOA), RFC 9520 (failures), within [`TtlLimits`].
//! - Records whose TTL has ended are still used, within a limit, while the resolver fails (RFC 8767); absence never is, and an answer
//!   that says so replaces them at once.
//!
//! Names given back are lower case without the final dot; octets other than letters, digits, `-`, `_`, `/` and `*` are
//! written `\DDD` (RFC 1035 §5.1), so that nothing in them can be taken for a separator.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod cache;
mod config;
mod counters;
mod derived;
mod limits;
mod lookup;
mod name;
mod oneshot;
mod resolver;
mod response;
mod upstream;
mod values;
mod zone;
mod zone_file;
mod zone_lex;
mod zone_rdata;

pub use cache::{CacheFill, Caches, TxtCache};
pub use config::{CacheSizes, DnsConfig, DnsError, TtlLimits};
pub use counters::Counters;
pub use derived::DerivedCache;
pub use lookup::{Answer, Failure, Lookup, Mx, Source, TxtValue};
pub use mx6_runtime::{Deadline, Share};
pub use resolver::Dns;
pub use zone::Zone;
