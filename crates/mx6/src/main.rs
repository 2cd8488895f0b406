//! `mx6`, the gate: reads the command line and hands over to the command that it names.
#![forbid(unsafe_code)]

mod commands;
mod failure;

use std::process::ExitCode;

use clap::Parser;

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
    match CommandLine::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(error) = &failure.error {
                mx6_telemetry::say!("{error}");
            }
            ExitCode::from(failure.code)
        }
    }
}
