//! A DNS server on loopback threads, UDP and TCP on one port, that does what a script says.

#![allow(dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mx6_dns::{CacheSizes, Caches, Deadline, Dns, DnsConfig, TtlLimits, TxtValue};

/// What the server does with a query.
pub enum Act {
    Answer(Message),
    /// These octets, with the query's id in front if `true`.
    Raw(Vec<u8>, bool),
    /// Over TCP: these octets without a length in front, then nothing more.
    Part(Vec<u8>),
    /// From another port.
    Elsewhere(Message),
    /// Some datagrams, then the answer.
    After(Vec<Vec<u8>>, Message),
    Late(Duration, Message),
    Drop,
}

pub struct Query {
    pub message: Message,
    /// Lower case, with the final dot.
    pub name: String,
    pub record_type: RecordType,
    pub tcp: bool,
}

impl Query {
    pub fn empty(&self) -> Message {
        let mut message = Message::response(self.message.metadata.id, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(self.message.queries[0].clone());
        message
    }

    pub fn code(&self, code: ResponseCode) -> Act {
        let mut message = self.empty();
        message.metadata.response_code = code;
        Act::Answer(message)
    }

    /// Records of the name asked for.
    pub fn records(&self, ttl: u32, data: impl IntoIterator<Item = RData>) -> Act {
        let mut message = self.empty();
        for data in data {
            message.add_answer(Record::from_rdata(name(&self.name), ttl, data));
        }
        Act::Answer(message)
    }

    pub fn negative(&self, code: ResponseCode, soa: Option<(u32, u32)>) -> Act {
        let mut message = self.empty();
        message.metadata.response_code = code;
        if let Some((ttl, minimum)) = soa {
            message.add_authority(soa_record(ttl, minimum));
        }
        Act::Answer(message)
    }
}

pub fn soa_record(ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name("ns.test."), name("host.test."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name("test."), ttl, RData::SOA(data))
}

pub fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub fn a(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

pub fn aaaa(last: u16) -> RData {
    RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)))
}

pub fn ptr(target: &str) -> RData {
    RData::PTR(PTR(name(target)))
}

/// A PTR to a name of any labels.
pub fn ptr_labels(labels: &[&[u8]]) -> RData {
    RData::PTR(PTR(Name::from_labels(labels.iter().copied()).unwrap()))
}

pub fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

pub fn mx(preference: u16, exchange: &str) -> RData {
    RData::MX(MX::new(preference, name(exchange)))
}

pub fn txt(strings: &[&str]) -> RData {
    RData::TXT(TXT::new(strings.iter().map(|&string| string.to_owned()).collect()))
}

pub struct Server {
    pub address: SocketAddr,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<(String, RecordType)>>>,
}

type Script = dyn Fn(&Query) -> Act + Send + Sync;

impl Server {
    pub fn start(script: impl Fn(&Query) -> Act + Send + Sync + 'static) -> Server {
        Server::start_on(true, script)
    }

    /// As [`Server::start`], but nobody listens for TCP.
    pub fn without_tcp(script: impl Fn(&Query) -> Act + Send + Sync + 'static) -> Server {
        Server::start_on(false, script)
    }

    fn start_on(tcp: bool, script: impl Fn(&Query) -> Act + Send + Sync + 'static) -> Server {
        let script: Arc<Script> = Arc::new(script);
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()) {
                break (socket, listener);
            }
        };
        let server = Server {
            address: socket.local_addr().unwrap(),
            udp: Arc::default(),
            tcp: Arc::default(),
            log: Arc::default(),
        };
        let (count, log, udp_script) = (server.udp.clone(), server.log.clone(), script.clone());
        std::thread::spawn(move || serve_udp(&Arc::new(socket), &udp_script, &count, &log));
        if !tcp {
            return server;
        }
        let count = server.tcp.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, count) = (script.clone(), count.clone());
                std::thread::spawn(move || serve_tcp(stream, &script, &count));
            }
        });
        server
    }

    /// Datagrams received.
    pub fn udp(&self) -> usize {
        self.udp.load(Ordering::SeqCst)
    }

    pub fn tcp(&self) -> usize {
        self.tcp.load(Ordering::SeqCst)
    }

    /// Names and types asked for over UDP, in order.
    pub fn log(&self) -> Vec<(String, RecordType)> {
        self.log.lock().unwrap().clone()
    }
}

