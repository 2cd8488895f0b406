//! `mx6`, the gate: reads the command line and hands over to the server.
#![forbid(unsafe_code)]

mod commands;

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

use clap::{Parser, Subcommand};
use mx6_server::{Options, Reload, ServeError, StopFlag};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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

#[derive(Subcommand)]
enum Command {
    /// Run the gate.
    Serve {
        /// TOML file with the options below as keys; a flag beats the environment, which beats the file.
        #[arg(long, env = "MX6_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Evaluate a message in a file as if it came in now, and say every fact, the verdict and the reply.
    Explain {
        /// TOML file, as for serve.
        #[arg(long, env = "MX6_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The client's address.
        #[arg(long, value_name = "ADDR")]
        client_ip: IpAddr,
        /// The client's HELO name.
        #[arg(long, value_name = "NAME")]
        helo: String,
        /// The reverse-path; empty for the null reverse-path.
        #[arg(long, value_name = "ADDR")]
        mail_from: String,
        /// The recipient.
        #[arg(long, value_name = "ADDR")]
        rcpt_to: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<Options>,
        /// The message; `-` for standard input.
        #[arg(value_name = "MESSAGE.eml")]
        message: PathBuf,
    },
    /// Check the configuration without binding a port. Exit code 78 if it is not usable.
    CheckConfig {
        /// TOML file, as for serve.
        #[arg(long, env = "MX6_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Look at this machine and recommend flags, kernel settings and limits of the unit, each with its reason.
    ///
    /// Cores (affinity, cgroup quota, hardware threads, NUMA), memory (cgroup limit), RLIMIT_NOFILE and RLIMIT_MEMLOCK, io_uring and the
    /// settings of the kernel, and the resolver of /etc/resolv.conf are read; nothing is changed. What is recommended for --memory and the
    /// caches is reckoned from measured sizes: --memory is for each core, in MiB, the caches are for all cores together.
    #[command(after_long_help = TUNE_EXAMPLES)]
    Tune {
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
    },
    /// Show decision records of a log, filtered, one aligned line each.
    Tail(commands::tail::Tail),
}

const TUNE_EXAMPLES: &str = "Examples:
  mx6 tune                                  the command line, and why
  mx6 tune --toml > mx6.toml                the same as keys of a file, to which you add your own
  mx6 tune --for-cores 16 --for-memory 64G  for a machine that is not there yet";

fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            mx6_telemetry::say!("{}", failure.error);
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    error: anyhow::Error,
    code: u8,
}

fn failure(code: u8) -> impl Fn(anyhow::Error) -> Failure {
    move |error| Failure { error, code }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Tail(tail) => tail.run(),
        Command::Serve { config, options } => serve(config, *options),
        Command::Tune { json, toml, for_cores, for_memory } => {
            let facts = mx6_server::tune::facts(for_cores.map(usize::from), for_memory);
            let facts = facts.map_err(|error| failure(EX_OSERR)(error.into()))?;
            let plan = mx6_server::tune::recommend(&facts);
            match (json, toml) {
                (true, _) => println!("{:#}", plan.to_json(&facts)),
                (_, true) => print!("{}", plan.to_toml(&facts)),
                _ => print!("{}", plan.to_text(&facts)),
            }
            Ok(())
        }
        Command::CheckConfig { config, options } => check_config(config, *options).map_err(failure(EX_CONFIG)),
        Command::Explain { config, client_ip, helo, mail_from, rcpt_to, json, options, message } => {
            let message = read(&message).map_err(failure(EX_DATAERR))?;
            let options = options.over_file(config.as_deref()).map_err(|error| failure(EX_CONFIG)(error.into()))?;
            let question = mx6_server::Question { client: client_ip, helo, mail_from, rcpt_to, message };
            let explanation = mx6_server::explain(&options, question).map_err(|error| {
                let code = error.exit_code();
                failure(code)(error.into())
            })?;
            if json {
                println!("{}", explanation.to_json());
            } else {
                println!("{explanation}");
            }
            Ok(())
        }
    }
}

fn serve(config: Option<PathBuf>, options: Options) -> Result<(), Failure> {
    // The command line and the environment hold for ever; the file may say something else next time.
    let file = config.clone();
    let read = move || options.clone().over_file(file.as_deref()).and_then(Options::check);
    let checked = read().map_err(|error| failure(EX_CONFIG)(error.into()))?;
    let failed = |error: ServeError| {
        let code = error.exit_code();
        failure(code)(error.into())
    };
    // Before the first thread is started: those that are there already would keep what is given up here.
    let gate = mx6_server::prepare(checked, config.as_slice()).map_err(failed)?;
    let stop = StopFlag::new();
    let (ask, requests) = mpsc::channel();
    follow_signals(stop.clone(), ask).map_err(|error| failure(EX_OSERR)(error.into()))?;
    gate.serve(Reload { requests, read: Box::new(read) }, &stop).map_err(failed)
}

/// SIGTERM and SIGINT drain; a second one ends the process at once. SIGHUP asks for the configuration to be read again.
fn follow_signals(stop: StopFlag, reload: mpsc::Sender<()>) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new().name("mx6-signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // Nobody hears it before the gate serves; what it was started with is new enough then.
                let _ = reload.send(());
                continue;
            }
            if stop.is_set() {
                std::process::exit(128 + signal);
            }
            stop.set();
        }
    })?;
    Ok(())
}

fn check_config(config: Option<PathBuf>, options: Options) -> anyhow::Result<()> {
    let report = mx6_server::check(options.over_file(config.as_deref())?)?;
    for line in report.lines {
        println!("{line}");
    }
    println!("the configuration is usable");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = if path == Path::new("-") {
        let mut message = Vec::new();
        std::io::stdin().read_to_end(&mut message).map(|_| message)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))
}

/// sysexits.h: the input data was incorrect.
const EX_DATAERR: u8 = 65;
/// sysexits.h: an operating system error.
const EX_OSERR: u8 = 71;
/// sysexits.h: something was found in an unconfigured or misconfigured state.
const EX_CONFIG: u8 = 78;
