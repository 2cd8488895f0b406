//! The gate in a simulated world: thousands of seeds, each a short life of one shard with its clients, its resolver and its next hops.
//!
//! What runs is the real thing, from [`Shard::run`] down: accept, connection, session, transaction, lookups by hickory, caches, policy, DKIM
//! batch, delivery with its pool, failover and deadlines, drain. What is simulated is below it (`mx6_runtime::simulation`: tasks, time,
//! streams, datagrams) and around it (this folder): clients that cut, pipeline, stall, disconnect and talk garbage, by DATA
//! and by BDAT; limits by prefix and a small budget of memory; a resolver that is silent,
//! late, broken or says no; next hops that refuse, hang, close and talk garbage at every step, also after they have taken a message. Messages
//! go over SMTP or into a Maildir on the real disk, whose folder may vanish; a step on the disk may fail, also with a body that is spilled.
//!
//! Not covered: several shards, sockets and the ring, DNS over TCP, PROXY headers, TLS. Those have tests of their own.
//!
//! A seed that fails is printed and runs again by itself with `MX6_SIM_SEED=SEED cargo test -p mx6-server simulation`; `MX6_SIM_SEEDS=N`
//! tries N of them.

mod caps;
mod checks;
mod client;
mod drain;
mod limits;
mod load;
mod maildir;
mod next_hop;
mod resolver;

use std::cell::RefCell;
use std::fmt;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::join_all;
use mx6_dkim::Kernels;
use mx6_dns::Caches;
use mx6_message_auth::MessageAuthCaches;
use mx6_policy::limits::LimitTable;
use mx6_runtime::simulation::{draw, simulate};
use mx6_runtime::{Latest, Listener, StopFlag};
use mx6_telemetry::{Counter, Counters, LogTarget, Recorders};

use crate::breaker::Breaker;
use crate::check::dns_config;
use crate::connection::ListenerKind;
use crate::heartbeat::Heartbeats;
use crate::reload;
use crate::shard::{Shard, ShardParts};
use crate::{Config, Options};

/// Everything around the gate, and what it saw.
struct World {
    resolver: resolver::Resolver,
    /// Of a thousand steps of a next hop, how many go wrong.
    next_hop_faults: u64,
    /// Of a thousand steps of a client.
    client_faults: u64,
    limits: limits::Limits,
    /// What the next hops took, or what stands in the Maildir at the end.
    taken: RefCell<Vec<Taken>>,
    attempts: RefCell<Vec<Attempt>>,
}

/// A message that a next hop took over.
#[derive(Clone, PartialEq, Eq)]
struct Taken {
    recipients: Vec<String>,
    octets: Vec<u8>,
    /// The next hop said so; otherwise the connection ended, or hung, before the reply was whole.
    told: bool,
}

/// A message as its client saw it.
#[derive(Clone, PartialEq, Eq)]
struct Attempt {
    token: String,
    client: SocketAddr,
    sender: &'static str,
    signed: bool,
    /// Those that were answered with 250, and what the others heard.
    recipients: Vec<String>,
    refusals: Vec<String>,
    /// What must arrive behind our own fields.
    expected: Vec<u8>,
    /// The last octet of the final dot was written.
    complete: bool,
    /// The reply to it, as one line.
    reply: Option<String>,
}

/// What a life came to, for looking at two of them and for the sum of many.
#[derive(Debug, Default)]
struct Life {
    ended_ms: u64,
    taken: Vec<Taken>,
    attempts: Vec<Attempt>,
    unknown: u64,
    /// Refused by limits, and for want of memory.
    limited: u64,
    memory_refused: u64,
}

const GATE: &str = "[2001:db8::25]:25";
const RESOLVER: &str = "[2001:db8::53]:53";
const NEXT_HOPS: [&str; 2] = ["[2001:db8::a]:25", "[2001:db8::b]:25"];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn options(maildir: Option<&PathBuf>) -> Options {
    let deliver = match maildir {
        Some(path) => vec![format!("maildir:{}", path.display())],
        None => NEXT_HOPS.iter().map(|host| format!("smtp://{host}")).collect(),
    };
    Options {
        hostname: Some("mx.test".into()),
        listen: vec![GATE.into()],
        dns_server: vec![RESOLVER.into()],
        domain: ["open.test=accept", "closed.test=reject", "trial.test=monitor"].map(str::to_owned).into(),
        deliver,
        ..Options::default()
    }
}

