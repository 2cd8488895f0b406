//! The options as an operator gives them: text and numbers, nothing checked yet.
//!
//! One struct serves the command line, the environment and the file, so that a name means the same everywhere.

use std::path::PathBuf;

use serde::Deserialize;

/// Options of the gate. On the command line `--hostname`, in the environment `MX6_HOSTNAME`, in the file `hostname`; a flag beats the
/// environment, which beats the file.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Our name in the greeting, in HELO to the next hop and in Received fields: a fully qualified domain name.
    #[arg(long, env = "MX6_HOSTNAME", value_name = "NAME")]
    pub hostname: Option<String>,

    /// Address and port to take SMTP on; repeatable. An IPv6 address takes IPv6 only.
    #[arg(long, env = "MX6_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Address and port where a PROXY v1 or v2 header is demanded first; repeatable.
    #[arg(long, env = "MX6_PROXY_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub proxy_listen: Vec<String>,

    /// Network that may connect to a PROXY listener; repeatable.
    #[arg(long, env = "MX6_PROXY_FROM", value_name = "CIDR", value_delimiter = ',')]
    pub proxy_from: Vec<String>,

    /// How many cores (`2`) or which (`0,1`, `0-3`): one shard is pinned to each [default: 1].
    #[arg(long, env = "MX6_CORES", value_name = "N|LIST")]
    #[serde(deserialize_with = "super::file::number_or_text")]
    pub cores: Option<String>,

    /// DNS resolver, address with optional port; repeatable [default: those of /etc/resolv.conf] [env: MX6_DNS_SERVER].
    #[arg(long, value_name = "ADDR[:PORT]", value_delimiter = ',')]
    pub dns_server: Vec<String>,

    /// How long one DNS query may take, in milliseconds [default: that of /etc/resolv.conf if it is used, else 2000].
    #[arg(long, env = "MX6_DNS_TIMEOUT_MS", value_name = "MS")]
    pub dns_timeout_ms: Option<u64>,

    /// How long after their TTL records are still used while the resolver fails, in seconds; 0: never [default: 86400, at most 259200].
    #[arg(long, env = "MX6_DNS_STALE", value_name = "SECONDS")]
    pub dns_stale: Option<u64>,

    /// Name that exists, asked for every few seconds; repeatable. While none is answered, new anonymous IPv6 clients get 421 [default:
    /// none: the resolver is not watched].
    #[arg(long, env = "MX6_DNS_PROBE", value_name = "NAME", value_delimiter = ',')]
    pub dns_probe: Vec<String>,

    /// Answer DNS questions from this zone file (RFC 1035 form) instead of asking a resolver [env: MX6_ZONE].
    #[arg(long, value_name = "FILE")]
    pub zone: Option<PathBuf>,

    /// A domain served here and what it chose: accept, reject, monitor, or monitor:N% (for so many of a hundred sources, enforced for the
    /// others); `*.` in front stands for all names below; repeatable.
    #[arg(long, env = "MX6_DOMAIN", value_name = "DOMAIN=MODE", value_delimiter = ',')]
    #[serde(deserialize_with = "super::file::domain_table")]
    pub domain: Vec<String>,

    /// Where accepted mail goes: smtp://HOST:PORT or lmtp://HOST:PORT (repeatable: failover), lmtp:/SOCKET, maildir:PATH or discard:
    #[arg(long, env = "MX6_DELIVER", value_name = "TARGET", value_delimiter = ',')]
    pub deliver: Vec<String>,

    /// How next hops learn who the client is: `xforward` (for their log), `xclient`, or `proxy` (PROXY v2); the last two make a
    /// connection for each message [default: none].
    #[arg(long, env = "MX6_NEXT_HOP_CLIENT", value_name = "none|xforward|xclient|proxy")]
    pub next_hop_client: Option<String>,

    /// What counts as reverse DNS: `exists` (a PTR record) or `fcrdns` (it must resolve back) [default: exists].
    #[arg(long, env = "MX6_PTR", value_name = "exists|fcrdns")]
    pub ptr: Option<String>,

    /// `enforce`, or `monitor`: record what the rules would refuse, refuse nothing by them [default: enforce].
    #[arg(long, env = "MX6_MODE", value_name = "enforce|monitor")]
    pub mode: Option<String>,

    /// Network of a partner who skips the three rules; repeatable.
    #[arg(long, env = "MX6_CONNECTOR", value_name = "CIDR", value_delimiter = ',')]
    pub connector: Vec<String>,

    /// A partner who skips the three rules, known by the certificate shown inside TLS: NAME@CA-FILE (a name in its subjectAltName, and
    /// the authority that signed it), or sha256:KEY (the SHA-256 of its SubjectPublicKeyInfo, hexadecimal or base64), which needs no
    /// authority and may have one: sha256:KEY@CA-FILE; repeatable.
    #[arg(long, env = "MX6_CONNECTOR_CERT", value_name = "PIN[@CA-FILE]", value_delimiter = ',')]
    pub connector_cert: Vec<String>,

    /// Our certificate and its chain, PEM; repeatable: the one that the client can verify and asks for is shown. Without one STARTTLS
    /// is not offered. Read again at SIGHUP and when the file changes.
    #[arg(long, env = "MX6_TLS_CERT", value_name = "FILE", value_delimiter = ',')]
    pub tls_cert: Vec<PathBuf>,

    /// The key of the certificate, PEM; as many as certificates, in their order [default: in the file of the certificate].
    #[arg(long, env = "MX6_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    pub tls_key: Vec<PathBuf>,

    /// Take recipients of one domain only in a transaction (RFC 9422 RCPTDOMAINMAX=1): others get 452 and come again.
    #[arg(long, env = "MX6_ONE_DOMAIN")]
    pub one_domain: bool,

    /// What becomes of clients that speak before the greeting, or send on behind a command whose reply they must await: `ignore`,
    /// `record` (counted, and in the decision record) or `refuse` (554 and the end, for anonymous clients) [default: record].
    #[arg(long, env = "MX6_EARLY_TALKER", value_name = "ignore|record|refuse")]
    pub early_talker: Option<String>,

    /// How long an anonymous client waits for the greeting, to be caught if it does not, in milliseconds [default: 0].
    #[arg(long, env = "MX6_GREET_DELAY_MS", value_name = "MS")]
    pub greet_delay_ms: Option<u64>,
    /// A limit, SCOPE.WHAT=N[/PERIOD]; repeatable. Scope: address, 64, 56, 48 (prefixes of an IPv6 address) or identity (a domain that SPF or
    /// DKIM verified). What: connections, messages, recipients (in a period: 1s, 1m, 1h, 1d) or sessions (at once); N may be `none` [default:
    /// address.sessions=2000, 64.sessions=5000, 56.sessions=7500, 48.sessions=10000, for anonymous clients, all cores together; no rates].
    #[arg(long, env = "MX6_LIMIT", value_name = "SCOPE.WHAT=N[/PERIOD]", value_delimiter = ',')]
    #[serde(deserialize_with = "super::file::limit_table")]
    pub limit: Vec<String>,

    /// Memory for what the limits must remember, all cores together, in MiB; taken at the start [default: 16].
    #[arg(long, env = "MX6_LIMIT_TABLE", value_name = "MIB")]
    pub limit_table: Option<u64>,

    /// Our name in Authentication-Results, shared by a fleet; further ones are removed from incoming mail too [default: hostname].
    #[arg(long, env = "MX6_AUTHSERV_ID", value_name = "ID", value_delimiter = ',')]
    pub authserv_id: Vec<String>,

    /// Largest message taken, in octets [default: 36700160]; less if the next hops take less.
    #[arg(long, env = "MX6_SIZE_LIMIT", value_name = "OCTETS")]
    pub size_limit: Option<u64>,

    /// Memory for messages in flight, for each core, in MiB [default: 256].
    #[arg(long, env = "MX6_MEMORY", value_name = "MIB")]
    pub memory: Option<u64>,

    /// Where messages over 256 KiB wait, as unlinked temporary files [default: the system's temporary folder].
    #[arg(long, env = "MX6_SPILL_DIR", value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,

    /// Cache for addresses and names (PTR, A, AAAA, MX), in MiB [default: 64].
    #[arg(long, env = "MX6_CACHE_PTR", value_name = "MIB")]
    pub cache_ptr: Option<u64>,

    /// Cache for SPF, in MiB: three quarters for records, the rest for results [default: 32].
    #[arg(long, env = "MX6_CACHE_SPF", value_name = "MIB")]
    pub cache_spf: Option<u64>,

    /// Cache for DKIM keys and DMARC records, in MiB [default: 32].
    #[arg(long, env = "MX6_CACHE_DKIM", value_name = "MIB")]
    pub cache_dkim: Option<u64>,

    /// Messages whose DKIM work is done together; 1 keeps each to itself [default: 64].
    #[arg(long, env = "MX6_DKIM_BATCH_MAX", value_name = "MESSAGES")]
    pub dkim_batch_max: Option<u64>,

    /// How long the first of a batch waits for others to fill lanes, in microseconds [default: 0: only for what is ready]. It waits
    /// only while another message is on its way.
    #[arg(long, env = "MX6_DKIM_BATCH_WAIT_US", value_name = "US")]
    pub dkim_batch_wait_us: Option<u64>,

    /// Where decision records go: a file that they are appended to, or `journald` [default: standard output].
    #[arg(long, env = "MX6_LOG", value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Of accepted recipients to which no rule objects every Nth is recorded; the next record says how many were only counted. Refusals
    /// always are [default: 1].
    #[arg(long, env = "MX6_LOG_SAMPLE", value_name = "N")]
    pub log_sample: Option<u64>,

    /// Which messages are told on standard error: error, warning, info, or debug (every session) [default: info].
    #[arg(long, env = "MX6_LOG_LEVEL", value_name = "error|warning|info|debug")]
    pub log_level: Option<String>,

    /// Where the admin endpoint listens (status page, metrics, probes): 127.0.0.1:9125, or unix:/run/mx6/admin.sock; repeatable. Whoever
    /// reaches it sees all decisions [default: none].
    #[arg(long, env = "MX6_ADMIN", value_name = "ADDR:PORT|unix:PATH", value_delimiter = ',')]
    pub admin: Vec<String>,

    /// Which code hashes and verifies: `auto` (the fastest that this CPU has), `portable`, or kernels by name,
    /// at most one for each purpose: sha-ni, avx2, avx512 (SHA-256), rsa-avx2, rsa-ifma (RSA-2048) [default: auto].
    #[arg(long, env = "MX6_KERNELS", value_name = "auto|portable|NAMES")]
    pub kernels: Option<String>,

    /// How long transactions may take to finish after SIGTERM, in seconds [default: 60].
    #[arg(long, env = "MX6_DRAIN_TIMEOUT", value_name = "SECONDS")]
    pub drain_timeout: Option<u64>,

    /// Unix socket where a gate hands its listening sockets over to the one that is started next with the same option, and then drains:
    /// an upgrade that refuses nobody [default: none].
    #[arg(long, env = "MX6_HANDOVER", value_name = "PATH")]
    pub handover: Option<PathBuf>,

    /// User to become once sockets and log are open, for a gate that is started as root [default: stay who we are].
    #[arg(long, env = "MX6_USER", value_name = "NAME[:GROUP]")]
    pub user: Option<String>,

    /// `on`: files that the gate does not need cannot be reached any more once it runs (Landlock, where the kernel has it); `off`:
    /// permissions alone decide [default: on].
    #[arg(long, env = "MX6_SANDBOX", value_name = "on|off")]
    pub sandbox: Option<String>,
}

