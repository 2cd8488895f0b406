//! `mx6 tail` over the log of a running gate, through rotation, and over its admin endpoint.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::gate::{Gate, Setup, binary, mx6, mx6_into};
use crate::harness::http::{admin, get};
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::tmux::Terminal;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS};
use crate::harness::{skip, until};

fn send(gate: &Gate, client: &str, recipient: &str) {
    let reverse_path = if client == PASS { "alice@pass.example" } else { "alice@bare.example" };
    Client::greeted(gate, client, "mail.pass.example").transaction(
        reverse_path,
        recipient,
        &plain(reverse_path, "tail"),
    );
}

fn log_of(gate: &Gate) -> PathBuf {
    gate.maildir().parent().unwrap().join("decisions.jsonl")
}

/// Waits until a file has that many lines, and returns them.
fn lines(file: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", file.display()), || {
        let text = fs::read_to_string(file).unwrap_or_default();
        (text.lines().count() >= count).then(|| text.lines().map(str::to_owned).collect())
    })
}

#[test]
fn a_log_through_rotation() {
    // One shard: records are in the order of the mail.
    let gate = Setup::new().cores(1).start();
    for (client, recipient) in [(PASS, "bob@open.example"), (NO_PTR, "bob@open.example"), (PASS, "bob@v4only.example")]
    {
        send(&gate, client, recipient);
    }
    gate.decisions(3);
    let log = log_of(&gate);
    let path = log.to_str().unwrap();
    let refused = mx6(&["tail", path, "--refused"]);
    assert_eq!((refused.code, refused.stdout.lines().count(), &*refused.stderr), (Some(0), 2, ""), "{refused:?}");
    assert_eq!(mx6(&["tail", "-n", "1", path]).stdout.lines().count(), 1);
    let raw = mx6(&["tail", path, "--json", "--prefix", NO_PTR]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap()["client"], NO_PTR, "{raw}");
    let shown = log.with_file_name("shown");
    let _tail = mx6_into(&shown, &["tail", "--follow", "-n", "1", "--json", "--refused", path]);
    lines(&shown, 1);
    // As logrotate does it: moved away, and the gate opens a new one under the path.
    fs::rename(&log, log.with_file_name("decisions.jsonl.1")).unwrap();
    until("a new log", || {
        send(&gate, FORWARDER, "bob@open.example");
        log.exists().then_some(())
    });
    send(&gate, PASS, "bob@open.example");
    send(&gate, PASS, "bob@elsewhere.example");
    let last = until("what was written last", || {
        let shown = lines(&shown, 3);
        shown.last().unwrap().contains("elsewhere.example").then_some(shown)
    });
    let rules: Vec<String> = last
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["rule"].as_str().unwrap().to_owned())
        .collect();
    assert!(rules.iter().all(|rule| rule != "accepted") && rules.contains(&"spf-or-dkim".to_owned()), "{rules:?}");
    // Nothing twice, nothing missing.
    let both = [log.with_file_name("decisions.jsonl.1"), log].map(|path| fs::read_to_string(path).unwrap());
    let logged =
        both.iter().flat_map(|text| text.lines()).skip(2).filter(|line| !line.contains("\"verdict\":\"accept\""));
    assert_eq!(last, logged.collect::<Vec<_>>());
}

#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let record = r#"{"time":"2026-11-26T21:00:01.250Z","session":"s","client":"2001:db8::1","stage":"rcpt","rule":"reverse-dns","verdict":"defer","rcpt_to":"bob@open.example\u001b[2J"}"#;
    fs::write(&path, format!("torn\n{{\"records_lost\":7}}\n{record}")).unwrap();
    let path = path.to_str().unwrap();
    let all = mx6(&["tail", path]).stdout;
    let shown: Vec<&str> = all.lines().collect();
    assert_eq!(shown.len(), 3, "the last line has no end yet, and is shown: {all}");
    assert!(shown[1].contains("7 decisions missing here") && shown[2].contains("bob@open.example\\u{1b}[2J"), "{all}");
    for (args, code, said) in [
        (&["tail", path, "--prefix", "2001:db8::/200"][..], 2, "write 2001:db8::/64"),
        (&["tail", path, "--verdict", "maybe"], 2, "possible values"),
        (&["tail", path, "--admin", "127.0.0.1:9125"], 2, "cannot be used with"),
        (&["tail", "/nowhere/decisions.log"], 66, "cannot read /nowhere/decisions.log"),
    ] {
        let ended = mx6(args);
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
}

