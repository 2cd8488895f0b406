//! Work that blocks (fsync, rename, spill files), off the shard's thread.
//!
//! The threads are the process's, not a shard's: at most [`BLOCKING_THREADS_MAX`], started when first needed, not pinned, and
//! kept. glommio's own pool is one thread per executor pinned to the executor's core, which makes every fsync of a shard wait for
//! the one before it, and a job that waits for another job never end. Here jobs are started in order and up to the
//! maximum at once; still, a job must not wait for another job. It may leave its [`Answer`] to another and end.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::thread::CpuSet;

/// Threads for blocking work, all shards together.
pub const BLOCKING_THREADS_MAX: usize = 32;

/// Runs `f` on a thread where it may block, and resolves to what it returns.
///
/// Dropping the future does not stop `f`, whether it has begun or not. The queue is unbounded by itself: each entry
/// belongs to a task that waits or has gone, so the limits on tasks bound it; [`blocking_queued`] shows it.
///
/// # Panics
/// When `f` panics, with its payload; and when not a single thread could be started.
pub async fn blocking<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (answer, answered) = answer();
    begin_blocking(move || answer.give(catch_unwind(AssertUnwindSafe(f))));
    match answered.await {
        Some(Ok(result)) => result,
        Some(Err(payload)) => resume_unwind(payload),
        None => resume_unwind(Box::new("a blocking job ended without an answer")),
    }
}

/// Runs `f` as [`blocking`] does; nobody waits for it. What it has to say goes through an [`Answer`] that it was given or that it
/// hands on to another job. A panic of `f` ends `f` alone and drops what it holds.
///
/// # Panics
/// When not a single thread could be started.
pub fn begin_blocking(f: impl FnOnce() + Send + 'static) {
    let job = move || {
        // Answers that it held are dropped with it: whoever waits for them hears it.
        let _ = catch_unwind(AssertUnwindSafe(f));
    };
    #[cfg(feature = "simulation")]
    if crate::simulation::is_active() {
        return job();
    }
    pool().submit(Box::new(job));
}

/// What a disk is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskStep {
    /// A file is created.
    Create,
    /// Octets are written.
    Write,
    /// Octets are read.
    Read,
    /// A file or a directory is made durable.
    Sync,
    /// A file gets its name.
    Rename,
}

/// Said before each such step of a blocking job: in a simulated world it may fail there; in the real one it does nothing.
///
/// # Errors
/// The simulated disk's.
pub fn disk_step(step: DiskStep) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    return crate::simulation::disk_step(step);
    #[cfg(not(feature = "simulation"))]
    {
        let _ = step;
        Ok(())
    }
}

/// A promise of one value from a thread to a task, and the future of it.
#[must_use]
pub fn answer<R: Send>() -> (Answer<R>, Answered<R>) {
    let slot = Arc::new(Mutex::new(Slot { result: None, waker: None, is_over: false }));
    (Answer(slot.clone()), Answered(slot))
}

/// The promise; see [`answer`].
#[derive(Debug)]
pub struct Answer<R>(Arc<Mutex<Slot<R>>>);

impl<R> Answer<R> {
    /// Keeps the promise.
    pub fn give(self, result: R) {
        lock(&self.0).result = Some(result);
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.is_over = true;
        if let Some(waker) = slot.waker.take() {
            drop(slot);
            waker.wake();
        }
    }
}

/// Resolves to what was given, or to none when the promise was dropped. May be dropped at any time.
#[derive(Debug)]
pub struct Answered<R>(Arc<Mutex<Slot<R>>>);

impl<R> Future for Answered<R> {
    type Output = Option<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let mut slot = lock(&self.0);
        if slot.is_over {
            return Poll::Ready(slot.result.take());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Jobs that wait for a thread now.
#[must_use]
pub fn blocking_queued() -> usize {
    lock(&pool().state).jobs.len()
}

/// Remembers the CPU set of the calling thread for the pool's threads; the first call counts. Called before a shard is pinned,
/// because a new thread inherits the set of the one that starts it.
pub(crate) fn remember_cpu_set() {
    CPU_SET.get_or_init(|| rustix::thread::sched_getaffinity(None).ok());
}

#[derive(Debug)]
struct Slot<R> {
    result: Option<R>,
    waker: Option<Waker>,
    /// The promise was kept or dropped.
    is_over: bool,
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    fn submit(&'static self, job: Job) {
        let mut state = lock(&self.state);
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= BLOCKING_THREADS_MAX {
            drop(state);
            self.work.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let started = std::thread::Builder::new().name("mx6-blocking".to_owned()).spawn(|| self.serve());
        if let Err(error) = started {
            let mut state = lock(&self.state);
            state.threads -= 1;
            assert!(state.threads > 0, "no thread for blocking work: {error}");
        }
    }

    fn serve(&self) {
        if let Some(Some(set)) = CPU_SET.get() {
            // Without it the thread shares a shard's core: slower, not wrong.
            let _ = rustix::thread::sched_setaffinity(None, set);
        }
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = lock(&self.state);
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool { state: Mutex::default(), work: Condvar::new() })
}

static CPU_SET: OnceLock<Option<CpuSet>> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
