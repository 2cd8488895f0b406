//! A plan as text, as JSON, and as a part of a configuration file.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::facts::Facts;
use super::plan::{Advice, Note, Plan};

impl Plan {
    /// The command line; what is the operator's own is left to be filled in.
    #[must_use]
    pub fn command(&self) -> String {
        let flags: Vec<String> = self.flags.iter().map(|flag| format!("--{} {}", flag.name, flag.value)).collect();
        format!("mx6 serve {}", flags.join(" "))
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self, facts: &Facts) -> String {
        let mut text = format!("# {}\n{} \\\n", machine(facts), self.command());
        text += "    --hostname … --listen … --domain … --deliver …    # yours\n\n";
        for flag in &self.flags {
            push(&mut text, &format!("--{} {}", flag.name, flag.value), &flag.reason);
        }
        text += "\nkernel (sysctl -w NAME=VALUE; a file in /etc/sysctl.d keeps it)\n";
        self.sysctls.iter().for_each(|advice| push(&mut text, &setting(advice, " = "), &advice.reason));
        text += "\nsystemd unit, [Service]\n";
        self.unit.iter().for_each(|advice| push(&mut text, &setting(advice, "="), &advice.reason));
        text += "\nfacts\n";
        for note in &self.notes {
            let mark = if note.is_warning { "(!)" } else { "   " };
            push(&mut text, &format!("{mark} {}", note.about), &note.text);
        }
        text
    }

    /// One object: `machine`, `command`, `shards`, `flags`, `sysctls`, `unit`, `facts`.
    #[must_use]
    pub fn to_json(&self, facts: &Facts) -> Value {
        let advice = |all: &[Advice]| -> Vec<Value> {
            let one = |advice: &Advice| {
                json!({
                    "name": advice.name,
                    "value": advice.value,
                    "now": advice.now,
                    "met": advice.is_met,
                    "reason": advice.reason,
                })
            };
            all.iter().map(one).collect()
        };
        let flag = |flag: &Advice| json!({ "name": flag.name, "value": flag.value, "reason": flag.reason });
        let note = |note: &Note| json!({ "about": note.about, "text": note.text, "warning": note.is_warning });
        json!({
            "machine": {
                "described": facts.is_described,
                "cpus": facts.cpus.iter().map(|cpu| cpu.number).collect::<Vec<_>>(),
                "cpu_quota_milli": facts.cpu_quota_milli,
                "cpu_features": facts.cpu_features,
                "memory_octets": facts.memory_octets,
                "memory_limit_octets": facts.memory_limit_octets,
                "kernel": facts.kernel,
                "io_uring": facts.io_uring.as_ref().map(Result::is_ok),
                "resolvers": facts.resolvers,
            },
            "command": self.command(),
            "shards": self.shards,
            "flags": self.flags.iter().map(flag).collect::<Vec<_>>(),
            "sysctls": advice(&self.sysctls),
            "unit": advice(&self.unit),
            "facts": self.notes.iter().map(note).collect::<Vec<_>>(),
        })
    }

    /// Keys for `--config`; what does not belong there stands in comments.
    #[must_use]
    pub fn to_toml(&self, facts: &Facts) -> String {
        let mut text = format!("# Recommended by mx6 tune. {}\n", machine(facts));
        for flag in &self.flags {
            // A list of cores is text, and so is whatever is no number.
            let value =
                if flag.value.parse::<u32>().is_ok() { flag.value.clone() } else { format!("\"{}\"", flag.value) };
            let _ = write!(text, "\n# {}\n{} = {value}\n", flag.reason, flag.name);
        }
        text += "\n# Not of this file:\n";
        for advice in self.sysctls.iter().filter(|advice| !advice.is_met) {
            let _ = writeln!(text, "#   sysctl -w '{}={}'    {}", advice.name, advice.value, advice.reason);
        }
        for advice in &self.unit {
            let _ = writeln!(text, "#   {}={} in the systemd unit    {}", advice.name, advice.value, advice.reason);
        }
        text
    }
}

fn machine(facts: &Facts) -> String {
    let cpus = facts.cpus.len();
    let memory_mib = facts.usable_octets() >> 20;
    let cpus = format!("{cpus} CPU{}", if cpus == 1 { "" } else { "s" });
    if facts.is_described {
        return format!("A machine with {cpus} and {memory_mib} MiB; what else it is was not looked at");
    }
    format!("This machine: {cpus}, {memory_mib} MiB, Linux {}", facts.kernel.as_deref().unwrap_or("unknown"))
}

fn setting(advice: &Advice, between: &str) -> String {
    let state = match (&advice.now, advice.is_met) {
        (Some(now), true) if *now == advice.value => "(is so)".to_owned(),
        (Some(now), true) => format!("(is {now}, will do)"),
        (Some(now), false) => format!("(is {now}: set it)"),
        (None, true) => "(is the default)".to_owned(),
        (None, false) => "(look at it)".to_owned(),
    };
    format!("{}{between}{} {state}", advice.name, advice.value)
}

/// A line of what, and its reason indented below, broken at blanks.
fn push(text: &mut String, what: &str, reason: &str) {
    let _ = writeln!(text, "  {what}");
    let mut line = String::new();
    for word in reason.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            let _ = writeln!(text, "        {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(text, "        {line}");
}

const LINE_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::recommend;

    #[test]
    fn every_reason_is_told_in_each_form() {
        let facts = Facts { kernel: Some("6.18.44".to_owned()), ..Facts::described(8, 32 << 30) };
        let plan = recommend(&facts);
        let (text, json, toml) = (plan.to_text(&facts), plan.to_json(&facts), plan.to_toml(&facts));
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for flag in &plan.flags {
            assert!(!flag.reason.is_empty());
            for form in [&flat, &toml, &json.to_string()] {
                assert!(form.contains(&flag.value) && form.contains(&flag.reason), "{}: {form}", flag.name);
            }
        }
        for advice in plan.sysctls.iter().chain(&plan.unit) {
            assert!(!advice.reason.is_empty() && flat.contains(&advice.reason) && text.contains(&advice.value));
            assert!(advice.is_met || toml.contains(&format!("{}={}", advice.name, advice.value)), "{}", advice.name);
        }
        assert!(text.contains(&plan.command()) && json["command"] == plan.command().as_str());
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{text}");
    }

    #[test]
    fn what_is_met_is_told_apart() {
        let advice = |value: &str, now: Option<&str>, is_met| Advice {
            name: "a.b",
            value: value.to_owned(),
            now: now.map(str::to_owned),
            is_met,
            reason: String::new(),
        };
        for (advice, expected) in [
            (advice("1", Some("1"), true), "a.b = 1 (is so)"),
            (advice("1", Some("2"), true), "a.b = 1 (is 2, will do)"),
            (advice("1", Some("0"), false), "a.b = 1 (is 0: set it)"),
            (advice("1", None, true), "a.b = 1 (is the default)"),
            (advice("1", None, false), "a.b = 1 (look at it)"),
        ] {
            assert_eq!(setting(&advice, " = "), expected);
        }
    }
}
