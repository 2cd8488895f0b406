//! One shard: everything that one core's connections share, from start to drain.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mx6_delivery::{Delivery, DeliveryConfig, Ledger, NextHopClient, Offers};
use mx6_dkim::Kernels;
use mx6_dns::{Caches, Dns, DnsConfig};
use mx6_message_auth::{AuthConfig, MessageAuth, MessageAuthCaches};
use mx6_policy::{Connector, Gate};
use mx6_runtime::{Deadline, Listener, ListenerCloser, StopFlag};
use mx6_smtp::SessionConfig;
use mx6_telemetry::{Counter, Counters, Recorder};

use crate::Config;
use crate::buffers::Buffers;
use crate::connection::{self, ListenerKind};
use crate::dkim_batch::DkimBatch;
use crate::limits;
use crate::memory::MemoryBudget;
use crate::phase::{Phase, Phases};

/// What a shard is made of, put together before its thread starts.
pub(crate) struct ShardParts {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) kernels: Kernels,
    pub(crate) dns: DnsConfig,
    pub(crate) dns_caches: Caches,
    pub(crate) auth_caches: MessageAuthCaches,
    /// Shared by all shards: a client may try again on any.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) listeners: Vec<(Listener, ListenerKind)>,
    pub(crate) counters: Counters,
    pub(crate) recorder: Recorder,
    pub(crate) stop: StopFlag,
    /// Distinguishes session ids of this process from those of others; the same on all shards.
    pub(crate) process_id: u64,
}

/// What the connections of one core share.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) gate: Rc<Gate>,
    pub(crate) connectors: Vec<Connector>,
    pub(crate) proxy_from: Vec<IpNet>,
    pub(crate) auth: MessageAuth,
    pub(crate) delivery: Delivery,
    pub(crate) next_hop_client: NextHopClient,
    pub(crate) batch: Rc<DkimBatch>,
    pub(crate) memory: MemoryBudget,
    pub(crate) spill_dir: Arc<Path>,
    pub(crate) counters: Counters,
    pub(crate) recorder: RefCell<Recorder>,
    /// What connections hear of the end.
    pub(crate) phases: Phases,
    pub(crate) buffers: Buffers,
    stop: StopFlag,
    config: Arc<Config>,
    session_config: RefCell<Arc<SessionConfig>>,
    /// Of the offers that `session_config` was made from.
    offers_generation: Cell<u64>,
    open: Cell<usize>,
    delivering: Cell<usize>,
    failure: Cell<Option<String>>,
    sessions: Cell<u64>,
    process_id: u64,
}

/// Counts a delivery while it is under way.
pub(crate) struct Delivering(Rc<Shard>);

impl Drop for Delivering {
    fn drop(&mut self) {
        self.0.delivering.set(self.0.delivering.get() - 1);
    }
}

/// Counts a connection while it is open.
pub(crate) struct Opened(Rc<Shard>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.counters.add_one(Counter::ConnectionsEnded);
    }
}

impl Shard {
    /// Runs a shard until it was stopped and has drained.
    ///
    /// # Errors
    /// If the shard cannot serve; the others were told to stop then.
    pub(crate) async fn run(parts: ShardParts) -> Result<(), String> {
        let auth = lookups(&parts).map_err(|error| {
            parts.stop.set();
            error.to_string()
        })?;
        let listeners = parts.listeners;
        let config = parts.config;
        let next_hop_client = config.next_hop_client;
        let delivery_config = DeliveryConfig { next_hop_client, ..DeliveryConfig::new(&config.hostname) };
        let delivery = Delivery::with_ledger(&config.target, delivery_config, parts.ledger);
        let shard = Rc::new(Shard {
            index: parts.index,
            gate: Rc::new(config.gate.clone()),
            connectors: config.connectors.clone(),
            proxy_from: config.proxy_from.clone(),
            auth,
            batch: DkimBatch::new(config.dkim_batch, parts.kernels, parts.counters.clone()),
            memory: MemoryBudget::new(config.memory_octets),
            spill_dir: config.spill_dir.as_path().into(),
            counters: parts.counters,
            recorder: RefCell::new(parts.recorder),
            phases: Phases::default(),
            buffers: Buffers::default(),
            stop: parts.stop,
            session_config: RefCell::new(Arc::new(session_config(&config, delivery.offers()))),
            offers_generation: Cell::new(delivery.offers_generation()),
            delivery,
            next_hop_client,
            config,
            open: Cell::new(0),
            delivering: Cell::new(0),
            failure: Cell::new(None),
            sessions: Cell::new(0),
            process_id: parts.process_id,
        });
        // The first sessions should be offered what the next hops take. One that does not answer is not waited for.
        let has_looked = mx6_runtime::timeout(limits::NEXT_HOP_FIRST_LOOK, shard.delivery.probe()).await.is_some();
        mx6_runtime::spawn("next-hop offers", Rc::clone(&shard).follow_next_hops(has_looked));
        let closers: Vec<ListenerCloser> = listeners.iter().map(|(listener, _)| listener.closer()).collect();
        for (listener, kind) in listeners {
            mx6_runtime::spawn("accept", accept(Rc::clone(&shard), listener, kind));
        }
        shard.stop.stopped().await;
        shard.phases.enter(Phase::Draining);
        for closer in closers {
            closer.close();
        }
        shard.drain().await;
        shard.failure.take().map_or(Ok(()), Err)
    }

