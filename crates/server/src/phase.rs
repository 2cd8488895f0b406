//! How far a shard is on the way to its end, and the connections that wait to hear of it.
//!
//! Of one shard alone: what tells all shards at once (a signal) is a lock that they share, and a connection would take it twice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mx6_runtime::WaitList;

/// The phases, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Phase {
    /// Everybody is served.
    #[default]
    Serving,
    /// Transactions are finished, and nothing new is begun.
    Draining,
    /// The drain timeout has passed.
    CutOff,
}

/// The phase of a shard; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phases(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: Cell<Phase>,
    waiting: RefCell<WaitList>,
}

impl Phases {
    /// Enters `phase` and wakes whoever waits.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.phase.set(phase);
        let waiting = self.0.waiting.borrow_mut().take();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The phase now.
    pub(crate) fn now(&self) -> Phase {
        self.0.phase.get()
    }

    /// Wakes whoever waits, to look again at what else it watches; the phase stays.
    pub(crate) fn nudge(&self) {
        let waiting = self.0.waiting.borrow().wakers();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// For one task: keep it as long as the task lives, it registers a waker a single time.
    pub(crate) fn watch(&self) -> Watch {
        Watch { phases: self.clone(), entry: None }
    }
}

/// The end of one who waits.
#[derive(Debug)]
pub(crate) struct Watch {
    phases: Phases,
    /// The slot in the list, and the waker that was put there.
    entry: Option<(usize, Waker)>,
}

impl Watch {
    /// Ready with the shard's phase once it is later than `seen`.
    pub(crate) fn poll_later(&mut self, cx: &mut Context<'_>, seen: Phase) -> Poll<Phase> {
        let inner = &self.phases.0;
        if inner.phase.get() > seen {
            // The list was emptied: whoever waits for the next phase enters it again.
            if let Some((slot, _)) = self.entry.take() {
                inner.waiting.borrow_mut().remove(slot);
            }
            return Poll::Ready(inner.phase.get());
        }
        if self.entry.as_ref().is_none_or(|(_, waker)| !waker.will_wake(cx.waker())) {
            let slot = self.entry.take().map(|(slot, _)| slot);
            let slot = inner.waiting.borrow_mut().put(slot, cx.waker().clone());
            self.entry = Some((slot, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((slot, _)) = &self.entry {
            self.phases.0.waiting.borrow_mut().remove(*slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_phase_wakes_once_and_nobody_stays_in_the_list() {
        let phases = Phases::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let (mut watch, mut gone) = (phases.watch(), phases.watch());
        for _ in 0..3 {
            assert!(watch.poll_later(cx, Phase::Serving).is_pending());
            assert!(gone.poll_later(cx, Phase::Serving).is_pending());
        }
        drop(gone);
        phases.nudge();
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1);
        assert!(watch.poll_later(cx, Phase::Serving).is_pending());
        phases.enter(Phase::Draining);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "the nudge left it in the list");
        assert_eq!(watch.poll_later(cx, Phase::Serving), Poll::Ready(Phase::Draining));
        assert!(watch.poll_later(cx, Phase::Draining).is_pending());
        phases.enter(Phase::CutOff);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert_eq!(phases.watch().poll_later(cx, Phase::Serving), Poll::Ready(Phase::CutOff));
        drop(watch);
        assert!(phases.0.waiting.borrow_mut().take().is_empty());
    }
}
