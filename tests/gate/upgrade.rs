//! One gate takes the place of another: nobody is refused, nobody is reset, and every message arrives once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::harness::gate::{Gate, Setup, shards};
use crate::harness::http::{admin, get, try_get};
use crate::harness::message::plain;
use crate::harness::next_hop::NextHop;
use crate::harness::process::run;
use crate::harness::smtp::Client;
use crate::harness::until;

/// Mail from several clients at once, each message on a connection of its own.
struct Load<'a> {
    to: SocketAddr,
    is_over: &'a AtomicBool,
    sent: &'a AtomicUsize,
}

impl Load<'_> {
    /// Sends until it is over. A connection that is refused, reset or closed without a word fails the test; a 421 is an answer, and the
    /// message is sent again.
    fn send(&self, client: usize) {
        for number in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            while !self.delivered(&format!("load-{client}-{number}")) {}
            self.sent.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn delivered(&self, id: &str) -> bool {
        let mut smtp = Client::connect(self.to);
        let mut reply = smtp.reply();
        for command in
            ["EHLO mail.pass.example", "MAIL FROM:<alice@pass.example>", "RCPT TO:<bob@open.example>", "DATA"]
        {
            if reply.starts_with("421 4.3.2 ") {
                return false;
            }
            assert!(reply.starts_with(['2', '3']), "before {command}: {reply:?}");
            reply = smtp.say(command);
        }
        if reply.starts_with("421 4.3.2 ") {
            return false;
        }
        assert!(reply.starts_with("354 "), "{reply:?}");
        let reply = smtp.message(&plain("alice@pass.example", id));
        assert!(reply.starts_with("250 "), "{reply:?}");
        true
    }
}

/// Runs `change` while clients send; then all that was sent must have arrived, once.
fn under_load(to: SocketAddr, next_hop: &NextHop, change: impl FnOnce(&dyn Fn())) {
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = Load { to, is_over: &is_over, sent: &sent };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let load = &load;
                    move || load.send(client)
                })
            })
            .collect();
        let some_more = || {
            let so_far = sent.load(Ordering::SeqCst);
            until("more mail, or a client that failed", || {
                let failed = clients.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (failed || sent.load(Ordering::SeqCst) >= so_far + 100).then_some(())
            });
        };
        some_more();
        change(&some_more);
        is_over.store(true, Ordering::SeqCst);
    });
    let mut arrived = BTreeMap::<String, usize>::new();
    for message in next_hop.messages() {
        let id = message.message.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().trim().to_owned();
        *arrived.entry(id).or_default() += 1;
    }
    assert_eq!(arrived.len(), sent.load(Ordering::SeqCst));
    assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
}

fn setup(next_hop: &NextHop, door: &Path) -> Setup {
    Setup::new().next_hops(&[next_hop.address]).args(&["--handover", door.to_str().unwrap()])
}

/// The old gate ends by itself, and well.
fn assert_relieved(mut gate: Gate) {
    let status = gate.process.wait();
    assert!(status.success(), "{status}: {}", gate.process.stderr().join("\n"));
}

#[test]
fn three_upgrades_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let (door, next_hop) = (dir.path().join("door"), NextHop::willing());
    let mut gate = setup(&next_hop, &door).start();
    let (v6, v4, proxy) = (gate.v6, gate.v4, gate.proxy);
    under_load(v4, &next_hop, |some_more| {
        // Fewer shards than sockets, more, and as many.
        for cores in [1, shards(), shards()] {
            let next = setup(&next_hop, &door).cores(cores).start();
            assert_eq!((next.v6, next.v4, next.proxy), (v6, v4, proxy));
            assert_relieved(std::mem::replace(&mut gate, next));
            some_more();
        }
    });
    gate.stop();
}

/// The admin endpoint stays where it is: the successor binds it before the first is relieved, which then lets go of it.
#[test]
fn admin_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (door, next_hop) = (dir.path().join("door"), NextHop::willing());
    let socket = format!("unix:{}", dir.path().join("admin.sock").display());
    let with_admin = |address: &str| setup(&next_hop, &door).args(&["--admin", address, "--admin", &socket]);
    let mut first = with_admin("127.0.0.1:0").start();
    let address = admin(&mut first, 2).remove(0);
    // Its transaction keeps the first alive.
    let mut smtp = Client::connect(first.v4);
    smtp.hello("mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    let second = with_admin(&address).start();
    for address in [&address, &socket] {
        until("the second to answer alone", || {
            let is_second = |_| {
                let status = try_get(address, "/status").map(|answer| answer.body);
                let status = status.and_then(|body| serde_json::from_str::<serde_json::Value>(&body).ok());
                status.is_some_and(|status| status["gate"]["pid"] == second.process.id())
            };
            (0..10).all(is_second).then_some(())
        });
        assert_eq!(get(address, "/ready").status, 200);
    }
    assert!(first.process.is_running());
    smtp.ok("QUIT");
    assert_relieved(first);
    second.stop();
}

