//! Every limit of a shard and of the process, in one place. Those marked *shard* hold for each core by itself.

use std::time::Duration;

use crate::load::{Hysteresis, Thresholds};

/// Message size offered by default: 35 MiB.
pub const SIZE_LIMIT_OCTETS_DEFAULT: u64 = 35 << 20;
/// RFC 5321 §4.5.3.1.7: a server must take 64 KiB.
pub const SIZE_LIMIT_OCTETS_MIN: u64 = 64 << 10;
/// Beyond a gibibyte is a slip of the keyboard.
pub const SIZE_LIMIT_OCTETS_MAX: u64 = 1 << 30;
/// *Shard*: memory for messages in flight.
pub const MEMORY_MIB_DEFAULT: u64 = 256;
/// Of that one IPv4 address or one /64 gets a quarter, but never less than this.
pub const SHARE_MEMORY_OCTETS_MIN: u64 = 8 << 20;
/// The same of the lookups under way.
pub const SHARE_LOOKUPS_MIN: u64 = 100;
/// The step by which the reservation of a message grows.
pub const MEMORY_RESERVATION_STEP_OCTETS: u64 = 64 << 10;

/// PTR, A, AAAA and MX answers, all shards together.
pub const CACHE_PTR_MIB_DEFAULT: u64 = 64;
/// Parsed SPF records, all shards together.
pub const CACHE_SPF_MIB_DEFAULT: u64 = 32;
/// Parsed DKIM keys and DMARC records, all shards together.
pub const CACHE_DKIM_MIB_DEFAULT: u64 = 32;
/// One tebibyte in MiB: bounds every size given in MiB.
pub const MEBIBYTES_MAX: u64 = 1 << 20;

/// One query to one resolver: shorter would fail over the sea.
pub const DNS_TIMEOUT_MS_MIN: u64 = 50;
/// Longer than the deadline of a PTR lookup makes no sense.
pub const DNS_TIMEOUT_MS_MAX: u64 = 10_000;

/// Records stand in for a failing resolver this long after their TTL: a day.
pub const DNS_STALE_S_DEFAULT: u64 = 86_400;
/// RFC 8767 §5: at most three days.
pub const DNS_STALE_S_MAX: u64 = 3 * 86_400;

/// Names that the DNS breaker may watch.
pub const DNS_PROBES_MAX: usize = 8;
/// Between two rounds of its probes.
pub const DNS_PROBE_PAUSE: Duration = Duration::from_secs(2);
/// Rounds in a row without any answer until the breaker opens. A round ends when the resolvers have had all their attempts (4 s for one
/// silent resolver with the default timeout).
pub const DNS_PROBE_ROUNDS_TO_OPEN: u32 = 3;
/// Rounds in a row with an answer until it closes.
pub const DNS_PROBE_ROUNDS_TO_CLOSE: u32 = 3;

/// *Shard*: connections being served; more wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections the kernel holds for a listener before they are accepted.
pub const BACKLOG: u32 = 4_096;
/// After an accept that failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Read buffer between messages: holds the longest command line.
pub const COMMAND_BUFFER_OCTETS: usize = 2_048;
/// Read buffer while a message arrives.
pub const MESSAGE_BUFFER_OCTETS: usize = 64 << 10;
/// *Shard*: read buffers of each of the two sizes that are kept for the next use.
pub const BUFFERS_KEPT: usize = 64;
/// Octets of a body that are canonicalized before the session waits for the shard's batch.
pub const HASH_PORTION_OCTETS: usize = 32 << 10;
/// Messages whose DKIM work is done together. Others on the shard wait meanwhile: 64 bodies of a portion each take about a millisecond.
pub const DKIM_BATCH_DEFAULT: usize = 64;
/// Beyond that a batch only makes others wait.
pub const DKIM_BATCH_MAX: u64 = 1_024;
/// Mail is not held back for longer than that to fill a batch.
pub const DKIM_BATCH_WAIT_US_MAX: u64 = 20_000;
/// Memory that a message takes besides its header block and body: read buffer, and two canonical bodies staged for hashing.
pub const MESSAGE_OVERHEAD_OCTETS: usize = MESSAGE_BUFFER_OCTETS + 2 * HASH_PORTION_OCTETS;

