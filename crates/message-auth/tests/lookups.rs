//! iprev, SPF, DKIM keys and DMARC over real DNS: the same tables over a zone file, where nothing may suspend, and
//! over a server on loopback, cold and then warm, where the second time must cause no query and may not suspend.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/dns_data.rs"]
mod dns_data;

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::Ordering;

use dns_data::{Row, reverse_name, serve, zone_file};
use futures_util::FutureExt;
use mx6_dkim::{Header, KeyAnswer};
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Zone};
use mx6_message_auth::{AuthConfig, Author, MessageAuth, MessageAuthCacheSizes, MessageAuthCaches};
use mx6_policy::facts::{CacheState, Dkim, DmarcPolicy, MethodResult, PtrState, Spf, SpfIdentity};

const SOA: &str = "ns.example. admin.example. 1 3600 600 86400 300";

fn rows() -> Vec<Row> {
    let reverse = [
        ("2001:db8::1", "mail.example."),
        ("2001:db8::2", "other.example."),
        ("2001:db8::4", "gone.example."),
        ("2001:db8::5", "x.broken.example."),
        ("2001:db8::7", "localhost."),
        ("2001:db8::8", "x.broken.example."),
        ("2001:db8::8", "other.example."),
        ("2001:db8::c", "v4.example."),
        ("2001:db8::a", "other.example."),
        ("2001:db8::a", "mail-a.example."),
    ];
    let forward = [
        ("example", "SOA", SOA),
        ("8.b.d.0.1.0.0.2.ip6.arpa", "SOA", SOA),
        ("2.0.192.in-addr.arpa", "SOA", SOA),
        ("broken.example", "NS", "ns.elsewhere.invalid."),
        ("d.a.e.d.8.b.d.0.1.0.0.2.ip6.arpa", "NS", "ns.elsewhere.invalid."),
        ("1.2.0.192.in-addr.arpa", "PTR", "v4.example."),
        ("v4.example", "A", "192.0.2.1"),
        ("mail.example", "AAAA", "2001:db8::1"),
        ("mail-a.example", "AAAA", "2001:db8::a"),
        ("other.example", "AAAA", "2001:db8::99"),
        ("pass.example", "TXT", "\"v=spf1 ip6:2001:db8::/32 -all\""),
        ("fail.example", "TXT", "\"v=spf1 -all exp=why.example\""),
        ("early.example", "TXT", "\"v=spf1 a:v4.example a:silent.example -all\""),
        ("why.example", "TXT", "\"%{c} may not\""),
        ("hosts.example", "TXT", "\"v=spf1 a:v4.example mx:mx.example include:soft.example -all\""),
        ("soft.example", "TXT", "\"v=spf1 a:other.example ~all\""),
        ("soft2.example", "TXT", "\"v=spf1 redirect=soft.example\""),
        ("mx.example", "MX", "10 mail.example."),
        ("two.example", "TXT", "\"v=spf1 -all\""),
        ("two.example", "TXT", "\"v=spf1 +all\""),
        ("half.example", "TXT", "\"v=spf1 include:x.broken.example -all\""),
        ("s._domainkey.example", "TXT", "\"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\""),
        ("_dmarc.reject.example", "TXT", "\"v=DMARC1; p=reject; sp=quarantine; np=none\""),
        ("sub.reject.example", "A", "192.0.2.7"),
        ("_dmarc.strict.example", "TXT", "\"v=DMARC1; p=quarantine; adkim=s; aspf=s\""),
        ("_dmarc.testing.example", "TXT", "\"v=DMARC1; p=reject; t=y\""),
        ("_dmarc.testing2.example", "TXT", "\"v=DMARC1; p=none; sp=none; np=quarantine; t=y\""),
        ("_dmarc.monitor.example", "TXT", "\"v=DMARC1; p=none\""),
        ("_dmarc.bad.example", "TXT", "\"v=DMARC1; p=maybe\""),
        ("_dmarc.two.example", "TXT", "\"v=DMARC1; p=reject\""),
        ("_dmarc.two.example", "TXT", "\"v=DMARC1; p=none\""),
    ];
    let mut rows: Vec<Row> =
        forward.iter().map(|(name, kind, data)| (name.to_string(), *kind, data.to_string())).collect();
    rows.extend(reverse.iter().map(|(address, name)| (reverse_name(address), "PTR", name.to_string())));
    rows.extend((0..12).map(|at| (reverse_name("2001:db8::9"), "PTR", format!("n{at}.example."))));
    rows
}

