//! SIGTERM: no new sessions, idle ones end with 421, transactions are finished, exit 0.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::files;
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::next_hop::NextHop;
use crate::harness::smtp::Client;
use crate::harness::until;
use crate::harness::zone::PASS;

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
