//! `check-config`: reads and checks everything that `serve` would use, and never binds a port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mx6_delivery::Target;
use mx6_dkim::Kernels;
use mx6_dkim::kernels::KernelError;
use mx6_dns::{DnsConfig, DnsError, Zone};
use mx6_telemetry::LogTarget;

use crate::config::NameSource;
use crate::reload::load_tls;
use crate::tls::TlsError;
use crate::{Config, ConfigError, Options};

/// The configuration is usable; this is what it says.
#[derive(Debug)]
pub struct CheckReport {
    /// One line for each thing that was found.
    pub lines: Vec<String>,
}

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

/// Checks `options`: every value, the zone file, the resolvers' addresses, the cores.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(options: Options) -> Result<CheckReport, CheckError> {
    let domains = internationalized(&options.domain);
    let config = options.check()?;
    dns_config(&config.names, config.dns_timeout)?;
    check_folders(&config)?;
    load_tls(&config)?;
    let kernels = Kernels::select(config.kernels)?.kernels;
    let mut lines = summary(&config);
    lines.extend(domains);
    lines.push(format!("kernels {kernels}"));
    Ok(CheckReport { lines })
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
fn internationalized(domains: &[String]) -> Vec<String> {
    let names = domains.iter().filter_map(|entry| Some(entry.split_once('=')?.0.trim()));
    let a_labels = |name: &str| {
        let suffix = name.strip_prefix("*.").unwrap_or(name);
        let a_labels = mx6_policy::a_labels(suffix).ok()?;
        Some(format!("domain {name} is {}{a_labels}", &name[..name.len() - suffix.len()]))
    };
    names.filter(|name| !name.is_ascii()).filter_map(a_labels).collect()
}

fn summary(config: &Config) -> Vec<String> {
    let names = match &config.names {
        NameSource::Servers(servers) => format!("resolvers {servers:?}"),
        NameSource::System => "resolvers of /etc/resolv.conf".to_owned(),
        NameSource::Zone(path) => format!("zone file {}", path.display()),
    };
    vec![
        format!("hostname {}", config.hostname),
        format!("listen {:?}, PROXY {:?}", config.listen, config.proxy_listen),
        format!("cores {:?}", config.cores.cpus()),
        format!("names from {names}"),
        format!("mode {:?}, reverse DNS {:?}", config.gate.mode, config.gate.ptr),
        format!("deliver to {:?}", config.target),
        format!(
            "certificates {}, partners known by theirs {}",
            config.certificates.len(),
            config.certificate_connectors.len()
        ),
    ]
}
