//! Port 25, and no root afterwards; files that are not needed are out of reach.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::certificates::{Authority, Usage};
use crate::harness::files;
use crate::harness::gate::{Gate, Setup, check_config, shards};
use crate::harness::message::{body, plain, with_body};
use crate::harness::namespace::Namespace;
use crate::harness::process::run;
use crate::harness::smtp::Client;
use crate::harness::{is_root, skip, until};

/// A namespace for gates on port 25. None, with a notice, where that cannot be.
fn namespace() -> Option<Namespace> {
    if !is_root() {
        skip("only root can give up being root");
        return None;
    }
    Namespace::new(&[]).map_err(|why| skip(&why)).ok()
}

/// A setup on port 25 there, whose folder is nobody's, run by these words.
fn at_port_25(namespace: &Namespace, words: &[&str]) -> Setup {
    let setup = Setup::new();
    chown(setup.dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    let inside = namespace.wrapper();
    let wrapper: Vec<&str> = inside.iter().map(String::as_str).chain(words.iter().copied()).collect();
    let listen = ["[::1]:25", "127.0.0.1:25", "127.0.0.2:25"].map(|address| address.parse::<SocketAddr>().unwrap());
    setup.under(&wrapper).listening(listen)
}

/// The status (proc(5)) of each thread.
fn threads(gate: &Gate) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gate.process.id())).unwrap();
    tasks.map(|task| files::read(&task.unwrap().path().join("status"))).collect()
}

/// Every thread has these lines.
fn assert_in_each(threads: &[String], lines: &[&str]) {
    assert!(threads.len() > 3, "{threads:#?}");
    for status in threads {
        for line in lines {
            assert!(
                status.lines().any(|have| have.split_whitespace().eq(line.split_whitespace())),
                "no {line}: {status}"
            );
        }
    }
}

/// Sends a message from IPv4; its reply.
fn deliver(gate: &Gate, message: &str) -> String {
    let mut client = Client::connect(gate.v4);
    client.hello("mail.pass.example");
    client.transaction("alice@pass.example", "bob@open.example", message)
}

#[test]
fn root_is_given_up() {
    let Some(namespace) = namespace() else { return };
    let dir = tempfile::tempdir().unwrap();
    let door = dir.path().join("door").display().to_string();
    let started = || at_port_25(&namespace, &[]).args(&["--user", "nobody", "--handover", &door]);
    let setup = started();
    let log = setup.dir().join("decisions.jsonl");
    let mut gate = setup.start();
    namespace.inside(|| {
        // One of these is spilled to disk, and is fsynced on a thread that begins now.
        for message in [plain("alice@pass.example", "small"), with_body("alice@pass.example", "large", &body(1 << 20))]
        {
            let reply = deliver(&gate, &message);
            assert!(reply.starts_with("250 "), "{reply:?}");
        }
        let nobody = ["Uid: 65534 65534 65534 65534", "Gid: 65534 65534 65534 65534", "NoNewPrivs: 1"];
        let nothing = ["CapPrm: 0000000000000000", "CapEff: 0000000000000000", "CapInh: 0000000000000000"];
        let threads = threads(&gate);
        assert_in_each(&threads, &nobody);
        assert_in_each(&threads, &nothing);
        assert!(
            threads.iter().all(|status| status.lines().any(|line| line.trim_end() == "Groups:\t65534")),
            "{threads:?}"
        );
        assert_eq!(files::new_in(&gate.maildir()).len(), 2);
        // Log rotation: the file is moved away, and made anew by whom the gate runs as.
        std::fs::rename(&log, log.with_extension("1")).unwrap();
        until("a new log", || {
            deliver(&gate, &plain("alice@pass.example", "another"));
            log.exists().then_some(())
        });
    });
    // The next one starts as root and is relieved of it too, with sockets that came from nobody.
    let next = started().start();
    assert!(gate.process.wait().success());
    let told = format!("[::1]:25 (sockets of the gate before: {})", shards());
    assert!(next.process.stderr().iter().any(|line| line.ends_with(&told)), "{:#?}", next.process.stderr());
    namespace.inside(|| assert!(deliver(&next, &plain("alice@pass.example", "next")).starts_with("250 ")));
    assert_in_each(&threads(&next), &["Uid: 65534 65534 65534 65534", "NoNewPrivs: 1"]);
    next.stop();
}

/// As under systemd with AmbientCapabilities: no root at any time.
#[test]
fn a_capability_is_enough() {
    let caps = "+net_bind_service";
    let words =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps", caps, "--ambient-caps", caps];
    let Some(namespace) = namespace() else { return };
    let gate = at_port_25(&namespace, &words).start();
    namespace.inside(|| assert!(deliver(&gate, &plain("alice@pass.example", "small")).starts_with("250 ")));
    assert_in_each(&threads(&gate), &["Uid: 65534 65534 65534 65534", "NoNewPrivs: 1"]);
    gate.stop();
}

