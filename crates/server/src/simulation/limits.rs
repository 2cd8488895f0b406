//! Limits on the client's /64 and a small budget of message memory, drawn for a life, and what was heard of them.

use std::cell::RefCell;
use std::net::SocketAddr;

use mx6_runtime::simulation::draw;
use mx6_smtp::Reply;
use mx6_telemetry::{Counter, Counters};

use crate::{Config, Options};

/// What is limited in this life.
#[derive(Default)]
pub(super) struct Limits {
    connections: Option<u64>,
    messages: Option<u64>,
    /// In octets.
    memory: Option<u64>,
    taken: RefCell<Taken>,
}

/// What clients of the one /64 were allowed.
#[derive(Default)]
struct Taken {
    connections: u64,
    messages: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Connections,
    Messages,
}

impl Limits {
    pub(super) fn drawn() -> Limits {
        let rate = || (draw(4) == 0).then(|| 1 + draw(6));
        // Of these one message takes three quarters at least: a second one must wait.
        let memory = (draw(4) == 0).then_some(256 << 10);
        Limits { connections: rate(), messages: rate(), memory, taken: RefCell::default() }
    }

    pub(super) fn config(&self, options: Options) -> Config {
        let connections = self.connections.map(|count| format!("64.connections={count}/1h"));
        let messages = self.messages.map(|count| format!("64.messages={count}/1h"));
        let limit = connections.into_iter().chain(messages).collect();
        let mut config = Options { limit, ..options }.check().unwrap();
        config.memory_octets = self.memory.unwrap_or(config.memory_octets);
        config
    }

    /// What a client heard in place of the banner, or to its MAIL.
    pub(super) fn heard(&self, scope: Scope, client: SocketAddr, reply: &Reply) {
        let text = reply.to_string();
        let (limit, refusal) = match scope {
            Scope::Connections => (self.connections, "421 4.7.28 "),
            Scope::Messages => (self.messages, "450 4.7.28 "),
        };
        if text.contains("4.7.28") {
            assert!(limit.is_some() && client.is_ipv6() && text.starts_with(refusal), "{scope:?}: {text}");
        }
        assert!(!text.contains("4.3.1") || self.memory.is_some(), "{text}, but there is memory");
        let taken = &mut *self.taken.borrow_mut();
        let count = if scope == Scope::Connections { &mut taken.connections } else { &mut taken.messages };
        *count += u64::from(client.is_ipv6() && reply.is_positive());
    }

    /// At the end of a life: never more than the budget and what came back to it, and never more memory than there is.
    pub(super) fn assert_held(&self, lived_ms: u64, counters: &Counters) {
        let taken = self.taken.borrow();
        for (limit, taken) in [(self.connections, taken.connections), (self.messages, taken.messages)] {
            let Some(limit) = limit else { continue };
            let most = limit + limit * lived_ms / 3_600_000 + 1;
            assert!(taken <= most, "{taken} were let through, {most} at most");
        }
        let [reserved, returned, peak] = [Counter::MemoryReserved, Counter::MemoryReturned, Counter::MemoryPeak]
            .map(|counter| counters.value(counter));
        assert_eq!(reserved, returned, "memory that was never given back");
        assert!(self.memory.is_none_or(|memory| peak <= memory), "{peak} octets were reserved");
    }
}
