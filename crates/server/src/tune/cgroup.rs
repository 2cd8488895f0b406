//! What the control groups of this process grant: version 2, and version 1 where that is mounted.
//!
//! A group's limit holds for the groups in it, so the lowest on the way up counts. In a container the path in `/proc/self/cgroup` may lie
//! outside what is mounted; then the mount itself is the container's group.

use std::path::{Path, PathBuf};

/// CPU time in thousandths of a CPU.
pub(super) fn cpu_quota_milli(root: &Path) -> Option<u64> {
    let v2 = folders(root, "").into_iter().filter_map(|folder| {
        let text = read(&folder.join("cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        milli(quota.parse().ok()?, period.parse().ok()?)
    });
    let v1 = folders(root, "cpu").into_iter().filter_map(|folder| {
        // -1 is no limit, and no number here.
        let quota = read(&folder.join("cpu.cfs_quota_us"))?.parse().ok()?;
        milli(quota, read(&folder.join("cpu.cfs_period_us"))?.parse().ok()?)
    });
    v2.chain(v1).min()
}

/// Memory in octets.
pub(super) fn memory_limit_octets(root: &Path) -> Option<u64> {
    // `max` is no number.
    let v2 = folders(root, "").into_iter().filter_map(|folder| read(&folder.join("memory.max"))?.parse().ok());
    let v1 = folders(root, "memory")
        .into_iter()
        .filter_map(|folder| read(&folder.join("memory.limit_in_bytes"))?.parse().ok());
    v2.chain(v1).filter(|limit: &u64| *limit < NO_LIMIT_OCTETS).min()
}

/// The group of this process in the hierarchy of `controller` (empty: version 2), those above it, and the mount.
fn folders(root: &Path, controller: &str) -> Vec<PathBuf> {
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let is_ours = parts.next()?.split(',').any(|name| name == controller);
        is_ours.then(|| parts.next()).flatten()
    });
    let path = Path::new(path.unwrap_or("/").trim_start_matches('/'));
    let mounts: &[&str] = match controller {
        "" => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
        "cpu" => &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"],
        _ => &["sys/fs/cgroup/memory"],
    };
    // `..` would lead out of the mount.
    let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let above = |mount: &&str| {
        let mount = root.join(mount);
        path.ancestors().filter(|_| inside).map(|part| mount.join(part)).chain([mount.clone()]).collect::<Vec<_>>()
    };
    mounts.iter().flat_map(above).collect()
}

fn milli(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

fn read(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Version 1 writes the largest number of pages for no limit.
const NO_LIMIT_OCTETS: u64 = 1 << 62;
