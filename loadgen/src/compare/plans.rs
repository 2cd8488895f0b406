//! Whether two runs did the same thing: fields of their plans that differ stop a comparison, and what else differs is said.

use serde_json::Value;

use crate::measurement::{Measurement, Plan};
use crate::report::words;

/// Fields of the plan that differ, with both values. The seed is not among them: other draws of the same mix compare.
pub(crate) fn differences(a: &Measurement, b: &Measurement) -> Vec<String> {
    let mut found = Vec::new();
    differing(&mut found, "plan", &fields(&a.plan), &fields(&b.plan));
    found
}

/// What of a plan must be equal, its classes by name.
fn fields(plan: &Plan) -> Value {
    let mut fields = serde_json::to_value(plan).unwrap_or_default();
    let classes = plan.mix.iter().map(|share| (share.class.clone(), share.percent.into()));
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("seed");
        fields.insert("mix".to_owned(), Value::Object(classes.collect()));
    }
    fields
}

/// What does not stop a comparison but belongs beside it.
pub(crate) fn warnings(a: &Measurement, b: &Measurement) -> Vec<String> {
    let mut found = Vec::new();
    let machine = |measurement: &Measurement| serde_json::to_value(&measurement.machine).unwrap_or_default();
    differing(&mut found, "machine", &machine(a), &machine(b));
    if a.plan.seed != b.plan.seed {
        found.push(format!("plan.seed: {} and {}", a.plan.seed, b.plan.seed));
    }
    let processes = |measurement: &Measurement| measurement.server.as_ref().map_or(0, |server| server.processes.len());
    if processes(a) != processes(b) {
        found.push(format!("server processes measured: {} and {}", processes(a), processes(b)));
    }
    for (name, measurement) in [("A", a), ("B", b)] {
        found.extend(words::warnings(measurement).into_iter().map(|warning| format!("{name}: {warning}")));
    }
    found
}

/// Adds the paths at which two values differ.
fn differing(found: &mut Vec<String>, path: &str, a: &Value, b: &Value) {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            for key in keys {
                let value = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                differing(found, &format!("{path}.{key}"), &value(left), &value(right));
            }
        }
        _ if a == b => {}
        _ => found.push(format!("{path}: {} and {}", short(a), short(b))),
    }
}

/// A value on one line.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    crate::report::units::printable(&text, 40)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{Arrivals, Body, Spacing};
    use crate::synthetic::empty;

    #[test]
    fn every_field_of_the_plan_is_named() {
        type Change = fn(&mut Plan);
        let changes: [(Change, &str); 10] = [
            (|plan| plan.arrivals = Arrivals::Closed { connections: 9 }, "plan.arrivals.connections: 8 and 9"),
            (
                |plan| plan.arrivals = Arrivals::Open { rate_per_s: 5.0, spacing: Spacing::Fixed },
                "plan.arrivals.kind: closed and open",
            ),
            (|plan| plan.messages_per_connection = 100, "plan.messages_per_connection: 1 and 100"),
            (|plan| plan.body = Body::Fixed { octets: 4096 }, "plan.body.kind: log_normal and fixed"),
            (|plan| plan.mix[0].percent = 59.5, "plan.mix.spf-pass: 60.0 and 59.5"),
            (|plan| plan.mix[1].class = "x".into(), "plan.mix.x: nothing and 40.0"),
            (|plan| plan.tls = true, "plan.tls: false and true"),
            (|plan| plan.sources = 1, "plan.sources: 1000000 and 1"),
            (|plan| plan.zipf_exponent = 0.9, "plan.zipf_exponent: 1.0 and 0.9"),
            (|plan| plan.warmup_s = 0.0, "plan.warmup_s: 2.0 and 0.0"),
        ];
        let a = empty();
        assert_eq!(differences(&a, &a), Vec::<String>::new());
        for (change, says) in changes {
            let mut b = a.clone();
            change(&mut b.plan);
            let found = differences(&a, &b);
            assert!(found.iter().any(|field| field.starts_with(says)), "{says}: {found:?}");
        }
    }

    #[test]
    fn another_seed_or_machine_is_a_warning() {
        let a = empty();
        let mut b = a.clone();
        b.plan.seed = 2;
        b.machine.cores += 1;
        assert_eq!(differences(&a, &b), Vec::<String>::new());
        let found = warnings(&a, &b);
        assert!(found.iter().any(|warning| warning.starts_with("machine.cores: ")), "{found:?}");
        assert!(found.iter().any(|warning| warning == "plan.seed: 1 and 2"), "{found:?}");
        assert!(found.iter().any(|warning| warning.starts_with("A: no message")), "{found:?}");
    }
}
