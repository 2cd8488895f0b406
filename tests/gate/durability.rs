//! Whoever got 250 finds the message: `kill -9` at any moment, and the order of the system calls.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::gate::{Gate, Setup};
use crate::harness::message::{body, plain, with_body};
use crate::harness::next_hop::NextHop;
use crate::harness::smtp::{Client, proxy_v1};
use crate::harness::strace::{self, Injected};
use crate::harness::zone::PASS;
use crate::harness::{files, until};

/// Clients that send at the same time.
const CLIENTS: usize = 6;

/// Sends until the gate is gone; remembers the message ids that were acknowledged.
struct Load {
    acknowledged: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(gate: &Gate, round: usize) -> Load {
        let mut load = Load { acknowledged: Arc::default(), over: Arc::default(), clients: Vec::new() };
        for client in 0..CLIENTS {
            let (proxy, acknowledged, over) = (gate.proxy, load.acknowledged.clone(), load.over.clone());
            load.clients.push(std::thread::spawn(move || {
                let mut smtp = Client::connect(proxy);
                let mut number = 0;
                let mut hello = smtp.try_send(proxy_v1(PASS)).is_ok() && said(&mut smtp, "", "220 ");
                hello = hello && said(&mut smtp, "EHLO mail.pass.example\r\n", "250-");
                while hello && !over.load(Ordering::Relaxed) {
                    let id = format!("r{round}-c{client}-n{number}");
                    number += 1;
                    let body = body(if number % 7 == 0 { 300_000 } else { 3_000 });
                    let message = with_body("alice@pass.example", &id, &format!("{body}end of {id}\r\n.\r\n"));
                    let envelope = "MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\n";
                    let open =
                        said(&mut smtp, envelope, "250 ") && said(&mut smtp, "", "250 ") && said(&mut smtp, "", "354 ");
                    if !open || !said(&mut smtp, &message, "250 ") {
                        return;
                    }
                    acknowledged.lock().unwrap().push(id);
                }
            }));
        }
        load
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        self.acknowledged.lock().unwrap().clone()
    }
}

/// Sends, and whether the reply begins so; the gate may be gone.
fn said(smtp: &mut Client, octets: &str, reply: &str) -> bool {
    smtp.try_send(octets).is_ok() && smtp.try_reply().is_ok_and(|got| got.starts_with(reply) && got.ends_with("\r\n"))
}

/// A delay between 0 and 200 ms; told, so that a failure can be repeated.
fn random_delay(round: usize) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let delay = Duration::from_micros(u64::from(now / 7 + u32::try_from(round).unwrap() * 40_961) % 200_000);
    println!("round {round}: killed {delay:?} after the first acknowledgements");
    delay
}

/// The ids of whole messages in the Maildir.
fn stored_ids(maildir: &Path) -> HashSet<String> {
    let whole = |message: String| {
        let id = files::values(&message, "Subject").pop()?;
        message.ends_with(&format!("end of {id}\n")).then_some(id)
    };
    files::new_in(maildir).iter().filter_map(|path| whole(files::read(path))).collect()
}

#[test]
fn killed_under_load_the_maildir_has_every_acknowledged_message() {
    let mut total = 0;
    for round in 0..8 {
        let mut gate = Gate::start();
        let load = Load::start(&gate, round);
        until("the first acknowledgements", || (load.count() >= CLIENTS).then_some(()));
        std::thread::sleep(random_delay(round)); // The moment of the kill, not a wait for readiness.
        gate.process.kill();
        let acknowledged = load.end();
        total += acknowledged.len();
        let stored = stored_ids(&gate.maildir());
        let missing: Vec<&String> = acknowledged.iter().filter(|id| !stored.contains(*id)).collect();
        assert!(missing.is_empty(), "round {round}: {} acknowledged, missing {missing:?}", acknowledged.len());
    }
    println!("{total} acknowledged messages, none missing");
}

#[test]
fn killed_under_load_the_next_hop_has_every_acknowledged_message() {
    for round in 0..4 {
        let next_hop = NextHop::willing();
        let mut gate = Setup::new().next_hops(&[next_hop.address]).start();
        let load = Load::start(&gate, round);
        until("the first acknowledgements", || (load.count() >= CLIENTS).then_some(()));
        std::thread::sleep(random_delay(round)); // The moment of the kill, not a wait for readiness.
        gate.process.kill();
        let acknowledged = load.end();
        let messages = next_hop.messages();
        let missing: Vec<&String> = acknowledged
            .iter()
            .filter(|id| !messages.iter().any(|got| got.message.ends_with(&format!("end of {id}\r\n"))))
            .collect();
        assert!(missing.is_empty(), "round {round}: {} acknowledged, missing {missing:?}", acknowledged.len());
    }
}

