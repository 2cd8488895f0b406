use super::*;
use crate::measurement::{ErrorCount, Spacing};
use crate::synthetic::{Behaviour, STEADY, empty, run as synthetic};

fn options() -> Options {
    Options { a: "a.json".into(), b: "b.json".into(), confidence: 95.0, tolerance: 1.0, anyway: false, json: false }
}

fn compare(a: &Measurement, b: &Measurement) -> Comparison {
    Comparison::new(&options(), a, b)
}

fn verdict(comparison: &Comparison, figure: &str) -> Call {
    comparison.figures.iter().find(|finding| finding.figure == figure).unwrap().verdict
}

/// Runs of the same kind differ in at most one of twenty comparisons, also when seconds resemble each other.
#[test]
fn equal_runs_are_the_same() {
    let kinds = [
        Behaviour { seconds: 20, ..STEADY },
        STEADY,
        Behaviour { noise: 0.10, ..STEADY },
        Behaviour { seconds: 120, autocorrelation: 0.5, ..STEADY },
        Behaviour { seconds: 15, rate_per_s: 50.0, ..STEADY },
    ];
    for (index, kind) in kinds.iter().enumerate() {
        let trial = |trial: u64| {
            let seed = index as u64 * 1_000_000 + trial * 2;
            let comparison = compare(&synthetic(kind, seed), &synthetic(kind, seed + 1));
            comparison.figures.iter().any(|finding| matches!(finding.verdict, Call::Worse | Call::Better))
        };
        let wrong = (0..TRIALS).filter(|number| trial(*number)).count();
        assert!(wrong as u64 * 20 <= TRIALS, "kind {index}: {wrong} of {TRIALS}");
    }
}

/// A tenth more or less is found in nearly every comparison, in the figure that has it. (The 99th percentile of so few messages varies by
/// more than that.)
#[test]
fn a_tenth_is_found() {
    type Shift = fn(&mut Behaviour, f64);
    let shifts: [(Shift, &[&str]); 2] = [
        (|kind, by| kind.cpu_us *= by, &["server CPU a message"]),
        (|kind, by| kind.latency_us *= by, &["p50 of a second", "message p50", "message p90"]),
    ];
    for (shift, figures) in shifts {
        for (by, call, code) in [(1.1, Call::Worse, 1), (1.0 / 1.1, Call::Better, 0)] {
            let mut kind = STEADY;
            shift(&mut kind, by);
            let mut missed = vec![0; figures.len()];
            for trial in 0..20 {
                let comparison = compare(&synthetic(&STEADY, trial * 2), &synthetic(&kind, trial * 2 + 1));
                let found = figures.iter().map(|figure| verdict(&comparison, figure) == call);
                found.enumerate().for_each(|(index, found)| missed[index] += usize::from(!found));
                if comparison.verdict.code() == code {
                    continue;
                }
                missed[0] += 1;
            }
            assert!(missed.iter().all(|missed| *missed <= 1), "{figures:?} {by}: {missed:?} of 20 missed");
        }
    }
}

#[test]
fn the_exit_code_follows() {
    let steady = synthetic(&STEADY, 1);
    let with = |change: &dyn Fn(&mut Measurement)| {
        let mut changed = synthetic(&STEADY, 2);
        change(&mut changed);
        changed
    };
    let ramp = Arrivals::Ramp { rates_per_s: vec![1.0, 2.0], step_s: 5.0, spacing: Spacing::Fixed };
    let rows: [(&str, Measurement, u8, &str); 8] = [
        ("another seed", with(&|_| ()), 0, "No difference beyond 1 %"),
        ("wrong answers", with(&|run| run.wrong = 40), 1, "wrong answers"),
        ("one wrong answer", with(&|run| run.wrong = 1), 0, "No difference"),
        ("failures", with(&|run| run.errors = vec![ErrorCount { kind: "reset".into(), count: 99 }]), 1, "failures"),
        ("another mix", with(&|run| run.plan.mix[0].percent = 1.0), 2, "plan.mix"),
        ("short", with(&|run| run.windows.truncate(14)), 2, "too few windows"),
        (
            "nothing measured",
            with(&|run| *run = Measurement { plan: run.plan.clone(), ..empty() }),
            2,
            "too few windows",
        ),
        (
            "no server",
            with(&|run| run.windows.iter_mut().for_each(|window| window.server_cpu_us = None)),
            0,
            "No difference",
        ),
    ];
    for (name, other, code, says) in rows {
        let comparison = compare(&steady, &other);
        let table = comparison.table(&options(), &steady, &other);
        assert_eq!(comparison.verdict.code(), code, "{name}: {table}");
        assert!(table.contains(says), "{name}: {table}");
        assert!(table.lines().all(|line| line.chars().count() <= 130), "{name}: {table}");
    }
    let (mut one, mut other) = (steady.clone(), steady.clone());
    (one.plan.arrivals, other.plan.arrivals) = (ramp.clone(), ramp);
    let comparison = compare(&one, &other);
    assert!(comparison.verdict == Verdict::Unusable && comparison.unusable.unwrap().contains("ramp"));
}

#[test]
fn unequal_plans_compare_only_when_told() {
    let steady = synthetic(&STEADY, 1);
    let mut other = synthetic(&STEADY, 2);
    other.plan.tls = true;
    let told = Options { anyway: true, ..options() };
    let comparison = Comparison::new(&told, &steady, &other);
    assert_eq!((comparison.verdict, comparison.plan_differences.len()), (Verdict::NotWorse, 1));
    let table = comparison.table(&told, &steady, &other);
    assert!(table.contains("THE PLANS DIFFER:\n  plan.tls: false and true\n"), "{table}");
}

#[test]
fn files_are_read_and_errors_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    json::write(&synthetic(&STEADY, 1), &path("a.json")).unwrap();
    let mut other = synthetic(&STEADY, 2);
    other.windows.clear();
    json::write(&other, &path("short.json")).unwrap();
    other.version = 2;
    json::write(&other, &path("new.json")).unwrap();
    std::fs::write(path("text.json"), "hello").unwrap();
    let rows = [
        ("a.json", Ok(Verdict::NotWorse)),
        ("short.json", Ok(Verdict::Unusable)),
        ("new.json", Err("format 2 where 1 is known")),
        ("text.json", Err("is not a measurement")),
        ("absent.json", Err("No such file")),
    ];
    for (name, expected) in rows {
        for json in [false, true] {
            let options = Options { a: path("a.json"), b: path(name), json, ..options() };
            let mut out = Vec::new();
            match (run(&options, &mut out), expected) {
                (Ok(verdict), Ok(expected)) => assert_eq!(verdict, expected, "{name}"),
                (Err(error), Err(says)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(says) && error.contains(name), "{name}: {error}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
            if json && !out.is_empty() {
                let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
                assert!(value["verdict"].is_string() && value["figures"].is_array(), "{value}");
            }
        }
    }
}

const TRIALS: u64 = 40;
