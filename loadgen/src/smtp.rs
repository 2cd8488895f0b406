//! An SMTP client that says where it comes from in a PROXY header, version 1, and tells every reply as it came.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A connection to the PROXY listener of a gate.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects, announces `source` as the client's address, and reads the greeting.
    pub(crate) fn connect(proxy: SocketAddr, source: IpAddr) -> Result<Client> {
        let stream = TcpStream::connect_timeout(&proxy, WAIT).with_context(|| format!("connecting to {proxy}"))?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        let mut client = Client { reader: BufReader::new(stream) };
        client.send(proxy_header(source).as_bytes())?;
        let greeting = client.reply()?;
        ensure!(greeting.starts_with("220 "), "the gate greets with `{greeting}`");
        Ok(client)
    }

    /// Sends one command and returns the last line of its reply.
    pub(crate) fn command(&mut self, line: &str) -> Result<String> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply().with_context(|| format!("after `{line}`"))
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(octets).context("sending")
    }

    /// The last line of the next reply, without CRLF.
    pub(crate) fn reply(&mut self) -> Result<String> {
        for _ in 0..REPLY_LINES_MAX {
            let mut line = String::new();
            self.reader.read_line(&mut line).context("waiting for a reply")?;
            let Some(line) = line.strip_suffix("\r\n") else { bail!("the gate closed the connection") };
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.to_owned());
            }
        }
        bail!("a reply of more than {REPLY_LINES_MAX} lines")
    }
}

/// The header that makes `source` the client.
fn proxy_header(source: IpAddr) -> String {
    match source {
        IpAddr::V6(source) => format!("PROXY TCP6 {source} 2001:db8:ffff::25 40000 25\r\n"),
        IpAddr::V4(source) => format!("PROXY TCP4 {source} 192.0.2.1 40000 25\r\n"),
    }
}

/// Longer than the gate may take for its slowest lookup.
const WAIT: Duration = Duration::from_secs(60);

/// An EHLO reply has fewer lines.
const REPLY_LINES_MAX: usize = 100;
