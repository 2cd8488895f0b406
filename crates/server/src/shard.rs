//! One shard: everything that one core's connections share, from start to drain.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mx6_delivery::Ledger;
use mx6_dkim::Kernels;
use mx6_dns::{Caches, Dns, DnsConfig};
use mx6_message_auth::{AuthConfig, MessageAuth, MessageAuthCaches};
use mx6_policy::Client;
use mx6_policy::limits::LimitTable;
use mx6_runtime::{Deadline, Follower, Latest, Listener, ListenerHandle, Share, SpareDescriptor, StopFlag};
use mx6_telemetry::{Counter, Counters, Gauge, Recorder, Timing};

use crate::Config;
use crate::admission::{self, Limits};
use crate::breaker::Breaker;
use crate::buffers::Buffers;
use crate::connection::{self, ListenerKind};
use crate::dkim_batch::DkimBatch;
use crate::heartbeat::Heartbeats;
use crate::limits;
use crate::load::{self, Load};
use crate::memory::MemoryBudget;
use crate::phase::{Phase, Phases};
use crate::settings::{Settings, Snapshot};
use crate::shares::{Parts, Shares};
use crate::status::Board;

/// What a shard is made of, put together before its thread starts.
pub(crate) struct ShardParts {
    pub(crate) index: usize,
    pub(crate) snapshots: Latest<Snapshot>,
    pub(crate) kernels: Kernels,
    pub(crate) dns: DnsConfig,
    pub(crate) dns_caches: Caches,
    pub(crate) auth_caches: MessageAuthCaches,
    pub(crate) limits: Arc<LimitTable>,
    /// Shared by all shards: a client may try again on any.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) listeners: Vec<(Listener, ListenerKind)>,
    pub(crate) breaker: Breaker,
    pub(crate) counters: Counters,
    pub(crate) recorder: Recorder,
    pub(crate) stop: StopFlag,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) board: Board,
    /// Told once connections are accepted.
    pub(crate) up: Sender<()>,
    /// Distinguishes session ids of this process from those of others; the same on all shards.
    pub(crate) process_id: u64,
}

/// What the connections of one core share.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) auth: MessageAuth,
    /// Shared by all shards: a client may try again on any.
    ledger: Arc<Ledger>,
    pub(crate) batch: Rc<DkimBatch>,
    pub(crate) memory: MemoryBudget,
    /// What clients of one neighbourhood may take of lookups and memory.
    shares: Shares,
    pub(crate) limits: Limits,
    pub(crate) load: Load,
    pub(crate) spill_dir: Arc<Path>,
    pub(crate) breaker: Breaker,
    /// Where others can read of its next hops.
    pub(crate) board: Board,
    pub(crate) counters: Counters,
    pub(crate) recorder: RefCell<Recorder>,
    /// What connections hear of the end.
    pub(crate) phases: Phases,
    pub(crate) buffers: Buffers,
    stop: StopFlag,
    settings: RefCell<Rc<Settings>>,
    open: Cell<usize>,
    /// Accept loops that have not ended.
    accepting: Cell<usize>,
    delivering: Cell<usize>,
    failure: Cell<Option<String>>,
    sessions: Cell<u64>,
    /// Accepted recipients since the last that was recorded.
    accepted: Cell<u64>,
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
pub(crate) struct Opened {
    shard: Rc<Shard>,
    at_us: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.shard.open.set(self.shard.open.get() - 1);
        self.shard.counters.add_one(Counter::ConnectionsEnded);
        self.shard.counters.time(Timing::Session, mx6_runtime::now_us() - self.at_us);
    }
}

