//! The ledger of one pass: questions asked of the oracle, questions still open, and the limits of RFC 7208 §4.6.4.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::limits::{LOOKUPS_MAX, PTR_NAMES_MAX, SURVEY_LOOKUPS_MAX, VOID_LOOKUPS_MAX};
use crate::macros::{DomainSpec, MacroString, Values};
use crate::name;
use crate::record::DualCidr;
use crate::request::{Answer, Answers, Query, Request, Spent};

/// Why a pass cannot go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An answer is missing; it stands in [`Lookups::open`].
    Pending,
    /// DNS failed for now.
    TempError(Fault),
    /// The published records cannot be evaluated.
    PermError(Fault),
}

/// What is wrong, and in whose record.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) reason: &'static str,
    pub(crate) domain: Option<String>,
}

impl Stop {
    pub(crate) fn temp(reason: &'static str) -> Stop {
        Stop::TempError(Fault { reason, domain: None })
    }

    pub(crate) fn perm(reason: &'static str) -> Stop {
        Stop::PermError(Fault { reason, domain: None })
    }

    /// Names the record at fault, unless an inner one was named.
    pub(crate) fn at(mut self, domain: &str) -> Stop {
        if let Stop::TempError(fault) | Stop::PermError(fault) = &mut self {
            fault.domain.get_or_insert_with(|| domain.to_owned());
        }
        self
    }
}

/// What does not change during an evaluation.
pub(crate) struct Subject<'r> {
    pub(crate) request: &'r Request<'r>,
    /// Never IPv4-mapped.
    pub(crate) client: IpAddr,
    pub(crate) local_part: &'r str,
    pub(crate) sender_domain: &'r str,
}

/// Asks and counts.
pub(crate) struct Lookups<'r> {
    pub(crate) subject: Subject<'r>,
    answers: &'r dyn Answers,
    /// Each missing question once.
    pub(crate) open: Vec<Query>,
    /// So many of them the pass could not go on without, if it has looked ahead.
    pub(crate) needed: Option<usize>,
    pub(crate) terms: u8,
    pub(crate) voids: u8,
    /// Terms of enclosing records that were already asked for ahead of time.
    pub(crate) ahead: u8,
    /// The PTR query of `%{p}` was counted, or need not be.
    pub(crate) validated_name_is_counted: bool,
    /// A macro was expanded that tells more of the sender than its domain.
    pub(crate) tells_of_sender: bool,
    /// Octets that macro strings came to.
    pub(crate) octets_expanded: usize,
    /// Includes that the pass is inside of.
    pub(crate) depth: u8,
    /// Of a survey: what each term took. Its limits are those of a survey, too.
    pub(crate) ledger: Option<Vec<Spent>>,
}

/// Addresses of the client's family, or what there is instead.
enum Addresses {
    V4(Arc<[Ipv4Addr]>),
    V6(Arc<[Ipv6Addr]>),
    /// None; a void lookup or not.
    Missing {
        void: bool,
    },
    TempFail,
}

/// What a set of addresses says of the client.
pub(crate) enum AddressMatch {
    Yes,
    No,
    /// No addresses, and that counts (§4.6.4).
    Void,
    TempFail,
}

