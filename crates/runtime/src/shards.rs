//! Starting the shards, and learning at once when one is lost.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use rustix::thread::CpuSet;

use crate::stop::StopFlag;
use crate::task::panic_text;
use crate::{Cores, blocking};

/// Which shard this is: its index among the cores and the CPU it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardId {
    /// From 0, in the order of [`Cores`].
    pub index: usize,
    /// The CPU's number.
    pub cpu: usize,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} (CPU {})", self.index, self.cpu)
    }
}

/// A shard could not be started, or was lost. All are ours or the machine's; no peer can cause one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// It never ran.
    #[error("{shard} could not be started: {reason}")]
    Start {
        /// Which.
        shard: ShardId,
        /// glommio's or the kernel's words.
        reason: String,
    },
    /// It ran and ended by a panic of its main future or of the executor.
    #[error("{shard} died: {reason}")]
    Died {
        /// Which.
        shard: ShardId,
        /// The panic's text.
        reason: String,
    },
    /// The executor of [`run_local`].
    #[error("the executor failed: {0}")]
    Local(String),
}

impl ShardError {
    /// The exit code for it, by sysexits.h: 71 (`EX_OSERR`) when it could not start, 70 (`EX_SOFTWARE`) when it died.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            ShardError::Start { .. } => 71,
            ShardError::Died { .. } | ShardError::Local(_) => 70,
        }
    }
}

/// Runs `main` once on each core, each in an executor of its own on a pinned thread, and returns when all have returned.
///
/// No `main` begins before every executor is up. Tasks that are still there when a shard's `main` returns are dropped.
///
/// # Errors
/// [`ShardError::Start`] when one cannot be started (the others are ended first). [`ShardError::Died`] as soon as one
/// dies: the others are still running then, and the caller must end the process.
pub fn run_shards<F, Fut>(cores: &Cores, main: F) -> Result<(), ShardError>
where
    F: Fn(ShardId) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    blocking::remember_cpu_set();
    let (events, receiver) = mpsc::channel();
    let gate = Gate::default();
    let mut threads = Vec::new();
    let mut failed = None;
    for (index, &cpu) in cores.cpus().iter().enumerate() {
        let shard = ShardId { index, cpu };
        let (main, events, gate) = (main.clone(), events.clone(), gate.clone());
        let body = move || run_shard(shard, main, &gate, &events);
        match std::thread::Builder::new().name(format!("mx6-shard-{index}")).spawn(body) {
            Ok(thread) => threads.push(thread),
            Err(error) => failed = failed.or(Some(ShardError::Start { shard, reason: error.to_string() })),
        }
    }
    drop(events);
    if failed.is_none() {
        failed = wait_until_ready(&receiver, threads.len()).err();
    }
    gate.open(failed.is_none());
    if failed.is_none() {
        wait_until_ended(&receiver, threads.len())?;
    }
    for thread in threads {
        // Each thread catches its own panics and has reported them.
        let _ = thread.join();
    }
    failed.map_or(Ok(()), Err)
}

/// Runs `main` in an executor on this thread, not pinned: for one-off commands and tests.
///
/// # Errors
/// [`ShardError::Local`] when the executor cannot be made, when one runs on this thread already, or when `main` panics.
pub fn run_local<F, Fut, T>(main: F) -> Result<T, ShardError>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = T>,
{
    blocking::remember_cpu_set();
    caught(|| executor().map(|executor| executor.run(main()))).and_then(|result| result).map_err(ShardError::Local)
}

/// What a shard's thread tells the one that started it.
enum Event {
    Ready,
    Failed(ShardError),
    Ended,
}

/// Holds the shards back until all are up.
#[derive(Clone, Default)]
struct Gate {
    opened: StopFlag,
    go: Arc<AtomicBool>,
}

impl Gate {
    fn open(&self, go: bool) {
        self.go.store(go, Ordering::SeqCst);
        self.opened.set();
    }

    async fn pass(&self) -> bool {
        self.opened.stopped().await;
        self.go.load(Ordering::SeqCst)
    }
}

/// The body of a shard's thread: always sends `Ended` or `Failed` as its last word.
fn run_shard<F, Fut>(shard: ShardId, main: F, gate: &Gate, events: &mpsc::Sender<Event>)
where
    F: Fn(ShardId) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let start = |reason| Event::Failed(ShardError::Start { shard, reason });
    let last = match caught(|| pin_to(shard.cpu).and_then(|()| executor())) {
        Err(reason) | Ok(Err(reason)) => start(reason),
        Ok(Ok(executor)) => {
            let ran = caught(|| {
                executor.run(async {
                    let _ = events.send(Event::Ready);
                    if gate.pass().await {
                        main(shard).await;
                    }
                });
            });
            match ran {
                Ok(()) => Event::Ended,
                Err(reason) => Event::Failed(ShardError::Died { shard, reason }),
            }
        }
    };
    // The receiver is gone only when another shard's death was reported before.
    let _ = events.send(last);
}

fn wait_until_ready(receiver: &mpsc::Receiver<Event>, count: usize) -> Result<(), ShardError> {
    for _ in 0..count {
        match receiver.recv_timeout(START_TIME_MAX) {
            Ok(Event::Ready) => {}
            Ok(Event::Failed(error)) => return Err(error),
            Ok(Event::Ended) | Err(_) => {
                return Err(ShardError::Local(format!("shards not ready within {} s", START_TIME_MAX.as_secs())));
            }
        }
    }
    Ok(())
}

fn wait_until_ended(receiver: &mpsc::Receiver<Event>, count: usize) -> Result<(), ShardError> {
    let mut ended = 0;
    while ended < count {
        match receiver.recv() {
            Ok(Event::Ended) => ended += 1,
            Ok(Event::Failed(error)) => return Err(error),
            Ok(Event::Ready) => {}
            Err(_) => return Err(ShardError::Local("a shard's thread vanished".to_owned())),
        }
    }
    Ok(())
}

/// An executor for this thread. Nothing here reads files through the ring, so the memory pinned for that is the least possible.
fn executor() -> Result<LocalExecutor, String> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(IO_MEMORY_OCTETS)
        .ring_depth(RING_DEPTH)
        .make()
        .map_err(|error| error.to_string())
}

/// Pins this thread. glommio would do it too, but panics where `/sys` is not mounted.
fn pin_to(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))
}

/// The panic's text, should `f` panic: glommio panics where it cannot get a ring.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| panic_text(payload.as_ref()).to_owned())
}

/// The least glommio takes; its default pins 30 MiB an executor.
const IO_MEMORY_OCTETS: usize = 64 << 10;
/// Submissions that fit in a ring before it has to be flushed; each connection that waits needs one.
const RING_DEPTH: usize = 512;
/// Starting an executor takes milliseconds.
const START_TIME_MAX: Duration = Duration::from_secs(10);
