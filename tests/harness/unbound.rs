//! A real resolver: unbound over zones of the test's own, asking nobody outside.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::dns_server::{PTR, ask};
use super::process::Process;
use super::zone::{PASS, reverse_name};
use super::{free_port, until};

/// A running unbound.
pub struct Unbound {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    dir: TempDir,
}

impl Unbound {
    /// Serves a zone file in which each `$ORIGIN` begins a zone of its own. Nothing else exists.
    pub fn start(zone: &str) -> Unbound {
        Unbound::start_with(zone, &[])
    }

    /// As [`Unbound::start`]; questions about what lies at or below the `stubs` go to those servers.
    pub fn start_with(zone: &str, stubs: &[(&str, SocketAddr)]) -> Unbound {
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
        for (origin, server) in stubs {
            let server = format!("{}@{}", server.ip(), server.port());
            writeln!(config, "stub-zone:\n name: \"{origin}\"\n stub-addr: {server}").unwrap();
        }
        std::fs::write(dir.path().join("unbound.conf"), config).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Unbound { address, process: running(&dir, address), dir }
    }

    /// It answers nothing any more, and refuses nothing either.
    pub fn halt(&self) {
        self.process.signal(Signal::STOP);
    }

    /// After [`Unbound::halt`].
    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// After [`Unbound::kill`], on the same port.
    pub fn restart(&mut self) {
        self.process = running(&self.dir, self.address);
    }
}

fn running(dir: &TempDir, address: SocketAddr) -> Process {
    let process = Process::start(Command::new("unbound").arg("-d").arg("-c").arg(dir.path().join("unbound.conf")));
    until("unbound to answer", || {
        ask(address, &reverse_name(PASS), PTR).filter(|(rcode, answers)| *rcode == 0 && *answers == 1)
    });
    process
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
