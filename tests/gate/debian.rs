//! The package in a Debian that runs: installed, enabled, upgraded, removed and purged, under a real systemd with a real journal.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;

use serde_json::Value;

use crate::harness::certificates::{Authority, Usage};
use crate::harness::debian::{self, Booted, Root};
use crate::harness::message::plain;
use crate::harness::process::succeed;
use crate::harness::smtp::Client;
use crate::harness::tls::TlsClient;
use crate::harness::{files, skip, until, zone};

/// From nothing to nothing.
#[test]
fn a_life_of_the_package() {
    let dir = tempfile::tempdir().unwrap();
    let booted =
        debian::package(dir.path()).and_then(|package| Ok((Root::new()?, package))).and_then(|(root, package)| {
            std::fs::copy(package, root.file(PACKAGE)).unwrap();
            root.boot()
        });
    let debian = match booted {
        Ok(debian) => debian,
        Err(why) => return skip(&why),
    };
    let before = debian.root.listed();
    install(&debian);
    nothing_runs_before_it_is_configured(&debian);
    configure(&debian);
    debian.succeed(&["systemctl", "enable", "--now", "mx6.socket", "mx6.service"]);
    mail_is_taken(&debian);
    the_journal_has_the_decision(&debian);
    what_an_operator_asks(&debian);
    whoever_calls_while_it_is_stopped_is_served(&debian);
    upgrades(&debian);
    removed_and_purged(&debian, &before);
}

fn install(debian: &Booted) -> String {
    debian.succeed(&["sh", "-c", &format!("{DPKG} --install {PACKAGE} 2>&1")])
}

fn nothing_runs_before_it_is_configured(debian: &Booted) {
    for unit in ["mx6.socket", "mx6.service", "mx6-proxy.socket"] {
        assert_eq!(debian.run(&["systemctl", "is-enabled", unit]).stdout.trim(), "disabled", "{unit}");
        assert_eq!(debian.run(&["systemctl", "is-active", unit]).stdout.trim(), "inactive", "{unit}");
    }
    // As it is shipped the configuration could be served with.
    debian.succeed(&["mkdir", "/var/lib/mx6"]);
    debian.succeed(&["mx6", "check-config", "--offline", "--config", CONFIG]);
    debian.succeed(&["rmdir", "/var/lib/mx6"]);
}

/// The lines of the file that its comments say to change, names for which no resolver is needed, and a key that only root may read.
fn configure(debian: &Booted) {
    let file = debian.root.file(CONFIG);
    let shipped = files::read(&file);
    let config = [
        ("#\"example.net\" = \"monitor\"", "\"open.example\" = \"accept\""),
        ("#tls-cert = ", "tls-cert = "),
        ("#dns-server = [\"[::1]:53\"]", "zone = \"/srv/test.zone\""),
    ];
    let config = config.iter().fold(shipped, |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in {text}");
        text.replace(old, new)
    });
    std::fs::write(file, config).unwrap();
    std::fs::write(debian.root.file("/srv/test.zone"), zone::quickstart()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let certificate = Authority::new(dir.path(), "Authority").sign("mx", "mx.example.net", &[Usage::ServerAuth]);
    let both = files::read(&certificate.chain) + &files::read(&certificate.key);
    let key = debian.root.file(KEY);
    std::fs::write(&key, both).unwrap();
    succeed(Command::new("chmod").arg("0600").arg(key));
    let drop_in = debian.root.file(DROP_IN);
    std::fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    std::fs::write(drop_in, format!("[Service]\nLoadCredential=tls.pem:{KEY}\n")).unwrap();
    debian.succeed(&["systemctl", "daemon-reload"]);
    // The root has no ip(8); this machine's does.
    debian.inside(|| succeed(Command::new("ip").args(["address", "add", zone::PASS, "dev", "lo"])));
}

/// On port 25, inside TLS, from an address that the rules let pass, into the Maildir; and refused from one that they do not.
fn mail_is_taken(debian: &Booted) {
    debian.inside(|| {
        let mut client = TlsClient::connect(at_port_25(), &["-bind", &format!("[{}]:0", zone::PASS)]);
        client.hello("mail.pass.example");
        let message = "From: alice@pass.example\r\nMessage-ID: <life@pass.example>\r\n\r\nInstalled.\r\n";
        let reply = client.smtp.transaction("alice@pass.example", "bob@open.example", message);
        assert!(reply.starts_with("250 "), "{reply:?}");
        let mut client = Client::connect(at_port_25());
        client.hello("mail.pass.example");
        let reply =
            client.transaction("alice@pass.example", "bob@elsewhere.example", &plain("alice@pass.example", "no"));
        assert!(reply.starts_with("550 5.7.1 "), "{reply:?}");
    });
    // The manager's link leads to the folder that it made.
    let message = files::only_message(&debian.root.file("/var/lib/private/mx6/mail"));
    assert!(message.ends_with("Installed.\n"), "{message}");
}

