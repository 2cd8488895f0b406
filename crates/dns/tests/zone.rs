//! The zone file in place of the network (RFC 1034 §4.3.2, RFC 1035 §5, RFC 4592).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, DnsError, Lookup, Source, TxtCache, Zone};
use mx6_runtime::run_local;
use support::{Text, soon};

const ZONES: &str = r#"
$ORIGIN example.
$TTL 1h
@        IN SOA  ns host ( 2026010100 ; serial
                           7200 3600 1209600
                           5m )
         IN NS   ns
         IN MX   10 mail
         IN MX   20 backup.other.test.
ns       IN A    192.0.2.53
mail     600 IN A 192.0.2.25
mail     IN AAAA 2001:db8::25
Mixed.CASE IN A  192.0.2.9
@        IN TXT  "v=spf1 " "ip6:2001:db8::/64 -all"
         IN TXT  second ; unquoted
quote    IN TXT  "a;b \"c\" d\\e"
_dmarc   IN TXT  "v=DMARC1; p=none"
sel._domainkey IN TXT ( "v=DKIM1; k=rsa; "
                        "p=MIGf" )
a.b.deep IN A    192.0.2.77
alias    120 IN CNAME mail
chain    IN CNAME alias
out      IN CNAME www.elsewhere.test.
dangling IN CNAME nothing
circle   IN CNAME circle2
circle2  IN CNAME circle
*.wild   IN A    192.0.2.42
*.wild   IN TXT  "wild"
here.wild IN AAAA 2001:db8::42
x.ent.wild IN A 192.0.2.43
*.to-alias IN CNAME mail
sub      IN NS   ns.sub
ns.sub   IN A    192.0.2.54
child    IN SOA  ns host 1 1 1 1 60
www.child IN A   192.0.2.80
null     IN MX   0 .
2.0.192.in-addr.arpa. IN SOA ns host 1 1 1 1 1d
25.2.0.192.in-addr.arpa. IN PTR mail
8.b.d.0.1.0.0.2.ip6.arpa. IN SOA ns host 1 1 1 1 10
$ORIGIN 0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.
5.2.0.0.0.0.0.0.0.0.0.0 IN PTR Mail.Example.
"#;

fn zone(text: &str) -> Result<Zone, DnsError> {
    Zone::parse(text, Path::new("test.zone"))
}

fn resolver(text: &str) -> Dns {
    let config = DnsConfig { zone: Some(zone(text).unwrap()), ..DnsConfig::default() };
    Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap()
}

