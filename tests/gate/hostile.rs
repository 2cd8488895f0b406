//! The corpus of hostile cases, over the wire, by its own runner.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::gate::{Gate, Setup};
use crate::harness::process::{Process, run};
use crate::harness::zone::{quickstart_with, txt, workspace};
use crate::harness::{skip, until};

/// Cases that we answer otherwise than the corpus prefers, and why.
const DECIDED_AGAINST: &[(&str, &str)] = &[
    (
        "eod-crlf-nul-dot-crlf",
        "a NUL ends no line: the message stays one and is relayed octet for octet, as the rest of it",
    ),
    ("eod-crlf-dot-nul-crlf", "the same: a line `.` NUL is not the terminator"),
    ("bdat-unadvertised", "CHUNKING is advertised, so a good message in one chunk is accepted"),
];

/// The corpus and its tools, if this checkout has them.
fn shared() -> Option<PathBuf> {
    let shared = workspace().join("../shared");
    let there = ["corpora/hostile/hostile_cases.yaml", "tools/run_hostile.py", "tools/sink.py"];
    there.iter().all(|file| shared.join(file).exists()).then_some(shared)
}

/// The sink of the corpus as next hop; it writes each message to a file.
fn sink(shared: &Path, folder: &Path) -> (Process, SocketAddr) {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(shared.join("tools/sink.py")).arg(address.port().to_string()).arg(folder);
    let process = Process::start(&mut command);
    until("the sink to listen", || TcpStream::connect(address).ok());
    (process, address)
}

/// A gate for the domains of the corpus: clients on loopback pass PTR and SPF as sender.test.
fn gate(next_hop: SocketAddr) -> Gate {
    let zone = "$ORIGIN test.\n@ IN SOA ns.test. hostmaster.test. 1 3600 600 86400 300\n".to_owned()
        + &txt("sender.test.", "v=spf1 ip6:::1 ip4:127.0.0.1 -all");
    Setup::new()
        .zone(&quickstart_with(&zone))
        .domains(&["open.test=accept", "strict.test=accept"])
        .next_hops(&[next_hop])
        .args(&["--authserv-id", "mx.local.test"])
        .start()
}

/// Runs the corpus against one listener; every case that failed without being decided against.
fn failures(shared: &Path, listener: SocketAddr, sink: &Path, more: &[&str]) -> Vec<String> {
    let results = sink.with_extension("json");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(shared.join("tools/run_hostile.py")).arg(listener.ip().to_string()).arg(listener.port().to_string());
    command.arg("--sink").arg(sink).arg("--json").arg(&results).args(more);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let rows: Vec<[String; 3]> = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    let ran: Vec<&[String; 3]> = rows.iter().filter(|[_, result, _]| result != "SKIP").collect();
    let failed: Vec<&&[String; 3]> = ran.iter().filter(|[_, result, _]| result != "PASS").collect();
    println!("hostile cases: {} of {}", ran.len() - failed.len(), ran.len());
    println!("{}", ended.stdout);
    let known = |id: &str| DECIDED_AGAINST.iter().any(|(case, _)| *case == id);
    failed.iter().filter(|[id, ..]| !known(id)).map(|row| row.join(" ")).collect()
}

#[test]
fn plain_listener() {
    let Some(shared) = shared() else { return skip("no corpus of hostile cases beside this checkout") };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sink");
    let (_sink, next_hop) = sink(&shared, &folder);
    let gate = gate(next_hop);
    let failed = failures(&shared, gate.v6, &folder, &["--skip", "slow,proxy,tls"]);
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn proxy_listener() {
    let Some(shared) = shared() else { return skip("no corpus of hostile cases beside this checkout") };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sink");
    let (_sink, next_hop) = sink(&shared, &folder);
    let gate = gate(next_hop);
    let only = "^proxy-(v1|v2|missing)";
    let failed = failures(&shared, gate.proxy, &folder, &["--skip", "slow", "--only", only]);
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Every reason still has its case.
#[test]
fn reasons_name_cases() {
    let Some(shared) = shared() else { return skip("no corpus of hostile cases beside this checkout") };
    let script =
        "import json,sys,yaml; print(json.dumps([c['id'] for c in yaml.safe_load(open(sys.argv[1]))['cases']]))";
    let corpus = shared.join("corpora/hostile/hostile_cases.yaml");
    let ended = run(Command::new("/usr/bin/python3").args(["-c", script]).arg(corpus));
    let cases: Value = serde_json::from_str(&ended.stdout).unwrap();
    let is_case = |id: &str| cases.as_array().unwrap().iter().any(|case| case == id);
    assert!(DECIDED_AGAINST.iter().all(|(id, reason)| is_case(id) && !reason.is_empty()));
}