fn message_auth(config: &DnsConfig) -> MessageAuth {
    let dns = Dns::new(config, Caches::new(&CacheSizes::default())).unwrap();
    let ours = AuthConfig { hostname: "mx.test".into(), authserv_id: "mx.test".into(), further_ids: Vec::new() };
    MessageAuth::new(dns, MessageAuthCaches::new(&MessageAuthCacheSizes::default()), ours).unwrap()
}

/// How a future is awaited, and where its answers must come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Zone,
    Cold,
    Warm,
}

impl Pass {
    /// Warm or over a zone file, everything is ready at the first poll.
    async fn run<T>(self, what: &str, future: impl Future<Output = T>) -> T {
        match self {
            Pass::Cold => future.await,
            Pass::Zone | Pass::Warm => future.now_or_never().unwrap_or_else(|| panic!("{self:?} {what} suspended")),
        }
    }

    fn cache(self) -> CacheState {
        if self == Pass::Cold { CacheState::Miss } else { CacheState::Hit }
    }
}

/// Runs `table` over a zone file, then twice over a server.
fn three_times<F: AsyncFn(&MessageAuth, Pass)>(table: F) {
    mx6_runtime::run_local(|| async {
        let zone = Zone::parse(&zone_file(&rows()), Path::new("rows")).unwrap();
        let over_zone = message_auth(&DnsConfig { zone: Some(zone), ..DnsConfig::default() });
        table(&over_zone, Pass::Zone).await;

        let (server, queries) = serve(rows());
        let over_server = message_auth(&DnsConfig { servers: vec![server], ..DnsConfig::default() });
        table(&over_server, Pass::Cold).await;
        let cold = queries.load(Ordering::Relaxed);
        table(&over_server, Pass::Warm).await;
        assert_eq!(queries.load(Ordering::Relaxed), cold, "the second time nothing is asked");
    })
    .unwrap();
}

#[test]
fn iprev() {
    use MethodResult::{Fail, Pass as Passed, PermError, TempError};
    use PtrState::{Exists, Missing, TempFail};
    let table = [
        ("2001:db8::1", Exists, Passed, Some("mail.example"), 1),
        ("2001:db8::a", Exists, Passed, Some("mail-a.example"), 2),
        ("192.0.2.1", Exists, Passed, Some("v4.example"), 1),
        ("::ffff:192.0.2.1", Exists, Passed, Some("v4.example"), 1),
        ("2001:db8::2", Exists, Fail, None, 1),
        ("2001:db8::4", Exists, Fail, None, 1),
        // A name with an address, but none of the client's kind.
        ("2001:db8::c", Exists, Fail, None, 1),
        ("2001:db8::8", Exists, Fail, None, 2),
        ("2001:db8::9", Exists, Fail, None, 10),
        ("2001:db8::5", Exists, TempError, None, 1),
        ("2001:db8:dead::1", TempFail, TempError, None, 0),
        ("2001:db8::3", Missing, PermError, None, 0),
        ("2001:db8::7", Missing, PermError, None, 0),
    ];
    three_times(async |auth, pass| {
        for (client, ptr, result, confirmed, names) in table {
            let iprev = pass.run(client, auth.iprev(client.parse().unwrap())).await;
            let seen = (iprev.ptr, iprev.result, iprev.confirmed.as_deref(), iprev.names.len());
            assert_eq!(seen, (ptr, result, confirmed, names), "{pass:?} {client}");
            // The mapped form of an address comes after the plain one.
            assert!(iprev.cache == pass.cache() || client.starts_with("::ffff"), "{pass:?} {client}");
        }
    });
}

