//! One value from one task to another of the same shard; either side may go away.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub(crate) fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let state = Rc::new(RefCell::new(State { value: None, waker: None, closed: false }));
    (Sender(state.clone()), Receiver(state))
}

pub(crate) struct Sender<T>(Rc<RefCell<State<T>>>);

/// Resolves to the value, or to `None` when the sender went away without sending.
pub(crate) struct Receiver<T>(Rc<RefCell<State<T>>>);

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Sender<T> {
    pub(crate) fn send(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.borrow_mut();
        match state.value.take() {
            Some(value) => Poll::Ready(Some(value)),
            None if state.closed => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sender, oneshot};

    /// A lookup that ends by a panic is no answer, and keeps nobody waiting.
    #[test]
    fn a_task_that_panics_leaves_nobody_waiting() {
        let received = mx6_runtime::run_local(async || {
            let (sender, receiver) = oneshot::<u8>();
            mx6_runtime::spawn("a lookup", async move {
                let _sender: Sender<u8> = sender;
                mx6_runtime::sleep(std::time::Duration::from_millis(1)).await;
                panic!("as if by a fault of ours");
            });
            receiver.await
        });
        assert_eq!(received.unwrap(), None);
    }
}
