//! A program under test: its output is collected while it runs, and it never outlives the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    stderr: Lines,
}

impl Process {
    /// Starts `command` without standard input.
    pub fn start(command: &mut Command) -> Process {
        Process::start_with(command, Stdio::null())
    }

    /// Starts `command` with that standard input.
    pub fn start_with(command: &mut Command, stdin: Stdio) -> Process {
        let name = command.get_program().to_string_lossy().into_owned();
        let command = command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stderr = Lines::collect(child.stderr.take().unwrap());
        Process { name, child, stderr }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lines of standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.so_far()
    }

    /// Waits until its standard error tells what is wanted.
    pub fn until_stderr<T>(&mut self, what: &str, mut look: impl FnMut(&[String]) -> Option<T>) -> T {
        let stderr = self.stderr.clone();
        until(what, || {
            let lines = stderr.so_far();
            let found = look(&lines);
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, stderr.so_far().join("\n"));
            }
            found
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|error| panic!("signal to {}: {error}", self.name));
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(&what, || self.child.try_wait().unwrap())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- stderr of {} ---\n{}", self.name, self.stderr().join("\n"));
        }
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a program that must succeed, and returns its standard output.
pub fn succeed(command: &mut Command) -> String {
    let ended = run(command);
    assert_eq!(ended.code, Some(0), "{command:?}: {ended:#?}");
    ended.stdout
}

/// Lines that a thread reads as they come.
#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn collect(from: impl Read + Send + 'static) -> Lines {
        let lines = Lines(Arc::default());
        let sink = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(octets) if octets > 0) {
                sink.0.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
        lines
    }

    fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
