//! The shard's batch of DKIM work: what is ready in this turn of the loop is hashed together and its signatures are verified together.
//!
//! Nobody works for the others in a task of its own. The first session that has something ready *leads*: it lets the turn end, then does
//! its own work and that of all who came meanwhile, and wakes them. While one signed message is all there is on the shard, nobody
//! can come, and its session does not even let the turn end.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use mx6_dkim::{BodyHash, Kernels, Verification};
use mx6_telemetry::{Counter, Counters, LANES, Total};

use crate::limits;

/// How a batch is gathered.
#[derive(Debug, Clone, Copy)]
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
    /// Signed messages on this shard that have not got their results.
    under_way: Cell<usize>,
    /// A session leads. Nobody is in `waiting` otherwise.
    led: Cell<bool>,
    waiting: RefCell<Vec<Waiting>>,
    counters: Counters,
}

struct Waiting {
    verification: Rc<RefCell<Verification>>,
    done: oneshot::Sender<()>,
}

/// Counts a signed message while it may still come to the batch.
pub(crate) struct UnderWay(Rc<DkimBatch>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// Who leads keeps this. Dropped early, because the session was cut off, it still works for those who wait.
struct Lead<'b>(&'b DkimBatch);

impl Lead<'_> {
    /// The turn is over: who came meanwhile.
    fn end(self) -> Vec<Waiting> {
        self.0.take_waiting()
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.led.set(false);
        self.0.run_for(self.0.take_waiting(), None);
    }
}

impl DkimBatch {
    pub(crate) fn new(limits: DkimBatchLimits, kernels: Kernels, counters: Counters) -> Rc<DkimBatch> {
        let (under_way, led) = (Cell::new(0), Cell::new(false));
        Rc::new(DkimBatch { limits, kernels, under_way, led, waiting: RefCell::new(Vec::new()), counters })
    }

    /// Counts a signed message; it may come to the batch until the token is dropped.
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
        if !self.led.replace(true) {
            let lead = Lead(self);
            self.gather().await;
            let others = lead.end();
            self.run_for(others, Some(verification));
            return true;
        }
        // With the leader and this one the batch may be full: then this one works at once, and the leader for those who come later.
        if self.waiting.borrow().len() + 2 >= self.limits.max {
            self.run_for(self.take_waiting(), Some(verification));
            return true;
        }
        let (done, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push(Waiting { verification: Rc::clone(verification), done });
        receiver.await.is_ok()
    }

    async fn gather(&self) {
        if self.limits.wait.is_zero() {
            mx6_runtime::end_of_turn().await;
        } else {
            mx6_runtime::sleep(self.limits.wait).await;
        }
    }

    fn take_waiting(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.waiting.borrow_mut())
    }

    fn run_alone(&self, verification: &mut Verification) {
        let staged = verification.body_hashes().iter().filter(|hash| hash.staged() > 0).count();
        verification.compress(&self.kernels);
        let signatures = self.kernels.verify([verification]);
        self.count(staged, signatures);
    }

    /// Works for all of these together. Who waits hears of it, by the loss of its sender too if this panics.
    fn run_for(&self, waiting: Vec<Waiting>, own: Option<&Rc<RefCell<Verification>>>) {
        match (waiting.as_slice(), own) {
            ([], None) => return,
            ([], Some(own)) => return self.run_alone(&mut own.borrow_mut()),
            _ => {}
        }
        let all = waiting.iter().map(|entry| &entry.verification).chain(own);
        let mut verifications: Vec<RefMut<'_, Verification>> = all.map(|each| each.borrow_mut()).collect();
        let hashes = verifications.iter_mut().flat_map(|verification| verification.body_hashes());
        let mut lanes: Vec<&mut BodyHash> = hashes.filter(|hash| hash.staged() > 0).collect();
        let staged = lanes.len();
        self.kernels.compress(&mut lanes);
        let signatures = self.kernels.verify(verifications.iter_mut().map(|verification| &mut **verification));
        self.count(staged, signatures);
        drop(verifications);
        for entry in waiting {
            // An error only says that the session is gone.
            let _ = entry.done.send(());
        }
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
