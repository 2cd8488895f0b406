//! `mx6-loadgen`: mail for a running gate, to see what it does.
//!
//! What it is: a client, and the DNS of its own senders. It trusts nothing but its own command line, and speaks only to the address it
//! is given.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod compare;
mod demo_key;
mod keys;
mod machine;
mod measurement;
mod population;
mod report;
mod run;
mod sample;
mod smtp;
#[cfg(test)]
mod synthetic;
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
    /// Say which differences between two runs exceed the noise.
    ///
    /// Takes two files of `run --json` with the same plan. The noise of each figure is told from the seconds of each run, in
    /// blocks, because seconds resemble each other; the interval holds the true ratio with the confidence asked for,
    /// all figures together. What a run does not show is not in it, such as a busier machine: to see that, compare
    /// two runs of the same program first.
    ///
    /// Exits with 0 if nothing is worse, with 1 if something is, with 2 if the runs cannot be compared: too short, another
    /// plan, a ramp, an unreadable file.
    Compare(compare::Options),
}

fn main() -> ExitCode {
    let out = &mut std::io::stdout().lock();
    let code_of = |right: bool| u8::from(!right);
    let result = match Cli::parse().command {
        Command::Sample(options) => sample::run(&options, out).map(code_of),
        Command::Run(options) => run::run(&options, out).map(code_of),
        Command::Zone(options) => zone::run(&options, out).map(code_of),
        Command::Compare(options) => compare::run(&options, out).map(compare::Verdict::code),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mx6-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}
