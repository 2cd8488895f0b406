//! Clients that others wrote: Postfix, swaks, Python's smtplib, msmtp. And addresses that are really the client's own.

use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::plain;
use crate::harness::namespace::Namespace;
use crate::harness::postfix::Postfix;
use crate::harness::process::{Ended, run, succeed};
use crate::harness::smtp::Client;
use crate::harness::zone::{NO_PTR, PASS, quickstart_with};
use crate::harness::{files, is_root, skip, until};

#[test]
fn postfix_sendmail_over_ipv6() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let gate = Gate::start();
    let postfix = Postfix::client(gate.v6);
    postfix.sendmail("you@home.example", "bob@open.example", &plain("you@home.example", "sendmail"));
    until("mail from Postfix", || (files::new_in(&gate.maildir()).len() == 1).then_some(()));
    let stored = files::only_message(&gate.maildir());
    assert!(stored.contains("Subject: sendmail\n"), "{stored}");
    assert!(files::values(&stored, "Authentication-Results")[0].contains("spf=pass"), "{stored}");
    // Not in its SPF record: deferred, and Postfix keeps it.
    postfix.sendmail("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "deferred"));
    until("Postfix to log the deferral", || {
        postfix.log().contains("said: 450 4.7.26 Service unavailable").then_some(())
    });
    // Refused for good: Postfix bounces, and its bounce has a null reverse-path.
    postfix.sendmail("you@home.example", "bob@v4only.example", &plain("you@home.example", "bounced"));
    until("Postfix to log the bounce", || postfix.log().contains("said: 550 5.2.1 Service unavailable").then_some(()));
}

#[test]
fn smtp_source_over_ipv6() {
    let gate = Gate::start();
    let server = format!("inet:[::1]:{}", gate.v6.port());
    let args =
        ["-f", "you@home.example", "-t", "bob@open.example", "-M", "home.example", "-m", "60", "-s", "6", "-l", "4000"];
    succeed(Command::new("/usr/sbin/smtp-source").args(args).arg(server));
    assert_eq!(files::new_in(&gate.maildir()).len(), 60);
}

/// Runs a client that takes one message, and checks that it was stored.
fn stores(gate: &Gate, what: &str, send: impl FnOnce(&Gate) -> Ended) {
    let before = files::new_in(&gate.maildir()).len();
    let ended = send(gate);
    assert_eq!(ended.code, Some(0), "{what}: {ended:#?}");
    let stored = files::new_in(&gate.maildir());
    assert_eq!(stored.len(), before + 1, "{what}: {ended:#?}");
}

#[test]
fn swaks() {
    let gate = Gate::start();
    let swaks = |gate: &Gate, to: &str| {
        let server = format!("[::1]:{}", gate.v6.port());
        let args = ["-6", "--server", &server, "--from", "you@home.example", "--to", to, "--helo", "home.example"];
        run(Command::new("swaks").args(args).args(["--body", "one\n.two\n", "--pipeline"]))
    };
    stores(&gate, "swaks", |gate| swaks(gate, "bob@open.example"));
    let refused = swaks(&gate, "bob@v4only.example");
    let reply = "550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6.";
    assert!(refused.code != Some(0) && refused.stdout.contains(reply), "{refused:#?}");
}

#[test]
fn python_smtplib() {
    let gate = Gate::start();
    let script = "import smtplib,sys\n\
                  s = smtplib.SMTP(sys.argv[1], int(sys.argv[2]), local_hostname='home.example')\n\
                  s.sendmail('you@home.example', ['bob@open.example'], 'From: <you@home.example>\\r\\nSubject: py\\r\\n\\r\\n.dot\\r\\n',\n\
                  mail_options=['BODY=8BITMIME'])\n\
                  s.quit()\n";
    for (host, address) in [("::1", gate.v6), ("127.0.0.1", gate.v4)] {
        let port = address.port().to_string();
        stores(&gate, host, |_| run(Command::new("/usr/bin/python3").args(["-c", script, host, &port])));
    }
}

#[test]
fn msmtp() {
    let gate = Gate::start();
    let message = std::env::temp_dir().join(format!("mx6-msmtp-{}", std::process::id()));
    std::fs::write(&message, "From: <you@home.example>\nSubject: msmtp\n\nbody\n").unwrap();
    stores(&gate, "msmtp", |gate| {
        let port = format!("--port={}", gate.v6.port());
        let options = ["--file=/dev/null", "--host=::1", &port, "--auth=off", "--tls=off", "--domain=home.example"];
        let script = "exec msmtp \"$@\" --from=you@home.example bob@open.example < \"$0\"";
        run(Command::new("sh").arg("-c").arg(script).arg(&message).args(options))
    });
    std::fs::remove_file(&message).unwrap();
}

/// No PROXY header: in a namespace of its own the test has every address of the cast.
#[test]
fn real_source_addresses() {
    let addresses = [format!("{PASS}/128"), format!("{NO_PTR}/128"), "192.0.2.25/32".into()];
    let namespace = match Namespace::new(&addresses.each_ref().map(String::as_str)) {
        Ok(namespace) => namespace,
        Err(why) => return skip(&why),
    };
    let wrapper = namespace.wrapper();
    let gate = Setup::new()
        .zone(&quickstart_with(""))
        .under(&wrapper.each_ref().map(String::as_str))
        .args(&["--listen", "[::]:2599", "--listen", "0.0.0.0:2599"])
        .start();
    let missing =
        "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::dead] must have reverse DNS record.\r\n";
    let rows = [
        (PASS, PASS, "250 2.1.5 OK\r\n"),
        (NO_PTR, PASS, missing),
        (NO_PTR, "::1", missing),
        ("192.0.2.25", "127.0.0.1", "250 2.1.5 OK\r\n"),
    ];
    for (source, to, reply) in rows {
        let (source, to): (IpAddr, IpAddr) = (source.parse().unwrap(), to.parse().unwrap());
        let got = namespace.inside(|| {
            let mut smtp = Client::connect_from(source, (to, 2599).into());
            smtp.hello("mail.pass.example");
            smtp.ok("MAIL FROM:<alice@pass.example>");
            smtp.say("RCPT TO:<bob@open.example>")
        });
        assert_eq!(got, reply, "{source}");
    }
    // Postfix's own client, from the address that SPF names.
    let args = ["-f", "alice@pass.example", "-t", "bob@open.example", "-m", "3", "-S", "real"];
    let from_pass = format!("inet:[{}]:2599", PASS.parse::<Ipv6Addr>().unwrap());
    succeed(namespace.command("/usr/sbin/smtp-source").args(args).arg(from_pass));
    assert_eq!(files::new_in(&gate.maildir()).len(), 3);
}
