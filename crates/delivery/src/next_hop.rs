//! SMTP and LMTP next hops: a pool of connections for each, and the order in which they are tried.
//!
//! A connection comes back into the pool only after a clean end: every reply read, nothing pending, no transaction open. It is used again
//! until it has been idle for too long, has carried enough messages, or has seen enough refusals; whatever is in doubt is closed.
//!
//! RSET and QUIT are said by tasks of their own, so that nobody waits for a next hop that does not answer them. Meanwhile a connection is
//! in nobody's hands and not in the pool, and still counts as open.

mod addresses;
mod connection;
mod fault;
mod health;
mod host;
mod lookup;
mod opening;
mod transaction;
mod transmit;

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mx6_runtime::{Deadline, sleep, spawn};
use mx6_smtp::client::Origin;

pub(crate) use opening::Protocol;
pub use transaction::ADDED_OCTETS_ALLOWANCE;
pub(crate) use transaction::SmtpTransaction;

use connection::{Connection, QUIT_TIMEOUT};
use fault::Fault;
use host::Host;
use opening::Opening;

use crate::{Counters, DeliveryConfig, HostState, Ledger, NextHop, Offers, Probe, Stage};

/// The next hops of one shard.
#[derive(Debug)]
pub(crate) struct NextHops {
    pub(crate) config: DeliveryConfig,
    pub(crate) protocol: Protocol,
    /// For LMTP: who has got which message already.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) counters: Counts,
    hosts: Vec<Host>,
    closed: Cell<bool>,
    has_reaper: Cell<bool>,
    /// Each task that says RSET or QUIT holds a clone.
    farewells: Rc<()>,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) opened: Cell<u64>,
    pub(crate) reused: Cell<u64>,
    pub(crate) found_dead: Cell<u64>,
    pub(crate) failed: Cell<u64>,
    pub(crate) replays: Cell<u64>,
    pub(crate) unknown: Cell<u64>,
    pub(crate) mixed: Cell<u64>,
    pub(crate) skipped: Cell<u64>,
}

pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl NextHops {
    pub(crate) fn new(
        protocol: Protocol,
        next_hops: &[NextHop],
        config: DeliveryConfig,
        ledger: Arc<Ledger>,
    ) -> NextHops {
        NextHops {
            config,
            protocol,
            ledger,
            counters: Counts::default(),
            hosts: next_hops.iter().map(Host::new).collect(),
            closed: Cell::new(false),
            has_reaper: Cell::new(false),
            farewells: Rc::default(),
        }
    }

    /// Every host, for [`NextHops::pick`].
    fn all(&self) -> Vec<usize> {
        (0..self.hosts.len()).collect()
    }

    /// Takes the host to try now out of those that are left: as configured, those that failed lately after the others, of these the one
    /// first that may be tried first.
    fn pick(&self, hosts: &mut Vec<usize>) -> Option<usize> {
        let ranks = hosts.iter().enumerate().map(|(at, host)| (self.hosts[*host].health.rank(), at));
        let (_, at) = ranks.min()?;
        Some(hosts.remove(at))
    }

    /// How long one host may take while others are left.
    fn share(&self, until: Deadline) -> Deadline {
        Deadline::after(self.config.host_timeout.min(until.remaining() / 2)).earlier(until)
    }

    /// An idle connection that is still alive.
    fn take_idle(&self, host: &Host) -> Option<Connection> {
        while let Some(mut connection) = host.pop_idle() {
            if connection.idle() >= self.config.idle_timeout {
                self.farewell(connection);
            } else if connection.is_alive() {
                count(&self.counters.reused);
                return Some(connection);
            } else {
                count(&self.counters.found_dead);
            }
        }
        None
    }

    /// A new connection.
    async fn connect(
        &self,
        host: &Host,
        origin: Option<&Origin>,
        until: Deadline,
        stage: &mut Stage,
    ) -> Result<Connection, Fault> {
        let opening = Opening { config: &self.config, protocol: self.protocol, origin };
        let result = host.connect(opening, until, stage).await;
        match result {
            Ok(_) => count(&self.counters.opened),
            // Nobody tried, or it works.
            Err(Fault::Busy | Fault::ClientRefused(_)) => {}
            Err(_) => count(&self.counters.failed),
        }
        result
    }

    /// Keeps a connection on which no transaction is open, or says QUIT on it.
    fn put_back(self: &Rc<Self>, host: usize, connection: Connection) {
        let (host, config) = (&self.hosts[host], &self.config);
        let worn = connection.messages >= config.messages_per_connection_max
            || connection.refusals >= config.refusals_per_connection_max;
        if !connection.is_quiet() {
            return;
        }
        if worn || self.is_closing() || host.idle() >= config.idle_max {
            self.farewell(connection);
            return;
        }
        host.push_idle(connection);
        if !self.has_reaper.replace(true) {
            spawn("next hop pool", reap(Rc::downgrade(self), config.idle_timeout));
        }
    }

    /// Ends the mail transaction on a connection and then keeps it, without anybody waiting for it. One that has said what nobody asked
    /// for, or does not answer RSET as it should, is closed: it could take the reply to one command for that to another.
    fn release(self: &Rc<Self>, host: usize, mut connection: Connection) {
        if self.is_closing() {
            // QUIT ends the mail transaction too (RFC 5321 §4.1.1.10).
            self.farewell(connection);
        } else if connection.is_alive() {
            let (next_hops, farewell) = (self.clone(), self.farewells.clone());
            spawn("next hop RSET", async move {
                let until = Deadline::after(next_hops.config.command_timeout);
                match connection.reset(until).await {
                    Ok(()) => next_hops.put_back(host, connection),
                    Err(Fault::TimedOut) => next_hops.hosts[host].failed(Stage::Mail, &next_hops.config),
                    Err(_) => {}
                }
                drop(farewell);
            });
        }
    }

    /// Whether no connection is kept: while we drain, and where each is one client's.
    fn is_closing(&self) -> bool {
        self.closed.get() || self.config.next_hop_client.has_own_connections()
    }

    /// QUIT, without anybody waiting for it.
    fn farewell(&self, connection: Connection) {
        let farewell = self.farewells.clone();
        spawn("next hop QUIT", async move {
            connection.quit().await;
            drop(farewell);
        });
    }

    /// Connects to every host and sees what it offers; the connections stay in the pool.
    pub(crate) async fn probe(self: &Rc<Self>) -> Vec<Probe> {
        let probes = self.hosts.iter().enumerate().map(async |(index, host)| {
            let until = Deadline::after(self.config.recipient_timeout);
            let mut stage = Stage::default();
            let offered = match self.connect(host, None, until, &mut stage).await {
                Ok(connection) => {
                    let offered = connection.extensions;
                    self.put_back(index, connection);
                    Ok(offered)
                }
                Err(fault) => Err(fault.reason()),
            };
            Probe { next_hop: host.name.clone(), stage, offered }
        });
        join_all(probes).await
    }

    /// What all hosts take, each by what it offered last.
    pub(crate) fn offers(&self) -> Offers {
        Offers::of_all(self.hosts.iter().filter_map(Host::offered))
    }

    /// Grows when a host offers something else than before.
    pub(crate) fn offers_generation(&self) -> u64 {
        self.hosts.iter().map(Host::offered_generation).sum()
    }

    /// Says QUIT on all idle connections and keeps none from now on. Waits a moment for those on which RSET or QUIT is being said.
    pub(crate) async fn quit(&self) {
        self.closed.set(true);
        let until = Deadline::after(DRAIN_TIMEOUT);
        let idle = self.hosts.iter().flat_map(|host| std::iter::from_fn(|| host.pop_idle()));
        join_all(idle.map(Connection::quit)).await;
        while Rc::strong_count(&self.farewells) > 1 && !until.has_passed() {
            sleep(DRAIN_INTERVAL).await;
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections_opened: self.counters.opened.get(),
            connections_reused: self.counters.reused.get(),
            connections_found_dead: self.counters.found_dead.get(),
            connections_failed: self.counters.failed.get(),
            replays: self.counters.replays.get(),
            outcomes_unknown: self.counters.unknown.get(),
            maildir_groups: 0,
            maildir_members: 0,
            mixed_outcomes: self.counters.mixed.get(),
            deliveries_skipped: self.counters.skipped.get(),
            connections_open: self.hosts.iter().map(Host::open).sum(),
            connections_idle: self.hosts.iter().map(Host::idle).sum(),
        }
    }

    /// How each host is.
    pub(crate) fn hosts(&self) -> Vec<HostState> {
        let state = |host: &Host| HostState {
            name: host.name.clone(),
            is_healthy: host.health.rank() == 0,
            back_off_ms: host.health.back_off_ms(),
            open: host.open(),
            idle: host.idle(),
        };
        self.hosts.iter().map(state).collect()
    }

    fn has_idle(&self) -> bool {
        self.hosts.iter().any(|host| host.idle() > 0)
    }
}

/// Closes connections that have been idle for too long, while there are idle connections.
async fn reap(next_hops: Weak<NextHops>, idle_timeout: Duration) {
    loop {
        sleep((idle_timeout / 2).max(REAP_INTERVAL_MIN)).await;
        let Some(next_hops) = next_hops.upgrade() else { return };
        for host in &next_hops.hosts {
            while let Some(connection) = host.pop_expired(&next_hops.config) {
                next_hops.farewell(connection);
            }
        }
        if !next_hops.has_idle() {
            next_hops.has_reaper.set(false);
            return;
        }
    }
}

/// For a RSET that is answered and the QUIT after it.
const DRAIN_TIMEOUT: Duration = QUIT_TIMEOUT.saturating_mul(2);
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);
const REAP_INTERVAL_MIN: Duration = Duration::from_millis(10);