#[test]
fn spf() {
    use MethodResult::{Fail, None as Nothing, Pass as Passed, PermError, SoftFail, TempError};
    let table = [
        ("2001:db8::1", Some("pass.example"), "helo.example", Passed, "pass.example"),
        ("2001:db9::1", Some("pass.example"), "helo.example", Fail, "pass.example"),
        ("2001:db8::1", Some("PASS.example"), "helo.example", Passed, "pass.example"),
        ("2001:db8::1", None, "pass.example", Passed, "pass.example"),
        ("2001:db8::1", None, "nothing.example", Nothing, "nothing.example"),
        ("2001:db8::1", Some("nothing.example"), "pass.example", Nothing, "nothing.example"),
        ("192.0.2.1", Some("hosts.example"), "helo.example", Passed, "hosts.example"),
        ("::ffff:192.0.2.1", Some("hosts.example"), "helo.example", Passed, "hosts.example"),
        ("2001:db8::1", Some("hosts.example"), "helo.example", Passed, "hosts.example"),
        ("2001:db8::99", Some("hosts.example"), "helo.example", Passed, "hosts.example"),
        ("2001:db8::98", Some("hosts.example"), "helo.example", Fail, "hosts.example"),
        ("2001:db8::98", Some("soft2.example"), "helo.example", SoftFail, "soft2.example"),
        ("2001:db8::1", Some("two.example"), "helo.example", PermError, "two.example"),
        ("2001:db8::1", Some("broken.example"), "helo.example", TempError, "broken.example"),
        ("2001:db8::1", Some("half.example"), "helo.example", TempError, "half.example"),
    ];
    three_times(async |auth, pass| {
        for (client, mail_from, helo, result, domain) in table {
            let what = format!("{client} {mail_from:?} {helo}");
            let reverse_path = mail_from.map(|domain| ("user", domain));
            let spf = pass.run(&what, auth.spf(client.parse().unwrap(), helo, reverse_path, false)).await;
            let identity = if mail_from.is_some() { SpfIdentity::MailFrom } else { SpfIdentity::Helo };
            assert_eq!((spf.result, spf.domain.as_str(), spf.identity), (result, domain, identity), "{pass:?} {what}");
            assert_eq!(spf.explanation, None, "{pass:?} {what}");
            assert!(spf.cache == CacheState::Hit || pass == Pass::Cold, "{pass:?} {what}");
        }
        let explained = auth.spf("2001:db8::1".parse().unwrap(), "h.example", Some(("a", "fail.example")), true);
        let spf = pass.run("explanation", explained).await;
        assert_eq!((spf.result, spf.explanation.as_deref()), (Fail, Some("2001:db8::1 may not")));
    });
}

#[test]
fn dkim_keys() {
    let names = ["s._domainkey.example", "none._domainkey.example", "s._domainkey.broken.example"];
    three_times(async |auth, pass| {
        let keys = pass.run("keys", auth.dkim_keys(names.map(str::to_owned).to_vec())).await;
        assert!(matches!(
            keys.as_slice(),
            [(_, KeyAnswer::Found(_), _), (_, KeyAnswer::NoKey, _), (_, KeyAnswer::TempFail, _)]
        ));
        assert!(keys.iter().map(|(name, ..)| name).eq(&names));
        let many = (0..12).map(|at| format!("s{at}._domainkey.example")).collect();
        let keys = pass.run("many keys", auth.dkim_keys(many)).await;
        assert_eq!(keys.len(), 12);
        assert_eq!(keys.iter().filter(|(_, key, _)| matches!(key, KeyAnswer::NoKey)).count(), 10);
    });
}

fn spf_fact(result: MethodResult, domain: &str) -> Spf {
    Spf {
        result,
        identity: SpfIdentity::MailFrom,
        domain: domain.into(),
        reason: "".into(),
        explanation: None,
        cache: CacheState::Unused,
    }
}

