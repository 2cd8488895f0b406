//! A shard that is simulated: one thread, one seed, a clock of its own, and a network in memory (feature `simulation`, for tests).
//!
//! Inside [`simulate`] tasks, timers, streams, listeners, DNS datagrams and blocking jobs of this room are those of a world that the seed
//! determines: whatever runs above runs unchanged, and runs the same again. Time passes only when nobody can do anything, and then at once.
//! Tasks that are ready take their turns in an order that the seed draws; streams give octets in pieces that it draws, and their buffers are
//! small. A connection that is closed with octets unread is reset, and so loses what was under way, as with TCP.
//!
//! What it does not show: the ring, the kernel's sockets, several shards at once, DNS over TCP (refused here), and the disk, which is real:
//! blocking jobs run at once, on this thread. Its steps fail as [`break_disk`] says.

mod network;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::blocking::DiskStep;

pub(crate) use network::{Backlog, End, Mailbox, connect};
pub use network::{black_hole, connect_from, serve_datagrams};

/// Runs `main` in a new world and returns its output; tasks that are left then are dropped.
///
/// # Panics
/// When nothing can happen any more and `main` has not ended, or when tasks go on for ever without waiting for anything.
pub fn simulate<F: Future>(seed: u64, main: impl FnOnce() -> F) -> F::Output {
    let world = Rc::new(World::new(seed));
    let before = WORLD.with(|current| current.replace(Some(Rc::clone(&world))));
    assert!(before.is_none(), "a simulation inside a simulation");
    let end = Leave(Rc::clone(&world));
    let output = world.run(main());
    drop(end);
    output
}

/// A number below `below` (at least 1) that the seed draws.
///
/// # Panics
/// Outside [`simulate`].
#[must_use]
pub fn draw(below: u64) -> u64 {
    world().map_or_else(|| panic!("no simulation"), |world| world.draw(below))
}

/// From now on `in_a_thousand` steps on the disk fail, by what the seed draws, with what a disk says that is full, broken or may only be read; of
/// one kind only, if that is named.
///
/// # Panics
/// Outside [`simulate`].
pub fn break_disk(kind: Option<DiskStep>, in_a_thousand: u64) {
    world().map_or_else(|| panic!("no simulation"), |world| world.disk_faults.set((kind, in_a_thousand)));
}

pub(crate) fn disk_step(step: DiskStep) -> io::Result<()> {
    let Some(world) = world() else { return Ok(()) };
    let (kind, in_a_thousand) = world.disk_faults.get();
    if kind.is_some_and(|kind| kind != step) || in_a_thousand == 0 || world.draw(1_000) >= in_a_thousand {
        return Ok(());
    }
    Err([Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS][world.draw(4) as usize].into())
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread, if it is simulated.
fn world() -> Option<Rc<World>> {
    WORLD.with(|current| current.borrow().clone())
}

/// Whether this thread is simulated.
pub(crate) fn is_active() -> bool {
    WORLD.with(|current| current.borrow().is_some())
}

/// The simulated time, if this thread is simulated.
pub(crate) fn now() -> Option<Instant> {
    world().map(|world| world.now.get())
}

/// One entry among the timers of the world, gone when this is dropped: a timer that nobody waits for would wake its task for nothing.
pub(crate) struct Timer((Instant, u64));

impl Timer {
    /// A timer for that time, if this thread is simulated.
    pub(crate) fn at(at: Instant) -> Option<Timer> {
        world().map(|world| Timer((at, world.next_number())))
    }

    /// Wakes this one from now on.
    pub(crate) fn set(&self, waker: &Waker) {
        let before = world().and_then(|world| world.timers.borrow_mut().insert(self.0, waker.clone()));
        drop(before);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let gone = world().and_then(|world| world.timers.borrow_mut().remove(&self.0));
        drop(gone);
    }
}

/// Takes over a task, or gives it back if this thread is not simulated.
pub(crate) fn spawn(task: Task) -> Option<Task> {
    let Some(world) = world() else { return Some(task) };
    let number = world.next_number();
    world.tasks.borrow_mut().insert(number, task);
    lock(&world.ready).push(number);
    None
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct World {
    now: Cell<Instant>,
    random: Cell<u64>,
    numbers: Cell<u64>,
    tasks: RefCell<HashMap<u64, Task>>,
    /// Tasks that were woken; [`MAIN`] is the main one.
    ready: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    network: network::Network,
    disk_faults: Cell<(Option<DiskStep>, u64)>,
}

/// Leaves the world when it is dropped, also by a panic.
struct Leave(Rc<World>);

impl Drop for Leave {
    fn drop(&mut self) {
        // What a task drops may spawn another.
        loop {
            let left = std::mem::take(&mut *self.0.tasks.borrow_mut());
            if left.is_empty() {
                break;
            }
            drop(left);
        }
        WORLD.with(|current| current.replace(None));
    }
}

impl World {
    fn new(seed: u64) -> World {
        World {
            now: Cell::new(crate::time::origin()),
            random: Cell::new(seed),
            numbers: Cell::new(MAIN + 1),
            tasks: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            network: network::Network::default(),
            disk_faults: Cell::default(),
        }
    }

    fn run<F: Future>(&self, main: F) -> F::Output {
        let mut main = pin!(main);
        lock(&self.ready).push(MAIN);
        for _ in 0..TURNS_MAX {
            let mut turn = std::mem::take(&mut *lock(&self.ready));
            turn.sort_unstable();
            turn.dedup();
            while !turn.is_empty() {
                let number = turn.swap_remove(self.draw(turn.len() as u64) as usize);
                let waker = Waker::from(Arc::new(Woken { number, ready: Arc::clone(&self.ready) }));
                let cx = &mut Context::from_waker(&waker);
                if number == MAIN {
                    if let Poll::Ready(output) = main.as_mut().poll(cx) {
                        return output;
                    }
                    continue;
                }
                // Out of the map while it runs: it may spawn.
                let Some(mut task) = self.tasks.borrow_mut().remove(&number) else { continue };
                if task.as_mut().poll(cx).is_pending() {
                    self.tasks.borrow_mut().insert(number, task);
                }
            }
            if lock(&self.ready).is_empty() {
                self.pass_time();
            }
        }
        panic!("tasks go on for ever")
    }

    /// To the next timer.
    fn pass_time(&self) {
        let Some(((at, _), waker)) = self.timers.borrow_mut().pop_first() else {
            panic!("nothing can happen any more")
        };
        assert!(
            at.saturating_duration_since(crate::time::origin()) < TIME_MAX,
            "the time passes and nothing comes to its end"
        );
        self.now.set(self.now.get().max(at));
        waker.wake();
    }

    fn next_number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// SplitMix64.
    fn draw(&self, below: u64) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

struct Woken {
    number: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).push(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of the main task.
const MAIN: u64 = 0;
/// Far more than a simulation of some sessions needs.
const TURNS_MAX: u64 = 1_000_000;
const TIME_MAX: Duration = Duration::from_secs(86_400);
