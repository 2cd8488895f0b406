//! What `mx6 --version` tells: of what this binary was made, and what it can do on this machine.

use std::fmt::Write as _;

use mx6_dkim::Kernels;
use mx6_dkim::kernels::{KernelChoice, KernelName};

/// `0.1.0`, commit, build and machine.
pub(crate) fn long() -> String {
    let mut out = String::from(env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        let _ = write!(out, "\n{name:<10} {value}");
    };
    line("commit", env!("MX6_COMMIT"));
    line("profile", env!("MX6_PROFILE"));
    line("target", env!("MX6_TARGET"));
    line("features", env!("MX6_FEATURES"));
    match Kernels::select(KernelChoice::Auto) {
        Ok(selection) => line("kernels", &selection.kernels.to_string()),
        Err(error) => line("kernels", &error.to_string()),
    }
    let runs =
        |name: &KernelName| name.as_str().parse::<KernelChoice>().is_ok_and(|choice| Kernels::select(choice).is_ok());
    let can_run: Vec<&str> = KernelName::ALL.iter().filter(|name| runs(name)).map(|name| name.as_str()).collect();
    line(
        "can run",
        &if can_run.is_empty() { "portable".to_owned() } else { format!("portable, {}", can_run.join(", ")) },
    );
    match mx6_runtime::probe_io_uring() {
        Ok(()) => line("io_uring", "usable"),
        Err(refusal) => line("io_uring", &refusal.to_string()),
    }
    out
}
