//! `mx6 top` over a running gate, in a real terminal and for scripts.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::harness::gate::{Gate, Setup, binary, mx6, mx6_with};
use crate::harness::http::{admin, get};
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::tmux::Terminal;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS};
use crate::harness::{skip, until};

/// A gate, its endpoint on loopback, and a mail for each of four decisions.
fn observed() -> (Gate, String) {
    let mut gate = Setup::new().args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    for (client, recipient) in [
        (PASS, "bob@open.example"),
        (PASS, "bob@v4only.example"),
        (NO_PTR, "bob@open.example"),
        (FORWARDER, "bob@open.example"),
    ] {
        send(&gate, client, recipient);
    }
    gate.decisions(4);
    (gate, address)
}

fn send(gate: &Gate, client: &str, recipient: &str) {
    let reverse_path = if client == PASS { "alice@pass.example" } else { "alice@bare.example" };
    Client::greeted(gate, client, "mail.pass.example").transaction(
        reverse_path,
        recipient,
        &plain(reverse_path, "top"),
    );
}

fn status(address: &str) -> Value {
    serde_json::from_str(&get(address, "/status").body).unwrap()
}

/// How many recipients have which verdict, as the gate says.
fn counted(status: &Value) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for decision in status["decisions"].as_array().unwrap() {
        *counts.entry(decision["verdict"].as_str().unwrap().to_owned()).or_default() +=
            decision["count"].as_u64().unwrap();
    }
    counts
}

/// The words of the line that begins with `name`.
fn words<'a>(screen: &'a str, name: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
    line.split_whitespace().collect()
}

/// The screen has in its column `in all` what the status has.
fn agrees(screen: &str, status: &Value) -> bool {
    let counts = counted(status);
    [("accepted", "accept"), ("deferred", "defer"), ("rejected", "reject")].into_iter().all(|(row, verdict)| {
        let shown = words(screen, row).get(2).and_then(|count| count.replace(',', "").parse::<u64>().ok());
        shown == Some(counts.get(verdict).copied().unwrap_or(0))
    })
}

#[test]
fn the_screen_says_what_the_status_says() {
    let Some(terminal) = Terminal::start(120, 40) else { return skip("tmux is not installed") };
    let (gate, address) = observed();
    terminal.run(&binary(), &["top", "--admin", &address, "--interval", "200ms"]);
    let screen = terminal.until("figures", |screen| agrees(screen, &status(&address)).then(|| screen.to_owned()));
    assert!(screen.contains("mx.example  ● READY") && screen.contains(" UTC"), "{screen}");
    assert_eq!(
        counted(&status(&address)),
        [("accept", 1), ("defer", 2), ("reject", 1)].map(|(name, count)| (name.to_owned(), count)).into()
    );
    send(&gate, PASS, "bob@open.example");
    terminal.until("one more", |screen| (words(screen, "accepted").get(2) == Some(&"2")).then_some(()));
    assert!(agrees(&terminal.screen(), &status(&address)));
    // Every tab: a word of its head, and one of what happened.
    for (key, head, row) in [
        ("2", "share", "reverse-dns"),
        ("3", "90 %", "verdict"),
        ("4", "longest", "normal"),
        ("5", "entries", "ptr"),
        ("6", "client", FORWARDER),
    ] {
        terminal.press(key);
        terminal.until(&format!("tab {key}"), |screen| {
            (screen.contains(head) && screen.contains(row) && !screen.contains("recipients")).then_some(())
        });
    }
    terminal.press("2");
    let rules = terminal.until("rules", |screen| screen.contains("share").then(|| screen.to_owned()));
    for decision in status(&address)["decisions"].as_array().unwrap() {
        let [rule, stage, verdict] = ["rule", "stage", "verdict"].map(|name| decision[name].as_str().unwrap());
        let row = rules
            .lines()
            .find(|line| [rule, stage, verdict].iter().all(|word| line.split_whitespace().any(|found| found == *word)));
        let row: Vec<&str> = row.unwrap_or_else(|| panic!("{rule}: {rules}")).split_whitespace().collect();
        assert_eq!(row[4], decision["count"].to_string(), "{row:?}");
    }
}

/// No size cuts what must be seen, and the terminal is as it was when it is over.
#[test]
fn the_terminal_is_resized_and_given_back() {
    let Some(terminal) = Terminal::start(120, 40) else { return skip("tmux is not installed") };
    let (_gate, address) = observed();
    terminal.run(&binary(), &["top", "--admin", &address, "--interval", "200ms"]);
    terminal.until("figures", |screen| agrees(screen, &status(&address)).then_some(()));
    for (columns, rows) in [(80, 24), (60, 20), (200, 60), (30, 8), (80, 24)] {
        terminal.resize(columns, rows);
        terminal.until(&format!("{columns} by {rows}"), |screen| {
            let foot = screen.lines().nth(usize::from(rows) - 1).unwrap_or_default();
            (foot.contains("? help") && (columns < 60 || agrees(screen, &status(&address)))).then_some(())
        });
    }
    terminal.press("?");
    terminal.until("the keys", |screen| screen.contains("Any key goes back").then_some(()));
    terminal.press("x");
    terminal.press("q");
    terminal.until("the shell", |screen| (screen.contains("ready>") && !screen.contains("recipients")).then_some(()));
    terminal.say("stty -a | grep -c -e ' icanon.* echo '; echo ended $?");
    terminal.until("a terminal that echoes and waits for lines", |screen| screen.contains("ended 0").then_some(()));
}

