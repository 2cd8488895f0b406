//! A listening socket of one shard.
//!
//! Each shard binds its own, all to the same address (`SO_REUSEPORT`): the kernel spreads the connections. IPv6 sockets are
//! `IPV6_V6ONLY`, so an IPv4 client never shows up with a mapped address.

use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::stream::{Stream, not_blocked};
use crate::task::Turns;

/// A bound, listening socket. It may be made on one thread and moved to its shard; from the first [`Listener::accept`] on
/// it belongs to that shard and must be dropped there.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    local: SocketAddr,
    /// For closers on other threads; emptied before the descriptor is closed, so that they never hit one used anew.
    open: Arc<Mutex<Option<RawFd>>>,
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
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it on Linux: one system call less a connection.
        socket.set_tcp_nodelay(true)?;
        #[cfg(feature = "simulation")]
        if let Some(backlog) = simulation::Backlog::listen(addr) {
            let (fd, open) = (OwnedFd::from(socket), Arc::default());
            return Ok(Listener { fd, local: addr, open, turns: Turns::default(), simulated: Some(backlog) });
        }
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let fd = OwnedFd::from(socket);
        let open = Arc::new(Mutex::new(Some(fd.as_raw_fd())));
        Ok(Listener {
            fd,
            local,
            open,
            turns: Turns::default(),
            #[cfg(feature = "simulation")]
            simulated: None,
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
        #[cfg(feature = "simulation")]
        if let Some(backlog) = &self.simulated {
            let (end, peer) = poll_fn(|cx| backlog.poll_accept(cx)).await?;
            return Ok((Stream::simulated(end, peer), peer));
        }
        loop {
            self.turns.give_way().await;
            if let Some((fd, peer)) = not_blocked(|| rustix::net::acceptfrom_with(self, SocketFlags::CLOEXEC))? {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::NotConnected)?;
                return Ok((Stream::adopt(fd, peer), peer));
            }
            self.turns.waited();
            self.readable().await;
        }
    }

    /// The address that was bound, with the real port when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A handle by which any thread can end accepting.
    #[must_use]
    pub fn closer(&self) -> ListenerCloser {
        ListenerCloser {
            open: self.open.clone(),
            #[cfg(feature = "simulation")]
            simulated: self.simulated.clone(),
        }
    }

    /// Waits until there is something to accept, or the listener was shut.
    ///
    /// glommio's own `accept` makes five system calls whenever nothing waits and two more for each connection. What we want of it is only
    /// that its ring watches a descriptor, which it does for a stream from its first moment: so the listener is shown to it as one. Its
    /// `recv`, once the ring has spoken, fails (ENOTCONN), and that is the word that we wait for.
    async fn readable(&self) {
        // SAFETY: the descriptor is open as long as `self`, which this future borrows. The stream does not own it, so it is never dropped;
        // what it holds on the heap it has given up when its read has failed.
        let mut watched = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(self.fd.as_raw_fd()) });
        // Whatever it says, accept(2) knows better.
        let _ = poll_fn(|cx| Pin::new(&mut *watched).poll_read(cx, &mut [0])).await;
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Ends accepting on one listener, from any thread, at any time; clones are the same.
#[derive(Debug, Clone)]
pub struct ListenerCloser {
    open: Arc<Mutex<Option<RawFd>>>,
    #[cfg(feature = "simulation")]
    simulated: Option<simulation::Backlog>,
}

impl ListenerCloser {
    /// Shuts the listening socket: the kernel refuses new connections there (or gives them to other sockets of the address)
    /// and the pending [`Listener::accept`] fails. Once the listener is gone, nothing happens.
    pub fn close(&self) {
        #[cfg(feature = "simulation")]
        if let Some(backlog) = &self.simulated {
            return backlog.close();
        }
        if let Some(fd) = *self.open.lock().unwrap_or_else(PoisonError::into_inner) {
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
