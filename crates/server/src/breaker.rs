//! The breaker: while the resolver answers nothing, new anonymous IPv6 clients are told to come back before they have sent anything.
//!
//! It watches the resolver by names of the operator's choice, asked past the caches and past the limit of lookups under way. What senders
//! publish, and how their servers behave, is never looked at: no sender can open it. It trusts the operator that the names exist.
//! Clients over IPv4 and connectors are served as always, sessions under way go on by the usual rules (stale answers, else temperror), and
//! a gate in mode `monitor` turns nobody away.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use mx6_dns::{Dns, Lookup};
use mx6_policy::{Client, Mode};
use mx6_telemetry::{Counter, Counters};

use crate::{Config, NameSource, limits};

/// One breaker for all shards; clones are the same.
#[derive(Clone)]
pub(crate) struct Breaker(Arc<Shared>);

struct Shared {
    /// The names that are asked for; none if there is no breaker.
    probes: Vec<String>,
    open: AtomicBool,
}

impl Breaker {
    /// A closed breaker, and a line about it on standard error.
    pub(crate) fn new(config: &Config) -> Breaker {
        let over_network = !matches!(config.names, NameSource::Zone(_));
        let probes = if over_network { config.dns_probes.clone() } else { Vec::new() };
        match (over_network, config.dns_probes.is_empty()) {
            (true, false) => mx6_telemetry::say!("dns breaker: watches {}", probes.join(", ")),
            (true, true) => mx6_telemetry::say!("dns breaker: off, no --dns-probe is given"),
            (false, false) => mx6_telemetry::say!("dns breaker: off, names come from a zone file"),
            (false, true) => {}
        }
        Breaker(Arc::new(Shared { probes, open: AtomicBool::new(false) }))
    }

    /// `closed`, `open`, or `off` when nothing is watched.
    pub(crate) fn word(&self) -> &'static str {
        match (self.0.probes.is_empty(), self.0.open.load(Ordering::Relaxed)) {
            (true, _) => "off",
            (false, true) => "open",
            (false, false) => "closed",
        }
    }

    /// Whether a new connection of `client` is to be turned away. Never a proxy's own: were its health check refused, it would send nobody any
    /// more, neither IPv4 nor connectors.
    pub(crate) fn sheds(&self, client: &Client, mode: Mode) -> bool {
        client.is_gated() && !client.is_unknowable() && mode == Mode::Enforce && self.0.open.load(Ordering::Relaxed)
    }

    /// Asks for the names from time to time, for as long as the shard lives. One shard does it for all.
    pub(crate) async fn watch(self, dns: Dns, counters: Counters) {
        let (mut rounds, mut absent) = (Rounds::default(), HashSet::new());
        while !self.0.probes.is_empty() {
            let answers = join_all(self.0.probes.iter().map(|name| dns.probe(name))).await;
            for (name, answer) in self.0.probes.iter().zip(&answers) {
                tell_of_absence(name, answer, &mut absent);
            }
            let answered = answers.iter().any(|answer| !answer.is_unanswered());
            // What could not be asked for want of descriptors tells nothing of the resolver.
            let was_asked = answered || answers.iter().any(Lookup::is_resolver_trouble);
            if was_asked && rounds.end(answered) {
                self.0.open.store(rounds.is_open, Ordering::Relaxed);
                counters.add_one(if rounds.is_open { Counter::DnsBreakerOpened } else { Counter::DnsBreakerClosed });
                self.tell(rounds.is_open, answers.last());
            }
            mx6_runtime::sleep(limits::DNS_PROBE_PAUSE).await;
        }
    }

    fn tell(&self, is_open: bool, last: Option<&Lookup<()>>) {
        let (to_open, to_close) = (limits::DNS_PROBE_ROUNDS_TO_OPEN, limits::DNS_PROBE_ROUNDS_TO_CLOSE);
        match (is_open, last) {
            (true, Some(Lookup::Failed(why))) => mx6_telemetry::warning!(
                "dns breaker: open, no probe name was answered in {to_open} rounds (last: {why}); new anonymous IPv6 clients get 421 in mode enforce"
            ),
            _ => mx6_telemetry::say!("dns breaker: closed, probe names were answered in {to_close} rounds"),
        }
    }
}

/// The operator's slip, told when it is first seen and whenever it comes again: such a name says that the resolver is well and no more.
fn tell_of_absence<'n>(name: &'n str, answer: &Lookup<()>, absent: &mut HashSet<&'n str>) {
    match answer {
        Lookup::NxDomain if absent.insert(name) => {
            mx6_telemetry::warning!("dns breaker: probe name {name} does not exist; choose one that does");
        }
        Lookup::Found(()) | Lookup::NoData => {
            absent.remove(name);
        }
        _ => {}
    }
}

/// Rounds of probes, and what follows from them.
#[derive(Debug, Default)]
struct Rounds {
    is_open: bool,
    /// Rounds in a row that speak against that.
    against: u32,
}

impl Rounds {
    /// Takes the end of a round, in which a name was answered or none was; true when that changes the state.
    fn end(&mut self, answered: bool) -> bool {
        self.against = if answered == self.is_open { self.against + 1 } else { 0 };
        let most = if self.is_open { limits::DNS_PROBE_ROUNDS_TO_CLOSE } else { limits::DNS_PROBE_ROUNDS_TO_OPEN };
        let changes = self.against >= most;
        if changes {
            *self = Rounds { is_open: !self.is_open, against: 0 };
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds() {
        // Rounds (+ answered, - not) and the state after each (o open, c closed).
        for (answered, states) in [
            ("++++", "cccc"),
            ("--+--+--", "cccccccc"),
            ("---", "cco"),
            ("-----", "ccooo"),
            ("---+-++-+++", "ccooooooooc"),
            ("---+++---", "ccoooccco"),
            ("---+++--+---", "ccooocccccco"),
        ] {
            let mut rounds = Rounds::default();
            let (mut was_open, mut seen) = (false, String::new());
            for round in answered.chars() {
                let changed = rounds.end(round == '+');
                assert_eq!(changed, rounds.is_open != was_open, "{answered}");
                was_open = rounds.is_open;
                seen.push(if was_open { 'o' } else { 'c' });
            }
            assert_eq!(seen, states, "{answered}");
        }
    }
}