fn the_journal_has_the_decision(debian: &Booted) {
    let entry = |field: &str| {
        until(&format!("{field} in the journal"), || {
            let found = debian.run(&["journalctl", "--unit", "mx6", "--output", "json", field]).stdout;
            serde_json::from_str::<Value>(found.lines().next()?).ok()
        })
    };
    let accepted = entry("MX6_RULE=accepted");
    for (field, value) in [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "mx6"),
        ("_SYSTEMD_UNIT", "mx6.service"),
        ("MX6_CLIENT", zone::PASS),
        ("MX6_DOMAIN", "open.example"),
        ("MX6_STAGE", "end-of-data"),
        ("MX6_VERDICT", "accept"),
    ] {
        assert_eq!(accepted[field], value, "{field}: {accepted:#}");
    }
    let record: Value = serde_json::from_str(accepted["MESSAGE"].as_str().unwrap()).unwrap();
    assert_eq!([&record["message_id"], &record["session"]], [&"life@pass.example".into(), &accepted["MX6_SESSION"]]);
    let refused = entry("MX6_VERDICT=reject");
    assert_eq!([&refused["PRIORITY"], &refused["MX6_DOMAIN"]], ["5", "elsewhere.example"]);
    // What is no decision has the level that it was told with.
    let started = debian.succeed(&["journalctl", "--unit", "mx6", "--output", "json", "_TRANSPORT=stdout"]);
    let started: Vec<Value> = started.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listening = started.iter().find(|entry| entry["MESSAGE"].as_str().unwrap().contains("listening on [::]:25"));
    assert_eq!(listening.unwrap()["PRIORITY"], "6", "{started:#?}");
}

fn what_an_operator_asks(debian: &Booted) {
    let status =
        debian.succeed(&["systemctl", "show", "mx6", "--property=StatusText,SubState,NRestarts,User,DynamicUser"]);
    for part in ["SubState=running", "NRestarts=0", "DynamicUser=yes", "StatusText=1 shard"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let pid = main_pid(debian);
    let status = debian.succeed(&["cat", &format!("/proc/{pid}/status")]);
    for part in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    assert!(!status.contains("Uid:\t0"), "{status}");
    let top = debian.succeed(&["mx6", "top", "--json", "--count", "1", "--admin", "unix:/run/mx6/admin.sock"]);
    let top: Value = serde_json::from_str(&top).unwrap();
    assert!(top.is_object(), "{top}");
}

/// The manager holds the sockets.
fn whoever_calls_while_it_is_stopped_is_served(debian: &Booted) {
    debian.succeed(&["systemctl", "stop", "mx6.service"]);
    debian.inside(|| Client::connect(at_port_25()).hello("mail.pass.example"));
    assert_eq!(debian.succeed(&["systemctl", "is-active", "mx6.service"]).trim(), "active");
}

/// An upgrade starts the service anew; one that would not take the configuration leaves the old gate, which a reload with it does as well.
fn upgrades(debian: &Booted) {
    let old = main_pid(debian);
    install(debian);
    let new = main_pid(debian);
    assert_ne!(new, old);
    debian.inside(|| Client::connect(at_port_25()).hello("mail.pass.example"));
    let file = debian.root.file(CONFIG);
    let config = files::read(&file);
    std::fs::write(&file, config.replace("listen =", "lisen =")).unwrap();
    let told = install(debian);
    assert!(told.contains("mx6: not restarted, the old version goes on"), "{told}");
    debian.succeed(&["systemctl", "reload", "mx6"]);
    let refused = until("the refusal of the configuration in the journal, as an error", || {
        let errors = debian.run(&["journalctl", "--unit", "mx6", "--priority", "err", "--output", "cat"]).stdout;
        errors.contains("lisen").then_some(errors)
    });
    assert!(refused.contains("/etc/mx6/mx6.toml"), "{refused}");
    debian.inside(|| Client::connect(at_port_25()).hello("mail.pass.example"));
    assert_eq!(main_pid(debian), new);
    std::fs::write(&file, config).unwrap();
}

/// Removing leaves the configuration, purging leaves mail, and when that is gone nothing.
fn removed_and_purged(debian: &Booted, before: &[String]) {
    debian.succeed(&["sh", "-c", &format!("{DPKG} --remove mx6 2>&1")]);
    assert_eq!(debian.run(&["systemctl", "is-active", "mx6.service"]).stdout.trim(), "inactive");
    assert!(files::read(&debian.root.file(CONFIG)).contains("open.example"));
    assert!(!debian.root.file("/usr/bin/mx6").exists());
    for path in [DROP_IN, KEY, "/srv/test.zone"] {
        std::fs::remove_file(debian.root.file(path)).unwrap();
    }
    std::fs::remove_dir(debian.root.file(DROP_IN).parent().unwrap()).unwrap();
    let purged = debian.succeed(&["sh", "-c", &format!("{DPKG} --purge mx6 2>&1")]);
    assert!(purged.contains("/var/lib/private/mx6 holds mail and is left alone"), "{purged}");
    std::fs::remove_dir_all(debian.root.file("/var/lib/private/mx6")).unwrap();
    std::fs::remove_file(debian.root.file("/var/lib/mx6")).unwrap();
    let after = debian.root.listed();
    let left: Vec<_> = after.iter().filter(|path| !before.contains(path)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

fn main_pid(debian: &Booted) -> String {
    debian.succeed(&["systemctl", "show", "mx6", "--property=MainPID", "--value"]).trim().to_owned()
}

fn at_port_25() -> SocketAddr {
    SocketAddr::from((IpAddr::from(Ipv6Addr::LOCALHOST), 25))
}

/// It need not wait for the disk: the root does not outlive the test.
const DPKG: &str = "dpkg --force-unsafe-io";
/// Paths in the root.
const PACKAGE: &str = "/root/mx6.deb";
const CONFIG: &str = "/etc/mx6/mx6.toml";
const KEY: &str = "/srv/mx.pem";
const DROP_IN: &str = "/etc/systemd/system/mx6.service.d/tls.conf";