/// `kill -9` at each step before the 250: a reader of the Maildir finds a whole message or none, the spill file is gone with its process,
/// and a gate that starts over what is left takes the message again.
#[test]
fn killed_before_the_250_nothing_half_written_is_seen() {
    let message = with_body("alice@pass.example", "killed", &(body(1_000_000) + "end of killed\r\n"));
    // (the step, the call that is its last, on what only, files left in `tmp/` and in `new/`)
    let steps = [
        ("create the spill file", "openat", None, 0, 0),
        ("write the spill file", "pwrite64", None, 0, 0),
        ("read the spill file", "pread64", None, 1, 0),
        ("fsync of the file", "fsync", None, 1, 0),
        ("rename", "renameat2", None, 1, 0),
        ("fsync of new/", "fsync", Some("new"), 0, 1),
    ];
    for (step, call, folder, tmp, new) in steps {
        let dir = tempfile::tempdir().unwrap();
        let (maildir, spill) = (dir.path().join("mail"), dir.path().join("spill"));
        std::fs::create_dir(&spill).unwrap();
        let start = || {
            let spill = spill.display().to_string();
            Setup::new().deliver(&[&format!("maildir:{}", maildir.display())]).args(&["--spill-dir", &spill]).start()
        };
        let mut gate = start();
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.open("alice@pass.example", &["bob@open.example"]);
        let path = folder.map(|folder| maildir.join(folder));
        let Some(_injected) = Injected::into(&gate, call, "signal=KILL", path.as_deref()) else { return };
        // The gate may be gone before all of it is sent.
        let told = smtp.try_send(format!("{message}.\r\n")).and_then(|()| smtp.try_reply()).unwrap_or_default();
        assert_eq!(told, "", "{step}");
        assert_eq!(gate.process.wait().code(), None, "{step}: a signal ended it");
        let left = |folder: &str| files::files(&maildir.join(folder)).len();
        assert_eq!((left("tmp"), left("new")), (tmp, new), "{step}");
        assert_eq!(stored_ids(&maildir).len(), new, "{step}: what is in new/ is whole");
        assert!(files::files(&spill).is_empty(), "{step}");

        let gate = start();
        let reply = Client::greeted(&gate, PASS, "mail.pass.example").transaction(
            "alice@pass.example",
            "bob@open.example",
            &message,
        );
        assert!(reply.starts_with("250 "), "{step}: {reply}");
        assert_eq!((left("tmp"), left("new")), (tmp, new + 1), "{step}");
        gate.stop();
    }
}

/// strace shows: fsync of the file, rename, fsync of the folder, and only then the 250 of the message.
#[test]
fn the_order_of_system_calls() {
    let calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,write,writev,sendto,sendmsg";
    let Some(mut traced) = strace::start(Setup::new(), calls) else { return };
    let mut smtp = Client::greeted(&traced.gate, PASS, "mail.pass.example");
    let reply = smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "traced"));
    let name =
        reply.trim_end().strip_prefix("250 2.0.0 OK: stored as ").unwrap_or_else(|| panic!("{reply}")).to_owned();
    let text = traced.kill();
    let lines: Vec<&str> = text.lines().collect();
    let place = |what: &str, from: usize, wanted: &dyn Fn(&str) -> bool| {
        let at = lines[from..].iter().position(|line| wanted(line));
        completed(&lines, from + at.unwrap_or_else(|| panic!("no {what} after line {from} of\n{text}")))
    };
    let in_maildir = |folder: &str| format!("/mail/{folder}");
    let synced = place("fsync of the file", 0, &|line| line.contains("sync(") && line.contains(&in_maildir("tmp/")));
    let renamed =
        place("rename", synced, &|line| (line.contains("rename") || line.contains("link")) && line.contains(&name));
    let folder = in_maildir("new>");
    let durable = place("fsync of the folder", renamed, &|line| line.contains("fsync(") && line.contains(&folder));
    let told = lines.iter().position(|line| line.contains("250 2.0.0 OK: stored as")).expect("the reply in the trace");
    assert!(durable < told, "the reply left before the folder was synced:\n{text}");
}

/// Where the call that begins at a line has returned: strace cuts it in two when another thread comes between.
fn completed(lines: &[&str], at: usize) -> usize {
    if !lines[at].contains("<unfinished ...>") {
        return at;
    }
    let thread = lines[at].split(' ').next().unwrap();
    let resumed = |line: &&str| line.split(' ').next() == Some(thread) && line.contains(" resumed>");
    at + lines[at..].iter().position(resumed).expect("the end of the call in the trace")
}
