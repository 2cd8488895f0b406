//! Every limit of the protocol's server side, with its source. What an operator may set is in `SessionConfig`; the rest is fixed.

/// A local part (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_OCTETS_MAX: usize = 64;

/// A domain name or literal (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;

/// A path, its brackets and its source route included (RFC 5321 §4.5.3.1.3).
pub const PATH_OCTETS_MAX: usize = 256;

/// A command line, CRLF included: RFC 5321 §4.5.3.1.4 asks for 512 and extensions add to it.
pub const COMMAND_LINE_OCTETS_MAX: usize = 2048;

/// Accepted recipients of a transaction (RFC 5321 §4.5.3.1.8: at least 100).
pub const RECIPIENTS_MAX: usize = 100;

/// A message without dot-stuffing (RFC 1870 §3).
pub const MESSAGE_OCTETS_MAX: u64 = 50 << 20;

/// The header section of a message, its blank line included.
pub const HEADER_OCTETS_MAX: usize = 1 << 20;

/// Chunks of a message (RFC 3030), so that nobody makes us count single octets.
pub const CHUNKS_MAX: u32 = 1_000;

/// Chunks that are refused are read to their ends, so many octets in a session; then the connection is closed.
pub const DRAINED_OCTETS_MAX: u64 = 1 << 30;

/// Transactions of a session (RFC 9422 `MAILMAX`).
pub const TRANSACTIONS_MAX: u32 = 1_000;

/// Recipients of a session that were refused, until the connection is given up: each costs a lookup, a record, or work of the next hop.
pub const REFUSED_RECIPIENTS_MAX: u32 = 100;

/// Commands that were no use, until the connection is given up.
pub const BAD_COMMANDS_MAX: u32 = 10;

/// From a reply to the end of the next command line (RFC 5321 §4.5.3.2.7: at least 5 minutes).
pub const COMMAND_TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// For each [`DATA_BLOCK_OCTETS`] of a message (RFC 5321 §4.5.3.2.5: 3 minutes a block).
pub const DATA_BLOCK_TIMEOUT_MS: u64 = 3 * 60 * 1000;

/// What a client must at least send within the data block timeout: 91 octets a second, so that one octet at a time is not enough.
pub const DATA_BLOCK_OCTETS: u64 = 16 << 10;

/// Digits of a `SIZE=` value (RFC 1870 §3: `1*20DIGIT`).
pub(crate) const SIZE_DIGITS_MAX: usize = 20;

/// Replies that may wait in the output before [`crate::Step::Output`] asks for them to be sent. Without it, one read full of pipelined
/// commands would be answered by many times its size.
pub(crate) const OUTPUT_OCTETS_MAX: usize = 16 << 10;

/// An `ENVID=` value (RFC 3461 §4.4).
pub(crate) const ENVID_OCTETS_MAX: usize = 100;

/// An `ORCPT=` value (RFC 3461 §4.2).
pub(crate) const ORCPT_OCTETS_MAX: usize = 500;
