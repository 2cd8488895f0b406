//! Keeps the rules of ARCHITECTURE.md that a program can keep: which room may use which, and what may not be in a room.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;

/// The rooms from the bottom up. A room may use only those before it; `telemetry` uses none.
const ROOMS: [&str; 13] = [
    "smtp",
    "dkim",
    "spf",
    "policy",
    "telemetry",
    "runtime",
    "dns",
    "message-auth",
    "delivery",
    "admin",
    "server",
    "console",
    "mx6",
];

/// Rooms that do nothing but compute: no clock, no sockets, no log.
const PURE: [&str; 4] = ["smtp", "dkim", "spf", "policy"];

/// Rooms where `unsafe` may have business.
const MAY_BE_UNSAFE: [&str; 2] = ["dkim", "runtime"];

/// A library, and the members that may depend on it. Development dependencies are free.
const KNOWN_ONLY_TO: [(&str, &[&str]); 9] = [
    ("glommio", &["runtime"]),
    ("axum", &["admin"]),
    ("hyper", &["admin"]),
    ("tokio", &["admin", "loadgen"]),
    ("tokio-rustls", &["loadgen"]),
    ("hickory-resolver", &["runtime", "dns"]),
    ("hickory-proto", &["runtime", "dns"]),
    ("hickory-server", &["loadgen"]),
    ("mail-auth", &["message-auth", "loadgen"]),
];

/// Lines of the longest file.
const FILE_LINES_MAX: usize = 600;

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A member of the workspace: the path of its folder as the root manifest has it, the last word of that, and its manifest.
struct Member {
    path: String,
    name: String,
    folder: PathBuf,
    manifest: Table,
}

/// Every member, in the order of the root manifest.
fn members() -> Vec<Member> {
    let root: Table = read(&workspace().join("Cargo.toml")).parse().unwrap();
    let folders = root["workspace"]["members"].as_array().unwrap();
    let member = |path: &toml::Value| {
        let path = path.as_str().unwrap().to_owned();
        let folder = workspace().join(&path);
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let manifest = read(&folder.join("Cargo.toml")).parse().unwrap();
        Member { path, name, folder, manifest }
    };
    folders.iter().map(member).collect()
}

impl Member {
    /// Names of what it depends on when it is built, for whatever target.
    fn dependencies(&self) -> BTreeSet<String> {
        let tables = |at: &Table| -> Vec<String> {
            let kinds = ["dependencies", "build-dependencies"].into_iter().filter_map(|kind| at.get(kind)?.as_table());
            kinds.flat_map(|table| table.keys().cloned()).collect()
        };
        let targets = self.manifest.get("target").and_then(toml::Value::as_table);
        let targeted = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
        tables(&self.manifest).into_iter().chain(targeted.flat_map(tables)).collect()
    }

    fn is_room(&self) -> bool {
        ROOMS.contains(&self.name.as_str())
    }

    /// Where its sources are.
    fn source_folder(&self) -> PathBuf {
        let folder = self.folder.join("src");
        if folder.exists() { folder } else { self.folder.clone() }
    }

    /// Its source files.
    fn sources(&self) -> Vec<PathBuf> {
        rust_files(&self.source_folder())
    }

    /// The file that has the crate's attributes.
    fn root_file(&self) -> PathBuf {
        let library = self.source_folder().join("lib.rs");
        if library.exists() { library } else { self.source_folder().join("main.rs") }
    }
}

/// Rust files of a folder and those in it.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The code of a file without its test module, each line without its comment.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Whether a file is nothing but tests.
fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.file_stem().is_some_and(|stem| stem == "tests")
}

/// All that is wrong, or nothing.
fn assert_none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn rooms_use_only_those_below() {
    let mut found = Vec::new();
    for member in members().iter().filter(|member| member.is_room()) {
        let height = ROOMS.iter().position(|room| *room == member.name).unwrap();
        for used in member.dependencies().iter().filter_map(|name| name.strip_prefix("mx6-")) {
            let below = ROOMS[..height].contains(&used) && member.name != "telemetry";
            if !below {
                found.push(format!("{} uses {used}", member.name));
            }
        }
    }
    assert_none("a room may use only those before it", found);
}

