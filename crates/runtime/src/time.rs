//! Time of a shard: a monotonic clock with one origin for the process, and waits that race plain futures.
//!
//! Timers are coarse (up to some milliseconds late); nothing below 5 ms should rest on them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

/// Milliseconds since an origin early in the life of the process, monotonic, the same on every thread.
#[must_use]
pub fn now_ms() -> u64 {
    millis(now().saturating_duration_since(origin()))
}

/// The same clock in microseconds, for what is measured.
#[must_use]
pub fn now_us() -> u64 {
    u64::try_from(now().saturating_duration_since(origin()).as_micros()).unwrap_or(u64::MAX)
}

/// A moment by which something must be done; cheap to copy and to hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `duration` from now. One that lies beyond what the clock can express is a century away.
    #[must_use]
    pub fn after(duration: Duration) -> Deadline {
        let now = now();
        Deadline(now.checked_add(duration).unwrap_or(now + CENTURY))
    }

    /// The deadline at `ms` of the clock of [`now_ms`].
    #[must_use]
    pub fn at(ms: u64) -> Deadline {
        let origin = origin();
        Deadline(origin.checked_add(Duration::from_millis(ms)).unwrap_or(origin + CENTURY))
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        now() >= self.0
    }

    /// The same moment on the clock of [`now_ms`].
    #[must_use]
    pub fn at_ms(self) -> u64 {
        millis(self.0.saturating_duration_since(origin()))
    }

    /// The earlier of two.
    #[must_use]
    pub fn earlier(self, other: Deadline) -> Deadline {
        self.min(other)
    }
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    Sleep::new(Deadline::after(duration)).await;
}

/// `f`'s output, or `None` when `duration` passed first; `f` is dropped then, so it must be safe to drop.
///
/// `f` is polled first: an output that is ready always wins, and a future that is ready at once costs no timer.
pub async fn timeout<F: Future>(duration: Duration, f: F) -> Option<F::Output> {
    deadline(Deadline::after(duration), f).await
}

/// As [`timeout`], with a moment in place of a duration.
pub async fn deadline<F: Future>(deadline: Deadline, f: F) -> Option<F::Output> {
    let mut f = pin!(f);
    let mut sleep = pin!(Sleep::new(deadline));
    std::future::poll_fn(|cx| match f.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// A timer that enters the reactor's list only when it has to wait, and only once per waker: a connection's task is polled
/// for many reasons, and each new entry would cost a walk in a tree.
struct Sleep {
    deadline: Deadline,
    armed: Option<(Timer, Waker)>,
    #[cfg(feature = "simulation")]
    simulated: Option<crate::simulation::Timer>,
}

impl Sleep {
    fn new(deadline: Deadline) -> Sleep {
        Sleep {
            deadline,
            armed: None,
            #[cfg(feature = "simulation")]
            simulated: None,
        }
    }

    #[cfg(feature = "simulation")]
    fn simulated(&mut self) -> Option<&crate::simulation::Timer> {
        if self.simulated.is_none() {
            self.simulated = crate::simulation::Timer::at(self.deadline.0);
        }
        self.simulated.as_ref()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let remaining = self.deadline.remaining();
        if remaining.is_zero() {
            self.armed = None;
            return Poll::Ready(());
        }
        #[cfg(feature = "simulation")]
        if let Some(timer) = self.simulated() {
            timer.set(cx.waker());
            return Poll::Pending;
        }
        if let Some((_, waker)) = &self.armed
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        let mut timer = match self.armed.take() {
            Some((timer, _)) => timer,
            None => Timer::new(remaining),
        };
        if Pin::new(&mut timer).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.armed = Some((timer, cx.waker().clone()));
        Poll::Pending
    }
}

/// The time, real or simulated.
fn now() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::simulation::now() {
        return now;
    }
    Instant::now()
}

/// The zero of [`now_ms`]: the first time anything asked.
pub(crate) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
