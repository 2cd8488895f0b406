//! The report on a terminal: at most 100 columns, no colour needed, nothing cut that a decision needs.

use std::fmt::Write as _;

use super::units::{count, duration, number, octets, printable, share, utc};
use super::words;
use crate::measurement::{Measurement, ProcessCost, ReplyCount, Stage, StageName, WrongAnswer};

/// The whole report.
pub(crate) fn report(measurement: &Measurement) -> String {
    let mut text = head(measurement);
    stages(&mut text, measurement);
    ramp(&mut text, measurement);
    replies(&mut text, &measurement.replies);
    costs(&mut text, measurement);
    text.push_str(&complaints(measurement));
    text
}

/// One line, and what was wrong.
pub(crate) fn brief(measurement: &Measurement) -> String {
    let p99 =
        measurement.stage(StageName::Message).map(|stage| format!(", p99 {}", duration(stage.percentile_us(99.0))));
    let line = format!(
        "{} messages in {:.1} s{}, {} wrong\n",
        count(measurement.messages),
        measurement.elapsed_s,
        p99.unwrap_or_default(),
        count(measurement.wrong),
    );
    line + &complaints(measurement)
}

/// What ran where.
fn head(measurement: &Measurement) -> String {
    let plan = &measurement.plan;
    let mut text = String::new();
    let version = printable(&measurement.machine.loadgen_version, 20);
    _ = writeln!(text, "mx6-loadgen {version}, {}", utc(measurement.started_unix_s));
    let facts = [
        ("target", measurement.target.clone()),
        ("arrivals", words::arrivals(&plan.arrivals)),
        ("session", words::session(plan)),
        ("body", words::body(&plan.body)),
        ("senders", words::senders(plan)),
        ("mix", words::mix(plan)),
        ("machine", words::machine(&measurement.machine)),
        ("result", words::outcome(measurement)),
    ];
    for (name, fact) in facts {
        wrapped(&mut text, name, &fact);
    }
    text
}

/// Percentiles.
fn stages(text: &mut String, measurement: &Measurement) {
    let shown: Vec<&Stage> = StageName::ALL.iter().filter_map(|name| measurement.stage(*name)).collect();
    if shown.is_empty() {
        return;
    }
    let columns = ["count", "p50", "p90", "p95", "p99", "p99.9", "max", "mean"];
    _ = write!(text, "\n{:<9}", "stage");
    columns.iter().for_each(|column| _ = write!(text, "{column:>11}"));
    text.push('\n');
    for stage in shown {
        let percentiles = [50.0, 90.0, 95.0, 99.0, 99.9].map(|percent| duration(stage.percentile_us(percent)));
        _ = write!(text, "{:<9}{:>11}", stage.name.as_str(), count(stage.histogram.len()));
        percentiles.iter().for_each(|percentile| _ = write!(text, "{percentile:>11}"));
        let mean = duration(stage.histogram.mean().round() as u64);
        _ = writeln!(text, "{:>11}{mean:>11}", duration(stage.histogram.max()));
    }
    text.push_str("message: from its intended start to its final reply, free of coordinated omission;\n");
    text.push_str("service: from its actual start\n");
}

/// The steps of a ramp, and where it ended.
fn ramp(text: &mut String, measurement: &Measurement) {
    if measurement.ramp.is_empty() {
        return;
    }
    let (rate, achieved, wrong) = ("messages/s", "achieved", "wrong");
    _ = writeln!(text, "\n{:<9}{rate:>11}{achieved:>11}{:>11}{:>11}{wrong:>11}", "ramp", "p50", "p99");
    for (index, step) in measurement.ramp.iter().enumerate() {
        let (rate, achieved) = (number(step.rate_per_s), number(step.achieved_per_s));
        let (p50, p99, wrong) = (duration(step.p50_us), duration(step.p99_us), count(step.wrong));
        let saturated = if step.saturated { "  saturated" } else { "" };
        let name = format!("step {}", index + 1);
        _ = writeln!(text, "{name:<9}{rate:>11}{achieved:>11}{p50:>11}{p99:>11}{wrong:>11}{saturated}");
    }
    match measurement.saturation_per_s {
        Some(rate) => _ = writeln!(text, "saturation: the server kept up with {} messages a second", number(rate)),
        None => text.push_str("saturation: not reached\n"),
    }
}

