//! Progress on standard error while the load runs. Nothing is drawn when standard error is no terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::units;
use crate::measurement::Snapshot;

/// When the run is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// After this time, warm-up included.
    Seconds(f64),
    /// After so many final replies, or signatures.
    Messages(u64),
}

/// A line that says where the run stands, drawn by a thread of its own.
pub(crate) struct Progress {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    drawer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to draw what `snapshot` tells, five times a second. Draws nothing if `quiet`.
    pub(crate) fn start(quiet: bool, goal: Goal, snapshot: impl FnMut() -> Snapshot + Send + 'static) -> Progress {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length(goal)), target);
        let style = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌ "));
        let stop = Arc::new(AtomicBool::new(false));
        let drawer = if bar.is_hidden() { None } else { draw(bar.clone(), goal, Arc::clone(&stop), snapshot) };
        Progress { bar, stop, drawer }
    }

    /// Stops drawing and clears the line.
    pub(crate) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer.take() {
            drawer.thread().unpark();
            _ = drawer.join();
        }
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// A run without its progress is still a run: when no thread can be had, nothing is drawn.
fn draw(
    bar: ProgressBar,
    goal: Goal,
    stop: Arc<AtomicBool>,
    mut snapshot: impl FnMut() -> Snapshot + Send + 'static,
) -> Option<JoinHandle<()>> {
    let draw = move || {
        let started = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let now = snapshot();
            bar.set_position(position(goal, &now, started.elapsed()));
            bar.set_message(line(&now));
            std::thread::park_timeout(EVERY);
        }
    };
    std::thread::Builder::new().name("progress".to_owned()).spawn(draw).ok()
}

/// Of the bar: milliseconds or messages.
fn length(goal: Goal) -> u64 {
    match goal {
        Goal::Seconds(seconds) => (seconds * 1000.0) as u64,
        Goal::Messages(messages) => messages,
    }
}

/// On the bar, never beyond its end.
fn position(goal: Goal, now: &Snapshot, since_start: Duration) -> u64 {
    let position = match goal {
        Goal::Seconds(_) => u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX),
        Goal::Messages(_) => now.messages,
    };
    position.min(length(goal))
}

/// What is said beside the bar, in at most 66 columns.
fn line(now: &Snapshot) -> String {
    let messages = units::count(now.messages);
    if now.signing {
        return format!("{messages} signed");
    }
    let (rate, open) = (units::number(now.rate_per_s), units::count(now.in_flight));
    let wrong = if now.wrong == 0 { String::new() } else { format!(" · {} WRONG", units::count(now.wrong)) };
    format!("{messages} sent · {rate}/s · p99 {} · {open} open{wrong}", units::duration(now.p99_us))
}

/// Between two drawings.
const EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits() {
        let inputs = [
            (Snapshot::default(), "0 sent · 0/s · p99 0 µs · 0 open"),
            (
                Snapshot { messages: 12_345, rate_per_s: 1999.6, in_flight: 17, p99_us: 2_345, ..Snapshot::default() },
                "12,345 sent · 2,000/s · p99 2.35 ms · 17 open",
            ),
            (
                Snapshot { messages: 999_999_999, rate_per_s: 99_999.0, wrong: 1_234, ..Snapshot::default() },
                "999,999,999 sent · 99,999/s · p99 0 µs · 0 open · 1,234 WRONG",
            ),
            (Snapshot { signing: true, messages: 1_536, ..Snapshot::default() }, "1,536 signed"),
        ];
        for (snapshot, text) in inputs {
            assert_eq!(line(&snapshot), text);
            assert!(line(&snapshot).chars().count() <= 66);
        }
    }

    #[test]
    fn the_bar_ends_at_its_end() {
        let now = Snapshot { messages: 70, ..Snapshot::default() };
        let inputs = [
            (Goal::Seconds(10.0), 2_500, 2_500),
            (Goal::Seconds(10.0), 12_000, 10_000),
            (Goal::Messages(100), 2_500, 70),
            (Goal::Messages(50), 0, 50),
        ];
        for (goal, elapsed_ms, at) in inputs {
            assert_eq!(position(goal, &now, Duration::from_millis(elapsed_ms)), at, "{goal:?}");
        }
    }

    /// Standard error of a test is no terminal, or it is told to be quiet: the engine is never asked.
    #[test]
    fn quiet_asks_nothing() {
        let progress = Progress::start(true, Goal::Messages(1), || unreachable!("drawn"));
        assert!(progress.drawer.is_none());
        progress.finish();
    }
}
