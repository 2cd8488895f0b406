//! What a machine is: read from `/proc`, `/sys` and `/etc` under a root that tests can choose.
//!
//! Trusts the kernel. A file that is absent or says something else than expected is an unknown, never a fault: containers hide much.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::cgroup;

/// The facts that the recommendations follow from. None is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What is said of the machine as a whole: this one, or one that was only described.
    pub is_described: bool,
    /// CPUs this process may use, in ascending order.
    pub cpus: Vec<Cpu>,
    /// CPU time a cgroup grants, in thousandths of a CPU.
    pub cpu_quota_milli: Option<u64>,
    /// What the CPU can do that a kernel of ours could use; of those the list below names.
    pub cpu_features: Vec<&'static str>,
    /// `MemTotal`.
    pub memory_octets: u64,
    /// The lowest limit of the cgroups this process is in.
    pub memory_limit_octets: Option<u64>,
    /// `RLIMIT_NOFILE`: the hard limit.
    pub open_files: Option<u64>,
    /// `RLIMIT_MEMLOCK`: the hard limit, in octets.
    pub locked_octets: Option<u64>,
    /// `6.18.44`
    pub kernel: Option<String>,
    /// Whether io_uring can be set up here; what stands in the way, if it cannot.
    pub io_uring: Option<Result<(), String>>,
    /// Kernel settings, by the names of sysctl(8).
    pub settings: Vec<(&'static str, String)>,
    /// Those of `/etc/resolv.conf`.
    pub resolvers: Vec<IpAddr>,
}

/// One CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// As Linux counts them.
    pub number: usize,
    /// The lowest number among the threads of its physical core.
    pub physical: usize,
    /// NUMA node.
    pub node: usize,
}

/// Features of the processor that a hash or signature kernel could use, as `/proc/cpuinfo` calls them.
const CPU_FEATURES: [&str; 8] = ["avx2", "sha_ni", "vaes", "avx512f", "avx512bw", "avx512vl", "avx512ifma", "sha2"];

/// The kernel settings that are looked at.
const SETTINGS: [&str; 10] = [
    "kernel.io_uring_disabled",
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_migrate_req",
    "net.netfilter.nf_conntrack_max",
    "fs.nr_open",
    "fs.file-max",
];

/// The machine cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Neither `/proc/self/status` nor `/sys` says which CPUs there are.
    #[error("{path}: does not say which CPUs this process may use; is /proc mounted?", path = .0.display())]
    Cpus(PathBuf),
    /// No `MemTotal`.
    #[error("{path}: does not say how much memory there is; is /proc mounted?", path = .0.display())]
    Memory(PathBuf),
}

impl Facts {
    /// Reads the machine whose file systems are at `root` (`/` for this one).
    ///
    /// # Errors
    /// If CPUs or memory are not told.
    pub fn read(root: &Path) -> Result<Facts, FactsError> {
        let root = Root(root);
        let limits = root.text("proc/self/limits").unwrap_or_default();
        Ok(Facts {
            is_described: false,
            cpus: root.cpus()?,
            cpu_quota_milli: cgroup::cpu_quota_milli(root.0),
            cpu_features: root.cpu_features(),
            memory_octets: root.memory_octets()?,
            memory_limit_octets: cgroup::memory_limit_octets(root.0),
            open_files: hard_limit(&limits, "Max open files"),
            locked_octets: hard_limit(&limits, "Max locked memory"),
            kernel: root.text("proc/sys/kernel/osrelease"),
            io_uring: None,
            settings: SETTINGS.iter().filter_map(|name| Some((*name, root.setting(name)?))).collect(),
            resolvers: root.resolvers(),
        })
    }

    /// A machine of which only this is known.
    #[must_use]
    pub fn described(cores: usize, memory_octets: u64) -> Facts {
        let cpu = |number| Cpu { number, physical: number, node: 0 };
        Facts { is_described: true, cpus: (0..cores).map(cpu).collect(), memory_octets, ..Facts::default() }
    }

    /// A kernel setting as the kernel writes it.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A kernel setting that is one number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.parse().ok()
    }

    /// The memory that this process may use: the machine's, or less by its cgroup.
    #[must_use]
    pub fn usable_octets(&self) -> u64 {
        self.memory_limit_octets.map_or(self.memory_octets, |limit| limit.min(self.memory_octets))
    }
}

/// Where the file systems begin.
struct Root<'p>(&'p Path);

impl Root<'_> {
    /// A file without the blanks around it.
    fn text(&self, path: &str) -> Option<String> {
        Some(std::fs::read_to_string(self.0.join(path)).ok()?.trim().to_owned())
    }

    fn setting(&self, name: &str) -> Option<String> {
        let text = self.text(&format!("proc/sys/{}", name.replace('.', "/")))?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn cpus(&self) -> Result<Vec<Cpu>, FactsError> {
        let status = self.text("proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(str::to_owned);
        let list = allowed.or_else(|| self.text("sys/devices/system/cpu/online")).unwrap_or_default();
        let mut numbers = numbers(&list);
        // The mask of a process may name more than there are.
        if let Some(online) = self.text("sys/devices/system/cpu/online") {
            let online = self::numbers(&online);
            numbers.retain(|number| online.contains(number));
        }
        if numbers.is_empty() {
            return Err(FactsError::Cpus(self.0.join("proc/self/status")));
        }
        let nodes = self.nodes();
        let cpu = |number: usize| {
            let siblings = self.text(&format!("sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"));
            let physical = siblings.and_then(|list| self::numbers(&list).first().copied()).unwrap_or(number);
            let node = nodes.iter().position(|cpus| cpus.contains(&number)).unwrap_or(0);
            Cpu { number, physical, node }
        };
        Ok(numbers.into_iter().map(cpu).collect())
    }

    /// The CPUs of each NUMA node.
    fn nodes(&self) -> Vec<Vec<usize>> {
        let node = |node| self.text(&format!("sys/devices/system/node/node{node}/cpulist"));
        (0..NODES_MAX).map_while(node).map(|list| numbers(&list)).collect()
    }

    fn cpu_features(&self) -> Vec<&'static str> {
        let info = self.text("proc/cpuinfo").unwrap_or_default();
        // `flags` on x86, `Features` on ARM.
        let line = info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        CPU_FEATURES.into_iter().filter(|feature| words.contains(feature)).collect()
    }

    fn memory_octets(&self) -> Result<u64, FactsError> {
        let info = self.text("proc/meminfo").unwrap_or_default();
        let kib = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        kib.map(|kib: u64| kib << 10).ok_or_else(|| FactsError::Memory(self.0.join("proc/meminfo")))
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        let text = self.text("etc/resolv.conf").unwrap_or_default();
        let server = |line: &str| {
            let mut words = line.split_whitespace();
            // A scope (`fe80::1%eth0`) says where, not what.
            (words.next()? == "nameserver").then(|| words.next()?.split('%').next()?.parse().ok()).flatten()
        };
        text.lines().filter_map(server).collect()
    }
}

/// The second number of a line of `/proc/self/limits`; `unlimited` is the largest.
fn hard_limit(limits: &str, name: &str) -> Option<u64> {
    let hard = limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().nth(1))?;
    if hard == "unlimited" { Some(u64::MAX) } else { hard.parse().ok() }
}

/// `0-2,6` as Linux writes lists of CPUs; what is no list is empty.
pub(super) fn numbers(list: &str) -> Vec<usize> {
    let part = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (last < CPUS_MAX).then_some(first..=last)
    };
    list.split(',').filter_map(part).flatten().collect()
}

/// More than any kernel is built for.
const CPUS_MAX: usize = 8_192;
const NODES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