impl<'r> Lookups<'r> {
    pub(crate) fn new(subject: Subject<'r>, answers: &'r dyn Answers, ledger: Option<Vec<Spent>>) -> Lookups<'r> {
        let (open, terms, voids, ahead) = (Vec::new(), 0, 0, 0);
        Lookups {
            subject,
            answers,
            open,
            needed: None,
            terms,
            voids,
            ahead,
            validated_name_is_counted: false,
            tells_of_sender: false,
            octets_expanded: 0,
            depth: 0,
            ledger,
        }
    }

    /// The answer, or the question becomes an open one.
    pub(crate) fn ask(&mut self, query: &Query) -> Result<Answer, Stop> {
        if let Some(answer) = self.answers.answer(query) {
            return Ok(answer);
        }
        if !self.open.contains(query) {
            self.open.push(query.clone());
        }
        Err(Stop::Pending)
    }

    /// Counts one term that asks DNS.
    pub(crate) fn count_term(&mut self) -> Result<(), Stop> {
        let terms_max = if self.ledger.is_some() { SURVEY_LOOKUPS_MAX } else { LOOKUPS_MAX };
        if self.terms == terms_max {
            return Err(Stop::perm("more than 10 terms that ask DNS"));
        }
        self.terms += 1;
        Ok(())
    }

    /// Counts one lookup that found nothing.
    pub(crate) fn count_void(&mut self) -> Result<(), Stop> {
        if self.voids == VOID_LOOKUPS_MAX && self.ledger.is_none() {
            return Err(Stop::perm("more than 2 lookups that found nothing"));
        }
        self.voids = self.voids.saturating_add(1);
        Ok(())
    }

    /// Terms and void lookups so far.
    pub(crate) fn spent(&self) -> (u8, u8) {
        (self.terms, self.voids)
    }

    /// Of a survey: notes what a term of the record of `domain` took since [`Lookups::spent`] was `before`; those of included records count for their `include`.
    pub(crate) fn note(&mut self, before: (u8, u8), domain: &str, term: impl FnOnce() -> String) {
        let Some(ledger) = self.ledger.as_mut().filter(|_| self.depth == 0) else { return };
        let (lookups, void_lookups) = (self.terms - before.0, self.voids - before.1);
        if lookups > 0 {
            ledger.push(Spent { domain: domain.to_owned(), term: term(), lookups, void_lookups });
        }
    }

    /// Whether the lookup limit leaves room for asking ahead of time.
    pub(crate) fn may_look_ahead(&self) -> bool {
        self.terms.saturating_add(self.ahead) < LOOKUPS_MAX
    }

    /// Looks up the addresses of `name` and compares them with the client.
    pub(crate) fn match_addresses(&mut self, name: String, cidr: DualCidr) -> Result<AddressMatch, Stop> {
        let found = match (self.addresses(name)?, self.subject.client) {
            (Addresses::V4(list), IpAddr::V4(client)) => list.iter().any(|it| is_in_ip4(client, *it, cidr.ip4)),
            (Addresses::V6(list), IpAddr::V6(client)) => list.iter().any(|it| is_in_ip6(client, *it, cidr.ip6)),
            (Addresses::Missing { void: true }, _) => return Ok(AddressMatch::Void),
            (Addresses::TempFail, _) => return Ok(AddressMatch::TempFail),
            _ => false,
        };
        Ok(if found { AddressMatch::Yes } else { AddressMatch::No })
    }

    fn addresses(&mut self, name: String) -> Result<Addresses, Stop> {
        let is_ip4 = self.subject.client.is_ipv4();
        let query = if is_ip4 { Query::A(name) } else { Query::Aaaa(name) };
        Ok(match self.ask(&query)? {
            Answer::A(list) if is_ip4 && !list.is_empty() => Addresses::V4(list),
            Answer::Aaaa(list) if !is_ip4 && !list.is_empty() => Addresses::V6(list),
            Answer::A(_) | Answer::Aaaa(_) | Answer::NoData => Addresses::Missing { void: is_ip4 },
            Answer::NxDomain => Addresses::Missing { void: true },
            _ => Addresses::TempFail,
        })
    }

    /// The first PTR names of the client in a form that can be asked for. `None` if there is no PTR record, or an error.
    pub(crate) fn client_names(&mut self) -> Result<ClientNames, Stop> {
        Ok(match self.ask(&Query::Ptr(self.subject.client))? {
            Answer::Ptr(list) if !list.is_empty() => {
                ClientNames::Found(list.iter().take(PTR_NAMES_MAX).filter_map(|it| name::host_name(it)).collect())
            }
            Answer::Ptr(_) | Answer::NoData | Answer::NxDomain => ClientNames::Void,
            _ => ClientNames::TempFail,
        })
    }

    /// Whether `name` resolves back to the client; an error counts as no (§5.5).
    pub(crate) fn is_validated(&mut self, name: &str) -> Result<bool, Stop> {
        Ok(matches!(self.match_addresses(name.to_owned(), DualCidr::FULL)?, AddressMatch::Yes))
    }

    /// The value of `%{p}` (§7.3): the domain itself, else a name below it, else any; `None` if none is validated.
    fn validated_name(&mut self, domain: &str) -> Result<Option<String>, Stop> {
        if !self.validated_name_is_counted {
            self.count_term()?;
            self.validated_name_is_counted = true;
        }
        let ClientNames::Found(names) = self.client_names()? else { return Ok(None) };
        let (mut best, mut pending) = (None, false);
        for name in names {
            let rank = if name == domain { 0 } else { 1 + u8::from(!name::is_at_or_below(&name, domain)) };
            match self.is_validated(&name) {
                Ok(true) if best.as_ref().is_none_or(|(known, _)| rank < *known) => best = Some((rank, name)),
                Ok(_) => {}
                Err(Stop::Pending) => pending = true,
                Err(stop) => return Err(stop),
            }
        }
        if pending { Err(Stop::Pending) } else { Ok(best.map(|(_, name)| name)) }
    }

    /// The target name of a domain-spec (§4.8); `None` if it cannot be in DNS.
    pub(crate) fn target(&mut self, spec: &DomainSpec, domain: &str) -> Result<Option<String>, Stop> {
        let string = match spec {
            DomainSpec::Name(name) => return Ok(Some(name.to_string())),
            DomainSpec::Malformed => return Ok(None),
            DomainSpec::Macros(string) => string,
        };
        self.with_values(domain, string, MacroString::expand_name)
    }

    /// Calls `expand` with what the letters of `string` stand for under `domain`.
    pub(crate) fn with_values<T>(
        &mut self,
        domain: &str,
        string: &MacroString,
        expand: impl FnOnce(&MacroString, &Values<'_>) -> T,
    ) -> Result<T, Stop> {
        self.tells_of_sender |= string.tells_of_sender();
        let validated = if string.needs_validated_name() { self.validated_name(domain)? } else { None };
        let request = self.subject.request;
        let values = Values {
            local_part: self.subject.local_part,
            sender_domain: self.subject.sender_domain,
            domain,
            client: self.subject.client,
            validated_name: validated.as_deref().unwrap_or("unknown"),
            helo: request.helo,
            receiver: request.receiver,
            now_unix_s: request.now_unix_s,
            octets_expanded: Cell::new(0),
        };
        let expanded = expand(string, &values);
        self.octets_expanded += values.octets_expanded.get();
        Ok(expanded)
    }
}

