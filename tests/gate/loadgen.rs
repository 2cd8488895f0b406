//! The load generator's whole mix against the gate: a load test that is a correctness test.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use serde_json::Value;

use crate::first_run::loadgen;
use crate::harness::gate::Setup;
use crate::harness::next_hop::NextHop;
use crate::harness::process::run;
use crate::harness::{free_port, until};

/// Runs the mix against a gate with `gate_args`: its measurement.
fn mix(ptr: &str, gate_args: &[&str], args: &[&str]) -> Value {
    let zone = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let next_hop = NextHop::willing();
    let gate =
        Setup::new().dns_servers(&[zone]).next_hops(&[next_hop.address]).args(&["--ptr", ptr]).args(gate_args).start();
    let json = gate.maildir().with_file_name("run.json");
    let mut command = Command::new(loadgen());
    command.args(["run", "--proxy", "--target", &gate.proxy.to_string(), "--with-zone", &zone.to_string()]);
    command.args(["--ptr", ptr, "--pid", &gate.process.id().to_string(), "--pool", "16", "--json"]).arg(&json);
    let ended = run(command.args(args));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let measurement: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(measurement["wrong"], 0);
    assert!(measurement["server"]["total"]["cpu_us_per_message"].as_f64().unwrap() > 0.0);
    let accepted: u64 =
        replies(&measurement).filter(|reply| reply["reply"].as_str().unwrap().starts_with("250")).map(count).sum();
    until("the next hop to have seen all", || (next_hop.messages().len() as u64 == accepted).then_some(()));
    gate.stop();
    measurement
}

fn replies(measurement: &Value) -> impl Iterator<Item = &Value> {
    measurement["replies"].as_array().unwrap().iter()
}

fn count(reply: &Value) -> u64 {
    reply["count"].as_u64().unwrap()
}

/// Every class, refused classes often enough that none is missing by chance.
const MIX: &str = "spf=20,dkim-rsa=15,dkim-ed25519=10,both=10,neither=9,no-ptr=6,no-fcrdns=6,not-opted-in=6,temperror=6,oversize=6,hostile=6";

#[test]
fn every_class_gets_its_reply() {
    for (ptr, args) in [
        ("exists", &["--closed", "8"][..]),
        ("exists", &["--closed", "4", "--messages-per-connection", "10", "--body", "mail"]),
        ("fcrdns", &["--rate", "300", "--pipelining", "off", "--recipients", "2"]),
    ] {
        let measurement = mix(ptr, &[], &[&["--messages", "600", "--sources", "2000", "--mix", MIX], args].concat());
        let mut classes: Vec<&str> = replies(&measurement).map(|reply| reply["class"].as_str().unwrap()).collect();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), 11, "{classes:?}");
        assert_eq!(replies(&measurement).map(count).sum::<u64>(), 600, "{args:?}");
    }
}

/// Messages that say nothing of their size and go beyond the limit are read to their end and refused; the session goes on behind them.
#[test]
fn oversize_messages_that_are_sent() {
    for pipelining in ["auto", "off"] {
        let plan = ["--closed", "4", "--messages", "100", "--messages-per-connection", "5", "--pipelining", pipelining];
        let oversize = ["--mix", "oversize=50,spf=50", "--oversize", "sent"];
        let measurement = mix("exists", &["--size-limit", "100000"], &[&plan[..], &oversize].concat());
        let refused = replies(&measurement).filter(|reply| reply["reply"] == "552 5.3.4").map(count).sum::<u64>();
        assert!(refused > 0 && refused < 100, "{measurement:#}");
        assert!(replies(&measurement).all(|reply| (reply["class"] == "oversize") == (reply["reply"] == "552 5.3.4")));
        assert!(measurement["octets_sent"].as_u64().unwrap() > refused * 100_000, "{measurement:#}");
    }
}

/// With a zone that loses, truncates and fails, nothing but temporary refusals may come in place of the replies expected.
#[test]
fn failing_dns_makes_only_temporary_refusals() {
    let faults = ["--servfail", "5", "--truncate", "30", "--delay-ms", "2", "--jitter-ms", "5"];
    let measurement =
        mix("exists", &[], &[&["--messages", "400", "--closed", "8", "--sources", "2000"], &faults[..]].concat());
    let temporary: u64 = replies(&measurement).filter(|reply| reply["reply"] == "451 4.4.3").map(count).sum();
    assert!(temporary > 0, "{measurement:#}");
}

/// Many more sources than the limits can remember: the gate does not grow. `PERFORMANCE.md` has the same with a million.
#[test]
fn memory_is_flat_under_rotation_of_sources() {
    const SOURCES: &str = "50000";
    let zone = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let limits = ["address", "64", "56", "48"].map(|scope| format!("--limit={scope}.connections=1000/1d"));
    let caches = ["--cache-ptr", "1", "--cache-spf", "1", "--cache-dkim", "1", "--limit-table", "1"];
    let args: Vec<&str> = limits.iter().map(String::as_str).chain(caches).collect();
    let mut gate = Setup::new().dns_servers(&[zone]).args(&args).start();
    let rotate = |sources| {
        let mut command = Command::new(loadgen());
        command.args(["run", "--proxy", "--target", &gate.proxy.to_string(), "--with-zone", &zone.to_string()]);
        command.args(["--closed", "16", "--mix", "no-ptr=100", "--prefix", "2000::/12", "--pool", "1", "--quiet"]);
        command.args(["--sources", SOURCES, "--sources-in-turn", "--messages", sources]);
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
        resident_octets(gate.process.id())
    };
    // Until the buffers and caches are what they will be.
    let before = rotate("25000");
    let after = rotate(SOURCES);
    assert!(after < before + (4 << 20), "{before} octets resident after 25,000 sources, {after} after {SOURCES}");
    gate.process.signal(rustix::process::Signal::TERM);
    assert!(gate.process.wait().success());
    let told = until("the sum", || {
        gate.process.stderr().iter().find_map(|line| line.split("budgets forgotten: ").nth(1).map(str::to_owned))
    });
    // Four for each source, of which a table of a MiB holds 25,568.
    let forgotten: u64 = told.split(',').next().unwrap().parse().unwrap();
    assert!(forgotten > 4 * 50_000 - 25_568, "{told}");
}

fn resident_octets(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}
