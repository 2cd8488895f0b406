//! Where the listening sockets come from, and which shard gets which.
//!
//! From a service manager (*activated*), from a gate that is replaced (`handover`), or bound here. A socket that another process bound
//! for an address is served, and never left aside: connections would wait in its queue for ever.
//!
//! With fewer sockets of an address than shards: where they are ours, more are bound, so that each shard has a queue of its own. Sockets
//! of the service manager are shared instead: it alone owns the address and keeps it over our restarts, and a socket that we added beside
//! would take its share of the connections and lose it when we end; nor may we always bind (privilege, `ReusePort=no`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use mx6_runtime::{Activated, Listener, ListenerHandle, MessageListener};

use crate::connection::ListenerKind;
use crate::handover::{self, Predecessor};
use crate::{Config, ServeError, limits};

/// All sockets of a gate that begins.
pub(crate) struct Sockets {
    /// Those of each shard.
    pub(crate) shards: Vec<Vec<(Listener, ListenerKind)>>,
    /// Each of them once.
    pub(crate) held: Vec<Held>,
    /// One line for each address.
    pub(crate) told: Vec<String>,
    /// The gate that is to be relieved, and which of its sockets are served here.
    pub(crate) predecessor: Option<(Predecessor, Vec<usize>)>,
    /// Where a successor knocks.
    pub(crate) door: Option<MessageListener>,
}

/// A socket as the process knows it; its listeners are with the shards.
pub(crate) struct Held {
    pub(crate) handle: ListenerHandle,
    pub(crate) kind: ListenerKind,
    pub(crate) origin: Origin,
}

/// Who bound a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A gate.
    Bound,
    /// The service manager, which holds it as well.
    Activated,
}

/// A socket that was bound before we began.
#[derive(Debug)]
pub(crate) struct Inherited {
    listener: Listener,
    kind: ListenerKind,
    origin: Origin,
    /// Its number with the predecessor.
    number: Option<usize>,
}

impl Origin {
    /// That of this name in a handover.
    pub(crate) fn named(name: &str) -> Option<Origin> {
        [Origin::Bound, Origin::Activated].into_iter().find(|origin| origin.word() == name)
    }

    /// Its name in a handover.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Origin::Bound => "bound",
            Origin::Activated => "activated",
        }
    }
}

impl ListenerKind {
    /// The kind of that name in a handover, and in `FileDescriptorName=`.
    pub(crate) fn named(name: &str) -> Option<ListenerKind> {
        [ListenerKind::Direct, ListenerKind::Proxy].into_iter().find(|kind| kind.word() == name)
    }

    /// Its name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ListenerKind::Direct => "smtp",
            ListenerKind::Proxy => "proxy",
        }
    }
}

impl Inherited {
    /// # Errors
    /// If it is not a listening socket.
    pub(crate) fn adopt(
        fd: OwnedFd,
        kind: ListenerKind,
        origin: Origin,
        number: Option<usize>,
    ) -> std::io::Result<Inherited> {
        Ok(Inherited { listener: Listener::adopt(fd)?, kind, origin, number })
    }

    /// Whether it is what the configuration asks for; port 0 is any.
    fn serves(&self, address: SocketAddr, kind: ListenerKind) -> bool {
        let local = self.listener.local_addr();
        let port_fits = address.port() == 0 || address.port() == local.port();
        self.kind == kind && local.ip() == address.ip() && port_fits
    }
}

