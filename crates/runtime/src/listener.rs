//! A listening socket of one shard.
//!
//! Each shard binds its own, all to the same address (`SO_REUSEPORT`): the kernel spreads the connections. IPv6 sockets are
//! `IPV6_V6ONLY`, so an IPv4 client never shows up with a mapped address.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use glommio::net::TcpListener;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SocketFlags;
use send_wrapper::SendWrapper;
use socket2::{Domain, Protocol, Socket, Type};

use crate::stream::{Stream, not_blocked};
use crate::task::Turns;

/// A bound, listening socket. It may be made on one thread and moved to its shard; from the first [`Listener::accept`] on
/// it belongs to that shard and must be dropped there.
#[derive(Debug)]
pub struct Listener {
    fd: RawFd,
    local: SocketAddr,
    /// The descriptor as long as no shard has taken it.
    unadopted: RefCell<Option<OwnedFd>>,
    adopted: OnceCell<SendWrapper<TcpListener>>,
    /// For closers on other threads; emptied before the descriptor is closed, so that they never hit one used anew.
    open: Arc<Mutex<Option<RawFd>>>,
    turns: Turns,
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
        // Should a connection vanish between `poll` and `accept`, the shard is not to hang in the latter.
        socket.set_read_timeout(Some(Duration::from_millis(1)))?;
        // Accepted sockets inherit it on Linux: one system call less a connection.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let owned = OwnedFd::from(socket);
        let fd = owned.as_raw_fd();
        Ok(Listener {
            fd,
            local,
            unadopted: RefCell::new(Some(owned)),
            adopted: OnceCell::new(),
            open: Arc::new(Mutex::new(Some(fd))),
            turns: Turns::default(),
        })
    }

    /// The next connection and its peer's address.
    ///
    /// **Never race or drop this future**: a connection that the kernel has just handed over would be lost, and its descriptor
    /// leaked. Run it in a loop in a task of its own and end that by [`ListenerCloser::close`], after which it fails for ever.
    ///
    /// # Errors
    /// The kernel's. [`accept_is_fatal`] tells those that end the loop from those of one connection or of the moment.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        self.turns.give_way().await;
        if let Some((fd, peer)) = self.accept_waiting()? {
            return Ok((Stream::adopt(fd, peer), peer));
        }
        self.turns.waited();
        let accepted = self.adopted().shared_accept().await.map_err(io::Error::from)?;
        // A stream from here on, so that the descriptor is closed whatever fails.
        let socket = accepted.bind_to_executor();
        let stream = Stream::adopt_bound(socket)?;
        let peer = stream.peer_addr();
        Ok((stream, peer))
    }

    /// The address that was bound, with the real port when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A handle by which any thread can end accepting.
    #[must_use]
    pub fn closer(&self) -> ListenerCloser {
        ListenerCloser(self.open.clone())
    }

    /// A connection that waits already. The ring needs a blocking socket, so `poll` comes first.
    fn accept_waiting(&self) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
        let mut poll = [PollFd::new(self, PollFlags::IN)];
        if rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
            return Ok(None);
        }
        let Some((fd, peer)) = not_blocked(|| rustix::net::acceptfrom_with(self, SocketFlags::CLOEXEC))? else {
            return Ok(None);
        };
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::NotConnected)?;
        Ok(Some((fd, peer)))
    }

    fn adopted(&self) -> &TcpListener {
        self.adopted.get_or_init(|| {
            let fd = self.unadopted.borrow_mut().take().map_or(-1, IntoRawFd::into_raw_fd);
            // SAFETY: the descriptor is open, ours alone, and given up here; this runs once.
            SendWrapper::new(unsafe { TcpListener::from_raw_fd(fd) })
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `unadopted` or `adopted` keeps the descriptor open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Ends accepting on one listener, from any thread, at any time; clones are the same.
#[derive(Debug, Clone)]
pub struct ListenerCloser(Arc<Mutex<Option<RawFd>>>);

impl ListenerCloser {
    /// Shuts the listening socket: the kernel refuses new connections there (or gives them to other sockets of the address)
    /// and the pending [`Listener::accept`] fails. Once the listener is gone, nothing happens.
    pub fn close(&self) {
        if let Some(fd) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the listener empties the slot, under this lock, before it closes the descriptor.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            // The only possible error is that it was shut before.
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
        }
    }
}

/// Whether [`Listener::accept`] failed for want of descriptors or memory: the connection still waits, and so should the loop.
#[must_use]
pub fn accept_is_starved(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Whether an error of [`Listener::accept`] ends the accept loop.
///
/// Not fatal: a connection that was gone before it was accepted, network errors that Linux reports here (accept(2)), and a lack of
/// descriptors or memory, after which the loop should wait a little before it goes on ([`accept_is_starved`]). Fatal: the listener was shut (`EINVAL`) or is not what it should be.
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
