//! The dashboard and the alerts of `examples/monitoring`, against a running gate that a real Prometheus scrapes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::gate::Setup;
use crate::harness::http::{admin, get};
use crate::harness::message::plain;
use crate::harness::next_hop::NextHop;
use crate::harness::process::{Process, run, succeed};
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, workspace};
use crate::harness::{free_port, until};

fn monitoring() -> PathBuf {
    workspace().join("examples/monitoring")
}

/// Each alert fires for the gate that is in trouble and not for the other.
#[test]
fn alerts_fire_when_they_should() {
    let tests = succeed(Command::new("promtool").current_dir(monitoring()).args(["test", "rules", "alerts.test.yml"]));
    assert!(tests.contains("SUCCESS"), "{tests}");
    let rules = std::fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
    let tested = std::fs::read_to_string(monitoring().join("alerts.test.yml")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10);
    for alert in alerts {
        assert!(tested.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}

/// A Prometheus that scrapes `target` each second and has the alerts loaded.
fn prometheus(dir: &Path, target: &str) -> (Process, String) {
    let example = std::fs::read_to_string(monitoring().join("prometheus.yml")).unwrap();
    let config = example
        .replace("127.0.0.1:9125", target)
        .replace("scrape_interval: 15s", "scrape_interval: 1s")
        .replace("alerts.yml", &monitoring().join("alerts.yml").display().to_string());
    assert!(config.contains(target) && config.contains("interval: 1s"), "the example has changed: {config}");
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    succeed(Command::new("promtool").args(["check", "config"]).arg(&file));
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display())).arg(format!("--web.listen-address={address}"));
    command.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
    let mut process = Process::start(&mut command);
    process.until_stderr("Prometheus to be ready", |lines| {
        lines.iter().any(|line| line.contains("Server is ready")).then_some(())
    });
    (process, address)
}

/// The answer of Prometheus to a query: its series.
fn query(address: &str, expression: &str) -> Vec<Value> {
    let encoded: String = expression.bytes().map(|octet| format!("%{octet:02X}")).collect();
    let answer = get(address, &format!("/api/v1/query?query={encoded}"));
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

/// Every panel shows something of a gate that works, every alert asks for metrics that there are.
#[test]
fn every_panel_and_every_alert_has_data() {
    let next_hop = NextHop::willing();
    let setup = Setup::new().next_hops(&[next_hop.address]).args(&["--admin", "127.0.0.1:0"]);
    let dir = setup.dir();
    let mut gate = setup.start();
    let target = admin(&mut gate, 1).remove(0);
    let (_prometheus, address) = prometheus(&dir, &target);
    let rows = [
        (PASS, "bob@open.example"),
        (NO_PTR, "bob@open.example"),
        (NO_PTR, "bob@trial.example"),
        (FORWARDER, "bob@open.example"),
    ];
    let send_all = || {
        for (client, recipient) in rows {
            let mut smtp = Client::greeted(&gate, client, "mail.pass.example");
            smtp.transaction("alice@pass.example", recipient, &plain("alice@pass.example", "monitored"));
        }
    };
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(monitoring().join("grafana.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 20);
    let mut empty: Vec<(String, String)> = panels
        .iter()
        .flat_map(|panel| {
            let title = panel["title"].as_str().unwrap().to_owned();
            let targets = panel["targets"].as_array().unwrap().iter();
            targets.map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
        })
        .map(|(title, expression)| (title, expression.replace("$instance", ".*").replace("$__rate_interval", "10s")))
        .collect();
    assert!(empty.iter().all(|(_, expression)| !expression.contains('$')), "{empty:?}");
    until("every panel to show something", || {
        send_all();
        empty.retain(|(_, expression)| query(&address, expression).is_empty());
        empty.is_empty().then_some(())
    });
    // What an alert asks for is there, whether or not it is wrong.
    let answer = get(&address, "/api/v1/label/__name__/values").body;
    let names: Value = serde_json::from_str(&answer).unwrap();
    let names: BTreeSet<&str> = names["data"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let rules = std::fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
    let asked = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("mx6_") && !word.ends_with('_'));
    // A finding is there when something was found.
    for name in asked.filter(|name| *name != "mx6_finding") {
        assert!(names.contains(name), "{name} is not scraped");
    }
    let rules = until("the rules to be evaluated", || {
        let rules: Value = serde_json::from_str(&get(&address, "/api/v1/rules").body).unwrap();
        let all = rules["data"]["groups"][0]["rules"].as_array()?.clone();
        all.iter().all(|rule| rule["health"] == "ok").then_some(all)
    });
    // Half of what was sent is refused: that alert may wait to fire.
    assert!(rules.iter().all(|rule| rule["state"] != "firing"), "{rules:#?}");
    // And one that is true is seen.
    assert_eq!(query(&address, "up{job=\"mx6\"}").len(), 1);
    gate.process.kill();
    until("Prometheus to miss the gate", || (query(&address, "up{job=\"mx6\"} == 0").len() == 1).then_some(()));
    assert_eq!(
        run(Command::new("promtool").args(["check", "rules"]).arg(monitoring().join("alerts.yml"))).code,
        Some(0)
    );
}
