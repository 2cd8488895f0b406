use std::fs;

use super::*;

/// A root with these files.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// The least that a machine tells.
const LEAST: [(&str, &str); 2] = [
    ("proc/self/status", "Name:\tmx6\nCpus_allowed_list:\t0-3\nMems_allowed_list:\t0\n"),
    ("proc/meminfo", "MemTotal:       16384000 kB\nMemFree:  1 kB\n"),
];

fn read(more: &[(&str, &str)]) -> Facts {
    let files: Vec<(&str, &str)> = LEAST.iter().chain(more).copied().collect();
    Facts::read(root(&files).path()).unwrap()
}

fn cpu(number: usize, physical: usize, node: usize) -> Cpu {
    Cpu { number, physical, node }
}

#[test]
fn the_least() {
    let facts = read(&[]);
    let expected = Facts {
        cpus: (0..4).map(|number| cpu(number, number, 0)).collect(),
        memory_octets: 16_384_000 << 10,
        ..Facts::default()
    };
    assert_eq!(facts, expected);
}

#[test]
fn a_whole_machine() {
    let facts = read(&[
        ("sys/devices/system/cpu/online", "0-2,6\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"),
        ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n"),
        ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n"),
        ("sys/devices/system/node/node0/cpulist", "0,2\n"),
        ("sys/devices/system/node/node1/cpulist", "1,3-6\n"),
        ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 sha_ni avx512fancy\n"),
        (
            "proc/self/limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024      524288     files\nMax locked memory  8388608  unlimited  bytes\n",
        ),
        ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
        ("proc/sys/net/core/somaxconn", "128\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        (
            "etc/resolv.conf",
            "# nameserver 192.0.2.1\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver x\nsearch a\n",
        ),
    ]);
    // CPU 3 is allowed and not there.
    assert_eq!(facts.cpus, [cpu(0, 0, 0), cpu(1, 1, 1), cpu(2, 0, 0)]);
    assert_eq!(facts.cpu_features, ["avx2", "sha_ni"]);
    assert_eq!((facts.open_files, facts.locked_octets), (Some(524_288), Some(u64::MAX)));
    assert_eq!(facts.kernel.as_deref(), Some("6.1.0-13-amd64"));
    assert_eq!(facts.number("net.core.somaxconn"), Some(128));
    assert_eq!(facts.setting("net.ipv4.ip_local_port_range"), Some("32768 60999"));
    assert_eq!(facts.setting("net.ipv4.tcp_tw_reuse"), None);
    assert_eq!(facts.resolvers, ["::1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
}

#[test]
fn what_control_groups_grant() {
    type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], Option<u64>, Option<u64>);
    let cases: [Case; 9] = [
        ("no limit", &[("sys/fs/cgroup/cpu.max", "max 100000"), ("sys/fs/cgroup/memory.max", "max")], None, None),
        (
            "version 2, in a container",
            &[("sys/fs/cgroup/cpu.max", "250000 100000"), ("sys/fs/cgroup/memory.max", "1073741824")],
            Some(2500),
            Some(1 << 30),
        ),
        (
            "the lowest on the way up",
            &[
                ("proc/self/cgroup", "0::/system.slice/mx6.service\n"),
                ("sys/fs/cgroup/system.slice/mx6.service/cpu.max", "800000 100000"),
                ("sys/fs/cgroup/system.slice/cpu.max", "300000 100000"),
                ("sys/fs/cgroup/system.slice/mx6.service/memory.max", "max"),
                ("sys/fs/cgroup/system.slice/memory.max", "4294967296"),
                ("sys/fs/cgroup/other.slice/memory.max", "1"),
            ],
            Some(3000),
            Some(4 << 30),
        ),
        (
            "version 1",
            &[
                ("proc/self/cgroup", "4:memory:/m/x\n1:cpu,cpuacct:/c\n0::/\n"),
                ("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "50000"),
                ("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000"),
                ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "2147483648"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ],
            Some(500),
            Some(2 << 30),
        ),
        (
            "version 1 without a limit",
            &[
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ],
            None,
            None,
        ),
        (
            "a path outside of the mount",
            &[("proc/self/cgroup", "0::/../../host\n"), ("sys/fs/cgroup/cpu.max", "100000 100000")],
            Some(1000),
            None,
        ),
        (
            "a path that is not mounted",
            &[("proc/self/cgroup", "0::/docker/0123\n"), ("sys/fs/cgroup/memory.max", "1048576")],
            None,
            Some(1 << 20),
        ),
        ("a period of nothing", &[("sys/fs/cgroup/cpu.max", "100000 0")], None, None),
        ("nonsense", &[("sys/fs/cgroup/cpu.max", "fast"), ("sys/fs/cgroup/memory.max", "-5")], None, None),
    ];
    for (what, files, quota, memory) in cases {
        let facts = read(files);
        assert_eq!((facts.cpu_quota_milli, facts.memory_limit_octets), (quota, memory), "{what}");
    }
}

#[test]
fn what_must_be_known_is_asked_for() {
    for (files, words) in [
        (vec![LEAST[1]], "which CPUs this process may use; is /proc mounted?"),
        (vec![LEAST[0]], "how much memory there is; is /proc mounted?"),
        (vec![("proc/self/status", "Cpus_allowed_list:\t?"), LEAST[1]], "which CPUs"),
        (vec![LEAST[0], ("proc/meminfo", "MemTotal: many kB")], "how much memory"),
    ] {
        let error = Facts::read(root(&files).path()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // Without a mask, those that are online.
    let facts = Facts::read(root(&[LEAST[1], ("sys/devices/system/cpu/online", "0-1")]).path()).unwrap();
    assert_eq!(facts.cpus.len(), 2);
}

#[test]
fn lists_of_cpus() {
    for (list, expected) in [
        ("0", &[0][..]),
        ("0-2,6", &[0, 1, 2, 6]),
        ("", &[]),
        ("x,1", &[1]),
        ("0-99999999999", &[]),
        ("3-1", &[]),
        (" 0 , 2", &[0, 2]),
    ] {
        assert_eq!(numbers(list), expected, "{list}");
    }
}
