//! SIGHUP: the configuration is read again and holds as a whole, or the old one goes on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::harness::certificates::{Authority, Certificate, Usage};
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::next_hop::NextHop;
use crate::harness::process::run;
use crate::harness::smtp::{Client, proxy_v1};
use crate::harness::until;
use crate::harness::zone::{NO_PTR, PASS};

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
    until("the new domain on every shard", || {
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
    until("the new domain", || rcpt(&gate, "new.example").starts_with("250 ").then_some(()));
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
    until("mail at the new next hop", || {
        assert!(send("swapped").starts_with("250 "));
        (!second.messages().is_empty()).then_some(())
    });
    let at_the_first = first.messages().len();
    assert!(under_way.message(&plain("alice@pass.example", "under way")).starts_with("250 "));
    assert_eq!(first.messages().len(), at_the_first + 1);
    until("QUIT on the old pool's connections", || {
        (first.count("QUIT") == first.seen(|seen| seen.connections)).then_some(())
    });
    gate.stop();
}

/// Domains, next hops, connectors, limits and certificates, under load: no transaction meets half of the old and half of the new.
#[test]
fn everything_changes_as_one() {
    let (first, second) = (NextHop::willing(), NextHop::willing());
    let setup = Setup::new().domains(&[]).next_hops(&[]);
    let authority = Authority::new(&setup.dir(), "authority");
    let certificates =
        ["old", "new"].map(|name| authority.sign(name, &format!("{name}.example"), &[Usage::ServerAuth]));
    let text = |domain: &str, next_hop: &NextHop, certificate: &Certificate, more: &str| {
        format!(
            "deliver = [\"smtp://{}\"]\ntls-cert = [{:?}]\ntls-key = [{:?}]\n{more}\n[domain]\n\"{domain}\" = \"accept\"\n",
            next_hop.address, certificate.chain, certificate.key
        )
    };
    let file = setup.dir().join("mx6.toml");
    std::fs::write(&file, text("old.example", &first, &certificates[0], "")).unwrap();
    let mut gate = setup.args(&["--config", file.to_str().unwrap()]).start();
    // Without reverse DNS only a connector is served.
    let objection = |gate: &Gate| {
        let mut smtp = Client::greeted(gate, NO_PTR, "client.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        smtp.say("RCPT TO:<bob@new.example>")
    };

    let (proxy, swapped) = (gate.proxy, AtomicBool::new(false));
    std::thread::scope(|scope| {
        for domain in ["old.example", "new.example"] {
            let swapped = &swapped;
            scope.spawn(move || {
                let mut after = 0;
                while after < 20 {
                    after += usize::from(swapped.load(Ordering::SeqCst));
                    let mut smtp = Client::connect(proxy);
                    smtp.send(proxy_v1(PASS));
                    smtp.hello("mail.pass.example");
                    let message = plain("alice@pass.example", domain);
                    let reply = smtp.transaction("alice@pass.example", &format!("bob@{domain}"), &message);
                    assert!(reply.starts_with("250 ") || reply.starts_with("550 5.7.1 "), "{reply}");
                }
            });
        }
        until("mail at the old next hop", || (!first.messages().is_empty()).then_some(()));
        let connector = format!("connector = [\"{NO_PTR}\"]");
        reload(&mut gate, &file, &text("new.example", &second, &certificates[1], &connector));
        swapped.store(true, Ordering::SeqCst);
    });
    for (next_hop, domain) in [(&first, "old.example"), (&second, "new.example")] {
        let messages = next_hop.messages();
        assert!(!messages.is_empty(), "{domain}");
        assert!(messages.iter().all(|message| message.rcpts == [format!("<bob@{domain}>")]), "{domain}: {messages:?}");
    }
    assert!(objection(&gate).starts_with("250 "), "a connector now");
    let mut client = Command::new("openssl");
    client.args(["s_client", "-starttls", "smtp", "-connect", &gate.v6.to_string()]);
    assert!(run(&mut client).stdout.contains(std::fs::read_to_string(&certificates[1].chain).unwrap().trim()));

    // And a limit, which would have held up the load before, and no connector any more.
    reload(&mut gate, &file, &text("new.example", &second, &certificates[1], "limit = [\"address.messages=2/1d\"]"));
    until("the limit on every shard", || {
        let mut smtp = Client::greeted(&gate, "2001:db8:1::1:1", "client.example");
        smtp.say("MAIL FROM:<alice@pass.example>").starts_with("450 4.7.28 ").then_some(())
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
