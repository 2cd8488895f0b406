//! An HTTP/1.1 client for the admin endpoint: one request a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::PATIENCE;
use super::gate::Gate;

/// An answer: its status and its body.
#[derive(Debug)]
pub struct Answer {
    /// 200, 503, …
    pub status: u16,
    /// As text.
    pub body: String,
}

/// `GET path` of the endpoint at `address` (`127.0.0.1:9125` or `unix:/path`).
pub fn get(address: &str, path: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// The same; none if nobody listens, or whoever did is gone before he has answered.
pub fn try_get(address: &str, path: &str) -> Option<Answer> {
    attempt(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).ok()
}

/// Sends `octets` as they are and reads to the end.
pub fn request(address: &str, octets: &str) -> Answer {
    attempt(address, octets).unwrap_or_else(|error| panic!("{address}: {error}"))
}

fn attempt(address: &str, octets: &str) -> io::Result<Answer> {
    let mut stream: Box<dyn Stream> = match address.strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
    };
    stream.write_all(octets.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("{line:?}")))?;
    let mut chunked = false;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut octets = Vec::new();
    reader.read_to_end(&mut octets)?;
    let octets = if chunked { joined(&octets) } else { octets };
    Ok(Answer { status, body: String::from_utf8(octets).map_err(io::Error::other)? })
}

/// A body that came in chunks (RFC 9112 §7.1).
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|octets| octets == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A stream that goes on.
pub struct Following {
    stream: TcpStream,
    text: String,
}

impl Following {
    /// Asks for `path` and waits for the head of the answer.
    pub fn open(address: &str, path: &str) -> Following {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut following = Following { stream, text: String::new() };
        let head = following.until("the head", |text| text.contains("\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        following.text.clear();
        following
    }

    /// All that came, once that is enough.
    pub fn until(&mut self, what: &str, is_enough: impl Fn(&str) -> bool) -> String {
        let mut octets = [0; 4096];
        while !is_enough(&self.text) {
            let count = self.stream.read(&mut octets).unwrap_or_else(|error| panic!("{what}: {error}: {}", self.text));
            assert!(count > 0, "{what}: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&octets[..count]));
        }
        self.text.clone()
    }

    /// The JSON lines of it, once that is enough: without what frames the chunks, each of which has whole lines.
    pub fn lines_until(&mut self, what: &str, is_enough: impl Fn(&str) -> bool) -> String {
        let text = self.until(what, is_enough);
        text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect()
    }
}

/// Where the gate's admin endpoint listens: each `--admin`, in their order.
pub fn admin(gate: &mut Gate, count: usize) -> Vec<String> {
    gate.process.until_stderr("`admin endpoint on` lines", |lines| {
        let told = lines.iter().filter_map(|line| line.split("admin endpoint on ").nth(1));
        let told: Vec<String> = told.map(str::to_owned).collect();
        (told.len() >= count).then_some(told)
    })
}

/// The value of one series in an exposition, by its name with labels as it is written there; 0 if it is absent.
pub fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |rest| rest.split(' ').next().unwrap().parse().unwrap())
}
