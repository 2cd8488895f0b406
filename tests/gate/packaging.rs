//! What `packaging/` ships: the default configuration, and shell scripts that shellcheck has nothing to say about.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::gate::binary;
use crate::harness::process::{run, succeed};
use crate::harness::{files, skip};

/// The file of the package is usable but for the folder that the service manager makes.
#[test]
fn default_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = files::read(&workspace().join("packaging/debian/mx6.toml"));
    let config = dir.path().join("mx6.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        run(Command::new(binary()).args(["check-config", "--config"]).arg(&config))
    };
    let here = shipped.replace("/var/lib/mx6", &dir.path().display().to_string());
    assert_ne!(here, shipped);
    let ended = check(&here);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let ended = check(&here.replace("listen =", "lisen ="));
    assert_eq!(ended.code, Some(78), "{ended:#?}");
}

/// Every shell script of the repository.
#[test]
fn shell_scripts() {
    if Command::new("shellcheck").arg("--version").output().is_err() {
        return skip("no shellcheck");
    }
    let listed = succeed(Command::new("git").arg("ls-files").current_dir(workspace()));
    let is_script = |path: &PathBuf| {
        let text = std::fs::read(path).unwrap_or_default();
        let first = text.split(|octet| *octet == b'\n').next().unwrap_or_default();
        first.starts_with(b"#!") && (first.ends_with(b"bash") || first.ends_with(b"/sh"))
    };
    let scripts: Vec<PathBuf> = listed.lines().map(|line| workspace().join(line)).filter(is_script).collect();
    assert!(scripts.len() >= 5, "{scripts:#?}");
    let ended = run(Command::new("shellcheck").args(scripts));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
