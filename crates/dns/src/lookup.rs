//! What a lookup gives.

use std::fmt;

/// What is known of a name and a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// At least one record.
    Found(T),
    /// The name exists, without records of the type (RFC 2308 §2.2).
    NoData,
    /// The name does not exist, nor anything below it (RFC 8020).
    NxDomain,
    /// Not known for now.
    Failed(Failure),
}

impl<T> Lookup<T> {
    /// The same with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Lookup::Found(value) => Lookup::Found(f(value)),
            Lookup::NoData => Lookup::NoData,
            Lookup::NxDomain => Lookup::NxDomain,
            Lookup::Failed(failure) => Lookup::Failed(failure),
        }
    }

    /// The records, if there are any.
    pub fn found(self) -> Option<T> {
        match self {
            Lookup::Found(value) => Some(value),
            _ => None,
        }
    }

    /// For certain nothing there: [`Lookup::NoData`] or [`Lookup::NxDomain`] (what RFC 7208 §4.6.4 counts).
    #[must_use]
    pub fn is_negative(&self) -> bool {
        matches!(self, Lookup::NoData | Lookup::NxDomain)
    }

    /// Not known for now because the resolver gave no answer: [`Failure::is_resolver_trouble`].
    #[must_use]
    pub fn is_resolver_trouble(&self) -> bool {
        matches!(self, Lookup::Failed(failure) if failure.is_resolver_trouble())
    }

    /// Not known for now because nobody answered, be it that we could not ask.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.is_resolver_trouble() || matches!(self, Lookup::Failed(Failure::Overload))
    }

    /// Not known for now.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Lookup::Failed(_))
    }
}

/// Why nothing is known for now. Of several servers' failures, the last one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No answer in time; also when only the caller's deadline was too short, in which case the query goes on.
    Timeout,
    /// SERVFAIL, or another error of the resolver, or names below a delegation that a zone file does not follow.
    ServFail,
    /// REFUSED.
    Refused,
    /// An answer that cannot be read or does not belong to the question.
    Malformed,
    /// More records or octets than are kept.
    TooBig,
    /// Aliases that lead in a circle, or too many of them.
    CnameChain,
    /// The resolver cannot be reached.
    Unreachable,
    /// Too many lookups are under way here.
    Overload,
    /// A fault of this program; it is counted and reported elsewhere.
    Internal,
}

impl Failure {
    /// Whether the resolver gave no answer at all, rather than one that is of no use: what RFC 8767 §4 lets stale answers stand in for.
    #[must_use]
    pub fn is_resolver_trouble(self) -> bool {
        matches!(self, Failure::Timeout | Failure::ServFail | Failure::Refused | Failure::Unreachable)
    }

    /// One or two words for records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::ServFail => "servfail",
            Failure::Refused => "refused",
            Failure::Malformed => "malformed answer",
            Failure::TooBig => "answer too big",
            Failure::CnameChain => "cname chain",
            Failure::Unreachable => "resolver unreachable",
            Failure::Overload => "overload",
            Failure::Internal => "internal fault",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What was found, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer itself.
    pub lookup: Lookup<T>,
    /// Where it came from this time.
    pub source: Source,
    /// Seconds for which it is known to hold from now on, rounded up; 0 for a failure that is not remembered.
    pub ttl_s: u32,
    /// The same as a time, on the clock of [`mx6_runtime::now_ms`].
    pub fresh_until_ms: u64,
}

impl<T> Answer<T> {
    /// The same with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        let Answer { lookup, source, ttl_s, fresh_until_ms } = self;
        Answer { lookup: lookup.map(f), source, ttl_s, fresh_until_ms }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Known already, or known without asking (a name that cannot exist).
    Cache,
    /// A resolver was asked, by this lookup or by another one that it joined.
    Network,
    /// The zone file.
    Zone,
    /// Known, but its TTL has ended; the resolver fails, or is slow to say more (RFC 8767).
    Stale,
}

/// A mail exchanger (RFC 1035 §3.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower is preferred.
    pub preference: u16,
    /// The host; empty for the null MX of RFC 7505.
    pub exchange: Box<str>,
}

/// What a caller makes of the TXT records of a name: parsed once, then shared from the cache.
pub trait TxtValue: Send + Sync + 'static {
    /// Reads the records: one each, its strings joined without anything between (RFC 7208 §3.3, RFC 6376 §3.6.2.2), in no
    /// order; at least one. What cannot be read must be expressed in the value.
    fn parse(records: &[Vec<u8>]) -> Self;

    /// Octets of memory that the value takes, roughly.
    fn weight_octets(&self) -> u32;
}
