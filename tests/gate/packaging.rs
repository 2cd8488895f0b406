//! What `packaging/` ships: the Debian package as a file, its default configuration, and shell scripts that shellcheck has nothing to say about.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::gate::binary;
use crate::harness::process::{run, succeed};
use crate::harness::{debian, files, skip};

/// The package has what its page says, under the version of the workspace, and lintian has nothing to say.
#[test]
fn debian_package() {
    let dir = tempfile::tempdir().unwrap();
    let package = match debian::package(dir.path()) {
        Ok(package) => package,
        Err(why) => return skip(&why),
    };
    let field = |name: &str| succeed(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name)).trim().to_owned();
    let manifest: toml::Table = files::read(&workspace().join("Cargo.toml")).parse().unwrap();
    let version = manifest["workspace"]["package"]["version"].as_str().unwrap();
    assert_eq!(field("Version").split_once('-').unwrap().0, version, "packaging/debian/changelog has another version");
    assert!(field("Depends").starts_with("libc6 (>= "), "{}", field("Depends"));
    let conffiles = succeed(Command::new("dpkg-deb").arg("--info").arg(&package).arg("conffiles"));
    assert_eq!(conffiles.lines().collect::<Vec<_>>(), ["/etc/mx6/mx6.toml", "/etc/logrotate.d/mx6"]);

    let listed = succeed(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for (mode, path) in CONTENTS {
        let found = listed.lines().find(|line| line.ends_with(&format!(" ./{path}")));
        assert!(found.is_some_and(|line| line.starts_with(mode)), "{path}: {found:?}\n{listed}");
    }
    assert!(listed.lines().all(|line| line.contains(" 0/0 ")), "{listed}");

    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]).arg(&package);
    match lintian.output() {
        Ok(said) => {
            assert!(said.status.success() && said.stdout.is_empty(), "{}", String::from_utf8_lossy(&said.stdout))
        }
        Err(_) => skip("no lintian"),
    }
}

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

/// Mode and path of what must be there.
const CONTENTS: [(&str, &str); 17] = [
    ("-rwxr-xr-x", "usr/bin/mx6"),
    ("-rw-r--r--", "etc/mx6/mx6.toml"),
    ("-rw-r--r--", "etc/logrotate.d/mx6"),
    ("-rw-r--r--", "usr/lib/systemd/system/mx6.service"),
    ("-rw-r--r--", "usr/lib/systemd/system/mx6.socket"),
    ("-rw-r--r--", "usr/lib/systemd/system/mx6-proxy.socket"),
    ("-rw-r--r--", "usr/share/man/man1/mx6.1.gz"),
    ("-rw-r--r--", "usr/share/man/man1/mx6-serve.1.gz"),
    ("-rw-r--r--", "usr/share/bash-completion/completions/mx6"),
    ("-rw-r--r--", "usr/share/zsh/vendor-completions/_mx6"),
    ("-rw-r--r--", "usr/share/fish/vendor_completions.d/mx6.fish"),
    ("-rw-r--r--", "usr/share/doc/mx6/copyright"),
    ("-rw-r--r--", "usr/share/doc/mx6/changelog.gz"),
    ("-rw-r--r--", "usr/share/doc/mx6/changelog.Debian.gz"),
    ("-rw-r--r--", "usr/share/doc/mx6/SECURITY.md"),
    ("-rw-r--r--", "usr/share/doc/mx6/examples/monitoring/alerts.yml"),
    ("-rw-r--r--", "usr/share/doc/mx6/examples/monitoring/grafana.json"),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
