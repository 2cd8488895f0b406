//! What a service manager does: sockets that it opened, readiness, the watchdog, and the units in `packaging/systemd`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::files;
use crate::harness::gate::{Setup, binary};
use crate::harness::message::plain;
use crate::harness::process::{Process, run};
use crate::harness::smtp::{Client, proxy_v1};
use crate::harness::zone::PASS;
use crate::harness::{PATIENCE, free_port, skip, until};

/// One socket for two shards: both serve it, and the manager keeps what waits there from one run to the next.
#[test]
fn a_socket_that_outlives_the_gate() {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut waiting = Vec::new();
    for run in 0..3 {
        let mut gate = Setup::new().activated(socket.try_clone().unwrap().into(), "smtp").start();
        let told = format!("listening on {address} (sockets of the service manager: 1)");
        assert!(gate.process.stderr().iter().any(|line| line.ends_with(&told)), "{:#?}", gate.process.stderr());
        for mut client in waiting.drain(..).chain((0..20).map(|_| Client::connect(address))) {
            client.hello("mail.pass.example");
            let message = plain("alice@pass.example", &format!("run-{run}"));
            let reply = client.transaction("alice@pass.example", "bob@open.example", &message);
            assert!(reply.starts_with("250 "), "{reply:?}");
        }
        assert_eq!(files::new_in(&gate.maildir()).len(), if run == 0 { 20 } else { 40 });
        gate.process.signal(Signal::TERM);
        assert!(gate.process.wait().success());
        waiting.extend((0..20).map(|_| Client::connect(address)));
    }
}

/// A successor by `--handover` takes it as well, and leaves it to the manager at its end.
#[test]
fn a_socket_of_the_manager_is_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let door = dir.path().join("door").display().to_string();
    let socket = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 3), 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let setup = || Setup::new().args(&["--handover", &door]);
    let mut old = setup().activated(socket.try_clone().unwrap().into(), "smtp").start();
    let new = setup().args(&["--listen", &address.to_string()]).start();
    assert!(old.process.wait().success());
    Client::connect(address).hello("mail.pass.example");
    new.stop();
    let mut waiting = Client::connect(address);
    let _third = Setup::new().activated(socket.into(), "smtp").start();
    waiting.hello("mail.pass.example");
}

/// The real tool: the gate is started by the first connection, and the names of the sockets say their kind.
#[test]
fn started_by_the_first_connection() {
    if run(Command::new("systemd-socket-activate").arg("--version")).code != Some(0) {
        return skip("no systemd-socket-activate");
    }
    let [smtp, proxy] = [0, 1].map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    let (at_smtp, at_proxy) = (smtp.to_string(), proxy.to_string());
    let setup = Setup::new();
    let setup = setup.under(&["systemd-socket-activate", "-l", &at_smtp, "-l", &at_proxy, "--fdname=smtp:proxy"]);
    let mut process = Process::start(&mut setup.command());
    until("the tool to listen", || TcpStream::connect(proxy).ok());
    process.until_stderr("the gate", |lines| lines.iter().any(|line| line.contains("service manager")).then_some(()));
    let mut direct = Client::connect(smtp);
    direct.hello("mail.pass.example");
    let mut proxied = Client::connect(proxy);
    proxied.send(proxy_v1(PASS));
    proxied.hello("mail.pass.example");
    let reply = proxied.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "proxied"));
    assert!(reply.starts_with("250 "), "{reply:?}");
    process.signal(Signal::TERM);
    assert!(process.wait().success());
}

#[test]
fn sockets_that_cannot_be_used() {
    let check = |setup: Setup, stdin: std::os::fd::OwnedFd, part: &str| {
        let mut process = Process::start_with(&mut setup.command(), stdin.into());
        assert_eq!(process.wait().code(), Some(78));
        until("the reason", || process.stderr().join("\n").contains(part).then_some(()));
    };
    let datagram = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let setup = |words: &str| Setup::new().under(&["sh", "-c", &format!("{words} exec \"$@\" 3<&0 </dev/null"), "sh"]);
    check(setup("LISTEN_PID=$$ LISTEN_FDS=1"), datagram.try_clone().unwrap().into(), "not a listening TCP socket");
    check(setup("LISTEN_PID=$$ LISTEN_FDS=40"), datagram.into(), "is not open");
}

/// READY when every shard is up, WATCHDOG while they move, RELOADING and READY around a reload, STOPPING at the end and nothing after it.
#[test]
fn the_manager_is_told() {
    for is_abstract in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let (socket, name) = if is_abstract {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("mx6-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
        } else {
            (UnixDatagram::bind(&path).unwrap(), path.display().to_string())
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let told = || {
            let mut buffer = [0; 500];
            let octets = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..octets].to_vec()).unwrap()
        };
        let (socket_variable, interval) = (format!("NOTIFY_SOCKET={name}"), "WATCHDOG_USEC=200000");
        let mut gate = Setup::new().under(&["env", &socket_variable, interval]).start();
        let ready = told();
        assert!(ready.starts_with("READY=1\nSTATUS="), "{ready:?}");
        Client::connect(gate.v4).hello("mail.pass.example");
        for _ in 0..3 {
            assert_eq!(told(), "WATCHDOG=1\n");
        }
        let told_next = || std::iter::repeat_with(told).find(|state| state != "WATCHDOG=1\n").unwrap();
        for _ in 0..2 {
            gate.process.signal(Signal::HUP);
            let reloading = told_next();
            let us = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.split('\n').next());
            assert!(us.is_some_and(|us| us.parse::<u64>().is_ok()), "{reloading:?}");
            let ready = told_next();
            assert!(ready.starts_with("READY=1\nSTATUS="), "{ready:?}");
        }
        gate.process.signal(Signal::TERM);
        let last = told_next();
        assert!(last.starts_with("STOPPING=1\nSTATUS="), "{last:?}");
        assert!(gate.process.wait().success());
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 500]).is_err());
    }
}

/// What `systemd-analyze security` may say of the service, in tenths (packaging/README.md has each point that remains).
const EXPOSURE_TENTHS_MAX: u32 = 12;

/// The units of the package are what systemd understands.
#[test]
fn packaged_units() {
    if run(Command::new("systemd-analyze").arg("--version")).code != Some(0) {
        return skip("no systemd-analyze");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for name in ["mx6.service", "mx6.socket", "mx6-proxy.socket"] {
        let unit = files::read(&units().join(name)).replace("/usr/bin/mx6", &binary().display().to_string());
        std::fs::write(dir.path().join(name), unit).unwrap();
        verify.arg(dir.path().join(name));
    }
    let ended = run(&mut verify);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
}

/// The service gains no exposure, and one setting less is noticed.
#[test]
fn exposure_of_the_service() {
    if run(Command::new("systemd-analyze").arg("--version")).code != Some(0) {
        return skip("no systemd-analyze");
    }
    let dir = tempfile::tempdir().unwrap();
    let service = files::read(&units().join("mx6.service"));
    let code = |text: &str| {
        let path = dir.path().join("mx6.service");
        std::fs::write(&path, text).unwrap();
        let threshold = format!("--threshold={EXPOSURE_TENTHS_MAX}");
        run(Command::new("systemd-analyze").args(["security", "--offline=true", &threshold]).arg(path)).code
    };
    assert_eq!(code(&service), Some(0));
    let laxer = service.replace("PrivateUsers=yes\n", "");
    assert_ne!(laxer, service);
    assert_eq!(code(&laxer), Some(1));
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd")
}
