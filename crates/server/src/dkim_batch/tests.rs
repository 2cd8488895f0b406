use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Waker};

use futures_util::FutureExt;
use mx6_dkim::Header;
use mx6_runtime::run_local;

use super::*;

type Message = Rc<RefCell<Verification>>;

/// A signed message with two blocks staged. Its key is never asked for.
fn message() -> Message {
    let header = Header::parse(
        b"From: a@example.org\r\nDKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=example.org; s=s; h=from;\r\n \
          bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n\r\n",
    );
    let mut verification = Verification::new(&header, 0);
    verification.body(&[b'x'; 130]);
    let message = Rc::new(RefCell::new(verification));
    assert!(!is_hashed(&message));
    message
}

fn is_hashed(message: &Message) -> bool {
    message.borrow_mut().body_hashes().iter().all(|hash| hash.staged() == 0)
}

/// A batch and so many signed messages under way.
struct Bench {
    batch: Rc<DkimBatch>,
    counters: Counters,
    messages: Vec<Message>,
    _under_way: Vec<UnderWay>,
}

fn bench(max: usize, wait: Duration, messages: usize) -> Bench {
    let counters = Counters::default();
    let batch = DkimBatch::new(DkimBatchLimits { max, wait }, Kernels::PORTABLE, counters.clone());
    let under_way = (0..messages).map(|_| batch.under_way()).collect();
    let messages = (0..messages).map(|_| message()).collect();
    Bench { batch, counters, messages, _under_way: under_way }
}

impl Bench {
    /// The session of a message, polled once.
    fn come(&self, message: usize) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let mut session = Box::pin(self.batch.advance(&self.messages[message])) as Pin<Box<dyn Future<Output = bool>>>;
        match poll(&mut session) {
            Some(done) => Box::pin(std::future::ready(done)),
            None => session,
        }
    }

    fn hashed(&self) -> Vec<bool> {
        self.messages.iter().map(is_hashed).collect()
    }

    /// How many batches there were, and how many bodies in all of them.
    fn batches(&self) -> (u64, u64) {
        (self.counters.value(Counter::HashBatches), self.counters.value(Counter::HashLanes))
    }
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn who_is_alone_does_not_wait() {
    for (max, messages) in [(64, 1), (1, 3)] {
        let bench = bench(max, LONG, messages);
        assert_eq!(bench.come(0).now_or_never(), Some(true));
        assert_eq!(bench.batches(), (1, 1));
        assert!(is_hashed(&bench.messages[0]));
    }
}

#[test]
fn who_comes_in_the_same_turn_is_worked_for_by_the_first() {
    let bench = bench(64, Duration::ZERO, 3);
    let mut sessions: Vec<_> = (0..3).map(|message| bench.come(message)).collect();
    assert_eq!(bench.batches(), (0, 0));
    assert_eq!(poll(&mut sessions[1]), None);
    // The end of the turn comes to the first.
    assert_eq!(poll(&mut sessions[0]), Some(true));
    assert_eq!(bench.hashed(), [true; 3]);
    assert_eq!((poll(&mut sessions[1]), poll(&mut sessions[2])), (Some(true), Some(true)));
    assert_eq!(bench.batches(), (1, 3));
}

#[test]
fn a_full_batch_waits_for_nothing() {
    run_local(async || {
        let bench = bench(3, LONG, 5);
        let mut first_three: Vec<_> = (0..3).map(|message| bench.come(message)).collect();
        assert_eq!(bench.hashed(), [true, true, true, false, false]);
        // The fourth leads the next batch, of which the first, who still has to hear of his, is no part.
        let mut fourth = bench.come(3);
        assert!(first_three.iter_mut().all(|session| poll(session) == Some(true)));
        assert_eq!(poll(&mut fourth), None);
        assert_eq!(bench.hashed(), [true, true, true, false, false]);
        assert_eq!(bench.batches(), (1, 3));
    })
    .unwrap();
}

#[test]
fn others_have_until_the_wait_is_over() {
    run_local(async || {
        let bench = bench(64, Duration::from_millis(20), 2);
        let first = bench.come(0);
        mx6_runtime::end_of_turn().await;
        mx6_runtime::end_of_turn().await;
        let second = bench.come(1);
        assert_eq!(bench.batches(), (0, 0));
        assert!(first.await && second.await);
        assert_eq!(bench.batches(), (1, 2));
    })
    .unwrap();
}

#[test]
fn a_leader_that_is_cut_off_still_works_for_the_others() {
    let bench = bench(64, Duration::ZERO, 3);
    let (leader, mut second) = (bench.come(0), bench.come(1));
    drop(leader);
    assert_eq!(poll(&mut second), Some(true));
    // And the next one leads anew.
    let mut third = bench.come(2);
    assert_eq!(poll(&mut third), Some(true));
    assert_eq!(bench.hashed(), [true; 3]);
}

#[test]
fn a_panic_is_heard_by_all_and_ends_with_the_batch() {
    let bench = bench(64, Duration::ZERO, 4);
    let (mut leader, mut second) = (bench.come(0), bench.come(1));
    let borrowed = bench.messages[1].borrow();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut leader))).is_err());
    drop(borrowed);
    assert_eq!(poll(&mut second), Some(false));
    let (mut third, mut fourth) = (bench.come(2), bench.come(3));
    assert_eq!((poll(&mut third), poll(&mut fourth)), (Some(true), Some(true)));
    assert_eq!(bench.hashed(), [false, false, true, true]);
}

#[test]
fn occupancy_in_words() {
    assert_eq!(occupancy(&Total::of(vec![Counters::default()])), None);
    let bench = bench(2, Duration::ZERO, 3);
    let _sessions: Vec<_> = (0..2).map(|message| bench.come(message)).collect();
    let words = occupancy(&Total::of(vec![bench.counters.clone()])).unwrap();
    assert!(words.starts_with("DKIM batches by lanes filled: body hashes 1: 0, 2: 1, 3-4: 0, "), "{words}");
}
