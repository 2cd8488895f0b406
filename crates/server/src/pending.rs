//! A lookup that was started and not yet awaited.

use std::pin::Pin;

use futures_channel::oneshot;
use futures_util::FutureExt;
use mx6_telemetry::{Counters, Timing};

/// The answer to a lookup, now or later. The lookup belongs to the shard: it runs on when whoever asked leaves, so that its answer reaches
/// the cache.
pub(crate) enum Pending<T> {
    Known(Answered<T>),
    Waiting(oneshot::Receiver<Answered<T>>),
    /// The lookup's task panicked.
    Lost,
}

/// An answer and how long it took, from the start of the lookup.
pub(crate) struct Answered<T> {
    answer: T,
    elapsed_us: u64,
}

impl<T: 'static> Pending<T> {
    /// Starts `lookup`, and times it. One that a warm cache answers at once costs no task and takes no time.
    pub(crate) fn start(
        what: &'static str,
        timed: Option<(&Counters, Timing)>,
        lookup: impl Future<Output = T> + 'static,
    ) -> Pending<T> {
        let mut lookup: Pin<Box<dyn Future<Output = T>>> = Box::pin(lookup);
        if let Some(answer) = (&mut lookup).now_or_never() {
            if let Some((counters, timing)) = timed {
                counters.time(timing, 0);
            }
            return Pending::known_at_once(answer);
        }
        let (sender, receiver) = oneshot::channel();
        let started_us = mx6_runtime::now_us();
        let timed = timed.map(|(counters, timing)| (counters.clone(), timing));
        mx6_runtime::spawn(what, async move {
            let answer = lookup.await;
            let elapsed_us = mx6_runtime::now_us() - started_us;
            if let Some((counters, timing)) = timed {
                counters.time(timing, elapsed_us);
            }
            // An error only says that nobody waits for the answer any more.
            let _ = sender.send(Answered { answer, elapsed_us });
        });
        Pending::Waiting(receiver)
    }

    /// An answer that needs no lookup.
    pub(crate) fn known_at_once(answer: T) -> Pending<T> {
        Pending::Known(Answered { answer, elapsed_us: 0 })
    }

    /// The answer; none if the lookup was lost to a panic.
    pub(crate) async fn get(&mut self) -> Option<&T> {
        if let Pending::Waiting(receiver) = self {
            *self = receiver.await.map_or(Pending::Lost, Pending::Known);
        }
        self.known()
    }

    /// The answer if it was awaited before, or was there at once.
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Pending::Known(answered) => Some(&answered.answer),
            Pending::Waiting(_) | Pending::Lost => None,
        }
    }

    /// How long the lookup took, in milliseconds; 0 while the answer was not awaited.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        match self {
            Pending::Known(answered) => answered.elapsed_us / 1000,
            Pending::Waiting(_) | Pending::Lost => 0,
        }
    }
}
