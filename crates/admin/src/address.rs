//! Where the endpoint listens, and its sockets: bound with plain system calls before privileges are given up.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// An address of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port of one IP address.
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no address of the admin endpoint: {why}; write 127.0.0.1:9125, [::1]:9125 or unix:/run/mx6/admin.sock"
)]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let error = |why| AddressError { text: text.escape_default().to_string(), why };
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Address::Tcp).map_err(|_| error("not an IP address and a port"));
        };
        let path = Path::new(path);
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(error("the path of the socket must begin with / and name a file"));
        }
        // The temporary name that `bind` uses is a little longer.
        if path.as_os_str().len() > PATH_OCTETS_MAX {
            return Err(error("the path of the socket has more than 90 octets"));
        }
        Ok(Address::Unix(path.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether only this machine reaches it. An IPv4-mapped address is the IPv4 one.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// Takes the address. A Unix socket replaces whatever socket is at its path, a running predecessor's too: that one keeps serving
    /// the connections that it has. Its mode is 0660.
    ///
    /// # Errors
    /// What the system says; at the path of a Unix socket is something else than a socket.
    pub fn bind(&self) -> io::Result<Bound> {
        let (listener, name) = match self {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let name = listener.local_addr()?.to_string();
                (Socket::Tcp(listener), name)
            }
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path)?;
                listener.set_nonblocking(true)?;
                (Socket::Unix(listener, file), self.to_string())
            }
        };
        Ok(Bound { socket: listener, name })
    }
}

/// Binds to a name beside, gives it its mode, and only then its name: nobody meets a socket that is not ready.
fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    use std::os::unix::fs::FileTypeExt;
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        let why = format!("{} exists and is no socket; remove it or choose another path", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let mut beside = OsString::from(path);
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    let placed = fs::set_permissions(&beside, fs::Permissions::from_mode(0o660))
        .and_then(|()| fs::symlink_metadata(&beside))
        .and_then(|placed| fs::rename(&beside, path).map(|()| placed));
    match placed {
        Ok(placed) => Ok((listener, SocketFile { path: path.to_owned(), device: placed.dev(), inode: placed.ino() })),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

/// A socket that listens, not yet served.
#[derive(Debug)]
pub struct Bound {
    pub(crate) socket: Socket,
    name: String,
}

impl Bound {
    /// As [`Address`] writes it, with the port that the kernel chose.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The two kinds.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, removed at the end if it still is ours: a successor may have taken the name.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `sun_path` has 108 octets; the process id and two more go behind the path for a moment.
const PATH_OCTETS_MAX: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, loopback) in [
            ("127.0.0.1:9125", true),
            ("[::1]:9125", true),
            ("[::ffff:127.0.0.1]:9125", true),
            ("0.0.0.0:9125", false),
            ("[2001:db8::1]:80", false),
            ("unix:/run/mx6/admin.sock", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (text, loopback));
        }
        let long = format!("unix:/{}", "x".repeat(90));
        for text in ["", "9125", "localhost:9125", "::1:9125", "unix:", "unix:admin.sock", "unix:/", "127.0.0.1", &long]
        {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("write 127.0.0.1:9125"), "{error}");
        }
    }

    #[test]
    fn a_unix_socket_gives_way_to_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let address = Address::Unix(path.clone());
        let first = address.bind().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let second = address.bind().unwrap();
        drop(first);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "the first removed the second's socket");
        drop(second);
        assert!(!path.exists());
        fs::write(&path, "mail").unwrap();
        assert!(address.bind().unwrap_err().to_string().contains("is no socket"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