/// A terminal that is closed ends it: nothing is left that looks at a terminal that is no more.
#[test]
fn the_terminal_goes_away() {
    let Some(terminal) = Terminal::start(80, 24) else { return skip("tmux is not installed") };
    let (_gate, address) = observed();
    terminal.run(&binary(), &["top", "--admin", &address, "--interval", "200ms"]);
    terminal.until("figures", |screen| agrees(screen, &status(&address)).then_some(()));
    let process = format!("/proc/{}/cmdline", terminal.running());
    assert!(std::fs::read_to_string(&process).unwrap().contains("top"));
    drop(terminal);
    // What init has not yet looked after has no command line.
    until("top to end", || std::fs::read(&process).unwrap_or_default().is_empty().then_some(()));
}

#[test]
fn a_gate_goes_away_and_comes_back() {
    let Some(terminal) = Terminal::start(80, 24) else { return skip("tmux is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let name = format!("unix:{}", path.display());
    let gate = Setup::new().args(&["--admin", &name]).start();
    terminal.run(&binary(), &["top", "--admin", &name, "--interval", "200ms"]);
    terminal.until("a gate", |screen| (screen.contains("● READY") && !screen.contains("NO ANSWER")).then_some(()));
    gate.stop();
    terminal.until("no gate", |screen| screen.contains("NO ANSWER").then_some(()));
    let gate = Setup::new().args(&["--admin", &name]).start();
    send(&gate, PASS, "bob@open.example");
    terminal.until("a gate again", |screen| {
        let is_new = words(screen, "accepted").get(2) == Some(&"1");
        (is_new && screen.contains("● READY") && !screen.contains("NO ANSWER")).then_some(())
    });
    terminal.press("C-c");
    terminal.until("the shell", |screen| (screen.contains("ready>") && !screen.contains("READY")).then_some(()));
}

#[test]
fn figures_for_scripts() {
    let (gate, address) = observed();
    let ended = mx6(&["top", "--admin", &address, "--json", "--count", "2", "--interval", "100ms"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    let samples: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(samples.len(), 2);
    let counts = counted(&status(&address));
    for sample in &samples {
        let totals = ["accept", "defer", "reject"].map(|name| sample[name]["total"].as_u64().unwrap());
        assert_eq!(totals, ["accept", "defer", "reject"].map(|name| counts[name]), "{sample}");
        assert!(
            sample["interval_ms"].as_u64().unwrap() >= 100 && sample["decisions"].as_array().unwrap().len() == 4,
            "{sample}"
        );
    }
    // Standard output is no terminal: the same as --once.
    for args in [&["--once"][..], &[]] {
        let ended =
            mx6_with(&[("LC_ALL", "C")], &[&["top", "--admin", &address, "--interval", "100ms"], args].concat());
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        assert!(agrees(&ended.stdout, &status(&address)), "{}", ended.stdout);
        assert!(ended.stdout.is_ascii() && ended.stdout.contains("== decisions =="), "{}", ended.stdout);
    }
    gate.stop();
}

/// Flag, environment and file say where the endpoint is; what goes wrong is told with its exit code.
#[test]
fn where_the_endpoint_is() {
    let (_gate, address) = observed();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let nowhere = folder.path().join("nobody.sock");
    drop(UnixListener::bind(&nowhere).unwrap());
    let nowhere = format!("unix:{}", nowhere.display());
    let named = file("named.toml", &format!("hostname = \"mx.example\"\nadmin = [\"{address}\", \"{nowhere}\"]\n"));
    let unnamed = file("unnamed.toml", "hostname = \"mx.example\"\n");
    let once = ["top", "--once", "--interval", "100ms"];
    let with = |args: &[&'static str], path: &str, variable: &str| {
        let words: Vec<&str> = once
            .iter()
            .copied()
            .chain(args.iter().copied())
            .chain([path].into_iter().filter(|path| !path.is_empty()))
            .collect();
        mx6_with(&[("MX6_ADMIN", variable)], &words)
    };
    for (args, path, variable, code, said) in [
        (&["--admin"][..], address.as_str(), nowhere.as_str(), 0, ""),
        (&[], "", &address, 0, ""),
        (&[], "", &format!("{address},{nowhere}"), 0, ""),
        (&["--config"], &named, "", 0, ""),
        (&["--config"], &named, &nowhere, 69, "no gate answers at"),
        (&["--config"], &unnamed, "", 78, "unnamed.toml has no `admin`"),
        (&["--config"], "/nowhere/mx6.toml", "", 78, "/nowhere/mx6.toml"),
        (&["--admin"], &nowhere, "", 69, "is --admin given to mx6 serve"),
        (&["--admin"], "localhost", "", 2, "write 127.0.0.1:9125"),
        (&[], "", "localhost:1", 78, "MX6_ADMIN"),
    ] {
        let ended = with(args, path, variable);
        assert_eq!(ended.code, Some(code), "{args:?} {path} {variable}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
    until("an answer to tail", || (mx6(&["tail", "--admin", &nowhere]).code == Some(69)).then_some(()));
    assert_eq!(mx6(&["trace", "--admin", &nowhere]).code, Some(69));
}
