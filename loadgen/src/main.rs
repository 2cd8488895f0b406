//! `mx6-loadgen`: mail for a running gate, to see what it does.
//!
//! What it is: a client, and the DNS of its own senders. It trusts nothing but its own command line, and speaks only to the address it
//! is given.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod demo_key;
mod keys;
mod measurement;
mod population;
mod run;
mod sample;
mod smtp;
mod zone;

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
    /// Send mail from a population of sources, fast or long, and measure.
    ///
    /// Every reply is compared with the one that the source must get. Exits with 1 if one was wrong, with 2 if nothing could be sent.
    Run(Box<run::Options>),
    /// Answer DNS questions about the population, and about nothing else, until SIGINT or SIGTERM.
    Zone(zone::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Sample(options) => sample::run(&options, &mut std::io::stdout().lock()),
        Command::Run(options) => run::run(&options, &mut std::io::stdout().lock()),
        Command::Zone(options) => zone::run(&options, &mut std::io::stdout().lock()),
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
