//! `mx6 check-config`: whether a gate could run with this configuration.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;

use super::Configuration;
use super::config::print;
use crate::failure::Failure;

/// Check the configuration, its files, this machine, resolvers and next hops, without binding a port.
///
/// Every wrong option is told at once, with file, line and column. Then folders and certificates are looked at, resolvers are asked, next hops are
/// greeted (no mail is sent), and io_uring, locked memory, cores and descriptors are compared with what the gate needs.
#[derive(Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct CheckConfig {
    /// Ask no resolver and no next hop.
    #[arg(long)]
    offline: bool,
    /// Print one JSON object: usable, exit_code, and checks with group, name, status, text, remedy and where.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl CheckConfig {
    /// Prints what was found: to standard output if it is usable or JSON, else to standard error.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let report = mx6_server::check(self.configuration.layers(), !self.offline);
        let code = report.exit_code();
        if self.json {
            print(&format!("{:#}\n", report.to_json()))?;
        } else if report.is_usable() {
            print(&report.to_text(std::io::stdout().is_terminal()))?;
        } else {
            let text = report.to_text(std::io::stderr().is_terminal());
            // Who closed standard error does not want to hear it; the exit code says it too.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        if code == 0 { Ok(()) } else { Err(Failure { error: None, code }) }
    }
}

const EXIT_STATUS: &str = "Exit status:
  0   usable, perhaps with warnings
  78  the configuration is wrong
  71  the configuration is right, this machine lacks something
  69  both are right, a resolver does not answer or no next hop greets";
