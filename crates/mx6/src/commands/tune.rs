//! `mx6 tune`: what fits this machine.

use clap::Args;

use super::config::print;
use crate::failure::{EX_OSERR, Failure, failure};

/// Look at this machine and recommend flags, kernel settings and limits of the unit, each with its reason.
///
/// Cores (affinity, cgroup quota, hardware threads, NUMA), memory (cgroup limit), RLIMIT_NOFILE and RLIMIT_MEMLOCK, io_uring and the
/// settings of the kernel, and the resolver of /etc/resolv.conf are read; nothing is changed. What is recommended for --memory and the
/// caches is reckoned from measured sizes: --memory is for each core, in MiB, the caches are for all cores together.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Tune {
    /// Print one JSON object.
    #[arg(long, conflicts_with = "toml")]
    json: bool,
    /// Print a part of a configuration file; put your own keys in front of it.
    #[arg(long)]
    toml: bool,
    /// Recommend for another machine, with so many cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    for_cores: Option<u16>,
    /// Recommend for another machine, with so much memory (512M, 16G); 4 GiB a core if only --for-cores is given.
    #[arg(long, value_name = "SIZE", value_parser = mx6_server::tune::parse_size)]
    for_memory: Option<u64>,
}

impl Tune {
    /// Prints the plan.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let facts = mx6_server::tune::facts(self.for_cores.map(usize::from), self.for_memory);
        let facts = facts.map_err(failure(EX_OSERR))?;
        let plan = mx6_server::tune::recommend(&facts);
        print(&match (self.json, self.toml) {
            (true, _) => format!("{:#}\n", plan.to_json(&facts)),
            (_, true) => plan.to_toml(&facts),
            _ => plan.to_text(&facts),
        })
    }
}

const EXAMPLES: &str = "Examples:
  mx6 tune                                  the command line, and why
  mx6 tune --toml > mx6.toml                the same as keys of a file, to which you add your own
  mx6 tune --for-cores 16 --for-memory 64G  for a machine that is not there yet";
