use std::net::IpAddr;

use super::*;

const GIB: u64 = 1 << 30;

fn described(cores: usize) -> Facts {
    Facts::described(cores, cores as u64 * 4 * GIB)
}

fn flag<'p>(plan: &'p Plan, name: &str) -> &'p Advice {
    plan.flags.iter().chain(&plan.sysctls).chain(&plan.unit).find(|advice| advice.name == name).unwrap()
}

fn warnings(facts: &Facts) -> Vec<&'static str> {
    recommend(facts).notes.iter().filter(|note| note.is_warning).map(|note| note.about).collect()
}

/// CPUs of which each physical core has two: 0 with `cores`, 1 with `cores` + 1, as Linux counts them.
fn with_threads(cores: usize) -> Facts {
    let cpu = |number| Cpu { number, physical: number % cores, node: number % cores / 8 };
    Facts { cpus: (0..2 * cores).map(cpu).collect(), ..described(2 * cores) }
}

#[test]
fn cores() {
    let quota = |milli, cores| Facts { cpu_quota_milli: Some(milli), ..described(cores) };
    let odd = |cpus: &[usize]| {
        let cpu = |&number: &usize| Cpu { number, physical: number, node: 0 };
        Facts { cpus: cpus.iter().map(cpu).collect(), ..described(cpus.len()) }
    };
    for (facts, cores, shards, words) in [
        (described(1), "1", 1, "may use 1 CPU; none is left free"),
        (described(2), "2", 2, "none is left free"),
        (described(3), "3", 3, "none is left free"),
        (described(4), "1-3", 3, "; 1 left to the resolver, the log and the kernel"),
        (described(8), "1-7", 7, "; 1 left"),
        (described(16), "3-15", 13, "; 3 left"),
        (described(64), "10-63", 54, "; 10 left"),
        // The threads of physical core 0 stay free together.
        (with_threads(4), "1-3,5-7", 6, "; 2 left"),
        (with_threads(8), "1-7,9-15", 14, "whole physical cores"),
        (quota(2_500, 8), "6-7", 2, "the cgroup grants 2.50 of 8 CPUs"),
        (quota(500, 8), "7-7", 1, "the cgroup grants 0.50 of 8 CPUs"),
        (quota(8_000, 8), "1-7", 7, "may use 8 CPUs"),
        (quota(99_000, 8), "1-7", 7, "may use 8 CPUs"),
        (odd(&[5]), "1", 1, "1 CPU"),
        (odd(&[2, 3, 8, 9]), "3,8-9", 3, "1 left"),
    ] {
        let plan = recommend(&facts);
        let advice = flag(&plan, "cores");
        assert_eq!((advice.value.as_str(), plan.shards), (cores, shards), "{}", advice.reason);
        assert!(advice.reason.contains(words), "{words}: {}", advice.reason);
    }
}

/// All that the flags allow fits the memory that there is.
#[test]
fn memory_is_divided_and_never_promised_twice() {
    for (cores, memory) in [
        (1, GIB / 2),
        (1, GIB),
        (1, 4 * GIB),
        (2, 2 * GIB),
        (2, 48 * GIB),
        (8, 8 * GIB),
        (16, 64 * GIB),
        (64, 64 * GIB),
        (64, 512 * GIB),
    ] {
        let facts = Facts::described(cores, memory);
        let plan = recommend(&facts);
        let mib = |name| flag(&plan, name).value.parse::<u64>().unwrap();
        let shards = plan.shards as u64;
        let caches = (mib("cache-ptr") + mib("cache-spf") + mib("cache-dkim")) * m::CACHE_RESIDENT_PERCENT / 100;
        let connections = Memory::divide(&facts, shards).connections;
        let all = ((shards * mib("memory") + caches) << 20)
            + shards * (connections * CONNECTION_OCTETS + m::SHARD_OCTETS)
            + m::PROCESS_OCTETS
            + m::SYSTEM_OCTETS;
        // The smallest values allowed may be more than a tiny machine has.
        assert!(all <= memory + (16 << 20), "{cores} cores, {} MiB: {} MiB", memory >> 20, all >> 20);
        assert!(mib("memory") >= MEMORY_MIB_MIN && connections > 0);
        for name in ["memory", "cache-ptr", "cache-spf", "cache-dkim"] {
            assert!((1..=limits::MEBIBYTES_MAX).contains(&mib(name)), "{name}");
        }
    }
    let limited = Facts { memory_limit_octets: Some(2 * GIB), ..Facts::described(4, 64 * GIB) };
    assert_eq!(recommend(&limited).flags, recommend(&Facts::described(4, 2 * GIB)).flags);
    let small = Facts::described(4, GIB);
    assert!(flag(&recommend(&small), "memory").reason.contains("beyond it mail is deferred (452)"));
    assert!(warnings(&small).contains(&"memory"));
    assert!(!warnings(&described(4)).contains(&"memory"));
}

