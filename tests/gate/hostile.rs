//! The corpus of hostile cases, over the wire, by its own runner.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::gate::{Gate, Setup};
use crate::harness::process::{Process, run};
use crate::harness::zone::{quickstart_with, txt, workspace};
use crate::harness::{skip, until};

/// Cases that we answer otherwise than the corpus prefers, what the corpus calls that, and why.
const DECIDED_AGAINST: &[(&str, &str, &str)] = &[
    (
        "eod-crlf-nul-dot-crlf",
        "LENIENT",
        "a NUL ends no line: the message stays one and is relayed octet for octet, as the rest of it",
    ),
    ("eod-crlf-dot-nul-crlf", "LENIENT", "the same: a line `.` NUL is not the terminator"),
    ("bdat-unadvertised", "FAIL", "CHUNKING is advertised, so a good message in one chunk is accepted"),
];

/// Cases that are not run over the wire here: of DNS, faults and load, and those over the wire that take minutes. Each is a test of ours.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("conn-per-64", "tests/gate/limits.rs", "sessions_at_once"),
    ("conn-global", "tests/gate/load.rs", "ten_thousand_idle_connections"),
    ("fd-exhaustion", "tests/gate/load.rs", "descriptors"),
    ("ptr-none", "tests/gate/dns.rs", "answers_to_the_ptr_question"),
    ("ptr-servfail", "tests/gate/dns.rs", "answers_to_the_ptr_question"),
    ("ptr-mismatch", "tests/gate/modes.rs", "fcrdns_wants_a_name_that_resolves_back"),
    ("ptr-forward-a-only", "crates/message-auth/tests/lookups.rs", "iprev"),
    ("ptr-50-names", "crates/message-auth/src/iprev.rs", "first_ten_each_once"),
    ("ptr-evil-name", "tests/gate/dns.rs", "answers_to_the_ptr_question"),
    ("ptr-cname-ip6arpa", "crates/dns/tests/hostile.rs", "reverse_names_behind_an_alias"),
    ("ptr-cname-loop", "crates/dns/tests/hostile.rs", "aliases_without_end"),
    ("v4-mapped-peer", "tests/gate/modes.rs", "ipv4_mapped_addresses_are_ipv4"),
    ("spf-slash-zero", "crates/spf/tests/evaluation.rs", "mechanisms"),
    ("spf-two-records", "tests/gate/message_auth.rs", "spf_alone"),
    ("spf-lookup-limit", "crates/spf/tests/evaluation.rs", "lookup_limit"),
    ("spf-mx-amplification", "crates/server/src/simulation/caps.rs", "dns_queries_of_a_message"),
    ("spf-void-lookups", "crates/spf/tests/evaluation.rs", "void_lookups"),
    ("spf-include-loop", "crates/spf/tests/rfc7208_suite.rs", "suite"),
    ("spf-timeout", "tests/gate/dns.rs", "answers_to_the_spf_question"),
    ("spf-temperror-dkim-pass", "crates/policy/tests/gate.rs", "end_of_data"),
    ("spf-fail-dkim-temperror", "tests/gate/message_auth.rs", "signatures_that_do_not_count"),
    ("spf-helo-null-sender", "tests/gate/maildir.rs", "a_null_reverse_path"),
    ("spf-helo-none-mailfrom-pass", "tests/gate/message_auth.rs", "spf_alone"),
    ("spf-domain-literal-sender", "crates/spf/tests/evaluation.rs", "initial_processing"),
    ("spf-macro-localpart", "crates/spf/src/macros/tests.rs", "every_other_octet_is_escaped"),
    ("spf-huge-txt", "crates/dns/tests/hostile.rs", "texts_of_64_kib"),
    ("spf-exp-injection", "crates/spf/tests/evaluation.rs", "explanations"),
    ("dns-cname-chain", "crates/dns/tests/hostile.rs", "aliases_without_end"),
    ("dns-spoof", "crates/dns/tests/hostile.rs", "answers_of_somebody_else"),
    ("dns-truncated-no-tcp", "crates/dns/tests/hostile.rs", "cut_answers"),
    ("dns-poisoned-additional", "crates/dns/tests/hostile.rs", "nothing_is_learnt_of_other_names"),
    ("cache-negative-ttl", "crates/dns/tests/network.rs", "times_to_live"),
    ("cache-key-case", "crates/dns/src/name.rs", "keys"),
    ("cache-stampede", "crates/dns/tests/network.rs", "one_query_for_two_shards_and_four_hundred_tasks"),
    ("nexthop-refused", "tests/gate/replies.rs", "next_hop_that_is_not_there"),
    (
        "nexthop-blackhole",
        "crates/delivery/tests/delivery/next_hop_failover.rs",
        "a_host_that_does_not_answer_the_connect_holds_up_few",
    ),
    ("nexthop-hang-after-dot", "tests/gate/next_hop.rs", "what_hangs_after_the_dot_is_unknown_in_the_end"),
    ("nexthop-drop-after-dot", "tests/gate/next_hop.rs", "after_the_dot_there_is_no_second_try"),
    ("nexthop-drop-mid-data", "tests/gate/next_hop.rs", "connections_that_die_before_the_terminator_are_replaced"),
    ("nexthop-5xx-rcpt", "tests/gate/next_hop.rs", "postfix_answers_each_recipient"),
    ("nexthop-5xx-data", "crates/delivery/tests/delivery/next_hop_replies.rs", "refusals_are_passed_on"),
    ("nexthop-4xx", "crates/delivery/tests/delivery/next_hop_replies.rs", "refusals_are_passed_on"),
    (
        "nexthop-421-any",
        "crates/delivery/tests/delivery/next_hop_failover.rs",
        "a_host_that_fails_is_left_for_the_next",
    ),
    ("nexthop-reply-flood", "tests/gate/next_hop.rs", "replies_out_of_order"),
    ("nexthop-reply-injection", "tests/gate/next_hop.rs", "a_reply_cannot_break_out"),
    ("nexthop-reply-pipelined-early", "tests/gate/next_hop.rs", "replies_out_of_order"),
    (
        "nexthop-no-8bitmime",
        "crates/delivery/tests/delivery/next_hop_pool.rs",
        "what_clients_are_offered_follows_the_next_hops",
    ),
    ("nexthop-no-smtputf8", "tests/gate/internationalized.rs", "postfix_without_smtputf8"),
    ("nexthop-size-smaller", "tests/gate/next_hop.rs", "its_size_limit_is_offered"),
    ("proxy-trust", "tests/gate/commands.rs", "smuggling"),
    (
        "connection-reuse-desync",
        "crates/delivery/tests/delivery/next_hop_release.rs",
        "only_a_clean_connection_comes_into_the_pool",
    ),
    ("bytes-preserved", "tests/gate/next_hop.rs", "every_octet_is_preserved"),
    ("kill9-after-250", "tests/gate/durability.rs", "killed_under_load_the_maildir_has_every_acknowledged_message"),
    ("power-cut-after-250", "tests/gate/durability.rs", "the_order_of_system_calls"),
    ("kill9-before-250", "tests/gate/durability.rs", "killed_before_the_250_nothing_half_written_is_seen"),
    ("enospc", "tests/gate/disk.rs", "a_maildir_without_room"),
    ("eio-fsync", "tests/gate/disk.rs", "a_disk_error_at_each_step"),
    ("erofs", "tests/gate/disk.rs", "a_maildir_that_may_only_be_read"),
    ("inode-exhaustion", "tests/gate/disk.rs", "a_maildir_without_inodes"),
    ("duplicate-name", "crates/delivery/src/maildir/store/tests.rs", "names_are_unique_over_threads_and_are_names"),
    ("short-write", "tests/gate/faults.rs", "files_take_octets_by_the_piece"),
    ("sigterm-mid-data", "tests/gate/stopping.rs", "idle_sessions_get_421_and_transactions_are_finished"),
    ("panic-one-session", "tests/gate/faults.rs", "a_panic_ends_its_session_alone"),
    ("executor-stall", "crates/dkim/tests/caps.rs", "work_is_linear_in_the_number_of_fields"),
    ("executor-stall", "tests/gate/load.rs", "a_late_shard"),
    ("dns-thread-dead", "crates/dns/src/oneshot.rs", "a_task_that_panics_leaves_nobody_waiting"),
    ("clock-jump", "tests/gate/faults.rs", "the_clock_jumps_a_day"),
    ("upgrade", "tests/gate/upgrade.rs", "three_upgrades_under_load"),
    ("memlock", "tests/gate/preflight.rs", "too_little_lockable_memory"),
    ("slow-command", "crates/server/src/simulation/caps/slow.rs", "slow_clients_are_cut_off_at_every_stage"),
    ("slow-data", "crates/server/src/simulation/caps/slow.rs", "slow_clients_are_cut_off_at_every_stage"),
    ("idle", "crates/server/src/simulation/caps/slow.rs", "slow_clients_are_cut_off_at_every_stage"),
];