/// A lookup as one word or list.
fn shown<T>(lookup: Lookup<T>, show: impl Fn(T) -> String) -> String {
    match lookup {
        Lookup::Found(value) => show(value),
        Lookup::NoData => "nodata".to_owned(),
        Lookup::NxDomain => "nxdomain".to_owned(),
        Lookup::Failed(failure) => failure.word().to_owned(),
    }
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn addresses() {
    let cases = [
        ("mail.example", "192.0.2.25"),
        ("MAIL.Example.", "192.0.2.25"),
        ("mixed.case.example", "192.0.2.9"),
        ("example", "nodata"),
        ("nothing.example", "nxdomain"),
        ("deep.example", "nodata"),
        ("b.deep.example", "nodata"),
        ("a.b.deep.example", "192.0.2.77"),
        ("c.b.deep.example", "nxdomain"),
        ("alias.example", "192.0.2.25"),
        ("chain.example", "192.0.2.25"),
        ("dangling.example", "nxdomain"),
        ("out.example", "nxdomain"),
        ("circle.example", "cname chain"),
        // RFC 4592: any depth below, but not the name itself, and not past a name that exists.
        ("one.wild.example", "192.0.2.42"),
        ("two.one.wild.example", "192.0.2.42"),
        ("*.wild.example", "192.0.2.42"),
        ("wild.example", "nodata"),
        ("here.wild.example", "nodata"),
        ("below.here.wild.example", "nxdomain"),
        ("ent.wild.example", "nodata"),
        ("y.ent.wild.example", "nxdomain"),
        ("x.ent.wild.example", "192.0.2.43"),
        ("any.to-alias.example", "192.0.2.25"),
        // Delegated: nobody to ask, glue is no answer.
        ("sub.example", "servfail"),
        ("ns.sub.example", "servfail"),
        ("www.sub.example", "servfail"),
        // A zone of its own in the same file.
        ("www.child.example", "192.0.2.80"),
        ("no.child.example", "nxdomain"),
        // Outside every SOA.
        ("www.elsewhere.test", "nxdomain"),
        ("test", "nxdomain"),
        ("a..b", "nxdomain"),
    ];
    run_local(|| async {
        let dns = resolver(ZONES);
        for (name, expected) in cases {
            let answer = dns.a(name, soon()).await;
            assert_eq!(shown(answer.lookup, |a| list(&a)), expected, "{name}");
            let again = dns.cached_a(name).unwrap();
            assert_eq!(shown(again.lookup, |a| list(&a)), expected, "{name} again");
            if name != "a..b" {
                assert_eq!((answer.source, again.source), (Source::Zone, Source::Zone));
            }
        }
        let counters = dns.caches().counters();
        assert_eq!((counters.queries_udp, counters.misses), (0, 0));
    })
    .unwrap();
}

#[test]
fn other_types() {
    run_local(|| async {
        let dns = resolver(ZONES);
        let aaaa = |name: &'static str| {
            let dns = dns.clone();
            async move { shown(dns.aaaa(name, soon()).await.lookup, |aaaa| list(&aaaa)) }
        };
        assert_eq!(aaaa("chain.example").await, "2001:db8::25");
        assert_eq!(aaaa("here.wild.example").await, "2001:db8::42");
        assert_eq!(aaaa("one.wild.example").await, "nodata");
        let mx = dns.mx("example", soon()).await.lookup.found().unwrap();
        let mut mx: Vec<(u16, &str)> = mx.iter().map(|mx| (mx.preference, &*mx.exchange)).collect();
        mx.sort_unstable();
        assert_eq!(mx, [(10, "mail.example"), (20, "backup.other.test")]);
        assert_eq!(&*dns.mx("null.example", soon()).await.lookup.found().unwrap()[0].exchange, "");
        let ptr = |address: &str| dns.cached_ptr(address.parse().unwrap()).unwrap().lookup;
        assert_eq!(shown(ptr("192.0.2.25"), |names| list(&names)), "mail.example");
        assert_eq!(shown(ptr("::ffff:192.0.2.25"), |names| list(&names)), "mail.example");
        assert_eq!(shown(ptr("2001:db8::25"), |names| list(&names)), "mail.example");
        assert_eq!(shown(ptr("192.0.2.26"), |names| list(&names)), "nxdomain");
        assert_eq!(shown(ptr("2001:db8::"), |names| list(&names)), "nxdomain");
        assert_eq!(shown(ptr("198.51.100.1"), |names| list(&names)), "nxdomain");
    })
    .unwrap();
}

