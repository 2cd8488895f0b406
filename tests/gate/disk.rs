//! A disk that fails, at each step of a message's way onto it: the client hears 452, nothing half-written is left to be seen, and when the
//! disk is back the same gate takes mail again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{body, plain, with_body};
use crate::harness::process;
use crate::harness::smtp::Client;
use crate::harness::strace::Injected;
use crate::harness::zone::PASS;
use crate::harness::{files, skip, until};

const FROM: &str = "alice@pass.example";
const TO: &str = "bob@open.example";
const NO_ROOM: &str = "452 4.3.1 ";
const FAILED: &str = "452 4.3.0 ";

fn send(gate: &Gate, octets: usize) -> String {
    let message = if octets == 0 { plain(FROM, "disk") } else { with_body(FROM, "disk", &body(octets)) };
    Client::greeted(gate, PASS, "mail.pass.example").transaction(FROM, TO, &message)
}

/// Sends and compares the reply.
fn check(gate: &Gate, what: &str, octets: usize, reply: &str) {
    let got = send(gate, octets);
    assert!(got.starts_with(reply), "{what}, {octets} octets: {got:?}");
}

/// A gate with a small file system of its own, mounted where only it sees it.
struct Mounted {
    gate: Gate,
    at: PathBuf,
}

impl Mounted {
    /// `options` of the tmpfs. `then` is a shell command that runs after it was mounted. None, with a notice, where nothing may be mounted.
    fn start(setup: Setup, at: &Path, options: &str, then: &str) -> Option<Mounted> {
        std::fs::create_dir_all(at).unwrap();
        let mount = format!("mount -t tmpfs -o {options} none {} && {then} && exec \"$@\"", at.display());
        let wrapper = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
        let probe = process::run(Command::new(wrapper[0]).args(&wrapper[1..]).arg("true"));
        if probe.code != Some(0) {
            skip(&format!("no file system of our own: {}", probe.stderr.trim()));
            return None;
        }
        Some(Mounted { gate: setup.under(&wrapper).start(), at: at.to_owned() })
    }

    fn remount(&self, options: &str) {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.gate.process.id());
        let mount = ["mount", "-o", &format!("remount,{options}"), &self.at.display().to_string()].map(str::to_owned);
        process::succeed(Command::new("nsenter").arg(namespace).args(mount));
    }

    /// A path as the gate sees it.
    fn seen(&self, path: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.gate.process.id());
        Path::new(&root).join(self.at.strip_prefix("/").unwrap()).join(path)
    }

    fn is_left(&self, messages: usize, what: &str) {
        nothing_else(&self.seen(""), messages, what);
    }
}

/// A Maildir has so many messages and nothing in `tmp/`.
fn nothing_else(maildir: &Path, messages: usize, what: &str) {
    assert_eq!(files::new_in(maildir).len(), messages, "{what}");
    assert!(files::files(&maildir.join("tmp")).is_empty(), "{what}: something is left in tmp");
}

#[test]
fn a_maildir_without_room() {
    let setup = Setup::new();
    let at = setup.dir().join("mail");
    let Some(disk) = Mounted::start(setup, &at, "size=128k", "true") else { return };
    for (octets, reply) in [(1_000_000, NO_ROOM), (1_000, "250 "), (1_000_000, NO_ROOM), (1_000, "250 ")] {
        check(&disk.gate, "full", octets, reply);
    }
    disk.is_left(2, "full");
    disk.remount("size=8m");
    check(&disk.gate, "with room again", 1_000_000, "250 ");
    disk.is_left(3, "with room again");
}

#[test]
fn a_maildir_without_inodes() {
    let setup = Setup::new();
    let at = setup.dir().join("mail");
    // The root, three folders, and room for two messages.
    let Some(disk) = Mounted::start(setup, &at, "size=1m,nr_inodes=6", "true") else { return };
    for reply in ["250 ", "250 ", NO_ROOM] {
        check(&disk.gate, "inodes", 0, reply);
    }
    disk.is_left(2, "inodes");
    disk.remount("nr_inodes=100");
    check(&disk.gate, "inodes again", 0, "250 ");
}

