//! A gate that cannot work does not start, and says what to do about it.

use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;

use crate::harness::gate::{Setup, binary, check_config, mx6};
use crate::harness::process::{Ended, run};
use crate::harness::smtp::Client;
use crate::harness::zone::PASS;
use crate::harness::{is_root, skip, strace};

/// Flags that a gate starts with, less the one under test.
fn serve_without(flag: &str, instead: &[&str]) -> Ended {
    let all = [
        ("--hostname", "mx.example"),
        ("--listen", "[::1]:0"),
        ("--cores", "1"),
        ("--dns-server", "127.0.0.1:9"),
        ("--domain", "open.example=accept"),
        ("--deliver", "discard:"),
    ];
    let kept = all.iter().filter(|(name, _)| *name != flag).flat_map(|(name, value)| [*name, *value]);
    mx6(&["serve"].into_iter().chain(kept).chain(instead.iter().copied()).collect::<Vec<_>>())
}

/// It failed, did not panic, and its message names all of these.
fn assert_refused(what: &str, ended: &Ended, named: &[&str]) {
    assert!(ended.code.is_some_and(|code| code != 0 && code != 101), "{what}: {ended:#?}");
    assert!(!ended.stderr.contains("panicked"), "{what}: {ended:#?}");
    let said = ended.stderr.to_lowercase();
    for name in named {
        assert!(said.contains(&name.to_lowercase()), "{what}: no {name:?} in {}", ended.stderr);
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let taken = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let rows: [(&str, &[&str], &[&str]); 14] = [
        ("--hostname", &[], &["hostname"]),
        ("--hostname", &["--hostname", "not a name"], &["hostname", "not a name"]),
        ("--cores", &["--cores", "0,4095"], &["4095", "core"]),
        ("--cores", &["--cores", "0"], &["core"]),
        ("--cores", &["--cores", "one"], &["one"]),
        ("--listen", &["--listen", &taken], &[&taken, "in use"]),
        ("--listen", &["--listen", "[2001:db8::1]:25"], &["2001:db8::1"]),
        ("--listen", &["--listen", "nowhere"], &["nowhere"]),
        ("--dns-server", &["--dns-server", "nonsense:port"], &["nonsense:port"]),
        ("--domain", &["--domain", "open.example=perhaps"], &["perhaps"]),
        ("--deliver", &["--deliver", "discard:", "--deliver", "maildir:./mail"], &["deliver"]),
        ("--cores", &["--kernels", "fastest"], &["kernels", "fastest", "portable"]),
        ("--cores", &["--kernels", "avx2,sha-ni"], &["kernels", "avx2 and sha-ni"]),
        ("--deliver", &["--deliver", "lmtp:relative.socket"], &["lmtp"]),
    ];
    for (flag, instead, named) in rows {
        assert_refused(&format!("{flag} {instead:?}"), &serve_without(flag, instead), named);
    }
}

/// A kernel that is named is used, or the CPU cannot run it and the gate does not start.
#[test]
fn kernels_by_name() {
    for name in ["sha-ni", "avx2", "avx512"] {
        let ended = check_config(&["--kernels", name]);
        if ended.code == Some(0) {
            assert!(ended.stdout.contains(&format!("kernels SHA-256 {name}")), "{ended:#?}");
        } else {
            let named = ["kernels", &format!("this CPU cannot run {name}; it can run portable")];
            assert_refused(name, &ended, &named);
            assert_refused(name, &serve_without("", &["--kernels", name]), &named);
        }
    }
}

#[test]
fn a_zone_that_cannot_be_read_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let zone = dir.path().join("broken.zone");
    std::fs::write(&zone, "$ORIGIN example.\n@ 300 IN SOA ns hostmaster 1 2 3 4 5\nwww 300 IN AAAA nonsense\n")
        .unwrap();
    let path = zone.display().to_string();
    assert_refused("broken zone", &serve_without("--dns-server", &["--zone", &path]), &["broken.zone", "3"]);
    assert_refused("no zone", &serve_without("--dns-server", &["--zone", "/nowhere/at/all"]), &["/nowhere/at/all"]);
}

/// Root may lock any amount of memory, so the right to do so is taken away first.
#[test]
fn too_little_lockable_memory() {
    let mut command = Command::new("prlimit");
    command.arg("--memlock=65536:65536");
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--bounding-set=-ipc_lock", "prlimit", "--memlock=65536:65536"]);
    }
    let setup = Setup::new();
    let serve = setup.command();
    let ended = run(command.arg(serve.get_program()).args(serve.get_args()));
    assert_refused("memlock", &ended, &["memlock"]);
}

/// What Docker's default seccomp profile does: io_uring_setup is not permitted.
#[test]
fn io_uring_refused() {
    let script = "import ctypes, os, struct, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]\n\
        filter = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *c) for c in code))\n\
        program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(code), ctypes.addressof(filter)))\n\
        assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    let probe = run(Command::new("/usr/bin/python3").args(["-c", script, "/bin/true"]));
    if probe.code != Some(0) {
        return skip(&format!("no seccomp filter here: {}", probe.stderr));
    }
    let setup = Setup::new();
    let ended =
        run(Command::new("/usr/bin/python3").arg("-c").arg(script).arg(binary()).args(setup.command().get_args()));
    assert_refused("io_uring", &ended, &["io_uring", "seccomp"]);
}

/// What the linker has to do with it is in `crates/runtime/src/ring_setup.rs`: without that the flag is not there.
#[test]
fn rings_that_do_not_interrupt_their_shard() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0_u32));
    if (numbers.next(), numbers.next()) < (Some(5), Some(19)) {
        return skip("this kernel has no IORING_SETUP_COOP_TASKRUN");
    }
    let Some(mut traced) = strace::start(Setup::new(), "io_uring_setup") else { return };
    let _served = Client::greeted(&traced.gate, PASS, "mail.pass.example");
    let text = traced.kill();
    // The probe asks for one entry; what asks for more is glommio.
    let rings = text.lines().filter(|line| line.contains("io_uring_setup(") && !line.contains("io_uring_setup(1,"));
    let flags: Vec<&str> = rings.filter_map(|line| line.split("flags=").nth(1)?.split(',').next()).collect();
    // By its number where strace is older than the flag.
    let cooperates = |flags: &&str| flags.contains("IORING_SETUP_COOP_TASKRUN") || flags.contains("0x100");
    assert!(flags.len() > 1 && flags.iter().all(cooperates), "{text}");
}