fn serve_udp(
    socket: &Arc<UdpSocket>,
    script: &Arc<Script>,
    count: &AtomicUsize,
    log: &Mutex<Vec<(String, RecordType)>>,
) {
    let mut buffer = [0; 4096];
    while let Ok((octets, peer)) = socket.recv_from(&mut buffer) {
        count.fetch_add(1, Ordering::SeqCst);
        let query = read(&buffer[..octets], false);
        log.lock().unwrap().push((query.name.clone(), query.record_type));
        match script(&query) {
            Act::Answer(message) => drop(socket.send_to(&message.to_vec().unwrap(), peer)),
            Act::Raw(mut octets, with_id) => {
                if with_id {
                    octets.splice(..0, query.message.metadata.id.to_be_bytes());
                }
                drop(socket.send_to(&octets, peer));
            }
            Act::After(noise, message) => {
                for octets in noise {
                    socket.send_to(&octets, peer).unwrap();
                }
                socket.send_to(&message.to_vec().unwrap(), peer).unwrap();
            }
            Act::Late(delay, message) => {
                let socket = socket.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    drop(socket.send_to(&message.to_vec().unwrap(), peer));
                });
            }
            Act::Elsewhere(message) => {
                let other = UdpSocket::bind("127.0.0.1:0").unwrap();
                drop(other.send_to(&message.to_vec().unwrap(), peer));
            }
            Act::Drop | Act::Part(_) => {}
        }
    }
}

fn serve_tcp(mut stream: TcpStream, script: &Arc<Script>, count: &AtomicUsize) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut buffer = vec![0; u16::from_be_bytes(length).into()];
        if stream.read_exact(&mut buffer).is_err() {
            return;
        }
        count.fetch_add(1, Ordering::SeqCst);
        let query = read(&buffer, true);
        let octets = match script(&query) {
            Act::Answer(message) => Some(message.to_vec().unwrap()),
            Act::Raw(octets, false) => Some(octets),
            Act::Raw(octets, true) => Some([query.message.metadata.id.to_be_bytes().as_slice(), &octets].concat()),
            Act::Part(octets) => {
                drop(stream.write_all(&octets));
                None
            }
            _ => None,
        };
        if let Some(octets) = octets {
            let mut framed = u16::try_from(octets.len()).unwrap().to_be_bytes().to_vec();
            framed.extend(octets);
            // In two parts, so that the reader has to put it together.
            let (first, second) = framed.split_at(framed.len() / 2);
            if stream.write_all(first).and_then(|()| stream.write_all(second)).is_err() {
                return;
            }
        }
    }
}

fn read(octets: &[u8], tcp: bool) -> Query {
    let message = Message::from_vec(octets).unwrap();
    let name = message.queries[0].name().to_ascii().to_lowercase();
    let record_type = message.queries[0].query_type();
    Query { message, name, record_type, tcp }
}

/// TXT records as they came.
#[derive(Debug, PartialEq)]
pub struct Text(pub Vec<String>);

pub static TEXT_PARSED: AtomicUsize = AtomicUsize::new(0);

impl TxtValue for Text {
    fn parse(records: &[Vec<u8>]) -> Text {
        TEXT_PARSED.fetch_add(1, Ordering::SeqCst);
        Text(records.iter().map(|record| String::from_utf8_lossy(record).into_owned()).collect())
    }

    fn weight_octets(&self) -> u32 {
        self.0.iter().map(|text| text.len() as u32 + 24).sum()
    }
}

/// One resolver, short timeouts, TTLs as they come.
pub fn config(servers: &[SocketAddr]) -> DnsConfig {
    DnsConfig {
        servers: servers.to_vec(),
        query_timeout: Duration::from_millis(300),
        attempts: 1,
        ttl: TtlLimits { floor_s: 0, ..TtlLimits::default() },
        ..DnsConfig::default()
    }
}

pub fn dns(servers: &[SocketAddr]) -> Dns {
    Dns::new(&config(servers), Caches::new(&CacheSizes::default())).unwrap()
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}
