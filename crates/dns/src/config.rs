//! What an operator may set.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::limits::SERVERS_MAX;
use crate::zone::Zone;

/// How names are looked up.
#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// Recursive resolvers, asked in this order; those that did not answer lately come last. At most 8, at least one unless there is
    /// a zone.
    pub servers: Vec<SocketAddr>,
    /// How long one query to one server may take, over UDP and again over TCP when the answer was truncated.
    pub query_timeout: Duration,
    /// Rounds over the servers, as far as they did not answer at all; at least 1. An error that a server gave is not asked for again.
    pub attempts: u32,
    /// Answers from here and never from the network.
    pub zone: Option<Zone>,
    /// How long answers are kept.
    pub ttl: TtlLimits,
    /// How long after their TTL records are still used while the resolvers fail (RFC 8767 §5: at most one to three days); zero: never.
    pub stale: Duration,
    /// How much memory answers may take; used by [`crate::Caches::new`].
    pub cache: CacheSizes,
}

impl Default for DnsConfig {
    /// No servers and no zone yet; queries of 2 s, 2 attempts; stale answers for a day.
    fn default() -> DnsConfig {
        DnsConfig {
            servers: Vec::new(),
            query_timeout: Duration::from_secs(2),
            attempts: 2,
            zone: None,
            ttl: TtlLimits::default(),
            stale: Duration::from_secs(86_400),
            cache: CacheSizes::default(),
        }
    }
}

impl DnsConfig {
    /// Reads a resolver's address: `127.0.0.1:5300`, `192.0.2.1`, `[::1]:5300`, `[::1]`, `::1`; the port is 53 unless named.
    ///
    /// # Errors
    /// [`DnsError::Server`].
    pub fn parse_server(text: &str) -> Result<SocketAddr, DnsError> {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let server = match bare.parse::<IpAddr>() {
            Ok(address) => Some(SocketAddr::new(address, 53)),
            // Takes a numeric scope (`[fe80::1%2]:53`) too.
            Err(_) => text.parse().or_else(|_| format!("[{bare}]:53").parse()).ok(),
        };
        match server {
            Some(server) if server.port() != 0 && !server.ip().is_unspecified() => Ok(server),
            _ => Err(DnsError::Server(text.to_owned())),
        }
    }

    /// The resolvers, timeout and attempts of a resolv.conf(5) file; everything else in it is ignored (names here are always
    /// complete). Without a `nameserver` line it is 127.0.0.1, as for every program of the system.
    ///
    /// # Errors
    /// [`DnsError::ResolvConf`] when it cannot be read or names something that is no address.
    pub fn from_resolv_conf(path: &Path) -> Result<DnsConfig, DnsError> {
        let fault = |what: String| DnsError::ResolvConf { path: path.to_owned(), what };
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        let mut config = DnsConfig::default();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().unwrap_or_default();
                    let server = DnsConfig::parse_server(server)
                        .map_err(|_| fault(format!("line {}: `{server}` is no address", index + 1)))?;
                    config.servers.push(server);
                }
                Some("options") => words.for_each(|option| config.take_option(option)),
                _ => {}
            }
        }
        config.servers.truncate(SERVERS_MAX);
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        }
        Ok(config)
    }

    /// `timeout:n` and `attempts:n`, within resolv.conf(5)'s own caps and above 0.
    fn take_option(&mut self, option: &str) {
        match option.split_once(':').map(|(name, value)| (name, value.parse())) {
            Some(("timeout", Ok(seconds))) => self.query_timeout = Duration::from_secs(u64::clamp(seconds, 1, 30)),
            Some(("attempts", Ok(attempts))) => self.attempts = u64::clamp(attempts, 1, 5) as u32,
            _ => {}
        }
    }

    /// Whether names can be looked up with this.
    ///
    /// # Errors
    /// [`DnsError::NoServers`], [`DnsError::TooManyServers`].
    pub fn check(&self) -> Result<(), DnsError> {
        match self.servers.len() {
            0 if self.zone.is_none() => Err(DnsError::NoServers),
            count if count > SERVERS_MAX => Err(DnsError::TooManyServers(count)),
            _ => Ok(()),
        }
    }
}

