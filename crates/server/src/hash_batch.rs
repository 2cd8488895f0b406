//! The shard's batch of body hashes: what is ready in this turn of the loop is hashed together, and nothing waits for more to come.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use futures_channel::oneshot;
use mx6_dkim::{BodyHash, Verification};
use mx6_telemetry::{Counter, Counters};

/// Collects the verifications that have octets staged and advances all of them once per turn.
pub(crate) struct HashBatch {
    waiting: RefCell<Vec<Waiting>>,
    counters: Counters,
}

struct Waiting {
    verification: Rc<RefCell<Verification>>,
    advanced: oneshot::Sender<()>,
}

impl HashBatch {
    pub(crate) fn new(counters: Counters) -> Rc<HashBatch> {
        Rc::new(HashBatch { waiting: RefCell::new(Vec::new()), counters })
    }

    /// Waits until the octets staged in `verification` are hashed, at the end of this turn. False if that failed.
    ///
    /// The caller must not hold a borrow of `verification` meanwhile.
    pub(crate) async fn advance(self: &Rc<Self>, verification: &Rc<RefCell<Verification>>) -> bool {
        let (advanced, receiver) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(Waiting { verification: Rc::clone(verification), advanced });
            waiting.len() == 1
        };
        if first {
            let batch = Rc::clone(self);
            mx6_runtime::spawn("hash batch", async move {
                mx6_runtime::end_of_turn().await;
                batch.run();
            });
        }
        receiver.await.is_ok()
    }

    fn run(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        {
            let mut verifications: Vec<RefMut<'_, Verification>> =
                waiting.iter().map(|entry| entry.verification.borrow_mut()).collect();
            let hashes = verifications.iter_mut().flat_map(|verification| verification.body_hashes());
            let mut lanes: Vec<&mut BodyHash> = hashes.filter(|hash| hash.staged() > 0).collect();
            self.counters.add_one(Counter::HashBatches);
            self.counters.add(Counter::HashLanes, lanes.len() as u64);
            mx6_dkim::compress(&mut lanes);
        }
        for entry in waiting {
            // An error only says that the session is gone.
            let _ = entry.advanced.send(());
        }
    }
}
