//! What `mx6` can be told to do: one file a command, each with its arguments and `run`.

mod admin;
mod check_config;
mod completions;
mod config;
mod explain;
mod man;
mod reference;
mod report;
mod serve;
mod tail;
mod top;
mod trace;
mod tune;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mx6_server::config::Layers;
use mx6_server::{ConfigError, Options};

use crate::failure::Failure;

/// The commands, in the order in which help lists them.
#[derive(Subcommand)]
pub(crate) enum Command {
    Serve(serve::Serve),
    Explain(explain::Explain),
    CheckConfig(check_config::CheckConfig),
    Config(config::Config),
    Tune(tune::Tune),
    Report(report::Report),
    Tail(tail::Tail),
    Top(top::Top),
    Trace(trace::Trace),
    Man(man::Man),
    Completions(completions::Completions),
    Reference(reference::Reference),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Command::Serve(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::CheckConfig(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Tune(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Tail(command) => command.run(),
            Command::Top(command) => command.run(),
            Command::Trace(command) => command.run(),
            Command::Man(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Reference(command) => command.run(),
        }
    }
}

/// The options of the gate, and the file that they may stand in.
#[derive(Args, Clone)]
pub(crate) struct Configuration {
    /// TOML file with the options below as keys; a flag beats the environment, which beats the file.
    #[arg(long, env = "MX6_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    options: Box<Options>,
}

impl Configuration {
    /// The options, over those of the file.
    pub(crate) fn options(self) -> Result<Options, ConfigError> {
        self.layers().into_options()
    }

    /// The options with where they come from and what is wrong with them.
    pub(crate) fn layers(self) -> Layers {
        Layers::read(*self.options, self.config.as_deref())
    }
}
