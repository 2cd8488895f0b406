//! Once a second: takes the windows out of the recorders, looks at the server's processes, and tells where the run stands.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cost::{Reading, Watch};
use super::recorder::Recorder;
use super::worker::Common;
use crate::measurement::{ServerCost, Snapshot, WINDOWS_MAX, Window, latencies_us};

/// Where a run stands, for whoever draws it.
#[derive(Clone, Default)]
pub(crate) struct Live {
    snapshot: Arc<Mutex<Snapshot>>,
}

impl Live {
    /// Now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// What the sampler saw from the start of the clock to its end.
pub(super) struct Samples {
    pub(super) windows: Vec<Window>,
    pub(super) server: Option<Watch>,
    own_start: Reading,
    own_end: Reading,
    pub(super) elapsed: Duration,
}

impl Samples {
    /// What the server cost.
    pub(super) fn server_cost(&self, messages: u64) -> Option<ServerCost> {
        self.server.as_ref().and_then(|watch| watch.cost(messages))
    }

    /// CPU time of this process, without the zone's thread.
    pub(super) fn own_cpu_us(&self, zone_thread: Option<u32>) -> u64 {
        let zone_us = zone_thread.map_or(0, |tid| self.own_end.thread_us_since(&self.own_start, tid));
        self.own_end.cpu_us_since(&self.own_start).saturating_sub(zone_us)
    }
}

/// The thread.
pub(super) struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Result<Samples>>,
}

/// What it looks at.
pub(super) struct Subjects {
    pub(super) recorders: Vec<Arc<Recorder>>,
    pub(super) common: Arc<Common>,
    pub(super) pids: Vec<u32>,
    pub(super) live: Live,
    /// When the clock starts.
    pub(super) from: Instant,
}

impl Sampler {
    /// Starts it.
    pub(super) fn start(subjects: Subjects) -> Result<Sampler> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("sampler".into()).spawn(move || subjects.watch(&stopped))?;
        Ok(Sampler { stop, thread })
    }

    /// Ends it: the clock stops now.
    pub(super) fn finish(self) -> Result<Samples> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow::anyhow!("the sampler died"))?
    }
}

impl Subjects {
    fn watch(self, stopped: &Receiver<()>) -> Result<Samples> {
        let mut ended = self.warm_up(stopped);
        let mut server = (!self.pids.is_empty()).then(|| Watch::start(&self.pids)).transpose()?;
        let own_start = Reading::of(std::process::id()).context("measuring this process")?;
        let start = Instant::now();
        let mut windows = Vec::new();
        while !ended {
            let next = start + WINDOW * u32::try_from(windows.len() + 1).unwrap_or(u32::MAX);
            ended = pause(stopped, next);
            let mut window = self.window();
            window.at_s = start.elapsed().as_secs_f64();
            if let Some((cpu_us, rss_octets)) = server.as_mut().and_then(Watch::look) {
                (window.server_cpu_us, window.server_rss_octets) = (Some(cpu_us), Some(rss_octets));
            }
            if windows.len() < WINDOWS_MAX {
                windows.push(window);
            }
        }
        let own_end = Reading::of(std::process::id())?;
        Ok(Samples { windows, server, own_start, own_end, elapsed: start.elapsed() })
    }

    /// Windows until the clock starts go only to the live view. True if the run ended meanwhile.
    fn warm_up(&self, stopped: &Receiver<()>) -> bool {
        loop {
            let next = (Instant::now() + WINDOW).min(self.from);
            let ended = pause(stopped, next);
            self.window();
            if ended || Instant::now() >= self.from {
                return ended;
            }
        }
    }

    /// Takes the windows of all workers.
    fn window(&self) -> Window {
        let mut latencies = latencies_us();
        let (mut late_us_max, mut messages, mut wrong) = (0, 0, 0);
        for recorder in &self.recorders {
            let mut record = recorder.lock();
            let window = record.take_window();
            let _ = latencies.add(&window.latencies_us);
            late_us_max = late_us_max.max(window.late_us_max);
            messages += record.messages_ever;
            wrong += record.wrong;
        }
        let in_flight = self.common.in_flight.load(Ordering::Relaxed);
        let (p50_us, p99_us) = (latencies.value_at_percentile(50.0), latencies.value_at_percentile(99.0));
        let before = self.live.snapshot();
        self.live.set(Snapshot {
            messages: messages.max(before.messages),
            rate_per_s: latencies.len() as f64,
            in_flight,
            wrong: wrong.max(before.wrong),
            p99_us,
            signing: false,
        });
        Window { messages: latencies.len(), p50_us, p99_us, in_flight, late_us_max, ..Window::default() }
    }
}

/// Until `next`. True if the run has ended.
fn pause(stopped: &Receiver<()>, next: Instant) -> bool {
    let left = next.saturating_duration_since(Instant::now());
    !matches!(stopped.recv_timeout(left), Err(RecvTimeoutError::Timeout))
}

const WINDOW: Duration = Duration::from_secs(1);
