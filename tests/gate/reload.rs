//! SIGHUP: the configuration is read again and holds as a whole, or the old one goes on.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::next_hop::NextHop;
use crate::harness::smtp::Client;
use crate::harness::zone::PASS;

/// A gate whose domains stand in a file, and that file.
fn configured(text: &str) -> (Gate, PathBuf) {
    let setup = Setup::new().domains(&[]);
    let file = setup.dir().join("mx6.toml");
    std::fs::write(&file, text).unwrap();
    let gate = setup.args(&["--config", file.to_str().unwrap()]).start();
    (gate, file)
}

/// Writes the file, sends SIGHUP, and waits for what is told of it; every line since.
fn reload(gate: &mut Gate, file: &Path, text: &str) -> Vec<String> {
    std::fs::write(file, text).unwrap();
    let before = gate.process.stderr().len();
    gate.process.signal(Signal::HUP);
    gate.process.until_stderr("word of the reload", |lines| {
        let told = lines[before..].to_vec();
        let is_over = |line: &String| line.contains("configuration holds") || line.contains("configuration goes on");
        told.iter().any(is_over).then_some(told)
    })
}

fn rcpt(gate: &Gate, domain: &str) -> String {
    let mut smtp = Client::greeted(gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    smtp.say(&format!("RCPT TO:<bob@{domain}>"))
}

#[test]
fn new_domains_hold_and_transactions_under_way_keep_the_old_ones() {
    let (mut gate, file) = configured("[domain]\n\"open.example\" = \"accept\"\n");
    let mut under_way = Client::greeted(&gate, PASS, "mail.pass.example");
    under_way.ok("MAIL FROM:<alice@pass.example>");
    under_way.ok("RCPT TO:<bob@open.example>");
    assert!(rcpt(&gate, "new.example").starts_with("550 5.7.1 "));

    reload(&mut gate, &file, "[domain]\n\"new.example\" = \"accept\"\n");
    // The shards hear of it one by one, and a moment after it was told.
    crate::harness::until("the new domain on every shard", || {
        (0..8).all(|_| rcpt(&gate, "new.example").starts_with("250 ")).then_some(())
    });
    assert!(rcpt(&gate, "open.example").starts_with("550 5.7.1 "));
    // One MAIL, one set of rules; the next MAIL has the new ones.
    under_way.ok("RCPT TO:<carol@open.example>");
    assert!(under_way.say("DATA").starts_with("354 "));
    assert!(under_way.message(&plain("alice@pass.example", "old rules")).starts_with("250 "));
    under_way.ok("MAIL FROM:<alice@pass.example>");
    assert!(under_way.say("RCPT TO:<bob@open.example>").starts_with("550 5.7.1 "));
    drop(under_way);
    gate.stop();
}

#[test]
fn what_cannot_be_used_leaves_the_old_configuration_and_says_why() {
    let text = "[domain]\n\"open.example\" = \"accept\"\n";
    let (mut gate, file) = configured(text);
    for (bad, words) in [
        ("[domain]\n\"open.example\" = \"perhaps\"\n", ":2:1: --domain: domain mode `perhaps`"),
        ("lisen = []\n", ":1:1: unknown key `lisen`; did you mean `listen`?"),
        ("hostname = \n", ":1:"),
        ("tls-cert = [\"absent.pem\"]\n", "--tls-cert: absent.pem: "),
        ("spill-dir = \"absent\"\ntls-cert = [\"absent.pem\"]\n", "--tls-cert: absent.pem: "),
    ] {
        let told = reload(&mut gate, &file, bad);
        let last = told.last().unwrap();
        assert!(last.contains(words) && last.contains("; the old configuration goes on"), "{bad}: {told:?}");
        assert!(rcpt(&gate, "open.example").starts_with("250 "), "{bad}");
    }
    std::fs::remove_file(&file).unwrap();
    let before = gate.process.stderr().len();
    gate.process.signal(Signal::HUP);
    gate.process.until_stderr("an absent file", |lines| {
        lines[before..].iter().any(|line| line.contains("mx6.toml: ")).then_some(())
    });
    // And it can be mended.
    let told = reload(&mut gate, &file, text);
    assert!(told.last().unwrap().contains("the new configuration holds"), "{told:?}");
    gate.stop();
}

/// What a running process cannot change is told, and the rest changes.
#[test]
fn what_only_a_start_changes_is_told() {
    let (mut gate, file) = configured("[domain]\n\"open.example\" = \"accept\"\n");
    let told = reload(&mut gate, &file, "memory = 8\ncache-spf = 4\n[domain]\n\"new.example\" = \"accept\"\n");
    let expected = "reload: --memory, --cache-ptr, --cache-spf or --cache-dkim will change with the next start";
    assert!(told.iter().any(|line| line.ends_with(expected)), "{told:?}");
    crate::harness::until("the new domain", || rcpt(&gate, "new.example").starts_with("250 ").then_some(()));
    gate.stop();
}

/// A transaction ends at the next hop where it began; the next one goes to the new one.
#[test]
fn next_hops_are_swapped_without_losing_a_transaction() {
    let (first, second) = (NextHop::willing(), NextHop::willing());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mx6.toml");
    let text = |next_hop: &NextHop| {
        format!("deliver = [\"smtp://{}\"]\n[domain]\n\"open.example\" = \"accept\"\n", next_hop.address)
    };
    std::fs::write(&file, text(&first)).unwrap();
    let setup = Setup::new().domains(&[]).next_hops(&[]);
    let mut gate = setup.args(&["--config", file.to_str().unwrap()]).start();
    let mut under_way = Client::greeted(&gate, PASS, "mail.pass.example");
    under_way.open("alice@pass.example", &["bob@open.example"]);

    reload(&mut gate, &file, &text(&second));
    let send = |subject: &str| {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", subject))
    };
    crate::harness::until("mail at the new next hop", || {
        assert!(send("swapped").starts_with("250 "));
        (!second.messages().is_empty()).then_some(())
    });
    let at_the_first = first.messages().len();
    assert!(under_way.message(&plain("alice@pass.example", "under way")).starts_with("250 "));
    assert_eq!(first.messages().len(), at_the_first + 1);
    crate::harness::until("QUIT on the old pool's connections", || {
        (first.count("QUIT") == first.seen(|seen| seen.connections)).then_some(())
    });
    gate.stop();
}

/// Without a file, SIGHUP reads what there is: nothing changes and nothing breaks.
#[test]
fn without_a_file_nothing_changes() {
    let mut gate = Gate::start();
    gate.process.signal(Signal::HUP);
    gate.process.until_stderr("word of the reload", |lines| {
        lines.iter().any(|line| line.contains("the new configuration holds")).then_some(())
    });
    assert!(rcpt(&gate, "open.example").starts_with("250 "));
    gate.stop();
}
