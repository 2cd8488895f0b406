//! The decision record: one JSON line for each recipient.

use crate::harness::gate::Gate;
use crate::harness::message::plain;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS};

#[test]
fn one_line_for_each_recipient() {
    let gate = Gate::start();
    let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@pass.example>");
    let refused = smtp.say("RCPT TO:<bob@elsewhere.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
    smtp.ok("RCPT TO:<carol@open.example>");
    smtp.ok("DATA");
    let accepted = smtp.message(&plain("alice@pass.example", "recorded"));
    let records = gate.decisions(3);
    assert_eq!(records.len(), 3, "{records:#?}");
    let text: Vec<String> = records.iter().map(ToString::to_string).collect();
    assert!(text[0].contains("bob@elsewhere.example") && text[0].contains(refused.trim_end()), "{}", text[0]);
    for (record, recipient) in text[1..].iter().zip(["bob@open.example", "carol@open.example"]) {
        assert!(record.contains(recipient) && record.contains(accepted.trim_end()), "{record}");
    }
}

/// The rule that decided has one name, in reply, log and everywhere else.
#[test]
fn a_record_tells_rule_and_facts() {
    let gate = Gate::start();
    let rows = [(NO_PTR, "alice@pass.example"), (FORWARDER, "alice@bare.example"), (PASS, "alice@pass.example")];
    for (number, (client, reverse_path)) in rows.into_iter().enumerate() {
        let mut smtp = Client::greeted(&gate, client, "mail.pass.example");
        let reply = smtp.transaction(reverse_path, "bob@open.example", &plain(reverse_path, "recorded"));
        let records = gate.decisions(number + 1);
        let record = records.last().unwrap();
        assert_eq!(record["reply"], reply.trim_end(), "{record:#}");
        for name in ["session", "stage", "rule", "client", "verdict"] {
            assert!(record.get(name).is_some_and(|value| !value.is_null()), "no {name} in {record:#}");
        }
        assert_eq!(record["client"], client, "{record:#}");
    }
}
