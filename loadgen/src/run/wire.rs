//! One connection: octets out in single writes, replies in, line by line (RFC 5321 §4.2).
//!
//! The server is not trusted: lines and replies are bounded, and what is no reply is a failure.

use std::io::{self, IoSlice};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Why there was no reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// The system says so.
    Io(io::Error),
    /// The server closed the connection.
    Closed,
    /// What came is no reply.
    NotSmtp,
    /// Nothing came in time.
    Timeout,
    /// TLS was wanted and not offered.
    NoTls,
}

impl Failure {
    /// For counting: without what differs from one to the next.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Failure::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection refused",
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset",
                io::ErrorKind::TimedOut => "connect timed out",
                io::ErrorKind::AddrNotAvailable => "address not available",
                io::ErrorKind::AddrInUse => "no free port",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
                io::ErrorKind::InvalidData => "TLS failed",
                _ => match error.raw_os_error() {
                    Some(EMFILE | ENFILE) => "too many open files",
                    _ => "other failure of the network",
                },
            },
            Failure::Closed => "connection closed by the server",
            Failure::NotSmtp => "not an SMTP reply",
            Failure::Timeout => "timeout",
            Failure::NoTls => "STARTTLS not offered",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

/// The last reply.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Without the last CRLF; lines joined by LF.
    pub(super) text: Vec<u8>,
}

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// Before TLS.
    pub(super) octets_sent: u64,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        let input = vec![0; INPUT_OCTETS].into();
        Wire { stream: Stream::Plain(stream), input, start: 0, end: 0, octets_sent: 0 }
    }

    /// The TLS handshake (RFC 3207). What the server sent before it is forgotten.
    pub(super) async fn start_tls(self, config: Arc<ClientConfig>) -> Result<Wire, Failure> {
        let Stream::Plain(stream) = self.stream else { return Ok(self) };
        let name = ServerName::try_from("mx.example").map_err(|_| Failure::NotSmtp)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let stream = Stream::Tls(Box::new(stream));
        Ok(Wire { stream, input: self.input, start: 0, end: 0, octets_sent: self.octets_sent })
    }

    /// Writes everything, in one system call if the kernel takes it.
    pub(super) async fn send(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        debug_assert!(parts.len() <= PARTS_MAX);
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let mut left = &mut slices[..parts.len().min(PARTS_MAX)];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = match &mut self.stream {
                Stream::Plain(stream) => stream.write_vectored(left).await?,
                Stream::Tls(stream) => stream.write_vectored(left).await?,
            };
            if written == 0 {
                return Err(Failure::Closed);
            }
            self.octets_sent += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        if let Stream::Tls(stream) = &mut self.stream {
            stream.flush().await?;
        }
        Ok(())
    }

    /// Reads one reply.
    pub(super) async fn reply(&mut self, reply: &mut Reply) -> Result<(), Failure> {
        reply.text.clear();
        for _ in 0..REPLY_LINES_MAX {
            let line = self.line().await?;
            let digits =
                line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or(Failure::NotSmtp)?;
            reply.code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
            if !reply.text.is_empty() {
                reply.text.push(b'\n');
            }
            reply.text.extend_from_slice(line);
            match line.get(3) {
                None | Some(b' ') => return Ok(()),
                Some(b'-') => {}
                Some(_) => return Err(Failure::NotSmtp),
            }
        }
        Err(Failure::NotSmtp)
    }

    /// The next line, without its line end.
    async fn line(&mut self) -> Result<&[u8], Failure> {
        let mut seen = self.start;
        loop {
            let found = self.input[seen..self.end].iter().position(|octet| *octet == b'\n');
            if let Some(found) = found {
                let line = self.start..seen + found;
                self.start = line.end + 1;
                let line = &self.input[line];
                return Ok(line.strip_suffix(b"\r").unwrap_or(line));
            }
            seen = self.end;
            if self.start == self.end {
                (self.start, self.end, seen) = (0, 0, 0);
            } else if self.end == self.input.len() {
                if self.start == 0 {
                    return Err(Failure::NotSmtp);
                }
                self.input.copy_within(self.start.., 0);
                self.end -= self.start;
                (self.start, seen) = (0, self.end);
            }
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut self.input[self.end..]).await?,
                Stream::Tls(stream) => stream.read(&mut self.input[self.end..]).await?,
            };
            if read == 0 {
                return Err(Failure::Closed);
            }
            self.end += read;
        }
    }
}

/// Parts of one write: commands or headers, body, commands.
const PARTS_MAX: usize = 4;

/// A reply line has at most 512 octets (RFC 5321 §4.5.3.1.5); some servers say more.
const INPUT_OCTETS: usize = 2_048;

/// An EHLO reply has fewer.
const REPLY_LINES_MAX: usize = 100;

/// errno(3): of the process, of the system.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
