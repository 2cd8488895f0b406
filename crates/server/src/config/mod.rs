//! Configuration: raw options become checked values once, at the start; nothing is checked again later.

mod checked;
mod command_line;
mod file;
mod layers;
mod options;
mod reference;
mod registry;
mod reply_url;
mod show;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mx6_delivery::{NextHopClient, Target, TargetError};
use mx6_dkim::kernels::KernelChoice;
use mx6_dns::{CacheSizes, DnsError};
use mx6_message_auth::MessageAuthCacheSizes;
use mx6_policy::limits::{LimitError, LimitRules};
use mx6_policy::{Connector, ConnectorError, DirectoryError, Gate};
use mx6_runtime::{Cores, CoresError};
use mx6_telemetry::{Level, LogTarget};

pub use file::FileError;
pub use layers::{Layers, Origin};
pub use options::{Options, REGISTRY, entry};
pub use reference::{reference, schema};
pub use registry::{Default, Entry, Group, Shape, Unit};
pub use reply_url::ReplyUrl;
pub use show::{Selection, to_json, to_toml};

use crate::dkim_batch::DkimBatchLimits;
use crate::privileges::RunAs;
use crate::tls::{CertificateConnector, CertificateConnectorError, CertificateFiles};

/// Everything that `serve` needs, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name.
    pub hostname: String,
    /// Where SMTP is taken.
    pub listen: Vec<SocketAddr>,
    /// Where a PROXY header is demanded first.
    pub proxy_listen: Vec<SocketAddr>,
    /// Who may connect there.
    pub proxy_from: Vec<IpNet>,
    /// One shard on each.
    pub cores: Cores,
    /// Where names are looked up.
    pub names: NameSource,
    /// How long one query may take.
    pub dns_timeout: Option<Duration>,
    /// How long after their TTL records stand in for a failing resolver.
    pub dns_stale: Duration,
    /// Names by which the resolver is watched: lower case, no final dot.
    pub dns_probes: Vec<String>,
    /// Domains, mode, kind of reverse DNS.
    pub gate: Gate,
    /// Partners known by their network.
    pub connectors: Vec<Connector>,
    /// What becomes of clients that speak before their turn.
    pub early_talker: EarlyTalker,
    /// What anonymous clients wait for the greeting.
    pub greet_delay: Duration,
    /// Partners known by their certificate.
    pub certificate_connectors: Vec<CertificateConnector>,
    /// Ours; none: TLS is not offered.
    pub certificates: Vec<CertificateFiles>,
    /// By address, prefix and verified identity.
    pub limits: LimitRules,
    /// Octets of the table that the limits need.
    pub limit_table_octets: u64,
    /// Where accepted mail goes.
    pub target: Target,
    /// How next hops learn who the client is.
    pub next_hop_client: NextHopClient,
    /// The first is written, all are ours.
    pub authserv_ids: Vec<String>,
    /// Octets.
    pub size_limit: u64,
    /// Octets of message memory for each shard.
    pub memory_octets: u64,
    /// Folder of temporary files.
    pub spill_dir: PathBuf,
    /// Octets.
    pub cache_octets: CacheOctets,
    /// How DKIM work is gathered.
    pub dkim_batch: DkimBatchLimits,
    /// Where decision records go.
    pub log: LogTarget,
    /// Of accepted recipients one in so many is recorded.
    pub log_sample: u64,
    /// Which messages are told on standard error.
    pub log_level: Level,
    /// A page about refusals.
    pub reply_url: Option<ReplyUrl>,
    /// Where decisions go as spans.
    pub otlp: Option<mx6_admin::Collector>,
    /// Where the admin endpoint listens.
    pub admin: Vec<mx6_admin::Address>,
    /// Which code hashes and verifies.
    pub kernels: KernelChoice,
    /// After SIGTERM.
    pub drain_timeout: Duration,
    /// Where listening sockets are handed over.
    pub handover: Option<PathBuf>,
    /// Whom to become, once everything is open.
    pub user: Option<RunAs>,
    /// Whether files that are not needed are put out of reach.
    pub sandbox: bool,
}

/// Bounds of the shared caches, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheOctets {
    /// PTR, A, AAAA, MX.
    pub ptr: u64,
    /// SPF records and results.
    pub spf: u64,
    /// DKIM keys and DMARC records.
    pub dkim: u64,
}

