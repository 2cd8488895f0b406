//! One message for each row of the rule table, through the PROXY listener of the quickstart gate, so that every source
//! address can speak without root.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::demo_key;
use crate::smtp::Client;

/// Where the gate is.
#[derive(Args)]
pub(crate) struct Options {
    /// PROXY listener of the gate.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::1]:2524")]
    proxy: SocketAddr,
    /// The Maildir of the gate, to say where the mail lies.
    #[arg(long, value_name = "DIR", default_value = "./mail")]
    maildir: PathBuf,
}

/// Sends every row and tells what happened. True if each reply was the expected one.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<bool> {
    let mut as_expected = 0;
    for (index, row) in ROWS.iter().enumerate() {
        let reply = row.send(options.proxy).with_context(|| format!("row {}, {}", index + 1, row.title))?;
        let matches = row.expects(&reply);
        as_expected += usize::from(matches);
        row.print(out, index + 1, &reply, matches, &options.maildir)?;
    }
    writeln!(out, "{as_expected} of {} replies as expected.", ROWS.len())?;
    writeln!(out, "Not shown: the rows about a next hop. A gate with `--deliver smtp://...` has them.")?;
    Ok(as_expected == ROWS.len())
}

/// A situation of the rule table.
struct Row {
    title: &'static str,
    client: &'static str,
    helo: &'static str,
    reverse_path: &'static str,
    forward_path: &'static str,
    content: Content,
    expected: Expected,
}

/// What is sent after RCPT.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    /// A message without a signature.
    Plain,
    /// The same, signed for `signed.example`.
    Signed,
    /// A line of it ends in LF alone.
    BareLf,
    /// It has passed 51 hosts already.
    Loop,
}