#[test]
fn a_maildir_that_may_only_be_read() {
    let setup = Setup::new();
    let at = setup.dir().join("mail");
    let Some(disk) = Mounted::start(setup, &at, "size=1m", "true") else { return };
    check(&disk.gate, "before", 0, "250 ");
    disk.remount("ro");
    check(&disk.gate, "read-only", 0, FAILED);
    disk.is_left(1, "read-only");
    disk.remount("rw");
    check(&disk.gate, "after", 0, "250 ");
    disk.is_left(2, "after");
}

#[test]
fn a_spill_folder_that_fails() {
    let setup = Setup::new();
    let at = setup.dir().join("spill");
    let setup = setup.args(&["--spill-dir", &at.display().to_string()]);
    let Some(disk) = Mounted::start(setup, &at, "size=128k", "true") else { return };
    for (octets, reply) in [(1_000_000, NO_ROOM), (1_000, "250 "), (1_000_000, NO_ROOM)] {
        check(&disk.gate, "full", octets, reply);
    }
    disk.remount("size=8m");
    check(&disk.gate, "with room again", 1_000_000, "250 ");
    disk.remount("ro");
    for (octets, reply) in [(1_000_000, FAILED), (1_000, "250 ")] {
        check(&disk.gate, "read-only", octets, reply);
    }
    disk.remount("rw");
    check(&disk.gate, "after", 1_000_000, "250 ");
    assert!(files::files(&disk.seen("")).is_empty(), "a spill file has no name");
    nothing_else(&disk.gate.maildir(), 4, "spill");
}

/// A log without room loses records and says so; it loses no mail and refuses none.
#[test]
fn a_decision_log_without_room() {
    let setup = Setup::new();
    let at = setup.dir().join("small");
    let log = setup.dir().join("decisions.jsonl");
    std::fs::write(&log, "").unwrap();
    let bind = format!("touch {0}/log && mount --bind {0}/log {1}", at.display(), log.display());
    let Some(mut disk) = Mounted::start(setup, &at, "size=8k", &bind) else { return };
    const MESSAGES: usize = 30;
    for _ in 0..MESSAGES {
        check(&disk.gate, "log", 0, "250 ");
    }
    disk.gate.process.until_stderr("the loss to be told", |lines| {
        lines.iter().any(|line| line.contains("the decision log cannot be written")).then_some(())
    });
    disk.remount("size=1m");
    check(&disk.gate, "log again", 0, "250 ");
    // Told as soon as there is room, which may be before the last message's record.
    until("every record to be there or told as lost", || {
        let text = std::fs::read_to_string(disk.seen("log")).ok()?;
        let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let lost: u64 = lines.iter().filter_map(|line| line["records_lost"].as_u64()).sum();
        let whole = lines.iter().filter(|line| line["session"].is_string()).count() as u64;
        (lost > 0 && whole + lost == MESSAGES as u64 + 1).then_some(())
    });
    nothing_else(&disk.gate.maildir(), MESSAGES + 1, "log");
}

#[test]
fn a_disk_error_at_each_step() {
    let setup = Setup::new();
    let spill = setup.dir().join("spill");
    std::fs::create_dir(&spill).unwrap();
    let gate = setup.args(&["--spill-dir", &spill.display().to_string()]).start();
    let new = gate.maildir().join("new");
    let large = 1_000_000;
    // (the step, the calls that fail, on what only, octets of the message, whether a small one passes meanwhile)
    let steps: [(&str, &str, Option<&Path>, usize, bool); 8] = [
        ("create", "openat", None, 0, false),
        ("fsync of the file", "fsync", None, 0, false),
        ("open new/", "openat", Some(&new), 0, false),
        ("rename", "renameat2", None, 0, false),
        ("fsync of new/", "fsync", Some(&new), 0, false),
        ("create the spill file", "openat", Some(&spill), large, true),
        ("write the spill file", "pwrite64", None, large, true),
        ("read the spill file", "pread64", None, large, true),
    ];
    let mut messages = 0;
    for (step, calls, path, octets, passes) in steps {
        let Some(injected) = Injected::into(&gate, calls, "error=EIO", path) else { return };
        check(&gate, step, octets, FAILED);
        nothing_else(&gate.maildir(), messages, step);
        if passes {
            check(&gate, step, 0, "250 ");
            messages += 1;
        }
        injected.end();
        check(&gate, &format!("after {step}"), octets, "250 ");
        messages += 1;
        nothing_else(&gate.maildir(), messages, step);
    }
    assert!(files::files(&spill).is_empty(), "a spill file has no name");
}
