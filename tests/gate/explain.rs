//! `mx6 explain`: the same code as the gate's, without a port.

use std::path::Path;

use serde_json::Value;

use crate::harness::gate::{Setup, mx6};
use crate::harness::message::plain;
use crate::harness::signing::Key;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, PASS_V4, PTR_FAILS, quickstart_with};

const DOMAINS: [&str; 6] =
    ["--domain", "open.example=accept", "--domain", "v4only.example=reject", "--domain", "trial.example=monitor"];

/// `explain --json` of one message.
fn explain(zone: &Path, client: &str, reverse_path: &str, forward_path: &str, message: &str) -> Value {
    let file = zone.with_extension("eml");
    std::fs::write(&file, message).unwrap();
    let (zone, file) = (zone.display().to_string(), file.display().to_string());
    let mut args = vec![
        "explain",
        "--hostname",
        "mx.example",
        "--zone",
        &zone,
        "--client-ip",
        client,
        "--helo",
        "mail.pass.example",
    ];
    args.extend(["--mail-from", reverse_path, "--rcpt-to", forward_path, "--json"]);
    args.extend(DOMAINS);
    args.push(&file);
    let ended = mx6(&args);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

#[test]
fn explain_agrees_with_serve() {
    let key = Key::rsa();
    let zone = quickstart_with(&key.published_at("good.example"));
    let setup = Setup::new().zone(&zone);
    let zone_file = setup.dir().join("test.zone");
    let gate = setup.start();
    let message = plain("alice@pass.example", "explained");
    let signed = key.sign("good.example", "relaxed/relaxed", &plain("alice@good.example", "signed"));
    let rows = [
        (PASS, "alice@pass.example", "bob@open.example", &message, "accept"),
        (PASS, "", "bob@open.example", &message, "accept"),
        (FORWARDER, "alice@good.example", "bob@open.example", &signed, "accept"),
        (PASS_V4, "alice@bare.example", "bob@v4only.example", &message, "accept"),
        (NO_PTR, "alice@bare.example", "bob@trial.example", &message, "accept"),
        (PASS, "alice@pass.example", "bob@elsewhere.example", &message, "reject"),
        (PASS, "alice@pass.example", "bob@v4only.example", &message, "reject"),
        (NO_PTR, "alice@pass.example", "bob@open.example", &message, "defer"),
        (PTR_FAILS, "alice@pass.example", "bob@open.example", &message, "defer"),
        (FORWARDER, "alice@pass.example", "bob@open.example", &message, "defer"),
        (FORWARDER, "alice@tempfail.example", "bob@open.example", &message, "defer"),
        ("::ffff:192.0.2.25", "alice@bare.example", "bob@open.example", &message, "accept"),
    ];
    for (client, reverse_path, forward_path, message, verdict) in rows {
        let row = format!("{client} {reverse_path} {forward_path}");
        let mut smtp = Client::greeted(&gate, client, "mail.pass.example");
        let served = smtp.transaction(reverse_path, forward_path, message);
        let explained = explain(&zone_file, client, reverse_path, forward_path, message);
        assert_eq!(explained["verdict"], verdict, "{row}: {explained:#}");
        let code = match verdict {
            "accept" => "250 ",
            "defer" => "45",
            _ => "55",
        };
        assert!(served.starts_with(code), "{row}: {served}");
        if verdict != "accept" {
            assert_eq!(explained["reply"], served.trim_end(), "{row}");
        }
    }
}

/// Everything is evaluated, whatever an earlier rule would already have decided.
#[test]
fn explain_tells_every_fact() {
    let setup = Setup::new();
    let zone = setup.dir().join("test.zone");
    let message = plain("alice@pass.example", "facts");
    for (client, recipient) in
        [(PASS, "bob@elsewhere.example"), (PASS, "bob@open.example"), (PASS_V4, "bob@open.example")]
    {
        let told = explain(&zone, client, "alice@pass.example", recipient, &message);
        let client_of = |value: &Value| value.as_str().map(str::to_owned);
        assert_eq!(client_of(&told["client"]), Some(client.to_owned()), "{told:#}");
        assert_eq!(told["iprev"]["result"], "pass", "{told:#}");
        assert_eq!(told["iprev"]["names"][0], "mail.pass.example", "{told:#}");
        assert_eq!(told["spf"]["result"], "pass", "{told:#}");
        assert_eq!(told["spf"]["domain"], "pass.example", "{told:#}");
        assert_eq!(told["dmarc"]["result"], "pass", "{told:#}");
        assert_eq!(told["dmarc"]["policy"], "reject", "{told:#}");
        assert!(told["dkim"].is_array(), "{told:#}");
        for name in ["stage", "rule", "reply", "verdict"] {
            assert!(told.get(name).is_some(), "no {name} in {told:#}");
        }
    }
}

/// Flag beats environment beats file.
#[test]
fn precedence() {
    let setup = Setup::new();
    let greeting_of = |setup: Setup| {
        let gate = setup.start();
        Client::connect(gate.v6).reply()
    };
    assert!(greeting_of(setup).starts_with("220 mx.example "));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.toml");
    std::fs::write(&file, "hostname = \"file.example\"\n").unwrap();
    let setup = Setup::new().args(&["--config", &file.display().to_string()]);
    assert!(greeting_of(setup).starts_with("220 mx.example "), "the flag beats the file");
}
