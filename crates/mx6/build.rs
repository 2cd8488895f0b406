//! Has the runtime set up glommio's rings (`crates/runtime/src/ring_setup.rs`), and says from what the binary was built.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=__sys_io_uring_setup");
    println!("cargo::rerun-if-env-changed=MX6_COMMIT");
    println!("cargo::rustc-env=MX6_COMMIT={}", commit());
    for (name, from) in [("MX6_PROFILE", "PROFILE"), ("MX6_TARGET", "TARGET")] {
        println!("cargo::rustc-env={name}={}", std::env::var(from).unwrap_or_else(|_| "unknown".to_owned()));
    }
    let features = std::env::vars().filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()));
    let features: Vec<String> = features.collect();
    println!(
        "cargo::rustc-env=MX6_FEATURES={}",
        if features.is_empty() { "none".to_owned() } else { features.join(", ") }
    );
}

/// What git says, else what `MX6_COMMIT` says, else `unknown`. Built again only when HEAD moves.
fn commit() -> String {
    // A tree without a `.git` of its own may lie in somebody else's.
    let own = Path::new("../../.git").exists();
    let commit = own.then(|| git(&["rev-parse", "--short=12", "HEAD"])).flatten();
    if commit.is_some() {
        for name in ["HEAD", "logs/HEAD"] {
            let path = git(&["rev-parse", "--path-format=absolute", "--git-path", name]);
            if let Some(path) = path.filter(|path| Path::new(path).exists()) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    commit.or_else(|| std::env::var("MX6_COMMIT").ok()).unwrap_or_else(|| "unknown".to_owned())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
