//! A gate whose system calls strace writes down, or makes fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::gate::{Gate, Setup};
use super::process::{self, Process};
use super::{skip, until};

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

/// strace, attached to the gate, whose system calls fail as long as it lives.
pub struct Injected(Process);

impl Injected {
    /// `calls` meet with `fault` (`error=EIO`, `signal=KILL`), on `path` only if there is one. None, with a notice, where strace may not trace.
    pub fn into(gate: &Gate, calls: &str, fault: &str, path: Option<&Path>) -> Option<Injected> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}:{fault}")]);
        strace.args(path.map(|path| format!("-P{}", path.display())));
        strace.args(["-p", &gate.process.id().to_string()]);
        let mut strace = Process::start(&mut strace);
        let is_attached = until("strace to attach", || {
            let told = strace.stderr().join("\n");
            let attached = told.contains("attached");
            (attached || !strace.is_running()).then_some(attached)
        });
        if !is_attached {
            skip(&format!("strace may not trace here: {}", strace.stderr().join(" ")));
            return None;
        }
        Some(Injected(strace))
    }

    /// The disk is back.
    pub fn end(mut self) {
        self.0.signal(rustix::process::Signal::INT);
        self.0.wait();
    }
}
