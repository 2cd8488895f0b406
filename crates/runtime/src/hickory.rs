//! hickory's runtime on glommio: sockets, timers and tasks of the shard that asks.
//!
//! hickory wants everything `Send`; nothing here ever leaves its shard, which `SendWrapper` checks at each use (a panic, not
//! undefined behaviour, should anybody break it). A resolver must be made, used and dropped on one shard.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use rustix::net::SendFlags;
use send_wrapper::SendWrapper;
use socket2::{Domain, Protocol, Socket, Type};

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::stream::not_blocked;

/// hickory's `RuntimeProvider` for a shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlommioProvider;

impl RuntimeProvider for GlommioProvider {
    type Handle = GlommioHandle;
    type Timer = GlommioTime;
    type Udp = UdpConnection;
    type Tcp = TcpConnection;

    fn create_handle(&self) -> GlommioHandle {
        GlommioHandle
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        bind: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<TcpConnection>>>> {
        Box::pin(SendWrapper::new(async move {
            if bind.is_some() {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "a source address for DNS over TCP"));
            }
            #[cfg(feature = "simulation")]
            if simulation::is_active() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let timeout = timeout.unwrap_or(TCP_CONNECT_TIMEOUT);
            let socket = TcpStream::connect_timeout(server, timeout).await.map_err(io::Error::from)?;
            socket.set_nodelay(true).map_err(io::Error::from)?;
            Ok(TcpConnection(SendWrapper::new(socket)))
        }))
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<UdpConnection>>>> {
        Box::pin(SendWrapper::new(async move { UdpConnection::open(local, server) }))
    }
}

/// hickory's door to [`crate::spawn`].
#[derive(Debug, Clone, Copy, Default)]
pub struct GlommioHandle;

impl Spawn for GlommioHandle {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        crate::spawn("dns connection", future);
    }
}

/// hickory's door to the timers of [`crate::sleep`].
#[derive(Debug, Clone, Copy, Default)]
pub struct GlommioTime;

#[async_trait]
impl Time for GlommioTime {
    async fn delay_for(duration: Duration) {
        SendWrapper::new(crate::sleep(duration)).await;
    }

    async fn timeout<F: 'static + Future + Send>(duration: Duration, future: F) -> io::Result<F::Output> {
        let output = SendWrapper::new(crate::timeout(duration, future)).await;
        output.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// A UDP socket on a port of its own, connected to one server: the kernel drops datagrams from anybody else, and tells at
/// once when no one listens there, in place of a timeout.
///
/// glommio shows readiness of a descriptor only through its stream type, and a connected datagram socket reads and writes as one.
/// Its own datagram type is of no use here: `bind` sets `SO_REUSEPORT`, so that another socket could take the answers, and a receive
/// that waits pins a buffer.
pub struct UdpConnection {
    socket: UdpSocket,
    server: SocketAddr,
}

enum UdpSocket {
    Kernel(SendWrapper<RefCell<TcpStream>>),
    #[cfg(feature = "simulation")]
    Simulated(simulation::Mailbox),
}

impl UdpConnection {
    fn open(local: SocketAddr, server: SocketAddr) -> io::Result<UdpConnection> {
        #[cfg(feature = "simulation")]
        if let Some(mailbox) = simulation::Mailbox::open() {
            return Ok(UdpConnection { socket: UdpSocket::Simulated(mailbox), server });
        }
        let socket = Socket::new(Domain::for_address(server), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        socket.bind(&local.into())?;
        socket.connect(&server.into())?;
        let fd = OwnedFd::from(socket);
        // SAFETY: the descriptor is open, ours alone, and given up here.
        let socket = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Ok(UdpConnection { socket: UdpSocket::Kernel(SendWrapper::new(RefCell::new(socket))), server })
    }
}

impl DnsUdpSocket for UdpConnection {
    type Time = GlommioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let octets = match &self.socket {
            UdpSocket::Kernel(socket) => ready!(Pin::new(&mut *socket.borrow_mut()).poll_read(cx, buffer))?,
            #[cfg(feature = "simulation")]
            UdpSocket::Simulated(mailbox) => ready!(mailbox.poll_receive(cx, buffer))?,
        };
        Poll::Ready(Ok((octets, self.server)))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buffer: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        if target != self.server {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        let mut socket = match &self.socket {
            UdpSocket::Kernel(socket) => socket.borrow_mut(),
            #[cfg(feature = "simulation")]
            UdpSocket::Simulated(mailbox) => {
                mailbox.send(target, buffer);
                return Poll::Ready(Ok(buffer.len()));
            }
        };
        // SAFETY: the descriptor lives as long as `socket`.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        match not_blocked(|| rustix::net::send(fd, buffer, SendFlags::DONTWAIT)) {
            Ok(Some(octets)) => Poll::Ready(Ok(octets)),
            Ok(None) => Pin::new(&mut *socket).poll_write(cx, buffer),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// A TCP connection to a DNS server.
pub struct TcpConnection(SendWrapper<TcpStream>);

impl AsyncRead for TcpConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_close(cx)
    }
}

impl DnsTcpStream for TcpConnection {
    type Time = GlommioTime;
}

/// When hickory names none.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
