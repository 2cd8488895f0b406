//! Whom a gate depends on: resolvers are asked, next hops are greeted, all at once and none for longer than some seconds. No mail is sent.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mx6_delivery::{NextHop, NextHopClient, Target};
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Lookup};
use mx6_smtp::Reply;
use mx6_smtp::client::{Extensions, ReplyReader, names_host, write_ehlo, write_lhlo};

use super::report::{Check, Fault, Status};
use crate::Config;

/// For one query, one connection, one reply.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// For all of a next hop: its name, its connection, its greeting and its extensions.
const NEXT_HOP_TIMEOUT: Duration = Duration::from_secs(10);
/// PROXY protocol 2, command LOCAL: a connection of the proxy's own, such as this.
const PROXY_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const DOWN: Status = Status::Error(Fault::Network);

/// Resolvers and next hops.
pub(super) fn checks(config: &Config, dns: &DnsConfig) -> Vec<Check> {
    let next_hops = begin_next_hops(config);
    let mut checks = resolvers(config, dns);
    checks.extend(next_hops.finish());
    checks
}

/// Each resolver is asked for every probe, or for our own name.
fn resolvers(config: &Config, dns: &DnsConfig) -> Vec<Check> {
    if dns.zone.is_some() {
        return Vec::new();
    }
    let names = if config.dns_probes.is_empty() { vec![config.hostname.clone()] } else { config.dns_probes.clone() };
    let are_probes = !config.dns_probes.is_empty();
    let (servers, template) = (dns.servers.clone(), dns.clone());
    let asked = mx6_runtime::run_local(async move || {
        let questions = servers.iter().flat_map(|server| names.iter().map(move |name| (*server, name.clone())));
        let ask = |(server, name): (std::net::SocketAddr, String)| {
            let query_timeout = template.query_timeout.min(STEP_TIMEOUT);
            let one = DnsConfig { servers: vec![server], attempts: 1, query_timeout, ..template.clone() };
            async move {
                let begin = Instant::now();
                let told = match Dns::new(&one, Caches::new(&CacheSizes::default())) {
                    Ok(dns) => Ok(dns.probe(&name).await),
                    Err(error) => Err(error.to_string()),
                };
                resolver(server.to_string(), &name, are_probes, told, begin.elapsed())
            }
        };
        join_all(questions.map(ask)).await
    });
    match asked {
        Ok(checks) => checks,
        Err(error) => {
            vec![Check::new("DNS", "resolvers", Status::Warning, format!("could not be asked: {error}"))]
        }
    }
}

fn resolver(server: String, name: &str, is_probe: bool, told: Result<Lookup<()>, String>, took: Duration) -> Check {
    let ms = took.as_millis();
    match told {
        Ok(Lookup::Found(())) => Check::new("DNS", server, Status::Ok, format!("knows {name}, after {ms} ms")),
        Ok(Lookup::NoData | Lookup::NxDomain) if is_probe => {
            Check::new("DNS", server, Status::Warning, format!("answers after {ms} ms that {name} has no address"))
                .remedy("name in --dns-probe only what always has one")
        }
        Ok(Lookup::NoData | Lookup::NxDomain) => {
            Check::new("DNS", server, Status::Ok, format!("answers after {ms} ms (that {name} has no IPv4 address)"))
        }
        Ok(Lookup::Failed(failure)) => {
            Check::new("DNS", server, DOWN, format!("no answer about {name} after {ms} ms: {failure:?}"))
                .remedy("start it, or name another in --dns-server")
        }
        Err(error) => Check::new("DNS", server, DOWN, error),
    }
}

/// Next hops that are being greeted.
struct Greeted {
    hops: Vec<NextHop>,
    told: mpsc::Receiver<(usize, Result<String, String>)>,
    until: Instant,
}

fn begin_next_hops(config: &Config) -> Greeted {
    let (hops, is_lmtp) = match &config.target {
        Target::Smtp(hops) => (hops.clone(), false),
        Target::Lmtp(hops) => (hops.clone(), true),
        Target::Maildir(_) | Target::Discard => (Vec::new(), false),
    };
    let (tell, told) = mpsc::channel();
    for (number, hop) in hops.iter().cloned().enumerate() {
        let (tell, hostname) = (tell.clone(), config.hostname.clone());
        let preface: &[u8] = if config.next_hop_client == NextHopClient::Proxy { PROXY_LOCAL } else { &[] };
        // Not waited for: a name may take the system's resolver longer than anybody wants to wait.
        let greeter = move || tell.send((number, greet(&hop, &hostname, is_lmtp, preface)));
        if std::thread::Builder::new().name("mx6-greeter".into()).spawn(greeter).is_err() {
            break;
        }
    }
    Greeted { hops, told, until: Instant::now() + NEXT_HOP_TIMEOUT }
}

