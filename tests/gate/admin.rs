//! The admin endpoint of a running gate: probes, metrics, status, streams, the page in a real browser.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::chromium::Chromium;
use crate::harness::gate::{Gate, Setup};
use crate::harness::http::{Following, admin, get, request, value};
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, PASS_V4};
use crate::harness::{skip, until};

/// A gate with an endpoint on a port of loopback.
fn observed() -> (Gate, String) {
    let mut gate = Setup::new().args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    (gate, address)
}

/// What is sent, and the decision that it leads to.
const SENT: [(&str, &str, &str, &str, &str); 6] = [
    (PASS, "alice@pass.example", "bob@open.example", "end-of-data", "accepted accept"),
    (PASS_V4, "alice@bare.example", "bob@open.example", "end-of-data", "accepted accept"),
    (PASS, "alice@pass.example", "bob@v4only.example", "rcpt", "not-opted-in reject"),
    (NO_PTR, "alice@pass.example", "bob@open.example", "rcpt", "reverse-dns defer"),
    (FORWARDER, "alice@bare.example", "bob@open.example", "end-of-data", "spf-or-dkim defer"),
    (NO_PTR, "alice@bare.example", "bob@trial.example", "end-of-data", "reverse-dns accept"),
];

fn send(gate: &Gate, (client, reverse_path, recipient, ..): (&str, &str, &str, &str, &str)) -> String {
    let mut smtp = Client::greeted(gate, client, "mail.pass.example");
    smtp.transaction(reverse_path, recipient, &plain(reverse_path, "observed"))
}

/// The series of a decision.
fn series(stage: &str, decision: &str) -> String {
    let (rule, verdict) = decision.split_once(' ').unwrap();
    format!("mx6_decisions_total{{stage=\"{stage}\",rule=\"{rule}\",verdict=\"{verdict}\"}}")
}