/// The client's names according to its PTR records.
pub(crate) enum ClientNames {
    Found(Vec<String>),
    Void,
    TempFail,
}

/// `length` is 0–32.
pub(crate) fn is_in_ip4(client: Ipv4Addr, network: Ipv4Addr, length: u8) -> bool {
    let differing = client.to_bits() ^ network.to_bits();
    differing.checked_shr(32 - u32::from(length)).unwrap_or(0) == 0
}

/// `length` is 0–128.
pub(crate) fn is_in_ip6(client: Ipv6Addr, network: Ipv6Addr, length: u8) -> bool {
    let differing = client.to_bits() ^ network.to_bits();
    differing.checked_shr(128 - u32::from(length)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for (client, network, length, want) in [
            ("192.0.2.1", "192.0.2.1", 32, true),
            ("192.0.2.1", "192.0.2.0", 32, false),
            ("192.0.2.1", "192.0.2.0", 31, true),
            ("192.0.2.1", "192.0.3.0", 24, false),
            ("192.0.2.1", "192.0.3.0", 23, true),
            ("255.0.0.1", "1.2.3.4", 0, true),
            ("128.0.0.0", "0.0.0.0", 1, false),
            ("2001:db8::1", "2001:db8::1", 128, true),
            ("2001:db8::1", "2001:db8::", 128, false),
            ("2001:db8:7fff::", "2001:db8::", 33, true),
            ("2001:db8:8000::", "2001:db8::", 33, false),
            ("ff::", "::", 0, true),
        ] {
            let got = match (client.parse().unwrap(), network.parse().unwrap()) {
                (IpAddr::V4(client), IpAddr::V4(network)) => is_in_ip4(client, network, length),
                (IpAddr::V6(client), IpAddr::V6(network)) => is_in_ip6(client, network, length),
                _ => unreachable!(),
            };
            assert_eq!(got, want, "{client} {network}/{length}");
        }
    }
}
