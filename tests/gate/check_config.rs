//! `mx6 check-config`: what is wrong is told at once and with its place, what the gate depends on is asked, and no port is bound.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::certificates::{Authority, Usage};
use crate::harness::gate::{binary, check_config, mx6, mx6_with};
use crate::harness::next_hop::{NextHop, Script};
use crate::harness::postfix::Postfix;
use crate::harness::process::{Ended, run, succeed};
use crate::harness::unbound::Unbound;
use crate::harness::zone::{quickstart, workspace};
use crate::harness::{free_port, is_root, skip};

/// `check-config` of a gate that asks this resolver and delivers there.
fn check_network(resolver: SocketAddr, deliver: &[&str]) -> (Ended, Value) {
    let resolver = resolver.to_string();
    let mut args = vec![
        "check-config",
        "--json",
        "--hostname",
        "mx.example",
        "--listen",
        "[::1]:0",
        "--domain",
        "a.example=accept",
    ];
    args.extend(["--dns-server", &resolver, "--dns-probe", "mail.pass.example"]);
    args.extend(deliver.iter().flat_map(|target| ["--deliver", target]));
    let ended = mx6(&args);
    let told = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    (ended, told)
}

/// Status and text of the checks of a group.
fn of_group<'t>(told: &'t Value, group: &str) -> Vec<(&'t str, &'t str)> {
    let checks = told["checks"].as_array().unwrap().iter().filter(|check| check["group"] == group);
    checks.map(|check| (check["status"].as_str().unwrap(), check["text"].as_str().unwrap())).collect()
}

