//! Lookups: failures are temporary, never a verdict; nothing is looked up twice, on whichever shard.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::dns_server::{AAAA, Answer, DnsServer, PTR, TXT, address, ptr, txt};
use crate::harness::gate::{Gate, Setup, shards};
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::unbound::Unbound;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, PTR_FAILS, quickstart, reverse_name};

const NO_PTR_REPLY: &str = "450 4.7.25 ";
const PTR_FAILED: &str = "451 4.4.3 Temporary DNS failure, reverse DNS record of ";
const AUTH_FAILED: &str = "451 4.4.3 Temporary DNS failure, SPF and DKIM of the message from ";
const STORED: &str = "250 2.0.0 OK: stored as ";

fn asking(servers: &[SocketAddr]) -> Gate {
    Setup::new().dns_servers(servers).start()
}

fn send(gate: &Gate, client: &str, reverse_path: &str) -> String {
    let mut smtp = Client::greeted(gate, client, "mail.pass.example");
    smtp.transaction(reverse_path, "bob@open.example", &plain("alice@pass.example", "dns"))
}

/// A server for which all is well with pass.example, but for what `told` says.
fn server(told: &[(&str, u16, Answer)]) -> DnsServer {
    let name = reverse_name(PASS);
    let mut all = vec![
        (name.as_str(), PTR, ptr("mail.pass.example")),
        ("mail.pass.example", AAAA, address(PASS)),
        ("pass.example", TXT, txt("v=spf1 ip6:2001:db8:1::25 -all")),
        ("_dmarc.pass.example", TXT, txt("v=DMARC1; p=none")),
    ];
    all.extend(told.iter().cloned());
    DnsServer::start(&all)
}

/// PTR data of these labels.
fn wire_name(labels: &[&[u8]]) -> Answer {
    let labels = labels.iter().flat_map(|label| [&[u8::try_from(label.len()).unwrap()], *label].concat());
    Answer::Records(vec![labels.chain([0]).collect()])
}

/// What the PTR lookup says, and the reply to RCPT.
#[test]
fn answers_to_the_ptr_question() {
    let rows = [
        (ptr("mail.pass.example"), STORED),
        (ptr("under_score.pass.example"), STORED),
        (ptr("nodot"), NO_PTR_REPLY),
        (ptr("5.2.0.0.ip6.arpa"), NO_PTR_REPLY),
        (Answer::Records(Vec::new()), NO_PTR_REPLY),
        // Names of octets that no host name has; a dot inside a label is none between two.
        (wire_name(&[b"mail\r\n250 ok", b"example"]), NO_PTR_REPLY),
        (wire_name(&[b"nul\0", b"example"]), NO_PTR_REPLY),
        (wire_name(&[b"a b;c", b"example"]), NO_PTR_REPLY),
        (wire_name(&[b"mail.example"]), NO_PTR_REPLY),
        (wire_name(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]]), STORED),
        (wire_name(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[0; 61]]), NO_PTR_REPLY),
        (Answer::ServFail, PTR_FAILED),
        (Answer::Refused, PTR_FAILED),
        (Answer::Silence, PTR_FAILED),
    ];
    std::thread::scope(|scope| {
        for (answer, reply) in rows {
            scope.spawn(move || {
                let dns = server(&[(&reverse_name(PASS), PTR, answer)]);
                let got = send(&asking(&[dns.address]), PASS, "alice@pass.example");
                assert!(got.starts_with(reply), "{got:?}, not {reply:?}");
            });
        }
    });
}

/// What the SPF lookup says, and the reply to the message.
#[test]
fn answers_to_the_spf_question() {
    let rows = [
        (txt("v=spf1 ip6:2001:db8:1::/48 -all"), STORED),
        (txt("v=spf1 -all"), "450 4.7.26 "),
        (txt("something else"), "450 4.7.26 "),
        (Answer::ServFail, AUTH_FAILED),
        (Answer::Refused, AUTH_FAILED),
        (Answer::Silence, AUTH_FAILED),
    ];
    std::thread::scope(|scope| {
        for (answer, reply) in rows {
            scope.spawn(move || {
                let dns = server(&[("pass.example", TXT, answer)]);
                let got = send(&asking(&[dns.address]), PASS, "alice@pass.example");
                assert!(got.starts_with(reply), "{got:?}, not {reply:?}");
            });
        }
    });
}

