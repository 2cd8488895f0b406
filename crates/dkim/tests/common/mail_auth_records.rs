//! TXT records for mail-auth, parsed and at hand: its resolver asks such a cache first, finds everything, and never touches the network.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mail_auth::{DnsError, Error, ResolverCache, Txt};

/// Records by name, each with its final dot. A name that is not there has no record.
pub(crate) struct Records(pub(crate) HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(self.0.get(name).cloned().unwrap_or(Txt::Error(Error::Dns(DnsError::InvalidRecordType))))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

/// The value of a future that has all it needs.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("mail-auth wants the network"),
    }
}
