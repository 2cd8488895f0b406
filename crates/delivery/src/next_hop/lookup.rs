//! Lookups of names of next hops by the system's resolver, in a line of their own.
//!
//! getaddrinfo blocks and cannot be stopped: with nameservers that do not answer it takes 20 s and more. The threads on
//! which it may block are those of the disk too. A shard has one lookup under way for each name ([`super::addresses`]),
//! and all shards together have [`LOOKUPS_MAX`] on a thread, however many they are; the others wait here in their
//! order. So lookups that hang take a part of the threads and never all of them.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mx6_runtime::{Answered, answer, begin_blocking, now_ms};

use super::opening::Endpoint;
use crate::LOOKUPS_MAX;

/// Finds the addresses of a name, with a port; blocks.
pub(super) type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// The system's: files, DNS, and whatever else the machine is set up for.
pub(super) fn system(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (name, port).to_socket_addrs().map(Iterator::collect)
}

/// What a lookup has come to.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// None when it failed.
    pub(super) addresses: Arc<[Endpoint]>,
    /// When it ended.
    pub(super) at_ms: u64,
}

/// Begins a lookup, which goes on whether anybody waits for it or not. The answer is broken when `lookup` panics.
pub(super) fn begin(lookup: Lookup, name: Arc<str>, port: u16) -> Answered<Found> {
    static LINE: Line = Line::new();
    let (answer, answered) = answer();
    LINE.submit(Box::new(move || {
        let addresses = lookup(&name, port).unwrap_or_default();
        let addresses = addresses.into_iter().take(ADDRESSES_MAX).map(Endpoint::Tcp).collect();
        answer.give(Found { addresses, at_ms: now_ms() });
    }));
    answered
}

type Job = Box<dyn FnOnce() + Send>;

/// Jobs of which [`LOOKUPS_MAX`] are on a thread at once. As long as the shards have names, each at most once for each
/// shard.
struct Line(Mutex<State>);

struct State {
    running: usize,
    waiting: VecDeque<Job>,
}

impl Line {
    const fn new() -> Line {
        Line(Mutex::new(State { running: 0, waiting: VecDeque::new() }))
    }

    fn submit(&'static self, job: Job) {
        let mut state = self.lock();
        if state.running >= LOOKUPS_MAX {
            state.waiting.push_back(job);
            return;
        }
        state.running += 1;
        drop(state);
        begin_blocking(move || self.run(job));
    }

    /// One job and then those that wait.
    fn run(&self, mut job: Job) {
        loop {
            // A panic ends one lookup: what it was to answer is dropped, which whoever waits for it hears.
            let _ = catch_unwind(AssertUnwindSafe(job));
            let mut state = self.lock();
            let Some(next) = state.waiting.pop_front() else {
                state.running -= 1;
                return;
            };
            job = next;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
pub(super) mod scripted;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use mx6_runtime::{BLOCKING_THREADS_MAX, blocking, run_local, timeout};

    use super::*;

    #[test]
    fn lookups_that_hang_leave_threads_for_the_disk() {
        static LINE: Line = Line::new();
        static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
        let hang = Arc::new(Mutex::new(()));
        let held = hang.lock().unwrap();
        run_local(async || {
            let lookups: Vec<Answered<usize>> = (0..2 * BLOCKING_THREADS_MAX)
                .map(|number| {
                    let (hang, (answer, answered)) = (hang.clone(), answer());
                    LINE.submit(Box::new(move || {
                        AT_ONCE.fetch_add(1, Ordering::SeqCst);
                        drop(hang.lock().unwrap_or_else(PoisonError::into_inner));
                        assert!(number != 3, "a lookup that panics");
                        answer.give(number);
                    }));
                    answered
                })
                .collect();
            let disk = timeout(Duration::from_secs(5), blocking(|| ())).await;
            assert!(disk.is_some() && AT_ONCE.load(Ordering::SeqCst) <= LOOKUPS_MAX);
            drop(held);
            let ended: Vec<usize> = join_all(lookups).await.into_iter().flatten().collect();
            assert_eq!(ended, (0..2 * BLOCKING_THREADS_MAX).filter(|number| *number != 3).collect::<Vec<_>>());
        })
        .unwrap();
    }
}
