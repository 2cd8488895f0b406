//! The options: one entry each. What an entry says is in `registry.rs`; that values can be used is checked in `checked.rs`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::registry::Default::{Number, Required, Text, Words};
use super::registry::{Entry, Field, Group, Shape, Unit, registry};
use crate::limits;

registry! {
    "hostname" hostname: Option<String> = "Our name in the greeting, in HELO to the next hop and in Received fields: a fully qualified domain name.",
        Entry::new(Group::Listening, Shape::Text, "NAME")
            .default(Required)
            .fixed();

    "listen" listen: Vec<String> = "Address and port to take SMTP on. An IPv6 address takes IPv6 only.",
        Entry::new(Group::Listening, Shape::Texts, "ADDR:PORT")
            .default(Words("none: it, proxy-listen or a socket of the service manager must be given"))
            .fixed();

    "proxy-listen" proxy_listen: Vec<String> = "Address and port where a PROXY v1 or v2 header is demanded first.",
        Entry::new(Group::Listening, Shape::Texts, "ADDR:PORT")
            .default(Words("none: no PROXY header is taken"))
            .fixed();

    "proxy-from" proxy_from: Vec<String> = "Network that may connect to a PROXY listener.",
        Entry::new(Group::Listening, Shape::Texts, "CIDR")
            .default(Words("none: required with proxy-listen"));

    "dns-server" dns_server: Vec<String> = "DNS resolver, address with optional port.",
        Entry::new(Group::Dns, Shape::Texts, "ADDR[:PORT]")
            .default(Words("those of /etc/resolv.conf"))
            .fixed();

    "dns-timeout-ms" dns_timeout_ms: Option<u64> = "How long one DNS query may take.",
        Entry::new(Group::Dns, Shape::Number, "MS")
            .counts(Unit::Ms, limits::DNS_TIMEOUT_MS_MIN, limits::DNS_TIMEOUT_MS_MAX)
            .default(Words("that of /etc/resolv.conf if it is used, else 2000 ms"))
            .fixed();

    "dns-stale" dns_stale: Option<u64> = "How long after their TTL records are still used while the resolver fails (RFC 8767); 0: never.",
        Entry::new(Group::Dns, Shape::Number, "SECONDS")
            .counts(Unit::S, 0, limits::DNS_STALE_S_MAX)
            .default(Number(limits::DNS_STALE_S_DEFAULT))
            .fixed();

    "dns-probe" dns_probe: Vec<String> = "Name that exists, asked for every few seconds. While none is answered, new anonymous IPv6 clients get 421.",
        Entry::new(Group::Dns, Shape::Texts, "NAME")
            .default(Words("none: the resolver is not watched"))
            .fixed();

    "zone" zone: Option<PathBuf> = "Answer DNS questions from this zone file (RFC 1035 form) instead of asking a resolver.",
        Entry::new(Group::Dns, Shape::Path, "FILE")
            .default(Words("none: a resolver is asked"))
            .fixed();

    "domain" domain: Vec<String> = "A domain served here and what it chose: accept, reject, monitor, or monitor:N% (for so many of a hundred sources, \
        enforced for the others); `*.` in front stands for all names below.",
        Entry::new(Group::Gate, Shape::Table, "DOMAIN=MODE")
            .default(Words("none: every recipient is refused"));

    "ptr" ptr: Option<String> = "What counts as reverse DNS: `exists` (a PTR record) or `fcrdns` (it must resolve back).",
        Entry::new(Group::Gate, Shape::Choice, "exists|fcrdns")
            .default(Text("exists"));

    "mode" mode: Option<String> = "`enforce`, or `monitor`: record what the rules would refuse, refuse nothing by them.",
        Entry::new(Group::Gate, Shape::Choice, "enforce|monitor")
            .default(Text("enforce"));

    "reply-url" reply_url: Option<String> = "Page about refusals, told behind those whose words are ours to choose (never behind those of the rule table): a template with \
        {rule}, {session} and {client}, such as `https://example.org/mx6?rule={rule}&session={session}`.",
        Entry::new(Group::Gate, Shape::Text, "URL")
            .also("url")
            .default(Words("none"));

    "connector" connector: Vec<String> = "Network of a partner who skips the three rules.",
        Entry::new(Group::Gate, Shape::Texts, "CIDR")
            .default(Words("none"));

    "connector-cert" connector_cert: Vec<String> = "A partner who skips the three rules, known by the certificate shown inside TLS: NAME@CA-FILE (a name in its subjectAltName, \
        and the authority that signed it), or sha256:KEY (the SHA-256 of its SubjectPublicKeyInfo, hexadecimal or base64), which \
        needs no authority and may have one: sha256:KEY@CA-FILE.",
        Entry::new(Group::Gate, Shape::Texts, "PIN[@CA-FILE]")
            .default(Words("none"));

    "one-domain" one_domain: bool = "Take recipients of one domain only in a transaction (RFC 9422 RCPTDOMAINMAX=1): others get 452 and come again.",
        Entry::new(Group::Gate, Shape::Switch, "")
            .default(Words("off"));

    "early-talker" early_talker: Option<String> = "What becomes of clients that speak before the greeting, or send on behind a command whose reply they must await: `ignore`, \
        `record` (counted, and in the decision record) or `refuse` (554 and the end, for anonymous clients).",
        Entry::new(Group::Gate, Shape::Choice, "ignore|record|refuse")
            .default(Text("record"));

    "greet-delay-ms" greet_delay_ms: Option<u64> = "How long an anonymous client waits for the greeting, to be caught if it does not.",
        Entry::new(Group::Gate, Shape::Number, "MS")
            .counts(Unit::Ms, 0, limits::GREET_DELAY_MS_MAX)
            .default(Number(0));

    "authserv-id" authserv_id: Vec<String> = "Our name in Authentication-Results, shared by a fleet; further ones are removed from incoming mail too.",
        Entry::new(Group::Gate, Shape::Texts, "ID")
            .default(Words("hostname"))
            .fixed();

    "deliver" deliver: Vec<String> = "Where accepted mail goes: smtp://HOST:PORT or lmtp://HOST:PORT (several: failover), lmtp:/SOCKET, maildir:PATH or discard:",
        Entry::new(Group::Delivery, Shape::Texts, "TARGET")
            .default(Required);

    "next-hop-client" next_hop_client: Option<String> = "How next hops learn who the client is: `xforward` (for their log), `xclient`, or `proxy` (PROXY v2); the last two make a \
        connection for each message.",
        Entry::new(Group::Delivery, Shape::Choice, "none|xforward|xclient|proxy")
            .default(Text("none"));

    "limit" limit: Vec<String> = "A limit, SCOPE.WHAT=N[/PERIOD]. Scope: address, 64, 56, 48 (prefixes of an IPv6 address) or identity (a domain that SPF or \
        DKIM verified). What: connections, messages, recipients (in a period: 1s, 1m, 1h, 1d) or sessions (at once); N may be `none`. \
        For anonymous clients, all cores together.",
        Entry::new(Group::Limits, Shape::TextsOrTable, "SCOPE.WHAT=N[/PERIOD]")
            .default(Words("address.sessions=2000, 64.sessions=5000, 56.sessions=7500, 48.sessions=10000, for anonymous clients; no rates"));

    "limit-table" limit_table: Option<u64> = "Memory for what the limits must remember, all cores together; taken at the start.",
        Entry::new(Group::Limits, Shape::Number, "MIB")
            .counts(Unit::Mib, 1, limits::MEBIBYTES_MAX)
            .default(Number(limits::LIMIT_TABLE_MIB_DEFAULT))
            .fixed();

    "size-limit" size_limit: Option<u64> = "Largest message taken; less if the next hops take less.",
        Entry::new(Group::Messages, Shape::Number, "OCTETS")
            .counts(Unit::Octets, limits::SIZE_LIMIT_OCTETS_MIN, limits::SIZE_LIMIT_OCTETS_MAX)
            .default(Number(limits::SIZE_LIMIT_OCTETS_DEFAULT));

    "memory" memory: Option<u64> = "Memory for messages in flight, for each core.",
        Entry::new(Group::Messages, Shape::Number, "MIB")
            .counts(Unit::Mib, 1, limits::MEBIBYTES_MAX)
            .default(Number(limits::MEMORY_MIB_DEFAULT))
            .fixed();

    "spill-dir" spill_dir: Option<PathBuf> = "Where messages over 256 KiB wait, as unlinked temporary files.",
        Entry::new(Group::Messages, Shape::Path, "DIR")
            .default(Words("the system's temporary folder"))
            .fixed();

    "cache-ptr" cache_ptr: Option<u64> = "Cache for addresses and names (PTR, A, AAAA, MX).",
        Entry::new(Group::Dns, Shape::Number, "MIB")
            .counts(Unit::Mib, 1, limits::MEBIBYTES_MAX)
            .default(Number(limits::CACHE_PTR_MIB_DEFAULT))
            .fixed();

    "cache-spf" cache_spf: Option<u64> = "Cache for SPF: three quarters for records, the rest for results.",
        Entry::new(Group::Dns, Shape::Number, "MIB")
            .counts(Unit::Mib, 1, limits::MEBIBYTES_MAX)
            .default(Number(limits::CACHE_SPF_MIB_DEFAULT))
            .fixed();

    "cache-dkim" cache_dkim: Option<u64> = "Cache for DKIM keys and DMARC records.",
        Entry::new(Group::Dns, Shape::Number, "MIB")
            .counts(Unit::Mib, 1, limits::MEBIBYTES_MAX)
            .default(Number(limits::CACHE_DKIM_MIB_DEFAULT))
            .fixed();

    "dkim-batch-max" dkim_batch_max: Option<u64> = "Messages whose DKIM work is done together; 1 keeps each to itself.",
        Entry::new(Group::Dkim, Shape::Number, "MESSAGES")
            .counts(Unit::Messages, 1, limits::DKIM_BATCH_MAX)
            .default(Number(limits::DKIM_BATCH_DEFAULT as u64))
            .fixed();

    "dkim-batch-wait-us" dkim_batch_wait_us: Option<u64> = "How long the first of a batch waits for others to fill lanes; 0: only for what is ready. It waits only while another message \
        is on its way.",
        Entry::new(Group::Dkim, Shape::Number, "US")
            .counts(Unit::Us, 0, limits::DKIM_BATCH_WAIT_US_MAX)
            .default(Number(0))
            .fixed();

    "kernels" kernels: Option<String> = "Which code hashes and verifies: `auto` (the fastest that this CPU has), `portable`, or kernels by name, at most one for each \
        purpose: sha-ni, avx2, avx512 (SHA-256), rsa-avx2, rsa-ifma (RSA-2048).",
        Entry::new(Group::Dkim, Shape::Text, "auto|portable|NAMES")
            .default(Text("auto"))
            .fixed();

    "tls-cert" tls_cert: Vec<PathBuf> = "Our certificate and its chain, PEM: the one that the client can verify and asks for is shown. Read again at SIGHUP and when \
        the file changes.",
        Entry::new(Group::Tls, Shape::Paths, "FILE")
            .default(Words("none: STARTTLS is not offered"));

    "tls-key" tls_key: Vec<PathBuf> = "The key of the certificate, PEM; as many as certificates, in their order.",
        Entry::new(Group::Tls, Shape::Paths, "FILE")
            .default(Words("in the file of the certificate"));

    "log" log: Option<PathBuf> = "Where decision records go: a file that they are appended to, or `journald`. A file that was moved away is opened \
        anew within a second, or at once after SIGHUP.",
        Entry::new(Group::Logs, Shape::Path, "FILE|journald")
            .default(Words("standard output"))
            .fixed();

    "log-sample" log_sample: Option<u64> = "Of accepted recipients to which no rule objects every Nth is recorded; the next record says how many were only \
        counted. Refusals always are.",
        Entry::new(Group::Logs, Shape::Number, "N")
            .counts(Unit::Recipients, 1, u64::MAX)
            .default(Number(1));

    "log-level" log_level: Option<String> = "Which messages are told on standard error; debug tells of every session.",
        Entry::new(Group::Logs, Shape::Choice, "error|warning|info|debug")
            .default(Text("info"));

    "admin" admin: Vec<String> = "Where the admin endpoint listens (status page, metrics, probes): 127.0.0.1:9125, or unix:/run/mx6/admin.sock. Whoever \
        reaches it sees all decisions.",
        Entry::new(Group::Logs, Shape::Texts, "ADDR:PORT|unix:PATH")
            .default(Words("none"))
            .fixed();

    "otlp" otlp: Option<String> = "OpenTelemetry collector that gets decisions as spans by OTLP over HTTP, such as http://127.0.0.1:4318; one that is slow or away costs \
        spans, which are counted, and never mail.",
        Entry::new(Group::Logs, Shape::Text, "http://HOST:PORT")
            .default(Words("none"))
            .fixed();

    "cores" cores: Option<String> = "How many cores (`2`) or which (`0,1`, `0-3`): one shard is pinned to each.",
        Entry::new(Group::Process, Shape::NumberOrText, "N|LIST")
            .default(Text("1"))
            .fixed();

    "drain-timeout" drain_timeout: Option<u64> = "How long transactions may take to finish after SIGTERM.",
        Entry::new(Group::Process, Shape::Number, "SECONDS")
            .counts(Unit::S, 0, u64::MAX)
            .default(Number(limits::DRAIN_TIMEOUT_S_DEFAULT));

    "handover" handover: Option<PathBuf> = "Unix socket where a gate hands its listening sockets over to the one that is started next with the same option, and then \
        drains: an upgrade that refuses nobody.",
        Entry::new(Group::Process, Shape::Path, "PATH")
            .default(Words("none"))
            .fixed();

    "user" user: Option<String> = "User to become once sockets and log are open, for a gate that is started as root.",
        Entry::new(Group::Process, Shape::Text, "NAME[:GROUP]")
            .default(Words("stay who we are"))
            .fixed();

    "sandbox" sandbox: Option<String> = "`on`: files that the gate does not need cannot be reached any more once it runs (Landlock, where the kernel has it); `off`: \
        permissions alone decide.",
        Entry::new(Group::Process, Shape::Choice, "on|off")
            .default(Text("on"))
            .fixed();
}

impl Options {
    /// These options, and `below` where these say nothing. A list given above replaces the one below.
    #[must_use]
    pub fn over(self, below: Options) -> Options {
        let mut merged = below;
        // A zone and resolvers exclude each other: the layer that names one of them decides for both.
        if self.names_a_source() {
            (merged.zone, merged.dns_server) = (None, Vec::new());
        }
        merged.take(self);
        merged
    }

    /// Whether it is said where names are looked up.
    pub(super) fn names_a_source(&self) -> bool {
        NAME_SOURCES.iter().any(|key| !self.texts(key).is_empty())
    }
}

/// The options that exclude each other.
pub(super) const NAME_SOURCES: [&str; 2] = ["zone", "dns-server"];

/// The entry with that key.
#[must_use]
pub fn entry(key: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.key == key)
}

/// The known key that is written most like `key`, if any is like it.
pub(super) fn nearest_key(key: &str) -> Option<&'static str> {
    let distance = |known: &str| strsim::damerau_levenshtein(key, known);
    let nearest = REGISTRY.iter().map(|entry| entry.key).min_by_key(|known| distance(known))?;
    (distance(nearest) <= 3.max(nearest.len() / 2)).then_some(nearest)
}
