//! A thread that sends: it starts connections when they are due (open loop), or keeps a number of them busy (closed loop).
//!
//! Arrivals have their times from the clock and the lots alone. A server that stalls does not move them, so whatever was due meanwhile is
//! late, and its latency, counted from when it was due, says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::ClientConfig;

use super::expectation::Expectation;
use super::mail::Mail;
use super::options::Options;
use super::recorder::Recorder;
use super::session;
use super::timer::Timer;
use crate::measurement::Spacing;
use crate::population::{Class, Population, Source};

/// What all workers share and nobody changes.
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) population: Arc<Population>,
    pub(super) mail: Mail,
    pub(super) expectation: Expectation,
    pub(super) tls: Arc<ClientConfig>,
}

/// What all workers share and change.
pub(super) struct Common {
    /// Messages that may still start.
    budget: AtomicU64,
    /// Connections open.
    pub(super) in_flight: AtomicU64,
    /// Connections begun by each class, where sources come in turn.
    turns: [AtomicU64; Class::ALL.len()],
    /// The user wants an end.
    pub(super) stop: Arc<AtomicBool>,
}

impl Common {
    pub(super) fn new(messages: Option<u64>, stop: Arc<AtomicBool>) -> Common {
        Common {
            budget: AtomicU64::new(messages.unwrap_or(u64::MAX)),
            in_flight: AtomicU64::new(0),
            turns: Default::default(),
            stop,
        }
    }

    /// The source of a connection of `class`.
    pub(super) fn source(&self, setup: &Setup, class: Class, rng: &mut Rng) -> Source {
        if !setup.options.sources_in_turn {
            return setup.population.draw_source(class, rng);
        }
        let turn = self.turns[class.index()].fetch_add(1, Ordering::Relaxed);
        setup.population.source_in_turn(class, turn)
    }

    /// Takes one message from the budget.
    fn take(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.budget.try_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// How this worker's arrivals come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// Messages a second.
    Open { rate_per_s: f64, spacing: Spacing },
    /// Connections that are kept busy.
    Closed { connections: u32 },
}

/// One thread's work.
pub(super) struct Worker {
    pub(super) setup: Arc<Setup>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) common: Arc<Common>,
    pub(super) load: Load,
    /// Connections at once.
    pub(super) sessions_max: u32,
    /// When it begins, and when nothing is started any more.
    pub(super) start: Instant,
    pub(super) until: Option<Instant>,
    pub(super) seed: u64,
}

