//! A name server that does as it is told, and counts what it is asked (RFC 1035, UDP).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What to do with a question.
#[derive(Clone)]
pub enum Answer {
    /// These records, as wire data.
    Records(Vec<Vec<u8>>),
    /// The same, after a while.
    After(Duration, Vec<Vec<u8>>),
    /// RCODE 2.
    ServFail,
    /// RCODE 5.
    Refused,
    /// No answer at all.
    Silence,
}

/// A running server. A name that it was not told about does not exist; another type of a known name has no data.
pub struct DnsServer {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<HashMap<(String, u16), usize>>>,
    stopped: Arc<AtomicBool>,
}

/// Names are lower case without final dot.
type Told = HashMap<(String, u16), Answer>;

impl DnsServer {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(told: &[(&str, u16, Answer)]) -> DnsServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let told: Told = told.iter().map(|(name, kind, answer)| ((normal(name), *kind), answer.clone())).collect();
        let server = DnsServer { address, asked: Arc::default(), stopped: Arc::default() };
        let (asked, stopped) = (server.asked.clone(), server.stopped.clone());
        std::thread::spawn(move || serve(&socket, &told, &asked, &stopped));
        server
    }

    /// How often each name and type was asked for.
    pub fn asked(&self) -> HashMap<(String, u16), usize> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Record types.
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;

/// PTR data.
pub fn ptr(name: &str) -> Answer {
    Answer::Records(vec![encode(name)])
}

/// TXT data, one string of at most 255 octets.
pub fn txt(text: &str) -> Answer {
    Answer::Records(vec![[&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()])
}

/// A or AAAA data.
pub fn address(address: &str) -> Answer {
    Answer::Records(vec![match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }])
}

/// Asks a server; its RCODE and the number of answers, or nothing in time.
pub fn ask(server: SocketAddr, name: &str, kind: u16) -> Option<(u8, u16)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &encode(name)[..], &kind.to_be_bytes(), &[0, 1]].concat();
    socket.send_to(&query, server).ok()?;
    let mut buffer = [0; 4096];
    let octets = socket.recv(&mut buffer).ok()?;
    (octets >= 12).then(|| (buffer[3] & 15, u16::from_be_bytes([buffer[6], buffer[7]])))
}

fn serve(socket: &UdpSocket, told: &Told, asked: &Mutex<HashMap<(String, u16), usize>>, stopped: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stopped.load(Ordering::Relaxed) {
        let Ok((octets, peer)) = socket.recv_from(&mut buffer) else { continue };
        let Some((name, kind, end)) = question(&buffer[..octets]) else { continue };
        *asked.lock().unwrap().entry((name.clone(), kind)).or_default() += 1;
        let head = &buffer[..end];
        match told.get(&(name.clone(), kind)) {
            Some(Answer::Records(records)) => send(socket, peer, &response(head, kind, 0, records)),
            Some(Answer::After(delay, records)) => {
                let (socket, response, delay) = (socket.try_clone().unwrap(), response(head, kind, 0, records), *delay);
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    send(&socket, peer, &response);
                });
            }
            Some(Answer::ServFail) => send(socket, peer, &response(head, kind, 2, &[])),
            Some(Answer::Refused) => send(socket, peer, &response(head, kind, 5, &[])),
            Some(Answer::Silence) => {}
            None => {
                let below = format!(".{name}");
                let exists = told.keys().any(|(known, _)| *known == name || known.ends_with(&below));
                send(socket, peer, &response(head, kind, if exists { 0 } else { 3 }, &[]));
            }
        }
    }
}

fn send(socket: &UdpSocket, peer: SocketAddr, response: &[u8]) {
    let _ = socket.send_to(response, peer);
}

/// Name, type, and where the question section ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    Some((normal(&labels.join(".")), kind, at + 5))
}

/// Head and question come back; without records a SOA tells how long that may be remembered.
fn response(head: &[u8], kind: u16, rcode: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let negative = records.is_empty() && matches!(rcode, 0 | 3);
    let mut out = head.to_vec();
    out[2] = 0x85;
    out[3] = 0x80 | rcode;
    out[6..8].copy_from_slice(&count);
    out[8..12].copy_from_slice(&[0, u8::from(negative), 0, 0]);
    for record in records {
        out.extend([&[0xc0, 12], &kind.to_be_bytes()[..], &[0, 1], &300u32.to_be_bytes()].concat());
        out.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        out.extend(record);
    }
    if negative {
        let numbers: Vec<u8> = [1u32, 3600, 600, 86400, 300].into_iter().flat_map(u32::to_be_bytes).collect();
        let soa = [encode("ns.example"), encode("hostmaster.example"), numbers].concat();
        out.extend([&[0, 0, 6, 0, 1], &300u32.to_be_bytes()[..]].concat());
        out.extend(u16::try_from(soa.len()).unwrap().to_be_bytes());
        out.extend(soa);
    }
    out
}

/// A name in wire form.
fn encode(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.');
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
