//! What `packaging/container` ships: a recipe whose words hold, a profile that denies what is not listed, and a gate that serves mail under
//! both, as the run lines of `packaging/README.md` start it.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::certificates::{Authority, Usage};
use crate::harness::container::{Bundle, Container, RunLine, containerfile, instruction, libraries, runtime};
use crate::harness::gate::binary;
use crate::harness::namespace::Namespace;
use crate::harness::process::{run, succeed};
use crate::harness::tls::TlsClient;
use crate::harness::zone::{self, workspace};
use crate::harness::{files, is_root, skip, until};

/// The recipe builds what this workspace is: its Rust, its files, commands that the binary knows, no library that distroless/cc lacks.
#[test]
fn recipe() {
    let text = containerfile();
    let manifest: toml::Table = files::read(&workspace().join("Cargo.toml")).parse().unwrap();
    let rust = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(text.contains(&format!("/rust:{rust}-")), "not Rust {rust}: {text}");
    // Everything that a member of the workspace lies in comes along.
    let ignored = files::read(&workspace().join(".dockerignore"));
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let folder = member.as_str().unwrap().split('/').next().unwrap();
        assert!(ignored.lines().any(|line| line == format!("!{folder}")), "{folder} is ignored");
    }
    for included in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(workspace().join(included).exists(), "{included}");
    }
    for line in text.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from=")) {
        let source = line.split_whitespace().nth(1).unwrap();
        assert!(workspace().join(source).exists(), "{line}");
    }
    assert_eq!(instruction("ENTRYPOINT"), ["/usr/bin/mx6"]);
    for instruction in [instruction("CMD"), instruction("HEALTHCHECK")[1..].to_vec()] {
        let asked = run(Command::new(binary()).arg(&instruction[0]).arg("--help"));
        assert_eq!(asked.code, Some(0), "{instruction:?}: {asked:#?}");
    }
    let there = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    let lacking: Vec<_> =
        libraries().into_iter().filter(|path| !there.iter().any(|name| path.ends_with(name))).collect();
    assert!(lacking.is_empty(), "distroless/cc has no {lacking:#?}");
}

/// What is not listed is denied; names are those of system calls, each once, and none with which a process leaves its container.
#[test]
fn profile() {
    let profile = RunLine::of("docker").profile();
    assert_eq!([&profile["defaultAction"], &profile["defaultErrnoRet"]], [&json!("SCMP_ACT_ERRNO"), &json!(ENOSYS)]);
    let groups = profile["syscalls"].as_array().unwrap();
    assert!(
        groups.iter().all(|group| group["action"] == "SCMP_ACT_ALLOW" && group["comment"].is_string()),
        "{groups:#?}"
    );
    let mut names: Vec<&str> = groups.iter().flat_map(names).collect();
    for needed in IO_URING {
        assert!(names.contains(&needed), "{needed}");
    }
    for barred in BARRED {
        assert!(!names.contains(&barred), "{barred}");
    }
    let clone = groups.iter().find(|group| group["names"] == json!(["clone"])).unwrap();
    assert_eq!(
        [&clone["args"][0]["value"], &clone["args"][0]["op"]],
        [&json!(CLONE_NEW_ANY), &json!("SCMP_CMP_MASKED_EQ")]
    );
    let listed = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), listed, "a name is there twice");
    let known = run(Command::new("systemd-analyze").args(["--no-pager", "syscall-filter", "@known"]));
    if known.code != Some(0) {
        return skip("no systemd-analyze that knows the names of system calls");
    }
    let known: Vec<&str> = known.stdout.lines().map(str::trim).collect();
    let unknown: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// On port 25, inside TLS, into a Maildir in the volume; the health check, a reload and the end are as everywhere.
#[test]
fn serves_mail() {
    // Without `no-new-privileges` a runtime applies the profile before it has given up its own privileges, and does more under it.
    for (tool, runtime_name, is_strict) in
        [("docker", "runc", true), ("docker", "runc", false), ("podman", "crun", true)]
    {
        let line = RunLine::of(tool);
        let line = if is_strict { line } else { line.with_new_privileges() };
        let bundle = match bundle(line, runtime_name) {
            Ok(bundle) => bundle,
            Err(why) => return skip(&why),
        };
        configure(&bundle);
        let mut container = bundle.start();
        container.process.until_stderr("the gate", |lines| told(lines, "admin endpoint on"));
        container.inside(|| {
            let mut client = TlsClient::connect(at_port_25(), &["-bind", &format!("[{}]:0", zone::PASS)]);
            client.hello("mail.pass.example");
            let message = "From: alice@pass.example\r\n\r\nIn a container.\r\n";
            let reply = client.smtp.transaction("alice@pass.example", "bob@open.example", message);
            assert!(reply.starts_with("250 "), "{reply:?}");
        });
        assert!(files::only_message(&container.volume(STATE).join("mail")).ends_with("In a container.\n"));
        becomes_nobody(&container);
        let health = container.health();
        assert_eq!(health.code, Some(0), "{health:#?}");
        container.signal("HUP");
        container.process.until_stderr("the reload", |lines| told(lines, "the new configuration holds"));
        container.signal("TERM");
        let status = container.process.wait();
        assert_eq!(status.code(), Some(0), "{}", container.process.stderr().join("\n"));
    }
}

