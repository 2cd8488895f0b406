//! Load: each measurement makes the gate enter and leave its levels, and what it tells whom meanwhile.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::smtp::{Client, unsigned};
use crate::harness::strace::Injected;
use crate::harness::zone::PASS;
use crate::harness::{skip, until};

const BUSY: &str = "421 4.3.2 mx.example Service busy, try again later.\r\n";

/// A gate with one shard and a connector.
fn one_shard() -> Setup {
    Setup::new().cores(1).args(&["--connector", "2001:db8:c::/48"])
}

/// Sources without number, all of them IPv4, so that no rule but the load concerns them.
fn stranger(number: usize) -> String {
    format!("198.18.{}.{}", number / 250, number % 250 + 1)
}

fn first_word(gate: &Gate, source: &str) -> String {
    Client::proxied(gate, source).reply()
}

/// Waits for a change of level, and returns what is said of it.
fn change(gate: &mut Gate, change: &str) -> String {
    gate.process.until_stderr(change, |lines| {
        let line = lines.iter().rfind(|line| line.contains(": load "))?;
        line.contains(change).then(|| line.clone())
    })
}

fn greeted(gate: &Gate, source: &str) -> Client {
    Client::greeted(gate, source, "client.example")
}

#[test]
fn message_memory() {
    let mut gate = one_shard().args(&["--memory", "1"]).start();
    let mut idle = greeted(&gate, &stranger(1));
    let begin = |gate: &Gate, number| {
        let mut smtp = greeted(gate, &stranger(number));
        smtp.open("alice@pass.example", &["bob@open.example"]);
        smtp
    };
    // A message takes 128 KiB before its first octet.
    let mut messages: Vec<Client> = (10..16).map(|number| begin(&gate, number)).collect();
    let line = change(&mut gate, "normal -> brownout");
    assert!(line.contains("message memory 75 % used"), "{line}");
    assert_eq!(unsigned(&first_word(&gate, &stranger(10))), BUSY, "it has a session");
    messages.push(begin(&gate, 16));
    assert!(first_word(&gate, "2001:db8:c::1").starts_with("220 "));
    // Whoever had a place and made no use of it loses it.
    let reply = idle.reply();
    assert_eq!(reply, "421 4.4.2 mx.example Timeout, closing connection.\r\n");
    messages.push(begin(&gate, 17));
    let line = change(&mut gate, "brownout -> shed");
    assert!(line.contains("message memory 100 % used"), "{line}");
    for source in [stranger(10), stranger(99), "2001:db8:7::1".into()] {
        assert_eq!(unsigned(&first_word(&gate, &source)), BUSY);
    }
    assert!(first_word(&gate, "2001:db8:c::1").starts_with("220 "), "a connector is served");
    // As soon as there is memory for more octets, what was under way is finished.
    messages.truncate(4);
    change(&mut gate, "shed -> brownout");
    for mut smtp in messages {
        let reply = smtp.message(&plain("alice@pass.example", "under way"));
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let line = change(&mut gate, "brownout -> normal");
    assert!(line.ends_with("told to come again: 4 for memory"), "{line}");
    assert!(first_word(&gate, &stranger(10)).starts_with("220 "));
    gate.process.signal(Signal::TERM);
    assert!(gate.process.wait().success());
    let sum = until("the sum", || gate.process.stderr().into_iter().find(|line| line.contains("mx6: load:")));
    assert!(sum.ends_with("told to come again: 4 for memory"), "{sum}");
    let records = gate.decisions(12);
    let shed: Vec<_> = records.iter().filter(|record| record["rule"] == "service-busy").collect();
    assert_eq!(shed.len(), 4);
    assert!(
        shed.iter().all(|record| record["stage"] == "connect"
            && record["reply"].as_str().map(unsigned).as_deref() == Some(BUSY.trim_end())),
        "{shed:#?}"
    );
}

#[test]
fn descriptors() {
    const MOST: usize = 240;
    let limit = format!("--nofile={MOST}:{MOST}");
    let mut gate = one_shard().under(&["prlimit", &limit]).start();
    let open = |gate: &Gate| std::fs::read_dir(format!("/proc/{}/fd", gate.process.id())).unwrap().count();
    let mut held = Vec::new();
    let fill = |gate: &Gate, held: &mut Vec<Client>, up_to: usize| {
        while open(gate) < up_to {
            held.push(greeted(gate, &stranger(held.len())));
        }
    };
    fill(&gate, &mut held, MOST * 82 / 100);
    let line = change(&mut gate, "normal -> brownout");
    assert!(line.contains("descriptors 8"), "{line}");
    assert_eq!(unsigned(&first_word(&gate, &stranger(0))), BUSY);
    fill(&gate, &mut held, MOST * 92 / 100);
    let line = change(&mut gate, "-> shed");
    assert!(line.contains("descriptors 9"), "{line}");
    assert_eq!(unsigned(&first_word(&gate, &stranger(5_000))), BUSY);
    // A connector is served, until there is nothing to serve it with: then it is told so, all the same.
    let mut connectors = 0;
    let word = until("the last descriptor to be used up", || {
        let mut client = Client::proxied(&gate, "2001:db8:c::1");
        let word = client.reply();
        held.push(client);
        connectors += 1;
        (!word.starts_with("220 ")).then_some(word)
    });
    // Whoever is told with the last descriptor has no session.
    assert_eq!(word, BUSY);
    assert!((5..=MOST / 10).contains(&connectors), "{connectors}");
    assert_eq!(first_word(&gate, "2001:db8:c::1"), BUSY);
    held.clear();
    let line = change(&mut gate, "brownout -> normal");
    assert!(line.contains("2 for descriptors, 2 for no descriptor left"), "{line}");
    assert!(first_word(&gate, &stranger(0)).starts_with("220 "));
    gate.stop();
}

#[test]
fn clients_that_wait_for_the_next_hop() {
    // Takes connections, by the kernel's hand, and never says a word.
    let next_hop = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut gate = one_shard().next_hops(&[next_hop.local_addr().unwrap()]).start();
    let mut waiting: Vec<Client> = Vec::new();
    let more = |gate: &Gate, waiting: &mut Vec<Client>, up_to: usize| {
        for number in waiting.len()..up_to {
            let mut smtp = greeted(gate, &stranger(number));
            smtp.send("MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\n");
            waiting.push(smtp);
        }
    };
    more(&gate, &mut waiting, 510);
    let line = change(&mut gate, "normal -> brownout");
    assert!(line.contains("clients wait for the next hop"), "{line}");
    assert_eq!(unsigned(&first_word(&gate, &stranger(0))), BUSY);
    assert!(first_word(&gate, &stranger(9_000)).starts_with("220 "));
    more(&gate, &mut waiting, 1_510);
    let line = change(&mut gate, "brownout -> shed");
    assert!(line.contains("clients wait for the next hop"), "{line}");
    assert_eq!(unsigned(&first_word(&gate, &stranger(9_000))), BUSY);
    drop(next_hop);
    for smtp in &mut waiting {
        assert!(smtp.reply().starts_with("250 2.1.0 "));
        assert_eq!(smtp.reply(), "451 4.4.1 Next hop unavailable, try again later.\r\n");
    }
    let line = change(&mut gate, "brownout -> normal");
    assert!(line.ends_with("told to come again: 2 for next hop"), "{line}");
    assert!(first_word(&gate, &stranger(0)).starts_with("220 "));
    drop(waiting);
    gate.stop();
}

/// A shard that accepts more slowly than clients come: strace holds up each accept.
#[test]
fn accept_backlog() {
    let mut gate = one_shard().start();
    let Some(slow) = Injected::into(&gate, "accept4", "delay_enter=2000", None) else { return };
    let waiting: Vec<Client> = (0..3_800).map(|number| Client::proxied(&gate, &stranger(number))).collect();
    let line = change(&mut gate, "-> shed");
    assert!(line.contains("accept backlog"), "{line}");
    slow.end();
    let words: Vec<String> = waiting.into_iter().map(|mut client| client.reply()).collect();
    assert!(words.iter().all(|word| word.starts_with("220 ") || unsigned(word) == BUSY));
    let busy = words.iter().filter(|word| !word.starts_with("220 ")).count();
    assert!(busy > 0);
    let line = change(&mut gate, "brownout -> normal");
    assert!(line.ends_with(&format!("told to come again: {busy} for backlog")), "{line}");
    gate.stop();
}

/// A machine that takes the processor away, most of the time.
#[test]
fn a_late_shard() {
    for (away_ms, level, word, told) in [
        (900, "brownout", "220 ", "told to come again: nobody"),
        (
            2_500,
            "shed",
            "421 4.3.2 mx.example Service busy, try again later. (session ",
            "told to come again: 1 for lag",
        ),
    ] {
        let mut gate = one_shard().start();
        let _held = greeted(&gate, &stranger(0));
        let line = until("three late looks", || {
            gate.process.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(away_ms));
            gate.process.signal(Signal::CONT);
            std::thread::sleep(Duration::from_millis(20));
            gate.process.stderr().into_iter().find(|line| line.contains(&format!("-> {level}: ")))
        });
        assert!(line.contains("ms late"), "{line}");
        assert!(first_word(&gate, &stranger(1)).starts_with(word), "{level}");
        let line = change(&mut gate, "brownout -> normal");
        assert!(line.ends_with(told), "{line}");
        assert!(first_word(&gate, &stranger(0)).starts_with("220 "));
        gate.stop();
    }
}

/// Clients that came and say nothing hold up nobody.
#[test]
fn ten_thousand_idle_connections() {
    const IDLE: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    // Half of what a gate may open, so that it is not the load that is tested.
    if limit.maximum.is_some_and(|maximum| maximum < 2 * IDLE as u64) {
        return skip("this process may not open 20,000 descriptors");
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let gate = Setup::new().start();
    let idle: Vec<Client> = (0..IDLE)
        .map(|number| {
            let mut client = Client::proxied(&gate, &stranger(number));
            assert!(client.reply().starts_with("220 "), "{number}");
            client
        })
        .collect();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "good"));
    assert!(reply.starts_with("250 "), "{reply}");
    drop(idle);
    gate.stop();
}
