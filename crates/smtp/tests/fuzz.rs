//! Commands, sessions and replies from octets at random: see `tests/fuzz/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;

use std::sync::Arc;

use inputs::{ITERATIONS, Tried, has_bare_cr_or_lf, octets, pieces};
use mx6_smtp::client::{REPLY_LINE_OCTETS_MAX, ReplyReader};
use mx6_smtp::{
    Command, EnhancedCode, Notice, Outcome, Question, Reply, ReversePath, Session, SessionConfig, Step, Verdict,
};

const COMMAND_WORDS: [&[u8]; 53] = [
    b"MAIL FROM:",
    b"RCPT TO:",
    b"EHLO ",
    b"HELO ",
    b"DATA",
    b"RSET",
    b"NOOP",
    b"VRFY ",
    b"HELP",
    b"QUIT",
    b"<",
    b">",
    b"@",
    b":",
    b".",
    b" ",
    b"<a@b.example>",
    b"<>",
    b"<postmaster>",
    b"\"",
    b"\\",
    b"\"a b\"",
    b"a",
    b"a.b",
    b"[192.0.2.1]",
    b"[IPv6:2001:db8::1]",
    b"@x.example:",
    b",",
    b" SIZE=1000",
    b" SIZE=99999999999999999999",
    b" BODY=8BITMIME",
    b" BODY=7BIT",
    b"=",
    b"-",
    b"_",
    b"\t",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"xn--bcher-kva.example",
    b"mail from:<A@B.example>",
    b"rcpt to:<A@B.example>",
    b" RET=HDRS",
    b" ENVID=a+2Bb",
    b" NOTIFY=SUCCESS,FAILURE",
    b" NOTIFY=NEVER",
    b" ORCPT=rfc822;a@b",
    b"BDAT ",
    b"20 LAST",
    b"STARTTLS",
    b" SMTPUTF8",
    "ü".as_bytes(),
    "例子".as_bytes(),
    "\u{85}".as_bytes(),
    "<ü@bücher.example>".as_bytes(),
];

/// The command as RFC 5321 writes it.
fn print(command: &Command<'_>) -> String {
    match command {
        Command::Helo { domain } => format!("HELO {domain}"),
        Command::Ehlo { domain } => format!("EHLO {domain}"),
        Command::Mail { reverse_path, parameters } => {
            let size = parameters.size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
            let body = match parameters.body_8bit {
                None => "",
                Some(true) => " BODY=8BITMIME",
                Some(false) => " BODY=7BIT",
            };
            let ret = parameters.dsn.ret.map(|ret| format!(" RET={ret}")).unwrap_or_default();
            let envid = parameters.dsn.envid.map(|envid| format!(" ENVID={envid}")).unwrap_or_default();
            let utf8 = if parameters.smtp_utf8 { " SMTPUTF8" } else { "" };
            format!("MAIL FROM:<{reverse_path}>{size}{body}{utf8}{ret}{envid}")
        }
        Command::Rcpt { forward_path, dsn } => {
            let notify = dsn.notify.map(|notify| format!(" NOTIFY={notify}")).unwrap_or_default();
            let orcpt = dsn.orcpt.map(|orcpt| format!(" ORCPT={orcpt}")).unwrap_or_default();
            format!("RCPT TO:<{forward_path}>{notify}{orcpt}")
        }
        Command::StartTls => "STARTTLS".into(),
        Command::Bdat { octets, last } => format!("BDAT {octets}{}", if *last { " LAST" } else { "" }),
        Command::Data => "DATA".into(),
        Command::Rset => "RSET".into(),
        Command::Noop => "NOOP".into(),
        Command::Help => "HELP".into(),
        Command::Vrfy => "VRFY x".into(),
        Command::Quit => "QUIT".into(),
    }
}

#[test]
fn commands_print_as_they_were_read() {
    let tried = Tried::new("command round trip");
    bolero::check!().with_type::<Vec<u8>>().with_iterations(ITERATIONS).for_each(|codes| {
        let line = octets(codes, &COMMAND_WORDS);
        let mut known = 0;
        // Most random lines are no command; behind a verb more of them are.
        for line in [line.clone(), [b"MAIL FROM:<", &line[..]].concat(), [b"RCPT TO:<", &line[..], b">"].concat()] {
            if let Ok(command) = Command::parse(&line) {
                let printed = print(&command);
                assert!(!printed.contains(char::is_control), "{printed:?}");
                assert_eq!(Command::parse(printed.as_bytes()), Ok(command), "{printed:?}");
                known += 1;
            }
        }
        tried.count(known);
    });
}