/// What a running gate remembers, and then what falls; of both only what is asked for.
#[test]
fn a_running_gate() {
    let mut gate = Setup::new().cores(1).args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    for client in [PASS, NO_PTR, FORWARDER] {
        send(&gate, client, "bob@open.example");
    }
    until("what the gate has seen", || get(&address, "/status").body.contains("\"records\":3").then_some(()));
    let file = log_of(&gate).with_file_name("shown");
    let mut tail = mx6_into(&file, &["tail", "--admin", &address, "--json", "--refused", "-n", "1"]);
    assert!(lines(&file, 1)[0].contains(FORWARDER));
    for client in [NO_PTR, PASS, FORWARDER, NO_PTR] {
        send(&gate, client, "bob@open.example");
    }
    let shown = lines(&file, 4);
    let records: Vec<Value> = shown.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let clients: Vec<&str> = records.iter().map(|record| record["client"].as_str().unwrap()).collect();
    assert_eq!(clients, [FORWARDER, NO_PTR, FORWARDER, NO_PTR]);
    let logged = gate.decisions(7);
    assert!(records.iter().all(|record| logged.contains(record)), "as they are in the log: {shown:#?}");
    gate.stop();
    assert_eq!(tail.wait().code(), Some(69), "it ends with the gate");
    until("why", || tail.stderr().iter().any(|line| line.contains("the gate has ended the stream")).then_some(()));
}

/// On a terminal no line is wider than it, and what matters is there.
#[test]
fn a_narrow_terminal() {
    let Some(terminal) = Terminal::start(80, 24) else { return skip("tmux is not installed") };
    let mut gate = Setup::new().args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    send(&gate, NO_PTR, "bob@open.example");
    terminal.run(&binary(), &["tail", "--admin", &address]);
    terminal.until("a decision", |screen| {
        let row = screen.lines().find(|line| line.contains(" defer "))?;
        ["reverse-dns", NO_PTR, "bob@open.example"].iter().all(|word| row.contains(word)).then_some(())
    });
    send(&gate, PASS, "bob@open.example");
    let screen = terminal.until("another", |screen| screen.contains(" accept ").then(|| screen.to_owned()));
    assert!(screen.lines().skip_while(|line| !line.contains(" defer ")).count() >= 2, "{screen}");
    terminal.press("C-c");
}

/// Who does not read misses some, and hears how many.
#[test]
fn what_was_missed_is_told() {
    let mut gate = Setup::new().cores(1).args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    let file = log_of(&gate).with_file_name("shown");
    let tail = mx6_into(&file, &["tail", "--admin", &address]);
    send(&gate, NO_PTR, "bob@open.example");
    lines(&file, 1);
    tail.signal(Signal::STOP);
    let refused = "RCPT TO:<bob@elsewhere.example>\r\n".repeat(90);
    // More than may wait in the gate and in the sockets between.
    for _ in 0..200 {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.ok("MAIL FROM:<alice@pass.example>");
        smtp.send(&refused);
        (0..90).for_each(|_| assert!(smtp.reply().starts_with("550 5.7.1 ")));
    }
    tail.signal(Signal::CONT);
    until("how many were missed", || {
        let text = fs::read_to_string(&file).unwrap();
        text.lines().any(|line| line.contains("missing here: they fell faster than they were read")).then_some(())
    });
}
