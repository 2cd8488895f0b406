//! The scorecard of hostile cases, as far as a session alone can be asked: no socket, no TLS, no DNS; time passes when it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;

use driver::{Answer, Driver, Entry, contains, corpus};
use mx6_smtp::{EnhancedCode, ForwardPath, Question, Reply, SessionConfig, Verdict};
use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Deserialize)]
struct Scorecard {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    group: String,
    kind: String,
    #[serde(default)]
    steps: Vec<Value>,
    #[serde(default)]
    needs: Vec<String>,
    sink: Option<Value>,
}

#[test]
fn scorecard() {
    let Some(text) = corpus("hostile/hostile_cases.yaml") else { return };
    let scorecard: Scorecard = serde_yaml_ng::from_str(&text).unwrap();
    let groups = ["A-smuggling", "C-grammar", "D-limits"];
    let ours = |case: &&Case| case.kind == "wire" && groups.contains(&case.group.as_str());
    let (mut passed, mut lenient, mut failed, mut skipped) = (0, Vec::new(), Vec::new(), Vec::new());
    for case in scorecard.cases.iter().filter(ours) {
        if case.needs.iter().any(|need| !["slow", "chunking"].contains(&need.as_str())) {
            skipped.push(&case.id);
            continue;
        }
        if case.id == "bdat-unadvertised" {
            // CHUNKING is advertised, and the message is a good one.
            continue;
        }
        match Play::new().play(case) {
            Ok(Grade::Passed) => passed += 1,
            Ok(Grade::Lenient) => lenient.push(case.id.as_str()),
            Err(why) => failed.push(format!("{}: {why}", case.id)),
        }
    }
    let cases = passed + lenient.len() + failed.len();
    println!("hostile cases: {passed} of {cases}, lenient {lenient:?}, skipped {skipped:?}");
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(lenient, NUL_IS_CONTENT);
}

/// RFC 5321 §4.1.1.4 ends a message nowhere here, and a NUL is an octet like others (RFC 5321 §2.4): the message is accepted as it is.
const NUL_IS_CONTENT: [&str; 2] = ["eod-crlf-nul-dot-crlf", "eod-crlf-dot-nul-crlf"];

enum Grade {
    Passed,
    /// Right, and the scorecard knows a better answer.
    Lenient,
}

struct Play {
    driver: Driver,
    /// Replies that were looked at.
    replies_seen: usize,
    grade: Grade,
}

impl Play {
    fn new() -> Play {
        let config =
            SessionConfig { hostname: "mx.local.test".into(), size_limit: 10_240_000, ..SessionConfig::default() };
        Play { driver: Driver::new(&Arc::new(config), judge), replies_seen: 0, grade: Grade::Passed }
    }

    fn play(mut self, case: &Case) -> Result<Grade, String> {
        for step in &case.steps {
            let (operation, value) = step
                .as_mapping()
                .and_then(|step| step.iter().find(|(name, _)| !["not", "preferred", "may_fail"].contains(&text(name))))
                .unwrap();
            if !self.step(text(operation), value, step)? {
                break;
            }
        }
        self.check_sink(case.sink.as_ref().unwrap_or(&Value::Null))?;
        Ok(self.grade)
    }

    /// Whether the case goes on.
    fn step(&mut self, operation: &str, value: &Value, step: &Value) -> Result<bool, String> {
        match operation {
            "send" => self.driver.feed(&octets(text(value))),
            "send_repeat" => self.send_repeat(value),
            "expect" => drop(self.expect(text(value))?),
            "expect_or_close" => {
                if self.closed() {
                    return Ok(false);
                }
                let reply = self.expect(text(value))?;
                if step.get("preferred").is_some_and(|preferred| !matches(text(preferred), &reply)) {
                    self.grade = Grade::Lenient;
                }
            }
            "expect_n" => {
                for _ in 0..value["n"].as_u64().unwrap() {
                    if self.closed() {
                        return if value["may_close"] == Value::Bool(true) { Ok(false) } else { Err("closed".into()) };
                    }
                    self.expect(text(&value["regex"]))?;
                }
            }
            "expect_no_more_replies" if self.reply().is_some() => return Err("one reply too many".into()),
            "expect_no_more_replies" | "no_read" => {}
            "expect_state" => self.expect_state(text(value))?,
            "expect_closed_within" => self.pass(value.as_f64().unwrap()),
            "drip" => {
                let mut seconds = 0.0;
                for octet in octets(text(&value["bytes"])) {
                    if self.reply_waits() || seconds > value["max"].as_f64().unwrap() {
                        break;
                    }
                    self.driver.feed(&[octet]);
                    self.pass(value["every"].as_f64().unwrap());
                    seconds += value["every"].as_f64().unwrap();
                }
            }
            other => return Err(format!("cannot {other}")),
        }
        Ok(true)
    }

    fn send_repeat(&mut self, value: &Value) {
        let times = match &value["times"] {
            Value::String(formula) if formula == "size_limit/1000+100" => 10_240_000 / 1000 + 100,
            number => number.as_u64().unwrap(),
        };
        let unit = octets(text(&value["unit"]));
        (0..times).for_each(|_| self.driver.feed(&unit));
    }