/// Takes over what there is, and binds the rest.
///
/// # Errors
/// If a socket is not what it should be, an address cannot be bound, or the running gate does not do its part.
pub(crate) fn open(config: &Config, shards: usize) -> Result<Sockets, ServeError> {
    let mut inherited = Vec::new();
    for activated in mx6_runtime::activated().map_err(ServeError::Activation)? {
        inherited.push(activated_socket(activated)?);
    }
    let estate = match &config.handover {
        Some(path) => handover::take(path)?,
        None => None,
    };
    let (mut predecessor, mut door) = (None, None);
    if let Some(estate) = estate {
        inherited.extend(estate.sockets);
        (predecessor, door) = (Some(estate.predecessor), Some(estate.door));
    }
    let mut sockets = Sockets {
        shards: (0..shards).map(|_| Vec::new()).collect(),
        held: Vec::new(),
        told: Vec::new(),
        predecessor: None,
        door,
    };
    let mut taken = Vec::new();
    let direct = config.listen.iter().map(|address| (*address, ListenerKind::Direct));
    let proxied = config.proxy_listen.iter().map(|address| (*address, ListenerKind::Proxy));
    for (address, kind) in direct.chain(proxied) {
        let first =
            inherited.iter().find(|socket| socket.serves(address, kind)).map(|first| first.listener.local_addr());
        sockets.serve(first.unwrap_or(address), kind, &mut inherited, &mut taken)?;
    }
    // What the service manager gave is to be served, whatever the configuration names besides.
    while let Some(socket) =
        inherited.iter().find(|socket| socket.origin == Origin::Activated && socket.number.is_none())
    {
        let (address, kind) = (socket.listener.local_addr(), socket.kind);
        sockets.serve(address, kind, &mut inherited, &mut taken)?;
    }
    if config.proxy_from.is_empty() && sockets.held.iter().any(|held| held.kind == ListenerKind::Proxy) {
        let remedy = "a socket named `proxy` needs --proxy-from: name the proxies, such as ::1/128";
        return Err(ServeError::Activation(std::io::Error::new(std::io::ErrorKind::InvalidInput, remedy)));
    }
    sockets.predecessor = predecessor.map(|predecessor| (predecessor, taken));
    if let (None, Some(path)) = (&sockets.door, &config.handover) {
        sockets.door = Some(handover::open_door(path)?);
    }
    Ok(sockets)
}

fn activated_socket(activated: Activated) -> Result<Inherited, ServeError> {
    // A unit without names calls each after itself: such a socket takes SMTP.
    let kind = ListenerKind::named(&activated.name).unwrap_or(ListenerKind::Direct);
    Inherited::adopt(activated.fd, kind, Origin::Activated, None).map_err(ServeError::Activation)
}

impl Sockets {
    /// Serves one address: with those of `inherited` that are bound to it, and others if there are too few.
    fn serve(
        &mut self,
        address: SocketAddr,
        kind: ListenerKind,
        inherited: &mut Vec<Inherited>,
        taken: &mut Vec<usize>,
    ) -> Result<(), ServeError> {
        let is_here = |socket: &mut Inherited| socket.kind == kind && socket.listener.local_addr() == address;
        let found: Vec<Inherited> = inherited.extract_if(.., is_here).collect();
        let mut origin = Origin::Bound;
        let mut listeners = Vec::with_capacity(self.shards.len());
        for socket in found {
            taken.extend(socket.number);
            if socket.origin == Origin::Activated {
                origin = Origin::Activated;
            }
            listeners.push(socket.listener);
        }
        let inherited = listeners.len();
        let mut address = address;
        while listeners.len() < self.shards.len() && origin == Origin::Bound {
            let bound = Listener::bind(address, limits::BACKLOG);
            let listener = bound.map_err(|source| ServeError::Bind { address, source })?;
            // Port 0 was given a number by the first bind; the other shards share it.
            address = listener.local_addr();
            listeners.push(listener);
        }
        let from = match (inherited, origin) {
            (0, _) => String::new(),
            (_, Origin::Bound) => format!(" (sockets of the gate before: {inherited})"),
            (_, Origin::Activated) => format!(" (sockets of the service manager: {inherited})"),
        };
        self.told.push(format!("listening on {address}{from}"));
        self.spread(listeners, kind, origin)
    }

    /// Gives each shard at least one of the listeners, and each listener to a shard.
    fn spread(&mut self, listeners: Vec<Listener>, kind: ListenerKind, origin: Origin) -> Result<(), ServeError> {
        let shards = self.shards.len();
        for listener in &listeners {
            let handle = listener.handle();
            handle.leave_queue(origin == Origin::Activated);
            self.held.push(Held { handle, kind, origin });
        }
        for shard in listeners.len()..shards {
            let shared = &listeners[shard % listeners.len()];
            let listener =
                shared.share().map_err(|source| ServeError::Bind { address: shared.local_addr(), source })?;
            self.shards[shard].push((listener, kind));
        }
        for (number, listener) in listeners.into_iter().enumerate() {
            self.shards[number % shards].push((listener, kind));
        }
        Ok(())
    }
}