/// Without `--handover`: both bind the port, and the first is told to end. Its clients come later by a second, none is refused.
#[test]
fn two_gates_on_one_port() {
    let next_hop = NextHop::willing();
    let first = Setup::new().next_hops(&[next_hop.address]).start();
    let mut second = None;
    under_load(first.v4, &next_hop, |some_more| {
        let second = second.insert(Setup::new().next_hops(&[next_hop.address]).beside(&first).start());
        some_more();
        first.process.signal(Signal::TERM);
        some_more();
        assert!(second.process.is_running());
    });
    assert_relieved(first);
    second.unwrap().stop();
}

/// A successor that fails between taking the sockets and serving them changes nothing.
#[test]
fn a_successor_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (door, next_hop) = (dir.path().join("door"), NextHop::willing());
    let gate = setup(&next_hop, &door).start();
    under_load(gate.v4, &next_hop, |some_more| {
        // The log cannot be opened: it is a folder.
        let failing = setup(&next_hop, &door).log(dir.path());
        let ended = run(&mut failing.command());
        assert_eq!(ended.code, Some(73), "{ended:#?}");
        some_more();
    });
    assert!(gate.process.stderr().iter().any(|line| line.contains("this gate goes on")));
    // And it can still be relieved.
    let next = setup(&next_hop, &door).start();
    assert_eq!(next.v4, gate.v4);
    assert_relieved(gate);
    next.stop();
}

/// What the new configuration does not name is drained and closed; what it names anew is bound.
#[test]
fn addresses_that_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let (door, next_hop) = (dir.path().join("door"), NextHop::willing());
    let old = setup(&next_hop, &door).start();
    let (v4, proxy) = (old.v4, old.proxy);
    let new = setup(&next_hop, &door);
    // Another port on IPv4; the PROXY listener's address takes SMTP from clients themselves.
    let free = crate::harness::free_port();
    let new = new
        .listening(["[::1]:0".parse().unwrap(), SocketAddr::new(v4.ip(), free), proxy])
        .args(&["--listen", &proxy.to_string()]);
    let new = new.start();
    assert_eq!((new.v6, new.v4.port()), (old.v6, free));
    assert_relieved(old);
    assert!(TcpStream::connect(v4).is_err());
    Client::connect(new.v4).hello("mail.pass.example");
    Client::connect(new.v6).hello("mail.pass.example");
    new.stop();
}

/// A socket file that a dead gate left behind does not keep the next one from starting; another file does.
#[test]
fn what_lies_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let (door, next_hop) = (dir.path().join("door"), NextHop::willing());
    let mut dead = setup(&next_hop, &door).start();
    dead.process.kill();
    setup(&next_hop, &door).start().stop();
    std::fs::remove_file(&door).unwrap();
    std::fs::write(&door, "kept").unwrap();
    let ended = run(&mut setup(&next_hop, &door).command());
    assert_eq!(ended.code, Some(73), "{ended:#?}");
    assert!(ended.stderr.contains("not a socket"), "{ended:#?}");
    assert_eq!(std::fs::read_to_string(&door).unwrap(), "kept");
}

/// While it drains it hands nothing over: the next one binds for itself.
#[test]
fn a_gate_that_drains_already() {
    let dir = tempfile::tempdir().unwrap();
    let (door, next_hop) = (dir.path().join("door"), NextHop::willing());
    let mut old = setup(&next_hop, &door).start();
    let mut busy = Client::connect(old.v4);
    busy.hello("mail.pass.example");
    busy.open("alice@pass.example", &["bob@open.example"]);
    old.process.signal(Signal::TERM);
    until("it to close", || TcpStream::connect(old.v4).is_err().then_some(()));
    let new = setup(&next_hop, &door).beside(&old).start();
    assert!(busy.message(&plain("alice@pass.example", "finished")).starts_with("250 "));
    assert!(old.process.wait().success());
    let last = setup(&next_hop, &door).start();
    assert_eq!(last.v4, new.v4);
    assert_relieved(new);
    last.stop();
}

/// Clients that send at once.
const CLIENTS: usize = 6;