/// The reply that ends the row.
enum Expected {
    /// To RCPT, in full; nothing more is sent.
    Rcpt(&'static str),
    /// To DATA, in full, after a refused RCPT.
    Data(&'static str),
    /// To the message, in full.
    Message(&'static str),
    /// To the message: the mail was stored.
    Stored,
}

impl Row {
    /// Sends the row and returns the reply that ends it, or the first one that was not 2xx or 3xx.
    fn send(&self, proxy: SocketAddr) -> Result<String> {
        let client: IpAddr = self.client.parse().context("client address")?;
        let mut smtp = Client::connect(proxy, client)?;
        let mut commands = vec![format!("EHLO {}", self.helo), format!("MAIL FROM:<{}>", self.reverse_path)];
        commands.push(format!("RCPT TO:<{}>", self.forward_path));
        if !matches!(self.expected, Expected::Rcpt(_)) {
            commands.push("DATA".to_owned());
        }
        let wants_refused_rcpt = matches!(self.expected, Expected::Data(_));
        let mut reply = String::new();
        for command in &commands {
            reply = smtp.command(command)?;
            let may_go_on = wants_refused_rcpt && command.starts_with("RCPT");
            if !reply.starts_with(['2', '3']) && !may_go_on {
                return Ok(reply);
            }
        }
        if reply.starts_with('3') {
            smtp.send(self.message()?.as_bytes())?;
            reply = smtp.command("\r\n.")?;
        }
        smtp.command("QUIT")?;
        Ok(reply)
    }

    /// The message, CRLF line ends except where the row wants another, without the last CRLF.
    fn message(&self) -> Result<String> {
        let fields = format!(
            "From: <{}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{}@sample.example>\r\n",
            if self.reverse_path.is_empty() { "postmaster@pass.example" } else { self.reverse_path },
            self.forward_path,
            self.title,
            self.title.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        );
        let plain = format!("{fields}\r\nA sample of the rule table: {}.", self.title);
        Ok(match self.content {
            Content::Plain => plain,
            Content::Signed => demo_key::sign(&format!("{plain}\r\n"))?.trim_end().to_owned(),
            Content::BareLf => format!("{plain}\r\nThis line ends in LF alone,\nas no line may."),
            Content::Loop => HOP.repeat(51) + &plain,
        })
    }

    fn expects(&self, reply: &str) -> bool {
        match self.expected {
            Expected::Rcpt(text) | Expected::Data(text) | Expected::Message(text) => reply == text,
            Expected::Stored => reply.starts_with(STORED),
        }
    }

    fn print(&self, out: &mut impl Write, number: usize, reply: &str, matches: bool, maildir: &Path) -> Result<()> {
        let (stage, expected) = match self.expected {
            Expected::Rcpt(text) => ("RCPT", text),
            Expected::Data(text) => ("DATA", text),
            Expected::Message(text) => ("end of data", text),
            Expected::Stored => ("end of data", "250 2.0.0 OK: stored as ..."),
        };
        let (from, to) = (format!("<{}>", self.reverse_path), format!("<{}>", self.forward_path));
        let result = if matches { "as expected" } else { "NOT AS EXPECTED" };
        writeln!(out, "{number:2}  {}", self.title)?;
        writeln!(out, "    client     {:<27} HELO     {}", self.client, self.helo)?;
        writeln!(out, "    MAIL FROM  {from:<27} RCPT TO  {to}")?;
        writeln!(out, "    message    {}", self.content.describe())?;
        writeln!(out, "    expected   {expected}")?;
        writeln!(out, "    reply      {reply}")?;
        writeln!(out, "    result     {result}, decided at {stage}")?;
        if let Some(file) = reply.strip_prefix(STORED) {
            let path = maildir.join("new").join(file);
            let note =
                if path.exists() { "" } else { "   (not seen from here: is the gate running in another folder?)" };
            writeln!(out, "    mail       {}{note}", path.display())?;
        }
        writeln!(out)?;
        Ok(())
    }
}

impl Content {
    fn describe(self) -> &'static str {
        match self {
            Content::Plain => "unsigned",
            Content::Signed => "signed for signed.example with the demonstration key",
            Content::BareLf => "unsigned, one line ends in a bare LF",
            Content::Loop => "unsigned, with 51 Received fields",
        }
    }
}

/// What stands before the file name in the reply to mail that was stored.
const STORED: &str = "250 2.0.0 OK: stored as ";

const HOP: &str = "Received: from a.example by b.example; Thu, 01 Jan 2026 00:00:00 +0000\r\n";

/// The mail server of pass.example, named by its SPF record.
const PASS: &str = "2001:db8:1::25";

/// A host with reverse DNS that no SPF record names.
const FORWARDER: &str = "2001:db8:1::66";

/// The rule table, its refusals in the order in which they are judged, then what passes and why.
const ROWS: &[Row] = &[
    Row {
        title: "recipient domain not served here",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@elsewhere.example",
        content: Content::Plain,
        expected: Expected::Rcpt("550 5.7.1 Relaying denied, [elsewhere.example] is not served here."),
    },
    Row {
        title: "recipient domain has not opted in to IPv6",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@v4only.example",
        content: Content::Plain,
        expected: Expected::Rcpt("550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6."),
    },
    Row {
        title: "source has no reverse DNS",
        client: "2001:db8:1::dead",
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@open.example",
        content: Content::Plain,
        expected: Expected::Rcpt(
            "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::dead] must have reverse DNS record.",
        ),
    },
    Row {
        title: "reverse DNS of the source fails for now",
        client: "2001:db8:2::25",
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@open.example",
        content: Content::Plain,
        expected: Expected::Rcpt(
            "451 4.4.3 Temporary DNS failure, reverse DNS record of [2001:db8:2::25] could not be looked up.",
        ),
    },
    Row {
        title: "neither SPF nor DKIM passes",
        client: FORWARDER,
        helo: "relay.forward.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@open.example",
        content: Content::Plain,
        expected: Expected::Message(
            "450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::66] must pass either SPF or DKIM validation.",
        ),
    },
    Row {
        title: "no pass, and SPF cannot be looked up for now",
        client: FORWARDER,
        helo: "relay.forward.example",
        reverse_path: "alice@tempfail.example",
        forward_path: "bob@open.example",
        content: Content::Plain,
        expected: Expected::Message(
            "451 4.4.3 Temporary DNS failure, SPF and DKIM of the message from [2001:db8:1::66] could not be checked.",
        ),
    },
    Row {
        title: "bare LF in the message",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@open.example",
        content: Content::BareLf,
        expected: Expected::Message("550 5.6.11 Message contains bare CR or LF."),
    },
    Row {
        title: "more than 50 Received fields",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@open.example",
        content: Content::Loop,
        expected: Expected::Message("554 5.4.6 Mail loop detected."),
    },
    Row {
        title: "DATA with no accepted recipient",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@elsewhere.example",
        content: Content::Plain,
        expected: Expected::Data("554 5.5.1 No valid recipients."),
    },
    Row {
        title: "SPF passes",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "alice@pass.example",
        forward_path: "bob@open.example",
        content: Content::Plain,
        expected: Expected::Stored,
    },
    Row {
        title: "DKIM passes, SPF fails",
        client: FORWARDER,
        helo: "relay.forward.example",
        reverse_path: "alice@signed.example",
        forward_path: "bob@open.example",
        content: Content::Signed,
        expected: Expected::Stored,
    },
    Row {
        title: "null reverse-path, the HELO name passes SPF",
        client: PASS,
        helo: "mail.pass.example",
        reverse_path: "",
        forward_path: "bob@open.example",
        content: Content::Plain,
        expected: Expected::Stored,
    },
    Row {
        title: "no reverse DNS, but the domain is on trial (monitor)",
        client: "2001:db8:1::dead",
        helo: "mail.bare.example",
        reverse_path: "alice@bare.example",
        forward_path: "bob@trial.example",
        content: Content::Plain,
        expected: Expected::Stored,
    },
    Row {
        title: "over IPv4 the three rules do not apply",
        client: "192.0.2.25",
        helo: "mail.bare.example",
        reverse_path: "alice@bare.example",
        forward_path: "bob@v4only.example",
        content: Content::Plain,
        expected: Expected::Stored,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_one_header_and_no_stray_line_end() {
        for row in ROWS {
            let message = row.message().unwrap();
            let (header, body) = message.split_once("\r\n\r\n").expect("a blank line");
            let stray = message.replace("\r\n", "").contains(['\r', '\n']);
            assert_eq!(stray, row.content == Content::BareLf, "{}", row.title);
            assert!(!body.is_empty() && !message.ends_with("\r\n"), "{}", row.title);
            assert!(!header.contains("\r\n."), "{}", row.title);
            let hops = header.matches("Received:").count();
            assert_eq!(hops, if row.content == Content::Loop { 51 } else { 0 }, "{}", row.title);
        }
    }

    #[test]
    fn a_refusal_names_what_the_row_sends() {
        for row in ROWS {
            if let Expected::Rcpt(text) | Expected::Message(text) = row.expected
                && let Some((_, rest)) = text.split_once('[')
            {
                let named = rest.split(']').next().unwrap();
                assert!(named == row.client || row.forward_path.ends_with(named), "{}", row.title);
            }
        }
    }
}
