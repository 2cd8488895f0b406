//! SMTP itself, over the wire: what is offered, limits and their replies, pipelining.

use crate::harness::files;
use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{body, plain, with_body};
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, PASS};

#[test]
fn ehlo_offers_what_there_is() {
    let gate = Setup::new().args(&["--size-limit", "1000000"]).start();
    let mut smtp = Client::connect(gate.v6);
    let greeting = smtp.reply();
    assert!(greeting.starts_with("220 mx.example "), "{greeting}");
    let reply = smtp.say("EHLO home.example");
    let mut offered: Vec<&str> = reply.lines().skip(1).map(|line| &line[4..]).collect();
    offered.sort_unstable();
    let (limits, always) = ("LIMITS MAILMAX=1000 RCPTMAX=100", "ENHANCEDSTATUSCODES");
    let wanted = ["8BITMIME", "CHUNKING", always, limits, "PIPELINING", "SIZE 1000000", "SMTPUTF8"];
    assert_eq!(offered, wanted, "{reply}");
    assert!(smtp.say("HELO home.example").starts_with("250 mx.example"), "HELO");
}

/// Commands outside a transaction and the beginning of their replies.
#[test]
fn replies_to_commands() {
    let gate = Gate::start();
    let rows = [
        ("NOOP", "250 2.0.0 "),
        ("NOOP anything", "250 2.0.0 "),
        ("VRFY bob", "252 2."),
        ("HELP", "214 2."),
        ("RSET", "250 2.0.0 "),
        ("RCPT TO:<bob@open.example>", "503 5.5.1 "),
        ("DATA", "503 5.5.1 "),
        ("FROBNICATE", "500 5.5."),
        ("EXPN list", "50"),
        ("STARTTLS", "50"),
        ("AUTH PLAIN", "50"),
        ("EHLO", "501 5."),
        ("MAIL FROM:bob", "501 5."),
        ("MAIL FROM:<alice@pass.example> FUTURE=1", "555 5.5.4 "),
        ("MAIL FROM:<alice@pass.example> SIZE=999999999999", "552 5.3.4 "),
        ("MAIL FROM:<alice@pass.example> BODY=8BITMIME SIZE=1000", "250 2.1.0 OK"),
        ("RSET", "250 2.0.0 "),
        ("mail from:<\"al ice\"@pass.example>", "250 2.1.0 OK"),
        ("MAIL FROM:<alice@pass.example>", "503 5.5.1 "),
        ("rcpt to:<@hop.example:bob@open.example>", "250 2.1.5 OK"),
        ("QUIT", "221 2.0.0 "),
    ];
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    for (number, (command, reply)) in rows.into_iter().enumerate() {
        if number == 11 {
            smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        }
        let got = smtp.say(command);
        assert!(got.starts_with(reply), "{command}: {got:?}, not {reply:?}");
    }
    assert_eq!(smtp.closed(), Ok(()));
}

/// The octets of a chunk are no commands, whatever becomes of it.
#[test]
fn chunks_are_not_commands() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
    // A chunk that looks like commands is a message, and one that nobody wants is thrown away.
    smtp.send("BDAT 12 LAST\r\nRSET\r\nQUIT\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n");
    for expected in ["250 2.0.0 OK: stored as ", "503 5.5.1 ", "250 2.0.0 OK"] {
        let reply = smtp.reply();
        assert!(reply.starts_with(expected), "{reply}");
    }
    assert!(files::only_message(&gate.maildir()).ends_with("RSET\nQUIT\n"));
}

#[test]
fn mail_before_hello() {
    let gate = Gate::start();
    let mut smtp = Client::proxied(&gate, PASS);
    smtp.reply();
    assert!(smtp.say("MAIL FROM:<alice@pass.example>").starts_with("503 5.5.1 "));
}

#[test]
fn lines_of_2048_octets_and_more() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let longest = format!("NOOP {}", "a".repeat(2048 - 5 - 2));
    assert!(smtp.say(&longest).starts_with("250 "), "2048 octets with CRLF");
    let reply = smtp.say(&format!("NOOP {}", "a".repeat(5000)));
    assert!(reply.starts_with("500 5.5.2 "), "{reply}");
    assert!(smtp.say("NOOP").starts_with("250 "), "still in step");
}

#[test]
fn ten_bad_commands() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let replies: Vec<String> =
        (0..10).map(|_| smtp.say("FROBNICATE")).take_while(|reply| !reply.starts_with("421 ")).collect();
    assert!((9..=10).contains(&replies.len()), "{replies:?}");
    assert!(replies.iter().all(|reply| reply.starts_with("500 ")), "{replies:?}");
    let last = if replies.len() == 10 { smtp.reply() } else { String::new() };
    assert!(last.is_empty() || last.starts_with("421 "), "{last:?}");
    assert_eq!(smtp.closed(), Ok(()));
}

/// One write holds two transactions and QUIT; the replies come in order.
#[test]
fn pipelining() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let message = plain("alice@pass.example", "piped");
    let refused = "MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@elsewhere.example>\r\nDATA\r\nRSET\r\n".to_owned();
    let accepted = "MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\n";
    smtp.send(refused + accepted);
    for reply in ["250 2.1.0 ", "550 5.7.1 ", "554 5.5.1 ", "250 2.0.0 ", "250 2.1.0 ", "250 2.1.5 ", "354 "] {
        let got = smtp.reply();
        assert!(got.starts_with(reply), "{got:?}, not {reply:?}");
    }
    smtp.send(format!(
        "{message}.\r\nMAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nNOOP\r\nQUIT\r\n"
    ));
    smtp.finish_sending();
    for reply in ["250 2.0.0 OK: stored as ", "250 2.1.0 ", "250 2.1.5 ", "250 2.0.0 ", "221 2.0.0 "] {
        let got = smtp.reply();
        assert!(got.starts_with(reply), "{got:?}, not {reply:?}");
    }
    assert_eq!(smtp.closed(), Ok(()));
    assert_eq!(files::new_in(&gate.maildir()).len(), 1);
}

