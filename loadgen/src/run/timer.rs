//! Waking at a time, to within some µs: the runtime's own timer counts in whole milliseconds, and a thousand messages a second would all
//! be late by half of one.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// One timer of the kernel (timerfd_create(2)).
pub(super) struct Timer {
    fd: AsyncFd<OwnedFd>,
}

impl Timer {
    /// To be made within a runtime.
    pub(super) fn new() -> Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags).context("making a timer")?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe: it must not be given a type that names descriptors it does not own"
        )]
        let fd = AsyncFd::new(fd).context("registering a timer")?;
        Ok(Timer { fd })
    }

    /// Returns at `time`, or, when that is over, as soon as others had their turn.
    pub(super) async fn sleep_until(&mut self, time: Instant) -> Result<()> {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval: zero, it_value: timespec(left) };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &time).context("setting a timer")?;
        let mut ready = self.fd.readable().await.context("waiting for a timer")?;
        let mut expirations = [0; 8];
        let _ = rustix::io::read(self.fd.get_ref(), &mut expirations);
        ready.clear_ready();
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}
