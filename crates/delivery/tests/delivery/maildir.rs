//! A Maildir on a real disk: what a reader finds, and in which order the kernel was asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::{self, config, message_of, small_message, told};
use mx6_delivery::{Delivery, Target};
use mx6_runtime::{Deadline, run_local};
use mx6_smtp::Outcome;

fn maildir(dir: &Path) -> Target {
    Target::parse_all(&[format!("maildir:{}", dir.display())]).unwrap()
}

fn new_files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("new")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_recipient_finds_a_copy() {
    let root = tempfile::tempdir().unwrap();
    let (dir, spill_dir) = (root.path().join("mail"), root.path().to_owned());
    let target = maildir(&dir);
    target.prepare().unwrap();
    assert!(["tmp", "new", "cur"].iter().all(|name| dir.join(name).is_dir()));
    let (large_octets, names) = run_local(async move || {
        let delivery = Delivery::new(&target, config());
        assert_eq!(delivery.offers().size_max, None);
        let mut names = Vec::new();
        let large = message_of(1_000_000, &spill_dir).await;
        for message in [&small_message(), &large] {
            let mut transaction = delivery.begin(support::sender());
            for user in ["a@x", "b@x"] {
                assert_eq!(told(&transaction.rcpt(user, None, None).await), "accepted 250 2.1.5 OK");
            }
            let outcome = transaction.deliver(message, Deadline::after(Duration::from_secs(20))).await;
            assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
            names.push(outcome.reply().to_string().strip_prefix("250 2.0.0 OK: stored as ").unwrap().to_owned());
        }
        // LF in place of CRLF: one octet less for each line.
        let mut lines = 0;
        let mut blocks = large.body.blocks();
        while let Some(block) = blocks.next().await.unwrap() {
            lines += block.slices().flatten().filter(|octet| **octet == b'\n').count() as u64;
        }
        (large.len() - lines - 3, names)
    })
    .unwrap();
    let files = new_files(&dir);
    assert_eq!(files.len(), 4);
    assert!(names.iter().all(|name| dir.join("new").join(name).is_file()));
    let small = std::fs::read_to_string(dir.join("new").join(&names[0])).unwrap();
    let expected = "Return-Path: <s@there.example>\nDelivered-To: a@x\nReceived: z\nSubject: x\n\nHello\n.dot\n";
    assert_eq!(small, expected);
    let large = std::fs::read_to_string(dir.join("new").join(&names[1])).unwrap();
    let top_octets = "Return-Path: <s@there.example>\nDelivered-To: a@x\n".len() as u64;
    assert_eq!(large.len() as u64, top_octets + large_octets);
    assert!(!large.contains('\r'));
    let mode = std::os::unix::fs::MetadataExt::mode(&files[0].metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_place_that_is_no_maildir_is_451() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let half = root.path().join("half");
    std::fs::create_dir_all(half.join("tmp")).unwrap();
    std::fs::write(half.join("new"), "").unwrap();
    assert!(maildir(&file).prepare().is_err());
    for dir in [file, half] {
        run_local(async move || {
            let delivery = Delivery::new(&maildir(&dir), config());
            let mut transaction = delivery.begin(support::sender());
            transaction.rcpt("a@x", None, None).await;
            let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
            assert_eq!(told(&outcome), "refused 451 4.3.0 Message could not be stored, try again later.");
            if dir.join("tmp").is_dir() {
                assert_eq!(std::fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
            }
        })
        .unwrap();
    }
}

#[test]
fn discard_takes_everything() {
    run_local(async || {
        let delivery = Delivery::new(&Target::Discard, config());
        let mut transaction = delivery.begin(support::sender());
        assert_eq!(told(&transaction.rcpt("a@x", None, None).await), "accepted 250 2.1.5 OK");
        let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(1))).await;
        assert_eq!(told(&outcome), "accepted 250 2.0.0 OK");
    })
    .unwrap();
}

/// The work of [`the_kernel_is_asked_in_the_right_order`], run by it under strace; nothing by itself.
#[test]
fn traced_delivery() {
    let Ok(dir) = std::env::var("MX6_TRACED_MAILDIR") else { return };
    run_local(async move || {
        let target = maildir(Path::new(&dir));
        target.prepare().unwrap();
        let delivery = Delivery::new(&target, config());
        let mut transaction = delivery.begin(support::sender());
        transaction.rcpt("a@x", None, None).await;
        transaction.rcpt("b@x", None, None).await;
        let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(20))).await;
        assert!(matches!(outcome, Outcome::Accepted(_)));
        // Stands for the 250 in the trace.
        let _ = std::fs::metadata("/the/250/leaves");
    })
    .unwrap();
}