/// The same through a real resolver, which makes its own SERVFAIL.
#[test]
fn through_unbound() {
    let unbound = Unbound::start(&quickstart());
    let gate = asking(&[unbound.address]);
    let rows = [
        (PASS, "alice@pass.example", STORED),
        (NO_PTR, "alice@pass.example", NO_PTR_REPLY),
        (PTR_FAILS, "alice@pass.example", PTR_FAILED),
        (FORWARDER, "alice@pass.example", "450 4.7.26 "),
        (FORWARDER, "alice@tempfail.example", AUTH_FAILED),
        (PASS, "", STORED),
    ];
    for (client, reverse_path, reply) in rows {
        let got = send(&gate, client, reverse_path);
        assert!(got.starts_with(reply), "{client} {reverse_path}: {got:?}, not {reply:?}");
    }
}

#[test]
fn fcrdns_defers_when_no_forward_lookup_answers() {
    for (answer, reply) in
        [(Answer::ServFail, PTR_FAILED), (address("2001:db8:1::26"), NO_PTR_REPLY), (address(PASS), STORED)]
    {
        let dns = server(&[("mail.pass.example", AAAA, answer)]);
        let gate = Setup::new().dns_servers(&[dns.address]).args(&["--ptr", "fcrdns"]).start();
        let got = send(&gate, PASS, "alice@pass.example");
        assert!(got.starts_with(reply), "{got:?}, not {reply:?}");
    }
}

/// Many sessions, spread over the shards by the kernel: no name is asked for twice.
#[test]
fn shards_share_their_caches() {
    let dns = server(&[]);
    let gate = asking(&[dns.address]);
    for _ in 0..24 {
        let reply = send(&gate, PASS, "alice@pass.example");
        assert!(reply.starts_with(STORED), "{reply}");
    }
    let served: HashSet<u64> = gate.decisions(24).iter().filter_map(|record| record["shard"].as_u64()).collect();
    assert_eq!(served.len(), shards(), "sessions on every shard");
    assert_asked_once(&dns);
}

/// All at once: those that come while the answer is still under way wait for it.
#[test]
fn lookups_in_flight_are_merged() {
    let slow = Answer::After(
        Duration::from_millis(400),
        match ptr("mail.pass.example") {
            Answer::Records(records) => records,
            _ => Vec::new(),
        },
    );
    let dns = server(&[(&reverse_name(PASS), PTR, slow)]);
    let gate = asking(&[dns.address]);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| assert!(send(&gate, PASS, "alice@pass.example").starts_with(STORED)));
        }
    });
    assert_asked_once(&dns);
}

fn assert_asked_once(dns: &DnsServer) {
    let asked = dns.asked();
    assert!(asked.contains_key(&(reverse_name(PASS).trim_end_matches('.').to_owned(), PTR)), "{asked:?}");
    let twice: Vec<_> = asked.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "asked more than once: {twice:?}");
}

/// A failure is remembered for a moment, so that a broken zone is not hammered (RFC 9520).
#[test]
fn failures_are_remembered() {
    let dns = server(&[(&reverse_name(PASS), PTR, Answer::ServFail)]);
    let gate = asking(&[dns.address]);
    send(&gate, PASS, "alice@pass.example");
    let once = dns.asked().values().sum::<usize>();
    for _ in 0..10 {
        assert!(send(&gate, PASS, "alice@pass.example").starts_with(PTR_FAILED));
    }
    let after = dns.asked()[&(reverse_name(PASS).trim_end_matches('.').to_owned(), PTR)];
    assert!(after <= once * 3, "asked {after} times for eleven sessions, {once} for the first");
}

#[test]
fn a_second_server_stands_in() {
    let silent =
        DnsServer::start(&[(&reverse_name(PASS), PTR, Answer::Silence), ("pass.example", TXT, Answer::Silence)]);
    let dns = server(&[]);
    let gate = asking(&[silent.address, dns.address]);
    let reply = send(&gate, PASS, "alice@pass.example");
    assert!(reply.starts_with(STORED), "{reply}");
}