/// The shard while it runs.
struct Gate {
    counters: Counters,
    stop: StopFlag,
    ended: oneshot::Receiver<Result<(), String>>,
    recorders: Recorders,
}

impl Gate {
    fn start(config: Config) -> Gate {
        Gate::start_on(config, ListenerKind::Direct)
    }

    fn start_on(config: Config, kind: ListenerKind) -> Gate {
        let (counters, stop) = (Counters::default(), StopFlag::new());
        let log = LogTarget::File("/dev/null".into());
        let mut recorders = Recorders::start(log.open().unwrap(), std::slice::from_ref(&counters), None).unwrap();
        config.target.prepare().unwrap();
        let sizes = config.cache_octets;
        let parts = ShardParts {
            index: 0,
            kernels: Kernels::PORTABLE,
            dns: dns_config(&config.names, config.dns_timeout).unwrap(),
            dns_caches: Caches::new(&sizes.dns()),
            auth_caches: MessageAuthCaches::new(&sizes.message_auth()),
            listeners: vec![(Listener::bind(address(GATE), 100).unwrap(), kind)],
            counters: counters.clone(),
            recorder: recorders.take(0).unwrap(),
            stop: stop.clone(),
            breaker: Breaker::new(&config),
            limits: Arc::new(LimitTable::new(config.limit_table_octets, RandomState::new())),
            ledger: Arc::default(),
            heartbeats: Heartbeats::new(1, mx6_runtime::now_ms()),
            board: crate::status::Board::new(1),
            // Nobody listens.
            up: mpsc::channel().0,
            snapshots: Latest::new(Arc::new(reload::first_snapshot(config))),
            process_id: 7,
        };
        let (end, ended) = oneshot::channel();
        mx6_runtime::spawn("shard", async move { drop(end.send(Shard::run(parts).await)) });
        Gate { counters, stop, ended, recorders }
    }

    /// Waits until every session has ended by itself: no client is there any more.
    async fn forget_all_clients(&self) {
        let open = || self.counters.value(Counter::Connections) - self.counters.value(Counter::ConnectionsEnded);
        for _ in 0..SESSION_ENDS_WITHIN_S {
            if open() == 0 {
                return;
            }
            mx6_runtime::sleep(Duration::from_secs(1)).await;
        }
        panic!("{} sessions go on without their clients", open());
    }

    /// Stops it, waits until it has drained, and gives what it counted.
    async fn end(self) -> Counters {
        self.stop.set();
        self.ended.await.expect("the shard's task ends").expect("the shard ends well");
        // Its thread sleeps in real time; nobody waits for it.
        std::thread::spawn(move || self.recorders.close());
        self.counters
    }
}

/// One life, and every invariant at its end.
async fn live() -> Life {
    let world = Rc::new(World {
        resolver: resolver::Resolver::default(),
        next_hop_faults: [0, 20, 100, 300][draw(4) as usize],
        client_faults: [0, 10, 40][draw(3) as usize],
        limits: limits::Limits::drawn(),
        taken: RefCell::default(),
        attempts: RefCell::default(),
    });
    resolver::serve(&world, address(RESOLVER));
    let maildir = (draw(6) == 0).then(maildir::Folder::new);
    if maildir.is_none() {
        NEXT_HOPS.iter().for_each(|host| next_hop::serve(&world, address(host)));
    }
    let config = world.limits.config(options(maildir.as_ref().map(|folder| &folder.path)));
    let gate = Gate::start(config);
    let stores = maildir::break_disk_sometimes() || maildir.is_none();

    let clients = (0..=draw(3)).map(|number| client::live(Rc::clone(&world), number));
    // Some lives are cut short by a stop in the middle.
    let early_stop = draw(5) == 0;
    let stopping = async {
        if early_stop {
            mx6_runtime::sleep(Duration::from_millis(draw(5_000))).await;
            gate.stop.set();
        }
    };
    let vanishing = async {
        if let Some(folder) = &maildir {
            folder.vanish_sometimes().await;
        }
    };
    futures_util::join!(join_all(clients), stopping, vanishing);
    if !early_stop {
        gate.forget_all_clients().await;
    }
    let counters = gate.end().await;
    if let Some(folder) = maildir {
        *world.taken.borrow_mut() = folder.messages();
        world.taken.borrow_mut().sort_by(|one, other| one.recipients.cmp(&other.recipients));
    }
    let life = Life {
        ended_ms: mx6_runtime::now_ms(),
        taken: world.taken.take(),
        attempts: world.attempts.take(),
        unknown: counters.value(Counter::MessagesUnknown),
        limited: counters.value(Counter::ConnectionLimit) + counters.value(Counter::MessageLimit),
        memory_refused: counters.value(Counter::MemoryRefused),
    };
    assert!(stores || !life.attempts.iter().any(Attempt::is_accepted), "accepted, and nothing can be stored");
    assert_eq!(
        counters.value(Counter::Connections),
        counters.value(Counter::ConnectionsEnded),
        "a session never ended"
    );
    assert!(life.ended_ms < LIFE_MS_MAX, "it took {} ms", life.ended_ms);
    world.limits.assert_held(life.ended_ms, &counters);
    checks::assert_all(&world, &life);
    life
}