/// What the permissions of files allow and the sandbox does not: the Maildir's `tmp` leads to a folder elsewhere.
#[test]
fn files_elsewhere_are_out_of_reach() {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o777)).unwrap();
    for (sandbox, expected) in [("off", "250 "), ("on", "451 ")] {
        let setup = Setup::new();
        let spill = setup.dir().join("spill");
        std::fs::create_dir(&spill).unwrap();
        let gate = setup.args(&["--sandbox", sandbox, "--spill-dir", spill.to_str().unwrap()]).start();
        if gate.process.stderr().iter().any(|line| line.contains("no Landlock")) {
            return skip("this kernel has no Landlock");
        }
        let large = with_body("alice@pass.example", "large", &body(1 << 20));
        assert!(deliver(&gate, &large).starts_with("250 "));
        std::fs::remove_dir(gate.maildir().join("tmp")).unwrap();
        symlink(elsewhere.path(), gate.maildir().join("tmp")).unwrap();
        let reply = deliver(&gate, &plain("alice@pass.example", "small"));
        assert!(reply.starts_with(expected), "{sandbox}: {reply:?}");
        gate.stop();
    }
}

/// Who it is does not have to be looked up again, which the sandbox would not let it do. (Of `nobody` the system's libraries know by heart.)
#[test]
fn a_reload_knows_the_user() {
    if !is_root() {
        return skip("only root can give up being root");
    }
    let setup = Setup::new();
    chown(setup.dir(), Some(DAEMON), Some(DAEMON)).unwrap();
    let mut gate = setup.args(&["--user", "daemon"]).start();
    gate.process.signal(Signal::HUP);
    let told = gate.process.until_stderr("word of the reload", |lines| {
        lines.iter().find(|line| line.contains(" configuration ") && line.contains("reload: ")).cloned()
    });
    assert!(told.ends_with("reload: the new configuration holds"), "{told}");
    gate.stop();
}

/// A renewed certificate that is a link to where the gate has nothing to do.
#[test]
fn what_lies_elsewhere_is_not_read() {
    for (sandbox, expected) in [("off", "the certificate was renewed"), ("on", "Permission denied")] {
        let (setup, elsewhere) = (Setup::new(), tempfile::tempdir().unwrap());
        std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let own = Authority::new(&setup.dir(), "authority").sign("mx", "mx.example", &[Usage::ServerAuth]);
        let theirs = Authority::new(elsewhere.path(), "authority").sign("mx", "mx.example", &[Usage::ServerAuth]);
        let [chain, key, spill] = [own.chain.clone(), own.key.clone(), setup.dir().join("spill")];
        std::fs::create_dir(&spill).unwrap();
        let options = [("--tls-cert", chain), ("--tls-key", key), ("--spill-dir", spill)];
        let setup = options.iter().fold(setup, |setup, (option, path)| setup.args(&[option, path.to_str().unwrap()]));
        let mut gate = setup.args(&["--sandbox", sandbox]).start();
        if gate.process.stderr().iter().any(|line| line.contains("no Landlock")) {
            return skip("this kernel has no Landlock");
        }
        for (ours, theirs) in [(&own.key, &theirs.key), (&own.chain, &theirs.chain)] {
            std::fs::remove_file(ours).unwrap();
            symlink(theirs, ours).unwrap();
        }
        gate.process.until_stderr(expected, |lines| lines.iter().any(|line| line.contains(expected)).then_some(()));
        gate.stop();
    }
}

#[test]
fn what_cannot_be_given_up_is_told() {
    let serve = [
        "serve",
        "--hostname",
        "mx.example",
        "--listen",
        "[::1]:0",
        "--dns-server",
        "127.0.0.1:9",
        "--deliver",
        "discard:",
    ];
    let check = |wrapper: &[&str], user: &str, code: i32, part: &str| {
        let mut words = wrapper.to_vec();
        let binary = crate::harness::gate::binary().display().to_string();
        words.push(&binary);
        let ended = run(Command::new(words[0]).args(&words[1..]).args(serve).args(["--user", user]));
        assert_eq!(ended.code, Some(code), "{ended:#?}");
        assert!(ended.stderr.contains(part), "{ended:#?}");
    };
    check(&["env"], "no-such-user", 78, "useradd");
    check(&["env"], "nobody:no-such-group", 78, "groupadd");
    check(&["env"], "root", 78, "without privileges");
    let sandbox = check_config(&["--sandbox", "perhaps"]);
    assert!(sandbox.code != Some(0) && sandbox.stderr.contains("on, off"), "{sandbox:#?}");
    if !is_root() {
        return check(&["env"], "nobody", 77, "only root can change the user");
    }
    let readable =
        std::fs::metadata(crate::harness::gate::binary()).is_ok_and(|found| found.permissions().mode() & 5 == 5);
    if readable && Path::new("/usr/bin/setpriv").exists() {
        check(&["setpriv", "--reuid=1", "--regid=1", "--clear-groups"], "nobody", 77, "only root can change the user");
    }
    check(&["setpriv", "--bounding-set=-setuid,-setgid"], "nobody", 77, "CAP_SETUID");
}

/// `nobody` of Debian.
const NOBODY: u32 = 65534;
/// On every Debian.
const DAEMON: u32 = 1;