impl Options {
    /// These options, and `below` where these say nothing. A list given above replaces the one below.
    #[must_use]
    pub fn over(self, below: Options) -> Options {
        fn list<T>(above: Vec<T>, below: Vec<T>) -> Vec<T> {
            if above.is_empty() { below } else { above }
        }
        // A zone and resolvers exclude each other: the layer that names one of them decides for both.
        let names_source = self.zone.is_some() || !self.dns_server.is_empty();
        let (zone, dns_server) =
            if names_source { (self.zone, self.dns_server) } else { (below.zone, below.dns_server) };
        Options {
            hostname: self.hostname.or(below.hostname),
            listen: list(self.listen, below.listen),
            proxy_listen: list(self.proxy_listen, below.proxy_listen),
            proxy_from: list(self.proxy_from, below.proxy_from),
            cores: self.cores.or(below.cores),
            dns_server,
            dns_timeout_ms: self.dns_timeout_ms.or(below.dns_timeout_ms),
            dns_stale: self.dns_stale.or(below.dns_stale),
            dns_probe: list(self.dns_probe, below.dns_probe),
            zone,
            domain: list(self.domain, below.domain),
            deliver: list(self.deliver, below.deliver),
            next_hop_client: self.next_hop_client.or(below.next_hop_client),
            ptr: self.ptr.or(below.ptr),
            mode: self.mode.or(below.mode),
            connector: list(self.connector, below.connector),
            one_domain: self.one_domain || below.one_domain,
            early_talker: self.early_talker.or(below.early_talker),
            greet_delay_ms: self.greet_delay_ms.or(below.greet_delay_ms),
            connector_cert: list(self.connector_cert, below.connector_cert),
            tls_cert: list(self.tls_cert, below.tls_cert),
            tls_key: list(self.tls_key, below.tls_key),
            limit: list(self.limit, below.limit),
            limit_table: self.limit_table.or(below.limit_table),
            authserv_id: list(self.authserv_id, below.authserv_id),
            size_limit: self.size_limit.or(below.size_limit),
            memory: self.memory.or(below.memory),
            spill_dir: self.spill_dir.or(below.spill_dir),
            cache_ptr: self.cache_ptr.or(below.cache_ptr),
            cache_spf: self.cache_spf.or(below.cache_spf),
            cache_dkim: self.cache_dkim.or(below.cache_dkim),
            dkim_batch_max: self.dkim_batch_max.or(below.dkim_batch_max),
            dkim_batch_wait_us: self.dkim_batch_wait_us.or(below.dkim_batch_wait_us),
            log: self.log.or(below.log),
            log_sample: self.log_sample.or(below.log_sample),
            log_level: self.log_level.or(below.log_level),
            admin: list(self.admin, below.admin),
            kernels: self.kernels.or(below.kernels),
            drain_timeout: self.drain_timeout.or(below.drain_timeout),
            handover: self.handover.or(below.handover),
            user: self.user.or(below.user),
            sandbox: self.sandbox.or(below.sandbox),
        }
    }
}

