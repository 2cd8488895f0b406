//! Waiting for what is told to many: a flag that any thread can set and tasks of every shard can wait for, and the list of those who wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Set once, for ever; clones are the same flag.
///
/// [`StopFlag::set`] takes a lock and wakes tasks of other threads: call it from a thread (one that waits for signals,
/// say), not from inside a signal handler.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: AtomicBool,
    waiters: Mutex<WaitList>,
}

/// The wakers of those who wait. One slot a waiting future; free slots are reused, so the list is as long as most futures ever waited at once.
#[derive(Debug, Default)]
pub struct WaitList {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl StopFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> StopFlag {
        StopFlag::default()
    }

    /// Sets it and wakes everyone who waits, on every shard. Setting it again does nothing.
    pub fn set(&self) {
        if self.0.set.swap(true, Ordering::SeqCst) {
            return;
        }
        let waiting = self.0.waiters().take();
        for waker in waiting {
            waker.wake();
        }
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Resolves once the flag is set; at once if it is. Keep one such future per task over a whole connection rather than a
    /// new one per wait: it registers its waker a single time.
    pub fn stopped(&self) -> Stopped {
        Stopped { inner: self.0.clone(), slot: None, waker: None }
    }
}

/// The future of [`StopFlag::stopped`]; may be dropped at any time.
#[derive(Debug)]
pub struct Stopped {
    inner: Arc<Inner>,
    slot: Option<usize>,
    waker: Option<Waker>,
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.set.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let slot = self.inner.waiters().put(self.slot, cx.waker().clone());
        self.slot = Some(slot);
        self.waker = Some(cx.waker().clone());
        // set() may have emptied the list between the check above and the entry into it.
        if self.inner.set.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.inner.waiters().remove(slot);
        }
    }
}

impl Inner {
    fn waiters(&self) -> MutexGuard<'_, WaitList> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitList {
    /// Enters `waker`, in the slot that its future was given before if there is one. Returns the slot; it stays taken until
    /// [`WaitList::remove`].
    pub fn put(&mut self, slot: Option<usize>, waker: Waker) -> usize {
        let slot = slot.or_else(|| self.free.pop()).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Some(waker));
        } else {
            self.slots[slot] = Some(waker);
        }
        slot
    }

    /// The future of this slot is gone.
    pub fn remove(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.free.push(slot);
    }

    /// Copies of all wakers, to be woken once the list is no longer borrowed; they stay in the list.
    #[must_use]
    pub fn wakers(&self) -> Vec<Waker> {
        self.slots.iter().flatten().cloned().collect()
    }

    /// All wakers, to be woken once the list is no longer borrowed. The slots stay taken.
    pub fn take(&mut self) -> Vec<Waker> {
        self.slots.iter_mut().filter_map(Option::take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused() {
        let flag = StopFlag::new();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..1000 {
            let mut stopped = flag.stopped();
            assert!(Pin::new(&mut stopped).poll(&mut cx).is_pending());
            assert!(Pin::new(&mut stopped).poll(&mut cx).is_pending());
        }
        assert_eq!(flag.0.waiters().slots.len(), 1);
        flag.set();
        assert!(flag.is_set());
        assert!(Pin::new(&mut flag.stopped()).poll(&mut cx).is_ready());
    }
}