#[test]
fn what_is_set_already_is_met() {
    let with = |name, value: &str| Facts { settings: vec![(name, value.to_owned())], ..described(8) };
    for (name, value, is_met) in [
        ("net.core.somaxconn", "128", false),
        ("net.core.somaxconn", "4096", true),
        ("net.core.somaxconn", "65535", true),
        ("net.core.somaxconn", "?", false),
        ("kernel.io_uring_disabled", "0", true),
        ("kernel.io_uring_disabled", "1", false),
        ("kernel.io_uring_disabled", "2", false),
        ("net.ipv4.ip_local_port_range", "32768 60999", true),
        ("net.ipv4.ip_local_port_range", "50000 60999", false),
        ("net.ipv4.ip_local_port_range", "1024 65535", true),
        ("net.ipv4.ip_local_port_range", "60999 32768", false),
        ("net.netfilter.nf_conntrack_max", "65536", false),
        ("net.netfilter.nf_conntrack_max", "1048576", true),
        ("fs.nr_open", "65536", false),
    ] {
        let plan = recommend(&with(name, value));
        let advice = flag(&plan, name);
        assert_eq!((advice.is_met, advice.now.as_deref()), (is_met, Some(value)), "{name}={value}");
    }
    let without = recommend(&described(8));
    for name in
        ["net.ipv4.tcp_max_syn_backlog", "net.netfilter.nf_conntrack_max", "fs.nr_open", "net.ipv4.tcp_tw_reuse"]
    {
        assert!(without.sysctls.iter().all(|advice| advice.name != name), "{name}");
    }
    let no_cookies = recommend(&with("net.ipv4.tcp_syncookies", "0"));
    assert!(!flag(&no_cookies, "net.ipv4.tcp_max_syn_backlog").is_met);
    let large = recommend(&described(64));
    assert!(["fs.nr_open", "net.ipv4.tcp_tw_reuse"].iter().all(|name| !flag(&large, name).is_met));
    assert_eq!(flag(&large, "net.ipv4.ip_local_port_range").value, "1024 65535");
}

#[test]
fn limits_of_the_unit() {
    let facts = Facts { open_files: Some(20_000), locked_octets: Some(8 << 20), ..described(8) };
    let plan = recommend(&facts);
    let files = flag(&plan, "LimitNOFILE");
    assert!(files.value.parse::<u64>().unwrap() > 7 * limits::CONNECTIONS_MAX as u64 && !files.is_met);
    assert_eq!((flag(&plan, "LimitMEMLOCK").value.as_str(), flag(&plan, "LimitMEMLOCK").is_met), ("3584K", true));
    let unlimited = Facts { open_files: Some(u64::MAX), locked_octets: Some(64 << 10), ..described(8) };
    let plan = recommend(&unlimited);
    assert!(flag(&plan, "LimitNOFILE").is_met && flag(&plan, "LimitNOFILE").now.as_deref() == Some("infinity"));
    assert!(!flag(&plan, "LimitMEMLOCK").is_met && flag(&plan, "LimitMEMLOCK").now.as_deref() == Some("64K"));
}

#[test]
fn what_is_wrong_with_a_machine_is_a_warning() {
    let here = || Facts { is_described: false, resolvers: vec![IpAddr::from([127, 0, 0, 1])], ..described(8) };
    let resolver = |text: &str| Facts { resolvers: vec![text.parse().unwrap()], ..here() };
    let kernel = |text: &str| Facts { kernel: Some(text.to_owned()), ..here() };
    for (facts, expected) in [
        (here(), &[][..]),
        (resolver("::1"), &[]),
        (resolver("127.0.0.53"), &["resolver"]),
        (resolver("192.0.2.53"), &["resolver"]),
        (Facts { resolvers: Vec::new(), ..here() }, &[]),
        (kernel("6.18.44-fc"), &[]),
        (kernel("5.8.0"), &[]),
        (kernel("5.7.19"), &["kernel"]),
        (kernel("4.19"), &["kernel"]),
        (kernel("odd"), &[]),
        (Facts { io_uring: Some(Ok(())), ..here() }, &[]),
        (Facts { io_uring: Some(Err("refused".to_owned())), ..here() }, &["io_uring"]),
        (Facts { cpu_quota_milli: Some(900), ..here() }, &["cpu"]),
        (Facts { is_described: false, resolvers: here().resolvers, ..with_threads(16) }, &[]),
    ] {
        assert_eq!(warnings(&facts), expected, "{facts:?}");
    }
    let nodes = recommend(&with_threads(16));
    assert!(nodes.notes.iter().any(|note| note.about == "numa" && note.text.starts_with("2 nodes")));
}
