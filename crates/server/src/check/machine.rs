//! What a gate needs of this machine: io_uring, locked memory, cores, descriptors.

use mx6_runtime::{Needs, Preflight};
use rustix::process::{Resource, getrlimit};

use super::report::{Check, Fault, Status};
use crate::Config;
use crate::limits::CONNECTIONS_MAX;

/// A client takes one, and while its message is on its way one more for the next hop and one for a temporary file.
const DESCRIPTORS_PER_CLIENT: u64 = 3;

/// What was found.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let shards = config.cores.cpus().len();
    let needs = Needs { drops_privileges: config.user.is_some(), is_relieved: config.handover.is_some() };
    let lacks = Status::Error(Fault::Machine);
    let mut checks = vec![match mx6_runtime::probe_io_uring() {
        Ok(()) => Check::new("machine", "io_uring", Status::Ok, "can be set up"),
        Err(refusal) => Check::new("machine", "io_uring", lacks, refusal.to_string()),
    }];
    match mx6_runtime::preflight(shards, needs) {
        Err(error @ Preflight::Memlock { .. }) => {
            checks.push(Check::new("machine", "locked memory", lacks, error.to_string()))
        }
        Err(error @ Preflight::Cores { .. }) => checks.push(Check::new("machine", "cores", lacks, error.to_string())),
        Ok(()) | Err(Preflight::IoUring(_)) => {
            checks.push(Check::new("machine", "locked memory", Status::Ok, format!("is enough for {}", count(shards))));
            let cpus = config.cores.cpus().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            checks.push(Check::new("machine", "cores", Status::Ok, format!("{cpus}: {}", count(shards))));
        }
    }
    checks.push(descriptors(shards));
    checks
}

fn count(shards: usize) -> String {
    format!("{shards} shard{}", if shards == 1 { "" } else { "s" })
}

fn descriptors(shards: usize) -> Check {
    let wanted = (shards * CONNECTIONS_MAX) as u64 * DESCRIPTORS_PER_CLIENT;
    let limit = getrlimit(Resource::Nofile);
    match limit.current {
        Some(limit) if limit < wanted => {
            let clients = limit / DESCRIPTORS_PER_CLIENT;
            let text = format!(
                "RLIMIT_NOFILE is {limit}: about {clients} clients at once; the gate takes {}",
                shards * CONNECTIONS_MAX
            );
            Check::new("machine", "descriptors", Status::Warning, text).remedy(format!(
                "`ulimit -n {wanted}` in the starting shell, or LimitNOFILE={wanted} in the systemd unit"
            ))
        }
        _ => Check::new(
            "machine",
            "descriptors",
            Status::Ok,
            format!("are enough for {} clients at once", shards * CONNECTIONS_MAX),
        ),
    }
}
