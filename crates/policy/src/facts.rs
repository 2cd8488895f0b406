//! What is known of a client and its message, in the words of RFC 8601.
//!
//! Filled by message-auth, read by the rules, written into records: nothing here decides anything.

use std::borrow::Cow;
use std::net::IpAddr;

/// A method's result (RFC 8601 §2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MethodResult {
    /// The method says yes.
    Pass,
    /// The method says no.
    Fail,
    /// SPF's `~` (RFC 7208 §2.6.5).
    SoftFail,
    /// No statement.
    Neutral,
    /// Nothing to evaluate.
    None,
    /// Could not be evaluated now.
    TempError,
    /// Can never be evaluated as published.
    PermError,
    /// Evaluated, but not acceptable by local policy (a cap, a weak key).
    Policy,
}

impl MethodResult {
    /// The word of RFC 8601 §2.7.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            MethodResult::Pass => "pass",
            MethodResult::Fail => "fail",
            MethodResult::SoftFail => "softfail",
            MethodResult::Neutral => "neutral",
            MethodResult::None => "none",
            MethodResult::TempError => "temperror",
            MethodResult::PermError => "permerror",
            MethodResult::Policy => "policy",
        }
    }
}

/// Where the answers to a lookup came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheState {
    /// Nothing was looked up.
    #[default]
    Unused,
    /// Every answer came from a cache or from the zone file.
    Hit,
    /// At least one answer came over the network.
    Miss,
    /// At least one answer was used after its TTL, because the resolver failed or was slow (RFC 8767).
    Stale,
}

impl CacheState {
    /// `unused`, `hit`, `miss` or `stale`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            CacheState::Unused => "unused",
            CacheState::Hit => "hit",
            CacheState::Miss => "miss",
            CacheState::Stale => "stale",
        }
    }

    /// The state of two lookups together.
    #[must_use]
    pub fn and(self, other: CacheState) -> CacheState {
        match (self, other) {
            (CacheState::Stale, _) | (_, CacheState::Stale) => CacheState::Stale,
            (CacheState::Miss, _) | (_, CacheState::Miss) => CacheState::Miss,
            (CacheState::Hit, _) | (_, CacheState::Hit) => CacheState::Hit,
            _ => CacheState::Unused,
        }
    }
}

/// What the PTR lookup alone said of the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PtrState {
    /// At least one PTR record with a valid target.
    Exists,
    /// None, for certain.
    Missing,
    /// The lookup failed for now.
    TempFail,
}

/// Reverse DNS of the client (RFC 8601 §3, §2.7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iprev {
    /// Whether a valid PTR record exists: rule `ptr` in mode `exists`.
    pub ptr: PtrState,
    /// Forward-confirmed reverse DNS: `pass`, `fail`, `temperror` or `permerror` (no PTR record at all).
    pub result: MethodResult,
    /// Valid PTR targets, at most ten, lower case, no final dot.
    pub names: Vec<String>,
    /// The first name that resolves back to the address.
    pub confirmed: Option<String>,
    /// Where the answers came from.
    pub cache: CacheState,
}

/// Which identity SPF was evaluated for (RFC 7208 §2.3, §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfIdentity {
    /// The reverse-path.
    MailFrom,
    /// The HELO name; used when the reverse-path is null.
    Helo,
}

/// SPF of the transaction (RFC 7208).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spf {
    /// pass, fail, softfail, neutral, none, temperror or permerror.
    pub result: MethodResult,
    /// The identity that was evaluated.
    pub identity: SpfIdentity,
    /// The domain whose record was evaluated, lower case.
    pub domain: String,
    /// Why: the mechanism that matched, or the fault of the record.
    pub reason: Cow<'static, str>,
    /// The sender's own explanation (`exp=`), fetched only when asked for.
    pub explanation: Option<String>,
    /// Where the answers came from.
    pub cache: CacheState,
}

/// One DKIM signature (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dkim {
    /// `pass` only if the signature counts for the gate.
    pub result: MethodResult,
    /// `d=`, lower case; empty when the signature could not be parsed so far.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// `i=`, when the signature has one.
    pub identity: Option<String>,
    /// `a=`.
    pub algorithm: &'static str,
    /// The first octets of `b=` (RFC 6008 `header.b`), at most 8.
    pub signature_b: String,
    /// Why the result is what it is.
    pub reason: Cow<'static, str>,
    /// The key says `t=y`.
    pub testing: bool,
}

/// What the author's domain asks receivers to do (RFC 7489 §6.3 `p`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmarcPolicy {
    /// No record, or `p=none`.
    None,
    /// `p=quarantine`.
    Quarantine,
    /// `p=reject`.
    Reject,
}

impl DmarcPolicy {
    /// `none`, `quarantine` or `reject`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            DmarcPolicy::None => "none",
            DmarcPolicy::Quarantine => "quarantine",
            DmarcPolicy::Reject => "reject",
        }
    }
}

/// DMARC of the message: recorded, never enforced here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// pass, fail, none, temperror or permerror.
    pub result: MethodResult,
    /// The published policy that applies.
    pub policy: DmarcPolicy,
    /// The domain of the From field; empty when there is no single one.
    pub domain: String,
    /// Where the answers came from.
    pub cache: CacheState,
}

/// Everything known at the end of the message.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The client's address, IPv4-mapped ones already turned into IPv4.
    pub client: IpAddr,
    /// Reverse DNS.
    pub iprev: Iprev,
    /// SPF.
    pub spf: Spf,
    /// DKIM, one per signature looked at; empty when there was none.
    pub dkim: Vec<Dkim>,
    /// Where the keys came from.
    pub dkim_cache: CacheState,
    /// DMARC.
    pub dmarc: Dmarc,
}

impl Facts {
    /// Whether SPF or any DKIM signature passes.
    #[must_use]
    pub fn authenticated(&self) -> bool {
        self.spf.result == MethodResult::Pass || self.dkim.iter().any(|dkim| dkim.result == MethodResult::Pass)
    }

    /// Whether SPF or any DKIM signature could not be evaluated for now.
    #[must_use]
    pub fn temporary_failure(&self) -> bool {
        self.spf.result == MethodResult::TempError
            || self.dkim.iter().any(|dkim| dkim.result == MethodResult::TempError)
    }
}
