//! Asks the admin endpoint of a running gate: one request a connection, over TCP or a Unix socket.
//!
//! HTTP/1.0 (RFC 1945) is asked for: the answer then ends with the connection and has no chunks. Everything has a limit: the endpoint is
//! ours, what listens at its address may be something else.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mx6_telemetry::Status;
use thiserror::Error;

/// Where an admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port of one IP address.
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let address = match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Some(Address::Unix(path.into())),
            Some(_) => None,
            None => text.parse().map(Address::Tcp).ok(),
        };
        address.ok_or_else(|| "write 127.0.0.1:9125, [::1]:9125 or unix:/run/mx6/admin.sock".to_owned())
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

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens there, or it may not be reached.
    #[error("no gate answers at {address} ({error}): is --admin given to mx6 serve, and is it this address?")]
    Unreachable {
        /// What was asked.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
    /// The connection broke or was silent for too long.
    #[error("the gate at {address} stopped answering: {error}")]
    Broken {
        /// What was asked.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
    /// It is an endpoint that does not do it.
    #[error("{address} answers {status} to {path}: {why}")]
    Refused {
        /// What was asked.
        address: Address,
        /// What was asked for.
        path: String,
        /// The status code.
        status: u16,
        /// What the endpoint says.
        why: String,
    },
    /// Something else listens there.
    #[error("what listens at {address} is not the admin endpoint of a gate: {why}")]
    Stranger {
        /// What was asked.
        address: Address,
        /// How one can tell.
        why: String,
    },
}

/// What a gate shows of itself now.
///
/// # Errors
/// Nobody answers, or no gate.
pub fn status(address: &Address) -> Result<Status, ClientError> {
    let mut body = Vec::new();
    let answer = get(address, "/status", ANSWER_TIMEOUT)?;
    answer.take(STATUS_OCTETS_MAX).read_to_end(&mut body).map_err(broken(address))?;
    let stranger =
        |error: serde_json::Error| ClientError::Stranger { address: address.clone(), why: error.to_string() };
    serde_json::from_slice(&body).map_err(stranger)
}

/// What a gate streams, a line at a time.
pub(crate) struct Stream {
    address: Address,
    octets: BufReader<Box<dyn Read + Send>>,
}

impl Stream {
    /// Begins to listen to `path`; `query` is what it takes, in plain words.
    ///
    /// # Errors
    /// Nobody answers, or no gate; it has too many listeners, or does not take the query.
    pub(crate) fn open(address: &Address, path: &str, query: &[(&str, String)]) -> Result<Stream, ClientError> {
        let words = query.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let words = words.collect::<Vec<_>>().join("&");
        let path = if words.is_empty() { path.to_owned() } else { format!("{path}?{words}") };
        Ok(Stream { address: address.clone(), octets: get(address, &path, SILENCE_MAX)? })
    }

    /// The next line without its end, once there is one; none when the gate has ended.
    ///
    /// # Errors
    /// The connection broke or was silent for too long: a gate says something at least every quarter of a minute.
    pub(crate) fn next_line(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            let mut line = Vec::new();
            let limited = &mut (&mut self.octets).take(LINE_OCTETS_MAX);
            if limited.read_until(b'\n', &mut line).map_err(broken(&self.address))? == 0 {
                return Ok(None);
            }
            line.pop_if(|last| *last == b'\n');
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

/// As it may stand in a query (RFC 3986 §2.1): everything but what is unreserved is percent-encoded.
fn encoded(value: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        octet => format!("%{octet:02X}"),
    };
    value.bytes().map(octet).collect()
}

/// Asks, and reads the answer up to its body.
fn get(address: &Address, path: &str, silence: Duration) -> Result<BufReader<Box<dyn Read + Send>>, ClientError> {
    let unreachable = |error| ClientError::Unreachable { address: address.clone(), error };
    let mut answer = BufReader::new(ask(address, path, silence).map_err(unreachable)?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let before = head.len();
        let room = (HEAD_OCTETS_MAX - before) as u64;
        (&mut answer).take(room).read_until(b'\n', &mut head).map_err(broken(address))?;
        if head.len() == before {
            return Err(ClientError::Stranger { address: address.clone(), why: "its answer is not HTTP".into() });
        }
    }
    let words = String::from_utf8_lossy(&head);
    let status = words.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    match status {
        Some(200) => Ok(answer),
        Some(status) => {
            let mut why = Vec::new();
            answer.take(HEAD_OCTETS_MAX as u64).read_to_end(&mut why).map_err(broken(address))?;
            let why = crate::escape::printable(String::from_utf8_lossy(&why).trim(), 200);
            Err(ClientError::Refused { address: address.clone(), path: path.to_owned(), status, why })
        }
        None => Err(ClientError::Stranger { address: address.clone(), why: "its answer is not HTTP".into() }),
    }
}

fn ask(address: &Address, path: &str, silence: Duration) -> io::Result<Box<dyn Read + Send>> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nUser-Agent: mx6\r\n\r\n");
    match address {
        Address::Tcp(address) => {
            let mut stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
            stream.set_read_timeout(Some(silence))?;
            stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            stream.write_all(request.as_bytes())?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(silence))?;
            stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            stream.write_all(request.as_bytes())?;
            Ok(Box::new(stream))
        }
    }
}

fn broken(address: &Address) -> impl Fn(io::Error) -> ClientError {
    move |error| ClientError::Broken { address: address.clone(), error }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For each read of an answer that should be there at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A gate sends an empty line more often than that.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// 256 shards with all tables full take less than a tenth of that.
const STATUS_OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// The longest: what a client sent at once in a trace, each octet escaped.
const LINE_OCTETS_MAX: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What a server that says `answer` is to the client, whatever it is asked.
    fn answered(answer: &'static [u8]) -> Result<Status, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                asked.read_line(&mut line).unwrap();
            }
            stream.write_all(answer).unwrap();
        });
        let result = status(&address);
        server.join().unwrap();
        result
    }

    #[test]
    fn answers() {
        let good =
            answered(b"HTTP/1.0 200 OK\r\ncontent-type: x\r\n\r\n{\"gate\":{\"hostname\":\"gw\"},\"novelty\":1}");
        assert_eq!(good.unwrap().gate.hostname, "gw");
        for (answer, why) in [
            (&b"HTTP/1.0 503 No\r\n\r\nfull\x1b[2J\n"[..], "answers 503 to /status: full\\u{1b}[2J"),
            (b"220 mail ESMTP\r\n", "is not the admin endpoint of a gate: its answer is not HTTP"),
            (b"", "its answer is not HTTP"),
            (b"HTTP/1.1 200 OK\r\n\r\n<html>", "is not the admin endpoint of a gate: expected value"),
            (b"HTTP/1.1 200 OK\r\n\r\n{\"gate\":", "EOF"),
        ] {
            let error = answered(answer).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn queries() {
        assert_eq!(encoded("2001:db8::/32"), "2001%3Adb8%3A%3A%2F32");
        assert_eq!(encoded("a.b-c_d~e &=\r\n\u{fc}"), "a.b-c_d~e%20%26%3D%0D%0A%C3%BC");
    }

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:9125", "[::1]:9125", "unix:/run/mx6/admin.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "9125", "unix:x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let nobody = Address::Unix("/nonexistent/socket".into());
        assert!(status(&nobody).unwrap_err().to_string().contains("is --admin given to mx6 serve"));
    }
}
