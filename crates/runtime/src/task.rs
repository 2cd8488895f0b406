//! Tasks of a shard: detached, and unable to take the shard down.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_lite::FutureExt;

/// Panics caught in tasks since the process began, all shards together.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Runs `f` on this shard, detached, until it is done.
///
/// A panic inside (destructors included) ends `f` alone: it is counted in [`panics`] and one line that names `what` goes to
/// standard error, after the message of the process's panic hook. There is no handle on purpose: to wait for a result let the
/// task send it, to give up waiting drop the receiver.
///
/// # Panics
/// When called outside [`crate::run_shards`] and [`crate::run_local`].
pub fn spawn<F: Future<Output = ()> + 'static>(what: &'static str, f: F) {
    // Boxed once: each layer around a future holds it twice, where it was captured and where it is awaited.
    let f = Box::pin(f);
    // The inner catch takes a panic of `f`; the outer one takes a panic of `f`'s destructor, which runs inside its poll.
    let guarded = async move { AssertUnwindSafe(f).catch_unwind().await };
    let task = async move {
        let payload = match AssertUnwindSafe(guarded).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(payload)) | Err(payload) => payload,
        };
        PANICS.fetch_add(1, Ordering::Relaxed);
        mx6_telemetry::failure!("task `{what}` panicked: {}", panic_text(payload.as_ref()));
        drop_quietly(payload);
    };
    #[cfg(feature = "simulation")]
    let Some(task) = crate::simulation::spawn(Box::pin(task)) else { return };
    glommio::spawn_local(task).detach();
}

/// How many tasks ended by a panic since the process began, all shards together.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Resolves after every task of this shard that is ready now has run once.
///
/// This is where a batch is gathered: put your work in the shard's list, await this, and whoever runs first takes the list.
pub fn end_of_turn() -> impl Future<Output = ()> {
    YieldOnce(false)
}

/// The text of a panic's payload, when it has one.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}

/// Drops a panic's payload, whose own destructor may panic too.
fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(second) = std::panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
}

/// Pending once, having put its own task at the end of the queue.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Counts operations that were ready at once, and says when the task should give way.
#[derive(Debug, Default)]
pub(crate) struct Turns(std::cell::Cell<u8>);

impl Turns {
    /// Operations of one object that may succeed in a row before its task yields.
    const IN_A_ROW_MAX: u8 = 16;

    /// Yields when [`Self::IN_A_ROW_MAX`] operations in a row did not wait. Awaited before the operation, so that nothing
    /// is lost when the future is dropped here.
    pub(crate) async fn give_way(&self) {
        if self.is_due() {
            end_of_turn().await;
        }
    }

    /// Whether the task must yield before the operation that it is about to begin.
    pub(crate) fn is_due(&self) -> bool {
        let count = self.0.get();
        let is_due = count >= Self::IN_A_ROW_MAX;
        self.0.set(if is_due { 0 } else { count + 1 });
        is_due
    }

    /// The operation waited: others had their turn.
    pub(crate) fn waited(&self) {
        self.0.set(0);
    }
}
