//! `mx6-loadgen`: mail for a running gate, to see what it does.
//!
//! What it is: a client. It trusts nothing but its own command line, and speaks only to the address it is given.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod demo_key;
mod sample;
mod smtp;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sends mail to a running mx6.
#[derive(Parser)]
#[command(name = "mx6-loadgen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send one message for each row of the rule table and compare the replies with what they must be.
    ///
    /// Made for the gate of examples/quickstart.toml. Exits with 1 if a reply is not the expected one, with 2 if the gate
    /// cannot be spoken to.
    Sample(sample::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Sample(options) => sample::run(&options, &mut std::io::stdout().lock()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("mx6-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}
