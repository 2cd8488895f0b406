//! What one side tells and many may hear: decision records and transcripts, to whoever watches a running gate.
//!
//! Each listener has a bounded queue of its own. Whoever tells never waits: what finds a full queue, or a listener that is looking into
//! its queue at that moment, is dropped for that listener and counted; the listener hears how many it missed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Poll, Waker};

/// The telling end; clones are the same feed.
#[derive(Debug)]
pub struct Feed<T>(Arc<Inner<T>>);

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Feed<T> {
        Feed(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<T> {
    /// How many listen: read before anything else is done.
    listening: AtomicUsize,
    queues: Mutex<Vec<Arc<Queue<T>>>>,
    /// For everybody, over the whole life.
    dropped: AtomicU64,
    /// What no listener heard, because others were telling for too long.
    untold: AtomicU64,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    missed: AtomicU64,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    /// No more than this many wait.
    most: usize,
    closed: bool,
}

/// The hearing end.
#[derive(Debug)]
pub struct Listener<T> {
    queue: Arc<Queue<T>>,
    feed: Feed<T>,
    /// How much of `untold` it has been told of, or was before its time.
    untold: u64,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<T> {
    /// One item.
    Item(T),
    /// So many were dropped before the next item.
    Missed(u64),
}

impl<T: Clone> Feed<T> {
    /// A feed that nobody listens to.
    #[must_use]
    pub fn new() -> Feed<T> {
        let (dropped, untold) = (AtomicU64::new(0), AtomicU64::new(0));
        Feed(Arc::new(Inner { listening: AtomicUsize::new(0), queues: Mutex::default(), dropped, untold }))
    }

    /// Whether somebody listens: one load, for whoever would have to prepare what it tells.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.0.listening.load(Ordering::Relaxed) > 0
    }

    /// Tells `item` to everybody who listens, without waiting for anybody.
    pub fn tell(&self, item: &T) {
        let Some(queues) = tried(&self.0.queues) else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            self.0.untold.fetch_add(1, Ordering::Relaxed);
            return;
        };
        for queue in queues.iter() {
            if !queue.push(item) {
                queue.missed.fetch_add(1, Ordering::Relaxed);
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Items that a listener did not hear, over all listeners since the process began.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Listens from now on, with room for `most` items; none if as many as may listen do so already.
    #[must_use]
    pub fn listen(&self, most: usize) -> Option<Listener<T>> {
        let mut queues = locked(&self.0.queues);
        if queues.len() >= LISTENERS_MAX {
            return None;
        }
        let waiting = Waiting { items: VecDeque::new(), waker: None, most, closed: false };
        let queue = Arc::new(Queue { waiting: Mutex::new(waiting), missed: AtomicU64::new(0) });
        queues.push(Arc::clone(&queue));
        self.0.listening.store(queues.len(), Ordering::Relaxed);
        let untold = self.0.untold.load(Ordering::Relaxed);
        Some(Listener { queue, feed: self.clone(), untold })
    }

    /// Nothing more will be told: listeners hear what waits, and then the end.
    pub fn close(&self) {
        for queue in locked(&self.0.queues).iter() {
            let mut waiting = locked(&queue.waiting);
            waiting.closed = true;
            waiting.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl<T: Clone> Default for Feed<T> {
    fn default() -> Feed<T> {
        Feed::new()
    }
}

impl<T: Clone> Queue<T> {
    fn push(&self, item: &T) -> bool {
        let waker = {
            let Some(mut waiting) = tried(&self.waiting) else { return false };
            if waiting.items.len() >= waiting.most || waiting.closed {
                return false;
            }
            waiting.items.push_back(item.clone());
            waiting.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        true
    }
}

impl<T> Listener<T> {
    /// The next thing to hear; none when the feed was closed. May be dropped at any time: nothing is lost by that.
    pub async fn next(&mut self) -> Option<Heard<T>> {
        poll_fn(|cx| {
            let mut waiting = locked(&self.queue.waiting);
            let untold = self.feed.0.untold.load(Ordering::Relaxed);
            let missed_by_all = untold - std::mem::replace(&mut self.untold, untold);
            let missed = self.queue.missed.swap(0, Ordering::Relaxed) + missed_by_all;
            if missed > 0 {
                return Poll::Ready(Some(Heard::Missed(missed)));
            }
            match waiting.items.pop_front() {
                Some(item) => Poll::Ready(Some(Heard::Item(item))),
                None if waiting.closed => Poll::Ready(None),
                None => {
                    waiting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        let mut queues = locked(&self.feed.0.queues);
        queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.feed.0.listening.store(queues.len(), Ordering::Relaxed);
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever holds it does so for less than a microsecond, unless the system has taken the CPU from him: then it is not waited for.
fn tried<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES_MAX {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

/// Some microseconds.
const TRIES_MAX: usize = 200;

/// Who listens is an operator at a terminal or a page: more than a few dozen is a mistake.
const LISTENERS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    fn hear(listener: &mut Listener<u32>) -> Option<Option<Heard<u32>>> {
        match pin!(listener.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(heard) => Some(heard),
            Poll::Pending => None,
        }
    }

    #[test]
    fn each_hears_everything_or_how_much_it_missed() {
        let feed = Feed::new();
        feed.tell(&0);
        assert!(!feed.is_heard());
        let (mut wide, mut narrow) = (feed.listen(10).unwrap(), feed.listen(2).unwrap());
        assert!(feed.is_heard());
        assert_eq!(hear(&mut wide), None);
        (1..=5).for_each(|item| feed.tell(&item));
        assert_eq!(hear(&mut wide), Some(Some(Heard::Item(1))));
        let heard: Vec<_> = (0..3).map(|_| hear(&mut narrow)).collect();
        let expected = [Heard::Missed(3), Heard::Item(1), Heard::Item(2)];
        assert_eq!(heard, expected.map(|heard| Some(Some(heard))));
        assert_eq!((hear(&mut narrow), feed.dropped()), (None, 3));
        drop(narrow);
        feed.tell(&6);
        feed.close();
        let rest: Vec<_> = std::iter::from_fn(|| hear(&mut wide).flatten()).collect();
        assert_eq!(rest, [2, 3, 4, 5, 6].map(Heard::Item));
        assert_eq!(hear(&mut wide), Some(None));
        drop(wide);
        assert!(!feed.is_heard());
    }

    #[test]
    fn a_listener_that_looks_into_its_queue_holds_nobody_up() {
        let feed = Feed::new();
        let mut listener = feed.listen(10).unwrap();
        let looking = locked(&listener.queue.waiting);
        feed.tell(&1);
        drop(looking);
        feed.tell(&2);
        assert_eq!(hear(&mut listener), Some(Some(Heard::Missed(1))));
        assert_eq!(hear(&mut listener), Some(Some(Heard::Item(2))));
    }

    /// Shards tell at the same time: what one could not tell is missed by everybody, once, and by nobody who came later.
    #[test]
    fn what_nobody_heard_is_missed_by_all() {
        let feed = Feed::new();
        let mut early = [feed.listen(10).unwrap(), feed.listen(10).unwrap()];
        let telling = locked(&feed.0.queues);
        feed.tell(&1);
        drop(telling);
        let mut late = feed.listen(10).unwrap();
        feed.tell(&2);
        for listener in &mut early {
            assert_eq!(hear(listener), Some(Some(Heard::Missed(1))));
            assert_eq!(hear(listener), Some(Some(Heard::Item(2))));
        }
        assert_eq!((hear(&mut late), feed.dropped()), (Some(Some(Heard::Item(2))), 1));
    }

    #[test]
    fn only_so_many_listen() {
        let feed: Feed<u32> = Feed::new();
        let listeners: Vec<_> = (0..LISTENERS_MAX).map(|_| feed.listen(1).unwrap()).collect();
        assert!(feed.listen(1).is_none());
        drop(listeners);
        assert!(feed.listen(1).is_some());
    }
}