const SESSION_WORDS: [&[u8]; 44] = [
    b"EHLO a.example\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"DATA\r\n",
    b"\r\n.\r\n",
    b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
    b"EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nA: b\r\n\r\nbody\r\n.\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"HELP\r\n",
    b"HELO a\r\n",
    b"QUIT\r\n",
    b"VRFY x\r\n",
    b"XXXX\r\n",
    b"MAIL FROM:<a@b.example> SIZE=41\r\n",
    b"MAIL FROM:<a@b.example> BODY=8BITMIME\r\n",
    b"MAIL FROM:<a@b..example>\r\n",
    b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:<@>\r\n",
    b"STARTTLS\r\n",
    b"BDAT x\r\n",
    b"GET / HTTP/1.0\r\n",
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b"\r\n..",
    b"\0",
    b"a",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"a: b\r\n",
    b"\r\n\r\n",
    b".\r\n",
    b"\n.\n",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\xff",
    b" ",
    b"DATA x\r\n",
    b"ehlo [IPv6:2001:db8::1]\r\n",
    b"mail from:<a@b.example>\r\n",
    b"rcpt to:<c@d.example>\r\n",
];

/// As above, with chunks: their commands, and octets that fit them more or less.
const CHUNK_WORDS: [&[u8]; 16] = [
    b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n",
    b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n",
    b"BDAT 6\r\na: b\r\n",
    b"BDAT 5\r\n\r\nb\r\n",
    b"BDAT 9\r\n",
    b"BDAT 0\r\n",
    b"BDAT 3 LAST\r\n.\r\n",
    b"BDAT 1 LAST\r\nb",
    b"BDAT 0 LAST\r\n",
    b"BDAT 401\r\n",
    b"BDAT 2\r\nb\r",
    b"BDAT 2\r\n\nb",
    b"RSET\r\n",
    b"DATA\r\n",
    b"\r\n",
    b"b",
];

/// What a session did, and what must hold of it at every step.
struct Watched<'v> {
    session: Session,
    verdicts: &'v [u8],
    asked: usize,
    log: Vec<String>,
    output: Vec<u8>,
    message: Vec<u8>,
    /// Lines of commands that were taken, by their CRLF, and the one that is coming.
    commands: usize,
    line: Vec<u8>,
    /// Octets of a chunk that are still to come: what follows BDAT is no command, whatever becomes of it (RFC 3030 §2).
    chunk_left: u64,
    /// The last command was DATA.
    is_data: bool,
    /// So began the message: it comes by lines, and is replied to by itself.
    by_data: bool,
    messages: usize,
    messages_by_data: usize,
    greeted: bool,
    in_transaction: bool,
    accepted: usize,
    receiving: bool,
    header_complete: bool,
    closed: bool,
}

const SIZE_LIMIT: u64 = 400;
const LINE_OCTETS_MAX: usize = 64;
const HEADER_OCTETS_MAX: usize = 200;

impl<'v> Watched<'v> {
    fn new(verdicts: &'v [u8]) -> Watched<'v> {
        let config = SessionConfig {
            size_limit: SIZE_LIMIT,
            header_octets_max: HEADER_OCTETS_MAX,
            line_octets_max: LINE_OCTETS_MAX,
            recipients_max: 3,
            ..SessionConfig::default()
        };
        Watched {
            session: Session::new(Arc::new(config), 0),
            verdicts,
            asked: 0,
            log: Vec::new(),
            output: Vec::new(),
            message: Vec::new(),
            commands: 0,
            line: Vec::new(),
            chunk_left: 0,
            is_data: false,
            by_data: false,
            messages: 0,
            messages_by_data: 0,
            greeted: false,
            in_transaction: false,
            accepted: 0,
            receiving: false,
            header_complete: false,
            closed: false,
        }
    }

    fn run(mut self, pieces: &[&[u8]]) -> Watched<'v> {
        let mut held = Vec::new();
        for piece in [&b""[..]].iter().chain(pieces) {
            held.extend_from_slice(piece);
            let taken = self.feed(&held);
            held.drain(..taken);
            assert!(self.closed || held.len() < LINE_OCTETS_MAX, "more than a line is held back");
        }
        let replies = self.replies();
        // A chunk is replied to when it has come.
        let awaited = usize::from(self.chunk_left > 0 && !self.closed);
        let expected = 1 + self.commands + self.messages_by_data - awaited;
        let goodbye = usize::from(self.closed);
        let said = String::from_utf8_lossy(&self.output);
        assert!((expected..=expected + goodbye).contains(&replies), "{replies} replies, {expected} expected:\n{said}");
        self
    }