fn dkim_fact(result: MethodResult, domain: &str) -> Dkim {
    Dkim {
        result,
        domain: domain.into(),
        selector: "s".into(),
        identity: None,
        algorithm: "rsa-sha256",
        signature_b: String::new(),
        reason: "".into(),
        testing: false,
    }
}

#[test]
fn dmarc() {
    use MethodResult::{Fail, None as Nothing, Pass as Passed, PermError, TempError};
    const NO: (MethodResult, &str) = (Nothing, "");
    let table = [
        // (header, spf, dkim, result, policy, domain)
        ("From: a@reject.example", (Passed, "reject.example"), NO, Passed, DmarcPolicy::Reject, "reject.example"),
        ("From: A <a@REJECT.example>", NO, (Passed, "reject.example"), Passed, DmarcPolicy::Reject, "reject.example"),
        ("From: a@reject.example", NO, NO, Fail, DmarcPolicy::Reject, "reject.example"),
        (
            "From: a@reject.example",
            (Fail, "reject.example"),
            (Fail, "reject.example"),
            Fail,
            DmarcPolicy::Reject,
            "reject.example",
        ),
        (
            "From: a@reject.example",
            (Passed, "pass.example"),
            (Passed, "other.example"),
            Fail,
            DmarcPolicy::Reject,
            "reject.example",
        ),
        ("From: a@reject.example", (Passed, "b.reject.example"), NO, Passed, DmarcPolicy::Reject, "reject.example"),
        ("From: a@reject.example", NO, (Passed, "b.reject.example"), Passed, DmarcPolicy::Reject, "reject.example"),
        ("From: a@reject.example", NO, (TempError, "reject.example"), TempError, DmarcPolicy::Reject, "reject.example"),
        ("From: a@reject.example", (TempError, "reject.example"), NO, TempError, DmarcPolicy::Reject, "reject.example"),
        ("From: a@sub.reject.example", NO, NO, Fail, DmarcPolicy::Quarantine, "sub.reject.example"),
        ("From: a@gone.reject.example", NO, NO, Fail, DmarcPolicy::None, "gone.reject.example"),
        (
            "From: a@strict.example",
            (Passed, "b.strict.example"),
            (Passed, "c.strict.example"),
            Fail,
            DmarcPolicy::Quarantine,
            "strict.example",
        ),
        ("From: a@strict.example", NO, (Passed, "strict.example"), Passed, DmarcPolicy::Quarantine, "strict.example"),
        ("From: a@testing.example", NO, NO, Fail, DmarcPolicy::Quarantine, "testing.example"),
        ("From: a@gone.testing2.example", NO, NO, Fail, DmarcPolicy::None, "gone.testing2.example"),
        ("From: a@monitor.example", NO, NO, Fail, DmarcPolicy::None, "monitor.example"),
        ("From: a@nothing.example", (Passed, "nothing.example"), NO, Nothing, DmarcPolicy::None, "nothing.example"),
        ("From: a@two.example", (Passed, "two.example"), NO, Nothing, DmarcPolicy::None, "two.example"),
        ("From: a@bad.example", (Passed, "bad.example"), NO, PermError, DmarcPolicy::None, "bad.example"),
        ("From: a@broken.example", (Passed, "broken.example"), NO, TempError, DmarcPolicy::None, "broken.example"),
        ("From: a@localhost", NO, NO, Nothing, DmarcPolicy::None, "localhost"),
        ("From: a@reject.example, b@strict.example", (Passed, "reject.example"), NO, Nothing, DmarcPolicy::None, ""),
        (
            "From: a@reject.example\r\nFrom: a@reject.example",
            (Passed, "reject.example"),
            NO,
            PermError,
            DmarcPolicy::None,
            "",
        ),
        ("From: nobody", (Passed, "reject.example"), NO, PermError, DmarcPolicy::None, ""),
        ("Subject: x", (Passed, "reject.example"), NO, PermError, DmarcPolicy::None, ""),
    ];
    three_times(async |auth, pass| {
        for (fields, spf, dkim, result, policy, domain) in table {
            let block = format!("{fields}\r\nTo: b@example\r\n\r\n");
            let author = Author::of(&Header::parse(block.as_bytes()));
            let (spf, dkim) = (spf_fact(spf.0, spf.1), [dkim_fact(dkim.0, dkim.1)]);
            let dmarc = pass.run(fields, auth.dmarc(&author, &spf, &dkim)).await;
            let seen = (dmarc.result, dmarc.policy, dmarc.domain.as_str());
            assert_eq!(seen, (result, policy, domain), "{pass:?} {fields} {spf:?} {dkim:?}");
        }
    });
}

