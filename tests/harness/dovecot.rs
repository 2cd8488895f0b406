//! A real LMTP server: Dovecot's, in a folder of the test's own, on a port and on a Unix socket.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, succeed};
use super::{files, free_port, until};

/// A running Dovecot that takes mail for any recipient, each into a Maildir of its own.
pub struct Dovecot {
    /// Its LMTP listener on 127.0.0.1.
    pub address: SocketAddr,
    process: Process,
    dir: TempDir,
}

impl Dovecot {
    /// Starts it and waits until it listens.
    pub fn start() -> Dovecot {
        let dir = tempfile::Builder::new().prefix("mx6-dovecot-").tempdir().unwrap();
        let at = dir.path();
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (uid, gid) = (number("-u"), number("-g"));
        for folder in ["run", "mail", "home"] {
            std::fs::create_dir(at.join(folder)).unwrap();
            chown(at.join(folder), Some(uid), Some(gid)).unwrap();
        }
        let port = free_port();
        std::fs::write(at.join("dovecot.conf"), configuration(at, port, uid, gid)).unwrap();
        let process = Process::start(Command::new("dovecot").arg("-F").arg("-c").arg(at.join("dovecot.conf")));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut dovecot = Dovecot { address, process, dir };
        until("Dovecot to listen", || {
            assert!(dovecot.process.is_running(), "Dovecot does not start:\n{}", dovecot.log());
            TcpStream::connect(address).ok()
        });
        dovecot
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("lmtp")
    }

    /// Makes the mailbox of a recipient unusable, or usable again: its deliveries fail for now, after the message was sent.
    pub fn break_mailbox(&self, recipient: &str, is_broken: bool) {
        let path = self.dir.path().join("mail").join(recipient);
        if is_broken {
            std::fs::write(path, "in the way").unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// What a recipient has got.
    pub fn messages(&self, recipient: &str) -> Vec<String> {
        let maildir = self.dir.path().join("mail").join(recipient);
        if maildir.is_dir() {
            files::new_in(&maildir).iter().map(|path| files::read(path)).collect()
        } else {
            Vec::new()
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Dovecot ---\n{}", self.log());
        }
        if self.process.is_running() {
            self.process.signal(Signal::TERM);
            self.process.wait();
        }
    }
}

fn configuration(at: &Path, port: u16, uid: u32, gid: u32) -> String {
    format!(
        "base_dir = {at}/run\nstate_dir = {at}/run\nlog_path = {at}/log\nprotocols = lmtp\nlisten = 127.0.0.1\nssl = no\n\
         first_valid_uid = 1\nmail_location = maildir:{at}/mail/%u\n\
         # Our own name, as on a machine that has both.\nhostname = mx.example\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={at}/home/%u allow_all_users=yes\n}}\n\
         passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
         service lmtp {{\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n\
         \x20 unix_listener {at}/lmtp {{\n    mode = 0666\n  }}\n}}\n\
         service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n",
        at = at.display()
    )
}

/// User or group of the system's `mail` account.
fn number(which: &str) -> u32 {
    succeed(Command::new("id").args([which, "mail"])).trim().parse().unwrap()
}
