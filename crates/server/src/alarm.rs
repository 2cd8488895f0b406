//! One timer for each connection, re-armed only when it rang too early or would ring too late.
//!
//! A session moves its deadline on with every command; arming a timer each time would cost more than parsing the command does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A timer that follows a moving deadline.
#[derive(Default)]
pub(crate) struct Alarm {
    armed: Option<Armed>,
}

struct Armed {
    at_ms: u64,
    sleep: Pin<Box<dyn Future<Output = ()>>>,
}

impl Alarm {
    /// Ready once the monotonic clock has reached `at_ms`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at_ms: u64) -> Poll<()> {
        loop {
            let now_ms = mx6_runtime::now_ms();
            if now_ms >= at_ms {
                return Poll::Ready(());
            }
            if at_ms == u64::MAX {
                return Poll::Pending;
            }
            if self.armed.as_ref().is_none_or(|armed| armed.at_ms > at_ms) {
                let rest = Duration::from_millis(at_ms - now_ms);
                self.armed = Some(Armed { at_ms, sleep: Box::pin(mx6_runtime::sleep(rest)) });
            }
            if let Some(armed) = &mut self.armed {
                if armed.sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // It rang for an earlier deadline: arm it for this one.
                self.armed = None;
            }
        }
    }
}
