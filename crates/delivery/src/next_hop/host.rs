//! One next hop as a shard knows it: its addresses, its idle connections, its health.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mx6_runtime::{Deadline, now_ms};
use mx6_smtp::client::Extensions;

use super::addresses::Addresses;
use super::connection::{Connection, Slot};
use super::fault::Fault;
use super::health::{Health, millis};
use super::lookup::{self, Lookup};
use super::opening::{Endpoint, Opening};
use crate::{DeliveryConfig, NextHop, Stage};

/// A next hop and what is known of it.
#[derive(Debug)]
pub(crate) struct Host {
    /// As the operator named it.
    pub(crate) name: Arc<str>,
    location: Location,
    /// The one put back last is at the end, and is taken first: the others may grow old.
    idle: RefCell<VecDeque<Connection>>,
    open: Rc<Cell<usize>>,
    offered: Cell<Offered>,
    pub(crate) health: Health,
}

/// What the connection made last was offered.
#[derive(Debug, Clone, Copy, Default)]
struct Offered {
    /// None while it was never reached, and when it has been away for too long.
    extensions: Option<Extensions>,
    at_ms: u64,
    /// How often it was something else than before.
    generation: u64,
}

/// Where it is.
#[derive(Debug)]
enum Location {
    /// There, as the operator says.
    Fixed(Arc<[Endpoint]>),
    /// Where its name leads to.
    Named(Addresses),
}

impl Location {
    fn of(next_hop: &NextHop, lookup: Lookup) -> Location {
        let port = next_hop.port();
        if let Some(path) = next_hop.socket() {
            return Location::Fixed(Arc::new([Endpoint::Unix(path.clone())]));
        }
        match next_hop.address() {
            Some(address) => Location::Fixed(Arc::new([Endpoint::Tcp(SocketAddr::new(address, port))])),
            None => Location::Named(Addresses::new(next_hop.name().unwrap_or_default(), port, lookup)),
        }
    }
}

impl Host {
    pub(crate) fn new(next_hop: &NextHop) -> Host {
        Host::found_by(next_hop, lookup::system)
    }

    /// One whose name, if it has one, is looked up in that way.
    fn found_by(next_hop: &NextHop, lookup: Lookup) -> Host {
        Host {
            name: next_hop.to_string().into(),
            location: Location::of(next_hop, lookup),
            idle: RefCell::default(),
            open: Rc::default(),
            offered: Cell::default(),
            health: Health::default(),
        }
    }

    /// A new connection, over which EHLO was said. A failure counts against the host; a success says nothing yet of its health.
    pub(crate) async fn connect(
        &self,
        opening: Opening<'_>,
        until: Deadline,
        stage: &mut Stage,
    ) -> Result<Connection, Fault> {
        let config = opening.config;
        *stage = Stage::Connect;
        let mut fault = Fault::NoAddress;
        let addresses = self.addresses(config, until).await;
        for (index, endpoint) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = Deadline::after(until.remaining() / left).earlier(until);
            let slot = Slot::take(&self.open, config.connections_max).ok_or(Fault::Busy)?;
            match opening.connect(endpoint, slot, share, stage).await {
                Ok(connection) => {
                    self.learn(Some(connection.extensions));
                    return Ok(connection);
                }
                Err(refused @ Fault::ClientRefused(_)) => return Err(refused),
                Err(next) => fault = next,
            }
        }
        self.failed(*stage, config);
        if now_ms().saturating_sub(self.offered.get().at_ms) >= millis(config.offers_timeout) {
            self.learn(None);
        }
        Err(fault)
    }

    fn learn(&self, extensions: Option<Extensions>) {
        let before = self.offered.get();
        let generation = before.generation + u64::from(before.extensions != extensions);
        self.offered.set(Offered { extensions, at_ms: now_ms(), generation });
    }

    /// The host failed us at `stage`: for some time others are tried first, and its addresses are looked up again.
    pub(crate) fn failed(&self, stage: Stage, config: &DeliveryConfig) {
        self.health.failed(stage, config);
        if let Location::Named(addresses) = &self.location {
            addresses.doubt();
        }
    }

    /// Takes the idle connection that was used last.
    pub(crate) fn pop_idle(&self) -> Option<Connection> {
        self.idle.borrow_mut().pop_back()
    }

    /// Takes the idle connection that was used longest ago, if it has been idle for the whole timeout.
    pub(crate) fn pop_expired(&self, config: &DeliveryConfig) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        if idle.front()?.idle() < config.idle_timeout { None } else { idle.pop_front() }
    }

    /// Keeps an idle connection.
    pub(crate) fn push_idle(&self, mut connection: Connection) {
        connection.idle_since_ms = now_ms();
        self.idle.borrow_mut().push_back(connection);
    }

    /// How many are idle.
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// What it offered when a connection to it was last made; none when that is too long ago, or never was.
    pub(crate) fn offered(&self) -> Option<Extensions> {
        self.offered.get().extensions
    }

    /// Grows when it offers something else than before.
    pub(crate) fn offered_generation(&self) -> u64 {
        self.offered.get().generation
    }

    /// How many are open, idle or not.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    async fn addresses(&self, config: &DeliveryConfig, until: Deadline) -> Arc<[Endpoint]> {
        match &self.location {
            Location::Fixed(endpoints) => endpoints.clone(),
            Location::Named(addresses) => addresses.get(config.addresses_timeout, until).await,
        }
    }
}

#[cfg(test)]
mod tests;