/// Bounds on how long answers are kept, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlLimits {
    /// Any answer is kept at least this long, so that a TTL of 0 does not mean a query for each message.
    pub floor_s: u32,
    /// Records are kept at most this long.
    pub ceiling_s: u32,
    /// Absence (`NoData`, `NxDomain`) is kept at most this long (RFC 2308 §5 suggests one to three hours).
    pub negative_ceiling_s: u32,
    /// Absence of a PTR record is kept at most this long: its owner may be just setting the host up.
    pub negative_ptr_ceiling_s: u32,
    /// Absence told without an SOA record is kept this long.
    pub negative_without_soa_s: u32,
}

impl Default for TtlLimits {
    fn default() -> TtlLimits {
        TtlLimits {
            floor_s: 10,
            ceiling_s: 86_400,
            negative_ceiling_s: 3_600,
            negative_ptr_ceiling_s: 300,
            negative_without_soa_s: 30,
        }
    }
}

/// Octets that the shared caches may take, all shards together. TXT has caches of its own: [`crate::TxtCache::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSizes {
    /// PTR records.
    pub ptr_octets: u64,
    /// A and AAAA records, each.
    pub address_octets: u64,
    /// MX records.
    pub mx_octets: u64,
}

impl Default for CacheSizes {
    fn default() -> CacheSizes {
        CacheSizes { ptr_octets: 32 << 20, address_octets: 16 << 20, mx_octets: 8 << 20 }
    }
}

/// A fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Not an address.
    #[error("resolver `{0}`: expected an address, with or without a port (127.0.0.1, 127.0.0.1:5300, ::1, [::1]:5300)")]
    Server(String),
    /// Nothing to ask.
    #[error("neither a resolver nor a zone file is configured")]
    NoServers,
    /// More than are any use.
    #[error("{0} resolvers are configured, at most 8 are taken")]
    TooManyServers(usize),
    /// resolv.conf is unreadable or wrong.
    #[error("{}: {what}", path.display())]
    ResolvConf {
        /// The file.
        path: PathBuf,
        /// The fault.
        what: String,
    },
    /// The zone file is unreadable or wrong.
    #[error("{}{what}", place(path, *line))]
    Zone {
        /// The file.
        path: PathBuf,
        /// Where, from 1; of an included file, the line that includes it; 0 for the file as a whole.
        line: usize,
        /// The fault.
        what: String,
    },
}

/// `file:line: ` or `file: `.
fn place(path: &Path, line: usize) -> String {
    if line == 0 { format!("{}: ", path.display()) } else { format!("{}:{line}: ", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let check = |text: &str, expected: Option<&str>| {
            let got = DnsConfig::parse_server(text).ok();
            assert_eq!(got, expected.map(|address| address.parse().unwrap()), "{text}");
        };
        check("127.0.0.1:5300", Some("127.0.0.1:5300"));
        check(" 192.0.2.1 ", Some("192.0.2.1:53"));
        check("[::1]:5300", Some("[::1]:5300"));
        check("[::1]", Some("[::1]:53"));
        check("2001:db8::53", Some("[2001:db8::53]:53"));
        check("fe80::1%2", Some("[fe80::1%2]:53"));
        check("[fe80::1%2]:54", Some("[fe80::1%2]:54"));
        check("localhost", None);
        check("", None);
        check("127.0.0.1:0", None);
        check("127.0.0.1:", None);
        check("0.0.0.0", None);
        check("[::1", None);
        check("127.0.0.1:99999", None);
    }

    #[test]
    fn resolv_conf() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            DnsConfig::from_resolv_conf(&path)
        };
        let config = read("# made by hand\nsearch example.com\nnameserver 192.0.2.1 # first\nnameserver ::1\noptions ndots:3 timeout:1 attempts:9\n").unwrap();
        assert_eq!(config.servers, ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!((config.query_timeout, config.attempts), (Duration::from_secs(1), 5));
        assert_eq!(read("search x\n").unwrap().servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(read(&"nameserver ::1\n".repeat(20)).unwrap().servers.len(), 8);
        assert!(
            read("\nnameserver ns.example\n")
                .unwrap_err()
                .to_string()
                .ends_with("resolv.conf: line 2: `ns.example` is no address")
        );
        assert!(DnsConfig::from_resolv_conf(&directory.path().join("absent")).is_err());
    }
}
