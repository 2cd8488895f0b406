//! What must hold before a shard can run, told in words that name the remedy.
//!
//! glommio panics inside its thread when io_uring is refused and ends it silently when too little memory may be locked, so both
//! are tried here first. Nothing is left behind by trying.

use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Checks that `shards` executors can run here: io_uring is allowed, enough memory may be locked, there are that many CPUs.
///
/// A limit on locked memory that is too low is raised, as far as this process may: 512 KiB are needed for each executor
/// of a process without `CAP_IPC_LOCK`.
///
/// # Errors
/// [`Preflight`]; its text names the cause and the remedy, [`Preflight::exit_code`] the code to exit with.
pub fn preflight(shards: usize, needs: Needs) -> Result<(), Preflight> {
    check_cpus(shards)?;
    check_memlock(shards, needs)?;
    probe_io_uring().map_err(Preflight::IoUring)
}

/// What the executors will need beyond what this process shows now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// `CAP_IPC_LOCK` is given up before they start.
    pub drops_privileges: bool,
    /// As many executors of another process of the same user run for a while beside these: it is relieved, or relieves this one.
    pub is_relieved: bool,
}

/// Why shards cannot run on this machine as it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preflight {
    /// The kernel, or a filter in front of it, refuses io_uring.
    IoUring(IoUringRefusal),
    /// `RLIMIT_MEMLOCK` is too low.
    Memlock {
        /// The limit that holds, in octets.
        limit_octets: u64,
        /// What is needed, in octets.
        needed_octets: u64,
    },
    /// Fewer CPUs than shards.
    Cores {
        /// Shards.
        wanted: usize,
        /// CPUs this process may use.
        found: usize,
    },
}

/// Who refuses io_uring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoUringRefusal {
    /// `kernel.io_uring_disabled` is 2, or 1 and this process is not in `kernel.io_uring_group`.
    Sysctl {
        /// Its value.
        value: u8,
    },
    /// A seccomp filter, as container runtimes install by default.
    Seccomp {
        /// What the filter answers: `EPERM` or `ENOSYS`.
        errno: i32,
    },
    /// Not permitted, though neither of the above shows: another security module.
    NotPermitted,
    /// The kernel has no io_uring.
    NoSuchCall,
    /// Something else.
    Other {
        /// The kernel's error number.
        errno: i32,
    },
}

impl Preflight {
    /// The exit code for it, by sysexits.h: 71 (`EX_OSERR`) io_uring refused, 77 (`EX_NOPERM`) memory lock limit too low,
    /// 78 (`EX_CONFIG`) too few CPUs.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Preflight::IoUring(_) => 71,
            Preflight::Memlock { .. } => 77,
            Preflight::Cores { .. } => 78,
        }
    }
}

impl std::error::Error for Preflight {}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Preflight::IoUring(refusal) => refusal.fmt(f),
            Preflight::Memlock { limit_octets, needed_octets } => {
                let (limit_kib, needed_kib) = (limit_octets >> 10, needed_octets >> 10);
                write!(
                    f,
                    "locked memory (RLIMIT_MEMLOCK) is limited to {limit_kib} KiB, and the io_uring executors need {needed_kib} KiB. \
                     Remedy: `ulimit -l {needed_kib}` in the starting shell, LimitMEMLOCK={needed_kib}K in the systemd unit, \
                     `--ulimit memlock={needed_octets}:{needed_octets}` for docker and podman, or the capability CAP_IPC_LOCK"
                )
            }
            Preflight::Cores { wanted, found } => write!(
                f,
                "{wanted} shards were asked for, but this process may use only {found} CPU(s). Remedy: fewer cores, or a wider CPU set \
                 (taskset, systemd CPUAffinity= or AllowedCPUs=, docker --cpuset-cpus)"
            ),
        }
    }
}

impl fmt::Display for IoUringRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoUringRefusal::Sysctl { value } => write!(
                f,
                "io_uring is turned off on this machine (kernel.io_uring_disabled={value}). Remedy, as root on the host: \
                 `sysctl -w kernel.io_uring_disabled=0`, and the same line in /etc/sysctl.d to keep it{}",
                if *value == 1 { ", or add this user's group as kernel.io_uring_group" } else { "" },
            ),
            IoUringRefusal::Seccomp { errno } => write!(
                f,
                "io_uring is refused by a seccomp filter ({}): the default profile of docker, podman and containerd blocks it. \
                 Remedy: `--security-opt seccomp=unconfined`, or better `--security-opt seccomp=FILE` with a profile that allows \
                 io_uring_setup, io_uring_enter and io_uring_register (Kubernetes: securityContext.seccompProfile; systemd: \
                 SystemCallFilter=@io-event or the three names)",
                io::Error::from_raw_os_error(*errno),
            ),
            IoUringRefusal::NotPermitted => f.write_str(
                "io_uring is not permitted to this process (EPERM), though kernel.io_uring_disabled is 0 and no seccomp filter is \
                 set: look for a rule of SELinux, AppArmor or another security module, and allow io_uring for this program",
            ),
            IoUringRefusal::NoSuchCall => f.write_str(
                "this kernel has no io_uring (ENOSYS): Linux 5.8 or newer, built with CONFIG_IO_URING, is needed; under gVisor \
                 enable it with `--iouring`",
            ),
            IoUringRefusal::Other { errno } => {
                write!(f, "io_uring could not be set up: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

fn check_cpus(shards: usize) -> Result<(), Preflight> {
    let found = rustix::thread::sched_getaffinity(None).map_or(usize::MAX, |set| set.count() as usize);
    if shards > found { Err(Preflight::Cores { wanted: shards, found }) } else { Ok(()) }
}

/// glommio refuses to start an executor below 512 KiB, whoever the user. Beyond that the kernel (6.18, measured) counts 300 KiB of rings
/// for each executor, and would like to count 192 KiB of buffers, against the limit of the *user*, all processes together, unless
/// `CAP_IPC_LOCK` lifts it.
fn check_memlock(shards: usize, needs: Needs) -> Result<(), Preflight> {
    let counted = if needs.is_relieved { 2 * shards } else { shards };
    let executors = if may_lock_freely() && !needs.drops_privileges { 1 } else { counted.max(1) };
    let needed = MEMLOCK_OCTETS.saturating_mul(executors as u64);
    let limit = getrlimit(Resource::Memlock);
    let enough = |value: Option<u64>| value.is_none_or(|octets| octets >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    // To the hard limit, or beyond it with CAP_SYS_RESOURCE.
    let maximum = if enough(limit.maximum) { limit.maximum } else { Some(needed) };
    if setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum }).is_ok() {
        return Ok(());
    }
    Err(Preflight::Memlock { limit_octets: limit.maximum.unwrap_or(u64::MAX), needed_octets: needed })
}

/// Whether `CAP_IPC_LOCK` (capabilities(7)) is effective, and not only in a user namespace, where it does not count.
fn may_lock_freely() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    initial && effective.is_some_and(|capabilities| capabilities >> CAP_IPC_LOCK & 1 == 1)
}

