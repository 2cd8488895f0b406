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
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Protocol, Socket, Type};

use crate::descriptors::SpareDescriptor;
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
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let fd = OwnedFd::from(socket);
        let open = Arc::new(Mutex::new(Some(fd.as_raw_fd())));
        Ok(Listener { fd, local, open, turns: Turns::default() })
    }

    /// The next connection and its peer's address.
    ///
    /// **Never race or drop this future**: a connection that the kernel has just handed over would be lost, and its descriptor
    /// leaked. Run it in a loop in a task of its own and end that by [`ListenerCloser::close`], after which it fails for ever.
    ///
    /// # Errors
    /// The kernel's. [`accept_is_fatal`] tells those that end the loop from those of one connection or of the moment.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
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
        ListenerCloser(self.open.clone())
    }

    /// A handle by which its backlog can be measured.
    #[must_use]
    pub fn queue(&self) -> AcceptQueue {
        AcceptQueue(self.open.clone())
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

/// Measures the backlog of one listener, from any thread.
#[derive(Debug, Clone)]
pub struct AcceptQueue(Arc<Mutex<Option<RawFd>>>);

impl AcceptQueue {
    /// How full the backlog is; none once the listener is gone or shut.
    #[must_use]
    pub fn permille(&self) -> Option<u32> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = (*open)?;
        // SAFETY: a `tcp_info` is integers, all of which may be zero.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut octets = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the listener empties the slot, under this lock, before it closes the descriptor; the kernel writes at most `octets` octets.
        let failed = unsafe {
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut octets) != 0
        };
        // Of a listening socket these two are the backlog's length and its limit (tcp_get_info of the kernel).
        let (waiting, most) = (info.tcpi_unacked, info.tcpi_sacked);
        (!failed && most > 0).then(|| (u64::from(waiting) * 1_000 / u64::from(most)) as u32)
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
