//! What goes into an evaluation and what comes out: the vocabulary between `check_host` and its driver (RFC 7208 §2.6, §4).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::record::SpfTxt;

/// The arguments of `check_host()` (RFC 7208 §4.1) and what macros may tell of the receiver.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client's address. An IPv4-mapped one is evaluated as IPv4 (§5).
    pub client: IpAddr,
    /// Whose permission is in question.
    pub identity: Identity<'a>,
    /// The HELO or EHLO argument as sent: `%{h}`, and the domain of [`Identity::Helo`].
    pub helo: &'a str,
    /// Our own host name: `%{r}` in explanations. Empty gives `unknown`.
    pub receiver: &'a str,
    /// Seconds since 1970: `%{t}` in explanations.
    pub now_unix_s: u64,
    /// Fetch and expand `exp=` when the result is fail (§6.2).
    pub explain: bool,
}

/// The identity that is checked (RFC 7208 §2.3, §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The reverse-path.
    MailFrom {
        /// As sent, quotes kept. Empty stands for `postmaster` (§4.3).
        local_part: &'a str,
        /// A name, or an address literal with its brackets (which has no policy: none).
        domain: &'a str,
    },
    /// `postmaster@HELO`, also for the null reverse-path.
    Helo,
}

/// One question for DNS. Names are lower case without a final dot, labels raw (no escapes); they have at least two
/// labels of 1–63 octets and at most 253 octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// The TXT records of a name, parsed by [`crate::parse_txt`].
    Spf(String),
    /// IPv4 addresses of a name.
    A(String),
    /// IPv6 addresses of a name.
    Aaaa(String),
    /// Mail exchangers of a name.
    Mx(String),
    /// Names of an address.
    Ptr(IpAddr),
    /// The TXT records of a name, raw: the explanation text. Only asked if [`Request::explain`].
    Txt(String),
}

/// The answer to a [`Query`]. An empty list means the same as [`Answer::NoData`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Spf`].
    Spf(Arc<SpfTxt>),
    /// To [`Query::A`].
    A(Arc<[Ipv4Addr]>),
    /// To [`Query::Aaaa`].
    Aaaa(Arc<[Ipv6Addr]>),
    /// To [`Query::Mx`]: preference and exchange, in any order.
    Mx(Arc<[(u16, Box<str>)]>),
    /// To [`Query::Ptr`].
    Ptr(Arc<[Box<str>]>),
    /// To [`Query::Txt`]: one entry a record, its strings joined.
    Txt(Vec<Vec<u8>>),
    /// The name exists, the type does not (RCODE 0, no answer).
    NoData,
    /// The name does not exist (RCODE 3).
    NxDomain,
    /// Could not be found out now: timeout, any other RCODE, or the driver's deadline.
    TempFail,
}

/// What is known so far. The same question must get the same answer throughout one evaluation.
pub trait Answers {
    /// The answer, or `None` while it is not known.
    fn answer(&self, query: &Query) -> Option<Answer>;
}

/// How far `check_host` came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// Finished.
    Done(Output),
    /// Answers are missing.
    Need {
        /// What the evaluation cannot go on without, each question once, never empty.
        now: Vec<Query>,
        /// What later terms will ask if it comes to them: a driver that asks for it at the same time waits less.
        ahead: Vec<Query>,
    },
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The result of `check_host()`.
    pub result: SpfResult,
    /// The domain of the identity, lower case, no final dot: not that of a redirect. What was sent if it is no domain.
    pub domain: String,
    /// The directive that matched, as published, for example `ip6:2001:db8::/32` or `~all`.
    pub mechanism: Option<String>,
    /// The domain whose record has that directive or is at fault: [`Output::domain`], or one that it redirects to or includes. `None` if no record decided.
    pub decided_by: Option<String>,
    /// Why: for an error the domain whose record is at fault, and the fault. May contain what a peer published.
    pub reason: Cow<'static, str>,
    /// The expanded `exp=` of a fail; printable ASCII of a third party, at most
    /// [`crate::limits::EXPLANATION_OCTETS_MAX`] octets.
    pub explanation: Option<String>,
    /// Terms that asked DNS, 0–10 (RFC 7208 §4.6.4).
    pub lookups: u8,
    /// Lookups that found nothing, 0–2 (RFC 7208 §4.6.4).
    pub void_lookups: u8,
    /// Whether something was made of the local part, the HELO name or the time (`%{s}`, `%{l}`, `%{h}`, `%{t}`) before the result stood:
    /// if not, it is the result of every sender of the domain at this client, for as long as the answers hold.
    pub tells_of_sender: bool,
    /// Octets that macro strings came to: what the last pass computed besides comparing addresses.
    pub octets_expanded: usize,
    /// Of a [`survey`](crate::survey): what the terms took, in the order in which they were reached. Otherwise empty.
    pub spent: Vec<Spent>,
}

/// What one term took that asks DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The domain whose record has the term: that of the identity, or one that it redirects to.
    pub domain: String,
    /// As published; of `redirect` the name that it came to.
    pub term: String,
    /// Lookups, with those of the records that it includes.
    pub lookups: u8,
    /// Of these, and of the addresses of MX hosts, those that found nothing.
    pub void_lookups: u8,
}

/// The results of RFC 7208 §2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// The client is authorized.
    Pass,
    /// The client is not authorized.
    Fail,
    /// The client is probably not authorized.
    SoftFail,
    /// The domain states nothing about the client.
    Neutral,
    /// No record, or no domain to look for one.
    None,
    /// DNS failed for now.
    TempError,
    /// The published records cannot be evaluated.
    PermError,
}

impl SpfResult {
    /// The word of RFC 7208 §2.6, lower case.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::Neutral => "neutral",
            SpfResult::None => "none",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        }
    }
}