fn status(address: &str) -> Value {
    let answer = get(address, "/status");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// Waits until the gate says that it takes mail.
fn ready(address: &str) {
    until("a gate that is ready", || (get(address, "/ready").status == 200).then_some(()));
}

/// Runs a program that reads the metrics and must be content.
fn content(program: &str, args: &[&str], metrics: &str) -> String {
    let spawned =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    said
}

/// Metrics, status and what was sent agree; the exemplar of a refusal leads to its record.
#[test]
fn what_was_sent_is_counted() {
    let (gate, address) = observed();
    for (number, row) in SENT.into_iter().cycle().take(12).enumerate() {
        send(&gate, row);
        gate.decisions(number + 1);
    }
    let seen = until("all records to be seen", || {
        let seen = status(&address);
        (seen["observed"]["records"] == 12).then_some(seen)
    });
    let metrics = get(&address, "/metrics").body;
    for (.., stage, decision) in SENT {
        let expected = SENT.iter().filter(|row| (row.3, row.4) == (stage, decision)).count() * 2;
        assert_eq!(value(&metrics, &series(stage, decision)), expected as f64, "{stage} {decision}: {metrics}");
    }
    let all: f64 = metrics.lines().filter(|line| line.starts_with("mx6_decisions_total{")).map(count_of).sum();
    let told: u64 = seen["decisions"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum();
    assert_eq!((all, told), (12.0, 12));
    assert_eq!(value(&metrics, "mx6_would_refuse_total{rule=\"reverse-dns\"}"), 2.0);
    let accepted = value(&metrics, "mx6_stage_seconds_count{stage=\"verdict\"}");
    assert_eq!(accepted, 8.0, "messages that came to their end");
    // The session of the last refusal by reverse DNS is the one in the log.
    let records = gate.decisions(12);
    let refused = |record: &&Value| record["rule"] == "reverse-dns" && record["verdict"] == "defer";
    let last = records.iter().rfind(refused).unwrap()["session"].as_str().unwrap();
    assert!(metrics.contains(&format!("verdict=\"defer\"}} 2 # {{session=\"{last}\"}}")), "{last}: {metrics}");
    let trial = &seen["observed"]["would_refuse"][0];
    assert_eq!((trial["domain"].as_str(), trial["count"].as_u64()), (Some("trial.example"), Some(2)), "{trial}");
    assert_eq!(seen["observed"]["recent"].as_array().unwrap().len(), 12);
    content("promtool", &["check", "metrics"], &request(&address, PROMETHEUS).body);
    let parser = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as p\nprint(len(list(p(sys.stdin.read()))))";
    let families: usize = content("/usr/bin/python3", &["-c", parser], &metrics).trim().parse().unwrap();
    assert!(families > 80, "{families}");
}

/// The text that Prometheus reads where OpenMetrics is not asked for.
const PROMETHEUS: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nConnection: close\r\n\r\n";

fn count_of(line: &str) -> f64 {
    line.split("} ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Ready while it takes mail, alive as long as it runs.
#[test]
fn probes() {
    let (mut gate, address) = observed();
    assert_eq!(get(&address, "/live").status, 200);
    ready(&address);
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
    smtp.ok("DATA");
    gate.process.signal(Signal::TERM);
    let ready =
        until("a gate that is not ready", || Some(get(&address, "/ready")).filter(|answer| answer.status == 503));
    assert!(ready.body.contains("drain"), "{ready:?}");
    assert_eq!(get(&address, "/live").status, 200, "it drains, and lives");
    assert!(smtp.message(&plain("alice@pass.example", "drained")).starts_with("250 "));
    assert_eq!(gate.process.wait().code(), Some(0));
}

/// A Unix socket for who may, in place of one that was left over.
#[test]
fn unix_socket() {
    let setup = Setup::new();
    let path = setup.dir().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let name = format!("unix:{}", path.display());
    let mut gate = setup.args(&["--admin", &name, "--admin", "127.0.0.1:0"]).start();
    assert_eq!(admin(&mut gate, 2)[0], name);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    ready(&name);
    assert_eq!(status(&name)["gate"]["hostname"], "mx.example");
    gate.stop();
    assert!(!path.exists(), "the socket is left behind");
}

/// A page of somebody else, in a browser that reaches the endpoint, gets nothing out of it.
#[test]
fn who_may_ask_for_what() {
    let (mut gate, address) = observed();
    for (ask, expected) in [
        ("GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403),
        (
            "PUT /log-level HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 5\r\nConnection: close\r\n\r\ndebug",
            403,
        ),
        ("PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nConnection: close\r\n\r\nloud", 400),
        ("POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    ] {
        let answer = request(&address, ask);
        assert_eq!(answer.status, expected, "{ask:?}: {answer:?}");
    }
    let set = "PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\ndebug";
    assert!(get(&address, "/log-level").body.contains("info"));
    assert_eq!(request(&address, set).status, 200);
    assert_eq!(status(&address)["log"]["level"], "debug");
    Client::greeted(&gate, PASS, "mail.pass.example");
    gate.process.until_stderr("a debug line", |lines| lines.iter().any(|line| line.contains("debug: ")).then_some(()));
}

/// Clients that send nothing, or read nothing, do not keep others from their answers.
#[test]
fn slow_clients_hold_nobody_up() {
    let (gate, address) = observed();
    let silent: Vec<TcpStream> = (0..120).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    let mut unread = TcpStream::connect(&address).unwrap();
    unread.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    for row in SENT {
        send(&gate, row);
    }
    ready(&address);
    assert_eq!(status(&address)["gate"]["readiness"]["state"], "ready");
    drop((silent, unread));
}

/// The stream of decisions, filtered.
#[test]
fn decisions_as_they_fall() {
    let (gate, address) = observed();
    let mut stream = Following::open(&address, "/decisions?verdict=defer");
    for row in SENT {
        send(&gate, row);
    }
    let told = stream.until("two decisions", |text| text.matches("\"verdict\":\"defer\"").count() == 2);
    assert!(told.contains("\"rule\":\"reverse-dns\"") && told.contains("\"rule\":\"spf-or-dkim\""), "{told}");
    assert!(!told.contains("\"verdict\":\"reject\"") && !told.contains("\"verdict\":\"accept\""), "{told}");
}

/// What is said in the sessions that somebody wants to know of, and in no others.
#[test]
fn transcripts_of_sessions() {
    let (gate, address) = observed();
    let mut refused = Following::open(&address, "/trace?rule=reverse-dns&domain=open.example&prefix=2001:db8::/32");
    let mut accepted = Following::open(&address, "/trace?rule=accepted&octets=20");
    SENT.into_iter().for_each(|row| drop(send(&gate, row)));
    let told = refused.until("one session", |text| text.contains("\"event\":\"end\""));
    let events: Vec<Value> =
        told.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).filter(Value::is_object).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("connect", "end"), "{told}");
    assert_eq!(events[0]["client"], NO_PTR);
    assert!(events.iter().all(|event| event["session"] == events[0]["session"]), "{told}");
    let decision = events.iter().find(|event| event["event"] == "decision").unwrap();
    assert_eq!(decision["record"]["rule"], "reverse-dns");
    let said = |who: &str| -> String {
        events.iter().filter(|event| event["event"] == who).filter_map(|event| event["text"].as_str()).collect()
    };
    assert!(
        said("client").starts_with("EHLO mail.pass.example\r\nMAIL FROM:<alice@pass.example>\r\nRCPT TO:"),
        "{told}"
    );
    assert!(said("server").starts_with("220 mx.example ") && said("server").contains("450 4.7.25 "), "{told}");
    let told = accepted.until("two sessions", |text| text.matches("\"event\":\"end\"").count() == 2);
    let cut = told.lines().filter(|line| line.contains("\"cut\":")).count();
    assert_eq!(cut, 2, "of each message 20 octets are shown: {told}");
    assert!(!told.contains("Subject:"), "it comes later: {told}");
    // Nobody traces any more: nobody tells.
    drop((refused, accepted));
    assert_eq!(get(&address, "/trace?sender=x").status, 400);
}

/// The page in a browser: no complaints, what it shows is what `/metrics` says, and it goes on by itself.
#[test]
fn page() {
    let Some(mut browser) = Chromium::start() else { return skip("chromium is not installed") };
    let (gate, address) = observed();
    SENT.into_iter().for_each(|row| drop(send(&gate, row)));
    browser.open(&format!("http://{address}/"));
    let shown =
        "Object.fromEntries([...document.querySelectorAll('[data-value]')].map(e=>[e.dataset.metric,e.dataset.value]))";
    let agrees = |browser: &mut Chromium, least: f64| {
        let page = browser.value(shown);
        let metrics = get(&address, "/metrics").body;
        let page = page.as_object().unwrap();
        let is_same =
            |(name, shown): (&String, &Value)| shown.as_str().unwrap().parse::<f64>().unwrap() == value(&metrics, name);
        let accepted =
            page.get(&series("end-of-data", "accepted accept")).and_then(|shown| shown.as_str()?.parse::<f64>().ok());
        (accepted == Some(least) && page.iter().all(is_same)).then(|| page.keys().cloned().collect::<BTreeSet<_>>())
    };
    let names = until("a page that agrees with the metrics", || agrees(&mut browser, 2.0));
    assert!(names.len() > 15 && names.contains("mx6_ready") && names.contains("mx6_dns_hits_total"), "{names:?}");
    assert_eq!(browser.value("document.querySelectorAll('#recent li').length"), 6);
    // It is not loaded anew: what comes next comes by itself.
    browser.value("globalThis.same = true");
    send(&gate, SENT[0]);
    until("the page to go on", || agrees(&mut browser, 3.0));
    assert_eq!(browser.value("globalThis.same"), true);
    assert_eq!(browser.value("document.querySelectorAll('#recent li').length"), 7);
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for (name, width, height, scheme) in
        [("light", 1280, 1800, "light"), ("dark", 1280, 1800, "dark"), ("phone", 360, 2400, "dark")]
    {
        browser.look(width, height, scheme);
        let fits = browser.value("document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, true, "{name}: wider than the window");
        browser.screenshot(&target.join(format!("status-page-{name}.png")));
    }
    let dark = browser.value("getComputedStyle(document.body).backgroundColor");
    browser.look(1280, 1800, "light");
    assert_ne!(browser.value("getComputedStyle(document.body).backgroundColor"), dark);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// What a peer says is text on the page, and no part of it.
#[test]
fn hostile_names_on_the_page() {
    let Some(mut browser) = Chromium::start() else { return skip("chromium is not installed") };
    let (gate, address) = observed();
    let mut smtp = Client::proxied(&gate, PASS);
    smtp.reply();
    smtp.ok("EHLO mail.pass.example");
    smtp.ok("MAIL FROM:<\"<img/src=x/onerror=globalThis.broken=1>\"@pass.example>");
    smtp.say("RCPT TO:<\"</script><script>globalThis.broken=1</script>\"@elsewhere.example>");
    gate.decisions(1);
    browser.open(&format!("http://{address}/"));
    let text = until("the decision on the page", || {
        let text = browser.value("document.querySelector('#recent')?.textContent ?? ''");
        text.as_str().filter(|text| text.contains("elsewhere.example")).map(str::to_owned)
    });
    assert!(text.contains("</script><script>globalThis.broken=1</script>"), "{text}");
    assert_eq!(browser.value("document.querySelectorAll('#recent img, #recent script').length"), 0);
    assert_eq!(browser.value("globalThis.broken ?? 0"), 0);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}
