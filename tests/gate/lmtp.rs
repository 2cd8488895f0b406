//! LMTP to a real Dovecot, over TCP and over its Unix socket.

use crate::harness::dovecot::Dovecot;
use crate::harness::gate::Setup;
use crate::harness::message::{body, plain, with_body};
use crate::harness::smtp::Client;
use crate::harness::zone::PASS;
use crate::harness::{is_root, skip};

const FROM: &str = "alice@pass.example";
const BOTH: [&str; 2] = ["bob@open.example", "carol@open.example"];

#[test]
fn dovecot_gets_each_message_once_for_each_recipient() {
    if !is_root() {
        return skip("Dovecot needs root");
    }
    let dovecot = Dovecot::start();
    let over_tcp = format!("lmtp://{}", dovecot.address);
    let over_socket = format!("lmtp:{}", dovecot.socket().display());
    for (number, target) in [&over_tcp, &over_socket].into_iter().enumerate() {
        let gate = Setup::new().deliver(&[target]).start();
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        // A large one goes through a spill file.
        for message in [plain(FROM, "small"), with_body(FROM, "large", &body(1_000_000))] {
            smtp.open(FROM, &BOTH);
            let reply = smtp.message(&message);
            assert!(reply.starts_with("250 2.0.0 ") && reply.contains("Saved"), "{target}: {reply}");
        }
        for recipient in BOTH {
            assert_eq!(dovecot.messages(recipient).len(), 2 * (number + 1), "{target}: {recipient}");
        }
        let decisions = gate.decisions(4);
        assert_eq!(decisions.iter().filter(|record| record["delivery"]["outcome"] == "accepted").count(), 4);
        assert_eq!(decisions[0]["delivery"]["next_hop"], target.trim_start_matches("lmtp:").trim_start_matches("//"));
    }
}

/// One mailbox fails after the dot: the client is told to try again, its record tells each recipient's own outcome, and the retry, over
/// another connection and so perhaps another shard, brings no second copy.
#[test]
fn a_mixed_outcome_is_mended_by_the_retry() {
    if !is_root() {
        return skip("Dovecot needs root");
    }
    let dovecot = Dovecot::start();
    let gate = Setup::new().deliver(&[&format!("lmtp://{}", dovecot.address)]).start();
    let message = plain(FROM, "mixed");
    dovecot.break_mailbox("carol@open.example", true);
    let mut replies = Vec::new();
    for attempt in 0..5 {
        if attempt == 2 {
            dovecot.break_mailbox("carol@open.example", false);
        }
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.open(FROM, &BOTH);
        replies.push(smtp.message(&message));
    }
    let expected =
        ["451 4.0.0 Delivered to some", "451 4.0.0 Delivered to some", "250 2.0.0 ", "250 2.0.0 ", "250 2.0.0 "];
    for (reply, expected) in replies.iter().zip(expected) {
        assert!(reply.starts_with(expected), "{replies:#?}");
    }
    for recipient in BOTH {
        assert_eq!(dovecot.messages(recipient).len(), 1, "{recipient}");
    }
    let told: Vec<(String, String, String)> = gate
        .decisions(10)
        .iter()
        .map(|record| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let own = text(&record["delivery"]["reply"]).chars().take(9).collect();
            (text(&record["verdict"]), text(&record["delivery"]["outcome"]), own)
        })
        .collect();
    let row = |verdict: &str, outcome: &str, own: &str| (verdict.to_owned(), outcome.to_owned(), own.to_owned());
    let mixed = [row("defer", "accepted", "250 2.0.0"), row("defer", "refused", "451 4.2.0")];
    assert_eq!(told[..2], mixed, "{told:#?}");
    assert_eq!(told[2..4], mixed);
    assert_eq!(told[4..6], [row("accept", "accepted", "250 2.0.0"), row("accept", "accepted", "250 2.0.0")]);
}

/// A sender is charged for what somebody got, though the message is deferred.
#[test]
fn a_mixed_outcome_is_charged_to_its_identities() {
    if !is_root() {
        return skip("Dovecot needs root");
    }
    let dovecot = Dovecot::start();
    let setup = Setup::new().deliver(&[&format!("lmtp://{}", dovecot.address)]);
    let gate = setup.args(&["--limit", "identity.messages=1/1d"]).start();
    dovecot.break_mailbox("carol@open.example", true);
    for (subject, expected) in [("one", "451 4.0.0 Delivered to some"), ("another", "450 4.7.28 Too many messages")] {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.open(FROM, &BOTH);
        let reply = smtp.message(&plain(FROM, subject));
        assert!(reply.starts_with(expected), "{reply}");
    }
    gate.stop();
}

/// Who has a message already is known to one process and not to the next: the retry after a restart brings a second copy, and loses none.
#[test]
fn a_ledger_that_is_lost_means_a_duplicate() {
    if !is_root() {
        return skip("Dovecot needs root");
    }
    let dovecot = Dovecot::start();
    let message = plain(FROM, "again");
    let send = |expected: &str| {
        let mut gate = Setup::new().deliver(&[&format!("lmtp://{}", dovecot.address)]).start();
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.open(FROM, &BOTH);
        let reply = smtp.message(&message);
        assert!(reply.starts_with(expected), "{reply}");
        gate.process.kill();
    };
    dovecot.break_mailbox("carol@open.example", true);
    send("451 4.0.0 Delivered to some");
    dovecot.break_mailbox("carol@open.example", false);
    send("250 2.0.0 ");
    assert_eq!(BOTH.map(|recipient| dovecot.messages(recipient).len()), [2, 1]);
}
