use super::*;

fn options() -> Options {
    Options {
        hostname: Some("MX.Example".into()),
        listen: vec!["[::1]:0".into()],
        deliver: vec!["discard:".into()],
        ..Options::default()
    }
}

#[test]
fn defaults() {
    let config = options().check().unwrap();
    assert_eq!(config.hostname, "mx.example");
    assert_eq!(config.authserv_ids, ["mx.example"]);
    assert_eq!(config.names, NameSource::System);
    assert_eq!(config.size_limit, 36_700_160);
}

#[test]
fn what_is_wrong_is_said() {
    type Change = fn(&mut Options);
    let cases: [(Change, &str); 29] = [
        (|o| o.hostname = None, "--hostname is missing: give our fully qualified name"),
        (|o| o.hostname = Some("a b".into()), "--hostname `a b`: is not a domain name"),
        (|o| o.hostname = Some("bü.example".into()), "--hostname `bü.example`: must be ASCII; write xn--b-eha.example"),
        (|o| o.hostname = Some("ü-.example".into()), "must be ASCII, in A-labels (xn--…); and label `ü-` begins or"),
        (|o| o.listen = vec![], "--listen is missing"),
        (|o| o.listen = vec!["::1:25".into()], "--listen `::1:25`: write ADDRESS:PORT"),
        (|o| o.proxy_listen = vec!["[::1]:1".into()], "--proxy-from is missing"),
        (|o| o.deliver = vec![], "--deliver is missing"),
        (|o| o.deliver = vec!["ftp://x".into()], "--deliver: "),
        (|o| o.deliver = vec!["discard:".into(), "maildir:x".into()], "--deliver: "),
        (|o| o.dns_server = vec!["resolver".into()], "--dns-server: resolver `resolver`: expected an address"),
        (|o| o.next_hop_client = Some("yes".into()), "--next-hop-client `yes`: is not one of none, xforward"),
        (|o| o.domain = vec!["open.example".into()], "--domain `open.example`: write DOMAIN=accept"),
        (|o| o.domain = vec!["open.example=yes".into()], "--domain: domain mode `yes`"),
        (|o| o.connector = vec!["x".into()], "--connector: "),
        (
            |o| o.connector_cert = vec!["partner.example".into()],
            "--connector-cert: connector `partner.example`: a name is",
        ),
        (|o| o.early_talker = Some("shout".into()), "--early-talker `shout`: is not one of ignore, record, refuse"),
        (|o| o.greet_delay_ms = Some(600_000), "--greet-delay-ms `600000`: must not be more than 60000"),
        (|o| o.limit = vec!["64.mail=5/1s".into()], "--limit: `mail` is not one of connections, messages"),
        (|o| o.limit_table = Some(0), "--limit-table `0`: must lie between 1"),
        (|o| o.cores = Some("x".into()), "--cores: "),
        (|o| o.kernels = Some("fast".into()), "--kernels `fast`: is not auto, portable or a kernel (sha-ni, "),
        (|o| o.kernels = Some("avx2,sha-ni".into()), "--kernels `avx2,sha-ni`: avx2 and sha-ni do the same"),
        (|o| o.cache_spf = Some(0), "--cache-spf `0`: must lie between 1"),
        (|o| o.dns_stale = Some(604_800), "--dns-stale `604800`: must lie between 0 and 259200"),
        (|o| o.dns_probe = vec!["a..b".into()], "--dns-probe `a..b`: is not a domain name"),
        (|o| o.dns_probe = vec!["n.example".into(); 9], "--dns-probe `n.example`: is one more than 8"),
        (|o| o.dkim_batch_max = Some(0), "--dkim-batch-max `0`: must lie between 1 and 1024"),
        (|o| o.dkim_batch_wait_us = Some(1_000_000), "--dkim-batch-wait-us `1000000`: must lie between 0 and 20000"),
    ];
    for (change, words) in cases {
        let mut options = options();
        change(&mut options);
        let error = options.check().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn layers() {
    let file = Options {
        hostname: Some("file.example".into()),
        listen: vec!["[::1]:1".into()],
        zone: Some("z".into()),
        ..Options::default()
    };
    let flags = Options { listen: vec!["[::1]:2".into()], dns_server: vec!["127.0.0.1".into()], ..Options::default() };
    let merged = flags.over(file);
    assert_eq!(merged.hostname.as_deref(), Some("file.example"));
    assert_eq!(merged.listen, ["[::1]:2"]);
    assert_eq!((merged.zone, merged.dns_server.len()), (None, 1));
}
