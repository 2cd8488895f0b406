//! The listener that demands a PROXY header, and the one that takes none.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::harness::gate::{Gate, Setup, listening_on};
use crate::harness::process::Process;
use crate::harness::smtp::Client;
use crate::harness::zone::NO_PTR;

const MISSING_PTR: &str =
    "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::dead] must have reverse DNS record.\r\n";

/// RCPT of a client, which tells by its reply which address it is taken for.
fn rcpt(smtp: &mut Client) -> String {
    smtp.hello("mail.bare.example");
    smtp.ok("MAIL FROM:<alice@bare.example>");
    smtp.say("RCPT TO:<bob@open.example>")
}

/// A PROXY header, version 2, for TCP over IPv6.
fn v2(command: u8, source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    let addresses =
        [&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &40000u16.to_be_bytes(), &25u16.to_be_bytes()].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, 0x21][..], &36u16.to_be_bytes(), &addresses].concat()
}

#[test]
fn version_1_and_2_name_the_client() {
    let gate = Gate::start();
    let headers: [Vec<u8>; 3] = [
        crate::harness::smtp::proxy_v1(NO_PTR).into(),
        format!("PROXY TCP6 {NO_PTR} ::1 1 25\r\n").into(),
        v2(1, NO_PTR),
    ];
    for header in headers {
        let mut smtp = Client::connect(gate.proxy);
        smtp.send(&header);
        assert_eq!(rcpt(&mut smtp), MISSING_PTR, "{}", String::from_utf8_lossy(&header));
    }
}

/// Octet by octet, and with the first command right behind it.
#[test]
fn a_header_in_pieces() {
    let gate = Gate::start();
    for header in [crate::harness::smtp::proxy_v1(NO_PTR).into_bytes(), v2(1, NO_PTR)] {
        let mut smtp = Client::connect(gate.proxy);
        for octet in header {
            smtp.send([octet]);
        }
        assert_eq!(rcpt(&mut smtp), MISSING_PTR);
    }
}

/// What is not a PROXY header closes the connection without a word.
#[test]
fn without_a_good_header_there_is_no_greeting() {
    let gate = Gate::start();
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(200));
    let rows: [&[u8]; 7] = [
        b"EHLO client.example\r\n",
        b"PROXY TCP6 1.2.3.4 4.3.2.1 1 2\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 70000 25\r\n",
        b"PROXY\r\n",
        long.as_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x21\0\0",
    ];
    for header in rows {
        let mut smtp = Client::connect(gate.proxy);
        let _ = smtp.try_send(header);
        assert_eq!(smtp.closed(), Ok(()), "{}", String::from_utf8_lossy(header));
    }
}

/// `LOCAL` (a health check of the balancer) speaks for itself.
#[test]
fn a_local_connection_of_the_proxy() {
    let gate = Gate::start();
    let mut smtp = Client::connect(gate.proxy);
    smtp.send(v2(0, NO_PTR));
    let reply = smtp.reply();
    assert!(reply.starts_with("220 "), "{reply:?}");
}

#[test]
fn from_elsewhere_it_is_refused() {
    let setup = Setup::new().args(&["--proxy-listen", "[::1]:0", "--proxy-from", "2001:db8::/32"]);
    let mut process = Process::start(&mut setup.command());
    let addresses = process
        .until_stderr("four `listening on` lines", |lines| Some(listening_on(lines)).filter(|told| told.len() >= 4));
    let proxies = addresses.iter().filter(|address| address.ip() == Ipv6Addr::LOCALHOST);
    let mut refused = 0;
    for address in proxies {
        let mut smtp = Client::connect(*address);
        if smtp.try_send(crate::harness::smtp::proxy_v1(NO_PTR)).is_err() || smtp.closed().is_ok() {
            refused += 1;
        }
    }
    assert_eq!(refused, 1, "the plain listener greets, the PROXY listener does not");
}

/// On a plain listener the header is an unknown command, and the address stays the peer's.
#[test]
fn a_plain_listener_takes_no_header() {
    let gate = Gate::start();
    let mut smtp = Client::connect(gate.v6);
    smtp.hello("home.example");
    let reply = smtp.say(&format!("PROXY TCP6 {NO_PTR} ::1 1 25"));
    assert!(reply.starts_with("500 "), "{reply}");
    smtp.ok("MAIL FROM:<you@home.example>");
    assert!(smtp.say("RCPT TO:<bob@open.example>").starts_with("250 "), "::1 has reverse DNS");
    assert_ne!(gate.proxy.ip(), Ipv4Addr::LOCALHOST);
}
