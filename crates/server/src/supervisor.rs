//! A thread beside the shards: says when they are up, to whom it concerns, and for as long as they move.
//!
//! When the last shard is up the gate before is relieved, the service manager hears READY=1, and the door opens for a successor. Then
//! WATCHDOG=1 at half the manager's interval, as long as every shard's heart beats; at the end STOPPING=1.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mx6_runtime::{MessageListener, StopFlag};

use crate::handover::{self, HandoverError, Predecessor};
use crate::heartbeat::Heartbeats;
use crate::notify::Notifier;
use crate::sockets::Held;
use crate::status::addresses;

/// What the thread needs.
pub(crate) struct Supervision {
    pub(crate) shards: usize,
    pub(crate) notifier: Notifier,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) predecessor: Option<(Predecessor, Vec<usize>)>,
    pub(crate) door: Option<MessageListener>,
    pub(crate) held: Vec<Held>,
    pub(crate) addresses: addresses::Watch,
    /// Set once mail is taken.
    pub(crate) up: Arc<AtomicBool>,
    pub(crate) stop: StopFlag,
}

/// The thread, and the shards' way to tell it that they are up.
pub(crate) struct Supervisor {
    up: Sender<()>,
    thread: JoinHandle<Result<(), HandoverError>>,
}

impl Supervisor {
    /// Starts the thread.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(supervision: Supervision) -> std::io::Result<Supervisor> {
        let (up, shards_up) = channel();
        let thread =
            std::thread::Builder::new().name("mx6-supervisor".into()).spawn(move || supervision.run(&shards_up))?;
        Ok(Supervisor { up, thread })
    }

    /// Each shard sends one word when it accepts.
    pub(crate) fn up(&self) -> Sender<()> {
        self.up.clone()
    }

    /// Waits for the thread's end, once all shards have ended.
    ///
    /// # Errors
    /// If the gate before did not let go; the shards were stopped then.
    pub(crate) fn join(self) -> Result<(), HandoverError> {
        drop(self.up);
        self.thread.join().unwrap_or_else(|_| Err(HandoverError::Predecessor("could not be watched".to_owned())))
    }
}

impl Supervision {
    fn run(self, shards_up: &Receiver<()>) -> Result<(), HandoverError> {
        for _ in 0..self.shards {
            // The others end when one does.
            if shards_up.recv().is_err() {
                return Ok(());
            }
        }
        if let Some((predecessor, taken)) = &self.predecessor
            && let Err(error) = predecessor.relieve(taken)
        {
            // It goes on serving: what waits is its.
            self.held.iter().for_each(|held| held.handle.leave_queue(true));
            self.stop.set();
            return Err(error);
        }
        drop(self.predecessor);
        self.up.store(true, Ordering::Relaxed);
        self.notifier.ready(&format!("{} shards take mail", self.shards));
        if let Some(door) = self.door {
            let (held, stop) = (self.held, self.stop.clone());
            let body = move || handover::wait_for_successor(&door, &held, &stop);
            if let Err(error) = std::thread::Builder::new().name("mx6-handover".into()).spawn(body) {
                mx6_telemetry::warning!("--handover: no thread waits for a successor: {error}");
            }
        }
        watch(&self.notifier, &self.heartbeats, &self.stop, self.addresses);
        self.notifier.stopping("transactions are finished, no new ones are begun");
        Ok(())
    }
}

/// Pings the service manager, and looks at what an operator should know, until the gate is to stop.
fn watch(notifier: &Notifier, heartbeats: &Heartbeats, stop: &StopFlag, mut addresses: addresses::Watch) {
    let watchdog = notifier.watchdog();
    // Looked at so often that one look that finds a shard late does not make the next ping come too late.
    let pause = watchdog.map_or(LOOK_PERIOD, |interval| LOOK_PERIOD.min(interval / 4));
    let mut was_stuck = None;
    while !stop.wait(pause) {
        addresses.look();
        let Some(interval) = watchdog else { continue };
        let stuck = heartbeats.stuck(mx6_runtime::now_ms(), (interval / 2).max(HEART_RATE_MIN));
        match stuck {
            None => notifier.alive(),
            Some(shard) if stuck != was_stuck => {
                mx6_telemetry::failure!("shard {shard} is stuck, the watchdog is not fed")
            }
            Some(_) => {}
        }
        was_stuck = stuck;
    }
}

const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// A heart that beats at all beats within this.
pub(crate) const HEART_RATE_MIN: Duration = Duration::from_secs(2);