    /// Octets taken.
    fn feed(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        while !self.closed {
            let (taken, step) = self.session.step(0, &input[at..]);
            if !(self.by_data && self.receiving) {
                self.count_commands(&input[at..at + taken]);
            }
            at += taken;
            assert!(self.session.output().len() < 20_000, "output is not bounded");
            match step {
                Step::NeedInput => {
                    self.write();
                    break;
                }
                Step::Output => self.write(),
                Step::Close => {
                    self.write();
                    self.closed = true;
                }
                Step::Octets(octets) => self.octets(octets),
                Step::Notice(notice) => self.notice(notice),
                Step::Question(question) => self.answer(&question),
                Step::StartTls => panic!("it is not offered"),
            }
        }
        at
    }

    fn count_commands(&mut self, octets: &[u8]) {
        for octet in octets {
            if self.chunk_left > 0 {
                self.chunk_left -= 1;
                continue;
            }
            self.line.push(*octet);
            if let Some(line) = self.line.strip_suffix(b"\r\n") {
                let command = if self.line.len() <= LINE_OCTETS_MAX { Command::parse(line).ok() } else { None };
                self.is_data = command == Some(Command::Data);
                if let Some(Command::Bdat { octets, .. }) = command {
                    self.chunk_left = octets;
                }
                self.commands += 1;
                self.line.clear();
            }
        }
    }

    fn write(&mut self) {
        self.output.extend_from_slice(self.session.output());
        self.session.output_written(usize::MAX);
    }

    fn octets(&mut self, octets: &[u8]) {
        assert!(self.receiving && !octets.is_empty());
        self.message.extend_from_slice(octets);
        assert!(self.message.len() as u64 <= SIZE_LIMIT);
        assert!(self.header_complete || self.message.len() <= HEADER_OCTETS_MAX);
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::HeaderComplete => {
                assert!(!std::mem::replace(&mut self.header_complete, true) && self.receiving);
            }
            Notice::TransactionReset => {
                assert!(std::mem::replace(&mut self.in_transaction, false));
                self.accepted = 0;
                self.receiving = false;
            }
            Notice::EarlyTalker => panic!("nobody watches for them"),
        }
        self.log.push(format!("{notice:?} {}", self.message.escape_ascii()));
    }

    /// The stage of each question, and an answer that the input draws.
    fn answer(&mut self, question: &Question<'_>) {
        self.log.push(format!("{question:?}"));
        let drawn = self.verdicts.get(self.asked % self.verdicts.len().max(1)).copied().unwrap_or(0) % 16;
        self.asked += 1;
        let is_yes = drawn < 12;
        match question {
            Question::Helo { .. } => self.greeted |= is_yes,
            Question::Mail { reverse_path, .. } => {
                assert!(self.greeted && !self.in_transaction);
                assert!(matches!(reverse_path, ReversePath::Null | ReversePath::Mailbox(_)));
                self.in_transaction = is_yes;
                self.accepted = 0;
            }
            Question::Rcpt { .. } => {
                assert!(self.in_transaction && self.accepted < 3);
                self.accepted += usize::from(is_yes);
            }
            Question::Data => {
                assert!(self.in_transaction && self.accepted > 0);
                self.receiving = is_yes;
                self.by_data = self.is_data;
                self.header_complete = false;
                self.message.clear();
            }
            Question::EndOfData { fault } => {
                assert!(self.receiving && self.header_complete && self.in_transaction);
                assert!(fault.is_some() || !has_bare_cr_or_lf(&self.message));
                (self.receiving, self.in_transaction) = (false, false);
                self.messages += 1;
                self.messages_by_data += usize::from(self.by_data);
                self.log.push(self.message.escape_ascii().to_string());
            }
        }
        let text = "said\r\nso: \u{1}\u{fc}";
        let by_delivery = matches!(question, Question::Rcpt { .. } | Question::EndOfData { .. });
        match drawn {
            0..6 => self.session.verdict(0, Verdict::Accept),
            6..12 if by_delivery => {
                self.session.outcome(0, Outcome::Accepted(Reply::fixed(250, EnhancedCode(2, 0, 0), text)));
            }
            6..12 => self.session.verdict(0, Verdict::Accept),
            12 | 13 => self.session.verdict(0, Verdict::refuse(Reply::fixed(550, EnhancedCode(5, 7, 1), text))),
            14 if by_delivery => {
                self.session.outcome(0, Outcome::Unknown(Reply::fixed(451, EnhancedCode(4, 4, 2), text)));
            }
            14 => self.session.verdict(0, Verdict::refuse(Reply::fixed(451, EnhancedCode(4, 4, 3), text))),
            _ => self.session.verdict(0, Verdict::refuse(Reply::fixed(421, EnhancedCode(4, 7, 0), text))),
        }
    }

    /// Whole replies in the output, which is lines of printable ASCII and nothing else.
    fn replies(&self) -> usize {
        assert!(!has_bare_cr_or_lf(&self.output));
        let lines: Vec<&[u8]> = self.output.split_inclusive(|octet| *octet == b'\n').collect();
        for line in &lines {
            let text = line.strip_suffix(b"\r\n").expect("a whole line");
            assert!(text.iter().all(|octet| (b' '..=b'~').contains(octet)) && text.len() > 3);
        }
        lines.iter().filter(|line| line[3] == b' ').count()
    }
}