/// The message arrives octet by octet; what the client says next is not lost.
#[test]
fn any_chunking() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.open("alice@pass.example", &["bob@open.example"]);
    let message = with_body("alice@pass.example", "octets", ".hidden\r\n..\r\nlast\r\n").replace("\r\n.", "\r\n..");
    for octet in format!("{message}.\r\nNOOP\r\n").as_bytes() {
        smtp.send([*octet]);
    }
    assert!(smtp.reply().starts_with("250 2.0.0 OK: stored as "));
    assert!(smtp.reply().starts_with("250 2.0.0 "));
    assert!(files::only_message(&gate.maildir()).ends_with("\n\n.hidden\n..\nlast\n"));
}

#[test]
fn oversize() {
    let gate = Setup::new().args(&["--size-limit", "100000"]).start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let reply = smtp.say("MAIL FROM:<alice@pass.example> SIZE=100001");
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    smtp.ok("MAIL FROM:<alice@pass.example> SIZE=100000");
    smtp.ok("RSET");
    let reply = smtp.transaction(
        "alice@pass.example",
        "bob@open.example",
        &with_body("alice@pass.example", "big", &body(150_000)),
    );
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    let reply = smtp.transaction(
        "alice@pass.example",
        "bob@open.example",
        &with_body("alice@pass.example", "fits", &body(90_000)),
    );
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(files::only_message(&gate.maildir()).contains("Subject: fits\n"));
}

/// Above 256 KiB a message is spilled to disk, which nobody can see.
#[test]
fn a_large_message_arrives_whole() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let body = body(3_000_000);
    let reply =
        smtp.transaction("alice@pass.example", "bob@open.example", &with_body("alice@pass.example", "large", &body));
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(files::only_message(&gate.maildir()).ends_with(&format!("\n\n{}", body.replace("\r\n", "\n"))));
}

#[test]
fn a_header_section_above_one_mebibyte() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let header = "X-Padding: 0123456789012345678901234567890123456789\r\n".repeat(21_000);
    let reply =
        smtp.transaction("alice@pass.example", "bob@open.example", &(header + &plain("alice@pass.example", "header")));
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    assert!(smtp.say("NOOP").starts_with("250 "));
}

/// Above 256 KiB of header DKIM is not evaluated; SPF still counts.
#[test]
fn a_header_section_too_large_for_dkim() {
    let gate = Gate::start();
    let header = "X-Padding: 0123456789012345678901234567890123456789\r\n".repeat(6_000);
    for (client, reply) in [(PASS, "250 2.0.0 "), (FORWARDER, "450 4.7.26 ")] {
        let mut smtp = Client::greeted(&gate, client, "mail.pass.example");
        let message = header.clone() + &plain("alice@pass.example", "padded");
        let got = smtp.transaction("alice@pass.example", "bob@open.example", &message);
        assert!(got.starts_with(reply), "{client}: {got}");
    }
}

/// Only CRLF.CRLF ends the data, and a bare CR or LF anywhere before it is refused after the true end, with one reply.
#[test]
fn smuggling() {
    let gate = Gate::start();
    let smuggled =
        "MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\nSubject: SMUGGLED\r\n\r\nx\r\n";
    for end in ["\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n.\r\r\n", "\r\n\n.\r\n"] {
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.open("alice@pass.example", &["bob@open.example"]);
        smtp.send(format!("{}first{end}{smuggled}.\r\nNOOP\r\n", plain("alice@pass.example", "outer")));
        assert_eq!(smtp.reply(), "550 5.6.11 Message contains bare CR or LF.\r\n", "{end:?}");
        assert!(smtp.reply().starts_with("250 2.0.0 "), "{end:?}: exactly one reply");
    }
    assert!(files::new_in(&gate.maildir()).is_empty());
}

/// A message that begins to arrive has memory reserved; when a shard's budget is used up, the client comes again later.
#[test]
fn memory_is_reserved_before_it_is_filled() {
    let gate = Setup::new().args(&["--memory", "1"]).start();
    let mut open = Vec::new();
    // All of them at once: when memory is short, the gate tells newcomers so before the banner.
    let sessions: Vec<Client> = (0..64).map(|_| Client::greeted(&gate, PASS, "mail.pass.example")).collect();
    let refused = sessions.into_iter().find_map(|mut smtp| {
        let reply = smtp.say("MAIL FROM:<alice@pass.example> SIZE=200000");
        if !reply.starts_with("250 ") {
            return Some(reply);
        }
        assert!(smtp.say("RCPT TO:<bob@open.example>").starts_with("250 "));
        let reply = smtp.say("DATA");
        open.push(smtp);
        (!reply.starts_with("354 ")).then_some(reply)
    });
    let reply = refused.expect("no end of memory after 64 messages that began to arrive");
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    drop(open);
    crate::harness::until("the memory to come back", || {
        let mut smtp = Client::proxied(&gate, PASS);
        let is_greeted = smtp.reply().starts_with("220 ") && smtp.say("EHLO mail.pass.example").starts_with("250");
        (is_greeted && smtp.say("MAIL FROM:<alice@pass.example> SIZE=200000").starts_with("250 ")).then_some(())
    });
}

/// A client that leaves in the middle of a message leaves nothing behind.
#[test]
fn a_client_that_leaves() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.open("alice@pass.example", &["bob@open.example"]);
    smtp.send(plain("alice@pass.example", "half"));
    drop(smtp);
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "whole"));
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(files::only_message(&gate.maildir()).contains("Subject: whole\n"));
}