/// What the server answered.
fn replies(text: &mut String, replies: &[ReplyCount]) {
    if replies.is_empty() {
        return;
    }
    let whole = replies.iter().map(|reply| reply.count).sum();
    _ = writeln!(text, "\n{:<22} {:<8} {:<40} {:>12} {:>8}", "replies to", "stage", "reply", "count", "share");
    for reply in replies.iter().take(REPLIES_SHOWN) {
        let (class, line) = (printable(&reply.class, 22), printable(&reply.reply, 40));
        let (stage, number) = (reply.stage.as_str(), count(reply.count));
        let wrong = if reply.expected { "" } else { " WRONG" };
        let share = share(reply.count, whole);
        _ = writeln!(text, "{class:<22} {stage:<8} {line:<40} {number:>12} {share:>8}{wrong}");
    }
    if replies.len() > REPLIES_SHOWN {
        let rest: u64 = replies.iter().skip(REPLIES_SHOWN).map(|reply| reply.count).sum();
        _ = writeln!(
            text,
            "... and {} other kinds, {} replies; --json has all",
            replies.len() - REPLIES_SHOWN,
            count(rest)
        );
    }
}

/// What server and generator took.
fn costs(text: &mut String, measurement: &Measurement) {
    text.push('\n');
    match &measurement.server {
        None => wrapped(text, "server", "CPU and memory not known; give --pid, once for each of its processes"),
        Some(server) => {
            wrapped(text, "server", &cost(&server.total));
            for process in server.processes.iter().filter(|_| server.processes.len() > 1) {
                wrapped(text, "", &format!("{} {}: {}", process.name, process.pid, cost(process)));
            }
        }
    }
    let own = &measurement.own;
    let late = format!("{} of {} starts more than 1 ms late", count(own.late_starts), count(own.arrivals));
    let cores = words::cores(own.cores_available);
    let (left, spent) = (number(own.headroom_percent), duration(own.cpu_us));
    wrapped(text, "generator", &format!("{left} % of {cores} left, {spent} CPU, {late}"));
}

/// One process, or all.
fn cost(process: &ProcessCost) -> String {
    format!(
        "{} µs CPU a message (user {}, system {}), memory {} at start, {} at peak, {} at end, {} threads, \
         {} voluntary and {} forced context switches",
        number(process.cpu_us_per_message),
        duration(process.cpu_user_us),
        duration(process.cpu_system_us),
        octets(process.rss_start_octets),
        octets(process.rss_peak_octets),
        octets(process.rss_end_octets),
        process.threads,
        count(process.context_switches_voluntary),
        count(process.context_switches_involuntary),
    )
}

/// Wrong answers, failures, and what makes the figures doubtful. Last, where they are seen.
fn complaints(measurement: &Measurement) -> String {
    let mut text = String::new();
    if measurement.wrong > 0 {
        _ = writeln!(text, "\nWRONG: {} answers were not the expected ones", count(measurement.wrong));
        measurement.wrong_samples.iter().for_each(|sample| wrong_sample(&mut text, sample));
        let more = measurement.wrong.saturating_sub(measurement.wrong_samples.len() as u64);
        if more > 0 {
            _ = writeln!(text, "  ... and {} more", count(more));
        }
    }
    if !measurement.errors.is_empty() {
        let errors = measurement.errors.iter().map(|error| format!("{} {}", count(error.count), error.kind));
        text.push('\n');
        wrapped(&mut text, "failures", &errors.collect::<Vec<_>>().join(", "));
    }
    for warning in words::warnings(measurement) {
        text.push('\n');
        wrapped(&mut text, "WARNING", &warning);
    }
    text
}

fn wrong_sample(text: &mut String, sample: &WrongAnswer) {
    let (class, source) = (printable(&sample.class, 30), printable(&sample.source, 45));
    _ = writeln!(text, "  {class}, {} from {source}", sample.stage.as_str());
    for (name, reply) in [("expected", &sample.expected), ("got", &sample.got)] {
        _ = write!(text, "    {name:<9}");
        fill(text, &printable(reply, REPLY_CHARACTERS_MAX), 13);
    }
}

/// A name, and a text beside it that goes on below itself.
fn wrapped(text: &mut String, name: &str, fact: &str) {
    _ = write!(text, "{name:<NAME_COLUMNS$}");
    fill(text, fact, NAME_COLUMNS);
}

