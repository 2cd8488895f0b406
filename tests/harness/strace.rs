//! A gate whose system calls strace writes down.

use std::path::PathBuf;
use std::process::Command;

use super::gate::{Gate, Setup};
use super::{process, skip, until};

/// A gate under strace.
pub struct Traced {
    /// The gate.
    pub gate: Gate,
    trace: PathBuf,
}

/// Starts the gate; `calls` are those to write down, with commas between them. None, with a notice, where strace may not trace.
pub fn start(setup: Setup, calls: &str) -> Option<Traced> {
    if process::run(Command::new("strace").args(["-o", "/dev/null", "true"])).code != Some(0) {
        skip("strace may not trace here");
        return None;
    }
    let trace = setup.dir().join("trace");
    let (file, calls) = (trace.display().to_string(), format!("trace={calls}"));
    let strace = ["strace", "-D", "-f", "-y", "-s", "200", "-o", &file, "-e", &calls, "--"];
    let gate = setup.under(&strace).start();
    Some(Traced { gate, trace })
}

impl Traced {
    /// Kills the gate; what it asked the kernel for until then.
    pub fn kill(&mut self) -> String {
        self.gate.process.kill();
        until("the trace to be written", || {
            let text = std::fs::read_to_string(&self.trace).ok()?;
            text.contains("+++ killed").then_some(text)
        })
    }
}
