//! A driver for tests: feeds a session, answers its questions by fixed rules, and writes down all that happens, in order.
#![allow(dead_code, unreachable_pub, reason = "each test includes this and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use mx6_smtp::{
    EnhancedCode, ForwardPath, MessageFault, Notice, Outcome, Question, Reply, ReversePath, Session, SessionConfig,
    StartTls, Step, Verdict,
};

/// What is done to a session.
#[derive(Debug, Clone)]
pub enum Action {
    Send(Vec<u8>),
    Deadline,
    Shutdown,
}

/// What a session does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Server(Vec<u8>),
    Question(String),
    Notice(Notice),
    Octets(Vec<u8>),
    Close,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Server(octets) => lines(f, "S: ", octets),
            Entry::Question(text) => writeln!(f, "Q: {text}"),
            Entry::Notice(notice) => writeln!(f, "N: {notice:?}"),
            Entry::Octets(octets) => lines(f, "O: ", octets),
            Entry::Close => writeln!(f, "(closed)"),
        }
    }
}

/// One line for each LF, everything that is not printable escaped.
fn lines(f: &mut fmt::Formatter<'_>, prefix: &str, octets: &[u8]) -> fmt::Result {
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let text = line.escape_ascii().to_string();
        let text = text.replace("\\'", "'").replace("\\\"", "\"");
        if text.len() > 200 {
            writeln!(f, "{prefix}{}...({} octets)", &text[..60], line.len())?;
        } else {
            writeln!(f, "{prefix}{}", text.strip_suffix("\\r\\n").unwrap_or(&text))?;
        }
    }
    Ok(())
}

/// Answers by what is asked; the rules are the branches.
pub type Judge = fn(&Question<'_>, reverse_path: &str, message: &[u8]) -> Answer;

pub enum Answer {
    Verdict(Verdict),
    Outcome(Outcome),
}

/// A session with what it said and did so far.
pub struct Driver {
    pub session: Session,
    pub now_ms: u64,
    pub entries: Vec<Entry>,
    /// Messages that were accepted.
    pub accepted: Vec<Vec<u8>>,
    judge: Judge,
    buffer: Vec<u8>,
    reverse_path: String,
    message: Vec<u8>,
}

impl Driver {
    pub fn new(config: &Arc<SessionConfig>, judge: Judge) -> Driver {
        let mut driver = Driver {
            session: Session::new(config.clone(), 0),
            now_ms: 0,
            entries: Vec::new(),
            accepted: Vec::new(),
            judge,
            buffer: Vec::new(),
            reverse_path: String::new(),
            message: Vec::new(),
        };
        driver.collect_output();
        driver
    }

    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Send(octets) => self.feed(octets),
            Action::Deadline => {
                self.now_ms = self.session.deadline_ms();
                self.session.on_deadline(self.now_ms);
                self.feed(b"");
            }
            Action::Shutdown => {
                self.session.shutdown();
                self.feed(b"");
            }
        }
    }

    pub fn closed(&self) -> bool {
        self.entries.last() == Some(&Entry::Close)
    }

    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while !self.closed() {
            let octets_left = rest.len();
            let (taken, step) = self.session.step(self.now_ms, rest);
            rest = &rest[taken..];
            self.collect_output();
            match step {
                Step::NeedInput => break,
                Step::Output => {}
                Step::Close => self.entries.push(Entry::Close),
                Step::Notice(notice) => self.entries.push(Entry::Notice(notice)),
                Step::Octets(octets) => self.collect_octets(octets),
                Step::Question(question) => self.answer(&question),
                Step::StartTls => {
                    assert_eq!(taken, octets_left, "what follows STARTTLS is taken");
                    self.session.tls_established(self.now_ms);
                }
            }
        }
        self.buffer = rest.to_vec();
    }

    fn answer(&mut self, question: &Question<'_>) {
        assert_eq!(self.session.deadline_ms(), u64::MAX, "while a question is pending nobody waits for the client");
        self.entries.push(Entry::Question(render(question)));
        if let Question::Mail { reverse_path, .. } = question {
            self.reverse_path = reverse_path.to_string();
        }
        let positive = match (self.judge)(question, &self.reverse_path, &self.message) {
            Answer::Verdict(verdict) => {
                let positive = verdict == Verdict::Accept;
                self.session.verdict(self.now_ms, verdict);
                positive
            }
            Answer::Outcome(outcome) => {
                let positive = matches!(outcome, Outcome::Accepted(_));
                self.session.outcome(self.now_ms, outcome);
                positive
            }
        };
        if matches!(question, Question::EndOfData { .. }) {
            let message = std::mem::take(&mut self.message);
            if positive {
                self.accepted.push(message);
            }
        }
        self.collect_output();
    }

    fn collect_octets(&mut self, octets: &[u8]) {
        assert!(!octets.is_empty());
        self.message.extend_from_slice(octets);
        match self.entries.last_mut() {
            Some(Entry::Octets(before)) => before.extend_from_slice(octets),
            _ => self.entries.push(Entry::Octets(octets.to_vec())),
        }
    }

    fn collect_output(&mut self) {
        let octets = self.session.output().to_vec();
        self.session.output_written(octets.len());
        assert!(self.session.output().is_empty());
        match self.entries.last_mut() {
            _ if octets.is_empty() => {}
            Some(Entry::Server(before)) => before.extend_from_slice(&octets),
            _ => self.entries.push(Entry::Server(octets)),
        }
    }
}