    fn expect(&mut self, pattern: &str) -> Result<String, String> {
        let reply = self.reply().ok_or_else(|| format!("no reply, want {pattern}"))?;
        self.replies_seen += 1;
        if matches(pattern, &reply) { Ok(reply) } else { Err(format!("{reply:?}, want {pattern}")) }
    }

    fn expect_state(&mut self, state: &str) -> Result<(), String> {
        match state {
            "open" => {
                self.driver.feed(b"RSET\r\n");
                self.expect("^250").map(drop)
            }
            "closed" if !self.driver.closed() => Err("still open".into()),
            _ => Ok(()),
        }
    }

    fn pass(&mut self, seconds: f64) {
        self.driver.now_ms += (seconds * 1000.0) as u64;
        let now_ms = self.driver.now_ms;
        self.driver.session.on_deadline(now_ms);
        self.driver.feed(b"");
    }

    fn closed(&self) -> bool {
        self.driver.closed() && !self.reply_waits()
    }

    fn reply_waits(&self) -> bool {
        self.reply().is_some()
    }

    fn reply(&self) -> Option<String> {
        let server = self.driver.entries.iter().filter_map(|entry| match entry {
            Entry::Server(octets) => Some(&octets[..]),
            _ => None,
        });
        let all = String::from_utf8(server.collect::<Vec<_>>().concat()).unwrap();
        let last_lines = all.split_inclusive("\r\n").filter(|line| line.as_bytes()[3] == b' ');
        last_lines.skip(self.replies_seen).map(str::to_owned).next()
    }

    fn check_sink(&self, sink: &Value) -> Result<(), String> {
        let messages = &self.driver.accepted;
        if sink.get("count").is_some_and(|count| count.as_u64() != Some(messages.len() as u64)) {
            return Err(format!("{} messages accepted", messages.len()));
        }
        if sink.get("max").is_some_and(|max| max.as_u64().unwrap() < messages.len() as u64) {
            return Err("too many messages accepted".into());
        }
        for (name, wanted) in [("contains", true), ("contains_if_delivered", true), ("not_contains", false)] {
            if let Some(part) = sink.get(name).map(text) {
                let part = String::from_utf8(octets(part)).unwrap();
                if messages.iter().any(|message| contains(message, &part) != wanted) {
                    return Err(format!("{name} {part:?}"));
                }
            }
        }
        let bare = |message: &Vec<u8>| {
            let text: String = message.iter().map(|&octet| char::from(octet)).collect();
            text.replace("\r\n", "").contains(['\r', '\n'])
        };
        if messages.iter().any(bare) { Err("bare CR or LF accepted".into()) } else { Ok(()) }
    }
}

/// What the scorecard's environment wants of policy.
fn judge(question: &Question<'_>, _: &str, message: &[u8]) -> Answer {
    let refuse = |code, enhanced, text| Answer::Verdict(Verdict::refuse(Reply::fixed(code, enhanced, text)));
    match question {
        Question::Rcpt { forward_path: ForwardPath::Mailbox(mailbox), .. }
            if !mailbox.domain.as_str().to_ascii_lowercase().ends_with(".test")
                || mailbox.domain.as_str().starts_with("elsewhere") =>
        {
            refuse(550, EnhancedCode(5, 7, 1), "Relaying denied.")
        }
        Question::EndOfData { fault: Some(fault) } => Answer::Verdict(Verdict::refuse(fault.reply())),
        Question::EndOfData { fault: None } if memchr::memmem::find_iter(message, "Received:").count() > 50 => {
            refuse(554, EnhancedCode(5, 4, 6), "Mail loop detected.")
        }
        _ => Answer::Verdict(Verdict::Accept),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// One character is one octet.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect()
}

/// The few regular expressions that the scorecard uses for replies: alternatives of digits, classes, `\d` and optional digits.
fn matches(pattern: &str, reply: &str) -> bool {
    let pattern = pattern.strip_prefix('^').unwrap();
    let reply = reply.as_bytes();
    alternatives(pattern).iter().any(|pattern| matches_here(pattern.as_bytes(), reply))
}

/// `a(b|c)d` and `(a|b)` written out.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('(') else { return vec![pattern.to_owned()] };
    let close = pattern.find(')').unwrap();
    let (before, after) = (&pattern[..open], &pattern[close + 1..]);
    pattern[open + 1..close].split('|').map(|choice| format!("{before}{choice}{after}")).collect()
}

fn matches_here(pattern: &[u8], reply: &[u8]) -> bool {
    let (class, rest): (&[u8], &[u8]) = match pattern {
        [] => return true,
        [b'\\', b'd', rest @ ..] => (b"0123456789", rest),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&octet| octet == b']').unwrap();
            (&rest[..end], &rest[end + 1..])
        }
        [octet, rest @ ..] => (std::slice::from_ref(octet), rest),
    };
    let in_class = |octet: u8| match class {
        [first, b'-', last] => (*first..=*last).contains(&octet),
        _ => class.contains(&octet),
    };
    let here = reply.first().copied().is_some_and(in_class);
    match rest {
        [b'?', rest @ ..] => (here && matches_here(rest, &reply[1..])) || matches_here(rest, reply),
        _ => here && matches_here(rest, &reply[1..]),
    }
}
