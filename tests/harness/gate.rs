//! The gate as a process: `mx6 serve` on ports that the kernel chooses.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::process::{Process, run};
use super::{PATIENCE, until, zone};

/// What to start. Without further words: the quickstart zone and domains, a Maildir, two shards.
pub struct Setup {
    dir: TempDir,
    dns: Vec<OsString>,
    domains: Vec<String>,
    deliver: Vec<String>,
    args: Vec<String>,
    wrapper: Vec<String>,
    listen: [SocketAddr; 3],
    cores: usize,
    log: PathBuf,
    stdin: Stdio,
}

impl Setup {
    /// The quickstart gate.
    pub fn new() -> Setup {
        let dir = tempfile::Builder::new().prefix("mx6-test-").tempdir().unwrap();
        let setup = Setup {
            dns: Vec::new(),
            domains: ["open.example=accept", "v4only.example=reject", "trial.example=monitor"].map(String::from).into(),
            deliver: vec![format!("maildir:{}", dir.path().join("mail").display())],
            args: Vec::new(),
            wrapper: Vec::new(),
            listen: [(Ipv6Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into(), (PROXY_ADDRESS, 0).into()],
            cores: shards(),
            stdin: Stdio::null(),
            log: dir.path().join("decisions.jsonl"),
            dir,
        };
        setup.zone(&zone::quickstart())
    }

    /// Another zone.
    pub fn zone(mut self, text: &str) -> Setup {
        let file = self.dir.path().join("test.zone");
        std::fs::write(&file, text).unwrap();
        self.dns = vec!["--zone".into(), file.into()];
        self
    }

    /// Real name servers in place of the zone.
    pub fn dns_servers(mut self, servers: &[SocketAddr]) -> Setup {
        self.dns = servers.iter().flat_map(|server| ["--dns-server".into(), server.to_string().into()]).collect();
        self
    }

    /// Other domains.
    pub fn domains(mut self, domains: &[&str]) -> Setup {
        self.domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        self
    }

    /// Next hops in place of the Maildir.
    pub fn next_hops(mut self, next_hops: &[SocketAddr]) -> Setup {
        self.deliver = next_hops.iter().map(|next_hop| format!("smtp://{next_hop}")).collect();
        self
    }

    /// The addresses of a gate that runs already.
    pub fn beside(self, gate: &Gate) -> Setup {
        self.listening([gate.v6, gate.v4, gate.proxy])
    }

    /// Other addresses: for IPv6, for IPv4, and where a PROXY header is demanded.
    pub fn listening(mut self, listen: [SocketAddr; 3]) -> Setup {
        self.listen = listen;
        self
    }

    /// Another number of shards.
    pub fn cores(mut self, cores: usize) -> Setup {
        self.cores = cores;
        self
    }

    /// Another decision log.
    pub fn log(mut self, path: &Path) -> Setup {
        self.log = path.to_owned();
        self
    }

    /// Where mail goes, as `--deliver` has it.
    pub fn deliver(mut self, targets: &[&str]) -> Setup {
        self.deliver = targets.iter().map(|target| (*target).to_owned()).collect();
        self
    }

    /// Further flags.
    pub fn args(mut self, args: &[&str]) -> Setup {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A program that executes the gate (`prlimit`, `strace -D`, `nsenter`): the process id must become the gate's.
    pub fn under(mut self, wrapper: &[&str]) -> Setup {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// A listening socket that the gate finds as a service manager leaves it, under that name.
    pub fn activated(mut self, socket: OwnedFd, name: &str) -> Setup {
        let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec \"$@\" 3<&0 </dev/null");
        self.stdin = socket.into();
        self.under(&["sh", "-c", &script, "sh"])
    }

    /// A folder that lives as long as the gate.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Starts the gate and waits until it listens.
    pub fn start(mut self) -> Gate {
        let stdin = std::mem::replace(&mut self.stdin, Stdio::null());
        let process = Process::start_with(&mut self.command(), stdin);
        self.ready(process)
    }

    /// `mx6 serve` with everything said so far.
    pub fn command(&self) -> Command {
        let mut words = self.wrapper.clone();
        words.push(binary().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["serve", "--hostname", "mx.example", "--cores", &self.cores.to_string()]);
        let [v6, v4, proxy] = self.listen.map(|address| address.to_string());
        command.args(["--listen", &v6, "--listen", &v4]);
        command.args(["--proxy-listen", &proxy, "--proxy-from", "127.0.0.0/8"]).args(&self.dns);
        command.args(self.domains.iter().flat_map(|domain| ["--domain", domain]));
        command.args(self.deliver.iter().flat_map(|target| ["--deliver", target]));
        command.arg("--log").arg(&self.log).args(&self.args);
        clean_environment(&mut command);
        command.current_dir(self.dir.path());
        command
    }

    fn ready(self, mut process: Process) -> Gate {
        let (v6, v4, proxy) = process.until_stderr("three `listening on` lines", |lines| {
            let addresses: Vec<SocketAddr> = listening_on(lines);
            let at = |ip: IpAddr| addresses.iter().copied().find(|address| address.ip() == ip);
            let v6 = at(Ipv6Addr::LOCALHOST.into())?;
            Some((v6, at(Ipv4Addr::LOCALHOST.into())?, at(PROXY_ADDRESS.into())?))
        });
        Gate { process, v6, v4, proxy, dir: self.dir }
    }
}

/// A running gate.
pub struct Gate {
    /// The process.
    pub process: Process,
    /// The IPv6 listener on `::1`.
    pub v6: SocketAddr,
    /// The IPv4 listener on `127.0.0.1`.
    pub v4: SocketAddr,
    /// The listener that demands a PROXY header.
    pub proxy: SocketAddr,
    dir: TempDir,
}

impl Gate {
    /// The quickstart gate, running.
    pub fn start() -> Gate {
        Setup::new().start()
    }

    /// Where mail goes.
    pub fn maildir(&self) -> PathBuf {
        self.dir.path().join("mail")
    }

    /// The decision records, once there are `count` of them.
    pub fn decisions(&self, count: usize) -> Vec<Value> {
        let file = self.dir.path().join("decisions.jsonl");
        until(&format!("{count} decision records in {}", file.display()), || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let records: Vec<Value> = whole
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
                .collect();
            (records.len() >= count).then_some(records)
        })
    }

    /// SIGTERM; the gate must end well, and soon.
    pub fn stop(mut self) {
        let start = Instant::now();
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr().join("\n"));
        assert!(start.elapsed() < PATIENCE);
    }
}

