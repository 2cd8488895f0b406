//! mail-auth's evaluator wants a resolver on tokio. This process has no tokio runtime, and the evaluation neither
//! misses one nor starts one: no thread is added and no socket is opened. (One test alone in its process, so that what
//! it counts is its own.)
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::FutureExt;
use mx6_dkim::Header;
use mx6_dns::{CacheSizes, Caches, Dns, DnsConfig, Zone};
use mx6_message_auth::{AuthConfig, Author, MessageAuth, MessageAuthCacheSizes, MessageAuthCaches};
use mx6_policy::facts::{CacheState, DmarcPolicy, MethodResult, Spf, SpfIdentity};

const ZONE: &str = "$TTL 300
example. IN SOA ns.example. admin.example. 1 3600 600 86400 300
_dmarc.example.org. IN TXT \"outside\"
_dmarc.author.example. IN TXT \"v=DMARC1; p=reject; sp=none; np=quarantine\"
";

#[test]
fn no_runtime_no_thread_no_socket() {
    mx6_runtime::run_local(|| async {
        let dns =
            DnsConfig { zone: Some(Zone::parse(ZONE, std::path::Path::new("rows")).unwrap()), ..DnsConfig::default() };
        let dns = Dns::new(&dns, Caches::new(&CacheSizes::default())).unwrap();
        let ours = AuthConfig { hostname: "mx.test".into(), authserv_id: "mx.test".into(), further_ids: Vec::new() };
        let before = open_sockets_and_threads();
        let auth = MessageAuth::new(dns, MessageAuthCaches::new(&MessageAuthCacheSizes::default()), ours).unwrap();
        for (from, spf_domain, result, policy) in [
            ("author.example", "author.example", MethodResult::Pass, DmarcPolicy::Reject),
            ("author.example", "b.author.example", MethodResult::Pass, DmarcPolicy::Reject),
            ("gone.author.example", "other.example", MethodResult::Fail, DmarcPolicy::Quarantine),
            ("unknown.example", "unknown.example", MethodResult::None, DmarcPolicy::None),
        ] {
            let block = format!("From: <a@{from}>\r\n\r\n");
            let spf = Spf {
                result: MethodResult::Pass,
                identity: SpfIdentity::MailFrom,
                domain: spf_domain.into(),
                reason: "".into(),
                explanation: None,
                cache: CacheState::Unused,
            };
            let author = Author::of(&Header::parse(block.as_bytes()));
            let dmarc = auth.dmarc(&author, &spf, &[]).now_or_never().expect("ready at once");
            assert_eq!((dmarc.result, dmarc.policy, dmarc.domain.as_str()), (result, policy, from));
        }
        assert_eq!(open_sockets_and_threads(), before);
    })
    .unwrap();
}

/// How many descriptors are sockets or pollers, and how many threads there are.
fn open_sockets_and_threads() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:") || link.ends_with("[eventpoll]"));
    (sockets.count(), std::fs::read_dir("/proc/self/task").unwrap().count())
}
