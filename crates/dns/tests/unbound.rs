//! The network path against unbound, and the zone file against unbound serving the same file: both must say the same.
//!
//! Skipped with a notice where unbound is not installed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Lookup, TtlLimits, TxtCache, Zone};
use mx6_runtime::{run_local, sleep};
use support::{Text, soon};

const EXAMPLE: &str = r#"
$ORIGIN example.
$TTL 1h
@        IN SOA  ns host ( 1 7200 3600 1209600 5m )
         IN NS   ns
         IN MX   10 mail
         IN MX   20 Backup.Other.test.
         IN TXT  "v=spf1 " "ip6:2001:db8::/64 -all"
         IN TXT  second
ns       IN A    192.0.2.53
mail     600 IN A 192.0.2.25
mail     IN AAAA 2001:db8::25
quote    IN TXT  "a;b \"c\" d\\e \200\000"
sel._domainkey IN TXT ( "v=DKIM1; k=rsa; "
                        "p=MIGf" )
big      IN TXT  ( "BIG" "BIG" "BIG" "BIG" "BIG" "BIG" "BIG" "BIG" )
a.b.deep IN A    192.0.2.77
alias    120 IN CNAME mail
chain    IN CNAME alias
out      IN CNAME www.other.test.
dangling IN CNAME nothing
*.wild   IN A    192.0.2.42
here.wild IN AAAA 2001:db8::42
x.ent.wild IN A 192.0.2.43
*.to-alias IN CNAME mail
sub      IN NS   ns.sub
ns.sub   IN A    192.0.2.54
null     IN MX   0 .
od\.d    IN A    192.0.2.99
"#;

const OTHER: &str = r#"
$ORIGIN other.test.
@        60 IN SOA ns host 1 1 1 1 60
         IN NS   ns
ns       IN A    192.0.2.53
www      IN A    192.0.2.80
backup   IN A    192.0.2.26
"#;

const REVERSE: &str = r#"
$ORIGIN 8.b.d.0.1.0.0.2.ip6.arpa.
@        60 IN SOA ns.example. host.example. 1 1 1 1 60
         IN NS   ns.example.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 IN PTR Mail.Example.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 IN PTR we\032ird.example.
"#;

fn example() -> String {
    EXAMPLE.replace("BIG", &"0123456789".repeat(24))
}

