//! SPF results that are kept: evaluating with them in front gives what evaluating without them gives, while zones change under them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/dns_data.rs"]
mod dns_data;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dns_data::{Row, reverse_name, serve, serve_changing};
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, TtlLimits};
use mx6_message_auth::{AuthConfig, MessageAuth, MessageAuthCacheSizes, MessageAuthCaches};
use mx6_policy::facts::{CacheState, MethodResult, Spf, SpfIdentity};

struct Gate {
    auth: MessageAuth,
    caches: Caches,
}

impl Gate {
    fn new(config: &DnsConfig) -> Gate {
        let caches = Caches::new(&CacheSizes::default());
        let dns = Dns::new(config, caches.clone()).unwrap();
        let ours = AuthConfig { hostname: "mx.test".into(), authserv_id: "mx.test".into(), further_ids: Vec::new() };
        let auth = MessageAuth::new(dns, MessageAuthCaches::new(&MessageAuthCacheSizes::default()), ours).unwrap();
        Gate { auth, caches }
    }

    /// The result, and whether it was known: then not even a cache was asked.
    async fn spf(&self, sender: &Sender) -> (Spf, bool) {
        let lookups = || (self.caches.counters().hits, self.caches.counters().misses);
        let before = lookups();
        let spf = self.auth.spf(sender.client, &sender.helo, sender.reverse_path(), false).await;
        let known = lookups() == before && spf.cache != CacheState::Unused;
        (spf, known)
    }

    /// The result of an evaluation: an explanation is never taken from the results.
    async fn evaluated(&self, sender: &Sender) -> Spf {
        self.auth.spf(sender.client, &sender.helo, sender.reverse_path(), true).await
    }
}

#[derive(Debug, Clone)]
struct Sender {
    client: IpAddr,
    helo: String,
    /// None: the null reverse-path.
    mail_from: Option<(String, String)>,
}

impl Sender {
    fn new(client: &str, helo: &str, mail_from: &str) -> Sender {
        let mail_from = mail_from.rsplit_once('@').map(|(local_part, domain)| (local_part.into(), domain.into()));
        Sender { client: client.parse().unwrap(), helo: helo.into(), mail_from }
    }

    fn reverse_path(&self) -> Option<(&str, &str)> {
        self.mail_from.as_ref().map(|(local_part, domain)| (local_part.as_str(), domain.as_str()))
    }
}

/// What a result says, wherever it came from.
fn said(spf: &Spf) -> (MethodResult, SpfIdentity, &str, &str) {
    (spf.result, spf.identity, &spf.domain, &spf.reason)
}

fn over(rows: Vec<Row>) -> Gate {
    let (server, _) = serve(rows);
    Gate::new(&DnsConfig { servers: vec![server], ..DnsConfig::default() })
}

fn row(name: &str, kind: &'static str, data: &str) -> Row {
    (name.to_owned(), kind, data.to_owned())
}

const CLIENT: &str = "2001:db8::1";

