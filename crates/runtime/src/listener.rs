//! A listening socket of one shard.
//!
//! Each shard binds its own, all to the same address (`SO_REUSEPORT`): the kernel spreads the connections. IPv6 sockets are
//! `IPV6_V6ONLY`, so an IPv4 client never shows up with a mapped address. Sockets that another process bound are adopted.
//!
//! To close a listening socket is to reset what waits in its queue, so the end comes in two ways. A queue that is ours alone is emptied
//! first: new connections are kept out by a filter that drops their SYN (the client sends it again, to whoever listens then), those under
//! way are waited for and accepted. A queue that somebody else holds too is left to him.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::spare_descriptor::SpareDescriptor;
use crate::stop::StopFlag;
use crate::stream::{Stream, not_blocked};
use crate::task::Turns;
use crate::time::{Deadline, sleep};

/// A bound, listening socket. It may be made on one thread and moved to its shard; from the first [`Listener::accept`] on
/// it belongs to that shard and must be dropped there.
#[derive(Debug)]
pub struct Listener {
    fd: Arc<OwnedFd>,
    /// A duplicate for the ring to watch; none while it does.
    watch: RefCell<Option<OwnedFd>>,
    local: SocketAddr,
    end: Arc<End>,
    /// Once accepting has ended: until when connections whose handshake was under way are waited for.
    last_call: Cell<Option<Deadline>>,
    turns: Turns,
    #[cfg(feature = "simulation")]
    simulated: Option<simulation::Backlog>,
}

