//! A container as `packaging/container` and `packaging/README.md` tell to run it: the run line of the page becomes a bundle of the Open Container
//! Initiative, whose root has the binary under test and the libraries that distroless/cc has, and runc or crun runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::files;
use super::gate::binary;
use super::namespace::Namespace;
use super::process::{Ended, Process, run, succeed};
use super::zone::workspace;

/// A run line of `packaging/README.md`.
#[derive(Debug, Clone, Default)]
pub struct RunLine {
    user: u32,
    capabilities: Vec<String>,
    drops_all: bool,
    no_new_privileges: bool,
    read_only: bool,
    seccomp: Option<PathBuf>,
    limits: Vec<(String, u64)>,
    tmpfs: Vec<String>,
    volumes: Vec<(String, String, bool)>,
    host_network: bool,
}

impl RunLine {
    /// That of `tool`: the line of the page that begins with `TOOL run`, with what follows behind backslashes.
    pub fn of(tool: &str) -> RunLine {
        let page = files::read(&workspace().join("packaging/README.md"));
        let begin = page.find(&format!("\n{tool} run ")).unwrap_or_else(|| panic!("no run line for {tool}"));
        let line = page[begin..].trim_start().split("\n```").next().unwrap().replace("\\\n", " ");
        let mut words = line.split_whitespace().skip(2);
        let mut found = RunLine::default();
        while let Some(flag) = words.next() {
            if !flag.starts_with("--") {
                assert_eq!((flag, words.next()), ("mx6", None), "the image is the last word of {line}");
                return found;
            }
            found.take(flag, &mut words);
        }
        panic!("no image in {line}");
    }

    fn take<'a>(&mut self, flag: &str, words: &mut impl Iterator<Item = &'a str>) {
        let mut value = || words.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        match flag {
            "--detach" => {}
            "--read-only" => self.read_only = true,
            "--name" | "--restart" | "--stop-timeout" => drop(value()),
            "--user" => self.user = value().split(':').next().unwrap().parse().unwrap(),
            "--network" => self.host_network = value() == "host",
            "--cap-drop" => self.drops_all = value() == "ALL",
            "--cap-add" => self.capabilities.push(format!("CAP_{}", value())),
            "--tmpfs" => self.tmpfs.push(value().to_owned()),
            "--ulimit" => {
                let (name, limit) = value().split_once('=').unwrap();
                self.limits.push((name.to_owned(), limit.split(':').next().unwrap().parse().unwrap()));
            }
            "--volume" => {
                let parts: Vec<&str> = value().split(':').collect();
                self.volumes.push((parts[0].to_owned(), parts[1].to_owned(), parts.get(2) == Some(&"ro")));
            }
            "--security-opt" => match value() {
                "no-new-privileges" => self.no_new_privileges = true,
                option => self.seccomp = Some(workspace().join(option.strip_prefix("seccomp=").unwrap())),
            },
            _ => panic!("the tests do not know what {flag} means"),
        }
    }

    /// Its profile.
    pub fn profile(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.seccomp.as_ref().unwrap()).unwrap()).unwrap()
    }

    /// The same without `no-new-privileges`: runtimes apply the profile earlier then.
    pub fn with_new_privileges(mut self) -> RunLine {
        self.no_new_privileges = false;
        self
    }
}