/// Where names come from by the environment. A layer of its own: zone and resolvers exclude each other, so a flag for one must be able
/// to beat a variable for the other.
pub(super) fn names_of_environment() -> Options {
    let servers = std::env::var("MX6_DNS_SERVER").unwrap_or_default();
    let dns_server = servers.split(',').filter(|server| !server.is_empty()).map(str::to_owned).collect();
    let zone = std::env::var_os("MX6_ZONE").filter(|path| !path.is_empty()).map(PathBuf::from);
    Options { zone, dns_server, ..Options::default() }
}

/// Every key of the file, for the message about an unknown one.
pub(super) const KEYS: [&str; 42] = [
    "hostname",
    "listen",
    "proxy-listen",
    "proxy-from",
    "cores",
    "dns-server",
    "dns-timeout-ms",
    "dns-stale",
    "dns-probe",
    "zone",
    "domain",
    "deliver",
    "next-hop-client",
    "ptr",
    "mode",
    "connector",
    "connector-cert",
    "one-domain",
    "early-talker",
    "greet-delay-ms",
    "tls-cert",
    "tls-key",
    "limit",
    "limit-table",
    "authserv-id",
    "size-limit",
    "memory",
    "spill-dir",
    "cache-ptr",
    "cache-spf",
    "cache-dkim",
    "dkim-batch-max",
    "dkim-batch-wait-us",
    "log",
    "log-sample",
    "log-level",
    "admin",
    "kernels",
    "drain-timeout",
    "handover",
    "user",
    "sandbox",
];
