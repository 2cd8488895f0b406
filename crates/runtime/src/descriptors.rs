//! Descriptors that this process did not open: left to it by a service manager (sd_listen_fds(3)), or handed over by another process in
//! messages of a Unix socket (SCM_RIGHTS, unix(7)).
//!
//! What it trusts: the environment it was started with. Who is at the other end of a Unix socket is for the caller to ask
//! ([`MessageSocket::peer_uid`]). All descriptors are closed on exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use socket2::{Domain, SockAddr, Socket, Type};

/// A descriptor of the service manager, and the name that its unit gives it (`FileDescriptorName=`).
#[derive(Debug)]
pub struct Activated {
    /// Empty if it has none.
    pub name: String,
    /// Open, whatever it is.
    pub fd: OwnedFd,
}

/// Whether a service manager left descriptors to this process (`LISTEN_PID`, `LISTEN_FDS`).
#[must_use]
pub fn activation_is_offered() -> bool {
    offered() > 0
}

/// The descriptors that a service manager left to this process, in its order. The first call takes them, later ones find none.
///
/// # Errors
/// `InvalidInput` if one of those announced is not open.
pub fn activated() -> io::Result<Vec<Activated>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let fds = FIRST_ACTIVATED..FIRST_ACTIVATED + offered();
    fds.map(|fd| Ok(Activated { name: names.next().unwrap_or_default().to_owned(), fd: own(fd)? })).collect()
}

fn offered() -> RawFd {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_FDS") {
        Some(count) if number("LISTEN_PID") == Some(std::process::id()) => {
            RawFd::try_from(count).unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX)
        }
        _ => 0,
    }
}

/// Takes over `fd`, which is one of those that were left to this process, and taken once.
fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only a number that may turn out not to be open is asked about.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if fcntl_getfd(borrowed).is_err() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("LISTEN_FDS: descriptor {fd} is not open")));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and whoever started this process left it to us (LISTEN_PID is our process id).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A Unix socket where other processes ask for descriptors.
#[derive(Debug)]
pub struct MessageListener(Socket);

impl MessageListener {
    /// Listens at `path`, which only this user (and root) can connect to. A socket that was left behind there is replaced.
    ///
    /// # Errors
    /// `AlreadyExists` if something other than a socket is there; the kernel's.
    pub fn bind(path: &Path) -> io::Result<MessageListener> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not a socket")),
            Err(_) => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before it listens.
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        socket.listen(1)?;
        Ok(MessageListener(socket))
    }

    /// Takes over one that another process handed over.
    #[must_use]
    pub fn adopt(fd: OwnedFd) -> MessageListener {
        MessageListener(fd.into())
    }

    /// Waits for the next process.
    ///
    /// # Errors
    /// The kernel's.
    pub fn accept(&self) -> io::Result<MessageSocket> {
        Ok(MessageSocket(uninterrupted(|| self.0.accept())?.0))
    }
}

impl AsFd for MessageListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A connection of whole messages, which may carry descriptors.
#[derive(Debug)]
pub struct MessageSocket(Socket);

impl MessageSocket {
    /// Connects to whoever listens at `path`.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused` when nobody does; the kernel's.
    pub fn connect(path: &Path) -> io::Result<MessageSocket> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        let address = SockAddr::unix(path)?;
        uninterrupted(|| socket.connect(&address))?;
        Ok(MessageSocket(socket))
    }

    /// Whose process is at the other end: for one that connected, at that moment; for one that listens, when it began to.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(rustix::net::sockopt::socket_peercred(&self.0)?.uid.as_raw())
    }

    /// Sends one message with up to [`MESSAGE_DESCRIPTORS_MAX`] descriptors.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, message: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = fds.len() <= MESSAGE_DESCRIPTORS_MAX;
        if !fits || !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
        }
        let flags = SendFlags::NOSIGNAL;
        let text = [IoSlice::new(message.as_bytes())];
        retry_on_intr(|| rustix::net::sendmsg(&self.0, &text, &mut control, flags))?;
        Ok(())
    }

    /// The next message and its descriptors; none when the other side has closed.
    ///
    /// # Errors
    /// `WouldBlock` when `time` is over; `InvalidData` for a message that does not fit or is no text; the kernel's.
    pub fn receive(&self, time: Duration) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
        self.0.set_read_timeout(Some(time))?;
        let mut text = [0; MESSAGE_OCTETS_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut text)];
        let received = retry_on_intr(|| rustix::net::recvmsg(&self.0, &mut parts, &mut control, flags))?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                fds.extend(passed);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let cut = received.flags.intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC);
        match std::str::from_utf8(&text[..received.bytes]) {
            Ok(text) if !cut => Ok(Some((text.to_owned(), fds))),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a message that fits")),
        }
    }
}

/// Again, as long as a signal comes between: the kernel sends one to a thread for what its rings have to do, even for the ring of a probe
/// that was closed a moment ago.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Descriptors of one message; the kernel takes 253 (`SCM_MAX_FD`).
pub const MESSAGE_DESCRIPTORS_MAX: usize = 64;
/// Octets of one message.
const MESSAGE_OCTETS_MAX: usize = 16 << 10;
/// `SD_LISTEN_FDS_START`.
const FIRST_ACTIVATED: RawFd = 3;
/// More than a machine has cores and addresses for.
const DESCRIPTORS_MAX: RawFd = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("door");
        let door = MessageListener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let client = MessageSocket::connect(&path).unwrap();
        let server = door.accept().unwrap();
        let us = rustix::process::geteuid().as_raw();
        assert_eq!((client.peer_uid().unwrap(), server.peer_uid().unwrap()), (us, us));
        let listener = crate::Listener::bind("[::1]:0".parse().unwrap(), 16).unwrap();
        let fds = vec![listener.as_fd(); MESSAGE_DESCRIPTORS_MAX];
        assert!(server.send("too many", &vec![listener.as_fd(); MESSAGE_DESCRIPTORS_MAX + 1]).is_err());
        server.send("first", &fds).unwrap();
        server.send("second", &[]).unwrap();
        drop(server);
        let (text, received) = client.receive(TIME).unwrap().unwrap();
        assert_eq!((text.as_str(), received.len()), ("first", MESSAGE_DESCRIPTORS_MAX));
        for fd in received {
            assert_eq!(crate::Listener::adopt(fd).unwrap().local_addr(), listener.local_addr());
        }
        assert_eq!(client.receive(TIME).unwrap().unwrap().0, "second");
        assert!(client.receive(TIME).unwrap().is_none());
        // Left behind, it is replaced; a file is not.
        drop(door);
        assert_eq!(MessageSocket::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        MessageListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(MessageListener::bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn only_listening_sockets_are_adopted() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(crate::Listener::adopt(file.into()).is_err());
        let idle = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        assert_eq!(crate::Listener::adopt(idle.into()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    const TIME: Duration = Duration::from_secs(10);
}
