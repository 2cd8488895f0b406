//! What an entry of each cache costs in resident memory, for the constants of `server/src/tune/measured.rs`.
//!
//! Fills a cache from a zone of 100,000 names and reads the growth of the resident set; each kind in a process of its own, so that no
//! freed memory is used again. Prints what an entry costs, what the cache counted for it, and the ratio.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mx6_dkim::KeyTxt;
use mx6_dns::{CacheSizes, Caches, Deadline, Dns, DnsConfig, TxtCache, TxtValue, Zone};
use mx6_spf::SpfTxt;

const ENTRIES: usize = 100_000;
const KINDS: [&str; 4] = ["ptr", "address", "spf", "dkim"];

fn main() {
    if let Ok(kind) = std::env::var("MX6_ENTRY_KIND") {
        return fill(&kind);
    }
    println!("| cache | octets an entry | counted | resident by counted |");
    println!("|---|---|---|---|");
    for kind in KINDS {
        let status = Command::new(std::env::current_exe().unwrap()).env("MX6_ENTRY_KIND", kind).status().unwrap();
        assert!(status.success(), "{kind}");
    }
}

/// A sender's name of a usual length, and its address.
fn host(number: usize) -> String {
    format!("mail-{number:06}.out.sender-{number:06}.example")
}

fn address(number: usize) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0db8_u128 << 96) | (number as u128) << 64 | 0x25)
}

fn line(kind: &str, number: usize) -> String {
    match kind {
        "ptr" => {
            let digits = format!("{:032x}", u128::from(address(number)));
            let reverse: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa. PTR {}.", reverse.join("."), host(number))
        }
        "address" => format!("{}. AAAA {}", host(number), address(number)),
        "spf" => format!("sender-{number:06}.example. TXT \"{SPF}\""),
        _ => format!(
            "s2024._domainkey.sender-{number:06}.example. TXT \"v=DKIM1; k=rsa; \" \"{KEY_FIRST}\" \"{KEY_REST}\""
        ),
    }
}

fn fill(kind: &str) {
    let zone = {
        let mut text = "$TTL 86400\n".to_owned();
        (0..ENTRIES).for_each(|number| writeln!(text, "{}", line(kind, number)).unwrap());
        Zone::parse(&text, Path::new("entries.zone")).unwrap()
    };
    let kind = kind.to_owned();
    mx6_runtime::run_local(async move || {
        let room = 4 << 30;
        let caches = Caches::new(&CacheSizes { ptr_octets: room, address_octets: room, mx_octets: room });
        let dns = Dns::new(&DnsConfig { zone: Some(zone), ..DnsConfig::default() }, caches.clone()).unwrap();
        let (spf, dkim) = (TxtCache::<Spf>::new(room), TxtCache::<Key>::new(room));
        let before = resident_octets();
        for number in 0..ENTRIES {
            let deadline = Deadline::after(Duration::from_secs(10));
            let found = match kind.as_str() {
                "ptr" => dns.ptr(IpAddr::V6(address(number)), deadline).await.lookup.found().is_some(),
                "address" => dns.aaaa(&host(number), deadline).await.lookup.found().is_some(),
                "spf" => dns.txt(&spf, &format!("sender-{number:06}.example"), deadline).await.lookup.found().is_some(),
                _ => {
                    let name = format!("s2024._domainkey.sender-{number:06}.example");
                    dns.txt(&dkim, &name, deadline).await.lookup.found().is_some()
                }
            };
            assert!(found, "{kind} {number}");
        }
        let octets = resident_octets().saturating_sub(before) as f64 / ENTRIES as f64;
        let counted = match kind.as_str() {
            "spf" => spf.fill("spf").octets,
            "dkim" => dkim.fill("dkim").octets,
            _ => caches.fill().iter().map(|cache| cache.octets).sum(),
        } as f64
            / ENTRIES as f64;
        println!("| {kind} | {octets:.0} | {counted:.0} | {:.2} |", octets / counted);
    })
    .unwrap();
}

fn resident_octets() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

struct Spf(Arc<SpfTxt>);

impl TxtValue for Spf {
    fn parse(records: &[Vec<u8>]) -> Spf {
        Spf(Arc::new(mx6_spf::parse_txt(records)))
    }

    fn weight_octets(&self) -> u32 {
        self.0.weight_octets()
    }
}

struct Key(Arc<KeyTxt>);

impl TxtValue for Key {
    fn parse(records: &[Vec<u8>]) -> Key {
        Key(Arc::new(KeyTxt::parse(records)))
    }

    fn weight_octets(&self) -> u32 {
        self.0.weight_octets()
    }
}

const SPF: &str =
    "v=spf1 ip6:2001:db8:25::/48 ip4:192.0.2.0/24 include:_spf.mail.example include:_spf.news.example mx -all";
/// A key of 2048 bits that was thrown away, in two strings because one holds 255 octets.
const KEY_FIRST: &str = "p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApQh9gSPq4ZAb9IJn7MH1rCUSFZTFeJ3mWQP/l5u/ArUoFp/KK4zjbPJOvS1Pfqqw7765lDMN8y/KC9eqaC8hNFHzbTRMOR7Sa25RLD1kTIdoS86Kadd1xz7n15anbe8XgY05Tc9pBE/xzIL5XMH1bnCm+K+D";
const KEY_REST: &str = "PJNPiFTilits59w70ZwT5+uJWT9VzHBJL5+YVVe3ar6+QXLCQ8xFx7hrxml8xQFhBX7jKTu4h/ZVppk34ynbrcsVak1fWY0XxfAXfauFcSMgxCM1uxOCmy3yJBx+aeLtGbrNnGxEgx0FmP4HwdPP87hE54i+6ku7cnSh6fAER52WtZWWi4r39553IQIDAQAB";
