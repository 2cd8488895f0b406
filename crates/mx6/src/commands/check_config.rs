//! `mx6 check-config`: whether a gate could run with this configuration.

use clap::Args;

use super::Configuration;
use crate::failure::{EX_CONFIG, Failure, failure};

/// Check the configuration without binding a port. Exit code 78 if it is not usable.
#[derive(Args)]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    configuration: Configuration,
}

impl CheckConfig {
    /// Prints what was found.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let options = self.configuration.options().map_err(failure(EX_CONFIG))?;
        let report = mx6_server::check(options).map_err(failure(EX_CONFIG))?;
        for line in report.lines {
            println!("{line}");
        }
        println!("the configuration is usable");
        Ok(())
    }
}