/// All that happens when these octets come in these chunks.
pub fn run(
    config: &Arc<SessionConfig>,
    judge: Judge,
    actions: &[Action],
    cut: impl Fn(&[u8]) -> Vec<&[u8]>,
) -> Vec<Entry> {
    let mut driver = Driver::new(config, judge);
    for action in actions {
        match action {
            Action::Send(octets) => cut(octets).into_iter().for_each(|chunk| driver.feed(chunk)),
            action => driver.act(action),
        }
    }
    driver.entries
}

fn render(question: &Question<'_>) -> String {
    match question {
        Question::Helo { domain, extended } => format!("{} {domain}", if *extended { "EHLO" } else { "HELO" }),
        Question::Mail { reverse_path, size, body_8bit, smtp_utf8, dsn } => {
            let mut text = format!("MAIL <{reverse_path}> size {size:?} 8bit {body_8bit}");
            for (name, value) in [("utf8", smtp_utf8.then_some("true")), ("ret", dsn.ret), ("envid", dsn.envid)] {
                text.extend(value.map(|value| format!(" {name} {value}")));
            }
            text
        }
        Question::Rcpt { forward_path: path @ ForwardPath::Postmaster, .. } => format!("RCPT <{path}> without domain"),
        Question::Rcpt { forward_path, dsn } => {
            let mut text = format!("RCPT <{forward_path}>");
            for (name, value) in [("notify", dsn.notify), ("orcpt", dsn.orcpt)] {
                text.extend(value.map(|value| format!(" {name} {value}")));
            }
            text
        }
        Question::Data => "DATA".into(),
        Question::EndOfData { fault } => format!("end of data, fault {fault:?}"),
    }
}

/// The rules of the transcripts: words in addresses and in the message say how it is answered.
pub fn by_words(question: &Question<'_>, reverse_path: &str, message: &[u8]) -> Answer {
    let reply = |code, enhanced, text: &'static str| Reply::fixed(code, enhanced, text);
    let refuse = |code, enhanced, text| Answer::Verdict(Verdict::refuse(reply(code, enhanced, text)));
    match question {
        Question::Helo { domain: "refused.example", .. } => refuse(550, EnhancedCode(5, 7, 1), "Not you."),
        Question::Helo { domain: "later.example", .. } => refuse(450, EnhancedCode(4, 7, 1), "Not now."),
        Question::Helo { domain: "closed.example", .. } => refuse(421, EnhancedCode(4, 7, 0), "Too many of you."),
        Question::Mail { reverse_path: ReversePath::Mailbox(mailbox), .. } => match mailbox.local_part {
            "refused" => refuse(550, EnhancedCode(5, 7, 1), "Not from you."),
            "later" => refuse(451, EnhancedCode(4, 4, 3), "Cannot tell now."),
            _ => Answer::Verdict(Verdict::Accept),
        },
        Question::Rcpt { forward_path: ForwardPath::Mailbox(mailbox), .. } => match mailbox.local_part {
            "refused" => refuse(550, EnhancedCode(5, 1, 1), "Nobody of that name."),
            "later" => refuse(450, EnhancedCode(4, 2, 0), "Not now."),
            "closed" => refuse(421, EnhancedCode(4, 7, 0), "Enough."),
            "hop" => Answer::Outcome(Outcome::Accepted(reply(250, EnhancedCode(2, 1, 5), "Taken by the next hop"))),
            "hop-refused" => Answer::Outcome(Outcome::Refused(reply(550, EnhancedCode(5, 1, 1), "No such user\nhere"))),
            _ => Answer::Verdict(Verdict::Accept),
        },
        Question::Data if reverse_path.starts_with("no-data") => refuse(451, EnhancedCode(4, 3, 1), "No room."),
        Question::EndOfData { fault: Some(MessageFault::TooLarge) } => Answer::Verdict(Verdict::Accept),
        Question::EndOfData { fault: Some(fault) } => Answer::Verdict(Verdict::refuse(fault.reply())),
        Question::EndOfData { fault: None } => match message {
            message if contains(message, "X-Test: refused") => refuse(554, EnhancedCode(5, 7, 1), "Not this."),
            message if contains(message, "X-Test: later") => refuse(451, EnhancedCode(4, 4, 3), "Cannot tell now."),
            message if contains(message, "X-Test: closed") => refuse(421, EnhancedCode(4, 3, 0), "Broken."),
            message if contains(message, "X-Test: hop") => {
                Answer::Outcome(Outcome::Accepted(reply(250, EnhancedCode(2, 0, 0), "Queued as 4711")))
            }
            message if contains(message, "X-Test: unknown") => {
                Answer::Outcome(Outcome::Unknown(reply(451, EnhancedCode(4, 4, 2), "Lost it.")))
            }
            _ => Answer::Verdict(Verdict::Accept),
        },
        _ => Answer::Verdict(Verdict::Accept),
    }
}

