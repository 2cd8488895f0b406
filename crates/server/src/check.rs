//! `check-config`: reads and checks everything that `serve` would use, and never binds a port.

use std::time::Duration;

use mx6_dns::{DnsConfig, DnsError, Zone};

use crate::config::NameSource;
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
}

/// Checks `options`: every value, the zone file, the resolvers' addresses, the cores.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(options: Options) -> Result<CheckReport, CheckError> {
    let config = options.check()?;
    dns_config(&config.names, config.dns_timeout)?;
    Ok(CheckReport { lines: summary(&config) })
}

/// How names are looked up, by configuration.
///
/// # Errors
/// If the zone file or /etc/resolv.conf cannot be used.
pub(crate) fn dns_config(names: &NameSource, query_timeout: Duration) -> Result<DnsConfig, DnsError> {
    let config = match names {
        NameSource::Servers(servers) => DnsConfig { servers: servers.clone(), ..DnsConfig::default() },
        NameSource::System => DnsConfig::from_resolv_conf(std::path::Path::new("/etc/resolv.conf"))?,
        NameSource::Zone(path) => DnsConfig { zone: Some(Zone::load(path)?), ..DnsConfig::default() },
    };
    Ok(DnsConfig { query_timeout, ..config })
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
    ]
}