#[test]
fn loadgen_knows_nothing_of_the_gate() {
    for member in members().iter().filter(|member| member.name == "loadgen") {
        let used = member.dependencies();
        let barred = ["mx6-server", "mx6-policy", "mx6-message-auth"];
        assert!(barred.iter().all(|name| !used.contains(*name)), "{used:?}");
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut found = Vec::new();
    for member in members() {
        for (library, rooms) in KNOWN_ONLY_TO {
            if member.dependencies().contains(library) && !rooms.contains(&member.name.as_str()) {
                found.push(format!("{} depends on {library}", member.name));
            }
        }
    }
    assert_none("known to too many", found);
}

#[test]
fn unsafe_code_is_forbidden_where_it_has_no_business() {
    let forbids = |member: &Member| read(&member.root_file()).contains("#![forbid(unsafe_code)]");
    let free = members().into_iter().filter(|member| !MAY_BE_UNSAFE.contains(&member.name.as_str()));
    assert_none(
        "no #![forbid(unsafe_code)]",
        free.filter(|member| !forbids(member)).map(|member| member.name).collect(),
    );
}

/// In `dkim` the compiler denies it, and one line allows it to the kernels.
#[test]
fn unsafe_code_of_dkim_is_in_its_kernels() {
    let members = members();
    let dkim = members.iter().find(|member| member.name == "dkim").unwrap();
    let root = read(&dkim.root_file());
    assert!(root.contains("#![deny(unsafe_code)]"));
    let allowed = "#[allow(unsafe_code)]\npub mod kernels;";
    assert!(root.contains(allowed));
    let kernels = dkim.source_folder().join("kernels");
    let elsewhere = dkim.sources().into_iter().filter(|path| !path.starts_with(&kernels));
    let allows = elsewhere.filter(|path| read(path).replacen(allowed, "", 1).contains("allow(unsafe_code)"));
    assert_none("unsafe code allowed outside the kernels", allows.map(|path| path.display().to_string()).collect());
}

#[test]
fn smtp_has_no_standard_library() {
    let members = members();
    let smtp = members.iter().find(|member| member.name == "smtp").unwrap();
    assert!(read(&smtp.root_file()).contains("#![no_std]"));
}

/// The same inputs give the same outputs: nothing that tells the time, waits, draws lots, reads a file or prints.
#[test]
fn pure_rooms_are_pure() {
    let words = [
        "SystemTime",
        "Instant::",
        "UNIX_EPOCH",
        "sleep(",
        "std::net::Tcp",
        "std::net::Udp",
        "std::fs",
        "std::env",
        "std::thread",
        "println!",
        "eprintln!",
        "async fn",
        "rand::",
    ];
    let mut found = Vec::new();
    for member in members().iter().filter(|member| PURE.contains(&member.name.as_str())) {
        for path in member.sources().iter().filter(|path| !is_test_file(path)) {
            let code = code(path);
            found.extend(
                words.iter().filter(|word| code.contains(**word)).map(|word| format!("{word} in {}", path.display())),
            );
        }
    }
    assert_none("not pure", found);
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!", "unimplemented!", "TODO", "FIXME", "XXX", "dbg!"];
    let mut found = Vec::new();
    for member in members() {
        for path in member.sources() {
            let text = read(&path);
            found.extend(
                words.iter().filter(|word| text.contains(**word)).map(|word| format!("{word} in {}", path.display())),
            );
        }
    }
    assert_none("left undone", found);
}

#[test]
fn a_file_can_be_held() {
    let mut found = Vec::new();
    for member in members() {
        for path in member.sources() {
            let lines = read(&path).lines().count();
            if lines > FILE_LINES_MAX {
                found.push(format!("{lines} lines in {}", path.display()));
            }
        }
    }
    assert_none(&format!("more than {FILE_LINES_MAX} lines"), found);
}

/// Every file says first what it is; tests belong to the file that they test.
#[test]
fn every_file_has_a_head() {
    let mut found = Vec::new();
    for member in members() {
        let files = member.sources().into_iter().filter(|path| !is_test_file(path) && !read(path).starts_with("//!"));
        found.extend(files.map(|path| path.display().to_string()));
    }
    assert_none("no module doc on top", found);
}

#[test]
fn the_architecture_names_every_room() {
    let architecture = read(&workspace().join("ARCHITECTURE.md"));
    let named =
        |member: &Member| ["`", "/`"].iter().any(|end| architecture.contains(&format!("`{}{end}", member.path)));
    assert_none(
        "not in ARCHITECTURE.md",
        members().iter().filter(|member| !named(member)).map(|member| member.name.clone()).collect(),
    );
}

/// glommio's tasks swallow the executor when they panic: they are spawned in one place.
#[test]
fn only_runtime_spawns() {
    let mut found = Vec::new();
    for member in members().iter().filter(|member| member.is_room() && member.name != "runtime") {
        let files = member.sources().into_iter().filter(|path| code(path).contains("glommio"));
        found.extend(files.map(|path| path.display().to_string()));
    }
    assert_none("glommio outside runtime", found);
}
