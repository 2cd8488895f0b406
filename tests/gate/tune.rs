//! `mx6 tune`: what it prints can be used as it stands.

use serde_json::Value;

use crate::harness::gate::{Setup, mx6};

fn tune(args: &[&str]) -> String {
    let ended = mx6(&[&["tune"][..], args].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.stdout
}

/// The file is accepted, and says the same as the flags.
#[test]
fn the_part_of_a_file_is_a_configuration() {
    let setup = Setup::new();
    let file = setup.dir().join("tuned.toml");
    std::fs::write(&file, tune(&["--toml"])).unwrap();
    let own = ["--hostname", "mx.example", "--listen", "[::1]:0", "--deliver", "discard:", "--dns-server", "::1"];
    let file = file.display().to_string();
    let from_file = mx6(&[&["check-config", "--offline", "--config", &file][..], &own].concat());
    assert_eq!(from_file.code, Some(0), "{from_file:#?}");
    let plan: Value = serde_json::from_str(&tune(&["--json"])).unwrap();
    let command = plan["command"].as_str().unwrap();
    let flags: Vec<&str> = command.strip_prefix("mx6 serve ").unwrap().split(' ').collect();
    let from_flags = mx6(&[&["check-config", "--offline"][..], &flags, &own].concat());
    assert_eq!(from_flags.code, Some(0), "{from_flags:#?}");
    assert_eq!(from_file.stdout, from_flags.stdout);
    let text = std::fs::read_to_string(&file).unwrap().parse::<toml::Table>().unwrap();
    for flag in plan["flags"].as_array().unwrap() {
        let value = &text[flag["name"].as_str().unwrap()];
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(value, flag["value"].as_str().unwrap(), "{flag}");
    }
    assert_eq!(text.len(), plan["flags"].as_array().unwrap().len());
    assert!(tune(&[]).contains(command));
}

#[test]
fn other_machines() {
    let plan = |args: &[&str]| -> Value { serde_json::from_str(&tune(&[args, &["--json"][..]].concat())).unwrap() };
    let large = plan(&["--for-cores", "16", "--for-memory", "64G"]);
    assert_eq!((&large["machine"]["memory_octets"], &large["shards"]), (&Value::from(64_u64 << 30), &Value::from(13)));
    assert_eq!(plan(&["--for-cores", "2"])["machine"]["memory_octets"], Value::from(8_u64 << 30));
    let here = plan(&[]);
    assert_eq!(plan(&["--for-memory", "8G"])["machine"]["cpus"], here["machine"]["cpus"]);
    for (args, words) in [
        (&["--for-cores", "0"][..], "--for-cores"),
        (&["--for-memory", "8"], "such as 512M or 16G"),
        (&["--json", "--toml"], "cannot be used with"),
    ] {
        let ended = mx6(&[&["tune"][..], args].concat());
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
    }
    let help = mx6(&["tune", "--help"]).stdout;
    assert!(["RLIMIT_MEMLOCK", "Examples:", "--for-cores"].iter().all(|word| help.contains(word)), "{help}");
}