impl Listener {
    /// Binds `addr` and listens; `backlog` connections may wait (the kernel's `somaxconn` is an upper limit).
    ///
    /// # Errors
    /// The kernel's: address in use by a socket without `SO_REUSEPORT`, not available, no permission for the port.
    pub fn bind(addr: SocketAddr, backlog: u32) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Otherwise a restart waits for connections of the last run in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        #[cfg(feature = "simulation")]
        if let Some(backlog) = simulation::Backlog::listen(addr) {
            let listener = Listener::over(Arc::new(socket.into()), addr, Arc::default())?;
            return Ok(Listener { simulated: Some(backlog), ..listener });
        }
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Listener::adopt(socket.into())
    }

    /// Takes over a socket that listens already, as a service manager or another process hands it over.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a listening TCP socket; the kernel's.
    pub fn adopt(fd: OwnedFd) -> io::Result<Listener> {
        let socket = SockRef::from(&fd);
        let local = socket.local_addr()?.as_socket().filter(|_| matches!(socket.r#type(), Ok(Type::STREAM)));
        let Some(local) = local.filter(|_| matches!(socket.is_listener(), Ok(true))) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening TCP socket"));
        };
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it on Linux: one system call less a connection.
        socket.set_tcp_nodelay(true)?;
        Listener::over(Arc::new(fd), local, Arc::default())
    }

    /// Another listener on the same socket, queue and handle: whichever shard comes first takes a connection. The kernel wakes both for
    /// each, so this is for sockets of which there cannot be more. The socket is closed with the last of them.
    ///
    /// # Errors
    /// The kernel's: no descriptor is free.
    pub fn share(&self) -> io::Result<Listener> {
        Listener::over(Arc::clone(&self.fd), self.local, Arc::clone(&self.end))
    }

    fn over(fd: Arc<OwnedFd>, local: SocketAddr, end: Arc<End>) -> io::Result<Listener> {
        Ok(Listener {
            watch: RefCell::new(Some(fd.try_clone()?)),
            fd,
            local,
            end,
            last_call: Cell::new(None),
            turns: Turns::default(),
            #[cfg(feature = "simulation")]
            simulated: None,
        })
    }

    /// The next connection and its peer's address.
    ///
    /// **Never race or drop this future**: run it in a loop in a task of its own and end that by [`ListenerHandle::close`], after which it
    /// first resolves to what still waits, unless the queue is somebody else's too, and then fails for ever.
    ///
    /// # Errors
    /// The kernel's. [`accept_is_fatal`] tells those that end the loop from those of one connection or of the moment.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        #[cfg(feature = "simulation")]
        if let Some(backlog) = &self.simulated {
            let (end, peer) = poll_fn(|cx| backlog.poll_accept(cx)).await?;
            return Ok((Stream::simulated(end, peer), peer));
        }
        loop {
            self.turns.give_way().await;
            if self.end.closed.is_set() {
                self.begin_last_call()?;
            }
            if let Some((fd, peer)) = not_blocked(|| rustix::net::acceptfrom_with(self, SocketFlags::CLOEXEC))? {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::NotConnected)?;
                return Ok((Stream::adopt(fd, peer), peer));
            }
            self.turns.waited();
            match self.last_call.get() {
                None => self.readable().await?,
                Some(until) if until.has_passed() => return Err(accepting_has_ended()),
                Some(_) => sleep(LAST_CALL_POLL).await,
            }
        }
    }

    /// The address that was bound, with the real port when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What any thread may do with it.
    #[must_use]
    pub fn handle(&self) -> ListenerHandle {
        ListenerHandle {
            fd: Arc::downgrade(&self.fd),
            local: self.local,
            end: Arc::clone(&self.end),
            #[cfg(feature = "simulation")]
            simulated: self.simulated.clone(),
        }
    }

    /// For when there is no descriptor left for [`Listener::accept`]: takes the next connection in the place of `spare`, says `octets` and
    /// closes it. False if none waits, or somebody else of this process was faster.
    pub fn turn_away(&self, spare: &mut SpareDescriptor, octets: &[u8]) -> bool {
        spare.lend(|| {
            let Ok(Some((fd, _))) = not_blocked(|| rustix::net::acceptfrom_with(self, SocketFlags::CLOEXEC)) else {
                return false;
            };
            // A PROXY header left unread would make the kernel reset the connection, and the word would be lost.
            let _ = rustix::net::recv(&fd, &mut [0; 1_024], RecvFlags::DONTWAIT);
            let _ = rustix::net::send(&fd, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            true
        })
    }

    /// Accepting has ended: a queue of our own gets no new connections, and those whose handshake is under way get their time. Fails
    /// when the queue is left to others.
    fn begin_last_call(&self) -> io::Result<()> {
        if self.end.queue_is_left.load(Ordering::SeqCst) {
            return Err(accepting_has_ended());
        }
        if self.last_call.get().is_none() {
            let filtered = SockRef::from(&self.fd).attach_filter(&DROP_SYN);
            // Without the filter there is nothing to wait for: connections would come as fast as they are accepted.
            let time = if filtered.is_ok() { HANDSHAKE_TIME } else { Duration::ZERO };
            self.last_call.set(Some(Deadline::after(time)));
        }
        Ok(())
    }

    /// Waits until there is something to accept, or accepting has ended. May be dropped.
    ///
    /// glommio's own `accept` makes five system calls whenever nothing waits and two more for each connection. What we want of it is only
    /// that its ring watches a descriptor, which it does for a stream from its first moment: so the listener is shown to it as one. Its
    /// `recv`, once the ring has spoken, fails (ENOTCONN), and that is the word that we wait for.
    async fn readable(&self) -> io::Result<()> {
        let watch = self.watch.take();
        let fd = watch.map_or_else(|| self.fd.try_clone(), Ok)?;
        // SAFETY: the descriptor is open, ours alone, and given up here. The ring watches the socket as long as the stream lives, which
        // would keep it listening: wherever this ends early, the stream is dropped, closes its descriptor and tells the ring.
        let mut watched = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
        let mut closed = pin!(self.end.closed.stopped());
        let spoke = poll_fn(|cx| {
            // Whatever it says, accept(2) knows better.
            let spoke = Pin::new(&mut watched).poll_read(cx, &mut [0]).map(|_| true);
            if spoke.is_pending() && closed.as_mut().poll(cx).is_ready() { Poll::Ready(false) } else { spoke }
        });
        if spoke.await {
            // What it held on the heap it has given up when its read failed; the descriptor serves again.
            // SAFETY: the descriptor is open, and the stream that owned it is forgotten.
            *self.watch.borrow_mut() = Some(unsafe { OwnedFd::from_raw_fd(watched.as_raw_fd()) });
            std::mem::forget(watched);
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A listening socket as other threads see it; clones are the same. It keeps nothing open.
#[derive(Debug, Clone)]
pub struct ListenerHandle {
    fd: Weak<OwnedFd>,
    local: SocketAddr,
    end: Arc<End>,
    #[cfg(feature = "simulation")]
    simulated: Option<simulation::Backlog>,
}

impl ListenerHandle {
    /// Ends accepting: the pending [`Listener::accept`] takes what still waits, then fails. Closing again does nothing.
    pub fn close(&self) {
        #[cfg(feature = "simulation")]
        if let Some(backlog) = &self.simulated {
            backlog.close();
        }
        self.end.closed.set();
    }

    /// Whether the queue is to be left alone when accepting ends, because somebody else holds the socket and will serve what waits.
    /// It is not, if nothing is said.
    pub fn leave_queue(&self, leave: bool) {
        self.end.queue_is_left.store(leave, Ordering::SeqCst);
    }

    /// The address that was bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How full the backlog is, in permille of its limit; none once the listener is gone.
    #[must_use]
    pub fn backlog_permille(&self) -> Option<u32> {
        let fd = self.fd.upgrade()?;
        // SAFETY: a `tcp_info` is integers, all of which may be zero.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut octets = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the descriptor is open while it is held here; the kernel writes at most `octets` octets.
        let failed = unsafe {
            let info = (&raw mut info).cast();
            libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut octets) != 0
        };
        // Of a listening socket these two are the backlog's length and its limit (tcp_get_info of the kernel).
        let (waiting, most) = (info.tcpi_unacked, info.tcpi_sacked);
        (!failed && most > 0).then(|| (u64::from(waiting) * 1_000 / u64::from(most)) as u32)
    }

    /// A descriptor of the socket, to be handed to another process; none once the listener is gone.
    ///
    /// # Errors
    /// The kernel's: no descriptor is free.
    pub fn duplicate(&self) -> io::Result<Option<OwnedFd>> {
        self.fd.upgrade().map(|fd| fd.try_clone()).transpose()
    }
}

/// What a listener is told by its handles.
#[derive(Debug, Default)]
struct End {
    closed: StopFlag,
    queue_is_left: AtomicBool,
}

fn accepting_has_ended() -> io::Error {
    io::Error::other("accepting has ended")
}

/// Whether [`Listener::accept`] failed for want of descriptors or memory: the connection still waits, and so should the loop.
#[must_use]
pub fn accept_is_starved(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Whether an error of [`Listener::accept`] ends the accept loop.
///
/// Not fatal: a connection that was gone before it was accepted, network errors that Linux reports here (accept(2)), and a lack of
/// descriptors or memory, after which the loop should wait a little before it goes on ([`accept_is_starved`]). Fatal: accepting was ended, or the
/// listener is not what it should be.
#[must_use]
pub fn accept_is_fatal(error: &io::Error) -> bool {
    const PASSING: &[i32] = &[
        libc::ECONNABORTED,
        libc::ECONNRESET,
        libc::ENOTCONN,
        libc::EINTR,
        libc::EAGAIN,
        libc::EPERM,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::EOPNOTSUPP,
        libc::ETIMEDOUT,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
    ];
    match error.raw_os_error() {
        Some(code) => !PASSING.contains(&code),
        None => error.kind() != io::ErrorKind::NotConnected,
    }
}

/// A classic BPF program over the TCP header: segments with SYN are dropped, all others pass.
const DROP_SYN: [SockFilter; 4] = [
    // BPF_LD | BPF_B | BPF_ABS: the octet of flags (RFC 9293 §3.1).
    SockFilter::new(0x30, 0, 0, 13),
    // BPF_JMP | BPF_JSET | BPF_K: SYN.
    SockFilter::new(0x45, 0, 1, 0x02),
    // BPF_RET | BPF_K: nothing of it, or all.
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
/// For the third packet of a handshake whose second was sent: a round trip to the other side of the earth. The client whose SYN was
/// dropped sends it again after a second.
const HANDSHAKE_TIME: Duration = Duration::from_millis(300);
const LAST_CALL_POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_end_the_loop() {
        let check = |code, fatal| assert_eq!(accept_is_fatal(&io::Error::from_raw_os_error(code)), fatal, "{code}");
        check(libc::EINVAL, true);
        check(libc::EBADF, true);
        check(libc::EMFILE, false);
        check(libc::ECONNABORTED, false);
    }
}
