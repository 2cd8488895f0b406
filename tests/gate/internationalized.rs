//! Addresses that are not ASCII (RFC 6531), delivery status notifications (RFC 3461), and what of both is offered: only what the next hop takes.

use std::process::Command;

use crate::harness::gate::{Gate, Setup, check_config};
use crate::harness::message::plain;
use crate::harness::next_hop::{NextHop, Script};
use crate::harness::postfix::Postfix;
use crate::harness::process::{Ended, run};
use crate::harness::smtp::Client;
use crate::harness::zone::{PASS, quickstart_with, txt};
use crate::harness::{files, is_root, skip, until};

/// A gate for `open.example` and `bücher.example`; loopback passes SPF as `müller.example`.
fn setup() -> Setup {
    let zone = "$ORIGIN example.\n".to_owned() + &txt("xn--mller-kva.example.", "v=spf1 ip6:::1 -all");
    Setup::new().zone(&quickstart_with(&zone)).domains(&["open.example=accept", "bücher.example=accept"])
}

/// Python's smtplib, which refuses to send such addresses where SMTPUTF8 is not offered.
fn smtplib(gate: &Gate, from: &str, to: &str) -> Ended {
    let script = "import smtplib,sys\n\
        from email.message import EmailMessage\n\
        m = EmailMessage(); m['From'] = sys.argv[2]; m['To'] = sys.argv[3]; m['Subject'] = 'grüße'; m.set_content('übrig\\n')\n\
        with smtplib.SMTP('::1', int(sys.argv[1]), local_hostname='home.example') as s:\n    s.send_message(m, sys.argv[2], [sys.argv[3]])\n";
    let port = gate.v6.port().to_string();
    run(Command::new("/usr/bin/python3").args(["-c", script, &port, from, to]))
}

#[test]
fn smtplib_to_maildir() {
    let gate = setup().start();
    for (row, to) in ["jürgen@bücher.example", "bob@BÜCHER.example", "用户@open.example"].into_iter().enumerate() {
        let ended = smtplib(&gate, "hans@müller.example", to);
        assert_eq!(ended.code, Some(0), "{to}: {ended:#?}");
        let record = &gate.decisions(row + 1)[row];
        assert_eq!((record["mail_from"].as_str(), record["rcpt_to"].as_str()), (Some("hans@müller.example"), Some(to)));
        assert_eq!(record["spf"]["result"], "pass", "{record}");
        assert_eq!(record["spf"]["domain"], "xn--mller-kva.example", "{record}");
        assert_eq!(record["dmarc"]["domain"], "xn--mller-kva.example", "{record}");
    }
    let stored: Vec<String> = files::new_in(&gate.maildir()).iter().map(|file| files::read(file)).collect();
    assert_eq!(stored.len(), 3);
    for message in &stored {
        let received = &files::values(message, "Received")[0];
        assert!(received.contains(" with UTF8SMTP ") && received.contains("example>"), "{received}");
        assert!(message.contains("Subject: grüße\n"), "{message}");
    }
    gate.stop();
}

/// Whatever is said about such an address is said in ASCII.
#[test]
fn addresses_that_are_refused() {
    let gate = setup().start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    for (line, reply) in [
        ("MAIL FROM:<jürgen@pass.example>", "553 5.6.7 "),
        ("MAIL FROM:<a@bücher.example>", "553 5.6.7 "),
        ("MAIL FROM:<\u{85}@pass.example> SMTPUTF8", "501 5.1.7 "),
        ("MAIL FROM:<alice@pass.example>", "250 "),
        ("RCPT TO:<jürgen@open.example>", "553 5.6.7 "),
        ("RCPT TO:<bob@xn--bcher-kva.example>", "250 "),
        ("RSET", "250 "),
        ("MAIL FROM:<alice@pass.example> SMTPUTF8", "250 "),
        (
            "RCPT TO:<bob@münchen.example>",
            "550 5.7.1 Relaying denied, [xn--mnchen-3ya.example] is not served here.\r\n",
        ),
        ("RCPT TO:<bob@\u{2028}.example>", "550 5.7.1 Relaying denied, [???.example] is not served here.\r\n"),
        ("RCPT TO:<bob@ü..example>", "501 5.1.3 "),
        ("RCPT TO:<bob@ü-.example>", "501 5.1.3 "),
        ("RCPT TO:<\"j\u{9b}\"@open.example>", "501 5.1.3 "),
    ] {
        let said = smtp.say(line);
        assert!(said.starts_with(reply) && said.is_ascii(), "{line}: {said}");
    }
    drop(smtp);
    gate.stop();
}

/// What EHLO says once it says what is wanted: the next hop is asked at the start, and not waited for.
fn offers(gate: &Gate, wanted: &[&str], unwanted: &[&str]) {
    let said = until("EHLO to follow the next hop", || {
        let said = Client::connect(gate.v6).hello("home.example");
        wanted.iter().all(|word| said.contains(&format!("250-{word}\r\n"))).then_some(said)
    });
    assert!(unwanted.iter().all(|word| !said.contains(word)), "{said}");
}

#[test]
fn postfix_as_next_hop() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let postfix = Postfix::next_hop_with("", "smtputf8_enable = yes\n");
    let gate = setup().next_hops(&[postfix.address]).start();
    offers(&gate, &["8BITMIME", "SMTPUTF8", "DSN"], &[]);
    let ended = smtplib(&gate, "hans@müller.example", "jürgen@bücher.example");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let delivered = postfix.messages(1);
    assert!(delivered[0].contains("Subject: grüße\n"), "{}", delivered[0]);
    gate.stop();
}