/// The addresses of the `listening on` lines.
pub fn listening_on(lines: &[String]) -> Vec<SocketAddr> {
    let told = lines.iter().filter_map(|line| line.split("listening on ").nth(1));
    told.filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).collect()
}

/// The binary under test.
pub fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_mx6").into()
}

/// `mx6` with those arguments, run to its end.
pub fn mx6(args: &[&str]) -> super::process::Ended {
    let mut command = Command::new(binary());
    clean_environment(command.args(args));
    run(&mut command)
}

/// The same with variables in its environment.
pub fn mx6_with(variables: &[(&str, &str)], args: &[&str]) -> super::process::Ended {
    let mut command = Command::new(binary());
    clean_environment(command.args(args));
    run(command.envs(variables.iter().copied()))
}

/// `mx6` with those arguments as a process, its standard output in a file.
pub fn mx6_into(file: &Path, args: &[&str]) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" >\"$OUT\"", "sh"]).arg(binary()).args(args).env("OUT", file);
    clean_environment(&mut command);
    Process::start(&mut command)
}

/// `mx6 check-config` with what every gate needs and those further arguments, run to its end. It asks
/// nobody.
pub fn check_config(more: &[&str]) -> super::process::Ended {
    let usual =
        ["check-config", "--offline", "--hostname", "mx.example", "--listen", "[::1]:0", "--deliver", "discard:"];
    mx6(&[&usual, more].concat())
}

/// Two shards, if this machine has two cores.
pub fn shards() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2))
}

/// Nobody's `MX6_...` settings decide a test.
fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MX6_")) {
        command.env_remove(name);
    }
}

/// Where a PROXY header is demanded.
const PROXY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