impl Shard {
    /// Runs a shard until it was stopped and has drained.
    ///
    /// # Errors
    /// If the shard cannot serve; the others were told to stop then.
    pub(crate) async fn run(parts: ShardParts) -> Result<(), String> {
        let snapshots = parts.snapshots.follow();
        let snapshot = parts.snapshots.get();
        let config = &snapshot.config;
        let (auth, dns) = lookups(&parts, config).map_err(|error| {
            parts.stop.set();
            error.to_string()
        })?;
        if parts.index == 0 {
            mx6_runtime::spawn("dns breaker", parts.breaker.clone().watch(dns, parts.counters.clone()));
        }
        let listeners = parts.listeners;
        let memory = MemoryBudget::new(config.memory_octets, parts.counters.clone());
        let shares = Shares::new(auth.lookups().clone(), memory.whole().clone());
        let shard = Rc::new(Shard {
            index: parts.index,
            auth,
            batch: DkimBatch::new(config.dkim_batch, parts.kernels, parts.counters.clone()),
            memory,
            shares,
            limits: Limits::new(parts.limits),
            load: Load::default(),
            spill_dir: config.spill_dir.as_path().into(),
            breaker: parts.breaker,
            board: parts.board,
            counters: parts.counters,
            recorder: RefCell::new(parts.recorder),
            phases: Phases::default(),
            buffers: Buffers::default(),
            stop: parts.stop,
            settings: RefCell::new(Rc::new(Settings::new(&snapshot, None, &parts.ledger))),
            ledger: parts.ledger,
            open: Cell::new(0),
            accepting: Cell::new(listeners.len()),
            delivering: Cell::new(0),
            failure: Cell::new(None),
            sessions: Cell::new(0),
            accepted: Cell::new(0),
            process_id: parts.process_id,
        });
        shard.counters.set(Gauge::ThreadId, thread_id());
        let has_looked = first_look(&shard.settings()).await;
        mx6_runtime::spawn("next-hop offers", Rc::clone(&shard).follow_next_hops(has_looked));
        mx6_runtime::spawn("settings", Rc::clone(&shard).follow_snapshots(snapshots));
        let handles: Vec<ListenerHandle> = listeners.iter().map(|(listener, _)| listener.handle()).collect();
        mx6_runtime::spawn("load", load::watch(Rc::clone(&shard), handles.clone()));
        for (listener, kind) in listeners {
            mx6_runtime::spawn("accept", accept(Rc::clone(&shard), listener, kind));
        }
        mx6_runtime::spawn("heartbeat", parts.heartbeats.keep(shard.index));
        // Nobody listens only when the gate ends already.
        let _ = parts.up.send(());
        shard.stop.stopped().await;
        for handle in handles {
            handle.close();
        }
        shard.settle().await;
        shard.phases.enter(Phase::Draining);
        shard.drain().await;
        shard.failure.take().map_or(Ok(()), Err)
    }

    /// A client that was greeted a moment ago is about to say MAIL: it gets the time to, before sessions without a transaction are ended.
    async fn settle(&self) {
        let deadline = Deadline::after(limits::SETTLE_TIME);
        while self.open.get() + self.accepting.get() > 0 && !deadline.has_passed() {
            mx6_runtime::sleep(DRAIN_POLL).await;
        }
    }

    /// Waits until the listeners' queues are empty and the last connection has ended, within the drain timeout. Deliveries are not cut off: their own deadline bounds them.
    /// Then says QUIT to the pooled next-hop connections.
    async fn drain(&self) {
        let deadline = Deadline::after(self.settings().config.drain_timeout);
        while self.open.get() + self.accepting.get() > 0 && !deadline.has_passed() {
            mx6_runtime::sleep(DRAIN_POLL).await;
        }
        if self.open.get() > 0 {
            mx6_telemetry::warning!("shard {}: drain timeout, {} connections are cut off", self.index, self.open.get());
            self.phases.enter(Phase::CutOff);
            let deadline = Deadline::after(limits::CUT_OFF_TIME);
            while self.open.get() > 0 && (self.delivering.get() > 0 || !deadline.has_passed()) {
                mx6_runtime::sleep(DRAIN_POLL).await;
            }
        }
        // None begins after the cut-off.
        self.settings().delivery.quit().await;
        // The last closed sockets leave with the next turns of the ring.
        mx6_runtime::sleep(DRAIN_POLL).await;
        mx6_runtime::sleep(DRAIN_POLL).await;
    }

