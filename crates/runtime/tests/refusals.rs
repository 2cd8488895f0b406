//! The preflight in a process that really may not: limits and a seccomp filter set for a child, which is this binary again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use mx6_runtime::{Cores, Needs, Preflight, preflight, run_local, run_shards};

/// Runs one test of this binary in a child after `prepare`; what it printed.
fn child(test: &str, prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--include-ignored"]);
    // SAFETY: `prepare` makes system calls only.
    unsafe { command.pre_exec(prepare) };
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn limit_memlock(octets: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: octets, rlim_max: octets };
    // SAFETY: a plain structure.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Locked memory is counted by user, so these tests need a user for each.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: not root");
    }
    root
}

/// Becomes a user of its own, with no capability left: locked memory is counted by user. Does nothing where that is not allowed.
fn become_user(uid: u32) {
    // SAFETY: plain system calls.
    unsafe {
        libc::setgid(uid);
        libc::setuid(uid);
    }
}

/// A filter that answers `errno` to io_uring_setup and lets everything else pass, as container runtimes set it.
fn filter_io_uring(errno: i32) -> std::io::Result<()> {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(load, 0, 0, 0),
        instruction(equals, 0, 1, libc::SYS_io_uring_setup as u32),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program outlives the calls.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
        {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

#[test]
#[ignore = "run by the other tests, in a child"]
fn report() {
    match preflight(1, Needs::default()) {
        Ok(()) => println!("passes"),
        Err(error) => println!("code {}: {error}", error.exit_code()),
    }
    // What would happen without the preflight must be an error, not a panic or a hang.
    match run_shards(&Cores::first(1).unwrap(), |_| async {}) {
        Ok(()) => println!("shards run"),
        Err(error) => println!("shards: {error}"),
    }
    println!("local: {}", run_local(|| async {}).is_ok());
}

#[test]
fn seccomp() {
    for (errno, word) in [(libc::EPERM, "not permitted"), (libc::ENOSYS, "not implemented")] {
        let output = child("report", move || filter_io_uring(errno));
        assert!(output.contains("code 71: io_uring is refused by a seccomp filter"), "{output}");
        assert!(output.contains("--security-opt seccomp=") && output.contains(word), "{output}");
        assert!(output.contains("shards: shard 0 (CPU") && output.contains("local: false"), "{output}");
    }
}

#[test]
fn locked_memory() {
    if !is_root() {
        return;
    }
    let refused = child("report", || {
        limit_memlock(64 << 10)?;
        become_user(61_001);
        Ok(())
    });
    assert!(refused.contains("code 77: locked memory (RLIMIT_MEMLOCK) is limited to 64 KiB"), "{refused}");
    assert!(refused.contains("shards: shard 0 (CPU") && refused.contains("local: false"), "{refused}");
    let enough = child("report", || {
        limit_memlock(512 << 10)?;
        become_user(61_002);
        Ok(())
    });
    assert!(enough.contains("passes") && enough.contains("shards run"), "{enough}");
}

#[test]
fn a_low_soft_limit_is_raised() {
    if !is_root() {
        return;
    }
    let output = child("report", || {
        let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 1 << 20 };
        // SAFETY: a plain structure.
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
        become_user(61_003);
        Ok(())
    });
    assert!(output.contains("passes") && output.contains("shards run"), "{output}");
}

#[test]
#[ignore = "run by the other test, in a child"]
fn many_executors() {
    let run = || run_local(|| mx6_runtime::sleep(std::time::Duration::from_millis(300))).is_ok();
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(run)).collect();
    let ran = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|&ran| ran).count();
    println!("{ran} of 8 executors");
}

#[test]
fn half_a_mebibyte_each_is_enough_for_many_executors() {
    if !is_root() {
        return;
    }
    let output = child("many_executors", || {
        limit_memlock(8 * (512 << 10))?;
        become_user(61_004);
        Ok(())
    });
    assert!(output.contains("8 of 8 executors"), "{output}");
}

#[test]
fn too_few_cpus() {
    assert!(matches!(preflight(100_000, Needs::default()), Err(Preflight::Cores { wanted: 100_000, .. })));
}