/// A message that is under way when its client leaves still comes to its end.
const SESSION_ENDS_WITHIN_S: u64 = 330;
/// Clients stall for some minutes and next hops hang for ten, a few times each.
const LIFE_MS_MAX: u64 = 4 * 3_600_000;

/// The life of a seed, or what was wrong with it.
fn life(seed: u64) -> Life {
    let panics = mx6_runtime::panics();
    let result = catch_unwind(AssertUnwindSafe(|| simulate(seed, live)));
    match result {
        Ok(life) if mx6_runtime::panics() == panics => life,
        Ok(_) => panic!("MX6_SIM_SEED={seed}: a task panicked"),
        Err(_) => panic!("MX6_SIM_SEED={seed} fails; the message stands above"),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn no_seed_breaks_an_invariant() {
    let seeds = match number("MX6_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MX6_SIM_SEEDS").unwrap_or(2_000),
    };
    let count = seeds.end - seeds.start;
    let (mut attempts, mut accepted, mut taken, mut unknown, mut hours) = (0, 0, 0, 0, 0.0);
    let (mut limited, mut memory_refused, mut disk_refused) = (0, 0, 0);
    for seed in seeds {
        let life = life(seed);
        attempts += life.attempts.len();
        accepted += life.attempts.iter().filter(|attempt| attempt.is_accepted()).count();
        taken += life.taken.len();
        unknown += life.unknown;
        limited += life.limited;
        memory_refused += life.memory_refused;
        disk_refused += life.attempts.iter().filter(|attempt| attempt.is_refused_by_disk()).count();
        hours += life.ended_ms as f64 / 3_600_000.0;
    }
    println!(
        "{count} lives, {hours:.0} hours: {attempts} messages begun, {accepted} accepted, {taken} taken, {unknown} unknown, \
         {limited} refused by limits, {memory_refused} for want of memory, {disk_refused} by the disk"
    );
    let happens = accepted > 300 && unknown > 10 && limited > 100 && memory_refused > 100 && disk_refused > 100;
    assert!(count < 1_000 || happens, "nothing happens in this world");
}

#[test]
fn a_seed_replays() {
    for seed in 0..40 {
        assert_eq!(format!("{:#?}", life(seed)), format!("{:#?}", life(seed)), "seed {seed}");
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets to {:?}, told: {}", self.octets.len(), self.recipients, self.told)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt { token, client, sender, signed, recipients, refusals, expected, complete, reply } = self;
        write!(f, "{token} from {client}, {sender}, signed: {signed}, {} octets to {recipients:?}, ", expected.len())?;
        write!(f, "complete: {complete}, refusals {refusals:?}, {reply:?}")
    }
}

impl Attempt {
    fn is_accepted(&self) -> bool {
        self.reply.as_deref().is_some_and(|reply| reply.starts_with('2'))
    }

    /// By one that is broken: what is said of a full one is said for want of memory too.
    fn is_refused_by_disk(&self) -> bool {
        self.reply.as_deref().is_some_and(|reply| reply.starts_with("452 4.3.0 System storage failed"))
    }
}
