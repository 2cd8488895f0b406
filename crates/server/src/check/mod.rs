//! `check-config`: reads and checks everything that `serve` would use, and never binds a port.
//!
//! Options first, all that is wrong with them at once; only if they are right the files, the machine, and whom the gate depends on.

mod certificates;
mod machine;
mod network;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use mx6_delivery::Target;
use mx6_dkim::Kernels;
use mx6_dkim::kernels::KernelError;
use mx6_dns::{DnsConfig, DnsError, Zone};
use mx6_telemetry::LogTarget;

use crate::config::{Layers, NameSource};

use crate::tls::TlsError;
use crate::{Config, ConfigError};

pub use report::{Check, CheckReport, Fault, Status};

/// Why the configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// An option.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Resolvers or zone file.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A kernel that this CPU cannot run.
    #[error("--kernels: {0}; use auto, or leave the option out")]
    Kernels(#[from] KernelError),
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Certificates.
    #[error("--tls-cert: {0}")]
    Tls(#[from] TlsError),
}

/// A folder that is written to does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{option}: {path} is not a folder; create it, or name another", path = path.display())]
pub struct FolderError {
    option: &'static str,
    path: PathBuf,
}

/// Whether the folders that are written to exist. A Maildir is made by `serve`, the folder above it is not.
///
/// # Errors
/// The first that does not exist.
pub(crate) fn check_folders(config: &Config) -> Result<(), FolderError> {
    let folder = |option, path: &Path| {
        // A relative path of one part lies in the working directory.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        if path.is_dir() { Ok(()) } else { Err(FolderError { option, path: path.to_owned() }) }
    };
    folder("--spill-dir", &config.spill_dir)?;
    if let LogTarget::File(path) = &config.log {
        folder("--log", path.parent().unwrap_or(Path::new("/")))?;
    }
    if let Target::Maildir(path) = &config.target {
        folder("--deliver maildir:", path.parent().unwrap_or(Path::new("/")))?;
    }
    Ok(())
}

/// Checks everything; resolvers and next hops only if `ask_network`.
#[must_use]
pub fn check(layers: Layers, ask_network: bool) -> CheckReport {
    let options = layers.options().clone();
    let faults = layers.into_faults();
    if !faults.is_empty() {
        return CheckReport { checks: faults.iter().map(Check::of_option).collect() };
    }
    let domains = internationalized(&options.domain);
    let config = match options.check() {
        Ok(config) => config,
        Err(error) => return CheckReport { checks: vec![Check::of_option(&error)] },
    };
    let mut checks = summary(&config);
    checks.extend(domains);
    checks.push(kernels(&config));
    checks.extend(folders(&config));
    checks.extend(certificates::checks(&config));
    let dns = dns_config(&config.names, config.dns_timeout);
    if let Err(error) = &dns {
        checks.push(Check::new("DNS", "names", WRONG, error.to_string()));
    }
    if let (Ok(dns), true) = (&dns, ask_network) {
        checks.extend(network::checks(&config, dns));
    }
    checks.extend(machine::checks(&config));
    CheckReport { checks }
}

const WRONG: Status = Status::Error(Fault::Configuration);

fn kernels(config: &Config) -> Check {
    match Kernels::select(config.kernels) {
        Ok(selection) => Check::new("options", "CPU", Status::Ok, format!("kernels {}", selection.kernels)),
        Err(error) => Check::new("options", "CPU", WRONG, CheckError::from(error).to_string()),
    }
}

/// Whether the folders are there and, unless another user will write there, writable for us.
fn folders(config: &Config) -> Vec<Check> {
    let mut folders = vec![("--spill-dir", config.spill_dir.as_path())];
    if let LogTarget::File(path) = &config.log {
        folders.push(("--log", path.parent().unwrap_or(Path::new("/"))));
    }
    if let Target::Maildir(path) = &config.target {
        folders
            .push(("--deliver maildir:", if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("/")) }));
    }
    let check = |(option, path): (&'static str, &Path)| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        if !path.is_dir() {
            let error = FolderError { option, path: path.to_owned() };
            return Check::new("files", option, WRONG, error.to_string());
        }
        let shown = path.display();
        match rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
            Ok(()) => Check::new("files", option, Status::Ok, format!("{shown} can be written")),
            Err(error) if config.user.is_none() => {
                Check::new("files", option, WRONG, format!("{option}: {shown} cannot be written: {error}"))
                    .remedy("give it to the user of the gate, or name another folder")
            }
            Err(_) => Check::new("files", option, Status::Warning, format!("{shown} cannot be written by us")),
        }
    };
    folders.into_iter().map(check).collect()
}

/// How names are looked up, by configuration.
///
/// # Errors
/// If the zone file or /etc/resolv.conf cannot be used.
pub(crate) fn dns_config(names: &NameSource, query_timeout: Option<Duration>) -> Result<DnsConfig, DnsError> {
    let mut config = match names {
        NameSource::Servers(servers) => DnsConfig { servers: servers.clone(), ..DnsConfig::default() },
        NameSource::System => DnsConfig::from_resolv_conf(std::path::Path::new("/etc/resolv.conf"))?,
        NameSource::Zone(path) => DnsConfig { zone: Some(Zone::load(path)?), ..DnsConfig::default() },
    };
    if let Some(query_timeout) = query_timeout {
        config.query_timeout = query_timeout;
    }
    config.check()?;
    Ok(config)
}

/// The domains that were not written in the form in which they are compared.
fn internationalized(domains: &[String]) -> Vec<Check> {
    let names = domains.iter().filter_map(|entry| Some(entry.split_once('=')?.0.trim()));
    let a_labels = |name: &str| {
        let suffix = name.strip_prefix("*.").unwrap_or(name);
        let a_labels = mx6_policy::a_labels(suffix).ok()?;
        let text = format!("domain {name} is {}{a_labels}", &name[..name.len() - suffix.len()]);
        Some(Check::new("options", "domain", Status::Ok, text))
    };
    names.filter(|name| !name.is_ascii()).filter_map(a_labels).collect()
}

/// What was understood.
fn summary(config: &Config) -> Vec<Check> {
    let names = match &config.names {
        NameSource::Servers(servers) => format!("resolvers {}", list(servers)),
        NameSource::System => "resolvers of /etc/resolv.conf".to_owned(),
        NameSource::Zone(path) => format!("zone file {}", path.display()),
    };
    let target = match &config.target {
        Target::Smtp(hops) => format!("SMTP to {}", list(hops)),
        Target::Lmtp(hops) => format!("LMTP to {}", list(hops)),
        Target::Maildir(path) => format!("Maildir {}", path.display()),
        Target::Discard => "nowhere: every message is dropped".to_owned(),
    };
    let ok = |name: &str, text: String| Check::new("options", name, Status::Ok, text);
    let mut checks = vec![ok("hostname", config.hostname.clone())];
    if !config.listen.is_empty() {
        checks.push(ok("listen", list(&config.listen)));
    }
    if !config.proxy_listen.is_empty() {
        checks.push(ok("proxy-listen", list(&config.proxy_listen)));
    }
    checks.extend([
        ok("names", format!("from {names}")),
        ok("rules", format!("mode {:?}, reverse DNS {:?}", config.gate.mode, config.gate.ptr).to_lowercase()),
        ok("deliver", target),
    ]);
    if config.gate.directory.is_empty() {
        let none = Check::new("options", "domain", Status::Warning, "no domain is served: every recipient is refused");
        checks.push(none.remedy("--domain NAME=accept, or a table [domain] in the file"));
    }
    checks
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
