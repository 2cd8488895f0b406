//! Live transcripts: sessions tell what is said in them while somebody wants to know, and only those whose client he wants to know of.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;

use crate::feed::{Feed, Heard, Listener, locked};
use crate::transcript::Event;

/// Where sessions tell and tracers hear; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    feed: Feed<Arc<Event>>,
    wanted: Arc<Mutex<Vec<Wanted>>>,
    tracers: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Wanted {
    tracer: u64,
    prefix: Option<IpNet>,
    message_octets: u64,
}

/// Who traces; ends when dropped.
#[derive(Debug)]
pub struct Tracer {
    listener: Listener<Arc<Event>>,
    tracing: Tracing,
    number: u64,
}

impl Tracing {
    /// Whether anybody traces: one load.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.feed.is_heard()
    }

    /// Whether somebody wants to know what this client's session says, and then how many octets of a message. A session that asks while tracers come or go
    /// is not traced: it does not wait.
    #[must_use]
    pub fn wants(&self, client: IpAddr) -> Option<u64> {
        let Ok(wanted) = self.wanted.try_lock() else { return None };
        let mine = wanted.iter().filter(|wanted| wanted.prefix.is_none_or(|prefix| prefix.contains(&client)));
        mine.map(|wanted| wanted.message_octets).max()
    }

    /// Tells one event.
    pub fn tell(&self, event: Event) {
        self.feed.tell(&Arc::new(event));
    }

    /// Traces sessions of clients in `prefix` (of all, without one) that begin from now on, up to `message_octets` of each message; `most` events may wait to
    /// be heard. None if too many trace already.
    #[must_use]
    pub fn trace(&self, prefix: Option<IpNet>, message_octets: u64, most: usize) -> Option<Tracer> {
        let listener = self.feed.listen(most)?;
        let number = self.tracers.fetch_add(1, Ordering::Relaxed);
        self.wanted().push(Wanted { tracer: number, prefix, message_octets });
        Some(Tracer { listener, tracing: self.clone(), number })
    }

    fn wanted(&self) -> MutexGuard<'_, Vec<Wanted>> {
        locked(&self.wanted)
    }
}

impl Tracer {
    /// The next event, of other tracers' clients too; none when the gate ends.
    pub async fn next(&mut self) -> Option<Heard<Arc<Event>>> {
        self.listener.next().await
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.tracing.wanted().retain(|wanted| wanted.tracer != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_wanted() {
        let tracing = Tracing::default();
        let (inside, outside) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(!tracing.is_on() && tracing.wants(inside).is_none());
        let narrow = tracing.trace(Some("2001:db8::/32".parse().unwrap()), 100, 10).unwrap();
        assert!(tracing.is_on());
        assert_eq!((tracing.wants(inside), tracing.wants(outside)), (Some(100), None));
        let wide = tracing.trace(None, 0, 10).unwrap();
        assert_eq!((tracing.wants(inside), tracing.wants(outside)), (Some(100), Some(0)));
        drop(narrow);
        assert_eq!(tracing.wants(inside), Some(0));
        let busy = tracing.wanted();
        assert_eq!(tracing.wants(inside), None);
        drop(busy);
        drop(wide);
        assert!(!tracing.is_on());
    }
}
