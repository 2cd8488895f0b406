//! A Debian of the test's own: our package, the smallest root that it can be installed into, and that root booted, with a real systemd.
//!
//! The root is made once by mmdebstrap, from where this machine has its own packages, and kept in `target/tmp`; a test works in a copy. It is
//! booted by systemd-nspawn with a network of its own that has loopback only.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::gate::binary;
use super::namespace;
use super::process::{Ended, Process, run};
use super::zone::workspace;
use super::{is_root, until};

/// Builds the package of the binary under test into `folder`, or says why it cannot be built here.
pub fn package(folder: &Path) -> Result<PathBuf, String> {
    let profile = binary().parent().unwrap().to_owned();
    let name = profile.file_name().unwrap().to_string_lossy().replace("debug", "dev");
    let mut build = Command::new(workspace().join("packaging/build-deb"));
    build.args(["--no-build", "--output"]).arg(folder).env("PROFILE", name);
    let built = run(build.env("CARGO_TARGET_DIR", profile.parent().unwrap()));
    match built.code {
        Some(0) => Ok(built.stdout.lines().find(|line| line.ends_with(".deb")).unwrap().into()),
        Some(EX_UNAVAILABLE) => Err(built.stderr.trim().to_owned()),
        _ => panic!("build-deb: {built:#?}"),
    }
}

/// A root with Debian's essential packages and systemd; removed on drop.
pub struct Root(TempDir);

impl Root {
    /// A fresh one, or why there can be none here.
    pub fn new() -> Result<Root, String> {
        if !is_root() {
            return Err("a root for Debian can be made by root only".to_owned());
        }
        let cached = cached_root()?;
        let dir = tempfile::Builder::new().prefix("mx6-debian-").tempdir().unwrap();
        let copied =
            run(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&cached).arg(dir.path().join("root")));
        assert_eq!(copied.code, Some(0), "{copied:#?}");
        Ok(Root(dir))
    }

    /// Where it is on this machine.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// A file in it, by its path there.
    pub fn file(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    /// Every file and folder of it, but for what dpkg notes down for itself and what a program has in memory.
    pub fn listed(&self) -> Vec<String> {
        let mut find = Command::new("find");
        find.arg(self.path()).args(["-xdev", "-printf", "%P\n"]);
        let unlisted = ["var/lib/dpkg/", "var/log/", "var/cache/", "run/", "tmp/", "dev/", "proc/", "sys/"];
        let listed = run(&mut find).stdout;
        let mut listed: Vec<String> =
            listed.lines().filter(|line| !unlisted.iter().any(|at| line.starts_with(at))).map(String::from).collect();
        listed.sort();
        listed
    }

    /// Boots it, and waits until everything in it is up; or says why it cannot.
    pub fn boot(self) -> Result<Booted, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mx6-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut nspawn = Command::new("sh");
        nspawn.args(["-c", IN_ITS_OWN_GROUPS, &name, "systemd-nspawn", "--boot", "--register=no", "--keep-unit"]);
        nspawn.args(["--private-network", "--settings=no", "--console=pipe", "--machine", &name, "--directory"]);
        nspawn.arg(self.path()).arg(format!("--system-call-filter={CALLS}")).arg("systemd.unit=multi-user.target");
        let mut nspawn = Process::start(&mut nspawn);
        let first = until("the first process inside, or the reason why there is none", || {
            let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", nspawn.id()));
            let first = children.ok().and_then(|children| children.split_whitespace().next()?.parse().ok());
            first.filter(|pid| is_systemd(*pid)).map(Ok).or_else(|| {
                (!nspawn.is_running())
                    .then(|| Err(format!("nothing can be booted here: {}", nspawn.stderr().join(" "))))
            })
        });
        let booted = Booted { name, first: first?, nspawn, root: self };
        until("the system to be up", || {
            let state = booted.run(&["systemctl", "is-system-running"]);
            ["running", "degraded"].contains(&state.stdout.trim()).then_some(())
        });
        Ok(booted)
    }
}

/// A Debian that runs; ended on drop.
pub struct Booted {
    name: String,
    first: u32,
    nspawn: Process,
    /// Its files.
    pub root: Root,
}

impl Booted {
    /// Runs a command in it to its end.
    pub fn run(&self, words: &[&str]) -> Ended {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--all", "--target", &self.first.to_string(), "--"]).args(words);
        run(nsenter.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive"))
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn succeed(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:#?}\n{}", self.run(&["journalctl", "-n", "30"]).stdout);
        ended.stdout
    }

    /// Does something on a thread that has its network.
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        namespace::inside(Path::new(&format!("/proc/{}/ns/net", self.first)), action)
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // All others of its namespace end with the first process.
        run(Command::new("kill").args(["-KILL", &self.first.to_string()]));
        self.nspawn.wait();
        for hierarchy in ["systemd", "unified"] {
            let group = format!("/sys/fs/cgroup/{hierarchy}/{}", self.name);
            run(Command::new("find").args([&group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]));
        }
    }
}

/// The root that all are copies of. Whoever comes first makes it, and the others wait.
fn cached_root() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.ok_or("/etc/os-release names no release")?;
    let lock = File::create(folder.join("debian.lock")).unwrap();
    lock.lock().unwrap();
    let cached = folder.join(format!("debian-{codename}"));
    if cached.exists() {
        return Ok(cached);
    }
    let partial = folder.join("debian.partial");
    run(Command::new("rm").args(["--recursive", "--force"]).arg(&partial));
    let sources =
        ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list.d/ubuntu.sources", "/etc/apt/sources.list"];
    let sources = sources.into_iter().find(|path| Path::new(path).exists()).ok_or("no sources of packages")?;
    let mut make = Command::new("mmdebstrap");
    make.args(["--variant=essential", "--include=systemd-sysv", codename]).arg(&partial).arg(sources);
    match make.output() {
        Ok(made) if made.status.success() => {
            std::fs::rename(&partial, &cached).unwrap();
            Ok(cached)
        }
        Ok(made) => Err(format!("no root can be made: {}", String::from_utf8_lossy(&made.stderr).trim())),
        Err(error) => Err(format!("no mmdebstrap: {error}")),
    }
}

/// Whether nspawn's child has become systemd.
fn is_systemd(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "systemd")
}

/// nspawn makes control groups beside the one that it is in; this is that of the test alone.
const IN_ITS_OWN_GROUPS: &str = r#"for at in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -d "$at" ]; then mkdir "$at/$0" && echo $$ >"$at/$0/cgroup.procs" || exit; fi
done
exec "$@""#;

/// What nspawn does not let through by itself, and a gate wants.
const CALLS: &str =
    "io_uring_setup io_uring_enter io_uring_register landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// Something that the package needs cannot be had here.
const EX_UNAVAILABLE: i32 = 69;