/// Prefetching at the end of the header section leaves nothing to wait for at the end of the message.
#[test]
fn dmarc_prefetch() {
    mx6_runtime::run_local(|| async {
        let (server, queries) = serve(rows());
        let auth = message_auth(&DnsConfig { servers: vec![server], ..DnsConfig::default() });
        let author = Author::of(&Header::parse(b"From: a@mail.reject.example\r\n\r\n"));
        auth.prefetch_dmarc(&author).await;
        assert!(queries.load(Ordering::Relaxed) > 0);
        let spf = spf_fact(MethodResult::Pass, "mail.reject.example");
        let dmarc = auth.dmarc(&author, &spf, &[]).now_or_never().expect("nothing to wait for");
        assert_eq!((dmarc.result, dmarc.cache), (MethodResult::Pass, CacheState::Hit));
    })
    .unwrap();
}

/// What is decided does not wait for what is still asked.
#[test]
fn decided_early() {
    mx6_runtime::run_local(|| async {
        let mut rows = rows();
        rows.push(("silent.example".into(), "SILENT", String::new()));
        rows.push((reverse_name("2001:db8::b"), "PTR", "silent.example.".into()));
        rows.push((reverse_name("2001:db8::b"), "PTR", "mail-b.example.".into()));
        rows.push(("mail-b.example".into(), "AAAA", "2001:db8::b".into()));
        let (server, _) = serve(rows);
        let query_timeout = std::time::Duration::from_secs(30);
        let auth = message_auth(&DnsConfig { servers: vec![server], query_timeout, ..DnsConfig::default() });
        let started = std::time::Instant::now();
        let spf = auth.spf("192.0.2.1".parse().unwrap(), "h.example", Some(("a", "early.example")), false).await;
        assert_eq!((spf.result, spf.reason.as_ref()), (MethodResult::Pass, "a:v4.example"));
        let iprev = auth.iprev("2001:db8::b".parse().unwrap()).await;
        assert_eq!((iprev.result, iprev.confirmed.as_deref()), (MethodResult::Pass, Some("mail-b.example")));
        assert!(started.elapsed().as_secs() < 5);
    })
    .unwrap();
}

/// A server that never answers: everything ends as a temporary failure, and in time.
#[test]
fn silence_is_temporary() {
    mx6_runtime::run_local(|| async {
        let silent = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let auth = message_auth(&DnsConfig { servers: vec![silent.local_addr().unwrap()], ..DnsConfig::default() });
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let started = std::time::Instant::now();
        let author = Author::of(&Header::parse(b"From: a@reject.example\r\n\r\n"));
        let spf = spf_fact(MethodResult::None, "");
        let (iprev, spf, dmarc) = futures_util::join!(
            auth.iprev(client),
            auth.spf(client, "h.example", Some(("a", "pass.example")), false),
            auth.dmarc(&author, &spf, &[]),
        );
        assert_eq!((iprev.ptr, iprev.result), (PtrState::TempFail, MethodResult::TempError));
        assert_eq!(spf.result, MethodResult::TempError);
        assert_eq!(dmarc.result, MethodResult::TempError);
        assert!(started.elapsed().as_secs() < 25);
    })
    .unwrap();
}
