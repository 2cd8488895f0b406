//! A terminal that programs run in as an operator runs them: tmux, with a server of its own for each test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{run, succeed};
use super::until;

/// A terminal with a shell in it. Its server ends with it.
pub struct Terminal {
    dir: TempDir,
}

impl Terminal {
    /// A shell that waits for a command; none if tmux is not installed.
    pub fn start(columns: u16, rows: u16) -> Option<Terminal> {
        Command::new("tmux").arg("-V").output().ok()?;
        let terminal = Terminal { dir: tempfile::Builder::new().prefix("mx6-tmux-").tempdir().unwrap() };
        let mut command = terminal.tmux(&["new-session", "-d", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        // Nobody's settings decide what is seen.
        command.args(["env", "-i", "PATH=/usr/bin:/bin", "TERM=screen-256color", "LANG=C.UTF-8", "PS1=ready> "]);
        succeed(command.args(["sh"]));
        terminal.until("a prompt", |screen| screen.contains("ready>").then_some(()));
        Some(terminal)
    }

    /// Types a command, and Enter.
    pub fn run(&self, program: &Path, args: &[&str]) {
        let words = [&[program.to_str().unwrap()], args].concat();
        self.say(&words.join(" "));
    }

    /// Types a line, and Enter.
    pub fn say(&self, line: &str) {
        succeed(&mut self.tmux(&["send-keys", "-l", line]));
        self.press("Enter");
    }

    /// Presses one key: a character, or a name of tmux's such as `Enter` or `C-c`.
    pub fn press(&self, key: &str) {
        succeed(&mut self.tmux(&["send-keys", key]));
    }

    /// The process that the shell runs.
    pub fn running(&self) -> u32 {
        let shell = succeed(&mut self.tmux(&["list-panes", "-F", "#{pane_pid}"]));
        let shell = shell.trim();
        until("the shell to run something", || {
            let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
            children.split_whitespace().next()?.parse().ok()
        })
    }

    /// Another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        succeed(&mut self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]));
    }

    /// What is seen.
    pub fn screen(&self) -> String {
        succeed(&mut self.tmux(&["capture-pane", "-p"]))
    }

    /// Waits until what is seen is what is wanted.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let mut last = String::new();
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(what, || {
                last = self.screen();
                look(&last)
            })
        }));
        looked.unwrap_or_else(|panic| {
            eprintln!("--- the terminal ---\n{last}");
            std::panic::resume_unwind(panic)
        })
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.socket()).args(["-f", "/dev/null"]).args(words);
        command.env_remove("TMUX");
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("tmux")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        run(&mut self.tmux(&["kill-server"]));
    }
}
