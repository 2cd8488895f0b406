//! A TCP connection of one shard, or one to a Unix socket.
//!
//! glommio waits by readiness (an io_uring poll) and the system call moves the octets, so the kernel never holds a buffer of ours
//! and every wait may be dropped. Sockets have `TCP_NODELAY`: replies are batched above.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::task::Turns;
use crate::time::{Deadline, sleep};

/// A connection, bound to the shard it was made on (not `Send`).
#[derive(Debug)]
pub struct Stream {
    /// glommio only receives, sends and polls by the kernel's, which any stream socket can.
    socket: Socket,
    peer: SocketAddr,
    turns: Turns,
}

#[derive(Debug)]
enum Socket {
    Kernel(TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(simulation::End),
}

impl Stream {
    /// Connects to `addr`, for at most `timeout`.
    ///
    /// # Errors
    /// The kernel's; `TimedOut` when the time is over.
    pub async fn connect(addr: SocketAddr, timeout: Duration) -> io::Result<Stream> {
        if timeout.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        #[cfg(feature = "simulation")]
        if simulation::is_active() {
            return Ok(Stream::simulated(simulation::connect(addr, timeout).await?, addr));
        }
        let socket = TcpStream::connect_timeout(addr, timeout).await.map_err(io::Error::from)?;
        socket.set_nodelay(true).map_err(io::Error::from)?;
        Ok(Stream { socket: Socket::Kernel(socket), peer: addr, turns: Turns::default() })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(end: simulation::End, peer: SocketAddr) -> Stream {
        Stream { socket: Socket::Simulated(end), peer, turns: Turns::default() }
    }

    /// Connects to the Unix socket at `path`, for at most `timeout`: the kernel answers at once, unless the listener's backlog is full.
    ///
    /// # Errors
    /// The kernel's; `TimedOut` when the time is over.
    pub async fn connect_unix(path: &Path, timeout: Duration) -> io::Result<Stream> {
        let until = Deadline::after(timeout);
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while !until.has_passed() {
            let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            if not_blocked(|| rustix::net::connect(&fd, &address))?.is_some() {
                return Ok(Stream::adopt(fd, NO_ADDRESS));
            }
            sleep(BACKLOG_INTERVAL).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Takes over an accepted socket.
    pub(crate) fn adopt(fd: OwnedFd, peer: SocketAddr) -> Stream {
        // SAFETY: the descriptor is open, ours alone, and given up here.
        let socket = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Stream { socket: Socket::Kernel(socket), peer, turns: Turns::default() }
    }

    /// Reads what is there, waiting when nothing is. `Ok(0)` is the end of the stream (when `buffer` is not empty).
    ///
    /// Cancel-safe: octets leave the socket only when the future resolves.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// As [`Stream::read`], for whoever lends a buffer only for the moment: `buffer` is not looked at while nothing is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.turns.is_due() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // After a read that did not fill its buffer glommio has asked the ring to watch the socket already: then this waits for word
        // from there, one `recv` for each arrival. Otherwise it tries `recv` first.
        let poll = match &mut self.socket {
            Socket::Kernel(socket) => Pin::new(socket).poll_read(cx, buffer),
            #[cfg(feature = "simulation")]
            Socket::Simulated(end) => end.poll_read(cx, buffer),
        };
        if poll.is_pending() {
            self.turns.waited();
        }
        poll
    }

    /// Whether it is known, without a system call, that nothing had come (nor the connection ended) when the shard's loop last looked at
    /// its ring. False also when that is not known.
    pub fn is_quiet(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        match &mut self.socket {
            Socket::Kernel(socket) => Pin::new(socket).poll_read(cx, &mut []).is_pending(),
            #[cfg(feature = "simulation")]
            Socket::Simulated(end) => end.is_quiet(),
        }
    }

    /// Reads what is there without waiting: `None` when nothing is, `Some(0)` at the end of the stream.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match &mut self.socket {
            Socket::Kernel(socket) => not_blocked(|| {
                rustix::net::recv(fd(socket), &mut *buffer, RecvFlags::DONTWAIT).map(|(_, octets)| octets)
            }),
            #[cfg(feature = "simulation")]
            Socket::Simulated(end) => end.try_read(buffer),
        }
    }

    /// Writes all of `octets`. Dropped midway, an unknown part of them was sent: the connection is of no more use.
    ///
    /// # Errors
    /// The kernel's; `WriteZero` when it takes nothing.
    pub async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        self.write_all_vectored(&[octets]).await
    }

