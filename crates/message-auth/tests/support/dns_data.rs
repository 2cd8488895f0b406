//! The same DNS data twice: as a zone file, and served over UDP on loopback.
//!
//! A row is `(name, type, data)` in master-file form, names absolute without the final dot. A name at or below an `NS`
//! row answers SERVFAIL, one with a `SILENT` row not at all (served data only); a name that is no row's and has none below it does not exist.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Owner, type, data.
pub(crate) type Row = (String, &'static str, String);

/// `rows` as a zone file.
pub(crate) fn zone_file(rows: &[Row]) -> String {
    let mut text = String::from("$TTL 300\n");
    for (name, kind, data) in rows {
        text.push_str(&format!("{name}. IN {kind} {data}\n"));
    }
    text
}

/// The name of the PTR records of an IPv6 address is too long to be written by hand: this tells it.
pub(crate) fn reverse_name(address: &str) -> String {
    let octets = address.parse::<Ipv6Addr>().unwrap().octets();
    let nibbles = octets.iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
    nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
}

/// Serves `rows` until the process ends; tells where, and counts the queries.
pub(crate) fn serve(rows: Vec<Row>) -> (SocketAddr, Arc<AtomicUsize>) {
    serve_changing(Arc::new(Mutex::new(rows)), |_| 300)
}

/// As [`serve`], for rows that change meanwhile, with the TTL of each name.
pub(crate) fn serve_changing(rows: Arc<Mutex<Vec<Row>>>, ttl_s: fn(&str) -> u32) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let queries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&queries);
    std::thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut query) {
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(response) = respond(&rows.lock().unwrap(), ttl_s, &query[..len]) {
                let _ = socket.send_to(&response, from);
            }
        }
    });
    (address, queries)
}

fn respond(rows: &[Row], ttl_s: fn(&str) -> u32, query: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = read_name(query, 12)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let at_or_below = |owner: &str| name == owner || name.ends_with(&format!(".{owner}"));
    let failing = rows.iter().any(|(owner, kind, _)| *kind == "NS" && at_or_below(owner));
    if rows.iter().any(|(owner, kind, _)| *kind == "SILENT" && *owner == name) {
        return None;
    }
    let answers: Vec<_> = rows.iter().filter(|(owner, k, _)| *owner == name && code(k) == kind).collect();
    let exists = rows.iter().any(|(owner, ..)| *owner == name || owner.ends_with(&format!(".{name}")));
    let rcode = if failing {
        2
    } else if exists {
        0
    } else {
        3
    };

    let mut response = query[..2].to_vec();
    response.extend_from_slice(&[0x85, 0x80 | rcode, 0, 1, 0, answers.len() as u8]);
    response.extend_from_slice(&[0, u8::from(answers.is_empty() && !failing), 0, 0]);
    response.extend_from_slice(query.get(12..end + 4)?);
    for (_, _, data) in &answers {
        push_record(&mut response, &[0xc0, 12], kind, ttl_s(&name), &rdata(kind, data));
    }
    if answers.is_empty() && !failing {
        let zone = rows.iter().find(|(owner, kind, _)| *kind == "SOA" && at_or_below(owner));
        let mut soa = vec![0, 0];
        soa.extend_from_slice(&ttl_s(&name).to_be_bytes().repeat(5));
        push_record(&mut response, &wire_name(zone.map_or("", |(owner, ..)| owner)), 6, ttl_s(&name), &soa);
    }
    Some(response)
}

fn push_record(response: &mut Vec<u8>, owner: &[u8], kind: u16, ttl_s: u32, rdata: &[u8]) {
    response.extend_from_slice(owner);
    response.extend_from_slice(&kind.to_be_bytes());
    response.extend_from_slice(&[0, 1]);
    response.extend_from_slice(&ttl_s.to_be_bytes());
    response.extend_from_slice(&u16::try_from(rdata.len()).unwrap().to_be_bytes());
    response.extend_from_slice(rdata);
}

fn rdata(kind: u16, data: &str) -> Vec<u8> {
    match kind {
        1 => data.parse::<Ipv4Addr>().unwrap().octets().to_vec(),
        28 => data.parse::<Ipv6Addr>().unwrap().octets().to_vec(),
        12 => wire_name(data.trim_end_matches('.')),
        15 => {
            let (preference, exchange) = data.split_once(' ').unwrap();
            let mut octets = preference.parse::<u16>().unwrap().to_be_bytes().to_vec();
            octets.extend(wire_name(exchange.trim_end_matches('.')));
            octets
        }
        _ => {
            let text = data.trim_matches('"').as_bytes();
            text.chunks(255).flat_map(|chunk| [&[chunk.len() as u8], chunk].concat()).collect()
        }
    }
}

fn code(kind: &str) -> u16 {
    match kind {
        "A" => 1,
        "SOA" => 6,
        "PTR" => 12,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        _ => 2,
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

/// The name at `at`, lower case, and where it ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*message.get(at)?);
        if len == 0 {
            return Some((labels.join(".").to_ascii_lowercase(), at + 1));
        }
        labels.push(std::str::from_utf8(message.get(at + 1..at + 1 + len)?).ok()?);
        at += 1 + len;
    }
}
