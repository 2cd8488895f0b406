//! A network namespace of the test's own, where loopback has any address that the test wants.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{run, succeed};

/// A namespace; removed on drop.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one whose loopback has these addresses, or says why it cannot.
    pub fn new(addresses: &[&str]) -> Result<Namespace, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mx6-test-{}-{number}", std::process::id());
        let made = run(Command::new("ip").args(["netns", "add", &name]));
        if made.code != Some(0) {
            return Err(format!("no network namespace: {}", made.stderr.trim()));
        }
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        for address in addresses {
            namespace.ip(&["address", "add", address, "dev", "lo"]);
        }
        Ok(namespace)
    }

    /// Words that go before a command line to run it inside; it keeps its process id.
    pub fn wrapper(&self) -> [String; 2] {
        ["nsenter".into(), format!("--net={}", self.path())]
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Does something on a thread inside.
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        inside(Path::new(&self.path()), action)
    }

    fn ip(&self, args: &[&str]) {
        succeed(Command::new("ip").args(["-netns", &self.name]).args(args));
    }

    /// Its file.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

/// Does something on a thread inside the network namespace of that file.
pub fn inside<T: Send>(path: &Path, action: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(path).unwrap();
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            action()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

static NEXT: AtomicU32 = AtomicU32::new(0);
