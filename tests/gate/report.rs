//! `mx6 report` over the log of a gate: what was refused, what would have been, and what came back over IPv4.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::chromium::Chromium;
use crate::harness::gate::{Gate, Setup, mx6};
use crate::harness::message::plain;
use crate::harness::process::{Ended, succeed};
use crate::harness::skip;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS};

/// A gate of one shard, whose log is in the order in which mail came: `open.example` is enforced, `trial.example` on trial.
fn gate() -> Gate {
    Setup::new().cores(1).start()
}

/// An IPv4 client that none of the rules is asked about.
const V4: &str = "198.51.100.9";

/// Client, HELO name, reverse-path, recipients, Message-ID, and how the last reply begins.
type Sent = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str, &'static str);

const SENT: [Sent; 9] = [
    (PASS, "mail.pass.example", "alice@pass.example", &["bob@open.example"], "1", "250 "),
    (PASS, "mail.pass.example", "alice@pass.example", &["bob@trial.example"], "2", "250 "),
    // No reverse DNS, and back over IPv4: at RCPT there is no Message-ID, the envelope tells.
    (NO_PTR, "no-ptr.example", "carol@bare.example", &["bob@open.example"], "3", "450 4.7.25 "),
    (V4, "no-ptr.example", "carol@bare.example", &["bob@open.example"], "3", "250 "),
    // Neither SPF nor DKIM, and back over IPv4 with a reverse-path of its own for each try.
    (FORWARDER, "relay.forward.example", "try-1@bare.example", &["bob@open.example"], "4", "450 4.7.26 "),
    (V4, "relay.forward.example", "try-2@bare.example", &["bob@open.example"], "4", "250 "),
    // The same envelope again, and another message: nothing has come back of this one.
    (FORWARDER, "relay.forward.example", "try-2@bare.example", &["bob@open.example"], "5", "450 4.7.26 "),
    // One message on trial to two recipients, and one that DNS failed for.
    (FORWARDER, "relay.forward.example", "dave@bare.example", &["bob@trial.example", "eve@trial.example"], "6", "250 "),
    (FORWARDER, "relay.forward.example", "dave@tempfail.example", &["bob@trial.example"], "7", "250 "),
];

fn send(gate: &Gate, (client, helo, reverse_path, recipients, id, starts): Sent) {
    let mut smtp = Client::greeted(gate, client, helo);
    smtp.ok(&format!("MAIL FROM:<{reverse_path}>"));
    let mut reply = String::new();
    for recipient in recipients {
        reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
    }
    if reply.starts_with('2') {
        smtp.ok("DATA");
        reply = smtp.message(&plain(reverse_path, id));
    }
    assert!(reply.starts_with(starts), "{id}: {reply:?}, not {starts:?}");
}

/// The log after all of [`SENT`], in a folder of the gate.
fn sent(gate: &Gate) -> PathBuf {
    SENT.into_iter().for_each(|row| send(gate, row));
    // One a recipient.
    gate.decisions(10);
    gate.maildir().parent().unwrap().join("decisions.jsonl")
}

fn report(args: &[&str], logs: &[&Path]) -> Ended {
    let logs = logs.iter().map(|path| path.to_str().unwrap());
    let ended = mx6(&["report"].into_iter().chain(args.iter().copied()).chain(logs).collect::<Vec<_>>());
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    ended
}

fn figures(args: &[&str], logs: &[&Path]) -> Value {
    serde_json::from_str(&report(&[&["--json"], args].concat(), logs).stdout).unwrap()
}

/// A text as words with one space between them.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const TRIAL_VERDICT: &str = "Opening trial.example would have refused 2 of 3 messages over IPv6 (66.67 %), from 1 network. On trial 1 met a \
     temporary DNS failure, which says nothing of the sender.";

#[test]
fn figures_are_those_of_the_mail() {
    let gate = gate();
    let log = sent(&gate);
    let all = figures(&[], &[&log]);
    let messages = |domain: &Value| {
        let of = |name: &str| domain["outcomes"][name]["messages"].as_u64().unwrap();
        ["accepted_v6", "would_refuse", "refused", "accepted_v4"].map(of)
    };
    let (total, open, trial) = (&all["total"], &all["domains"]["open.example"], &all["domains"]["trial.example"]);
    assert_eq!([messages(total), messages(open), messages(trial)], [[2, 2, 3, 2], [1, 0, 3, 2], [1, 2, 0, 0]]);
    assert_eq!((&total["records"], &total["sessions"]), (&json!(10), &json!(9)), "{total:#}");
    assert_eq!(trial["outcomes"]["would_refuse"]["recipients"], 3, "{trial:#}");
    let rules = |domain: &Value| {
        ["reverse-dns", "spf-or-dkim", "spf-or-dkim-temperror"].map(|rule| domain["rules"][rule]["messages"].clone())
    };
    assert_eq!([rules(open), rules(trial)], [[1, 2, 0], [0, 1, 1]].map(|row| row.map(Value::from)));
    let back = &open["fallback"]["refused"];
    let counts = ["over_ipv4", "by_message_id", "too_recent", "not_seen"].map(|name| back[name].clone());
    assert_eq!(counts, [2, 1, 1, 0].map(Value::from), "{back:#}");
    let senders = |name: &str| open["senders"][name].as_array().unwrap().clone();
    let relay = senders("helo_names").into_iter().find(|one| one["name"] == "relay.forward.example").unwrap();
    assert_eq!((&relay["messages"], &relay["also_over_ipv4"]), (&json!(2), &json!(true)), "{relay:#}");
    assert_eq!(relay["fallback"]["refused"]["over_ipv4"], 1, "{relay:#}");
    assert_eq!(senders("networks")[0]["name"], "2001:db8:1::/64");
    assert_eq!(all["missing"]["malformed_lines"], 0, "{all:#}");
}