#[test]
fn the_kernel_is_asked_in_the_right_order() {
    let Some((mail, trace)) = traced("maildir::traced_delivery", "MX6_TRACED_MAILDIR") else { return };
    let steps: Vec<&str> = trace
        .lines()
        .filter_map(|line| {
            let is_in = |place: &str| line.contains(&format!("{mail}/{place}"));
            if line.contains("/the/250/leaves") {
                Some("250")
            } else if line.contains("fsync(") && is_in("tmp/") {
                Some("fsync copy")
            } else if line.contains("rename") && is_in("tmp/") && is_in("new/") {
                assert!(line.contains("RENAME_NOREPLACE"), "{line}");
                Some("rename")
            } else if line.contains("fsync(") && is_in("new>") {
                Some("fsync new")
            } else {
                None
            }
        })
        .collect();
    assert_eq!(steps, ["fsync copy", "fsync copy", "rename", "rename", "fsync new", "250"], "{trace}");
}

/// Messages at the same time in [`no_message_is_told_before_a_sync_that_began_after_its_rename`].
const TOGETHER: usize = 16;

/// The work of [`no_message_is_told_before_a_sync_that_began_after_its_rename`], run by it under strace; nothing by itself.
#[test]
fn traced_deliveries_together() {
    let Ok(dir) = std::env::var("MX6_TRACED_TOGETHER") else { return };
    run_local(async move || {
        let target = maildir(Path::new(&dir));
        target.prepare().unwrap();
        let delivery = Delivery::new(&target, config());
        let one = async |_| {
            for _ in 0..4 {
                let mut transaction = delivery.begin(support::sender());
                transaction.rcpt("a@x", None, None).await;
                let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(20))).await;
                let reply = outcome.reply().to_string();
                let name = reply.strip_prefix("250 2.0.0 OK: stored as ").unwrap();
                // Stands for the 250 in the trace.
                let _ = std::fs::metadata(format!("/the/250/of/{name}"));
            }
        };
        futures_util::future::join_all((0..TOGETHER).map(one)).await;
        let counters = delivery.counters();
        assert_eq!(counters.maildir_members, 4 * TOGETHER as u64);
        assert!((1..counters.maildir_members).contains(&counters.maildir_groups), "{counters:?}");
    })
    .unwrap();
}

#[test]
fn no_message_is_told_before_a_sync_that_began_after_its_rename() {
    let test = "maildir::traced_deliveries_together";
    let Some((mail, trace)) = traced(test, "MX6_TRACED_TOGETHER") else { return };
    let lines: Vec<&str> = trace.lines().collect();
    let told: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((at, line.split("/the/250/of/").nth(1)?.split('"').next()?)))
        .collect();
    assert_eq!(told.len(), 4 * TOGETHER);
    let new = format!("{mail}/new>");
    let syncs: Vec<(usize, usize)> = (0..lines.len())
        .filter(|&at| lines[at].contains("fsync(") && lines[at].contains(&new))
        .map(|at| (at, returned(&lines, at)))
        .collect();
    for (told, name) in told {
        let at = lines.iter().position(|line| line.contains("rename") && line.contains(name)).expect(name);
        let renamed = returned(&lines, at);
        let copy = format!("tmp/{name}>");
        let synced = lines.iter().position(|line| line.contains("fsync(") && line.contains(&copy)).expect(name);
        assert!(returned(&lines, synced) < at, "{name} was renamed before its own sync:\n{trace}");
        let covered = syncs.iter().any(|&(begin, end)| renamed < begin && end < told);
        assert!(covered, "no sync of new/ between the rename of {name} and its 250:\n{trace}");
    }
    println!("{} messages, {} syncs of new/", 4 * TOGETHER, syncs.len());
}

/// Runs a test of this file under strace, with `variable` set to the Maildir to use: that, and the calls to do with files. None if strace
/// cannot be had.
fn traced(test: &str, variable: &str) -> Option<(String, String)> {
    let root = tempfile::tempdir().unwrap();
    let (mail, trace) = (root.path().join("mail"), root.path().join("trace"));
    let calls = "trace=fsync,rename,renameat,renameat2,link,linkat,stat,statx,newfstatat";
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", "300", "-e", calls, "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(variable, &mail)
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: strace is not installed");
        return None;
    };
    let trace = std::fs::read_to_string(&trace).unwrap_or_default();
    if !output.status.success() && trace.is_empty() {
        println!("SKIPPED: strace may not trace here");
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some((mail.display().to_string(), trace))
}

/// Where the call that begins at a line has returned 0: strace cuts it in two when another thread comes between.
fn returned(lines: &[&str], at: usize) -> usize {
    let end = if lines[at].contains("<unfinished ...>") {
        let thread = lines[at].split(' ').next().unwrap();
        let resumed = |line: &&str| line.split(' ').next() == Some(thread) && line.contains(" resumed>");
        at + lines[at..].iter().position(resumed).expect("the end of the call")
    } else {
        at
    };
    assert!(lines[end].trim_end().ends_with("= 0"), "{}", lines[end]);
    end
}