/// A gate under a profile without io_uring, as Docker's own, says what to change; another program hears ENOSYS for what is not listed.
#[test]
fn the_profile_bites() {
    let without_io_uring = || {
        let mut profile = RunLine::of("docker").profile();
        for group in profile["syscalls"].as_array_mut().unwrap() {
            group["names"].as_array_mut().unwrap().retain(|name| !IO_URING.contains(&name.as_str().unwrap()));
        }
        profile["defaultErrnoRet"] = json!(EPERM);
        profile
    };
    let mut refused = match bundle(RunLine::of("docker"), "runc") {
        Ok(bundle) => {
            configure(&bundle);
            bundle.profile(without_io_uring()).start()
        }
        Err(why) => return skip(&why),
    };
    assert_eq!(refused.process.wait().code(), Some(71), "{}", refused.process.stderr().join("\n"));
    until("the reason", || refused.process.stderr().join("\n").contains("seccomp").then_some(()));
    if !Path::new(BUSYBOX).exists() {
        return skip("no busybox-static");
    }
    let said = |profile: Value| {
        let bundle = bundle(RunLine::of("docker"), "runc").unwrap().profile(profile);
        let mut container = bundle.program(Path::new(BUSYBOX), &["chroot", "/", "/busybox", "true"]).start();
        let code = container.process.wait().code();
        (code, container.process.stderr().join("\n"))
    };
    let (code, told) = said(RunLine::of("docker").profile());
    assert!(code == Some(1) && told.contains("Function not implemented"), "{code:?} {told}");
    // With everything allowed it is the missing capability that stops it: what is seen above is the profile's doing.
    let mut all = RunLine::of("docker").profile();
    all["defaultAction"] = json!("SCMP_ACT_ALLOW");
    let (code, told) = said(all);
    assert!(code == Some(1) && told.contains("Operation not permitted"), "{code:?} {told}");
}

/// Who serves is no longer root, and has no capability left.
fn becomes_nobody(container: &Container) {
    let children = succeed(Command::new("pgrep").args(["--parent", &container.process.id().to_string(), "mx6"]));
    let status = files::read(Path::new(&format!("/proc/{}/status", children.trim())));
    for part in ["Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(part), "{part}: {status}");
    }
}

fn bundle(line: RunLine, name: &'static str) -> Result<Bundle, String> {
    if !is_root() {
        return Err("containers are run by root only".to_owned());
    }
    let runtime = runtime(name)?;
    Ok(Bundle::new(line, runtime, Namespace::new(&[zone::PASS])?))
}

/// The configuration that is shipped, for a domain and with a certificate, and with names for which no resolver is needed.
fn configure(bundle: &Bundle) {
    let (config, state) = (bundle.volume("/etc/mx6"), bundle.volume(STATE));
    let shipped = files::read(&workspace().join("packaging/container/mx6.toml"));
    let changes = [
        ("#\"example.net\" = \"monitor\"", "\"open.example\" = \"accept\""),
        ("#tls-cert = ", "zone = \"/etc/mx6/test.zone\"\ntls-cert = "),
    ];
    let text = changes.iter().fold(shipped, |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in {text}");
        text.replace(old, new)
    });
    std::fs::write(config.join("mx6.toml"), text).unwrap();
    std::fs::write(config.join("test.zone"), zone::quickstart()).unwrap();
    let certificate = Authority::new(&config, "Authority").sign("mx", "mx.example.net", &[Usage::ServerAuth]);
    let both = files::read(&certificate.chain) + &files::read(&certificate.key);
    std::fs::write(config.join("tls.pem"), both).unwrap();
    for folder in [&config, &state] {
        std::os::unix::fs::chown(folder, Some(NONROOT), Some(NONROOT)).unwrap();
    }
}

fn told(lines: &[String], part: &str) -> Option<()> {
    lines.iter().any(|line| line.contains(part)).then_some(())
}

fn names(group: &Value) -> impl Iterator<Item = &str> {
    group["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap())
}

fn at_port_25() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, 25))
}

const STATE: &str = "/var/lib/mx6";
/// A program of one file that can ask for many things.
const BUSYBOX: &str = "/bin/busybox";
/// Distroless' user.
const NONROOT: u32 = 65532;
const ENOSYS: i32 = 38;
const EPERM: i32 = 1;
const IO_URING: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];
/// CLONE_NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWCGROUP.
const CLONE_NEW_ANY: u32 = 0x7e02_0000;
/// Ways out of a container, or into the kernel.
const BARRED: [&str; 22] = [
    "add_key",
    "bpf",
    "chroot",
    "clone3",
    "delete_module",
    "finit_module",
    "fsopen",
    "init_module",
    "kexec_load",
    "keyctl",
    "mknodat",
    "mount",
    "move_mount",
    "open_by_handle_at",
    "perf_event_open",
    "pivot_root",
    "process_vm_writev",
    "ptrace",
    "setns",
    "umount2",
    "unshare",
    "userfaultfd",
];
