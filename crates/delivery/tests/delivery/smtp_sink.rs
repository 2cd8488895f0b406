//! Against Postfix's `smtp-sink`, which somebody else wrote: acceptance, refusals, and disconnections at every command.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{self, config, message_of, target, told};
use mx6_delivery::Delivery;
use mx6_runtime::{Deadline, run_local};

/// A running smtp-sink; ended when dropped.
struct Sink {
    process: Child,
    addr: SocketAddr,
}

impl Sink {
    fn start(program: &Path, options: &[&str]) -> Sink {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        // As root it insists on giving its rights away.
        let user = if Path::new("/proc/self").metadata().is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            &["-u", "nobody"][..]
        } else {
            &[]
        };
        let process = Command::new(program)
            .args(user)
            .args(options)
            .args([&format!("inet:{addr}"), "100"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(addr).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "smtp-sink does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Sink { process, addr }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn smtp_sink() -> Option<PathBuf> {
    let found = ["/usr/sbin/smtp-sink", "/usr/lib/postfix/sbin/smtp-sink", "/usr/local/sbin/smtp-sink"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        println!("SKIPPED: smtp-sink is not installed (Debian package postfix)");
    }
    found
}

#[test]
fn what_smtp_sink_does_is_told() {
    let Some(program) = smtp_sink() else { return };
    let unavailable = "refused 451 4.4.1 Next hop unavailable, try again later.";
    let accepted = "accepted 250 2.";
    // (options, told at RCPT, told at the end)
    let cases: [(&[&str], &str, &str); 12] = [
        (&[], accepted, accepted),
        (&["-p"], accepted, accepted),
        (&["-8"], accepted, accepted),
        (&["-r", "rcpt"], "refused 4", ""),
        (&["-f", "rcpt"], "refused 5", ""),
        (&["-r", "mail"], unavailable, ""),
        (&["-r", "data"], accepted, "refused 4"),
        (&["-f", "."], accepted, "refused 5"),
        (&["-Q", "."], accepted, "refused 451 "),
        (&["-q", "connect"], unavailable, ""),
        (&["-q", "data"], accepted, unavailable),
        (&["-q", "."], accepted, "unknown 451 4.4.2 Next hop closed the connection, try again later."),
    ];
    for (options, at_rcpt, at_end) in cases {
        let sink = Sink::start(&program, options);
        let addr = sink.addr;
        run_local(async move || {
            let dir = tempfile::tempdir().unwrap();
            let delivery = Delivery::new(&target(&[addr]), config());
            for octets in [100, 300_000] {
                let mut transaction = delivery.begin(support::sender());
                let reply = told(&transaction.rcpt("a@x.example", None, None).await);
                assert!(reply.starts_with(at_rcpt), "{options:?}: {reply}");
                if !reply.starts_with("accepted") {
                    transaction.abandon();
                    continue;
                }
                let message = message_of(octets, dir.path()).await;
                let outcome = transaction.deliver(&message, Deadline::after(Duration::from_secs(10))).await;
                assert!(told(&outcome).starts_with(at_end), "{options:?}: {}", told(&outcome));
            }
            delivery.quit().await;
        })
        .unwrap();
    }
}

#[test]
fn smtp_sink_hears_the_message_that_was_sent() {
    let Some(program) = smtp_sink() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let dump = dir.path().join("dump");
    for octets in [0, 1_000, 100_000, 1_000_000] {
        let sink = Sink::start(&program, &["-D", dump.to_str().unwrap()]);
        let (addr, spill_dir) = (sink.addr, dir.path().to_owned());
        let body = run_local(async move || {
            let delivery = Delivery::new(&target(&[addr]), config());
            let mut transaction = delivery.begin(support::sender());
            transaction.rcpt("a@x.example", None, None).await;
            let message = message_of(octets, &spill_dir).await;
            let outcome = transaction.deliver(&message, Deadline::after(Duration::from_secs(10))).await;
            assert!(told(&outcome).starts_with("accepted"));
            delivery.quit().await;
            let mut body = Vec::new();
            let mut blocks = message.body.blocks();
            while let Some(block) = blocks.next().await.unwrap() {
                block.slices().for_each(|slice| body.extend_from_slice(slice));
            }
            String::from_utf8(body).unwrap()
        })
        .unwrap();
        drop(sink);
        let heard = std::fs::read_to_string(&dump).unwrap();
        let expected = format!("Received: z\nSubject: x\n\n{}", body.replace("\r\n", "\n"));
        assert!(heard.contains(&expected), "{octets}");
        std::fs::remove_file(&dump).unwrap();
    }
}