/// The words that begin a command line of that runtime, or why there is none.
pub fn runtime(name: &'static str) -> Result<Vec<&'static str>, String> {
    let words = match name {
        // It takes no machine that has both kinds of control groups mounted, and needs none here.
        "crun" => vec!["unshare", "--mount", "sh", "-c", WITHOUT_GROUPS, "crun", "--cgroup-manager=disabled"],
        _ => vec![name],
    };
    let version = Command::new(name).arg("--version").output();
    if version.is_ok_and(|version| version.status.success()) { Ok(words) } else { Err(format!("no {name}")) }
}

/// What a container is made of.
pub struct Bundle {
    dir: TempDir,
    line: RunLine,
    profile: Value,
    args: Vec<String>,
    runtime: Vec<&'static str>,
    network: Namespace,
    name: String,
}

impl Bundle {
    /// The image's own command line under that run line.
    pub fn new(line: RunLine, runtime: Vec<&'static str>, network: Namespace) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("mx6-container-").tempdir().unwrap();
        let name = format!("mx6-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let profile = line.profile();
        let args = [instruction("ENTRYPOINT"), instruction("CMD")].concat();
        let bundle = Bundle { dir, line, profile, args, runtime, network, name };
        bundle.make_root();
        bundle
    }

    /// Another profile.
    pub fn profile(mut self, profile: Value) -> Bundle {
        self.profile = profile;
        self
    }

    /// Another program, copied into the root.
    pub fn program(mut self, program: &Path, args: &[&str]) -> Bundle {
        let name = program.file_name().unwrap().to_str().unwrap();
        std::fs::copy(program, self.dir.path().join("root").join(name)).unwrap();
        self.args = std::iter::once(format!("/{name}")).chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        self
    }

    /// The folder that is mounted there.
    pub fn volume(&self, inside: &str) -> PathBuf {
        let folder = self.dir.path().join(inside.replace('/', "_"));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// What distroless/cc has and a gate needs: two files of users, libraries, and where something is mounted.
    fn make_root(&self) {
        let root = self.dir.path().join("root");
        let copy = |from: &Path, to: &str| {
            let to = root.join(to.trim_start_matches('/'));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        };
        copy(&binary(), "/usr/bin/mx6");
        for library in libraries() {
            copy(&library, &library.display().to_string());
        }
        let mounted = ["etc", "proc", "dev", "sys"].into_iter().map(String::from);
        let volumes = self.line.volumes.iter().map(|(_, inside, _)| inside.clone());
        for folder in mounted.chain(volumes).chain(self.line.tmpfs.iter().cloned()) {
            std::fs::create_dir_all(root.join(folder.trim_start_matches('/'))).unwrap();
        }
        let users = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
        std::fs::write(root.join("etc/passwd"), users).unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nnonroot:x:65532:\n").unwrap();
    }

    /// Starts it.
    pub fn start(self) -> Container {
        let config = self.dir.path().join("config.json");
        std::fs::write(config, serde_json::to_vec_pretty(&self.config()).unwrap()).unwrap();
        let process = Process::start(self.command(&["run", "--bundle"]).arg(self.dir.path()).arg(&self.name));
        Container { process, bundle: self }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.runtime[0]);
        command.args(&self.runtime[1..]).arg("--root").arg(self.dir.path().join("state")).args(words);
        command
    }

    fn config(&self) -> Value {
        let line = &self.line;
        assert!(line.drops_all && line.host_network, "{line:?}");
        let mount = |at: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": source, "options": options});
        let mut mounts = vec![
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755"]),
            mount("/sys", "bind", "/sys", &["rbind", "ro"]),
        ];
        mounts.extend(line.tmpfs.iter().map(|at| mount(at, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"])));
        mounts.extend(line.volumes.iter().map(|(_, at, is_read_only)| {
            let access = if *is_read_only { "ro" } else { "rw" };
            mount(at, "bind", &self.volume(at).display().to_string(), &["rbind", access])
        }));
        let capabilities = &line.capabilities;
        let network = json!({"type": "network", "path": self.network.path()});
        let namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": line.user, "gid": line.user},
                "args": self.args,
                "env": ["PATH=/usr/bin", format!("MX6_ADMIN={}", environment("MX6_ADMIN"))],
                "cwd": "/",
                "noNewPrivileges": line.no_new_privileges,
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
                "rlimits": line.limits.iter().map(limit).collect::<Vec<_>>(),
            },
            "root": {"path": "root", "readonly": line.read_only},
            "mounts": mounts,
            "linux": {
                "namespaces": namespaces.into_iter().chain([network]).collect::<Vec<_>>(),
                "seccomp": {
                    "defaultAction": self.profile["defaultAction"],
                    "defaultErrnoRet": self.profile["defaultErrnoRet"],
                    "architectures": self.profile["archMap"].as_array().unwrap().iter().map(|arch| &arch["architecture"]).collect::<Vec<_>>(),
                    "syscalls": self.profile["syscalls"].as_array().unwrap().iter().map(|calls| {
                        let args = calls.get("args").cloned().unwrap_or_else(|| json!([]));
                        json!({"names": calls["names"], "action": calls["action"], "args": args})
                    }).collect::<Vec<_>>(),
                },
            },
        })
    }
}

/// A container that runs; ended on drop.
pub struct Container {
    /// The runtime, which lives as long and has the same standard error and exit code.
    pub process: Process,
    bundle: Bundle,
}

impl Container {
    /// Sends a signal to its first process.
    pub fn signal(&self, name: &str) {
        succeed(&mut self.bundle.command(&["kill", &self.bundle.name, name]));
    }

    /// Runs what the image calls its health check.
    pub fn health(&self) -> Ended {
        let check = instruction("HEALTHCHECK");
        let check: Vec<&str> = check.iter().map(String::as_str).collect();
        run(self.bundle.command(&["exec", &self.bundle.name]).args(check))
    }

    /// Does something on a thread that has its network.
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.bundle.network.inside(action)
    }

    /// The folder that is mounted there.
    pub fn volume(&self, inside: &str) -> PathBuf {
        self.bundle.volume(inside)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        run(&mut self.bundle.command(&["delete", "--force", &self.bundle.name]));
    }
}

/// The words of an instruction of the Containerfile in its JSON form.
pub fn instruction(name: &str) -> Vec<String> {
    let file = containerfile();
    let line = file.lines().rfind(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

/// The Containerfile.
pub fn containerfile() -> String {
    files::read(&workspace().join("packaging/container/Containerfile"))
}

/// A variable that the image sets.
fn environment(name: &str) -> String {
    let file = containerfile();
    let value = file.lines().find_map(|line| line.strip_prefix(&format!("ENV {name}=")));
    value.unwrap_or_else(|| panic!("no ENV {name}")).to_owned()
}

/// The libraries that the binary needs, as ldd finds them.
pub fn libraries() -> Vec<PathBuf> {
    let found = succeed(Command::new("ldd").arg(binary()));
    let paths = found.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

/// A limit, or what of it this machine has to give.
fn limit((name, value): &(String, u64)) -> Value {
    let resource = match name.as_str() {
        "memlock" => Resource::Memlock,
        "nofile" => Resource::Nofile,
        _ => panic!("unknown limit {name}"),
    };
    let value = getrlimit(resource).maximum.map_or(*value, |most| most.min(*value));
    json!({"type": format!("RLIMIT_{}", name.to_uppercase()), "soft": value, "hard": value})
}

/// For `sh -c`: the mounts of control groups are out of sight.
const WITHOUT_GROUPS: &str =
    r#"if [ -d /sys/fs/cgroup/unified ]; then umount --lazy /sys/fs/cgroup/unified || exit; fi; exec "$0" "$@""#;
