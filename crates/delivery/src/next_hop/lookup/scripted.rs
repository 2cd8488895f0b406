//! A resolver that tells of each name what a test has said.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use mx6_runtime::sleep;

/// What becomes of lookups of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::next_hop) enum Does {
    /// It is found on this machine, at the port that was asked for and so many more.
    Finds(u16),
    Fails,
    Panics,
    /// Nothing, until something else is said.
    Hangs,
}

/// What was said of a name, and how often it was looked up.
static NAMES: LazyLock<Mutex<HashMap<String, (Does, usize)>>> = LazyLock::new(Mutex::default);

pub(in crate::next_hop) fn say(name: &str, does: Does) {
    names().entry(name.to_owned()).or_insert((does, 0)).0 = does;
}

/// How often it was looked up.
pub(in crate::next_hop) fn lookups(name: &str) -> usize {
    names()[name].1
}

/// The same, once it was looked up at least `wanted` times; or what it is after a while.
pub(in crate::next_hop) async fn lookups_by_now(name: &str, wanted: usize) -> usize {
    for _ in 0..1000 {
        if lookups(name) >= wanted {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    lookups(name)
}

/// A [`super::Lookup`].
pub(in crate::next_hop) fn lookup(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    names().get_mut(name).unwrap().1 += 1;
    loop {
        let does = names()[name].0;
        match does {
            Does::Finds(more) => return Ok(vec![(Ipv6Addr::LOCALHOST, port + more).into()]),
            Does::Fails => return Err(io::Error::other("SERVFAIL")),
            Does::Panics => panic!("a lookup that panics"),
            Does::Hangs => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn names() -> MutexGuard<'static, HashMap<String, (Does, usize)>> {
    NAMES.lock().unwrap()
}