/// Cases of what there is not here, and why.
const NOT_OURS: &[(&str, &str)] = &[
    ("dns-nsec3", "nothing is validated here; the resolver beside the gate does it"),
    ("nexthop-starttls-stripped", "no TLS is spoken to next hops, so no policy can demand it"),
    ("nexthop-cert-wrong", "the same"),
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

/// Runs the corpus against one listener; every case that failed. One that we decided against must come to exactly
/// what we decided: a message too many at the sink is a failure all the same.
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
    let known =
        |id: &str, result: &str| DECIDED_AGAINST.iter().any(|(case, as_what, _)| (*case, *as_what) == (id, result));
    failed.iter().filter(|[id, result, _]| !known(id, result)).map(|row| row.join(" ")).collect()
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

/// Every case is run over the wire, is a test elsewhere, or has its reason; and every reason and test is there.
#[test]
fn every_case_has_its_place() {
    let Some(shared) = shared() else { return skip("no corpus of hostile cases beside this checkout") };
    let script = "import json,sys,yaml; print(json.dumps([[c['id'], c['kind']=='wire' and 'slow' not in c.get('needs',[])] \
                  for c in yaml.safe_load(open(sys.argv[1]))['cases']]))";
    let corpus = shared.join("corpora/hostile/hostile_cases.yaml");
    let ended = run(Command::new("/usr/bin/python3").args(["-c", script]).arg(corpus));
    let cases: HashMap<String, bool> =
        serde_json::from_str::<Vec<(String, bool)>>(&ended.stdout).unwrap().into_iter().collect();
    let known: HashSet<&str> = ELSEWHERE.iter().map(|(id, ..)| *id).chain(NOT_OURS.iter().map(|(id, _)| *id)).collect();
    let elsewhere: HashSet<&str> = cases.iter().filter(|(_, here)| !**here).map(|(id, _)| id.as_str()).collect();
    assert_eq!(known, elsewhere);
    assert!(DECIDED_AGAINST.iter().all(|(id, ..)| cases.get(*id) == Some(&true)));
    for (id, file, test) in ELSEWHERE {
        let text =
            std::fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{id}: {file}: {error}"));
        assert!(
            text.contains(&format!("#[test]\nfn {test}()")) || text.contains(&format!("#[test]\n    fn {test}()")),
            "{id}: no test {test} in {file}"
        );
    }
}