impl Worker {
    /// Sends until the end, and until every reply has come.
    pub(super) fn run(self) -> Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
        let worker = Arc::new(self);
        runtime.block_on(async {
            let sessions = Arc::new(Semaphore::new(worker.sessions_max as usize));
            match worker.load {
                Load::Open { rate_per_s, spacing } => worker.open_loop(&sessions, rate_per_s, spacing).await?,
                Load::Closed { connections } => worker.closed_loop(&sessions, connections),
            }
            let all = sessions.acquire_many(worker.sessions_max);
            let patience = worker.patience();
            if tokio::time::timeout(patience, all).await.is_err() {
                worker.recorder.lock().failure("not finished at the end", !worker.setup.expectation.is_none());
            }
            Ok(())
        })
    }

    /// How long until everything has ended, whatever the server does.
    fn patience(&self) -> Duration {
        let sending = self.until.map_or(FOREVER, |until| until.saturating_duration_since(Instant::now()));
        sending.saturating_add(self.setup.options.timeout * 2)
    }

    /// Whether another message may start; takes it from the budget.
    pub(super) fn may_go_on(&self) -> bool {
        let over = self.until.is_some_and(|until| Instant::now() >= until);
        !over && !self.common.stop.load(Ordering::Relaxed) && self.common.take()
    }

    async fn open_loop(self: &Arc<Worker>, sessions: &Arc<Semaphore>, rate_per_s: f64, spacing: Spacing) -> Result<()> {
        let mut rng = Rng::with_seed(self.seed);
        let lots = Lots::new(&self.setup);
        let sessions_per_s = rate_per_s / lots.messages_per_session;
        let mut timer = Timer::new()?;
        let mut due_s = 0.0;
        loop {
            due_s += gap_s(&mut rng, sessions_per_s, spacing);
            let due = self.start + Duration::from_secs_f64(due_s);
            let over = self.until.is_some_and(|until| due >= until);
            if over || self.common.stop.load(Ordering::Relaxed) || !self.common.take() {
                return Ok(());
            }
            let (class, messages) = lots.draw(&mut rng);
            timer.sleep_until(due).await?;
            let permit = match sessions.clone().try_acquire_owned() {
                Ok(permit) => Ok(permit),
                Err(_) => {
                    let patience = self.until.map_or(FOREVER, |until| until.saturating_duration_since(Instant::now()));
                    tokio::time::timeout(patience, sessions.clone().acquire_owned())
                        .await
                        .map_or(Err(()), |got| got.map_err(drop))
                }
            };
            let Ok(permit) = permit else {
                self.recorder.lock().failure("never started: --sessions-max were open", false);
                continue;
            };
            self.recorder.lock().arrival(due);
            let (worker, rng) = (self.clone(), rng.fork());
            tokio::spawn(async move {
                worker.session(class, messages, due, rng).await;
                drop(permit);
            });
        }
    }

    fn closed_loop(self: &Arc<Worker>, sessions: &Arc<Semaphore>, connections: u32) {
        let mut rng = Rng::with_seed(self.seed);
        for _ in 0..connections {
            let Ok(permit) = sessions.clone().try_acquire_owned() else { return };
            let (worker, mut rng) = (self.clone(), rng.fork());
            tokio::spawn(async move {
                let lots = Lots::new(&worker.setup);
                tokio::time::sleep_until(worker.start.into()).await;
                while worker.may_go_on() {
                    let (class, messages) = lots.draw(&mut rng);
                    let now = Instant::now();
                    worker.recorder.lock().arrival(now);
                    if !worker.session(class, messages, now, rng.fork()).await {
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
                drop(permit);
            });
        }
    }

    async fn session(&self, class: Class, messages: u32, intended: Instant, rng: Rng) -> bool {
        self.common.in_flight.fetch_add(1, Ordering::Relaxed);
        let succeeded = session::run(self, class, messages, intended, rng).await;
        self.common.in_flight.fetch_sub(1, Ordering::Relaxed);
        succeeded
    }
}

/// Draws the class of a connection, so that messages, not connections, are of the classes in the shares of the mix.
struct Lots {
    /// Class, messages on its connections, and the sum of the weights up to it.
    classes: Vec<(Class, u32, f64)>,
    /// On average.
    messages_per_session: f64,
}

impl Lots {
    fn new(setup: &Setup) -> Lots {
        let mix = setup.population.mix();
        let mut sum = 0.0;
        let class = |class: Class| {
            let messages = class.messages_per_connection(setup.options.messages_per_connection);
            sum += mix.percent(class) / f64::from(messages);
            (class, messages, sum)
        };
        let classes: Vec<_> = mix.classes().map(class).collect();
        Lots { classes, messages_per_session: 100.0 / sum }
    }

    fn draw(&self, rng: &mut Rng) -> (Class, u32) {
        let sum = self.classes.last().map_or(0.0, |(.., sum)| *sum);
        let lot = rng.f64() * sum;
        let found = self.classes.iter().find(|(.., up_to)| lot < *up_to).or(self.classes.last());
        found.map_or((Class::Spf, 1), |(class, messages, _)| (*class, *messages))
    }
}

/// Between two arrivals.
fn gap_s(rng: &mut Rng, rate_per_s: f64, spacing: Spacing) -> f64 {
    match spacing {
        Spacing::Fixed => 1.0 / rate_per_s,
        Spacing::Poisson => -(1.0 - rng.f64()).ln() / rate_per_s,
    }
}

/// A server that refuses connections is not asked without pause.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// A year.
const FOREVER: Duration = Duration::from_secs(31_536_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_their_mean() {
        let mut rng = Rng::with_seed(5);
        for spacing in [Spacing::Fixed, Spacing::Poisson] {
            let gaps: Vec<f64> = (0..100_000).map(|_| gap_s(&mut rng, 50.0, spacing)).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            assert!((mean - 0.02).abs() < 0.000_5, "{spacing:?}: {mean}");
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let expected = if spacing == Spacing::Fixed { 0.0 } else { 0.000_4 };
            assert!((variance - expected).abs() < 0.000_02, "{spacing:?}: {variance}");
        }
    }
}