#[test]
fn what_is_kept_and_for_whom() {
    let rows = vec![
        row("example", "SOA", ""),
        row("plain.example", "TXT", "\"v=spf1 ip6:2001:db8::/64 -all\""),
        row("local.example", "TXT", "\"v=spf1 exists:%{l}.yes.example -all\""),
        row("a.yes.example", "A", "127.0.0.2"),
        row("unreached.example", "TXT", "\"v=spf1 ip6:2001:db8::/64 exists:%{l}.yes.example -all\""),
        row("helo.example", "TXT", "\"v=spf1 include:%{h} -all\""),
        row("broken.example", "NS", "ns.elsewhere.invalid."),
        row("temp.example", "TXT", "\"v=spf1 include:x.broken.example -all\""),
        row("ptr.example", "TXT", "\"v=spf1 ptr -all\""),
        row("d.a.e.d.8.b.d.0.1.0.0.2.ip6.arpa", "NS", "ns.elsewhere.invalid."),
        row(&reverse_name(CLIENT), "PTR", "mail.ptr.example."),
        row("mail.ptr.example", "AAAA", CLIENT),
    ];
    let gate = over(rows);
    // In this order: each row finds what those before it have left.
    let table = [
        (CLIENT, "h.example", "a@plain.example", MethodResult::Pass, false),
        (CLIENT, "h.example", "a@plain.example", MethodResult::Pass, true),
        (CLIENT, "i.example", "b@PLAIN.example", MethodResult::Pass, true),
        (CLIENT, "plain.example", "", MethodResult::Pass, false),
        (CLIENT, "plain.example", "", MethodResult::Pass, true),
        ("2001:db8:1::1", "h.example", "a@plain.example", MethodResult::Fail, false),
        ("192.0.2.1", "h.example", "a@plain.example", MethodResult::Fail, false),
        ("::ffff:192.0.2.1", "h.example", "a@plain.example", MethodResult::Fail, true),
        (CLIENT, "h.example", "a@local.example", MethodResult::Pass, false),
        (CLIENT, "h.example", "b@local.example", MethodResult::Fail, false),
        (CLIENT, "h.example", "a@local.example", MethodResult::Pass, false),
        (CLIENT, "h.example", "a@unreached.example", MethodResult::Pass, false),
        (CLIENT, "h.example", "b@unreached.example", MethodResult::Pass, true),
        ("2001:db8:1::1", "h.example", "a@unreached.example", MethodResult::Pass, false),
        ("2001:db8:1::1", "h.example", "b@unreached.example", MethodResult::Fail, false),
        (CLIENT, "plain.example", "a@helo.example", MethodResult::Pass, false),
        (CLIENT, "nothing.example", "a@helo.example", MethodResult::PermError, false),
        (CLIENT, "h.example", "a@temp.example", MethodResult::TempError, false),
        (CLIENT, "h.example", "a@temp.example", MethodResult::TempError, false),
        (CLIENT, "h.example", "a@ptr.example", MethodResult::Pass, false),
        (CLIENT, "h.example", "b@ptr.example", MethodResult::Pass, true),
        // The PTR lookup fails for now, which does not match (RFC 7208 §5.5): nothing to rest a result on.
        ("2001:db8:dead::1", "h.example", "a@ptr.example", MethodResult::Fail, false),
        ("2001:db8:dead::1", "h.example", "a@ptr.example", MethodResult::Fail, false),
        (CLIENT, "h.example", "a@nothing.example", MethodResult::None, false),
        (CLIENT, "h.example", "b@nothing.example", MethodResult::None, true),
    ];
    mx6_runtime::run_local(|| async {
        for (client, helo, mail_from, result, known) in table {
            let sender = Sender::new(client, helo, mail_from);
            let (spf, was_known) = gate.spf(&sender).await;
            assert_eq!((spf.result, was_known), (result, known), "{sender:?}: {spf:?}");
            assert_eq!(said(&spf), said(&gate.evaluated(&sender).await), "{sender:?}");
            assert!(!known || spf.cache == CacheState::Hit, "{sender:?}");
        }
        // Nothing is looked up for what is no domain, and nothing is kept.
        let literal = Sender::new(CLIENT, "h.example", "a@[IPv6:::1]");
        assert_eq!(gate.spf(&literal).await.0.cache, CacheState::Unused);
        assert_eq!(gate.spf(&literal).await.0.cache, CacheState::Unused);
    })
    .unwrap();
}

/// Answers that stand in while the resolver fails are no ground for a result that lasts.
#[test]
fn nothing_rests_on_stale_answers() {
    let rows = vec![row("example", "SOA", ""), row("plain.example", "TXT", "\"v=spf1 ip6:2001:db8::/64 -all\"")];
    let rows = Arc::new(Mutex::new(rows));
    let (server, _) = serve_changing(rows.clone(), |_| 1);
    mx6_runtime::run_local(|| async {
        let gate = Gate::new(&config(server));
        let sender = Sender::new(CLIENT, "h.example", "a@plain.example");
        assert!(!gate.spf(&sender).await.1 && gate.spf(&sender).await.1);
        mx6_runtime::sleep(Duration::from_millis(1_050)).await;
        rows.lock().unwrap().push(row("plain.example", "NS", "ns.elsewhere.invalid."));
        for _ in 0..3 {
            let (spf, known) = gate.spf(&sender).await;
            assert_eq!((spf.result, spf.cache, known), (MethodResult::Pass, CacheState::Stale, false));
        }
    })
    .unwrap();
}

fn config(server: std::net::SocketAddr) -> DnsConfig {
    let ttl = TtlLimits { floor_s: 0, ..TtlLimits::default() };
    DnsConfig { servers: vec![server], ttl, ..DnsConfig::default() }
}

/// Random numbers, the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const ZONES: usize = 60;
const CLIENTS: [&str; 3] = ["2001:db8::1", "2001:db8::2", "192.0.2.1"];
const TERMS: [&str; 20] = [
    "a",
    "a:h1.Z",
    "a:h2.Z",
    "mx",
    "mx:d1.Z",
    "ptr",
    "ptr:Z",
    "ip6:2001:db8::2",
    "include:d1.Z",
    "include:d2.Z",
    "exists:%{l}.l.Z",
    "exists:%{i}.i.Z",
    "exists:%{h}",
    "exists:%{o}",
    "exists:%{d1r}.%{v}.Z",
    "exists:%{p}",
    "exists:%{s}.l.Z",
    "a:%{l}.l.Z",
    "include:%{h}",
    "a:gone.Z",
];

