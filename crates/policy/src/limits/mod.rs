//! Limits by address, by its /64, /56 and /48 at once, and by verified identity.
//!
//! A connection is charged to its address and its prefixes before the banner, a message when MAIL is taken, a recipient when RCPT is asked
//! about, whether or not a rule then refuses it. Identities are charged only with messages that passed every rule, and only those that
//! SPF or DKIM verified: a forged envelope costs the forged domain nothing. A message that bears several identities is charged to each, once.
//! What a limit refuses is charged to nobody, and what delivery did not take is given back.
//!
//! IPv4 is counted by address alone: neighbours in an IPv4 network have nothing to do with each other. The clock is an argument, and so is
//! the key of the hash: the same calls with the same key give the same answers.

mod rules;
mod table;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use mx6_smtp::{EnhancedCode, Reply};

use crate::facts::{Facts, MethodResult};
use crate::{Client, Rule};

pub use rules::{LimitError, LimitRules, Rate, Scope, What};

use rules::ScopeLimits;
use table::{Table, Want};

/// What is remembered of all sources and identities: one for the process, shared by its shards, of a size that never changes.
#[derive(Debug)]
pub struct LimitTable {
    table: Table,
    hasher: RandomState,
}

/// A limit was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// Its name in records.
    pub rule: Rule,
    what: What,
    /// The address, prefix or identity: the tightest that objected.
    subject: String,
}

/// Sessions counted for an address and its prefixes; given back on drop.
#[derive(Debug)]
#[must_use]
pub struct HeldSession {
    table: Arc<LimitTable>,
    counted: Taken,
}

/// A message charged to its identities; what to do if delivery does not take it.
#[derive(Debug)]
#[must_use]
pub struct ChargedMessage {
    taken: Taken,
    want: Want,
    is_connector: bool,
}

/// What the table could not keep, since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Losses {
    /// Budgets forgotten before they were full again.
    pub forgotten: u64,
    /// Charges for which there was no room, and which were let through.
    pub untracked: u64,
}

/// Whom something was taken from, by their tags; 0 where it could not be remembered.
type Taken = [u64; SUBJECTS_MAX];

/// What is asked of one subject.
#[derive(Debug, Clone, Copy)]
struct Take<'a> {
    subject: Subject<'a>,
    limits: &'a ScopeLimits,
    want: Want,
}

/// Who is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject<'a> {
    Address(IpAddr),
    Network(Ipv6Addr, u8),
    Identity(&'a str),
}

impl LimitTable {
    /// A table of `octets`, keyed by `hasher`, which must be a secret of the process.
    #[must_use]
    pub fn new(octets: u64, hasher: RandomState) -> LimitTable {
        LimitTable { table: Table::new(octets), hasher }
    }

    /// A connection of `client` begins.
    ///
    /// # Errors
    /// The limit that it would go over.
    pub fn connect(
        self: &Arc<Self>,
        rules: &LimitRules,
        now_ms: u64,
        client: &Client,
    ) -> Result<HeldSession, LimitReached> {
        let neighbourhood = neighbourhood(client.address());
        let takes = takes(rules, client, |subject, limits| {
            // Under load it is asked whether a neighbourhood has a session, also where their number is not limited.
            let session = limits.sessions.is_some() || subject == neighbourhood && !client.is_connector();
            Want { amounts: [1, 0, 0], session }
        });
        let mut counted = self.take_all(now_ms, takes.clone())?;
        for (tag, take) in counted.iter_mut().zip(takes) {
            *tag *= u64::from(take.want.session);
        }
        Ok(HeldSession { table: Arc::clone(self), counted })
    }

    /// A message of `client` begins.
    ///
    /// # Errors
    /// The limit that it would go over.
    pub fn mail(&self, rules: &LimitRules, now_ms: u64, client: &Client) -> Result<(), LimitReached> {
        let want = Want { amounts: [0, 1, 0], session: false };
        self.take_all(now_ms, takes(rules, client, |_, _| want)).map(drop)
    }

    /// `client` names a recipient.
    ///
    /// # Errors
    /// The limit that it would go over.
    pub fn rcpt(&self, rules: &LimitRules, now_ms: u64, client: &Client) -> Result<(), LimitReached> {
        let want = Want { amounts: [0, 0, 1], session: false };
        self.take_all(now_ms, takes(rules, client, |_, _| want)).map(drop)
    }

    /// A message to so many recipients has passed the rules: charged to every identity that it verified.
    ///
    /// # Errors
    /// The limit that it would go over.
    pub fn message(
        &self,
        rules: &LimitRules,
        now_ms: u64,
        client: &Client,
        facts: &Facts,
        recipients: u32,
    ) -> Result<ChargedMessage, LimitReached> {
        let limits = rules.of(Scope::Identity, client.is_connector());
        let want = Want { amounts: [0, 1, recipients], session: false };
        let mut domains = Vec::new();
        if limits.is_any() {
            domains = identities(facts);
        }
        let takes = domains.iter().map(|domain| Take { subject: Subject::Identity(domain), limits, want });
        Ok(ChargedMessage { taken: self.take_all(now_ms, takes)?, want, is_connector: client.is_connector() })
    }

    /// The message was not taken over: nobody is charged for it.
    pub fn give_back(&self, rules: &LimitRules, message: ChargedMessage) {
        let limits = rules.of(Scope::Identity, message.is_connector);
        for tag in message.taken.into_iter().filter(|tag| *tag != 0) {
            self.table.give_back(tag, limits, message.want);
        }
    }