pub fn contains(octets: &[u8], text: &str) -> bool {
    memchr::memmem::find(octets, text.as_bytes()).is_some()
}

/// A corpus file, or nothing and a notice when it is not there.
pub fn corpus(path: &str) -> Option<String> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora")).join(path);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("SKIPPED: there is no {}", path.display());
    }
    text
}

/// `.in` files: one line is one line of the client, ended by CRLF unless `\c` ends it; `\r \n \t \0 \\ \xHH` are octets. Lines that begin with
/// `#` are comments, with `!` directives: `!set NAME=NUMBER`, `!repeat COUNT TEXT`, `!deadline`, `!shutdown`.
pub fn read_script(text: &str) -> (Arc<SessionConfig>, Vec<(String, Action)>) {
    let mut config = SessionConfig { hostname: "mx.example".into(), ..SessionConfig::default() };
    let mut script = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(directive) = line.strip_prefix('!') else {
            script.push((line.to_owned(), Action::Send(octets(line))));
            continue;
        };
        match directive.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["set", setting] => set(&mut config, setting),
            ["repeat", count, text] => {
                script.push((line.to_owned(), Action::Send(octets(text).repeat(count.parse().unwrap()))));
            }
            ["deadline"] => script.push((line.to_owned(), Action::Deadline)),
            ["shutdown"] => script.push((line.to_owned(), Action::Shutdown)),
            _ => panic!("unknown directive {line}"),
        }
    }
    (Arc::new(config), script)
}

fn set(config: &mut SessionConfig, setting: &str) {
    let (name, number) = setting.split_once('=').unwrap();
    let number: u64 = number.parse().unwrap();
    match name {
        "size_limit" => config.size_limit = number,
        "header_octets_max" => config.header_octets_max = number as usize,
        "recipients_max" => config.recipients_max = number as usize,
        "line_octets_max" => config.line_octets_max = number as usize,
        "bad_commands_max" => config.bad_commands_max = number as u32,
        "refused_recipients_max" => config.refused_recipients_max = number as u32,
        "chunks_max" => config.chunks_max = number as u32,
        "transactions_max" => config.transactions_max = number as u32,
        "eight_bit_mime" => config.eight_bit_mime = number > 0,
        "smtp_utf8" => config.smtp_utf8 = number > 0,
        "dsn" => config.dsn = number > 0,
        "one_domain" => config.one_domain = number > 0,
        "starttls" => {
            config.starttls = [StartTls::NotOffered, StartTls::Unavailable, StartTls::Offered][number as usize]
        }
        _ => panic!("unknown setting {name}"),
    }
}

fn octets(line: &str) -> Vec<u8> {
    let (line, end) = line.strip_suffix("\\c").map_or((line, "\r\n"), |line| (line, ""));
    let mut octets = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let octet = match (first, after) {
            (b'\\', [b'x', high, low, ..]) => {
                rest = &after[3..];
                let digits = [*high, *low];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (b'\\', [letter, ..]) => {
                rest = &after[1..];
                match letter {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                }
            }
            (octet, _) => *octet,
        };
        octets.push(octet);
    }
    octets.extend_from_slice(end.as_bytes());
    octets
}

pub fn transcripts() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}