impl Greeted {
    fn finish(self) -> Vec<Check> {
        let mut found: Vec<Option<Result<String, String>>> = vec![None; self.hops.len()];
        while found.iter().any(Option::is_none) {
            let left = self.until.saturating_duration_since(Instant::now());
            let Ok((number, told)) = self.told.recv_timeout(left) else { break };
            if let Some(place) = found.get_mut(number) {
                *place = Some(told);
            }
        }
        // While one takes mail the others are no reason to stand still.
        let some_greet = found.iter().any(|told| matches!(told, Some(Ok(_))));
        let down = if some_greet { Status::Warning } else { DOWN };
        let check = |(hop, told): (&NextHop, Option<Result<String, String>>)| match told {
            Some(Ok(text)) => Check::new("next hops", hop.to_string(), Status::Ok, text),
            Some(Err(text)) => {
                Check::new("next hops", hop.to_string(), down, text).remedy("start it, or mend the way to it")
            }
            None => Check::new("next hops", hop.to_string(), down, format!("said nothing within {NEXT_HOP_TIMEOUT:?}")),
        };
        self.hops.iter().zip(found).map(check).collect()
    }
}

trait Conversation: Read + Write {}
impl<T: Read + Write> Conversation for T {}

/// Connects, hears the greeting, says EHLO, and takes leave.
fn greet(hop: &NextHop, hostname: &str, is_lmtp: bool, preface: &[u8]) -> Result<String, String> {
    let mut stream = connect(hop)?;
    let until = Instant::now() + NEXT_HOP_TIMEOUT;
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(preface).map_err(failed)?;
    let mut replies = Replies { reader: ReplyReader::new(), buffer: Vec::new(), until };
    let greeting = replies.next(&mut *stream).map_err(|why| format!("no greeting: {why}"))?;
    if greeting.code != 220 {
        return Err(format!("greets with {} {}", greeting.code, first_line(&greeting)));
    }
    if names_host(&greeting, hostname) {
        return Err(format!("greets as {hostname}, which is our own name: mail would loop"));
    }
    let mut hello = Vec::new();
    if is_lmtp {
        write_lhlo(&mut hello, hostname)
    } else {
        write_ehlo(&mut hello, hostname)
    }
    stream.write_all(&hello).map_err(failed)?;
    let reply = replies.next(&mut *stream).map_err(|why| format!("no reply to our name: {why}"))?;
    let _ = stream.write_all(b"QUIT\r\n");
    if reply.code != 250 {
        return Err(format!("answers our name with {} {}", reply.code, first_line(&reply)));
    }
    Ok(offers(&Extensions::parse(&reply)))
}

fn connect(hop: &NextHop) -> Result<Box<dyn Conversation>, String> {
    if let Some(path) = hop.socket() {
        let stream = UnixStream::connect(path).map_err(|error| format!("cannot connect: {error}"))?;
        stream.set_read_timeout(Some(STEP_TIMEOUT)).map_err(|error| error.to_string())?;
        return Ok(Box::new(stream));
    }
    let addresses = match (hop.address(), hop.name()) {
        (Some(address), _) => vec![(address, hop.port()).into()],
        (None, Some(name)) => {
            (name, hop.port()).to_socket_addrs().map_err(|error| format!("no address: {error}"))?.collect()
        }
        (None, None) => Vec::new(),
    };
    let mut why = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, STEP_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(STEP_TIMEOUT)).map_err(|error| error.to_string())?;
                stream.set_write_timeout(Some(STEP_TIMEOUT)).map_err(|error| error.to_string())?;
                return Ok(Box::new(stream));
            }
            Err(error) => why = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(why)
}

/// Replies as they come, until a point in time.
struct Replies {
    reader: ReplyReader,
    buffer: Vec<u8>,
    until: Instant,
}

impl Replies {
    fn next(&mut self, stream: &mut dyn Conversation) -> Result<Reply, String> {
        loop {
            let input = std::mem::take(&mut self.buffer);
            let (taken, reply) = self.reader.read(&input).map_err(|fault| fault.to_string())?;
            self.buffer.extend_from_slice(&input[taken..]);
            if let Some(reply) = reply {
                return Ok(reply);
            }
            if Instant::now() >= self.until {
                return Err("it takes too long".to_owned());
            }
            let mut octets = [0; 4096];
            match stream.read(&mut octets) {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(count) => self.buffer.extend_from_slice(&octets[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(format!("nothing within {STEP_TIMEOUT:?}"));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn first_line(reply: &Reply) -> &str {
    reply.text.lines().next().unwrap_or_default()
}

/// What it takes, and what our clients are therefore not offered.
fn offers(extensions: &Extensions) -> String {
    let known = [("8BITMIME", extensions.eight_bit_mime), ("SMTPUTF8", extensions.smtp_utf8), ("DSN", extensions.dsn)];
    let names =
        |wanted: bool| known.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect::<Vec<_>>();
    let mut text = "greets".to_owned();
    if let Some(octets) = extensions.size_max {
        text += &format!(", takes messages of {octets} octets");
    }
    if !names(true).is_empty() {
        text += &format!(", offers {}", names(true).join(", "));
    }
    if !names(false).is_empty() {
        text += &format!("; without {}, which clients are not offered then", names(false).join(", "));
    }
    text
}