/// For the whole PROXY header.
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A client waits five minutes for a greeting (RFC 5321 §4.5.3.2.1), and not all have read that.
pub const GREET_DELAY_MS_MAX: u64 = 60_000;
/// For a TLS handshake, from the reply to STARTTLS to its end.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether a certificate's files have changed.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(10);
/// For one write to a client that does not read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// After our last reply, for a client that still sends.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Octets taken from such a client and thrown away.
pub const LINGER_OCTETS_MAX: usize = 1 << 20;
/// From the client's final dot to our reply, next hop included: a client waits ten minutes (RFC 5321 §4.5.3.2.6), so it never gives up first.
pub const END_OF_DATA_TIMEOUT: Duration = Duration::from_secs(300);
/// A client that stalls this long, in the body or between commands, gives its next-hop connection back.
pub const CLIENT_STALL_MS: u64 = 2_000;
/// After SIGTERM.
pub const DRAIN_TIMEOUT_S_DEFAULT: u64 = 60;
/// From the end of accepting to the 421 for sessions without a transaction: some round trips for those who have just come.
pub const SETTLE_TIME: Duration = Duration::from_secs(1);
/// What is left after the drain timeout gets this long to hear its 421.
pub const CUT_OFF_TIME: Duration = Duration::from_secs(2);
/// How long a shard that starts waits for the next hops to say what they take.
pub const NEXT_HOP_FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often they are asked again.
pub const NEXT_HOP_LIMITS_PERIOD: Duration = Duration::from_secs(60);

/// What is remembered of sources and identities for the limits, all shards together. 16 MiB are 409,200 of them: an address and its three
/// prefixes of 100,000 clients at once.
pub const LIMIT_TABLE_MIB_DEFAULT: u64 = 16;
/// *Shard*: records a second of refusals that have no recipient. All are counted.
pub const EARLY_RECORDS_PER_S: u32 = 10;

/// Between two looks at the load.
pub const LOAD_PERIOD: Duration = Duration::from_millis(200);
/// Looks that must all be calm before a level is left: two seconds.
pub const LOAD_CALM_SAMPLES: u32 = 10;
/// For the next command, while the load is not normal and no transaction is open.
pub const BUSY_COMMAND_TIMEOUT_MS: u64 = 10_000;
/// *Shard*: where the levels of the load begin and end, in the order of `Cause`.
pub(crate) const LOAD_THRESHOLDS: [Thresholds; 6] = [
    // Accept backlog, permille: full, the kernel drops SYNs, and clients wait seconds for nothing.
    thresholds((250, 125), (750, 500)),
    // Timer late in three looks in turn, ms: a client waits so long at every step.
    thresholds((500, 250), (2_000, 1_000)),
    // Message memory, permille: full, messages half received get 452.
    thresholds((750, 600), (900, 800)),
    // Descriptors, permille: the rest is for next hops, resolvers and temporary files.
    thresholds((800, 700), (900, 850)),
    // Connections, permille of the most: the rest is for connectors.
    thresholds((800, 700), (950, 900)),
    // Clients waiting for the next hop: at 5 ms an answer 500 are 100,000 recipients a second, so it does not answer. A next hop may have
    // 1,000 connections of a shard.
    thresholds((500, 250), (1_500, 1_000)),
];

const fn thresholds(brownout: (u32, u32), shed: (u32, u32)) -> Thresholds {
    Thresholds {
        brownout: Hysteresis { enter: brownout.0, leave: brownout.1 },
        shed: Hysteresis { enter: shed.0, leave: shed.1 },
    }
}

/// A timer that is late by so much was held up: by one task, or by the machine.
pub const STALL_MS: u64 = 100;
