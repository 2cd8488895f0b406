//! What the tests stand on: the gate as a process, and around it the real programs it talks to.
//!
//! Everything runs on loopback, or in a network namespace that the test makes itself; ports are chosen by the kernel, or by `free_port`;
//! readiness is polled against a deadline. Every process that a test starts is ended by the test, by its process id.

pub mod certificates;
pub mod chromium;
pub mod container;
pub mod debian;
pub mod dns_server;
pub mod dovecot;
pub mod faults;
pub mod files;
pub mod gate;
pub mod http;
pub mod message;
pub mod namespace;
pub mod next_hop;
pub mod postfix;
pub mod process;
pub mod signing;
pub mod smtp;
pub mod strace;
pub mod tls;
pub mod unbound;
pub mod zone;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here may take, the slowest DNS deadline of the gate (20 s) included.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer. Panics when [`PATIENCE`] is at its end.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(POLL);
    }
}

/// A port of 127.0.0.1 for a program that cannot be given port 0: free for TCP and UDP now, not handed out twice by this process, and
/// below the ports that the kernel gives to outgoing connections, which could take it before the program does.
pub fn free_port() -> u16 {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1_000).unwrap() * 20;
    until("a free port", || {
        let port = 12_000 + (first + ASKED.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        (tcp.is_ok() && udp.is_ok()).then_some(port)
    })
}

/// Tells the reader of the test output why a test did nothing.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
}

/// Whether the tests run as root: real Postfix, namespaces and dropped capabilities need it.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Pause between two looks at the same thing.
const POLL: Duration = Duration::from_millis(5);
