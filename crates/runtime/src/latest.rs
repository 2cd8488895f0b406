//! A value that one thread replaces now and then and tasks of every shard follow.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::WaitList;

/// The latest value; clones are the same. What was replaced before somebody looked is never seen.
#[derive(Debug)]
pub struct Latest<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    value: Arc<T>,
    /// How often it was replaced.
    version: u64,
    waiting: WaitList,
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Latest<T> {
        Latest(Arc::clone(&self.0))
    }
}

impl<T> Latest<T> {
    /// Begins with `value`.
    #[must_use]
    pub fn new(value: Arc<T>) -> Latest<T> {
        Latest(Arc::new(Mutex::new(Inner { value, version: 0, waiting: WaitList::default() })))
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.inner().value)
    }

    /// How often it was replaced.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.inner().version
    }

    /// Replaces the value and wakes everyone who follows it.
    pub fn set(&self, value: Arc<T>) {
        let waiting = {
            let mut inner = self.inner();
            inner.value = value;
            inner.version += 1;
            inner.waiting.take()
        };
        waiting.into_iter().for_each(std::task::Waker::wake);
    }

    /// Follows the value from now on.
    #[must_use]
    pub fn follow(&self) -> Follower<T> {
        let seen = self.inner().version;
        Follower { latest: self.clone(), seen, slot: None }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who follows a value.
#[derive(Debug)]
pub struct Follower<T> {
    latest: Latest<T>,
    seen: u64,
    slot: Option<usize>,
}

impl<T> Follower<T> {
    /// The value once it is another than the one seen last. May be dropped at any time.
    pub async fn next(&mut self) -> Arc<T> {
        poll_fn(|cx| {
            let mut inner = self.latest.inner();
            if inner.version != self.seen {
                self.seen = inner.version;
                return Poll::Ready(Arc::clone(&inner.value));
            }
            self.slot = Some(inner.waiting.put(self.slot, cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Follower<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.latest.inner().waiting.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn only_what_is_new_is_seen_and_only_the_latest_of_it() {
        let latest = Latest::new(Arc::new(0));
        latest.set(Arc::new(1));
        let mut follower = latest.follow();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(follower.next()).poll(&mut cx).is_pending());
        latest.set(Arc::new(2));
        latest.set(Arc::new(3));
        assert_eq!(pin!(follower.next()).poll(&mut cx), Poll::Ready(Arc::new(3)));
        assert!(pin!(follower.next()).poll(&mut cx).is_pending());
        drop(follower);
        assert!(latest.inner().waiting.take().is_empty());
        assert_eq!(*latest.get(), 3);
    }
}
