//! `mx6 config`: the options as they hold, and what a file may say.

use std::io::Write as _;

use clap::{Args, Subcommand};
use mx6_server::config::{Selection, schema, to_json, to_toml};

use super::Configuration;
use crate::failure::{EX_CONFIG, Failure, failure};

/// Show the options as they hold, and where each comes from.
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    Show(Show),
    /// Print a JSON Schema of the configuration file, for editors.
    Schema,
}

/// Print the options as they hold, as a file that can be used again. Exit code 78 if file or environment cannot be read.
#[derive(Args)]
struct Show {
    /// Say behind each value where it comes from: file:line:column, variable, flag or default.
    #[arg(long)]
    origin: bool,
    /// Only what differs from the defaults.
    #[arg(long)]
    changed: bool,
    /// Print one JSON object: for each option its value, unit, origin, and whether it differs from the default.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Config {
    /// Prints it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            ConfigCommand::Show(show) => show.run(),
            ConfigCommand::Schema => print(&format!("{:#}\n", schema())),
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let layers = self.configuration.layers();
        if let Some(first) = layers.faults().first() {
            return Err(failure(EX_CONFIG)(anyhow::anyhow!("{first}; `mx6 check-config` tells all that is wrong")));
        }
        let selection = Selection { changed: self.changed, origin: self.origin };
        match self.json {
            true => print(&format!("{:#}\n", to_json(&layers, selection))),
            false => print(&to_toml(&layers, selection)),
        }
    }
}

/// Prints `text`; a reader that has seen enough is no fault.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failure(crate::failure::EX_IOERR)(error)),
        _ => Ok(()),
    }
}
