//! `mx6 serve`: the gate itself, and the signals that it follows.

use std::sync::mpsc;

use clap::Args;
use mx6_server::{Options, Reload, ServeError, StopFlag};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Configuration;
use crate::failure::{EX_CONFIG, EX_OSERR, Failure, failure};

/// Run the gate.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    configuration: Configuration,
}

impl Serve {
    /// Runs until a signal ends it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let configuration = self.configuration;
        let file = configuration.config.clone();
        // The command line and the environment hold for ever; the file may say something else next time.
        let read = move || configuration.clone().options().and_then(Options::check);
        let checked = read().map_err(failure(EX_CONFIG))?;
        let failed = |error: ServeError| failure(error.exit_code())(error);
        // Before the first thread is started: those that are there already would keep what is given up here.
        let gate = mx6_server::prepare(checked, file.as_slice()).map_err(failed)?;
        let stop = StopFlag::new();
        let (ask, requests) = mpsc::channel();
        follow_signals(stop.clone(), ask).map_err(failure(EX_OSERR))?;
        gate.serve(Reload { requests, read: Box::new(read) }, &stop).map_err(failed)
    }
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