    /// Connections now.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
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
        Opened { shard: Rc::clone(self), at_us: mx6_runtime::now_us() }
    }

    /// The checks within what this client may take of the lookups, and what it may take of the memory for messages.
    pub(crate) fn allotted(&self, client: &Client) -> (MessageAuth, Share) {
        let Parts { lookups, memory } = self.shares.of(client);
        (self.auth.within(lookups), memory)
    }

    /// Whether one more accepted recipient is the one of so many that is recorded (`--log-sample`).
    pub(crate) fn is_sampled(&self) -> bool {
        let accepted = self.accepted.get() + 1;
        let is_sampled = accepted >= self.settings.borrow().config.log_sample;
        self.accepted.set(if is_sampled { 0 } else { accepted });
        is_sampled
    }

    /// A name for a session, unique over shards and restarts.
    pub(crate) fn next_session_id(&self) -> String {
        let number = self.sessions.get();
        self.sessions.set(number + 1);
        format!("{:x}-{:x}-{number:x}", self.process_id, self.index)
    }

    /// The settings that hold now.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// Takes over each new snapshot. The pool of next-hop connections stays if the next hops are the same; else the old one ends with the
    /// transactions that hold it.
    async fn follow_snapshots(self: Rc<Self>, mut snapshots: Follower<Snapshot>) {
        loop {
            let snapshot = snapshots.next().await;
            let old = self.settings();
            let settings = Rc::new(Settings::new(&snapshot, Some(&old), &self.ledger));
            let is_same = old.delivers_as(&settings.config);
            if !is_same {
                first_look(&settings).await;
            }
            *self.settings.borrow_mut() = settings;
            if !is_same {
                old.delivery.quit().await;
            }
        }
    }

    /// Every new connection to a next hop tells what it takes; this one asks also while there is no mail.
    async fn follow_next_hops(self: Rc<Self>, mut has_looked: bool) {
        loop {
            if has_looked {
                mx6_runtime::sleep(limits::NEXT_HOP_LIMITS_PERIOD).await;
            }
            self.settings().delivery.probe().await;
            has_looked = true;
        }
    }
}

/// The kernel's number for this thread.
fn thread_id() -> u64 {
    u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or_default()
}

/// The first sessions should be offered what the next hops take. One that does not answer is not waited for; then this is false.
async fn first_look(settings: &Settings) -> bool {
    mx6_runtime::timeout(limits::NEXT_HOP_FIRST_LOOK, settings.delivery.probe()).await.is_some()
}

fn lookups(parts: &ShardParts, config: &Config) -> Result<(MessageAuth, Dns), Box<dyn std::error::Error>> {
    let dns = Dns::new(&parts.dns, parts.dns_caches.clone())?;
    let (authserv_id, further_ids) = match config.authserv_ids.split_first() {
        Some((first, further)) => (first.clone(), further.to_vec()),
        None => (config.hostname.clone(), Vec::new()),
    };
    let config = AuthConfig { hostname: config.hostname.clone(), authserv_id, further_ids };
    Ok((MessageAuth::new(dns.clone(), parts.auth_caches.clone(), config)?, dns))
}

async fn accept(shard: Rc<Shard>, listener: Listener, kind: ListenerKind) {
    accept_all(&shard, &listener, kind).await;
    shard.accepting.set(shard.accepting.get() - 1);
}

/// Spawns a task for each connection, until accepting has ended.
async fn accept_all(shard: &Rc<Shard>, listener: &Listener, kind: ListenerKind) {
    let mut spare = SpareDescriptor::take();
    let mut busy = Vec::new();
    admission::busy_reply(&shard.settings().config.hostname).write_to(&mut busy);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                mx6_runtime::spawn("connection", connection::serve(Rc::clone(shard), stream, peer, kind));
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
                    mx6_telemetry::warning!("shard {}: connections wait, accept: {error}", shard.index);
                }
                shard.counters.add_one(Counter::AcceptStarved);
                if listener.turn_away(&mut spare, &busy) {
                    shard.counters.add_one(Counter::ShedUnaccepted);
                } else {
                    mx6_runtime::sleep(limits::ACCEPT_PAUSE).await;
                }
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
