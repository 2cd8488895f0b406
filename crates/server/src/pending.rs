//! A lookup that was started and not yet awaited.

use std::pin::Pin;

use futures_channel::oneshot;
use futures_util::FutureExt;

/// The answer to a lookup, now or later. The lookup belongs to the shard: it runs on when whoever asked leaves, so that its answer reaches
/// the cache.
pub(crate) enum Pending<T> {
    Known(T),
    Waiting(oneshot::Receiver<T>),
    /// The lookup's task panicked.
    Lost,
}

impl<T: 'static> Pending<T> {
    /// Starts `lookup`. One that a warm cache answers at once costs no task.
    pub(crate) fn start(what: &'static str, lookup: impl Future<Output = T> + 'static) -> Pending<T> {
        let mut lookup: Pin<Box<dyn Future<Output = T>>> = Box::pin(lookup);
        if let Some(answer) = (&mut lookup).now_or_never() {
            return Pending::Known(answer);
        }
        let (sender, receiver) = oneshot::channel();
        mx6_runtime::spawn(what, async move {
            // An error only says that nobody waits for the answer any more.
            let _ = sender.send(lookup.await);
        });
        Pending::Waiting(receiver)
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
            Pending::Known(answer) => Some(answer),
            Pending::Waiting(_) | Pending::Lost => None,
        }
    }
}
