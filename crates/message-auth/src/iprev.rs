//! Reverse DNS of the client (RFC 8601 §2.7.3, §3): whether it has a name, and whether a name leads back to it.
//!
//! Two questions with separate answers. Rule `ptr` asks for existence: at least one PTR target that is a name. FCrDNS
//! asks whether one of the first ten names resolves to the address. Whoever runs the client's reverse zone decides what
//! we read here, so the work is limited: ten forward lookups, concurrently, and one deadline for all.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mx6_dns::{Answer, Deadline, Lookup};
use mx6_policy::facts::{CacheState, Iprev, MethodResult, PtrState};

use crate::escape::is_domain_name;
use crate::limits::{IPREV_DEADLINE, IPREV_NAMES_MAX};
use crate::{MessageAuth, cache_state};

impl MessageAuth {
    /// Looks up the client's reverse names and confirms them; 10 s overall.
    ///
    /// `pass`: a name resolves to the address. `fail`: none does. `temperror`: the PTR lookup, or every forward
    /// lookup, failed for now. `permerror`: there is no PTR record with a valid target.
    pub async fn iprev(&self, client: IpAddr) -> Iprev {
        let client = client.to_canonical();
        let deadline = Deadline::after(IPREV_DEADLINE);
        let answer = match self.dns.cached_ptr(client) {
            Some(answer) => answer,
            None => self.dns.ptr(client, deadline).await,
        };
        let cache = cache_state(answer.source);
        let names: Vec<String> = match &answer.lookup {
            Lookup::Found(targets) => valid_targets(targets),
            Lookup::NoData | Lookup::NxDomain => Vec::new(),
            Lookup::Failed(_) => return nameless(PtrState::TempFail, MethodResult::TempError, cache),
        };
        if names.is_empty() {
            return nameless(PtrState::Missing, MethodResult::PermError, cache);
        }
        let forward = self.confirm(client, &names, deadline).await;
        Iprev {
            ptr: PtrState::Exists,
            result: forward.result(names.len()),
            confirmed: forward.confirmed.map(|at| names[at].clone()),
            names,
            cache: cache.and(forward.cache),
        }
    }

    /// Whether the client has a PTR record with a valid target; within the 10 s of [`MessageAuth::iprev`], whose query it shares.
    pub async fn ptr(&self, client: IpAddr) -> PtrState {
        let answer = self.dns.ptr(client.to_canonical(), Deadline::after(IPREV_DEADLINE)).await;
        match &answer.lookup {
            Lookup::Found(targets) if !valid_targets(targets).is_empty() => PtrState::Exists,
            Lookup::Found(_) | Lookup::NoData | Lookup::NxDomain => PtrState::Missing,
            Lookup::Failed(_) => PtrState::TempFail,
        }
    }

    /// Whether `name` resolves to `client`; none if that cannot be found out now. 10 s.
    pub async fn resolves_to(&self, client: IpAddr, name: &str) -> Option<bool> {
        match self.forward(client.to_canonical(), name, Deadline::after(IPREV_DEADLINE)).await.0 {
            Found::Confirms => Some(true),
            Found::Differs => Some(false),
            Found::Failed => None,
        }
    }

    /// Looks for a name that resolves to `client`: first in the caches, then all the others at once.
    async fn confirm(&self, client: IpAddr, names: &[String], deadline: Deadline) -> Forward {
        let mut forward = Forward::default();
        let mut unknown = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match self.cached_forward(client, name) {
                Some(found) => forward.add(at, found),
                None => unknown.push((at, name)),
            }
        }
        let mut lookups: FuturesUnordered<_> = unknown
            .into_iter()
            .filter(|_| forward.confirmed.is_none())
            .map(|(at, name)| async move { (at, self.forward(client, name, deadline).await) })
            .collect();
        while forward.confirmed.is_none() {
            let Some((at, found)) = lookups.next().await else { break };
            forward.add(at, found);
        }
        forward
    }

    fn cached_forward(&self, client: IpAddr, name: &str) -> Option<(Found, CacheState)> {
        match client {
            IpAddr::V4(client) => Some(compare(&self.dns.cached_a(name)?, &client)),
            IpAddr::V6(client) => Some(compare(&self.dns.cached_aaaa(name)?, &client)),
        }
    }

    async fn forward(&self, client: IpAddr, name: &str, deadline: Deadline) -> (Found, CacheState) {
        match client {
            IpAddr::V4(client) => compare(&self.dns.a(name, deadline).await, &client),
            IpAddr::V6(client) => compare(&self.dns.aaaa(name, deadline).await, &client),
        }
    }
}

