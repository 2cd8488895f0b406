//! A real Postfix in a folder of the test's own, with its own configuration, queue and port.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, succeed};
use super::smtp::Client;
use super::{files, free_port, until};

/// A running Postfix.
pub struct Postfix {
    /// Its SMTP listener on 127.0.0.1.
    pub address: SocketAddr,
    master: Process,
    dir: TempDir,
}

impl Postfix {
    /// Takes mail for any recipient into one Maildir, except those in `access` (texthash lines: address, reply).
    pub fn next_hop(access: &str) -> Postfix {
        Postfix::next_hop_with(access, "")
    }

    /// The same with further lines of main.cf.
    pub fn next_hop_with(access: &str, more: &str) -> Postfix {
        let domains = "virtual_mailbox_domains = open.example, trial.example, bücher.example, xn--bcher-kva.example\n";
        Postfix::start(access, &format!("{domains}{more}"))
    }

    /// Takes mail for any recipient from anybody, and believes what this machine tells it of the client in the way that `more` says (lines of
    /// main.cf).
    pub fn told_of_clients(more: &str) -> Postfix {
        let from_anybody = "smtpd_recipient_restrictions = permit_auth_destination, reject\n";
        Postfix::start("", &format!("virtual_mailbox_domains = open.example\n{from_anybody}{more}\n"))
    }

    /// Sends all its mail to `relay`, which sees the connection come from `::1`.
    pub fn client(relay: SocketAddr) -> Postfix {
        let to = format!("relayhost = [{}]:{}", relay.ip(), relay.port());
        Postfix::start(
            "",
            &format!("{to}\nsmtp_bind_address6 = ::1\nminimal_backoff_time = 1h\nvirtual_mailbox_domains =\n"),
        )
    }

    fn start(access: &str, more: &str) -> Postfix {
        let dir = tempfile::Builder::new().prefix("mx6-postfix-").tempdir().unwrap();
        let at = dir.path();
        let port = free_port();
        let (uid, gid) = (number("-u"), number("-g"));
        for (folder, owner) in [("queue", None), ("data", Some(uid)), ("mail", Some(uid))] {
            std::fs::create_dir(at.join(folder)).unwrap();
            chown(at.join(folder), owner, None).unwrap();
        }
        open_to_all(at);
        std::fs::write(at.join("access"), access).unwrap();
        std::fs::write(at.join("main.cf"), main_cf(at, uid, gid) + more).unwrap();
        std::fs::write(at.join("master.cf"), MASTER_CF.replace("PORT", &port.to_string())).unwrap();
        succeed(Command::new("postfix").arg("-c").arg(at).arg("check"));
        // It ends its children through its process group.
        let mut master = Command::new("/usr/lib/postfix/sbin/master");
        let master = Process::start(master.arg("-d").arg("-c").arg(at).process_group(0));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut postfix = Postfix { address, master, dir };
        until("Postfix to greet", || {
            assert!(postfix.master.is_running(), "Postfix does not start:\n{}", postfix.log());
            std::net::TcpStream::connect(address).ok()?;
            let mut client = Client::connect(address);
            if more.contains("haproxy") {
                client.send(PROXY_LOCAL);
            }
            assert!(client.reply().starts_with("220 "));
            Some(())
        });
        postfix
    }

    /// What it took.
    pub fn maildir(&self) -> PathBuf {
        self.dir.path().join("mail/inbox")
    }

    /// The messages it took, once there are `count`.
    pub fn messages(&self, count: usize) -> Vec<String> {
        let what = format!("{count} messages in the Maildir of Postfix");
        let paths = until(&what, || Some(files::new_in(&self.maildir())).filter(|paths| paths.len() >= count));
        paths.iter().map(|path| files::read(path)).collect()
    }

    /// Hands mail to its `sendmail` command.
    pub fn sendmail(&self, from: &str, to: &str, message: &str) {
        let file = self.dir.path().join("message");
        std::fs::write(&file, message.replace("\r\n", "\n")).unwrap();
        let mut command = Command::new("/usr/sbin/sendmail");
        command.arg("-C").arg(self.dir.path()).args(["-i", "-f", from, to]).stdin(std::fs::File::open(file).unwrap());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("maillog")).unwrap_or_default()
    }

    /// Kills the processes that hold its SMTP sessions, as an administrator in despair would.
    pub fn kill_sessions(&self) {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
            let field =
                |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
            let ours =
                field("PPid:") == Some(self.master.id().to_string()) && field("Name:").as_deref() == Some("smtpd");
            if ours && let Some(pid) = field("Pid:").and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Postfix ---\n{}", self.log());
        }
        if self.master.is_running() {
            self.master.signal(Signal::TERM);
            self.master.wait();
        }
    }
}

fn main_cf(at: &Path, uid: u32, gid: u32) -> String {
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {at}/queue\ndata_directory = {at}/data\nmaillog_file = {at}/maillog\nmaillog_file_prefixes = {at}\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\nsetgid_group = postdrop\n\
         inet_interfaces = all\ninet_protocols = all\nmyhostname = next-hop.example\nmydestination =\nalias_maps =\nalias_database =\n\
         mynetworks = 127.0.0.0/8 [::1]/128\nsmtp_tls_security_level = none\nsmtpd_tls_security_level = none\ndisable_dns_lookups = yes\n\
         smtp_host_lookup = native\nsmtpd_peername_lookup = no\nservice_throttle_time = 1s\nnotify_classes =\nlocal_recipient_maps =\n\
         virtual_mailbox_base = {at}/mail\nvirtual_mailbox_maps = static:inbox/\n\
         virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\nvirtual_minimum_uid = 1\n\
         smtpd_recipient_restrictions = check_recipient_access texthash:{at}/access, permit_mynetworks, reject\n",
        at = at.display()
    )
}

/// The services that receiving, delivering to a Maildir and sending need; nothing is chrooted.
const MASTER_CF: &str = "\
127.0.0.1:PORT inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
";

/// Who connects speaks for itself (PROXY protocol 2).
const PROXY_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// User or group of the system's `postfix` account.
fn number(which: &str) -> u32 {
    succeed(Command::new("id").args([which, "postfix"])).trim().parse().unwrap()
}

/// Postfix's own user must get through.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}
