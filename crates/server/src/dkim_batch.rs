//! The shard's batch of DKIM work: what is ready in this turn of the loop is hashed together and its signatures are verified together.
//!
//! Nobody works for the others in a task of its own. The first session that has something ready *leads*: it lets the turn end, then does
//! its own work and that of all who came meanwhile, and wakes them. Whoever makes the batch full does that at once in its place. While one
//! message is all that arrives on the shard, nobody can come, and its session does not even let the turn end.

use std::cell::{Cell, RefCell, RefMut};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use mx6_dkim::{BodyHash, Kernels, Verification};
use mx6_telemetry::{Counter, Counters, LANES, Total};

use crate::limits;

/// How a batch is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DkimBatchLimits {
    /// Messages in one batch; 1 keeps each to itself.
    pub max: usize,
    /// How long the first of a batch waits for others, beyond the end of the turn.
    pub wait: Duration,
}

impl Default for DkimBatchLimits {
    fn default() -> DkimBatchLimits {
        DkimBatchLimits { max: limits::DKIM_BATCH_DEFAULT, wait: Duration::ZERO }
    }
}

/// Collects the verifications that have something to do.
pub(crate) struct DkimBatch {
    limits: DkimBatchLimits,
    kernels: Kernels,
    /// Messages on this shard between DATA and their results, those left out of which it is known that nothing is signed.
    under_way: Cell<usize>,
    /// The batch that is being gathered; the first in it leads.
    waiting: RefCell<Vec<Waiting>>,
    counters: Counters,
}

struct Waiting {
    verification: Rc<RefCell<Verification>>,
    done: oneshot::Sender<()>,
}

/// Counts a message while it may still come to the batch.
pub(crate) struct UnderWay(Rc<DkimBatch>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// Who leads keeps this, and works for the batch when it is dropped: when the turn is over, and also when the session is cut off before.
struct Lead<'b>(&'b DkimBatch);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.run_gathered();
    }
}

impl DkimBatch {
    pub(crate) fn new(limits: DkimBatchLimits, kernels: Kernels, counters: Counters) -> Rc<DkimBatch> {
        let (under_way, waiting) = (Cell::new(0), RefCell::new(Vec::new()));
        Rc::new(DkimBatch { limits, kernels, under_way, waiting, counters })
    }

    /// Counts a message; it may come to the batch until the token is dropped.
    pub(crate) fn under_way(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// Waits until the octets staged in `verification` are hashed and, if its keys are taken in, its signatures are verified as far as the
    /// batch can do that. False if that failed.
    ///
    /// The caller must hold no borrow of `verification` meanwhile.
    pub(crate) async fn advance(&self, verification: &Rc<RefCell<Verification>>) -> bool {
        if self.limits.max <= 1 || self.under_way.get() <= 1 {
            self.run_alone(&mut verification.borrow_mut());
            return true;
        }
        let (done, mut receiver) = oneshot::channel();
        let gathered = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(Waiting { verification: Rc::clone(verification), done });
            waiting.len()
        };
        if gathered >= self.limits.max {
            self.run_gathered();
        } else if gathered == 1 {
            let lead = Lead(self);
            match select(pin!(self.gather()), &mut receiver).await {
                Either::Left(_) => drop(lead),
                Either::Right((done, _)) => {
                    // Another one made the batch full; what is gathered now has another leader.
                    std::mem::forget(lead);
                    return done.is_ok();
                }
            }
        }
        receiver.await.is_ok()
    }

    async fn gather(&self) {
        if self.limits.wait.is_zero() {
            mx6_runtime::end_of_turn().await;
        } else {
            mx6_runtime::sleep(self.limits.wait).await;
        }
    }

    fn run_alone(&self, verification: &mut Verification) {
        let staged = verification.body_hashes().iter().filter(|hash| hash.staged() > 0).count();
        verification.compress(&self.kernels);
        let signatures = self.kernels.verify([verification]);
        self.count(staged, signatures);
    }

    /// Works for all of the batch together. They hear of it, by the loss of their sender too if this panics.
    fn run_gathered(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        if let [only] = waiting.as_slice() {
            self.run_alone(&mut only.verification.borrow_mut());
        } else {
            self.run_together(&waiting);
        }
        for entry in waiting {
            // An error only says that the session is gone.
            let _ = entry.done.send(());
        }
    }

    fn run_together(&self, waiting: &[Waiting]) {
        let mut verifications: Vec<RefMut<'_, Verification>> =
            waiting.iter().map(|entry| entry.verification.borrow_mut()).collect();
        let hashes = verifications.iter_mut().flat_map(|verification| verification.body_hashes());
        let mut lanes: Vec<&mut BodyHash> = hashes.filter(|hash| hash.staged() > 0).collect();
        let staged = lanes.len();
        self.kernels.compress(&mut lanes);
        let signatures = self.kernels.verify(verifications.iter_mut().map(|verification| &mut **verification));
        self.count(staged, signatures);
    }

    fn count(&self, hashes: usize, signatures: usize) {
        let counters = &self.counters;
        if hashes > 0 {
            counters.add_one(Counter::HashBatches);
            counters.add(Counter::HashLanes, hashes as u64);
            counters.add_batch(&Counter::HASH_LANES, hashes);
        }
        if signatures > 0 {
            counters.add_one(Counter::RsaBatches);
            counters.add(Counter::RsaLanes, signatures as u64);
            counters.add_batch(&Counter::RSA_LANES, signatures);
        }
    }
}

/// How full the batches were, in words; nothing if there were none.
pub(crate) fn occupancy(total: &Total) -> Option<String> {
    let filled = |counters: [Counter; LANES.len()]| {
        let kinds = LANES.iter().zip(counters);
        kinds.map(|((_, lanes), counter)| format!("{lanes}: {}", total.value(counter))).collect::<Vec<_>>().join(", ")
    };
    (total.value(Counter::HashBatches) > 0).then(|| {
        let (hashes, signatures) = (filled(Counter::HASH_LANES), filled(Counter::RSA_LANES));
        format!("DKIM batches by lanes filled: body hashes {hashes}; RSA-2048 signatures {signatures}")
    })
}

#[cfg(test)]
mod tests;
