//! An SMTP client that sends exactly the octets it is told to, and shows every reply as it came.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use super::PATIENCE;
use super::gate::Gate;

/// A connection. Replies are strings with their CRLF; an empty string means that the other side has closed.
pub struct Client {
    stream: Box<dyn Octets>,
    unread: Vec<u8>,
}

/// What a client speaks over.
trait Octets: Read + Write {
    /// Ends what is sent; reading goes on.
    fn finish(&self);
}

impl Octets for TcpStream {
    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Octets for UnixStream {
    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Client {
    /// Connects; reads nothing yet.
    pub fn connect(to: SocketAddr) -> Client {
        let stream =
            TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
        Client::over(stream)
    }

    /// Connects from an address of this host.
    pub fn connect_from(source: IpAddr, to: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect_timeout(&to.into(), PATIENCE).unwrap();
        Client::over(socket.into())
    }

    /// Connects to the gate's PROXY listener and says that the client is `source`; reads nothing yet.
    pub fn proxied(gate: &Gate, source: &str) -> Client {
        let mut client = Client::connect(gate.proxy);
        client.send(proxy_v1(source));
        client
    }

    /// As [`Client::proxied`], with greeting and EHLO done.
    pub fn greeted(gate: &Gate, source: &str, helo: &str) -> Client {
        let mut client = Client::proxied(gate, source);
        client.hello(helo);
        client
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: Box::new(stream), unread: Vec::new() }
    }

    /// Over the standard input and output of another program, such as one that adds TLS.
    pub fn through(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream: Box::new(stream), unread: Vec::new() }
    }

    /// Reads the greeting and says EHLO; returns the EHLO reply.
    pub fn hello(&mut self, helo: &str) -> String {
        let greeting = self.reply();
        assert!(greeting.starts_with("220 "), "greeting: {greeting:?}");
        let reply = self.say(&format!("EHLO {helo}"));
        assert!(reply.starts_with("250"), "EHLO: {reply:?}");
        reply
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.try_send(octets).unwrap();
    }

    /// Sends octets as they are, to a peer that may have gone.
    pub fn try_send(&mut self, octets: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(octets.as_ref())
    }

    /// Sends one command line and reads its reply.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    /// Sends a command that must be answered with 2xx or 3xx.
    pub fn ok(&mut self, line: &str) -> String {
        let reply = self.say(line);
        assert!(reply.starts_with(['2', '3']), "{line}: {reply:?}");
        reply
    }

    /// MAIL, then DATA after every RCPT was accepted; returns after 354.
    pub fn open(&mut self, reverse_path: &str, forward_paths: &[&str]) {
        self.ok(&format!("MAIL FROM:<{reverse_path}>"));
        for forward_path in forward_paths {
            self.ok(&format!("RCPT TO:<{forward_path}>"));
        }
        assert!(self.say("DATA").starts_with("354 "));
    }

    /// Sends a message (CRLF line ends, last line ended), dots stuffed, and its terminator; returns the reply.
    pub fn message(&mut self, message: &str) -> String {
        let stuffed = message.replace("\r\n.", "\r\n..");
        self.send(stuffed);
        self.say(".")
    }

    /// A whole transaction; the reply to the first refused command, else to the message.
    pub fn transaction(&mut self, reverse_path: &str, forward_path: &str, message: &str) -> String {
        for command in [format!("MAIL FROM:<{reverse_path}>"), format!("RCPT TO:<{forward_path}>"), "DATA".to_owned()] {
            let reply = self.say(&command);
            if !reply.starts_with(['2', '3']) {
                return reply;
            }
        }
        self.message(message)
    }

    /// The next reply, all of its lines, with CRLF. What came before the other side closed, if it closes.
    pub fn reply(&mut self) -> String {
        self.try_reply().unwrap_or_else(|error| panic!("waiting for a reply: {error}, so far {:?}", self.unread_text()))
    }

    /// As [`Client::reply`]; a reset connection is an error.
    pub fn try_reply(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = reply_end(&self.unread) {
                return Ok(String::from_utf8_lossy(&self.unread.drain(..end).collect::<Vec<_>>()).into_owned());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()),
                Ok(octets) => self.unread.extend_from_slice(&buffer[..octets]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the other side closes (or resets) now; any reply before that is returned in `Err`.
    pub fn closed(&mut self) -> Result<(), String> {
        match self.try_reply() {
            Ok(reply) if reply.is_empty() => Ok(()),
            Ok(reply) => Err(reply),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends FIN; replies can still be read.
    pub fn finish_sending(&self) {
        self.stream.finish();
    }

    fn unread_text(&self) -> String {
        String::from_utf8_lossy(&self.unread).into_owned()
    }
}

/// A refusal whose words are ours to choose without ` (session ID)`, which must be its end.
pub fn unsigned(reply: &str) -> String {
    let (words, session) =
        reply.trim_end().rsplit_once(" (session ").unwrap_or_else(|| panic!("no session: {reply:?}"));
    assert!(session.strip_suffix(')').is_some_and(|id| id.split('-').count() == 3), "{reply:?}");
    words.to_owned() + if reply.ends_with("\r\n") { "\r\n" } else { "" }
}

/// The PROXY header, version 1, that makes `source` the client.
pub fn proxy_v1(source: &str) -> String {
    match source.parse().unwrap() {
        IpAddr::V6(source) => format!("PROXY TCP6 {source} 2001:db8:ffff::25 40000 25\r\n"),
        IpAddr::V4(source) => format!("PROXY TCP4 {source} 192.0.2.1 40000 25\r\n"),
    }
}

/// Where the first whole reply ends.
fn reply_end(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = octets.get(at..)?;
        let length = line.windows(2).position(|pair| pair == b"\r\n")? + 2;
        at += length;
        if line.get(3) != Some(&b'-') {
            return Some(at);
        }
    }
}