/// A text on as many lines as it takes, each so far from the left.
pub(crate) fn wrap(text: &mut String, fact: &str, indent: usize) {
    _ = write!(text, "{:<indent$}", "");
    fill(text, fact, indent);
}

/// Goes on in a line that is at `indent` already.
fn fill(text: &mut String, fact: &str, indent: usize) {
    let mut column = indent;
    for (index, word) in printable(fact, FACT_CHARACTERS_MAX).split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS {
            _ = write!(text, "\n{:<indent$}", "");
            column = indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

/// Of the terminal.
const COLUMNS: usize = 100;
/// Of the names on the left.
const NAME_COLUMNS: usize = 10;
/// Of one fact: some screens.
const FACT_CHARACTERS_MAX: usize = 2_000;
/// Of one reply in full.
const REPLY_CHARACTERS_MAX: usize = 400;
/// Kinds of replies in the table.
const REPLIES_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{Arrivals, ErrorCount, RampStep, Spacing};
    use crate::synthetic::{STEADY, empty, reply_count, run};

    /// All that a report can have, from a server that wishes the terminal ill.
    fn hostile() -> Measurement {
        let mut measurement = run(&STEADY, 1);
        measurement.target = "\x1b[2J".repeat(40);
        measurement.machine.cpu = "x".repeat(99);
        measurement.replies.push(reply_count(
            &"c".repeat(50),
            "550 \r\n\x1b]0;title\x07 long text without an end ....",
            9,
            false,
        ));
        measurement.replies.extend((0..50).map(|n| reply_count("many", &format!("250 {n}"), 1, true)));
        measurement.wrong = 25;
        let sample = WrongAnswer {
            class: "no-ptr".into(),
            stage: StageName::Rcpt,
            source: "2001:db8::1".into(),
            expected: "450 4.7.25".into(),
            got: "250 \x1b[31m".repeat(30),
        };
        measurement.wrong_samples = vec![sample; 20];
        measurement.errors = vec![ErrorCount { kind: "reset".into(), count: 3 }];
        measurement.ramp =
            vec![RampStep { rate_per_s: 1e6, achieved_per_s: 999.0, saturated: true, ..RampStep::default() }];
        measurement.saturation_per_s = Some(1e6);
        measurement.own.headroom_percent = 3.0;
        measurement.own.late_starts = measurement.own.arrivals / 10;
        measurement
    }

    #[test]
    fn reports_fit_and_hold_still() {
        let mut ramp = empty();
        ramp.plan.arrivals = Arrivals::Ramp { rates_per_s: vec![], step_s: 5.0, spacing: Spacing::Fixed };
        for measurement in [empty(), run(&STEADY, 1), hostile(), ramp] {
            for text in [report(&measurement), brief(&measurement)] {
                let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > COLUMNS).collect();
                // One word, behind its heading, has no place to break at.
                assert!(wide.iter().all(|line| line.split_whitespace().count() <= 2), "{wide:?}");
                assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text}");
                assert!(text.ends_with('\n'));
            }
        }
    }

    #[test]
    fn what_decides_is_said() {
        let (steady, hostile) = (run(&STEADY, 1), hostile());
        let rows = [
            (&steady, "server CPU", false),
            (&steady, "WARNING", false),
            (&steady, "WRONG", false),
            (&steady, "µs CPU a message", true),
            (&steady, "100.00 %", true),
            (&hostile, "WARNING   the generator had 3 % of its CPU left", true),
            (&hostile, "of the messages started more than 1 ms late", true),
            (&hostile, "WRONG: 25 answers", true),
            (&hostile, "... and 5 more", true),
            (&hostile, "failures  3 reset", true),
            (&hostile, "saturated\nsaturation: the server kept up with 1,000,000 messages a second", true),
            (&hostile, "... and 12 other kinds", true),
        ];
        for (measurement, says, does) in rows {
            let text = report(measurement);
            assert_eq!(text.contains(says), does, "{says}: {text}");
        }
        assert_eq!(brief(&steady).lines().count(), 1, "{}", brief(&steady));
        assert!(brief(&hostile).contains("WRONG: 25 answers") && brief(&hostile).contains("WARNING"));
    }
}
