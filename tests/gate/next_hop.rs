//! Recipients relayed in line: what the next hop says is what the client hears, and what happens when it goes away.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{body, plain, with_body};
use crate::harness::next_hop::{Dies, End, NextHop, Script};
use crate::harness::postfix::Postfix;
use crate::harness::process::Process;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, PASS};
use crate::harness::{is_root, skip, until};

const UNAVAILABLE: &str = "451 4.4.1 Next hop unavailable, try again later.\r\n";

const UNKNOWN: &str = "451 4.4.2 Next hop closed the connection, try again later.\r\n";

fn relay_to(next_hops: &[SocketAddr]) -> Gate {
    Setup::new().next_hops(next_hops).start()
}

/// A client of pass.example, greeted.
fn client(gate: &Gate) -> Client {
    Client::greeted(gate, PASS, "mail.pass.example")
}

fn send(gate: &Gate, id: &str) -> String {
    client(gate).transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", id))
}

#[test]
fn postfix_answers_each_recipient() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let access = "full@open.example 450 4.2.2 Mailbox full\ngone@open.example 550 5.1.1 No such user\n";
    let postfix = Postfix::next_hop(access);
    let gate = relay_to(&[postfix.address]);
    let mut smtp = client(&gate);
    smtp.ok("MAIL FROM:<alice@pass.example>");
    let rows = [("bob", "250 2.1.5 "), ("full", "450 4.2.2 "), ("gone", "550 5.1.1 "), ("carol", "250 2.1.5 ")];
    for (user, reply) in rows {
        let got = smtp.say(&format!("RCPT TO:<{user}@open.example>"));
        assert!(got.starts_with(reply), "{user}: {got:?}");
    }
    smtp.ok("DATA");
    let reply = smtp.message(&with_body("alice@pass.example", "answered", ".dot\r\n..\r\n"));
    assert!(reply.starts_with("250 2.0.0 ") && reply.contains("queued as"), "{reply}");
    let messages = postfix.messages(2);
    assert_eq!(messages.len(), 2);
    for message in messages {
        assert!(message.contains("\nAuthentication-Results: mx.example;"), "{message}");
        assert!(message.ends_with("\n\n.dot\n..\n") || message.ends_with("\n\n.dot\n..\n\n"), "{message:?}");
    }
}

/// Its SMTP process is killed between RCPT and DATA: the transaction is replayed on another.
#[test]
fn postfix_dies_between_rcpt_and_data() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let postfix = Postfix::next_hop("");
    let gate = relay_to(&[postfix.address]);
    let mut smtp = client(&gate);
    smtp.ok("MAIL FROM:<alice@pass.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
    postfix.kill_sessions();
    smtp.ok("DATA");
    let reply = smtp.message(&plain("alice@pass.example", "replayed"));
    assert!(reply.starts_with("250 2.0.0 "), "{reply}\n{}", postfix.log());
    assert_eq!(postfix.messages(1).len(), 1);
}

/// Down for good between RCPT and the end of the message: nobody is told that it was taken.
#[test]
fn postfix_goes_down_during_the_message() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let postfix = Postfix::next_hop("");
    let gate = relay_to(&[postfix.address]);
    let mut smtp = client(&gate);
    smtp.open("alice@pass.example", &["bob@open.example"]);
    drop(postfix);
    assert_eq!(smtp.message(&plain("alice@pass.example", "lost")), UNAVAILABLE);
}

#[test]
fn smtp_sink_takes_many() {
    let port = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let mut command = Command::new("/usr/sbin/smtp-sink");
    if is_root() {
        command.args(["-u", "nobody"]);
    }
    let _sink = Process::start(command.args([&format!("[::1]:{port}"), "64"]));
    until("smtp-sink to listen", || std::net::TcpStream::connect(address).ok());
    let gate = relay_to(&[address]);
    let mut smtp = client(&gate);
    for number in 0..50 {
        let message = plain("alice@pass.example", &format!("sink-{number}"));
        let reply = smtp.transaction("alice@pass.example", "bob@open.example", &message);
        assert!(reply.starts_with("250 2.0.0 "), "{number}: {reply}");
    }
}