/// Tries whether io_uring can be set up by this process; nothing is left behind.
///
/// # Errors
/// Who refuses it.
pub fn probe_io_uring() -> Result<(), IoUringRefusal> {
    let mut parameters = [0_u64; IO_URING_PARAMS_OCTETS / 8];
    // SAFETY: the structure of io_uring_setup(2) is 120 octets, all zero is valid, and the kernel writes no more than that.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, parameters.as_mut_ptr()) };
    if let Ok(fd @ 0..) = i32::try_from(fd) {
        // SAFETY: the kernel has just given us this descriptor.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        return Ok(());
    }
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    Err(refusal(errno, read_number("/proc/sys/kernel/io_uring_disabled"), seccomp_filters()))
}

/// Which refusal `errno` stands for, by what the system says of itself.
fn refusal(errno: i32, disabled: Option<u8>, filtered: bool) -> IoUringRefusal {
    match (errno, disabled) {
        (libc::EPERM, Some(value @ 1..)) => IoUringRefusal::Sysctl { value },
        (libc::EPERM | libc::EACCES | libc::ENOSYS, _) if filtered => IoUringRefusal::Seccomp { errno },
        (libc::EPERM | libc::EACCES, _) => IoUringRefusal::NotPermitted,
        (libc::ENOSYS, _) => IoUringRefusal::NoSuchCall,
        _ => IoUringRefusal::Other { errno },
    }
}

fn read_number(path: &str) -> Option<u8> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether a seccomp filter is set on this process: `Seccomp: 2` (proc(5)).
fn seccomp_filters() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// `linux/capability.h`.
const CAP_IPC_LOCK: u32 = 14;
/// What an executor takes of RLIMIT_MEMLOCK, and the least that glommio starts with.
const MEMLOCK_OCTETS: u64 = 512 << 10;
/// `struct io_uring_params` (io_uring_setup(2)).
const IO_URING_PARAMS_OCTETS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses() {
        let check = |errno, disabled, filtered, expected: IoUringRefusal, words: &str| {
            let got = refusal(errno, disabled, filtered);
            assert_eq!(got, expected);
            assert!(got.to_string().contains(words), "{got}");
        };
        let sysctl = |value| IoUringRefusal::Sysctl { value };
        let off = "sysctl -w kernel.io_uring_disabled=0";
        check(libc::EPERM, Some(2), false, sysctl(2), off);
        check(libc::EPERM, Some(2), true, sysctl(2), off);
        check(libc::EPERM, Some(1), false, sysctl(1), "kernel.io_uring_group");
        let seccomp = |errno| IoUringRefusal::Seccomp { errno };
        check(libc::EPERM, Some(0), true, seccomp(libc::EPERM), "--security-opt seccomp=");
        check(libc::EPERM, None, true, seccomp(libc::EPERM), "--security-opt seccomp=");
        check(libc::ENOSYS, Some(0), true, seccomp(libc::ENOSYS), "io_uring_enter");
        check(libc::EPERM, Some(0), false, IoUringRefusal::NotPermitted, "security module");
        check(libc::ENOSYS, None, false, IoUringRefusal::NoSuchCall, "CONFIG_IO_URING");
        check(libc::ENOMEM, Some(0), false, IoUringRefusal::Other { errno: libc::ENOMEM }, "memory");
    }

    #[test]
    fn remedies() {
        let memlock = Preflight::Memlock { limit_octets: 64 << 10, needed_octets: MEMLOCK_OCTETS };
        let text = memlock.to_string();
        for part in ["64 KiB", "ulimit -l 512`", "LimitMEMLOCK=512K", "--ulimit memlock=524288:524288"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(memlock.exit_code(), 77);
        assert_eq!(preflight(100_000, Needs::default()).map_err(|error| error.exit_code()), Err(78));
    }
}
