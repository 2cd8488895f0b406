//! A real resolver: unbound over zones of the test's own, asking nobody outside.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tempfile::TempDir;

use super::dns_server::{PTR, ask};
use super::process::Process;
use super::zone::{PASS, reverse_name};
use super::{free_port, until};

/// A running unbound.
pub struct Unbound {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Unbound {
    /// Serves a zone file in which each `$ORIGIN` begins a zone of its own. Nothing else exists.
    pub fn start(zone: &str) -> Unbound {
        let dir = tempfile::Builder::new().prefix("mx6-unbound-").tempdir().unwrap();
        let port = free_port();
        let mut config = format!(
            "server:\n interface: 127.0.0.1@{port}\n port: {port}\n do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n \
             directory: \"{dir}\"\n pidfile: \"\"\n module-config: \"iterator\"\n num-threads: 1\n do-not-query-localhost: no\n \
             do-ip6: no\n access-control: 127.0.0.0/8 allow\n",
            dir = dir.path().display()
        );
        let mut zones = split(zone);
        // An empty root: unbound never reaches for the real one.
        zones.push((
            ".".into(),
            ". 300 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 300\n. 300 IN NS ns.invalid.\n".into(),
        ));
        for (origin, _) in &zones {
            writeln!(config, " local-zone: \"{origin}\" nodefault").unwrap();
        }
        for (number, (origin, text)) in zones.iter().enumerate() {
            let file = dir.path().join(format!("{number}.zone"));
            std::fs::write(&file, text).unwrap();
            let options = "for-upstream: yes\n for-downstream: no\n fallback-enabled: no";
            writeln!(config, "auth-zone:\n name: \"{origin}\"\n zonefile: \"{}\"\n {options}", file.display()).unwrap();
        }
        let file = dir.path().join("unbound.conf");
        std::fs::write(&file, config).unwrap();
        let process = Process::start(Command::new("unbound").arg("-d").arg("-c").arg(file));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("unbound to answer", || {
            ask(address, &reverse_name(PASS), PTR).filter(|(rcode, answers)| *rcode == 0 && *answers == 1)
        });
        Unbound { address, _process: process, _dir: dir }
    }
}

/// The zones of a zone file: origin and text. Records of an origin that comes twice are put together.
fn split(zone: &str) -> Vec<(String, String)> {
    let mut zones: Vec<(String, String)> = Vec::new();
    let mut current = None;
    for line in zone.lines() {
        if let Some(origin) = line.strip_prefix("$ORIGIN ") {
            let known = zones.iter().position(|(name, _)| name == origin);
            current = Some(known.unwrap_or_else(|| {
                zones.push((origin.to_owned(), format!("$ORIGIN {origin}\n$TTL 300\n")));
                zones.len() - 1
            }));
        } else if let Some(index) = current {
            zones[index].1 += line;
            zones[index].1.push('\n');
        }
    }
    zones
}