/// A configuration file; the words that the complaint must have; none if it is good.
#[test]
fn files_good_and_bad() {
    let good = std::fs::read_to_string(workspace().join("examples/quickstart.toml")).unwrap();
    let good =
        good.replace("examples/quickstart.zone", &workspace().join("examples/quickstart.zone").display().to_string());
    let line_of = |text: &str, key: &str| text.lines().position(|line| line.starts_with(key)).unwrap() + 1;
    let misspelt = good.replace("hostname =", "hostnam =");
    let at_misspelt = format!("test.toml:{}", line_of(&misspelt, "hostnam"));
    let wrong_value = good.replace("= \"accept\"", "= \"perhaps\"");
    let at_wrong_value = format!("test.toml:{}", line_of(&wrong_value, "\"open.example\""));
    let broken = good.replace("[domain]", "[domain");
    let at_broken = format!("test.toml:{}", line_of(&broken, "[domain"));
    let internationalized = good.replace("\"open.example\"", "\"*.bü-.example\"");
    let rows: [(&str, &str, &[&str]); 5] = [
        ("a domain that is none", &internationalized, &["`*.bü-.example`", "label `bü-` begins or ends with a hyphen"]),
        ("good", &good, &[]),
        ("misspelt key", &misspelt, &[&at_misspelt, "hostnam", "hostname"]),
        ("wrong value", &wrong_value, &[&at_wrong_value, "perhaps"]),
        ("broken syntax", &broken, &[&at_broken]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.toml");
    for (what, text, named) in rows {
        std::fs::write(&file, text).unwrap();
        let ended = mx6(&["check-config", "--offline", "--config", &file.display().to_string()]);
        assert_eq!(ended.code == Some(0), named.is_empty(), "{what}: {ended:#?}");
        let said = ended.stderr + &ended.stdout;
        for name in named {
            assert!(said.contains(name), "{what}: no {name:?} in {said}");
        }
    }
}

/// A port that somebody else holds is no fault of the file.
#[test]
fn a_port_may_be_taken() {
    let taken = TcpListener::bind("[::1]:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.toml");
    let text = format!(
        "hostname = \"mx.example\"\nlisten = [\"{}\"]\ndeliver = [\"discard:\"]\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(&file, text + "[domain]\n\"open.example\" = \"accept\"\n").unwrap();
    let ended = mx6(&["check-config", "--offline", "--config", &file.display().to_string()]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

/// All that is wrong, in file, environment and flags, each with its place.
#[test]
fn every_fault_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.toml");
    let text = "hostnam = \"mx.example\"\nmemory = 0\nlisten = [\"::1:25\", \"[::1]:25\"]\ncores = true\n[domain]\n\"a.example\" = \"perhaps\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let variables = [("MX6_DNS_STALE", "long"), ("MX6_PTR", "none")];
    let args = ["check-config", "--config", &file, "--mode", "loose"];
    let ended = mx6_with(&variables, &args);
    assert_eq!(ended.code, Some(78), "{ended:#?}");
    for words in [
        ":1:1: unknown key `hostnam`; did you mean `hostname`?",
        ":2:10: --memory `0`",
        ":3:11: --listen `::1:25`",
        ":4:9: invalid type: boolean `true`",
        ":6:1: --domain: domain mode `perhaps`",
        "environment MX6_DNS_STALE: --dns-stale: `long` is not a whole number",
        "environment MX6_PTR: --ptr `none`: is not one of exists, fcrdns",
        "--mode `loose`: is not one of",
        "--deliver is missing",
        "not usable as it is: 9 errors",
    ] {
        assert!(ended.stderr.contains(words), "no {words:?} in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains('\u{1b}'), "colours, and no terminal");
    let told = mx6_with(&variables, &[&args[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["usable"], &told["exit_code"]), (&Value::from(false), &Value::from(78)));
    let place = &told["checks"].as_array().unwrap().iter().find(|check| check["where"]["line"] == 3).unwrap()["where"];
    assert_eq!((&place["file"], &place["column"]), (&Value::from(file.as_str()), &Value::from(11)));
}

#[test]
fn certificates() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "root");
    let text = |path: &Path| path.display().to_string();
    let pair = |name: &str, year: i32| {
        let signed = authority.sign_until(name, "mx.example", &[Usage::ServerAuth], year);
        (text(&signed.chain), text(&signed.key))
    };
    let (good, expired) = (pair("good", 2090), pair("expired", 2020));
    let disordered = dir.path().join("disordered.pem");
    let own = std::fs::read_to_string(&good.0).unwrap();
    std::fs::write(&disordered, own + &std::fs::read_to_string(&expired.0).unwrap()).unwrap();
    let near = (text(&dir.path().join("near.pem")), text(&dir.path().join("near.key")));
    let subject = ["-subj", "/CN=mx", "-addext", "subjectAltName=DNS:near.example"];
    let mut near_expiry = Command::new("openssl");
    near_expiry
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "10", "-keyout", &near.1, "-out", &near.0]);
    succeed(near_expiry.args(subject).stderr(std::process::Stdio::null()));
    let rows: [(&str, &str, i32, &str); 5] = [
        (&good.0, &good.1, 0, "for mx.example: fits its key, "),
        (&near.0, &near.1, 0, "for near.example: fits its key, "),
        (&expired.0, &expired.1, 78, "for mx.example: expired on "),
        (&good.0, &expired.1, 78, "not the key of "),
        (&text(&disordered), &good.1, 78, "certificate 2 of the file did not sign the one before it"),
    ];
    for (chain, key, code, words) in rows {
        let ended = check_config(&["--tls-cert", chain, "--tls-key", key]);
        assert_eq!(ended.code, Some(code), "{words}: {ended:#?}");
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains(words), "no {words:?} in {said}");
        let is_warned = said.lines().any(|line| line.trim_start().starts_with("warning") && line.contains("days left"));
        assert_eq!(is_warned, chain == near.0, "{said}");
    }
}

#[test]
fn resolvers_and_next_hops_that_answer() {
    let unbound = Unbound::start(&quickstart());
    let postfix = is_root().then(|| Postfix::next_hop(""));
    if postfix.is_none() {
        skip("Postfix needs root; a next hop of our own stands in");
    }
    let own = NextHop::willing();
    let address = postfix.as_ref().map_or(own.address, |postfix| postfix.address);
    let dead = free_port();
    let (ended, told) =
        check_network(unbound.address, &[&format!("smtp://{address}"), &format!("smtp://127.0.0.1:{dead}")]);
    assert_eq!(ended.code, Some(0), "one next hop is enough: {told:#}");
    assert_eq!(told["usable"], true);
    let [(status, text)] = of_group(&told, "DNS")[..] else { panic!("{told:#}") };
    assert!(status == "ok" && text.starts_with("knows mail.pass.example, after "), "{told:#}");
    let [(greets, offers), (is_dead, why)] = of_group(&told, "next hops")[..] else { panic!("{told:#}") };
    assert!(greets == "ok" && offers.starts_with("greets"), "{told:#}");
    assert!(
        postfix.is_none() || ["messages of ", "8BITMIME", "DSN"].iter().all(|word| offers.contains(word)),
        "{offers}"
    );
    assert!(is_dead == "warning" && why.contains("refused"), "{told:#}");
    assert_eq!(own.count("MAIL"), 0);
}

#[test]
fn resolvers_and_next_hops_that_do_not_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unbound = Unbound::start(&quickstart());
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = NextHop::start(vec![Script { greeting: "421 4.3.2 busy \u{1b}[31m".into(), ..Script::default() }]);
    let (next_hop, answering) = (NextHop::willing().address, NextHop::willing());
    let dead_hop = format!("smtp://{next_hop}");
    let (ended, told) = check_network(silent.local_addr().unwrap(), &[&format!("smtp://{}", answering.address)]);
    assert_eq!((ended.code, of_group(&told, "DNS")[0].0), (Some(69), "error"), "{told:#}");
    for (target, words) in [
        (dead_hop, "cannot connect"),
        (format!("smtp://{}", mute.local_addr().unwrap()), "no greeting: nothing within 3s"),
        (format!("smtp://{}", busy.address), "greets with 421"),
    ] {
        let (ended, told) = check_network(unbound.address, &[&target]);
        assert_eq!(ended.code, Some(69), "{target}: {told:#}");
        let [(status, text)] = of_group(&told, "next hops")[..] else { panic!("{told:#}") };
        assert!(status == "error" && text.contains(words), "{target}: {text}");
    }
    let to = format!("smtp://{}", busy.address);
    let shown = mx6(&["check-config", "--hostname", "mx.example", "--listen", "[::1]:0", "--deliver", &to]);
    assert!(shown.stderr.contains("greets with 421") && !shown.stderr.contains('\u{1b}'), "{shown:#?}");
}