#[test]
fn texts() {
    let cases = [
        ("example", "v=spf1 ip6:2001:db8::/64 -all|second"),
        ("quote.example", r#"a;b "c" d\e"#),
        ("_dmarc.example", "v=DMARC1; p=none"),
        ("sel._domainkey.example", "v=DKIM1; k=rsa; p=MIGf"),
        ("some.wild.example", "wild"),
        ("mail.example", "nodata"),
        ("no.example", "nxdomain"),
        ("sel._domainkey.sub.example", "servfail"),
    ];
    run_local(|| async {
        let dns = resolver(ZONES);
        let cache: TxtCache<Text> = TxtCache::new(1 << 20);
        for (name, expected) in cases {
            let text = |value: std::sync::Arc<Text>| {
                let mut texts = value.0.clone();
                texts.sort_by_key(|text| !text.starts_with("v="));
                texts.join("|")
            };
            assert_eq!(shown(dns.txt(&cache, name, soon()).await.lookup, text), expected, "{name}");
        }
        let (first, second) = (dns.cached_txt(&cache, "example").unwrap(), dns.cached_txt(&cache, "example").unwrap());
        let (first, second) = (first.lookup.found().unwrap(), second.lookup.found().unwrap());
        assert!(std::sync::Arc::ptr_eq(&first, &second), "parsed once");
    })
    .unwrap();
}

#[test]
fn faults_name_file_and_line() {
    let cases = [
        ("a.test. 60 IN A 192.0.2.1\nb.test. 60 IN A 192.0.2.300\nc.test. 60 IN A 192.0.2.3\n", 2, "an IPv4 address"),
        ("; first\n\n  ; third\na.test. 60 IN NOTYPE x\n", 4, "`NOTYPE` is no record type"),
        ("a.test. 60 IN TXT ( \"one\"\n \"two\"\n \"three\" )\nb.test. 60 IN MX ten mail.test.\n", 4, "preference"),
        ("a.test. 60 IN TXT ( \"(;\" ; )\n \"b\" )\nb.test. 60 IN A x", 3, "an IPv4 address"),
        ("a.test. 60 IN A 192.0.2.1\nb.test. 60 IN TXT \"open\nc.test. 60 IN A 192.0.2.3\n", 2, "not closed"),
        ("a.test. 60 IN TXT (\n \"one\"\n", 1, "without `)`"),
        ("$INCLUDE missing.zone\n", 1, "missing.zone: No such file"),
        ("$GENERATE 1-3 a$ A 192.0.2.$\n", 1, "$GENERATE is not supported"),
        ("$ORIGIN\n", 1, "one argument"),
        ("\n$TTL soon\n", 2, "`soon` is no time"),
        (" 60 IN A 192.0.2.1\n", 1, "no owner"),
        ("a.test. 60 CH TXT x\n", 1, "class CH"),
        ("a.test. 60 IN\n", 1, "no type"),
        ("a.test. 60 IN DNAME b.test.\n", 1, "DNAME"),
        ("a.test. 60 IN SOA ns host 1 1 1 1\n", 1, "five numbers"),
        ("a..test. 60 IN A 192.0.2.1\n", 1, "label is empty"),
        ("a.test. 60 IN CNAME\n", 1, "one name"),
        ("a.test. 60 IN A 192.0.2.1\na.test. 60 IN CNAME b.test.\n", 0, "a.test. has a CNAME record and another"),
    ];
    for (text, line, part) in cases {
        match zone(text) {
            Err(error @ DnsError::Zone { line: found, .. }) => {
                assert_eq!(found, line, "{text}: {error}");
                let place = if line == 0 { "test.zone: ".to_owned() } else { format!("test.zone:{line}: ") };
                assert!(error.to_string().starts_with(&place), "{error}");
                assert!(error.to_string().contains(part), "{error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let long = format!("a.test. TXT \"{}\"", "x".repeat(256));
    assert!(zone(&long).unwrap_err().to_string().contains("255 octets"));
    assert!(zone("").is_ok());
    // Types that nobody asks for are not read.
    assert!(zone("a.test. CAA 0 issue \"ca.test\"\na.test. TYPE65280 \\# 1 00\na.test. SPF \"v=spf1 -all\"\n").is_ok());
}

#[test]
fn includes_are_relative_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("parts")).unwrap();
    let main = directory.path().join("main.zone");
    std::fs::write(&main, "$ORIGIN test.\n@ 60 SOA ns host 1 1 1 1 1\n$INCLUDE parts/more.zone\n$include parts/more.zone sub\nend A 192.0.2.2\n").unwrap();
    std::fs::write(
        directory.path().join("parts/more.zone"),
        "www IN A 192.0.2.1\n$ORIGIN elsewhere.test.\nx A 192.0.2.3\n",
    )
    .unwrap();
    let zone = Zone::load(&main).unwrap();
    run_local(|| async {
        let config = DnsConfig { zone: Some(zone), ..DnsConfig::default() };
        let dns = Dns::new(&config, Caches::new(&CacheSizes::default())).unwrap();
        for name in ["www.test", "www.sub.test", "end.test", "x.elsewhere.test"] {
            assert!(dns.cached_a(name).unwrap().lookup.found().is_some(), "{name}");
        }
    })
    .unwrap();
    std::fs::write(directory.path().join("parts/more.zone"), "\nwww IN A none\n").unwrap();
    assert!(Zone::load(&main).unwrap_err().to_string().contains("parts/more.zone:2: A record"));
    std::fs::write(directory.path().join("parts/more.zone"), "$INCLUDE more.zone\n").unwrap();
    assert!(Zone::load(&main).unwrap_err().to_string().contains("more than 8 files"));
    assert!(matches!(Zone::load(&directory.path().join("absent")), Err(DnsError::Zone { line: 0, .. })));
}

#[test]
fn a_resolver_needs_servers_or_a_zone() {
    let caches = Caches::new(&CacheSizes::default());
    assert_eq!(Dns::new(&DnsConfig::default(), caches.clone()).err(), Some(DnsError::NoServers));
    let many = DnsConfig { servers: vec!["[::1]:53".parse().unwrap(); 9], ..DnsConfig::default() };
    assert_eq!(Dns::new(&many, caches).err(), Some(DnsError::TooManyServers(9)));
}
