//! STARTTLS: into TLS and what is left behind, certificates that come and go, and partners known by theirs.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::Signal;

use crate::harness::certificates::{Authority, Certificate, Usage, version_1};
use crate::harness::gate::{Gate, Setup, check_config};
use crate::harness::message::{body, plain, with_body};
use crate::harness::process::{run, succeed};
use crate::harness::smtp::Client;
use crate::harness::tls::TlsClient;
use crate::harness::zone::PASS;
use crate::harness::{files, is_root, until};

/// A gate with a certificate, further flags, and a folder for more certificates.
struct Shown {
    gate: Gate,
    authority: Authority,
}

fn gate_with(args: impl FnOnce(&Path) -> Vec<String>) -> Shown {
    let setup = Setup::new();
    let authority = Authority::new(&setup.dir(), "authority");
    let own = authority.below("between").sign("mx", "mx.example", &[Usage::ServerAuth]);
    let mut flags = vec!["--tls-cert".to_owned(), text(&own.chain), "--tls-key".to_owned(), text(&own.key)];
    flags.extend(args(&setup.dir()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Shown { gate: setup.args(&flags).start(), authority }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What ::1, which is in no SPF record of pass.example, hears at the end of a message from there.
fn last_reply(smtp: &mut Client) -> String {
    smtp.transaction("alice@pass.example", "bob@open.example", &plain("alice@pass.example", "who-are-you"))
}

#[test]
fn openssl_goes_into_tls() {
    let Shown { gate, authority } = gate_with(|_| Vec::new());
    assert!(Client::connect(gate.v6).hello("client.example").contains("250-STARTTLS\r\n"));
    let authority = text(&authority.file);
    let rows = [
        (&["-tls1_3"][..], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "TLSv1.2",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
    ];
    for (row, (args, version, cipher)) in rows.into_iter().enumerate() {
        let verify = ["-CAfile", &authority, "-verify_return_error", "-verify_hostname", "mx.example"];
        let mut client = TlsClient::connect(gate.v6, &[args, &verify].concat());
        assert!(!client.hello("home.example").contains("STARTTLS"));
        assert!(client.smtp.say("STARTTLS").starts_with("503 5.5.1 "));
        let message = plain("you@home.example", version);
        let reply = client.smtp.transaction("you@home.example", "bob@open.example", &message);
        assert!(reply.starts_with("250 "), "{reply}");
        assert!(client.smtp.say("QUIT").starts_with("221 "));
        assert_eq!(client.smtp.closed(), Ok(()));
        let record = &gate.decisions(row + 1)[row];
        assert_eq!(record["tls"]["version"], version);
        assert_eq!(record["tls"]["cipher"], cipher);
        assert_eq!(record["connector"], false);
    }
    let stored: Vec<String> = files::new_in(&gate.maildir()).iter().map(|file| files::read(file)).collect();
    for (_, version, cipher) in rows {
        let told = format!("(version={version} cipher={cipher})");
        let received = stored.iter().map(|message| files::values(message, "Received")[0].clone());
        assert!(received.into_iter().any(|field| field.contains(&told) && field.contains("with ESMTPS")), "{told}");
    }
    gate.stop();
}

/// Nothing older than TLS 1.2; whoever cannot do better may come again in the clear.
#[test]
fn a_handshake_that_fails_ends_the_connection_alone() {
    let Shown { gate, .. } = gate_with(|_| Vec::new());
    let mut client = TlsClient::connect(gate.v6, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert_eq!(client.smtp.closed(), Ok(()));
    let mut garbage = Client::connect(gate.v6);
    garbage.hello("client.example");
    assert_eq!(garbage.say("STARTTLS"), "220 2.0.0 Ready to start TLS\r\n");
    garbage.send("EHLO client.example\r\n");
    // An alert, and the end.
    let rest = garbage.try_reply().unwrap_or_default();
    assert!(!rest.contains("250"), "{rest:?}");
    assert!(Client::connect(gate.v6).hello("home.example").starts_with("250-"));
    gate.stop();
}

/// RFC 3207 §4.2, §6: nothing that was said in the clear survives, neither what was known nor what was sent ahead.
#[test]
fn what_was_said_in_the_clear_is_forgotten() {
    let Shown { gate, .. } = gate_with(|_| Vec::new());
    let script = r#"
import socket, ssl, sys
sock = socket.create_connection(("::1", int(sys.argv[1])), timeout=60)
def reply(source):
    lines = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            octet = source.recv(1)
            if not octet:
                return lines + line
            line += octet
        lines += line
        if line[3:4] == b" ":
            return lines
reply(sock)
for command in [b"EHLO home.example\r\n", b"MAIL FROM:<you@home.example>\r\n"]:
    sock.sendall(command)
    assert reply(sock).startswith(b"250"), command
sock.sendall(b"STARTTLS\r\nRCPT TO:<injected@open.example>\r\nRSET\r\nNOOP\r\n")
assert reply(sock).startswith(b"220 2.0.0 "), "STARTTLS"
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
sock = context.wrap_socket(sock)
for command, expected in [
    (b"RCPT TO:<bob@open.example>\r\n", b"503 5.5.1 "),
    (b"MAIL FROM:<you@home.example>\r\n", b"503 5.5.1 "),
    (b"STARTTLS\r\n", b"503 5.5.1 "),
    (b"EHLO home.example\r\n", b"250-"),
    (b"MAIL FROM:<you@home.example>\r\n", b"250 2.1.0 "),
]:
    sock.sendall(command)
    found = reply(sock)
    assert found.startswith(expected), (command, found)
print("done")
"#;
    let told = succeed(Command::new("python3").args(["-c", script, &gate.v6.port().to_string()]));
    assert_eq!(told, "done\n");
    gate.stop();
}

#[test]
fn swaks_and_a_large_message() {
    let Shown { gate, .. } = gate_with(|_| Vec::new());
    let server = format!("[::1]:{}", gate.v6.port());
    let ended = run(Command::new("swaks")
        .args(["--server", &server, "--tls", "--helo", "home.example", "--from"])
        .args(["you@home.example", "--to", "bob@open.example", "--body", "through TLS"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(files::only_message(&gate.maildir()).contains("\n\nthrough TLS\n"));

    // Many records, of which some end anywhere in our buffers.
    let mut client = TlsClient::connect(gate.v6, &[]);
    client.hello("home.example");
    let large = body(3 << 20);
    let reply = client.smtp.transaction(
        "you@home.example",
        "bob@open.example",
        &with_body("you@home.example", "large", &large),
    );
    assert!(reply.starts_with("250 "), "{reply}");
    let is_large = |message: &String| message.contains("Subject: large\n");
    let stored = files::new_in(&gate.maildir()).iter().map(|file| files::read(file)).find(is_large).unwrap();
    assert!(stored.ends_with(&large.replace("\r\n", "\n")));
    gate.stop();
}

/// Without a certificate there is no such command; with one that cannot be read it is there, and fails for now.
#[test]
fn without_a_certificate() {
    let gate = Gate::start();
    let mut smtp = Client::connect(gate.v6);
    assert!(!smtp.hello("home.example").contains("STARTTLS"));
    assert_eq!(smtp.say("STARTTLS"), "502 5.5.1 Command not implemented.\r\n");
    gate.stop();

    let setup = Setup::new();
    let (authority, chain) = (Authority::new(&setup.dir(), "authority"), setup.dir().join("mx.pem"));
    let other_key = authority.sign("other", "mx.example", &[Usage::ServerAuth]).key;
    std::fs::write(&chain, "").unwrap();
    let mut gate = setup.args(&["--tls-cert", &text(&chain), "--tls-key", &text(&other_key)]).start();
    let warning = "mx.pem: there is no certificate in it (-----BEGIN CERTIFICATE-----); STARTTLS is answered with 454";
    gate.process.until_stderr("a warning", |lines| lines.iter().any(|line| line.contains(warning)).then_some(()));
    let mut smtp = Client::connect(gate.v6);
    assert!(!smtp.hello("home.example").contains("STARTTLS"));
    assert_eq!(smtp.say("STARTTLS"), "454 4.7.0 TLS not available due to temporary reason.\r\n");
    assert!(last_reply(&mut Client::greeted(&gate, PASS, "mail.pass.example")).starts_with("250 "), "mail flows");
    // The key of another certificate is told apart; then both are mended, and no restart is needed.
    let new = authority.sign("new", "mx.example", &[Usage::ServerAuth]);
    std::fs::rename(&new.chain, &chain).unwrap();
    gate.process.signal(Signal::HUP);
    gate.process.until_stderr("the wrong key", |lines| {
        let is_told = |line: &String| line.contains("other.key: not the key of ") && line.contains("old configuration");
        lines.iter().any(is_told).then_some(())
    });
    std::fs::rename(&new.key, &other_key).unwrap();
    gate.process.signal(Signal::HUP);
    until_offered(&gate);
    gate.stop();
}

/// A renewed certificate is shown to new sessions, by itself after some seconds or at once after SIGHUP; sessions inside the old one go on.
#[test]
fn a_certificate_is_renewed_without_dropping_a_session() {
    let Shown { mut gate, authority } = gate_with(|_| Vec::new());
    let mut old = TlsClient::connect(gate.v6, &[]);
    old.hello("home.example");
    for (renewal, name) in ["sighup.example", "file.example"].into_iter().enumerate() {
        let new = authority.sign("new", name, &[Usage::ServerAuth]);
        let (chain, key) = (new.chain.with_file_name("mx.pem"), new.chain.with_file_name("mx.key"));
        std::fs::copy(&new.chain, &chain).unwrap();
        std::fs::rename(&new.key, &key).unwrap();
        if renewal == 0 {
            gate.process.signal(Signal::HUP);
        }
        until_shown(&gate, &chain);
    }
    gate.process.until_stderr("word of the renewal", |lines| {
        lines.iter().any(|line| line.contains("the certificate was renewed")).then_some(())
    });
    let message = plain("you@home.example", "still-here");
    let reply = old.smtp.transaction("you@home.example", "bob@open.example", &message);
    assert!(reply.starts_with("250 "), "{reply}");
    gate.stop();
}

/// A renewal that comes while the gate starts, when it has read the old files and does not yet look for new ones. The key is a pipe, so that
/// the moment can be held: whoever can open it knows that the chain has been read.
#[test]
fn a_renewal_during_the_start_is_noticed() {
    let setup = Setup::new();
    let authority = Authority::new(&setup.dir(), "authority");
    let old = authority.sign("mx", "old.example", &[Usage::ServerAuth]);
    let new = authority.sign("new", "new.example", &[Usage::ServerAuth]);
    let (chain, pipe) = (old.chain.clone(), setup.dir().join("pipe.key"));
    succeed(Command::new("mkfifo").arg(&pipe));
    let setup = setup.args(&["--tls-cert", &text(&chain), "--tls-key", &text(&pipe)]);
    let renewal = std::thread::spawn(move || {
        let mut starting = std::fs::File::options().write(true).open(&pipe).unwrap();
        std::fs::rename(&new.chain, &old.chain).unwrap();
        std::fs::rename(&new.key, &pipe).unwrap();
        starting.write_all(&std::fs::read(&old.key).unwrap()).unwrap();
    });
    let gate = setup.start();
    renewal.join().unwrap();
    until_shown(&gate, &chain);
    gate.stop();
}

/// A key that lacks only permissions is tried again until it has them: giving them writes nothing, and no signal says that they are there.
#[test]
fn permissions_alone_mend_a_certificate() {
    let setup = Setup::new();
    let own = Authority::new(&setup.dir(), "authority").sign("mx", "mx.example", &[Usage::ServerAuth]);
    let permit = |mode| std::fs::set_permissions(&own.key, std::fs::Permissions::from_mode(mode)).unwrap();
    permit(0o000);
    // Root reads everything, unless it gives that up.
    let setup = if is_root() {
        setup.under(&["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"])
    } else {
        setup
    };
    let mut gate = setup.args(&["--tls-cert", &text(&own.chain), "--tls-key", &text(&own.key)]).start();
    gate.process.until_stderr("a warning", |lines| {
        let is_told = |line: &String| line.contains("mx.key: ") && line.contains("STARTTLS is answered with 454");
        lines.iter().any(is_told).then_some(())
    });
    assert!(!Client::connect(gate.v6).hello("home.example").contains("STARTTLS"));
    permit(0o600);
    until_offered(&gate);
    gate.stop();
}

/// Waits until every shard goes into TLS.
fn until_offered(gate: &Gate) {
    until("STARTTLS on every shard", || {
        (0..8).all(|_| Client::connect(gate.v6).hello("home.example").contains("STARTTLS")).then_some(())
    });
}

/// Waits until new sessions get that certificate.
fn until_shown(gate: &Gate, chain: &Path) {
    let expected = std::fs::read_to_string(chain).unwrap();
    until("the certificate to be shown", || {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-starttls", "smtp", "-connect", &gate.v6.to_string()]);
        run(&mut client).stdout.contains(expected.trim()).then_some(())
    });
}

/// The SHA-256 of a public key as `--connector-cert` wants it.
fn pin(certificate: &Certificate) -> String {
    let digest = digest(&SHA256, &certificate.public_key);
    format!("sha256:{}", digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect::<String>())
}

/// Whose certificate makes a partner of its client. Whoever does not match is an anonymous sender, and is never turned away for it.
#[test]
fn partners_are_known_by_their_certificates() {
    let setup = Setup::new();
    let folder = setup.dir();
    let (partners, others) = (Authority::new(&folder, "partners"), Authority::new(&folder, "others"));
    let client = [Usage::ClientAuth];
    let pinned = others.sign_until("pinned", "whatever.example", &[Usage::ServerAuth], 2001);
    let pinned_and_signed = partners.sign("pinned-and-signed", "x.example", &client);
    let pinned_not_signed = others.sign("pinned-not-signed", "x.example", &client);
    let authorities = text(&partners.file);
    let connectors = [
        format!("mail.partner.example@{authorities}"),
        pin(&pinned),
        format!("{}@{authorities}", pin(&pinned_and_signed)),
        format!("{}@{authorities}", pin(&pinned_not_signed)),
    ];
    let own = others.sign("mx", "mx.example", &[Usage::ServerAuth]);
    let mut flags = vec!["--tls-cert".to_owned(), text(&own.chain), "--tls-key".to_owned(), text(&own.key)];
    flags.extend(connectors.iter().flat_map(|connector| ["--connector-cert".to_owned(), connector.clone()]));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let gate = setup.args(&flags).start();

    let rows = [
        ("name and authority", partners.sign("good", "mail.partner.example", &client), Some(0)),
        (
            "both usages",
            partners.sign("both", "mail.partner.example", &[Usage::ServerAuth, Usage::ClientAuth]),
            Some(0),
        ),
        ("no usage stated", partners.sign("any", "mail.partner.example", &[]), Some(0)),
        (
            "through an authority in between",
            partners.below("between").sign("chain", "mail.partner.example", &client),
            Some(0),
        ),
        ("through one of another", others.below("wrong").sign("wrong-chain", "mail.partner.example", &client), None),
        ("expired", partners.sign_until("expired", "mail.partner.example", &client, 2001), None),
        ("for servers only", partners.sign("server", "mail.partner.example", &[Usage::ServerAuth]), None),
        ("wrong authority", others.sign("wrong-ca", "mail.partner.example", &client), None),
        ("wrong name", partners.sign("wrong-name", "evil.example", &client), None),
        ("the key, expired, for servers, of another authority", pinned, Some(1)),
        ("the key and its authority", pinned_and_signed, Some(2)),
        ("the key without its authority", pinned_not_signed, None),
        ("version 1", version_1(&folder, "old"), None),
    ];
    for (row, (what, certificate, connector)) in rows.iter().enumerate() {
        for version in ["-tls1_3", "-tls1_2"] {
            let mut client = TlsClient::with_certificate(gate.v6, certificate, &[version]);
            client.hello("home.example");
            let reply = last_reply(&mut client.smtp);
            let expected = if connector.is_some() { "250 " } else { "450 4.7.26 " };
            assert!(reply.starts_with(expected), "{what} {version}: {reply}");
        }
        let record = &gate.decisions(2 * row + 2)[2 * row + 1];
        assert_eq!(record["connector"], connector.is_some(), "{what}");
        let expected = connector.map(|connector: usize| connectors[connector].as_str());
        assert_eq!(record["tls"]["connector"].as_str(), expected, "{what}");
    }
    // Without any certificate, and in the clear.
    let mut bare = TlsClient::connect(gate.v6, &[]);
    bare.hello("home.example");
    assert!(last_reply(&mut bare.smtp).starts_with("450 4.7.26 "));
    let mut clear = Client::connect(gate.v6);
    clear.hello("home.example");
    assert!(last_reply(&mut clear).starts_with("450 4.7.26 "));
    gate.stop();
}

/// A client is asked for a certificate only where one could make it known.
#[test]
fn nobody_is_asked_without_need() {
    let asked = |gate: &Gate, version: &str| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-starttls", "smtp", version, "-connect", &gate.v6.to_string()]);
        let told = run(&mut client).stdout;
        assert!(told.contains("-----BEGIN CERTIFICATE-----"), "{told}");
        told.contains("Client Certificate Types") || told.contains("Requested Signature Algorithms")
    };
    let Shown { gate, .. } = gate_with(|_| Vec::new());
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(!asked(&gate, version), "{version}");
    }
    gate.stop();
    let Shown { gate, .. } = gate_with(|_| vec!["--connector-cert".into(), format!("sha256:{}", "00".repeat(32))]);
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(asked(&gate, version), "{version}");
    }
    gate.stop();
}

#[test]
fn what_cannot_be_used_is_told_before_serving() {
    let setup = Setup::new();
    let authority = Authority::new(&setup.dir(), "authority");
    let own = authority.sign("mx", "mx.example", &[Usage::ServerAuth]);
    let (chain, key) = (text(&own.chain), text(&own.key));
    let other = text(&authority.sign("other", "mx.example", &[Usage::ServerAuth]).key);
    let rows: [(&[&str], &str); 7] = [
        (&["--tls-cert", "/absent.pem"], "--tls-cert: /absent.pem: "),
        (&["--tls-cert", &chain], "mx.pem: no items found"),
        (&["--tls-cert", &chain, "--tls-key", &other], "other.key: not the key of "),
        (&["--tls-key", &key], "--tls-cert is missing: name as many keys as certificates"),
        (&["--tls-cert", &chain, "--tls-cert", &chain, "--tls-key", &key], "--tls-key is missing"),
        (&["--connector-cert", "partner.example@/ca.pem"], "--tls-cert is missing: partners show their certificate"),
        (
            &["--tls-cert", &chain, "--tls-key", &key, "--connector-cert", "partner.example@/absent.pem"],
            "/absent.pem: ",
        ),
    ];
    for (flags, words) in rows {
        let ended = check_config(flags);
        assert_eq!(ended.code, Some(78), "{flags:?}: {ended:?}");
        assert!(ended.stderr.contains(words), "{flags:?}: {}", ended.stderr);
    }
}