    /// Waits until the last connection has ended, within the drain timeout. Deliveries are not cut off: their own deadline bounds them.
    /// Then says QUIT to the pooled next-hop connections.
    async fn drain(&self) {
        let deadline = Deadline::after(self.config.drain_timeout);
        while self.open.get() > 0 && !deadline.has_passed() {
            mx6_runtime::sleep(DRAIN_POLL).await;
        }
        if self.open.get() > 0 {
            mx6_telemetry::say!("shard {}: drain timeout, {} connections are cut off", self.index, self.open.get());
            self.phases.enter(Phase::CutOff);
            let deadline = Deadline::after(limits::CUT_OFF_TIME);
            while self.open.get() > 0 && (self.delivering.get() > 0 || !deadline.has_passed()) {
                mx6_runtime::sleep(DRAIN_POLL).await;
            }
        }
        self.delivery.quit().await;
        // The last closed sockets leave with the next turns of the ring.
        mx6_runtime::sleep(DRAIN_POLL).await;
        mx6_runtime::sleep(DRAIN_POLL).await;
    }

    /// Counts a delivery; it counts as under way until the token is dropped.
    pub(crate) fn delivering(self: &Rc<Self>) -> Delivering {
        self.delivering.set(self.delivering.get() + 1);
        Delivering(Rc::clone(self))
    }

    /// Counts a connection; it counts as open until the token is dropped.
    pub(crate) fn opened(self: &Rc<Self>) -> Opened {
        self.open.set(self.open.get() + 1);
        self.counters.add_one(Counter::Connections);
        Opened(Rc::clone(self))
    }

    /// A name for a session, unique over shards and restarts.
    pub(crate) fn next_session_id(&self) -> String {
        let number = self.sessions.get();
        self.sessions.set(number + 1);
        format!("{:x}-{:x}-{number:x}", self.process_id, self.index)
    }

    /// What a new session offers: made anew as soon as a next hop has said that it takes something else than before.
    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        let generation = self.delivery.offers_generation();
        if self.offers_generation.replace(generation) != generation {
            *self.session_config.borrow_mut() = Arc::new(session_config(&self.config, self.delivery.offers()));
        }
        Arc::clone(&self.session_config.borrow())
    }

    /// Every new connection to a next hop tells what it takes; this one asks also while there is no mail.
    async fn follow_next_hops(self: Rc<Self>, mut has_looked: bool) {
        loop {
            if has_looked {
                mx6_runtime::sleep(limits::NEXT_HOP_LIMITS_PERIOD).await;
            }
            self.delivery.probe().await;
            has_looked = true;
        }
    }
}

fn lookups(parts: &ShardParts) -> Result<MessageAuth, Box<dyn std::error::Error>> {
    let dns = Dns::new(&parts.dns, parts.dns_caches.clone())?;
    let (authserv_id, further_ids) = match parts.config.authserv_ids.split_first() {
        Some((first, further)) => (first.clone(), further.to_vec()),
        None => (parts.config.hostname.clone(), Vec::new()),
    };
    let config = AuthConfig { hostname: parts.config.hostname.clone(), authserv_id, further_ids };
    Ok(MessageAuth::new(dns, parts.auth_caches.clone(), config)?)
}

/// SIZE is offered as the smallest that the next hops take, less our fields.
fn session_config(config: &Config, offers: Offers) -> SessionConfig {
    let relayed = offers.size_max.map(|octets| octets.saturating_sub(mx6_delivery::ADDED_OCTETS_ALLOWANCE));
    // 0 would mean no limit at all.
    let size_limit = relayed.map_or(config.size_limit, |relayed| relayed.clamp(1, config.size_limit));
    SessionConfig { hostname: config.hostname.clone(), size_limit, ..SessionConfig::default() }
}

async fn accept(shard: Rc<Shard>, listener: Listener, kind: ListenerKind) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                mx6_runtime::spawn("connection", connection::serve(Rc::clone(&shard), stream, peer, kind));
            }
            Err(error) if mx6_runtime::accept_is_fatal(&error) => {
                if !shard.stop.is_set() {
                    shard.failure.set(Some(format!("{} is no longer served: {error}", listener.local_addr())));
                    shard.stop.set();
                }
                return;
            }
            Err(error) if mx6_runtime::accept_is_starved(&error) => {
                if shard.counters.value(Counter::AcceptStarved).is_multiple_of(ACCEPT_STARVED_TOLD) {
                    mx6_telemetry::say!("shard {}: connections wait, accept: {error}", shard.index);
                }
                shard.counters.add_one(Counter::AcceptStarved);
                mx6_runtime::sleep(limits::ACCEPT_PAUSE).await;
            }
            // This one connection was gone before it was taken.
            Err(_) => {}
        }
        // Further connections wait in the kernel's backlog.
        while shard.open.get() >= limits::CONNECTIONS_MAX && !shard.stop.is_set() {
            mx6_runtime::sleep(limits::ACCEPT_PAUSE).await;
        }
    }
}

/// Every so many failed accepts it is said again: about once a minute.
const ACCEPT_STARVED_TOLD: u64 = 1_200;
const DRAIN_POLL: Duration = Duration::from_millis(20);
