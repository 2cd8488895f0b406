//! The first run, as README and manual tell it: the quickstart gate, and one message for each row of the rule table.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::gate::{binary, listening_on, mx6};
use crate::harness::namespace::Namespace;
use crate::harness::process::{Process, run, succeed};
use crate::harness::zone::workspace;
use crate::harness::{files, skip};

/// `mx6-loadgen`, built by the cargo that built this test, beside the gate.
pub fn loadgen() -> PathBuf {
    let loadgen = binary().with_file_name("mx6-loadgen");
    let profile = loadgen.parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "mx6-loadgen", "--target-dir"]).arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    succeed(build.current_dir(workspace()));
    loadgen
}

/// The folder that a stranger has: `examples/`, and nothing else yet.
fn fresh_folder() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("mx6-first-run-").tempdir().unwrap();
    std::fs::create_dir(dir.path().join("examples")).unwrap();
    for file in files::files(&workspace().join("examples")).iter().filter(|file| file.is_file()) {
        std::fs::copy(file, dir.path().join("examples").join(file.file_name().unwrap())).unwrap();
    }
    dir
}

/// Lines of the block of the manual's quick start that has `word` in it.
fn shown(word: &str) -> Vec<String> {
    let page = files::read(&workspace().join("docs/src/quick-start.md"));
    let mut blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains(word)).unwrap_or_else(|| panic!("no block with {word:?}"));
    block.lines().filter(|line| *line != "…").map(str::to_owned).collect()
}

/// On ports of the kernel's choosing.
#[test]
fn the_sample_shows_every_row() {
    let folder = fresh_folder();
    let mut serve = Command::new(binary());
    serve.args([
        "serve",
        "--config",
        "examples/quickstart.toml",
        "--listen",
        "[::1]:0",
        "--proxy-listen",
        "127.0.0.2:0",
    ]);
    serve.args(["--proxy-from", "127.0.0.0/8"]);
    let mut gate = Process::start(serve.current_dir(folder.path()));
    let proxy = gate
        .until_stderr("the PROXY listener", |lines| listening_on(lines).into_iter().find(|address| address.is_ipv4()));
    let sample = ["sample", "--proxy", &proxy.to_string()];
    let ended = run(Command::new(loadgen()).args(sample).current_dir(folder.path()));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("14 of 14 replies as expected"), "{}", ended.stdout);
    for line in shown("14 of 14 replies") {
        assert!(ended.stdout.contains(&line), "the quick start shows {line:?}, not in\n{}", ended.stdout);
    }
    let stored = files::new_in(&folder.path().join("mail"));
    assert_eq!(stored.len(), 5);
    for path in stored {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(ended.stdout.contains(&format!("./mail/new/{name}\n")), "{}", ended.stdout);
    }
}

/// On the ports of the file, in a namespace where nobody else has them.
#[test]
fn the_ports_of_the_readme() {
    let namespace = match Namespace::new(&[]) {
        Ok(namespace) => namespace,
        Err(why) => return skip(&why),
    };
    let folder = fresh_folder();
    let mut serve = namespace.command(&binary().display().to_string());
    serve.args(["serve", "--config", "examples/quickstart.toml"]).current_dir(folder.path());
    let mut gate = Process::start(&mut serve);
    let mut listening =
        gate.until_stderr("three listeners", |lines| Some(listening_on(lines)).filter(|told| told.len() >= 3));
    listening.sort();
    assert_eq!(listening, ["127.0.0.1:2525", "[::1]:2524", "[::1]:2525"].map(|address| address.parse().unwrap()));
    let mut words = shown("mx6: listening on");
    // Which kernels there are is the machine's.
    words.retain(|line| !line.starts_with("mx6: kernels"));
    gate.until_stderr("what the quick start shows", |lines| {
        words.iter().all(|word| lines.contains(word)).then_some(())
    });
    let sample =
        namespace.command(&loadgen().display().to_string()).arg("sample").current_dir(folder.path()).output().unwrap();
    assert!(sample.status.success(), "{}", String::from_utf8_lossy(&sample.stdout));
}

/// A reply that is not the expected one shows in the exit code, as does a gate that is not there.
#[test]
fn the_sample_tells_a_wrong_gate() {
    let folder = fresh_folder();
    let mut serve = Command::new(binary());
    serve.args(["serve", "--config", "examples/quickstart.toml", "--mode", "monitor", "--listen", "[::1]:0"]);
    serve.args(["--proxy-listen", "127.0.0.2:0", "--proxy-from", "127.0.0.0/8"]).current_dir(folder.path());
    let mut gate = Process::start(&mut serve);
    let proxy = gate
        .until_stderr("the PROXY listener", |lines| listening_on(lines).into_iter().find(|address| address.is_ipv4()));
    let sample = || run(Command::new(loadgen()).args(["sample", "--proxy", &proxy.to_string()]));
    let ended = sample();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stdout.contains("NOT AS EXPECTED"), "{}", ended.stdout);
    gate.kill();
    assert_eq!(sample().code, Some(2));
}

#[test]
fn help_names_every_command() {
    let ended = mx6(&["--help"]);
    assert_eq!(ended.code, Some(0));
    for command in ["serve", "explain", "check-config"] {
        assert!(ended.stdout.contains(command), "{}", ended.stdout);
        assert_eq!(mx6(&[command, "--help"]).code, Some(0), "{command} --help");
    }
}
