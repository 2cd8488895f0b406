//! `mx6 config`: the options as they hold, where each comes from, and the schema of the file.

use serde_json::Value;

use crate::harness::gate::{mx6, mx6_with};

const FILE: &str = "hostname = \"file.example\"\nlisten = [\"[::1]:25\"]\nzone = \"a \\\"b\\\" c\"\nmemory = 128\n\
                    one-domain = true\ndrain-timeout = 60\n[limit]\n64.messages = \"600/1h\"\n[domain]\n\"*.open.example\" = \"accept\"\n";

/// Flag beats environment beats file, a list replaces the one below, and each value knows where it comes from.
#[test]
fn layers_and_origins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mx6.toml");
    std::fs::write(&file, FILE).unwrap();
    let file = file.display().to_string();
    let variables =
        [("MX6_MEMORY", "256"), ("MX6_LISTEN", "[::1]:26,[::1]:27"), ("MX6_DNS_SERVER", "::1"), ("MX6_PTR", "")];
    let ended = mx6_with(&variables, &["config", "show", "--origin", "--config", &file, "--hostname", "flag.example"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    for line in [
        "hostname = \"flag.example\"  # flag --hostname".to_owned(),
        "listen = [\"[::1]:26\", \"[::1]:27\"]  # environment MX6_LISTEN".to_owned(),
        "memory = 256  # environment MX6_MEMORY".to_owned(),
        // The layer that names a resolver takes the zone of the one below away.
        "dns-server = [\"::1\"]  # environment MX6_DNS_SERVER".to_owned(),
        "# zone: none: a resolver is asked  # default".to_owned(),
        "ptr = \"exists\"  # default".to_owned(),
        format!("one-domain = true  # {file}:5:1"),
        format!("limit = [\"64.messages=600/1h\"]  # {file}:7:2"),
    ] {
        assert!(ended.stdout.lines().any(|told| told == line), "no {line:?} in\n{}", ended.stdout);
    }
}

/// What is shown is a file that says the same; `--changed` leaves out what is as it would be anyway.
#[test]
fn what_is_shown_can_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|name| dir.path().join(name).display().to_string());
    std::fs::write(&first, FILE).unwrap();
    let show = |flags: &[&str], file: &str| {
        let ended = mx6(&[&["config", "show", "--config", file][..], flags].concat());
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.stdout
    };
    std::fs::write(&second, show(&[], &first)).unwrap();
    std::fs::write(&third, show(&["--changed"], &first)).unwrap();
    assert_eq!(show(&[], &second), show(&[], &first));
    assert_eq!(show(&[], &third), show(&[], &first));
    let changed = show(&["--changed"], &first);
    assert!(
        changed.contains("zone = \"a \\\"b\\\" c\"") && changed.contains("\"*.open.example\" = \"accept\""),
        "{changed}"
    );
    assert!(!changed.contains("drain-timeout") && !changed.contains("mode"), "{changed}");
    let json: Value = serde_json::from_str(&show(&["--json"], &first)).unwrap();
    assert_eq!(json["memory"]["value"], 128);
    assert_eq!((&json["memory"]["unit"], &json["memory"]["changed"]), (&Value::from("MiB"), &Value::from(true)));
    assert_eq!(json["memory"]["origin"], format!("{first}:4:1"));
    assert_eq!((&json["log"]["value"], &json["log"]["origin"]), (&Value::Null, &Value::from("default")));
}

#[test]
fn a_file_that_cannot_be_read_is_not_shown() {
    let ended = mx6(&["config", "show", "--config", "/nowhere/mx6.toml"]);
    assert!(ended.code == Some(78) && ended.stderr.contains("/nowhere/mx6.toml: "), "{ended:#?}");
    let ended = mx6_with(&[("MX6_CORES", "none")], &["config", "show"]);
    assert!(ended.code == Some(78) && ended.stderr.contains("environment MX6_CORES"), "{ended:#?}");
}

/// The schema knows every flag and nothing else.
#[test]
fn the_schema_has_every_key() {
    let schema: Value = serde_json::from_str(&mx6(&["config", "schema"]).stdout).unwrap();
    let shown: Value = serde_json::from_str(&mx6(&["config", "show", "--json"]).stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&schema["properties"]), keys(&shown));
    assert_eq!(schema["properties"]["mode"]["enum"], serde_json::json!(["enforce", "monitor"]));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(mx6(&["reference", &folder.path().display().to_string()]).code, Some(0));
    let reference = std::fs::read_to_string(folder.path().join("options.md")).unwrap();
    for key in keys(&shown) {
        assert!(reference.contains(&format!("| `{key}` |")), "{key} is not in the reference");
    }
}
