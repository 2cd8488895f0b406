//! Every limit of this crate, in one place.

use std::time::Duration;

/// How long iprev may take over all its lookups.
pub const IPREV_DEADLINE: Duration = Duration::from_secs(10);

/// How many PTR targets are looked up forward: the first ten valid ones, in the order of the answer.
pub const IPREV_NAMES_MAX: usize = 10;

/// How long one SPF evaluation may take over all its lookups (RFC 7208 §4.6.4 recommends at least 20 s).
pub const SPF_DEADLINE: Duration = Duration::from_secs(20);

/// When one SPF evaluation has asked so many questions, it asks no more ahead of time: what was asked in vain is bounded by this.
pub const SPF_ASKED_AHEAD_MAX: usize = 32;

/// How many questions one SPF evaluation may ask: the record, ten terms with eleven each (RFC 7208 §4.6.4), and those in vain.
pub const SPF_QUERIES_MAX: usize = 1 + 10 * 11 + SPF_ASKED_AHEAD_MAX;

/// How long the DKIM key lookups of one message may take together.
pub const DKIM_DEADLINE: Duration = Duration::from_secs(20);

/// How many distinct DKIM keys of one message are looked up.
pub const DKIM_KEYS_MAX: usize = 10;

/// How long the DMARC lookups of one message may take together.
pub const DMARC_DEADLINE: Duration = Duration::from_secs(10);

/// How often a DMARC evaluation is restarted with more answers: the author's tree walk, then the alignment walks.
pub const DMARC_ROUNDS_MAX: usize = 8;

/// How many DMARC records of one message are looked up: four tree walks of the eight steps that one may take (RFC 9989 §4.10).
pub const DMARC_NAMES_MAX: usize = 32;

/// How long a From field may be, in octets, to be looked at for DMARC.
pub const FROM_FIELD_OCTETS_MAX: usize = 64 * 1024;

/// How many octets of one peer's value are written into a header field (a mailbox has at most 64 + 1 + 255).
pub const VALUE_OCTETS_MAX: usize = 320;

/// Where a line of a field written here is folded, if it can be (RFC 5322 §2.1.1: should not be over 78).
pub const FOLD_OCTETS: usize = 78;

/// How many octets of free text [`monitor_field`](crate::monitor_field) takes.
pub const MONITOR_OCTETS_MAX: usize = 800;