/// What one forward lookup says.
enum Found {
    Confirms,
    Differs,
    Failed,
}

/// What the forward lookups say together.
#[derive(Default)]
struct Forward {
    /// Which name resolves to the address.
    confirmed: Option<usize>,
    failed: usize,
    cache: CacheState,
}

impl Forward {
    fn add(&mut self, at: usize, (found, cache): (Found, CacheState)) {
        self.cache = self.cache.and(cache);
        match found {
            Found::Confirms => self.confirmed = self.confirmed.or(Some(at)),
            Found::Differs => {}
            Found::Failed => self.failed += 1,
        }
    }

    fn result(&self, names: usize) -> MethodResult {
        match self.confirmed {
            Some(_) => MethodResult::Pass,
            None if self.failed == names => MethodResult::TempError,
            None => MethodResult::Fail,
        }
    }
}

fn compare<A: PartialEq>(answer: &Answer<Arc<[A]>>, client: &A) -> (Found, CacheState) {
    let found = match &answer.lookup {
        Lookup::Found(addresses) if addresses.contains(client) => Found::Confirms,
        Lookup::Found(_) | Lookup::NoData | Lookup::NxDomain => Found::Differs,
        Lookup::Failed(_) => Found::Failed,
    };
    (found, cache_state(answer.source))
}

fn nameless(ptr: PtrState, result: MethodResult, cache: CacheState) -> Iprev {
    Iprev { ptr, result, names: Vec::new(), confirmed: None, cache }
}

/// The first ten valid targets, in the order of the answer, each once.
fn valid_targets(targets: &[Box<str>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(targets.len().min(IPREV_NAMES_MAX));
    for target in targets {
        if names.len() == IPREV_NAMES_MAX {
            break;
        }
        if is_valid_target(target) && !names.iter().any(|name| **name == **target) {
            names.push(target.to_string());
        }
    }
    names
}

/// A host name with a dot (underscores allowed) that is no address and does not lie in the reverse tree itself.
#[must_use]
pub fn is_valid_target(target: &str) -> bool {
    let hyphens_inside = || target.split('.').all(|label| !label.starts_with('-') && !label.ends_with('-'));
    let top = || target.rsplit('.').next().unwrap_or_default();
    target.contains('.')
        && is_domain_name(target.as_bytes())
        && hyphens_inside()
        && !top().bytes().all(|octet| octet.is_ascii_digit())
        && !is_below(target, "ip6.arpa")
        && !is_below(target, "in-addr.arpa")
}

/// Whether `name` is `suffix` or lies below it.
fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (target, valid) in [
            ("mail.example.com", true),
            ("a_b.example.com", true),
            ("_x.example", true),
            ("1-2-3.dyn.example.net", true),
            ("123.example", true),
            ("xn--bcher-kva.example", true),
            ("localhost", false),
            ("", false),
            (".", false),
            ("a..example", false),
            ("-a.example", false),
            ("a-.example", false),
            ("192.0.2.1", false),
            ("a b.example", false),
            ("a\\032b.example", false),
            ("1.0.0.2.ip6.arpa", false),
            ("ip6.arpa", false),
            ("1.2.0.192.in-addr.arpa", false),
            ("x.notip6.arpa", true),
            (&format!("{}.example", "a".repeat(64)), false),
            (&format!("{}.example", "a".repeat(63)), true),
            (&["a"; 128].join("."), false),
        ] {
            assert_eq!(is_valid_target(target), valid, "{target:?}");
        }
    }

    #[test]
    fn first_ten_each_once() {
        let targets: Vec<Box<str>> = (0..30).map(|at| format!("h{}.example", at / 2).into()).collect();
        let names = valid_targets(&targets);
        assert_eq!(names.len(), 10);
        assert_eq!((names[0].as_str(), names[9].as_str()), ("h0.example", "h9.example"));
    }
}
