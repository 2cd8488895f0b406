//! Behind a real HAProxy: who the client is, by version 1 and 2 of its protocol, with and without TLVs, and when it speaks for itself.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::harness::gate::Setup;
use crate::harness::namespace::Namespace;
use crate::harness::process::Process;
use crate::harness::smtp::Client;
use crate::harness::zone::{NO_PTR, PASS, PASS_V4};
use crate::harness::{skip, until};

const MISSING_PTR: &str =
    "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::dead] must have reverse DNS record.\r\n";

/// Each frontend passes on to a server that is told the client in another way; each server is checked by an SMTP session of HAProxy's own.
fn configuration(gate: u16, admin: &Path) -> String {
    let mut text = format!(
        "global\n  stats socket {} mode 600 level operator\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n",
        admin.display()
    );
    for (port, words) in FRONTENDS {
        text += &format!(
            "frontend in{port}\n  bind :::{port} v4v6\n  unique-id-format %{{+X}}o\\ %ci:%cp_%Ts\n  default_backend out{port}\nbackend out{port}\n  \
             option smtpchk EHLO haproxy.example\n  server gate [::1]:{gate} {words} check inter 200ms fall 1000 check-send-proxy\n"
        );
    }
    text
}

const FRONTENDS: [(u16, &str); 3] = [
    (2501, "send-proxy"),
    (2502, "send-proxy-v2"),
    (2503, "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"),
];

#[test]
fn the_client_is_whom_haproxy_names_and_haproxy_itself_is_nobody() {
    let namespace = match Namespace::new(&["2001:db8:1::25/128", "2001:db8:1::dead/128", "192.0.2.25/32"]) {
        Ok(namespace) => namespace,
        Err(why) => return skip(&why),
    };
    let wrapper = namespace.wrapper();
    // HAProxy's own address is a connector's: what it says for itself (its checks) must not profit by that.
    let gate = Setup::new()
        .under(&wrapper.each_ref().map(String::as_str))
        .args(&["--proxy-listen", "[::1]:2599", "--proxy-from", "::1/128", "--connector", "::1/128"])
        .args(&["--connector", "127.0.0.1/32"])
        .start();
    let dir = tempfile::tempdir().unwrap();
    let (file, admin) = (dir.path().join("haproxy.cfg"), dir.path().join("admin"));
    std::fs::write(&file, configuration(2599, &admin)).unwrap();
    let mut command = namespace.command("haproxy");
    let _haproxy = Process::start(command.args(["-db", "-q", "-f"]).arg(&file));

    // The checks go through a whole session, greeting to QUIT, as LOCAL or UNKNOWN.
    until("every server to pass its check", || {
        let up =
            ask(&admin, "show stat\n").lines().filter(|line| line.contains(",gate,") && line.contains("L7OK")).count();
        (up == FRONTENDS.len()).then_some(())
    });
    for (port, words) in FRONTENDS {
        let rows = [(PASS, "250 2.1.5 OK\r\n"), (NO_PTR, MISSING_PTR), (PASS_V4, "250 2.1.5 OK\r\n")];
        for (source, expected) in rows {
            let source: IpAddr = source.parse().unwrap();
            let to: IpAddr = if source.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { [127, 0, 0, 1].into() };
            let reply = namespace.inside(|| rcpt(&mut Client::connect_from(source, (to, port).into())));
            assert_eq!(reply, expected, "{words} {source}");
        }
    }
    // By hand what HAProxy's checks say, to see for whom they are taken: ::1 has reverse DNS, and is no connector.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"] {
        let reply = namespace.inside(|| {
            let mut smtp = Client::connect(([0, 0, 0, 0, 0, 0, 0, 1], 2599).into());
            smtp.send(header);
            smtp.hello("client.example");
            let message = crate::harness::message::plain("alice@pass.example", "local");
            smtp.transaction("alice@pass.example", "bob@open.example", &message)
        });
        assert!(reply.starts_with("450 4.7.26 "), "{header:?}: {reply}");
    }
    let records = gate.decisions(12);
    assert!(records.iter().all(|record| record["connector"] == false), "{records:#?}");
}

fn rcpt(smtp: &mut Client) -> String {
    smtp.hello("mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    smtp.say("RCPT TO:<bob@open.example>")
}

/// One command to HAProxy's socket; empty while there is none.
fn ask(socket: &Path, command: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = UnixStream::connect(socket) {
        let _ = stream.write_all(command.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    }
    answer
}