/// Root may lock any amount of memory, so the right to do so is taken away first.
#[test]
fn a_machine_that_lacks_something() {
    let mut command = Command::new("prlimit");
    command.args(["--memlock=65536:65536", "--nofile=300:300"]);
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--bounding-set=-ipc_lock", "prlimit", "--memlock=65536:65536", "--nofile=300:300"]);
    }
    let usual =
        ["check-config", "--offline", "--hostname", "mx.example", "--listen", "[::1]:0", "--deliver", "discard:"];
    let ended = run(command.arg(binary()).args(usual));
    assert_eq!(ended.code, Some(71), "{ended:#?}");
    for words in ["RLIMIT_MEMLOCK", "LimitMEMLOCK=", "RLIMIT_NOFILE is 300", "LimitNOFILE="] {
        assert!(ended.stderr.contains(words), "no {words} in {}", ended.stderr);
    }
    // What is wrong with the configuration is said first.
    assert_eq!(check_config(&["--cores", "4095"]).code, Some(78));
}

/// Whoever is asked, no socket listens.
#[test]
fn nothing_listens() {
    let traceable = run(Command::new("strace").args(["-o", "/dev/null", "true"])).code == Some(0);
    if !traceable {
        return skip("strace may not trace here");
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let (hop, unbound) = (NextHop::willing(), Unbound::start(&quickstart()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=bind,listen,connect,sendto", "-o"]).arg(&trace).arg(binary());
    strace.args(["check-config", "--hostname", "mx.example", "--listen", "127.0.0.1:25", "--listen", "[::1]:25"]);
    strace.args(["--dns-server", &unbound.address.to_string(), "--deliver", &format!("smtp://{}", hop.address)]);
    let ended = run(&mut strace);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let calls = std::fs::read_to_string(&trace).unwrap();
    assert!(calls.contains(&format!("htons({})", hop.address.port())), "the next hop was not asked: {calls}");
    assert!(!calls.contains("listen("), "{calls}");
    // A question to a resolver leaves from a port that it chooses by itself; ours are left alone.
    let is_ours = |line: &&str| line.contains("bind(") && line.contains("_port=htons(25)");
    assert_eq!(calls.lines().find(is_ours), None);
}