/// What the next hop gets is what was sent, with our fields in front.
#[test]
fn every_octet_is_preserved() {
    let next_hop = NextHop::willing();
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = client(&gate);
    let sent = with_body("alice@pass.example", "octets", "\r\n.\r\n..\r\n.x\r\n  \t\r\nnul \0 and high \u{e9}\r\n")
        + &"long".repeat(50_000)
        + "\r\n"
        + &body(400_000);
    smtp.open("alice@pass.example", &["bob@open.example"]);
    assert!(smtp.message(&sent).starts_with("250 2.0.0 "));
    let got = &next_hop.messages()[0];
    assert_eq!(got.rcpts, ["<bob@open.example>"]);
    assert!(got.message.ends_with(&sent), "the message is another");
    let added = &got.message[..got.message.len() - sent.len()];
    assert!(added.starts_with("Received:") && added.contains("\r\nAuthentication-Results: mx.example;"), "{added}");
    assert!(!added.replace("\r\n", "").contains(['\r', '\n']), "{added:?}");
}

/// One transaction after another uses the same connection.
#[test]
fn connections_are_pooled() {
    let next_hop = NextHop::willing();
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = client(&gate);
    for number in 0..20 {
        let message = plain("alice@pass.example", &format!("pooled-{number}"));
        let reply = smtp.transaction("alice@pass.example", "bob@open.example", &message);
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(next_hop.messages().len(), 20);
    assert_eq!(next_hop.seen(|seen| seen.senders), 1);
}

/// A transaction that the gate refuses is taken back with RSET, and never gets as far as DATA.
#[test]
fn refused_messages_never_reach_it() {
    let next_hop = NextHop::willing();
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = Client::greeted(&gate, FORWARDER, "relay.forward.example");
    let reply = smtp.transaction("alice@bare.example", "bob@open.example", &plain("alice@bare.example", "refused"));
    assert!(reply.starts_with("450 4.7.26 "), "{reply}");
    assert_eq!(next_hop.count("RCPT"), 1);
    until("RSET or QUIT", || (next_hop.count("RSET") + next_hop.count("QUIT") > 0).then_some(()));
    assert_eq!(next_hop.count("DATA"), 0);
}

/// Larger than what the kernel's buffers take: the terminator cannot have been sent when the other side is gone.
const LONG: usize = 16_000_000;

/// Each row: when the first connection dies, and the size of the message. It reaches the next hop once, on the second.
#[test]
fn connections_that_die_before_the_terminator_are_replaced() {
    let dies = |dies: Dies| Script { dies, ..Script::default() };
    for (moment, octets) in
        [(Dies::AfterRcpt, 4_000), (Dies::AtData, 4_000), (Dies::InBody(1), LONG), (Dies::InBody(60_000), LONG)]
    {
        let next_hop = NextHop::start(vec![dies(moment), Script::default()]);
        let gate = relay_to(&[next_hop.address]);
        let mut smtp = client(&gate);
        smtp.open("alice@pass.example", &["bob@open.example", "carol@open.example"]);
        let reply = smtp.message(&with_body("alice@pass.example", "once", &body(octets)));
        let moment = next_hop.seen(|seen| format!("{:?}", seen.commands));
        assert!(reply.starts_with("250 2.0.0 "), "{reply} {moment}");
        let messages = next_hop.messages();
        assert_eq!(messages.len(), 1, "{moment}");
        assert!(messages[0].mail.starts_with("<alice@pass.example>"), "{}", messages[0].mail);
        assert_eq!(messages[0].rcpts, ["<bob@open.example>", "<carol@open.example>"]);
    }
}

/// After the terminator nothing is ever sent twice: whatever is no whole reply leaves the outcome unknown, and the record says so.
#[test]
fn after_the_dot_there_is_no_second_try() {
    let rows = [
        End::Close,
        End::Reset,
        End::Cut("250 2.0.0 Ok: queu".into()),
        End::Cut("250-2.0.0 Ok\r\n".into()),
        End::Reply("gibberish".into()),
        End::Reply("354 Go on".into()),
        End::Reply("250-2.0.0 Ok\r\n550 5.0.0 No".into()),
        End::Reply("250-2.0.0 Ok\r\n".repeat(200) + "250 2.0.0 Ok"),
    ];
    for (number, end) in rows.into_iter().enumerate() {
        let next_hop = NextHop::start(vec![Script { end, ..Script::default() }, Script::default()]);
        let gate = relay_to(&[next_hop.address]);
        assert_eq!(send(&gate, "unknown"), UNKNOWN, "row {number}");
        assert_is_unknown(&gate, &next_hop);
    }
}

/// A next hop that hangs after the dot is waited for (five minutes at most, which the simulation waits out): it may yet say what it did.
#[test]
fn what_hangs_after_the_dot_is_unknown_in_the_end() {
    let mut next_hop = NextHop::start(vec![Script { end: End::Hang, ..Script::default() }, Script::default()]);
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = client(&gate);
    smtp.open("alice@pass.example", &["bob@open.example"]);
    smtp.send(&(plain("alice@pass.example", "hangs") + ".\r\n"));
    until("the message to be taken", || (next_hop.messages().len() == 1).then_some(()));
    next_hop.stop();
    assert_eq!(smtp.reply(), UNKNOWN);
    assert_is_unknown(&gate, &next_hop);
}

/// One message went out, once, and its record says that nobody knows what became of it.
fn assert_is_unknown(gate: &Gate, next_hop: &NextHop) {
    assert_eq!((next_hop.messages().len(), next_hop.count("DATA")), (1, 1));
    let record = &gate.decisions(1)[0];
    assert_eq!((&record["delivery"]["outcome"], &record["verdict"]), (&"unknown".into(), &"defer".into()), "{record}");
}

/// What a next hop says reaches the client as one printable reply of bounded lines.
#[test]
fn a_reply_cannot_break_out() {
    let refusal = format!("550 5.7.1 a\tb\u{0}c\u{e9} {}", "x".repeat(1_500));
    let next_hop = NextHop::start(vec![Script { end: End::Reply(refusal), ..Script::default() }]);
    let gate = relay_to(&[next_hop.address]);
    let reply = send(&gate, "injection");
    assert!(reply.starts_with("550 5.7.1 a?b?c?? xxx") && reply.len() <= 512, "{reply:?}");
    let next_hop = NextHop::start(vec![Script { end: End::Reply("550 a\rb".into()), ..Script::default() }]);
    let gate = relay_to(&[next_hop.address]);
    let reply = send(&gate, "injection");
    assert!(reply.starts_with('5') && !reply.trim_end().contains('\r') || reply.starts_with("451 "), "{reply:?}");
}

/// A recipient that fares differently at the replay: nobody gets the message.
#[test]
fn never_to_a_subset() {
    let refuses_carol: fn(&str) -> String =
        |path| if path.contains("carol") { "550 5.1.1 Gone by now".into() } else { "250 2.1.5 Ok".into() };
    let first = Script { dies: Dies::AtData, ..Script::default() };
    let then = Script { rcpt: refuses_carol, ..Script::default() };
    let next_hop = NextHop::start(vec![first, then]);
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = client(&gate);
    smtp.open("alice@pass.example", &["bob@open.example", "carol@open.example"]);
    assert_eq!(smtp.message(&plain("alice@pass.example", "subset")), UNAVAILABLE);
    assert!(next_hop.messages().is_empty());
}

/// A body that stalls does not hold the connection: it is given back, and the envelope is sent again for the rest.
#[test]
fn a_stalled_body_gives_the_connection_back() {
    let next_hop = NextHop::willing();
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = client(&gate);
    smtp.open("alice@pass.example", &["bob@open.example"]);
    let message = with_body("alice@pass.example", "stalled", &body(4_000));
    let (first, rest) = message.split_at(2_000);
    smtp.send(first);
    until("RSET", || (next_hop.count("RSET") == 1).then_some(()));
    assert!(send(&gate, "between").starts_with("250 "));
    let reply = smtp.message(rest);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let messages = next_hop.messages();
    assert_eq!(messages.len(), 2);
    assert!(messages[1].message.ends_with(&message), "the message is another");
    assert_eq!(next_hop.count("MAIL"), 3);
}

#[test]
fn down_between_rcpt_and_data() {
    let mut next_hop = NextHop::willing();
    let gate = relay_to(&[next_hop.address]);
    let mut smtp = client(&gate);
    smtp.open("alice@pass.example", &["bob@open.example"]);
    next_hop.stop();
    assert_eq!(smtp.message(&plain("alice@pass.example", "down")), UNAVAILABLE);
    // It comes back, and so does the mail.
    let next_hop = NextHop::start_on(next_hop.address, vec![Script::default()]);
    until("the gate to try again", || {
        let reply = send(&gate, "back");
        assert!(reply.starts_with("250 ") || reply == UNAVAILABLE, "{reply}");
        reply.starts_with("250 ").then_some(())
    });
    assert_eq!(next_hop.messages().len(), 1);
}

/// A pooled connection that died while idle costs the client nothing.
#[test]
fn a_dead_pooled_connection_is_not_noticed() {
    let mut next_hop = NextHop::willing();
    let gate = relay_to(&[next_hop.address]);
    assert!(send(&gate, "first").starts_with("250 "));
    next_hop.stop();
    let next_hop = NextHop::start_on(next_hop.address, vec![Script::default()]);
    assert!(send(&gate, "second").starts_with("250 "));
    assert_eq!(next_hop.messages().len(), 1);
}

#[test]
fn several_next_hops_stand_in_for_each_other() {
    let mut dead = NextHop::willing();
    dead.stop();
    let alive = NextHop::willing();
    let gate = relay_to(&[dead.address, alive.address]);
    for number in 0..6 {
        let reply = send(&gate, &format!("failover-{number}"));
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(alive.messages().len(), 6);
}

/// Replies that no command asked for, or of a kind that none can be, are worth as much as a broken connection: never a wrong 250.
#[test]
fn replies_out_of_order() {
    let flood = "250 2.0.0 Ok\r\n".repeat(2_000);
    let rows = [
        Script {
            mail: "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go\r\n250 2.0.0 Ok".into(),
            rcpt: |_| "550 5.1.1 No".into(),
            ..Script::default()
        },
        Script { data: format!("{flood}354 Go"), ..Script::default() },
        Script { data: "250 2.0.0 Ok".into(), ..Script::default() },
        Script { end: End::Reply("354 Go on".into()), ..Script::default() },
        Script { end: End::Reply("gibberish".into()), ..Script::default() },
        Script { mail: "25".into(), ..Script::default() },
        Script { rcpt: |_| "x".repeat(1_000_000), ..Script::default() },
    ];
    for (number, script) in rows.into_iter().enumerate() {
        let next_hop = NextHop::start(vec![script]);
        let gate = relay_to(&[next_hop.address]);
        let reply = send(&gate, "disorder");
        assert!(reply.starts_with(['4', '5']), "row {number}: {reply:?}");
        assert!(Client::proxied(&gate, PASS).reply().starts_with("220 "), "row {number}: the gate lives");
    }
}

/// The size that is offered is what the next hop takes, less our own fields.
#[test]
fn its_size_limit_is_offered() {
    let ehlo = "250-next-hop.example\r\n250-PIPELINING\r\n250 SIZE 200000".to_owned();
    let next_hop = NextHop::start(vec![Script { ehlo, ..Script::default() }]);
    let gate = relay_to(&[next_hop.address]);
    let offered = until("the limit of the next hop to be offered", || {
        let mut smtp = Client::proxied(&gate, PASS);
        let reply = smtp.hello("mail.pass.example");
        let size: u64 = reply.lines().find_map(|line| line[4..].strip_prefix("SIZE "))?.parse().ok()?;
        (size < 200_000).then_some(size)
    });
    assert!(offered > 100_000, "{offered}");
}
