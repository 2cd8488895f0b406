//! `--next-hop-client`: a real Postfix knows who the client is.

use crate::harness::gate::Setup;
use crate::harness::message::plain;
use crate::harness::postfix::Postfix;
use crate::harness::smtp::Client;
use crate::harness::zone::PASS;
use crate::harness::{is_root, skip, until};

#[test]
fn postfix_knows_the_client() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let hosts = "127.0.0.0/8";
    // (the option, what Postfix is told to believe, how its log names the client)
    let rows = [
        ("xforward", format!("smtpd_authorized_xforward_hosts = {hosts}"), "orig_client=mail.pass.example["),
        ("xclient", format!("smtpd_authorized_xclient_hosts = {hosts}"), " client=mail.pass.example["),
        ("proxy", "smtpd_upstream_proxy_protocol = haproxy".to_owned(), " client=unknown["),
    ];
    for (option, more, named) in rows {
        let postfix = Postfix::told_of_clients(&more);
        let gate = Setup::new().next_hops(&[postfix.address]).args(&["--next-hop-client", option]).start();
        for number in 0..2 {
            let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
            let message = plain("alice@pass.example", &format!("{option}-{number}"));
            let reply = smtp.transaction("alice@pass.example", "bob@open.example", &message);
            assert!(reply.starts_with("250 2.0.0 "), "{option}: {reply}\n{}", postfix.log());
        }
        let named = format!("{named}{PASS}]");
        until(&format!("Postfix to log {named}"), || {
            let log = postfix.log();
            (log.lines().filter(|line| line.contains(&named)).count() >= 2).then_some(())
        });
        let messages = postfix.messages(2);
        let is_told = messages.iter().all(|message| message.contains(PASS));
        assert!(is_told, "{option}: {messages:?}");
    }
}

/// It does not believe us: no mail passes as ours.
#[test]
fn postfix_that_offers_no_xclient_gets_nothing() {
    if !is_root() {
        return skip("Postfix needs root");
    }
    let postfix = Postfix::next_hop("");
    for (option, reply) in [("xclient", "451 4.4.1 "), ("xforward", "250 2.0.0 ")] {
        let gate = Setup::new().next_hops(&[postfix.address]).args(&["--next-hop-client", option]).start();
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        let message = plain("alice@pass.example", option);
        let got = smtp.transaction("alice@pass.example", "bob@open.example", &message);
        assert!(got.starts_with(reply), "{option}: {got}");
        if option == "xclient" {
            assert_eq!(gate.decisions(1)[0]["delivery"]["fault"], "XCLIENT is not offered");
        }
    }
    assert_eq!(postfix.messages(1).len(), 1);
}