#[test]
fn postfix_without_smtputf8() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let postfix = Postfix::next_hop_with("", "smtputf8_enable = no\nsmtpd_discard_ehlo_keywords = dsn\n");
    let gate = setup().next_hops(&[postfix.address]).start();
    offers(&gate, &["8BITMIME"], &["SMTPUTF8", "DSN"]);
    let ended = smtplib(&gate, "hans@müller.example", "jürgen@bücher.example");
    assert!(ended.code != Some(0) && ended.stderr.contains("SMTPNotSupportedError"), "{ended:#?}");
    let mut smtp = Client::connect(gate.v6);
    smtp.hello("home.example");
    for line in ["MAIL FROM:<you@home.example> SMTPUTF8", "MAIL FROM:<you@home.example> RET=HDRS"] {
        assert!(smtp.say(line).starts_with("555 5.5.4 "), "{line}");
    }
    gate.stop();
}

/// A next hop that offers these.
fn offering(words: &[&str]) -> Script {
    let lines: String = words.iter().map(|word| format!("250-{word}\r\n")).collect();
    Script { ehlo: format!("250-next-hop.example\r\n{lines}250 ENHANCEDSTATUSCODES"), ..Script::default() }
}

/// The parameters arrive at the next hop as they came.
#[test]
fn delivery_status_notifications() {
    let next_hop = NextHop::start(vec![offering(&["8BITMIME", "DSN"])]);
    let gate = setup().next_hops(&[next_hop.address]).start();
    offers(&gate, &["8BITMIME", "DSN"], &["SMTPUTF8"]);
    let mut smtp = Client::connect(gate.v6);
    smtp.hello("home.example");
    for (line, reply) in [
        ("MAIL FROM:<you@home.example> RET=SOME", "501 5.5.4 "),
        ("MAIL FROM:<you@home.example> ENVID=a+0D+0A", "501 5.5.4 "),
        ("MAIL FROM:<you@home.example> RET=hdrs ENVID=QQ+2B314159", "250 "),
        ("RCPT TO:<bob@open.example> NOTIFY=NEVER,DELAY", "501 5.5.4 "),
        ("RCPT TO:<bob@open.example> NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2B@open.example", "250 "),
        ("RCPT TO:<carol@open.example>", "250 "),
        ("DATA", "354 "),
    ] {
        let said = smtp.say(line);
        assert!(said.starts_with(reply), "{line}: {said}");
    }
    assert!(smtp.message(&plain("you@home.example", "dsn")).starts_with("250 "));
    let received = next_hop.messages().remove(0);
    for word in ["RET=hdrs", "ENVID=QQ+2B314159"] {
        assert!(received.mail.contains(word), "{received:?}");
    }
    assert!(received.rcpts[0].ends_with(" NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2B@open.example"), "{received:?}");
    assert!(received.rcpts[1].ends_with("<carol@open.example>"), "{received:?}");
    gate.stop();
}

/// One that takes only seven bits is offered nothing more, and two offer what both take.
#[test]
fn the_least_of_all_next_hops() {
    let (most, least) =
        (NextHop::start(vec![offering(&["8BITMIME", "SMTPUTF8", "DSN"])]), NextHop::start(vec![offering(&[])]));
    for (next_hops, wanted, unwanted) in [
        (vec![most.address], vec!["8BITMIME", "SMTPUTF8", "DSN"], vec![]),
        (vec![most.address, least.address], vec!["PIPELINING"], vec!["8BITMIME", "SMTPUTF8", "DSN"]),
    ] {
        let gate = setup().next_hops(&next_hops).start();
        offers(&gate, &wanted, &unwanted);
        gate.stop();
    }
}

/// A running gate offers what the next hop takes now: it learns that no later than with the first mail for it.
#[test]
fn a_next_hop_that_comes_back_as_another() {
    let all = ["8BITMIME", "SMTPUTF8", "DSN"];
    let mut next_hop = NextHop::start(vec![offering(&all)]);
    let gate = setup().cores(1).next_hops(&[next_hop.address]).start();
    offers(&gate, &all, &[]);
    for words in [&["8BITMIME", "DSN"][..], &[], &["8BITMIME", "SMTPUTF8"], &all] {
        next_hop.stop();
        next_hop = NextHop::start_on(next_hop.address, vec![offering(words)]);
        let mut smtp = Client::connect(gate.v6);
        smtp.hello("home.example");
        until("the next hop to be found again", || {
            let reply = smtp.transaction("you@home.example", "bob@open.example", &plain("you@home.example", "again"));
            reply.starts_with("250 ").then_some(())
        });
        let unwanted: Vec<&str> = all.into_iter().filter(|word| !words.contains(word)).collect();
        offers(&gate, words, &unwanted);
        let (utf8, dsn) = (words.contains(&"SMTPUTF8"), words.contains(&"DSN"));
        let mut smtp = Client::connect(gate.v6);
        smtp.hello("home.example");
        for (line, is_taken) in [("SMTPUTF8", utf8), ("RET=HDRS", dsn)] {
            let said = smtp.say(&format!("MAIL FROM:<you@home.example> {line}"));
            assert!(said.starts_with(if is_taken { "250 " } else { "555 5.5.4 " }), "{words:?} {line}: {said}");
            smtp.ok("RSET");
        }
    }
    gate.stop();
}

#[test]
fn check_config_says_the_a_labels() {
    let ended = check_config(&["--domain", "*.BÜCHER.example=accept"]);
    assert!(ended.stdout.contains("domain *.BÜCHER.example is *.xn--bcher-kva.example"), "{ended:#?}");
    let ended = check_config(&["--domain", "aا.example=accept"]);
    assert!(ended.code != Some(0) && ended.stderr.contains("mixes directions of writing"), "{ended:#?}");
}
