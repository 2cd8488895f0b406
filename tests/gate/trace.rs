//! `mx6 trace` over a running gate: which sessions, what of them, the file, and what was missed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mx6_telemetry::{Event, What, read_transcript};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::gate::{Gate, Setup, binary, mx6_into};
use crate::harness::http::admin;
use crate::harness::message::{body, plain, with_body};
use crate::harness::process::Process;
use crate::harness::smtp::Client;
use crate::harness::tmux::Terminal;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS};
use crate::harness::{skip, until};

/// A gate, and where its endpoint is.
fn observed() -> (Gate, String) {
    let mut gate = Setup::new().args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    (gate, address)
}

/// A trace that has begun, what it prints, and what it saves.
struct Tracing {
    process: Process,
    out: PathBuf,
    saved: PathBuf,
}

impl Tracing {
    fn start(gate: &Gate, address: &str, args: &[&str]) -> Tracing {
        let [out, saved] = ["traced", "saved.jsonl"].map(|name| gate.maildir().with_file_name(name));
        let words = [&["trace", "--admin", address, "--save", saved.to_str().unwrap()], args].concat();
        let mut process = mx6_into(&out, &words);
        process.until_stderr("a trace that has begun", |lines| {
            lines.iter().any(|line| line.contains("tracing sessions that begin")).then_some(())
        });
        Tracing { process, out, saved }
    }

    fn out(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    fn saved(&self) -> Vec<Event> {
        read_transcript(&*std::fs::read(&self.saved).unwrap()).unwrap()
    }

    /// The last words, once it has ended well.
    fn ended(&mut self) -> String {
        let status = self.process.wait();
        let said = until("last words", || self.process.stderr().into_iter().find(|line| line.contains(" traced")));
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }
}

fn send(gate: &Gate, client: &str, helo: &str, recipient: &str) {
    let reverse_path = if client == PASS { "alice@pass.example" } else { "alice@bare.example" };
    let mut smtp = Client::greeted(gate, client, helo);
    smtp.transaction(reverse_path, recipient, &plain(reverse_path, "traced"));
    assert!(smtp.say("QUIT").starts_with("221 "));
    assert_eq!(smtp.closed(), Ok(()));
}

/// All that one side said.
fn said(events: &[Event], by_client: bool) -> String {
    let octets = events.iter().filter_map(|event| match &event.what {
        What::Client(said) if by_client => Some(&said.octets),
        What::Server(said) if !by_client => Some(&said.octets),
        _ => None,
    });
    octets.map(|octets| String::from_utf8_lossy(octets).into_owned()).collect()
}

#[test]
fn only_what_is_asked_for_word_for_word() {
    let (gate, address) = observed();
    let filters = [
        "--rule",
        "spf-or-dkim",
        "--domain",
        "open.example",
        "--helo",
        "relay.forward.example",
        "--stage",
        "end-of-data",
    ];
    let more = ["--prefix", "2001:db8:1::/64", "--octets", "100000", "--count", "2", "--json"];
    let mut trace = Tracing::start(&gate, &address, &[&filters[..], &more].concat());
    for (client, helo, recipient) in [
        (PASS, "relay.forward.example", "bob@open.example"),
        (NO_PTR, "relay.forward.example", "bob@open.example"),
        (FORWARDER, "other.forward.example", "bob@open.example"),
        (FORWARDER, "relay.forward.example", "bob@trial.example"),
        (FORWARDER, "relay.forward.example", "bob@open.example"),
        (FORWARDER, "relay.forward.example", "eve@open.example"),
        (FORWARDER, "relay.forward.example", "one-too-many@open.example"),
    ] {
        send(&gate, client, helo, recipient);
    }
    let last = trace.ended();
    assert!(last.contains("2 sessions traced; nothing was missed") && last.contains("saved.jsonl"), "{last}");
    let events = trace.saved();
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&trace.out()), sorted(&std::fs::read_to_string(&trace.saved).unwrap()));
    assert_eq!(std::fs::metadata(&trace.saved).unwrap().permissions().mode() & 0o777, 0o600);
    let session = events[0].session.clone();
    let (first, second): (Vec<Event>, Vec<Event>) = events.into_iter().partition(|event| event.session == session);
    for (events, recipient) in [(&first, "bob"), (&second, "eve")] {
        assert!(matches!(&events[0].what, What::Connect { client } if client.to_string() == FORWARDER), "{events:#?}");
        assert_eq!(events.last().unwrap().what, What::End);
        let message = plain("alice@bare.example", "traced");
        let expected = format!(
            "EHLO relay.forward.example\r\nMAIL FROM:<alice@bare.example>\r\nRCPT TO:<{recipient}@open.example>\r\nDATA\r\n{message}.\r\nQUIT\r\n"
        );
        assert_eq!(said(events, true), expected);
        let replies = said(events, false);
        assert!(replies.starts_with("220 mx.example ") && replies.contains("\r\n450 4.7.26 "), "{replies}");
        let decided = events.iter().find_map(|event| match &event.what {
            What::Decision { record } => Some(record["rule"].clone()),
            _ => None,
        });
        assert_eq!(decided, Some(Value::from("spf-or-dkim")));
    }
}