/// The records of one zone, drawn anew at each change.
fn draw(random: &mut Random, zone: &str) -> Vec<Row> {
    let mut rows = vec![row(zone, "SOA", "")];
    for domain in ["d1", "d2", "d3"] {
        let terms = (0..1 + random.below(4))
            .map(|_| random.pick(&["", "", "", "~", "?", "-"]).to_owned() + random.pick(&TERMS));
        let mut terms: Vec<String> = terms.collect();
        terms.push(random.pick(&["-all", "~all", "?all", "redirect=d1.Z", "redirect=%{l}.Z", "-all"]).to_owned());
        let record = format!("\"v=spf1 {}\"", terms.join(" ").replace('Z', zone));
        rows.push(row(&format!("{domain}.{zone}"), "TXT", &record));
    }
    let hosts = ["d1", "d2", "d3", "h1", "h2", "a.l", "b.l", "postmaster.l", "1.0.0.2.i"];
    for host in hosts.iter().filter(|_| random.below(3) > 0).collect::<Vec<_>>() {
        match random.pick(&CLIENTS) {
            v4 if v4.contains('.') => rows.push(row(&format!("{host}.{zone}"), "A", v4)),
            v6 => rows.push(row(&format!("{host}.{zone}"), "AAAA", v6)),
        }
    }
    for domain in ["d1", "d2"] {
        rows.push(row(
            &format!("{domain}.{zone}"),
            "MX",
            &format!("10 {}.{zone}.", random.pick(&["h1", "h2", "gone"])),
        ));
    }
    if random.below(6) == 0 {
        rows.push(row(&format!("h2.{zone}"), "NS", "ns.elsewhere.invalid."));
    }
    rows
}

fn draw_all(random: &mut Random) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..ZONES).flat_map(|number| draw(random, &format!("z{number}.test"))).collect();
    let zone = random.below(ZONES);
    rows.push(row(&reverse_name(CLIENTS[0]), "PTR", &format!("h1.z{zone}.test.")));
    rows.push(row("1.2.0.192.in-addr.arpa", "PTR", &format!("h2.z{zone}.test.")));
    rows
}

/// One to three seconds, by the name.
fn ttl_s(name: &str) -> u32 {
    1 + name.bytes().map(u32::from).sum::<u32>() % 3
}

/// Zones are drawn, change again and again, and their answers end at different times; a result must always be one that an evaluation gives
/// just before or just after it.
#[test]
fn results_equal_evaluations_while_zones_change() {
    let mut random = Random(0x6d78_3601);
    let rows = Arc::new(Mutex::new(draw_all(&mut random)));
    let (server, _) = serve_changing(rows.clone(), ttl_s);
    let (mut known, mut total, mut changed) = (0, 0, 0);
    mx6_runtime::run_local(|| async {
        // Failures are counted as temporary at once; nothing stands in, which would hide changes.
        let gate = Gate::new(&DnsConfig { stale: Duration::ZERO, ..config(server) });
        let mut last = std::collections::HashMap::new();
        for round in 0..10 {
            for number in 0..ZONES {
                let zone = format!("z{number}.test");
                for _ in 0..8 {
                    let domain = format!("{}.{zone}", random.pick(&["d1", "d1", "d2", "d3"]));
                    let helo = format!("{}.{zone}", random.pick(&["h1", "d2", "d3"]));
                    let mail_from = format!("{}@{domain}", random.pick(&["a", "b", "", "c.d"]));
                    let mail_from = if random.below(4) == 0 { "" } else { &mail_from };
                    let sender = Sender::new(random.pick(&CLIENTS), &helo, mail_from);
                    let before = gate.evaluated(&sender).await;
                    let (spf, was_known) = gate.spf(&sender).await;
                    if said(&spf) != said(&before) {
                        let after = gate.evaluated(&sender).await;
                        assert_eq!(said(&spf), said(&after), "round {round}, {sender:?}: before {:?}", said(&before));
                    }
                    known += usize::from(was_known);
                    total += 1;
                    let what = (sender.client, sender.helo.clone(), sender.mail_from.clone());
                    changed += usize::from(last.insert(what, spf.result).is_some_and(|last| last != spf.result));
                }
            }
            *rows.lock().unwrap() = draw_all(&mut random);
            mx6_runtime::sleep(Duration::from_millis(random.below(1_200) as u64)).await;
        }
    })
    .unwrap();
    println!("{total} results, {known} of them known, {changed} other than that sender's last");
    assert!(known > total / 10 && changed > 100, "{known} known, {changed} changed of {total}");
}