struct Unbound {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A recursive resolver that finds our zones without leaving the machine; `None` when unbound is not installed.
fn unbound() -> Option<Unbound> {
    let program = ["/usr/sbin/unbound", "/usr/local/sbin/unbound", "/usr/bin/unbound"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(program) = program else {
        println!("SKIPPED: unbound is not installed");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = format!(
        "server:\n interface: 127.0.0.1@{port}\n port: {port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n \
         use-syslog: no\n logfile: \"\"\n directory: \"{}\"\n module-config: \"iterator\"\n num-threads: 1\n unblock-lan-zones: yes\n \
         root-hints: \"\"\n outbound-msg-retry: 1\n",
        directory.path().display(),
    );
    let zones =
        [("example.", example()), ("other.test.", OTHER.to_owned()), ("8.b.d.0.1.0.0.2.ip6.arpa.", REVERSE.to_owned())];
    for (name, _) in &zones {
        writeln!(config, " local-zone: \"{name}\" nodefault").unwrap();
    }
    config.push_str(" local-zone: \"test.\" nodefault\nremote-control:\n control-enable: no\n");
    for (index, (name, text)) in zones.iter().enumerate() {
        std::fs::write(directory.path().join(format!("{index}.zone")), text).unwrap();
        writeln!(
            config,
            "auth-zone:\n name: \"{name}\"\n zonefile: \"{index}.zone\"\n for-downstream: no\n for-upstream: yes"
        )
        .unwrap();
    }
    let path = directory.path().join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    let child = Command::new(program).arg("-d").arg("-c").arg(&path).stderr(Stdio::null()).spawn().unwrap();
    let unbound = Unbound { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _directory: directory };
    let start = Instant::now();
    while TcpStream::connect(unbound.address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "unbound does not start");
        std::thread::yield_now();
    }
    Some(unbound)
}

/// Everything about a name in one line.
async fn told(dns: &Dns, texts: &TxtCache<Text>, name: &str) -> String {
    let a = dns.a(name, soon()).await;
    let aaaa = dns.aaaa(name, soon()).await;
    let mx = dns.mx(name, soon()).await;
    let txt = dns.txt(texts, name, soon()).await;
    format!(
        "{name}: A {} | AAAA {} | MX {} | TXT {}",
        shown(a.lookup, |a| sorted(a.iter().map(ToString::to_string))),
        shown(aaaa.lookup, |aaaa| sorted(aaaa.iter().map(ToString::to_string))),
        shown(mx.lookup, |mx| sorted(mx.iter().map(|mx| format!("{} {}", mx.preference, mx.exchange)))),
        shown(txt.lookup, |txt| sorted(txt.0.iter().cloned())),
    )
}

fn shown<T>(lookup: Lookup<T>, show: impl Fn(T) -> String) -> String {
    match lookup {
        Lookup::Found(value) => show(value),
        Lookup::NoData => "nodata".to_owned(),
        Lookup::NxDomain => "nxdomain".to_owned(),
        Lookup::Failed(_) => "failed".to_owned(),
    }
}

fn sorted(values: impl Iterator<Item = String>) -> String {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.join(", ")
}

const NAMES: &[&str] = &[
    "example",
    "mail.example",
    "MAIL.Example.",
    "nothing.example",
    "deep.example",
    "b.deep.example",
    "a.b.deep.example",
    "c.b.deep.example",
    "alias.example",
    "chain.example",
    "out.example",
    "dangling.example",
    "one.wild.example",
    "two.one.wild.example",
    "wild.example",
    "here.wild.example",
    "below.here.wild.example",
    "ent.wild.example",
    // Not y.ent.wild.example: RFC 4592 §2.2.1 says for such a name (its `_telnet._tcp.host1.example`) that the empty
    // non-terminal blocks the wildcard, as ours does; unbound 1.17 lets the wildcard answer.
    "any.to-alias.example",
    "null.example",
    "quote.example",
    "sel._domainkey.example",
    "big.example",
    "od.d.example",
    "www.other.test",
    "no.other.test",
];

#[test]
fn the_zone_file_says_what_unbound_says() {
    let Some(unbound) = unbound() else { return };
    let all = format!("{}\n{OTHER}\n{REVERSE}", example());
    run_local(|| async {
        let network = DnsConfig {
            servers: vec![unbound.address],
            ttl: TtlLimits { floor_s: 0, ..TtlLimits::default() },
            ..DnsConfig::default()
        };
        let network = Dns::new(&network, Caches::new(&CacheSizes::default())).unwrap();
        let zone = DnsConfig { zone: Some(Zone::parse(&all, Path::new("all.zone")).unwrap()), ..DnsConfig::default() };
        let zone = Dns::new(&zone, Caches::new(&CacheSizes::default())).unwrap();
        let (network_texts, zone_texts) = (TxtCache::new(1 << 20), TxtCache::new(1 << 20));
        let mut same = 0;
        for name in NAMES {
            let (ours, theirs) = (told(&zone, &zone_texts, name).await, told(&network, &network_texts, name).await);
            println!("{theirs}");
            assert_eq!(ours, theirs);
            same += 1;
        }
        println!("{same} of {} names", NAMES.len());
        for address in ["2001:db8::25", "2001:db8::26"] {
            let address = address.parse().unwrap();
            let names = |lookup| {
                shown(lookup, |names: std::sync::Arc<[Box<str>]>| sorted(names.iter().map(ToString::to_string)))
            };
            let (ours, theirs) = (zone.ptr(address, soon()).await.lookup, network.ptr(address, soon()).await.lookup);
            assert_eq!(names(ours), names(theirs));
        }
        let ptr = network.ptr("2001:db8::25".parse().unwrap(), soon()).await.lookup.found().unwrap();
        assert!(ptr.iter().any(|name| &**name == "we\\032ird.example"), "{ptr:?}");
        let counters = network.caches().counters();
        assert!(counters.queries_tcp > 0, "big.example does not fit in a datagram");
        // TTLs of a resolver that has the records since a moment ago.
        let alias = network.a("chain.example", soon()).await;
        assert!(alias.ttl_s > 60 && alias.ttl_s <= 120, "{}", alias.ttl_s);
        let absent = network.a("nothing.example", soon()).await;
        assert!(absent.ttl_s > 200 && absent.ttl_s <= 300, "{}", absent.ttl_s);
    })
    .unwrap();
}

#[test]
fn a_resolver_that_goes_away_and_comes_back() {
    let Some(mut unbound) = unbound() else { return };
    run_local(|| async {
        let config = DnsConfig {
            servers: vec![unbound.address],
            query_timeout: Duration::from_millis(500),
            ttl: TtlLimits { floor_s: 0, ..TtlLimits::default() },
            ..DnsConfig::default()
        };
        let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap();
        assert!(dns.a("mail.example", soon()).await.lookup.found().is_some());
        unbound.child.kill().unwrap();
        unbound.child.wait().unwrap();
        let gone = dns.a("ns.example", soon()).await;
        assert!(gone.lookup.is_failed(), "{gone:?}");
        assert!(dns.a("mail.example", soon()).await.lookup.found().is_some(), "what is known stays known");
        sleep(Duration::from_millis(10)).await;
    })
    .unwrap();
}