    /// Writes all of `slices` in order, with as few system calls as the socket's buffer allows. As for
    /// [`Stream::write_all`], do not go on with the connection after dropping this midway.
    ///
    /// # Errors
    /// The kernel's; `WriteZero` when it takes nothing.
    pub async fn write_all_vectored(&mut self, slices: &[&[u8]]) -> io::Result<()> {
        self.write_all_counted(slices, &mut 0).await
    }

    /// As [`Stream::write_all_vectored`]; `taken` grows by the octets that the kernel took, and is exact also when this fails or is
    /// dropped midway: a system call that fails has taken nothing.
    ///
    /// # Errors
    /// The kernel's; `WriteZero` when it takes nothing.
    pub async fn write_all_counted(&mut self, slices: &[&[u8]], taken: &mut u64) -> io::Result<()> {
        let mut rest = Rest { slices, skip: 0 };
        while rest.trim() {
            self.turns.give_way().await;
            let written = match self.try_write(&rest)? {
                Some(octets) => octets,
                None => {
                    self.turns.waited();
                    let first = rest.first();
                    poll_fn(|cx| match &mut self.socket {
                        Socket::Kernel(socket) => Pin::new(socket).poll_write(cx, first),
                        #[cfg(feature = "simulation")]
                        Socket::Simulated(end) => end.poll_write(cx, first),
                    })
                    .await?
                }
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *taken += written as u64;
            rest.advance(written);
        }
        Ok(())
    }

    /// The peer's address, as the kernel told it at accept or as given to [`Stream::connect`]; the unspecified one of a Unix socket.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Our own address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Kernel(socket) => socket.local_addr().map_err(io::Error::from),
            #[cfg(feature = "simulation")]
            Socket::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Says that nothing more will be written (FIN after what is under way); reading goes on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Kernel(socket) => rustix::net::shutdown(fd(socket), Shutdown::Write)?,
            #[cfg(feature = "simulation")]
            Socket::Simulated(end) => end.shutdown_write(),
        }
        Ok(())
    }

    /// Ends both directions at once: a read that waits, here or in the peer, sees the end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shutdown(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Kernel(socket) => rustix::net::shutdown(fd(socket), Shutdown::Both)?,
            #[cfg(feature = "simulation")]
            Socket::Simulated(end) => end.shutdown(),
        }
        Ok(())
    }

    /// One `sendmsg` without waiting: how many octets it took, `None` when the socket's buffer is full.
    fn try_write(&mut self, rest: &Rest<'_>) -> io::Result<Option<usize>> {
        let socket = match &mut self.socket {
            Socket::Kernel(socket) => socket,
            // There the waiting write is as good.
            #[cfg(feature = "simulation")]
            Socket::Simulated(_) => return Ok(None),
        };
        let mut slices = [IoSlice::new(&[]); IOV_MAX];
        let count = rest.fill(&mut slices);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        not_blocked(|| match &slices[..count] {
            [only] => rustix::net::send(fd(socket), only, flags),
            slices => rustix::net::sendmsg(fd(socket), slices, &mut SendAncillaryBuffer::default(), flags),
        })
    }
}

fn fd(socket: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the descriptor lives as long as `socket`, which the borrow keeps.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// What is still to be written: `slices` without the first `skip` octets.
struct Rest<'a> {
    slices: &'a [&'a [u8]],
    skip: usize,
}

impl<'a> Rest<'a> {
    /// Leaves out slices that are done; false when nothing is left.
    fn trim(&mut self) -> bool {
        while let Some(first) = self.slices.first() {
            if self.skip < first.len() {
                return true;
            }
            self.skip -= first.len();
            self.slices = &self.slices[1..];
        }
        false
    }

    fn advance(&mut self, octets: usize) {
        self.skip += octets;
    }

    fn first(&self) -> &'a [u8] {
        self.slices.first().map_or(&[], |first| &first[self.skip..])
    }

    /// Lists the slices for the kernel; how many there are.
    fn fill(&self, list: &mut [IoSlice<'a>; IOV_MAX]) -> usize {
        let mut count = 0;
        for (slot, (index, slice)) in list.iter_mut().zip(self.slices.iter().enumerate()) {
            *slot = IoSlice::new(if index == 0 { &slice[self.skip..] } else { slice });
            count += 1;
        }
        count
    }
}

/// `None` for "would block"; interrupted calls are made again.
pub(crate) fn not_blocked<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The peer of a Unix socket.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// How often a listener whose backlog is full is asked again.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(20);

/// Slices handed to one `sendmsg`.
const IOV_MAX: usize = 64;