#[test]
fn text_says_what_happens() {
    let gate = gate();
    let log = sent(&gate);
    let text = report(&[], &[&log]).stdout;
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    for words in [
        "2 domains refused 3 of 7 messages over IPv6 (42.86 %) and, on trial, would have refused 2 more, from 1 network. 2 came back over IPv4",
        "refused by the rules 3 3",
        "accepted on trial, would be refused 2 3",
        "read 10 records of 9 sessions",
        TRIAL_VERDICT,
        "open.example refused 3 of 4 messages over IPv6 (75.00 %), from 1 network.",
    ] {
        assert!(flowing(&text).contains(words), "no {words:?} in {text}");
    }
    let trial = report(&["--domain", "TRIAL.example"], &[&log]).stdout;
    assert!(flowing(&trial).starts_with(TRIAL_VERDICT), "{trial}");
    assert!(!trial.contains("open.example") && !trial.contains("no-ptr.example"), "{trial}");
}

/// What `html.parser` makes of a page: names of all elements, what is not well-formed or could load or run something, and the text.
const READ_PAGE: &str = r#"
import html.parser, json, sys
VOID = {"meta", "link", "br", "img", "hr", "input"}
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.names, self.faults, self.text = [], [], [], []
    def handle_starttag(self, name, attributes):
        self.names.append(name)
        for key, value in attributes:
            if key.startswith("on") or key in ("src", "href", "xlink:href", "action", "srcset"):
                self.faults.append(f"{name} {key}={value}")
        if name not in VOID:
            self.open.append(name)
    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        if name not in VOID:
            self.open.pop()
    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.faults.append(f"</{name}> at {self.getpos()}")
    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)
page = Page()
page.feed(open(sys.argv[1], encoding="utf-8").read())
page.close()
page.faults.extend(f"<{name}> is open at the end" for name in page.open)
print(json.dumps({"names": page.names, "faults": page.faults, "text": " ".join(" ".join(page.text).split())}))
"#;

/// The log, a second one with what a peer could have said at worst, and the page over both.
fn page(gate: &Gate) -> (Value, PathBuf) {
    let log = sent(gate);
    let mut hostile = gate.decisions(10).iter().find(|record| record["rule"] == "spf-or-dkim").unwrap().clone();
    hostile["message_id"] = "another@test.example".into();
    hostile["helo"] = EVIL.into();
    hostile["session"] = EVIL.into();
    hostile["mail_from"] = format!("x@{EVIL}").into();
    hostile["spf"]["domain"] = EVIL.into();
    let (second, page) = (log.with_file_name("second.jsonl"), log.with_file_name("report.html"));
    std::fs::write(&second, format!("{hostile}\n")).unwrap();
    report(&["--html", page.to_str().unwrap()], &[&second, &log]);
    let read = succeed(Command::new("python3").args(["-c", READ_PAGE]).arg(&page));
    (serde_json::from_str(&read).unwrap(), page)
}

const EVIL: &str = "</td></table><script>globalThis.broken=1</script><img/src=x/onerror=globalThis.broken=1>\"'&amp;";

#[test]
fn the_page_is_well_formed_and_says_the_same() {
    let gate = gate();
    let (read, _) = page(&gate);
    assert_eq!(read["faults"], json!([]), "{read:#}");
    let names: Vec<&str> = read["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for barred in ["script", "img", "iframe", "object", "form", "base"] {
        assert!(!names.contains(&barred), "{barred}: {names:?}");
    }
    assert_eq!(
        names.iter().filter(|name| **name == "svg").count(),
        6,
        "over time, by rule, time to come back; desk and phone"
    );
    let text = read["text"].as_str().unwrap();
    for words in [
        "2 domains refused 4 of 8 messages over IPv6 (50.00 %) and, on trial, would have refused 2 more",
        TRIAL_VERDICT,
        "refused: 2 back over IPv4",
        "neither SPF nor DKIM",
        EVIL,
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

/// In a browser nothing runs, nothing is loaded, and nothing is wider than the window.
#[test]
fn the_page_in_a_browser() {
    let Some(mut browser) = Chromium::start() else { return skip("chromium is not installed") };
    let gate = gate();
    let (_, path) = page(&gate);
    browser.open(&format!("file://{}", path.display()));
    crate::harness::until("the page", || (browser.value("document.readyState") == "complete").then_some(()));
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut backgrounds = Vec::new();
    for (name, width, scheme) in [("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "dark")] {
        browser.look(width, 2000, scheme);
        let fits = browser.value("document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, true, "{name}: wider than the window");
        browser.screenshot(&target.join(format!("report-{name}.png")));
        backgrounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(backgrounds[0], backgrounds[1], "the dark page is dark");
    assert_eq!(browser.value("globalThis.broken ?? 0"), 0);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

#[test]
fn logs_that_cannot_be_read_say_so() {
    let ended = mx6(&["report", "/nowhere/decisions.log"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(66), ""), "{ended:?}");
    assert!(ended.stderr.contains("cannot read /nowhere/decisions.log"), "{ended:?}");
    let ended = mx6(&["report", "--fallback-window", "31d"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("at most 30d"), "{ended:?}");
    let empty = mx6(&["report"]);
    assert!(empty.code == Some(0) && empty.stdout.contains("nothing can be said"), "{empty:?}");
}
