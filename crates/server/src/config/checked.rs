//! Raw options become checked values: what each may be, and what is said of one that cannot be used.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use mx6_delivery::{NextHopClient, Target};
use mx6_dkim::kernels::{KernelChoice, KernelError};
use mx6_dns::DnsConfig;
use mx6_policy::limits::LimitRules;
use mx6_policy::{Connector, Directory, Gate, Mode, PtrMode, a_labels, canonical_network};
use mx6_runtime::Cores;
use mx6_telemetry::{Level, LogTarget};

use super::layers::Layers;
use super::{CacheOctets, Config, ConfigError, EarlyTalker, NameSource, Options, ReplyUrl};
use crate::dkim_batch::DkimBatchLimits;
use crate::limits;
use crate::privileges::RunAs;
use crate::tls::{CertificateConnector, CertificateFiles};

impl Options {
    /// These options, which are those of the command line, over those of the environment and of the file, if there is one.
    ///
    /// # Errors
    /// At the first thing in the environment or the file that cannot be used.
    pub fn over_file(self, path: Option<&std::path::Path>) -> Result<Options, ConfigError> {
        Layers::read(self, path).into_options()
    }

    /// Checks what was given for one option, as if nothing else were given.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(super) fn check_alone(key: &'static str, texts: Vec<std::ffi::OsString>) -> Result<(), ConfigError> {
        let mut alone = Options::default();
        let value = texts.iter().map(|text| text.to_string_lossy()).collect::<Vec<_>>().join(",");
        alone.set(key, texts).map_err(|reason| ConfigError::Unreadable { key, value, reason })?;
        alone.check_values()
    }

    /// What is missing, or does not go together with something else.
    pub(super) fn missing(&self) -> Vec<ConfigError> {
        let mut missing = Vec::new();
        if self.hostname.is_none() {
            let remedy = "give our fully qualified name, such as mx.example.com";
            missing.push(ConfigError::Missing { option: "--hostname", remedy });
        }
        if self.listen.is_empty() && self.proxy_listen.is_empty() && !mx6_runtime::activation_is_offered() {
            missing.push(ConfigError::Missing { option: "--listen", remedy: "give an address, such as '[::]:25'" });
        }
        if !self.proxy_listen.is_empty() && self.proxy_from.is_empty() {
            let remedy = "a PROXY listener believes whoever connects; name the proxies, such as ::1/128";
            missing.push(ConfigError::Missing { option: "--proxy-from", remedy });
        }
        if self.deliver.is_empty() {
            let remedy = "say where accepted mail goes: smtp://HOST:PORT, lmtp://HOST:PORT, maildir:PATH or discard:";
            missing.push(ConfigError::Missing { option: "--deliver", remedy });
        }
        missing.extend(self.certificates().err());
        if self.zone.is_some() && !self.dns_server.is_empty() {
            missing.extend(self.name_source().err());
        }
        missing
    }

    /// Checks what is given, without asking for what is not.
    ///
    /// # Errors
    /// At the first value that cannot be used.
    pub(super) fn check_values(&self) -> Result<(), ConfigError> {
        if self.hostname.is_some() {
            self.checked_hostname()?;
        }
        socket_addresses("--listen", &self.listen)?;
        socket_addresses("--proxy-listen", &self.proxy_listen)?;
        networks("--proxy-from", &self.proxy_from)?;
        self.cores.as_deref().map(Cores::parse).transpose()?;
        self.name_source()?;
        self.dns_timeout()?;
        self.checked_dns_stale()?;
        self.checked_dns_probes()?;
        self.gate()?;
        self.connectors()?;
        self.certificate_connectors()?;
        self.early_talker()?;
        self.greet_delay()?;
        LimitRules::parse_all(&self.limit)?;
        mebibytes("--limit-table", self.limit_table, limits::LIMIT_TABLE_MIB_DEFAULT)?;
        if !self.deliver.is_empty() {
            Target::parse_all(&self.deliver)?;
        }
        self.checked_next_hop_client()?;
        self.checked_size_limit()?;
        mebibytes("--memory", self.memory, limits::MEMORY_MIB_DEFAULT)?;
        self.kernel_choice()?;
        self.cache_octets()?;
        self.checked_log_sample()?;
        self.checked_log_level()?;
        self.checked_admin()?;
        self.run_as()?;
        self.is_sandboxed()?;
        self.dkim_batch().map(|_| ())
    }

    /// The checked configuration of a server.
    ///
    /// # Errors
    /// At the first option that is missing or cannot be used.
    pub fn check(self) -> Result<Config, ConfigError> {
        self.check_values()?;
        if let Some(first) = self.missing().into_iter().next() {
            return Err(first);
        }
        let hostname = self.checked_hostname()?;
        let mut authserv_ids = self.authserv_id.clone();
        if authserv_ids.is_empty() {
            authserv_ids.push(hostname.clone());
        }
        Ok(Config {
            listen: socket_addresses("--listen", &self.listen)?,
            proxy_listen: socket_addresses("--proxy-listen", &self.proxy_listen)?,
            proxy_from: networks("--proxy-from", &self.proxy_from)?,
            cores: Cores::parse(self.cores.as_deref().unwrap_or("1"))?,
            names: self.name_source()?,
            dns_timeout: self.dns_timeout()?,
            dns_stale: self.checked_dns_stale()?,
            dns_probes: self.checked_dns_probes()?,
            gate: self.gate()?,
            connectors: self.connectors()?,
            early_talker: self.early_talker()?,
            greet_delay: self.greet_delay()?,
            certificate_connectors: self.certificate_connectors()?,
            certificates: self.certificates()?,
            limits: LimitRules::parse_all(&self.limit)?,
            limit_table_octets: mebibytes("--limit-table", self.limit_table, limits::LIMIT_TABLE_MIB_DEFAULT)?,
            target: Target::parse_all(&self.deliver)?,
            next_hop_client: self.checked_next_hop_client()?,
            authserv_ids,
            size_limit: self.checked_size_limit()?,
            memory_octets: mebibytes("--memory", self.memory, limits::MEMORY_MIB_DEFAULT)?,
            spill_dir: self.spill_dir.clone().unwrap_or_else(std::env::temp_dir),
            cache_octets: self.cache_octets()?,
            dkim_batch: self.dkim_batch()?,
            log: self.log_target(),
            log_sample: self.checked_log_sample()?,
            log_level: self.checked_log_level()?,
            reply_url: self.checked_reply_url()?,
            admin: self.checked_admin()?,
            otlp: self.checked_otlp()?,
            kernels: self.kernel_choice()?,
            drain_timeout: Duration::from_secs(self.drain_timeout.unwrap_or(limits::DRAIN_TIMEOUT_S_DEFAULT)),
            handover: self.handover.clone(),
            user: self.run_as()?,
            sandbox: self.is_sandboxed()?,
            hostname,
        })
    }

    fn checked_hostname(&self) -> Result<String, ConfigError> {
        let Some(hostname) = self.hostname.as_deref() else {
            let remedy = "give our fully qualified name, such as mx.example.com";
            return Err(ConfigError::Missing { option: "--hostname", remedy });
        };
        if !hostname.is_ascii() {
            let reason = match a_labels(hostname) {
                Ok(a_labels) => format!("must be ASCII; write {a_labels}"),
                Err(reason) => format!("must be ASCII, in A-labels (xn--…); and {reason}"),
            };
            return Err(ConfigError::invalid("--hostname", hostname, reason));
        }
        if !is_domain_name(hostname, b"-") {
            return Err(ConfigError::invalid(
                "--hostname",
                hostname,
                "is not a domain name (letters, digits, hyphens, dots)",
            ));
        }
        Ok(hostname.to_ascii_lowercase())
    }

    pub(crate) fn checked_size_limit(&self) -> Result<u64, ConfigError> {
        let octets = self.size_limit.unwrap_or(limits::SIZE_LIMIT_OCTETS_DEFAULT);
        if !(limits::SIZE_LIMIT_OCTETS_MIN..=limits::SIZE_LIMIT_OCTETS_MAX).contains(&octets) {
            let reason =
                format!("must lie between {} and {}", limits::SIZE_LIMIT_OCTETS_MIN, limits::SIZE_LIMIT_OCTETS_MAX);
            return Err(ConfigError::invalid("--size-limit", &octets.to_string(), reason));
        }
        Ok(octets)
    }

    fn checked_next_hop_client(&self) -> Result<NextHopClient, ConfigError> {
        let text = self.next_hop_client.as_deref().unwrap_or("none");
        let reason = "is not one of none, xforward, xclient, proxy";
        text.parse().map_err(|()| ConfigError::invalid("--next-hop-client", text, reason))
    }

    /// Domains, mode and kind of reverse DNS.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn gate(&self) -> Result<Gate, ConfigError> {
        let mut directory = Directory::default();
        for entry in &self.domain {
            let Some((domain, mode)) = entry.split_once('=') else {
                return Err(ConfigError::invalid("--domain", entry, "write DOMAIN=accept, =reject or =monitor"));
            };
            directory.insert(domain.trim(), mode.trim().parse()?)?;
        }
        let mode = match self.mode.as_deref() {
            None | Some("enforce") => Mode::Enforce,
            Some("monitor") => Mode::Monitor,
            Some(other) => return Err(ConfigError::invalid("--mode", other, "is not one of enforce, monitor")),
        };
        let ptr = match self.ptr.as_deref() {
            None | Some("exists") => PtrMode::Exists,
            Some("fcrdns") => PtrMode::Fcrdns,
            Some(other) => return Err(ConfigError::invalid("--ptr", other, "is not one of exists, fcrdns")),
        };
        Ok(Gate { directory, mode, ptr, one_domain: self.one_domain })
    }

    /// The partners.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn connectors(&self) -> Result<Vec<Connector>, ConfigError> {
        self.connector.iter().map(|text| text.parse().map_err(ConfigError::from)).collect()
    }

    fn certificate_connectors(&self) -> Result<Vec<CertificateConnector>, ConfigError> {
        self.connector_cert.iter().map(|text| text.parse().map_err(ConfigError::from)).collect()
    }

    fn early_talker(&self) -> Result<EarlyTalker, ConfigError> {
        match self.early_talker.as_deref() {
            Some("ignore") => Ok(EarlyTalker::Ignore),
            None | Some("record") => Ok(EarlyTalker::Record),
            Some("refuse") => Ok(EarlyTalker::Refuse),
            Some(other) => Err(ConfigError::invalid("--early-talker", other, "is not one of ignore, record, refuse")),
        }
    }

    fn greet_delay(&self) -> Result<Duration, ConfigError> {
        let ms = self.greet_delay_ms.unwrap_or(0);
        if ms > limits::GREET_DELAY_MS_MAX {
            let reason = format!("must not be more than {}", limits::GREET_DELAY_MS_MAX);
            return Err(ConfigError::invalid("--greet-delay-ms", &ms.to_string(), reason));
        }
        Ok(Duration::from_millis(ms))
    }

    /// Certificates with their keys.
    fn certificates(&self) -> Result<Vec<CertificateFiles>, ConfigError> {
        let (chains, keys) = (&self.tls_cert, if self.tls_key.is_empty() { &self.tls_cert } else { &self.tls_key });
        if chains.len() != keys.len() {
            let remedy = "name as many keys as certificates, in the same order, or none if each lies in the file of its certificate";
            let option = if chains.len() > keys.len() { "--tls-key" } else { "--tls-cert" };
            return Err(ConfigError::Missing { option, remedy });
        }
        if chains.is_empty() && !self.connector_cert.is_empty() {
            let remedy = "partners show their certificate inside TLS, which needs one of ours";
            return Err(ConfigError::Missing { option: "--tls-cert", remedy });
        }
        let files = chains.iter().zip(keys);
        Ok(files.map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() }).collect())
    }

    /// Where names are looked up.
    ///
    /// # Errors
    /// If a resolver's address cannot be read.
    pub fn name_source(&self) -> Result<NameSource, ConfigError> {
        if let Some(zone) = &self.zone {
            if !self.dns_server.is_empty() {
                let reason = "names come from a zone file or from --dns-server, not from both; leave one out";
                return Err(ConfigError::invalid("--zone", &zone.display().to_string(), reason));
            }
            return Ok(NameSource::Zone(zone.clone()));
        }
        if self.dns_server.is_empty() {
            return Ok(NameSource::System);
        }
        let servers: Result<_, _> = self.dns_server.iter().map(|text| DnsConfig::parse_server(text)).collect();
        Ok(NameSource::Servers(servers?))
    }

    /// The choice as it is written; whether this CPU can follow it is seen when the kernels are selected.
    fn kernel_choice(&self) -> Result<KernelChoice, ConfigError> {
        let text = self.kernels.as_deref().unwrap_or("auto");
        text.parse().map_err(|error: KernelError| ConfigError::invalid("--kernels", text, error.to_string()))
    }

    /// How long one query may take, if that was given.
    ///
    /// # Errors
    /// If it is no time at all or longer than any deadline.
    pub fn dns_timeout(&self) -> Result<Option<Duration>, ConfigError> {
        let Some(ms) = self.dns_timeout_ms else { return Ok(None) };
        if !(limits::DNS_TIMEOUT_MS_MIN..=limits::DNS_TIMEOUT_MS_MAX).contains(&ms) {
            let reason = format!("must lie between {} and {}", limits::DNS_TIMEOUT_MS_MIN, limits::DNS_TIMEOUT_MS_MAX);
            return Err(ConfigError::invalid("--dns-timeout-ms", &ms.to_string(), reason));
        }
        Ok(Some(Duration::from_millis(ms)))
    }

    /// How long after their TTL records stand in for a failing resolver.
    fn checked_dns_stale(&self) -> Result<Duration, ConfigError> {
        let seconds = self.dns_stale.unwrap_or(limits::DNS_STALE_S_DEFAULT);
        if seconds > limits::DNS_STALE_S_MAX {
            let reason = format!("must lie between 0 and {} (three days, RFC 8767 §5)", limits::DNS_STALE_S_MAX);
            return Err(ConfigError::invalid("--dns-stale", &seconds.to_string(), reason));
        }
        Ok(Duration::from_secs(seconds))
    }

    /// Names by which the resolver is watched.
    fn checked_dns_probes(&self) -> Result<Vec<String>, ConfigError> {
        let names = self.dns_probe.iter().map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
        let names: Vec<String> = names.collect();
        if let Some(name) = names.iter().find(|name| !is_domain_name(name, b"-_")) {
            return Err(ConfigError::invalid("--dns-probe", name, "is not a domain name"));
        }
        match names.get(limits::DNS_PROBES_MAX) {
            Some(name) => {
                Err(ConfigError::invalid("--dns-probe", name, format!("is one more than {}", limits::DNS_PROBES_MAX)))
            }
            None => Ok(names),
        }
    }

    /// Bounds of the caches.
    ///
    /// # Errors
    /// If one is zero or absurd.
    pub fn cache_octets(&self) -> Result<CacheOctets, ConfigError> {
        Ok(CacheOctets {
            ptr: mebibytes("--cache-ptr", self.cache_ptr, limits::CACHE_PTR_MIB_DEFAULT)?,
            spf: mebibytes("--cache-spf", self.cache_spf, limits::CACHE_SPF_MIB_DEFAULT)?,
            dkim: mebibytes("--cache-dkim", self.cache_dkim, limits::CACHE_DKIM_MIB_DEFAULT)?,
        })
    }

    /// Of accepted recipients one in so many is recorded.
    fn checked_log_sample(&self) -> Result<u64, ConfigError> {
        match self.log_sample {
            Some(0) => Err(ConfigError::invalid("--log-sample", "0", "must be 1 (every one) or more")),
            given => Ok(given.unwrap_or(1)),
        }
    }

    /// Which messages are told.
    fn checked_log_level(&self) -> Result<Level, ConfigError> {
        let Some(text) = self.log_level.as_deref() else { return Ok(Level::default()) };
        let found = Level::ALL.into_iter().find(|level| level.word() == text);
        found.ok_or_else(|| ConfigError::invalid("--log-level", text, "is not one of error, warning, info, debug"))
    }

    /// A page about refusals.
    pub(crate) fn checked_reply_url(&self) -> Result<Option<ReplyUrl>, ConfigError> {
        let parse = |text: &String| text.parse().map_err(|why: String| ConfigError::invalid("--reply-url", text, why));
        self.reply_url.as_ref().map(parse).transpose()
    }

    /// Where decisions go as spans.
    fn checked_otlp(&self) -> Result<Option<mx6_admin::Collector>, ConfigError> {
        let parse = |text: &String| text.parse().map_err(|why: String| ConfigError::invalid("--otlp", text, why));
        self.otlp.as_ref().map(parse).transpose()
    }

    /// Where the admin endpoint listens.
    fn checked_admin(&self) -> Result<Vec<mx6_admin::Address>, ConfigError> {
        let parse = |text: &String| {
            text.parse()
                .map_err(|error: mx6_admin::AddressError| ConfigError::invalid("--admin", text, error.to_string()))
        };
        self.admin.iter().map(parse).collect()
    }

    /// Where decision records go.
    fn log_target(&self) -> LogTarget {
        match &self.log {
            None => LogTarget::Stdout,
            Some(word) if word.as_os_str() == "journald" => LogTarget::Journal,
            Some(path) => LogTarget::File(path.clone()),
        }
    }

    /// Whom to become.
    fn run_as(&self) -> Result<Option<RunAs>, ConfigError> {
        let parse = |text: &String| RunAs::parse(text).map_err(|why| ConfigError::invalid("--user", text, why));
        self.user.as_ref().map(parse).transpose()
    }

    fn is_sandboxed(&self) -> Result<bool, ConfigError> {
        match self.sandbox.as_deref() {
            None | Some("on") => Ok(true),
            Some("off") => Ok(false),
            Some(other) => Err(ConfigError::invalid("--sandbox", other, "is not one of on, off")),
        }
    }

    /// How DKIM work is gathered.
    fn dkim_batch(&self) -> Result<DkimBatchLimits, ConfigError> {
        let defaults = DkimBatchLimits::default();
        let within = |option, given: Option<u64>, least, most| match given {
            Some(given) if !(least..=most).contains(&given) => {
                Err(ConfigError::invalid(option, &given.to_string(), format!("must lie between {least} and {most}")))
            }
            given => Ok(given),
        };
        let max = within("--dkim-batch-max", self.dkim_batch_max, 1, limits::DKIM_BATCH_MAX)?;
        let wait = within("--dkim-batch-wait-us", self.dkim_batch_wait_us, 0, limits::DKIM_BATCH_WAIT_US_MAX)?;
        Ok(DkimBatchLimits {
            max: max.and_then(|max| usize::try_from(max).ok()).unwrap_or(defaults.max),
            wait: wait.map_or(defaults.wait, Duration::from_micros),
        })
    }
}

/// Labels of letters, digits and `further`.
fn is_domain_name(text: &str, further: &[u8]) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|o| o.is_ascii_alphanumeric() || further.contains(&o))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn socket_addresses(option: &'static str, texts: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            ConfigError::invalid(option, text, "write ADDRESS:PORT, IPv6 in brackets: '[::1]:2525', 127.0.0.1:2525")
        })
    };
    texts.iter().map(parse).collect()
}

fn networks(option: &'static str, texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let parse = |text: &String| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(canonical_network)
            .map_err(|_| ConfigError::invalid(option, text, "is not a network; write it like ::1/128"))
    };
    texts.iter().map(parse).collect()
}

fn mebibytes(option: &'static str, given: Option<u64>, default: u64) -> Result<u64, ConfigError> {
    let mib = given.unwrap_or(default);
    if !(1..=limits::MEBIBYTES_MAX).contains(&mib) {
        let reason = format!("must lie between 1 and {} (MiB)", limits::MEBIBYTES_MAX);
        return Err(ConfigError::invalid(option, &mib.to_string(), reason));
    }
    Ok(mib << 20)
}
