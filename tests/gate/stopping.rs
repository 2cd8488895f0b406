//! SIGTERM: no new sessions, idle ones end with 421, transactions are finished, exit 0.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::files;
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::namespace::Namespace;
use crate::harness::next_hop::NextHop;
use crate::harness::process::{run, succeed};
use crate::harness::smtp::Client;
use crate::harness::zone::PASS;
use crate::harness::{is_root, skip, until};

#[test]
fn idle_sessions_get_421_and_transactions_are_finished() {
    let mut gate = Gate::start();
    let idle: Vec<Client> = (0..16).map(|_| Client::greeted(&gate, PASS, "mail.pass.example")).collect();
    let mut busy = Client::greeted(&gate, PASS, "mail.pass.example");
    busy.open("alice@pass.example", &["bob@open.example"]);
    gate.process.signal(Signal::TERM);
    // On both shards; one of them has nothing else to wait for.
    for (number, mut idle) in idle.into_iter().enumerate() {
        let reply = idle.reply();
        assert!(reply.starts_with("421 4.3.2 "), "{number}: {reply:?}");
        assert_eq!(idle.closed(), Ok(()), "{number}");
    }
    until("the listener to close", || TcpStream::connect(gate.v6).is_err().then_some(()));
    let reply = busy.message(&plain("alice@pass.example", "finished"));
    assert!(reply.starts_with("250 2.0.0 OK: stored as "), "{reply}");
    assert!(gate.process.wait().success());
    assert!(files::only_message(&gate.maildir()).contains("Subject: finished\n"));
}

#[test]
fn the_next_hop_gets_its_message_and_a_quit() {
    let next_hop = NextHop::willing();
    let mut gate = Setup::new().next_hops(&[next_hop.address]).start();
    let mut busy = Client::greeted(&gate, PASS, "mail.pass.example");
    busy.open("alice@pass.example", &["bob@open.example"]);
    gate.process.signal(Signal::TERM);
    let reply = busy.message(&plain("alice@pass.example", "finished"));
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(gate.process.wait().success());
    assert_eq!(next_hop.messages().len(), 1);
    assert_eq!(next_hop.count("QUIT"), next_hop.seen(|seen| seen.connections));
}

#[test]
fn without_sessions_it_ends_at_once() {
    Gate::start().stop();
}

/// Connections that the kernel has taken and the gate has not are not reset: they hear why they are not served.
#[test]
fn what_waits_in_the_queue_hears_421() {
    let mut gate = Gate::start();
    gate.process.signal(Signal::STOP);
    let waiting: Vec<Client> = [gate.v4, gate.v6].iter().cycle().take(40).map(|to| Client::connect(*to)).collect();
    gate.process.signal(Signal::TERM);
    gate.process.signal(Signal::CONT);
    for mut client in waiting {
        let mut reply = client.reply();
        if reply.starts_with("220 ") {
            reply = client.reply();
        }
        assert!(reply.starts_with("421 4.3.2 "), "{reply:?}");
    }
    assert!(gate.process.wait().success());
}

/// A client that is far away has sent its SYN and not yet the ACK when the gate is told to end: it is still taken, and answered.
#[test]
fn a_handshake_under_way_is_finished() {
    if !is_root() {
        return skip("only root can make a network");
    }
    let namespace = match Namespace::new(&[]) {
        Ok(namespace) => namespace,
        Err(why) => return skip(&why),
    };
    if run(namespace.command("ip").args(["tuntap", "add", "dev", "far0", "mode", "tun"])).code != Some(0) {
        return skip("this kernel has no tun");
    }
    succeed(namespace.command("ip").args(["address", "add", "10.9.0.1/24", "dev", "far0"]));
    succeed(namespace.command("ip").args(["link", "set", "far0", "up"]));
    let wrapper = namespace.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut gate = Setup::new().under(&wrapper).args(&["--listen", "10.9.0.1:25"]).start();
    let pid = gate.process.id().to_string();
    let told = succeed(namespace.command("/usr/bin/python3").args(["-c", FAR_CLIENT, &pid]));
    assert!(told.starts_with("220 "), "{told}");
    assert!(gate.process.wait().success());
}

/// A TCP client behind a tun device: SYN, SYN-ACK; SIGTERM to the gate; a tenth of a second later, as over a long way, ACK. Prints what
/// comes then: the first octets, or RST.
const FAR_CLIENT: &str = r#"
import fcntl, os, signal, socket, struct, sys, time
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"far0", 0x1001))
us, gate = socket.inet_aton("10.9.0.2"), socket.inet_aton("10.9.0.1")

def checksum(octets):
    total = sum(struct.unpack("!%dH" % (len(octets) // 2), octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

def send(flags, seq, ack):
    def tcp(check):
        return struct.pack("!HHIIBBHHH", 40000, 25, seq, ack, 0x50, flags, 64240, check, 0)
    def ip(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, check, us, gate)
    pseudo = us + gate + struct.pack("!BBH", 0, 6, 20)
    os.write(tun, ip(checksum(ip(0))) + tcp(checksum(pseudo + tcp(0))))

def receive():
    while True:
        packet = os.read(tun, 2048)
        if packet[0] == 0x45 and packet[9] == 6:
            segment = packet[20:]
            return struct.unpack("!I", segment[4:8])[0], segment[13], segment[(segment[12] >> 4) * 4 :]

signal.alarm(30)
send(0x02, 1000, 0)
seq, flags, _ = receive()
assert flags == 0x12, flags
os.kill(int(sys.argv[1]), signal.SIGTERM)
time.sleep(0.1)
send(0x10, 1001, seq + 1)
octets = b""
while not octets:
    _, flags, octets = receive()
    if flags & 0x04:
        octets = b"RST"
print(octets.decode())
"#;

/// Every decision is on record when the gate has ended.
#[test]
fn records_are_flushed() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    for number in 0..20 {
        let message = plain("alice@pass.example", &format!("recorded-{number}"));
        assert!(smtp.transaction("alice@pass.example", "bob@open.example", &message).starts_with("250 "));
    }
    drop(smtp);
    let mut gate = gate;
    gate.process.signal(Signal::TERM);
    assert!(gate.process.wait().success());
    assert!(gate.decisions(20).len() >= 20);
}