impl CacheOctets {
    /// The part for addresses and names: half for PTR, an eighth each for A, AAAA and MX, the rest for what the caches cost themselves.
    #[must_use]
    pub(crate) fn dns(&self) -> CacheSizes {
        CacheSizes { ptr_octets: self.ptr / 2, address_octets: self.ptr / 8, mx_octets: self.ptr / 8 }
    }

    /// The part for parsed TXT records. DMARC records share the DKIM keys' bound, a quarter for them; SPF results likewise that of the
    /// records.
    #[must_use]
    pub(crate) fn message_auth(&self) -> MessageAuthCacheSizes {
        let (dmarc_octets, spf_result_octets) = (self.dkim / 4, self.spf / 4);
        MessageAuthCacheSizes {
            spf_octets: self.spf - spf_result_octets,
            spf_result_octets,
            dkim_octets: self.dkim - dmarc_octets,
            dmarc_octets,
        }
    }
}

/// The fields that a reload leaves as they are, and the options they come from: the entries that are `fixed()`, as a test sees to.
macro_rules! fixed_fields {
    ($then:ident) => {
        $then! {
            hostname: "--hostname",
            listen: "--listen",
            proxy_listen: "--proxy-listen",
            cores: "--cores",
            names: "--dns-server or --zone",
            dns_timeout: "--dns-timeout-ms",
            dns_stale: "--dns-stale",
            dns_probes: "--dns-probe",
            authserv_ids: "--authserv-id",
            limit_table_octets: "--limit-table",
            memory_octets: "--memory",
            spill_dir: "--spill-dir",
            cache_octets: "--cache-ptr, --cache-spf or --cache-dkim",
            dkim_batch: "--dkim-batch-max or --dkim-batch-wait-us",
            log: "--log",
            otlp: "--otlp",
            admin: "--admin",
            kernels: "--kernels",
            handover: "--handover",
            user: "--user",
            sandbox: "--sandbox",
        }
    };
}

impl Config {
    /// Every file of certificates, keys and authorities.
    pub(crate) fn certificate_files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
        own.chain(self.certificate_connectors.iter().filter_map(CertificateConnector::authorities))
    }

    /// Takes from `running` what cannot change while the gate runs; names the options that would have.
    pub(crate) fn keep_what_is_fixed(&mut self, running: &Config) -> Vec<&'static str> {
        let mut kept = Vec::new();
        macro_rules! keep {
            ($($field:ident: $options:literal),* $(,)?) => {$(
                if self.$field != running.$field {
                    self.$field = running.$field.clone();
                    kept.push($options);
                }
            )*};
        }
        fixed_fields!(keep);
        kept
    }
}

/// What becomes of clients that speak before their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyTalker {
    /// Nobody looks.
    Ignore,
    /// It is counted and recorded.
    Record,
    /// And anonymous ones are turned away.
    Refuse,
}

/// Where names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameSource {
    /// These resolvers.
    Servers(Vec<SocketAddr>),
    /// Those of /etc/resolv.conf.
    System,
    /// A zone file, no network.
    Zone(PathBuf),
}

/// An option is missing or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not given, and there is no default.
    #[error("{option} is missing: {remedy}")]
    Missing {
        /// The option.
        option: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Given, but not usable.
    #[error("{option} `{value}`: {reason}")]
    Invalid {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// Given, but not even of the right kind.
    #[error("--{key}: {reason}")]
    Unreadable {
        /// The option.
        key: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        reason: String,
    },
    /// A variable of the environment.
    #[error("environment {variable}: {source}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with its value.
        source: Box<ConfigError>,
    },
    /// A domain entry.
    #[error("--domain: {0}")]
    Domain(#[from] DirectoryError),
    /// A connector.
    #[error("--connector: {0}")]
    Connector(#[from] ConnectorError),
    /// A partner's certificate.
    #[error("--connector-cert: {0}")]
    CertificateConnector(#[from] CertificateConnectorError),
    /// A limit.
    #[error("--limit: {0}")]
    Limit(#[from] LimitError),
    /// A resolver.
    #[error("--dns-server: {0}")]
    Resolver(#[from] DnsError),
    /// The cores.
    #[error("--cores: {0}")]
    Cores(#[from] CoresError),
    /// The target of delivery.
    #[error("--deliver: {0}")]
    Target(#[from] TargetError),
}

impl ConfigError {
    fn invalid(option: &'static str, value: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { option, value: value.to_owned(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
