//! `mx6-loadgen run` as a program, against servers with real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounting;
mod refusals;
mod server;

use std::net::SocketAddr;
use std::process::{Command, Output};

use hdrhistogram::Histogram;
use serde_json::Value;

/// `mx6-loadgen run` against a server that does not look at addresses; its end and its JSON, if it came so far.
pub(crate) fn run(target: SocketAddr, args: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("run.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mx6-loadgen"));
    command.args(["run", "--target", &target.to_string(), "--pool", "4", "--json"]).arg(&json).args(args);
    let output = command.output().unwrap();
    let measurement = std::fs::read(&json).ok().map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap());
    (output, measurement)
}

/// The latencies of a stage.
pub(crate) fn stage(measurement: &Value, name: &str) -> Histogram<u64> {
    let stages = measurement["stages"].as_array().unwrap();
    let stage = stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no stage {name}"));
    let octets = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, stage["histogram"].as_str().unwrap());
    hdrhistogram::serialization::Deserializer::new().deserialize(&mut octets.unwrap().as_slice()).unwrap()
}

/// What it told.
pub(crate) fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