/// A signal ends it; what is under way is in the file as far as it came.
#[test]
fn a_signal_leaves_a_whole_file() {
    let (gate, address) = observed();
    let mut trace = Tracing::start(&gate, &address, &["--octets", "1000"]);
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("NOOP");
    until("a session", || trace.out().contains("C: NOOP").then_some(()));
    assert!(trace.saved().is_empty(), "it is written together when it ends");
    trace.process.signal(Signal::INT);
    let last = trace.ended();
    assert!(last.contains("0 sessions traced, 1 not ended yet; nothing was missed"), "{last}");
    assert_eq!(said(&trace.saved(), true), "EHLO mail.pass.example\r\nNOOP\r\n");
    smtp.ok("NOOP");
    // The gate ends: so does a trace, and says so.
    let mut trace = Tracing::start(&gate, &address, &[]);
    drop(smtp);
    gate.stop();
    assert_eq!(trace.process.wait().code(), Some(69));
    until("why", || {
        trace.process.stderr().iter().any(|line| line.contains("the gate has ended the trace")).then_some(())
    });
}

#[test]
fn hostile_octets_do_nothing_to_a_terminal() {
    let Some(terminal) = Terminal::start(120, 40) else { return skip("tmux is not installed") };
    let (gate, address) = observed();
    terminal.run(&binary(), &["trace", "--admin", &address]);
    terminal.until("a trace that has begun", |screen| screen.contains("tracing sessions that begin").then_some(()));
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.send(b"NOOP \x1b[2J\x1b[H\x1b]0;owned\x07 \x9b2J \xff \xe2\x80\xae\r\n");
    assert!(!smtp.reply().is_empty());
    smtp.ok("NOOP after");
    let screen =
        terminal.until("what came after", |screen| screen.contains("C: NOOP after").then(|| screen.to_owned()));
    for words in [
        &format!("-- {PASS} connects, session "),
        "S: 220 mx.example ",
        "C: EHLO mail.pass.example",
        "C: NOOP \\u{1b}[2J\\u{1b}[H\\u{1b}]0;owned\\u{7} \\x9b2J \\xff \\u{202e}",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    terminal.press("C-c");
    terminal.until("the end", |screen| screen.contains("1 not ended yet; nothing was missed").then_some(()));
    terminal.say("echo ended $?");
    terminal.until("the shell", |screen| screen.contains("ended 0").then_some(()));
}

/// Who does not read misses something, and hears how much.
#[test]
fn what_was_missed_is_told() {
    let (gate, address) = observed();
    let mut trace = Tracing::start(&gate, &address, &["--octets", "1000000", "--json"]);
    trace.process.signal(Signal::STOP);
    let large = with_body("alice@pass.example", "large", &body(1_000_000));
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    // First what fills the sockets, then more events than may wait.
    for _ in 0..5 {
        assert!(smtp.transaction("alice@pass.example", "bob@open.example", &large).starts_with("250 "));
    }
    for _ in 0..5_000 {
        smtp.ok("NOOP");
    }
    trace.process.signal(Signal::CONT);
    let told = until("how much was missed", || {
        let out = trace.out();
        let note = out.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()?["missed"].as_u64());
        note.filter(|missed| *missed > 0)
    });
    trace.process.signal(Signal::INT);
    let last = trace.ended();
    let all: u64 =
        last.split("; ").find_map(|part| part.split(" event").next()?.replace(',', "").parse().ok()).unwrap();
    assert!(all >= told && last.contains("there are gaps"), "{told}: {last}");
    let warned = trace.process.stderr();
    assert!(warned.iter().any(|line| line.contains("missed here: they came faster")), "{warned:#?}");
    trace.saved();
}

/// Sessions that the gate must forget before it is known whether they are wanted.
#[test]
fn what_was_dropped_is_told() {
    let (gate, address) = observed();
    let mut trace = Tracing::start(&gate, &address, &["--octets", "1000000", "--rule", "reverse-dns"]);
    let message = with_body("alice@pass.example", "large", &body(900_000));
    let mut open = Vec::new();
    for _ in 0..25 {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.open("alice@pass.example", &["bob@open.example"]);
        smtp.send(&message);
        open.push(smtp);
    }
    until("sessions that are forgotten", || trace.out().contains("forgotten here before it was known").then_some(()));
    send(&gate, NO_PTR, "no-ptr.example", "bob@open.example");
    until("the session that is wanted", || trace.out().contains("-- ended after").then_some(()));
    assert!(trace.out().contains("=> defer by reverse-dns at rcpt, for bob@open.example; iprev "), "{}", trace.out());
    trace.process.signal(Signal::TERM);
    let last = trace.ended();
    assert!(
        last.contains("1 session traced") && last.contains("forgotten before it was known whether wanted"),
        "{last}"
    );
    assert!(said(&trace.saved(), true).starts_with("EHLO no-ptr.example\r\n"));
}
