//! The command line: manual pages, completions and version, each read by the program that it is for.

use std::process::Command;

use serde_json::Value;

use crate::harness::gate::{binary, mx6};
use crate::harness::process::{run, succeed};
use crate::harness::{skip, zone};

/// Keys of all options.
fn keys() -> Vec<String> {
    let shown: Value = serde_json::from_str(&mx6(&["config", "show", "--json"]).stdout).unwrap();
    shown.as_object().unwrap().keys().cloned().collect()
}

fn is_there(program: &str) -> bool {
    let is_there = run(Command::new("sh").args(["-c", &format!("command -v {program}")])).code == Some(0);
    if !is_there {
        skip(&format!("{program} is not installed"));
    }
    is_there
}

#[test]
fn manual_pages() {
    let dir = tempfile::tempdir().unwrap();
    let ended = mx6(&["man", &dir.path().display().to_string()]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let page =
        |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let serve = page("mx6-serve.1");
    for key in keys() {
        let flag = format!("\\-\\-{}", key.replace('-', "\\-"));
        assert!(
            serve.contains(&flag) && serve.contains(&format!("MX6_{}", key.replace('-', "_").to_uppercase())),
            "{key}"
        );
    }
    assert!(["SH ENVIRONMENT", "SH FILES"].iter().all(|section| serve.contains(section)), "{serve}");
    assert!(page("mx6-tune.1").contains("SH EXAMPLES"));
    assert!(page("mx6-config-show.1").contains("origin") && page("mx6-check-config.1").contains("offline"));
    assert!(!dir.path().join("mx6-reference.1").exists());
    assert_eq!(mx6(&["man"]).stdout, page("mx6.1"));
    assert_eq!(mx6(&["man", "/nowhere/at/all"]).code, Some(73));
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(std::fs::read_to_string(&path).unwrap().contains("SH \"EXIT STATUS\""), "{}", path.display());
        if is_there("mandoc") {
            let lint = run(Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&path));
            assert_eq!((lint.code, lint.stdout.as_str()), (Some(0), ""), "{}", path.display());
            let shown = succeed(Command::new("mandoc").args(["-T", "ascii"]).arg(&path));
            assert!(shown.contains("EXIT STATUS") || shown.contains("S\u{8}ST\u{8}TA"), "{shown}");
        }
    }
}

/// What a shell offers behind those words, and that the others can read their scripts.
#[test]
fn completions() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = dir.path().join(shell);
        std::fs::write(&script, mx6(&["completions", shell]).stdout).unwrap();
        if is_there(shell) {
            succeed(Command::new(shell).arg("-n").arg(&script));
        }
        let text = std::fs::read_to_string(&script).unwrap();
        let missing = keys().into_iter().find(|key| !text.contains(key.as_str()));
        assert_eq!(missing, None, "{shell}");
    }
    let offered = |words: &str, last: &str, before: &str| {
        let session = format!(
            "source {}; COMP_WORDS=({words} {last}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _mx6 mx6 '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
            dir.path().join("bash").display()
        );
        succeed(Command::new("bash").args(["--norc", "-c", &session])).trim().to_owned()
    };
    assert_eq!(offered("mx6 serve", "--dns-", "serve"), "--dns-server --dns-timeout-ms --dns-stale --dns-probe");
    assert_eq!(offered("mx6 serve --mode", "m", "--mode"), "monitor");
    assert_eq!(offered("mx6", "che", "mx6"), "check-config");
}

#[test]
fn version() {
    assert_eq!(mx6(&["-V"]).stdout, format!("mx6 {}\n", env!("CARGO_PKG_VERSION")));
    let long = mx6(&["--version"]).stdout;
    for name in ["commit ", "profile ", "target ", "features ", "kernels ", "can run ", "io_uring "] {
        assert!(long.lines().any(|line| line.starts_with(name) && line.len() > 11), "no {name:?} in {long}");
    }
    let own = zone::workspace().join(".git").exists();
    let git = run(Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short=12", "HEAD"]));
    if own && git.code == Some(0) {
        assert!(long.contains(git.stdout.trim()), "{long}");
    }
}

/// A reader that leaves is no reason to panic.
#[test]
fn a_closed_pipe() {
    let script = format!("{} completions bash | head -1; echo ${{PIPESTATUS[0]}}", binary().display());
    let ended = run(Command::new("bash").args(["-c", &script]));
    assert!(ended.stdout.ends_with("0\n") && ended.stderr.is_empty(), "{ended:#?}");
}
