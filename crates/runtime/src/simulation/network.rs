//! The network of a simulation: streams, listeners and datagrams in memory.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{lock, world};
use crate::Stream;

#[derive(Default)]
pub(super) struct Network {
    listeners: RefCell<HashMap<SocketAddr, Backlog>>,
    black_holes: RefCell<HashSet<SocketAddr>>,
    datagrams: RefCell<HashMap<SocketAddr, Rc<DatagramServer>>>,
    ports: Cell<u16>,
}

/// What a server says to a datagram: each reply and how long it takes.
type DatagramServer = dyn Fn(&[u8]) -> Vec<(Duration, Vec<u8>)>;

/// From now on nothing answers at `address`, neither yes nor no; or it does again.
pub fn black_hole(address: SocketAddr, is_one: bool) {
    let Some(world) = world() else { return };
    let mut holes = world.network.black_holes.borrow_mut();
    if is_one {
        holes.insert(address)
    } else {
        holes.remove(&address)
    };
}

/// Answers datagrams sent to `server`.
pub fn serve_datagrams(server: SocketAddr, answer: impl Fn(&[u8]) -> Vec<(Duration, Vec<u8>)> + 'static) {
    if let Some(world) = world() {
        world.network.datagrams.borrow_mut().insert(server, Rc::new(answer));
    }
}

/// A connection from `local`, for whoever plays a client.
///
/// # Errors
/// As [`Stream::connect`].
pub async fn connect_from(local: SocketAddr, to: SocketAddr) -> io::Result<Stream> {
    let end = connect_end(local, to, Duration::from_secs(120)).await?;
    Ok(Stream::simulated(end, to))
}

pub(crate) async fn connect(to: SocketAddr, timeout: Duration) -> io::Result<End> {
    let port = world().map_or(0, |world| world.network.ports.replace(world.network.ports.get().wrapping_add(1)));
    connect_end((Ipv6Addr::LOCALHOST, port).into(), to, timeout).await
}

async fn connect_end(local: SocketAddr, to: SocketAddr, timeout: Duration) -> io::Result<End> {
    let Some(world) = world() else { return Err(io::ErrorKind::Unsupported.into()) };
    if world.network.black_holes.borrow().contains(&to) {
        crate::sleep(timeout).await;
        return Err(io::ErrorKind::TimedOut.into());
    }
    crate::sleep(ROUND_TRIP).await;
    let backlog = world.network.listeners.borrow().get(&to).cloned();
    match backlog {
        Some(backlog) => backlog.connect(local),
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

/// Connections that wait to be accepted.
#[derive(Debug, Clone)]
pub(crate) struct Backlog(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    ends: VecDeque<(End, SocketAddr)>,
    is_closed: bool,
    acceptor: Option<Waker>,
}

impl Backlog {
    /// Listens at `address`, if this thread is simulated.
    pub(crate) fn listen(address: SocketAddr) -> Option<Backlog> {
        let world = world()?;
        let backlog = Backlog(Arc::default());
        world.network.listeners.borrow_mut().insert(address, backlog.clone());
        Some(backlog)
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(End, SocketAddr)>> {
        let mut waiting = lock(&self.0);
        if waiting.is_closed {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EINVAL)));
        }
        match waiting.ends.pop_front() {
            Some(accepted) => Poll::Ready(Ok(accepted)),
            None => {
                waiting.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Refuses everybody from now on.
    pub(crate) fn close(&self) {
        let mut waiting = lock(&self.0);
        waiting.is_closed = true;
        let ends = std::mem::take(&mut waiting.ends);
        let acceptor = waiting.acceptor.take();
        drop(waiting);
        drop(ends);
        acceptor.into_iter().for_each(Waker::wake);
    }

    fn connect(&self, local: SocketAddr) -> io::Result<End> {
        let mut waiting = lock(&self.0);
        if waiting.is_closed {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (there, back) = <(Arc<Mutex<Pipe>>, Arc<Mutex<Pipe>>)>::default();
        waiting.ends.push_back((End { incoming: Arc::clone(&there), outgoing: Arc::clone(&back) }, local));
        waiting.acceptor.take().into_iter().for_each(Waker::wake);
        Ok(End { incoming: back, outgoing: there })
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    octets: VecDeque<u8>,
    /// The writer has ended it.
    is_ended: bool,
    /// The reader is gone.
    is_deserted: bool,
    is_reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl End {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.incoming);
        if pipe.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let there = pipe.octets.len().min(buffer.len());
        if there == 0 && !pipe.is_ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // All that is there, or the beginning of it.
        let piece = if there > 1 && super::draw(2) == 0 { 1 + super::draw(there as u64 - 1) as usize } else { there };
        for (slot, octet) in buffer.iter_mut().zip(pipe.octets.drain(..piece)) {
            *slot = octet;
        }
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(piece))
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let pipe = lock(&self.incoming);
        pipe.octets.is_empty() && !pipe.is_ended && !pipe.is_reset
    }

    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.poll_read(&mut Context::from_waker(Waker::noop()), buffer) {
            Poll::Ready(result) => result.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.is_reset || pipe.is_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.is_deserted {
            // The first write after the peer has gone still seems to succeed.
            pipe.is_reset = true;
            return Poll::Ready(Ok(octets.len()));
        }
        let room = (PIPE_OCTETS - pipe.octets.len()).min(octets.len());
        if room == 0 && !octets.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.octets.extend(&octets[..room]);
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(room))
    }

    pub(crate) fn shutdown_write(&self) {
        let mut pipe = lock(&self.outgoing);
        pipe.is_ended = true;
        pipe.wake();
    }

    pub(crate) fn shutdown(&self) {
        self.shutdown_write();
        let mut pipe = lock(&self.incoming);
        pipe.is_ended = true;
        pipe.wake();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let unread = {
            let mut incoming = lock(&self.incoming);
            incoming.is_deserted = true;
            incoming.wake();
            !incoming.octets.is_empty()
        };
        let mut outgoing = lock(&self.outgoing);
        outgoing.is_ended = true;
        outgoing.is_reset |= unread;
        outgoing.wake();
    }
}

/// Datagrams that came, for a socket that is connected to one server.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox(Arc<Mutex<Letters>>);

#[derive(Debug, Default)]
struct Letters {
    came: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

impl Mailbox {
    /// A new one, if this thread is simulated.
    pub(crate) fn open() -> Option<Mailbox> {
        super::is_active().then(|| Mailbox(Arc::default()))
    }

    pub(crate) fn send(&self, server: SocketAddr, octets: &[u8]) {
        let Some(world) = world() else { return };
        let Some(answer) = world.network.datagrams.borrow().get(&server).cloned() else { return };
        for (delay, reply) in answer(octets) {
            let mailbox = self.clone();
            crate::spawn("datagram", async move {
                crate::sleep(delay).await;
                let waiting = {
                    let mut mailbox = lock(&mailbox.0);
                    mailbox.came.push_back(reply);
                    mailbox.reader.take()
                };
                waiting.into_iter().for_each(Waker::wake);
            });
        }
    }

    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut mailbox = lock(&self.0);
        let Some(datagram) = mailbox.came.pop_front() else {
            mailbox.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let octets = datagram.len().min(buffer.len());
        buffer[..octets].copy_from_slice(&datagram[..octets]);
        Poll::Ready(Ok(octets))
    }
}

/// One direction of a connection holds so much.
const PIPE_OCTETS: usize = 8 << 10;
const ROUND_TRIP: Duration = Duration::from_millis(1);
