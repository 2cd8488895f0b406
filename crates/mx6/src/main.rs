//! `mx6`, the gate: reads the command line and hands over to the command that it names.
#![forbid(unsafe_code)]

mod commands;
mod failure;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::Command;

/// A message takes some hundred small pieces of memory, most of them given back on the shard that took them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An SMTP ingress tier that takes mail over IPv6 from senders with reverse DNS and SPF or DKIM, for domains that opted in.
#[derive(Parser)]
#[command(version, about, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let mut command = CommandLine::command();
    // To know what this machine can do takes trying, which a gate does when it starts.
    if std::env::args_os().any(|word| word == "--version") {
        command = command.long_version(version::long());
    }
    let read = CommandLine::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match read.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(error) = &failure.error {
                mx6_telemetry::failure!("{error}");
            }
            ExitCode::from(failure.code)
        }
    }
}