#[test]
fn sessions() {
    let tried = Tried::new("session");
    type Input = (Vec<u8>, Vec<u8>, Vec<u8>);
    bolero::check!().with_type::<Input>().with_iterations(ITERATIONS).for_each(|(codes, cuts, verdicts)| {
        let input = octets(codes, &SESSION_WORDS);
        let whole = Watched::new(verdicts).run(&[&input]);
        let cut = Watched::new(verdicts).run(&pieces(&input, cuts));
        assert_eq!(cut.log, whole.log);
        assert_eq!(cut.output.escape_ascii().to_string(), whole.output.escape_ascii().to_string());
        tried.count(whole.messages);
    });
}

#[test]
fn sessions_with_chunks() {
    let tried = Tried::new("session, BDAT");
    type Input = (Vec<u8>, Vec<u8>, Vec<u8>);
    bolero::check!().with_type::<Input>().with_iterations(ITERATIONS).for_each(|(codes, cuts, verdicts)| {
        let input = octets(codes, &CHUNK_WORDS);
        let whole = Watched::new(verdicts).run(&[&input]);
        let cut = Watched::new(verdicts).run(&pieces(&input, cuts));
        assert_eq!(cut.log, whole.log);
        assert_eq!(cut.output.escape_ascii().to_string(), whole.output.escape_ascii().to_string());
        tried.count(whole.messages);
    });
}

const REPLY_WORDS: [&[u8]; 16] = [
    b"250 ok\r\n",
    b"250-",
    b"250 ",
    b"421 4.3.2 bye\r\n",
    b"550 5.7.1 no\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"2.0.0 ",
    b"5.1.1",
    b"-",
    b" ",
    b"999 x\r\n",
    b"\0",
    b"\xff",
    b"354 go\r\n",
];

/// Replies and the fault that ends them.
fn replies_of(pieces: &[&[u8]]) -> Vec<String> {
    let (mut reader, mut found) = (ReplyReader::new(), Vec::new());
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            match reader.read(piece) {
                Ok((taken, reply)) => {
                    piece = &piece[taken..];
                    if let Some(reply) = reply {
                        let mut wire = Vec::new();
                        reply.write_to(&mut wire);
                        assert!(!has_bare_cr_or_lf(&wire) && wire.ends_with(b"\r\n"));
                        assert!(wire.iter().all(|octet| b"\r\n".contains(octet) || (b' '..=b'~').contains(octet)));
                        found.push(format!("{reply:?}"));
                    }
                }
                Err(fault) => {
                    found.push(format!("{fault:?}"));
                    return found;
                }
            }
        }
    }
    found
}

#[test]
fn replies_of_a_next_hop() {
    let tried = Tried::new("reply");
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().with_iterations(ITERATIONS).for_each(|(codes, cuts)| {
        let mut input = octets(codes, &REPLY_WORDS);
        if let Some(long) = cuts.first().filter(|cut| **cut > 250) {
            input.resize(input.len() + REPLY_LINE_OCTETS_MAX, *long);
        }
        let replies = replies_of(&[&input]);
        assert_eq!(replies_of(&pieces(&input, cuts)), replies);
        tried.count(replies.len());
    });
}
