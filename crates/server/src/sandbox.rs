//! The files that a running gate can reach: those that it needs, by Landlock (landlock(7)), as far as the kernel knows it.
//!
//! A rule stands for what is at a path now and all below. What is replaced by renaming (a configuration file by an editor, a certificate
//! by its client) is therefore allowed by its folder. The domain holds for this thread and those that it starts: it is entered before
//! there are others. Ports are not restricted: a reload may name other next hops and resolvers, and Landlock says nothing of UDP.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, path_beneath_rules,
};
use mx6_delivery::Target;
use mx6_telemetry::LogTarget;

use crate::Config;
use crate::config::NameSource;

/// The sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel refuses.
    #[error("the sandbox cannot be set up: {0}; --sandbox off starts without it")]
    Landlock(#[from] RulesetError),
    /// Threads that were started before would stay outside.
    #[error("the sandbox cannot be set up: {0} threads run already")]
    Threads(usize),
}

/// Restricts this thread and those that it will start to the files that `config` needs, and to read `also_read` and the folders they are
/// in. Says so when the kernel cannot, or not fully.
///
/// # Errors
/// If the kernel refuses, or threads run already.
pub(crate) fn enter(config: &Config, also_read: &[PathBuf]) -> Result<(), SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(SandboxError::Threads(threads));
    }
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let write = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM_READ, read))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(readable(config, also_read), read))?
        .add_rules(path_beneath_rules(writable(config), write))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => {
            mx6_telemetry::warning!(
                "sandbox: this kernel's Landlock is older than Linux 6.2, files can be truncated everywhere"
            );
        }
        RulesetStatus::NotEnforced => {
            mx6_telemetry::warning!(
                "sandbox: this kernel has no Landlock, files are protected by their permissions alone"
            );
        }
    }
    Ok(())
}

fn readable(config: &Config, also_read: &[PathBuf]) -> Vec<PathBuf> {
    let zone = match &config.names {
        NameSource::Zone(path) => Some(path),
        _ => None,
    };
    let named = also_read
        .iter()
        .chain(zone)
        .chain(config.certificate_files())
        .flat_map(|path| [folder_of(path), folder_of(&target_of(path))]);
    // Those of the system are often links, and what they point to is replaced; /etc itself would be too much.
    let system = SYSTEM_FILES.iter().map(|path| target_of(Path::new(path)));
    named.chain(system.map(|file| if file.starts_with("/etc") { file } else { folder_of(&file) })).collect()
}

fn writable(config: &Config) -> Vec<PathBuf> {
    let log = match &config.log {
        LogTarget::File(path) => Some(folder_of(path)),
        LogTarget::Stdout | LogTarget::Journal => None,
    };
    let maildir = match &config.target {
        Target::Maildir(path) => Some(path.clone()),
        _ => None,
    };
    std::iter::once(config.spill_dir.clone()).chain(log).chain(maildir).collect()
}

/// What a link points to.
fn target_of(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The folder that a file is in; for one in the root folder the file itself, for that folder would be everything.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => ".".into(),
        Some(parent) if parent != Path::new("/") => parent.to_owned(),
        _ => path.to_owned(),
    }
}

/// The version whose rights are handled; what an older kernel does not know is left out.
const NEWEST: ABI = ABI::V3;
/// What is looked up later: the load of the machine and of this process, its CPUs and cgroup, what getaddrinfo(3) loads and reads.
const SYSTEM_READ: [&str; 9] = [
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
];
/// What getaddrinfo(3) and the resolver's configuration read.
const SYSTEM_FILES: [&str; 7] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
];
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];