    /// Whether somebody in the client's neighbourhood (its /64; IPv4: its address) who is no connector has a session.
    #[must_use]
    pub fn has_session_near(&self, client: &Client) -> bool {
        self.table.sessions(self.tag(neighbourhood(client.address()))) > 0
    }

    /// What the table could not keep since this was last asked.
    pub fn take_losses(&self) -> Losses {
        let (forgotten, untracked) = self.table.take_losses();
        Losses { forgotten, untracked }
    }

    /// Takes from all or from none.
    fn take_all<'a>(&self, now_ms: u64, takes: impl Iterator<Item = Take<'a>> + Clone) -> Result<Taken, LimitReached> {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let mut taken = [0; SUBJECTS_MAX];
        for (at, take) in takes.clone().take(SUBJECTS_MAX).enumerate() {
            if !take.limits.concern(take.want) {
                continue;
            }
            let tag = self.tag(take.subject);
            match self.table.take(tag, take.limits, take.want, now_ns) {
                Ok(is_remembered) => taken[at] = tag * u64::from(is_remembered),
                Err(what) => {
                    let before = taken.into_iter().zip(takes).filter(|(tag, _)| *tag != 0);
                    before.for_each(|(tag, take)| self.table.give_back(tag, take.limits, take.want));
                    return Err(LimitReached::new(take.subject, what));
                }
            }
        }
        Ok(taken)
    }

    fn tag(&self, subject: Subject<'_>) -> u64 {
        self.hasher.hash_one(subject).max(1)
    }
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        let want = Want { session: true, ..Want::default() };
        for tag in self.counted.into_iter().filter(|tag| *tag != 0) {
            self.table.table.give_back(tag, &ScopeLimits::default(), want);
        }
    }
}

impl LimitReached {
    fn new(subject: Subject<'_>, what: What) -> LimitReached {
        let rule = match (subject, what) {
            (Subject::Identity(_), _) => Rule::IdentityLimit,
            (_, What::Connections) => Rule::ConnectionLimit,
            (_, What::Sessions) => Rule::SessionLimit,
            (_, What::Messages) => Rule::MessageLimit,
            (_, What::Recipients) => Rule::RecipientLimit,
        };
        LimitReached { rule, what, subject: subject.to_string() }
    }

    /// In place of the banner; `hostname` stands first, as in every 421.
    #[must_use]
    pub fn closing_reply(&self, hostname: &str) -> Reply {
        Reply::new(421, Some(RATE_EXCEEDED), format!("{hostname} {self}"))
    }

    /// To MAIL, RCPT, or the message.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::new(450, Some(RATE_EXCEEDED), self.to_string())
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A client that has too many sessions has opened one connection too many.
        let what = if self.what == What::Sessions { What::Connections } else { self.what };
        write!(f, "Too many {what} from [{}], try again later.", self.subject)
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Address(address) => address.fmt(f),
            Subject::Network(network, length) => write!(f, "{network}/{length}"),
            Subject::Identity(domain) => f.write_str(domain),
        }
    }
}

/// An address and what it lies in, the tightest first.
fn subjects(address: IpAddr) -> impl Iterator<Item = (Scope, Subject<'static>)> + Clone {
    let networks = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(
            [(Scope::Prefix64, 64), (Scope::Prefix56, 56), (Scope::Prefix48, 48)]
                .map(|(scope, length)| (scope, network(address, length))),
        ),
    };
    std::iter::once((Scope::Address, Subject::Address(address))).chain(networks.into_iter().flatten())
}

/// What is asked of an address and of what it lies in.
fn takes<'a>(
    rules: &'a LimitRules,
    client: &Client,
    want: impl Fn(Subject<'_>, &ScopeLimits) -> Want + Clone + 'a,
) -> impl Iterator<Item = Take<'a>> + Clone {
    let is_connector = client.is_connector();
    subjects(client.address()).map(move |(scope, subject)| {
        let limits = rules.of(scope, is_connector);
        Take { subject, limits, want: want(subject, limits) }
    })
}

/// Who shares a session's fate under load.
fn neighbourhood(address: IpAddr) -> Subject<'static> {
    match address {
        IpAddr::V4(_) => Subject::Address(address),
        IpAddr::V6(address) => network(address, 64),
    }
}

fn network(address: Ipv6Addr, length: u8) -> Subject<'static> {
    Subject::Network(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - length))), length)
}

/// The domains that passed, each once: SPF's first, then DKIM's in the order of the signatures.
fn identities(facts: &Facts) -> Vec<&str> {
    let spf = (facts.spf.result == MethodResult::Pass).then_some(facts.spf.domain.as_str());
    let dkim = facts.dkim.iter().filter(|dkim| dkim.result == MethodResult::Pass).map(|dkim| dkim.domain.as_str());
    let mut domains: Vec<&str> = Vec::new();
    for domain in spf.into_iter().chain(dkim) {
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

/// RFC 3463 has no code of its own for that; 4.7.28 is what large receivers say over rates, and what senders' software knows.
const RATE_EXCEEDED: EnhancedCode = EnhancedCode(4, 7, 28);
/// SPF's domain and those of the ten signatures that are evaluated; an address has four scopes.
const SUBJECTS_MAX: usize = 11;
const NS_PER_MS: u64 = 1_000_000;

#[cfg(test)]
mod tests;
