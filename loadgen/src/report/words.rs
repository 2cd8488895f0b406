//! What a plan, a machine and a run's weak points are called: the same words on the terminal and in the page.

use super::units::{count, duration, number, octets, share};
use crate::measurement::{Arrivals, Body, Machine, Measurement, Plan, Spacing};

/// When messages start.
pub(crate) fn arrivals(arrivals: &Arrivals) -> String {
    match arrivals {
        Arrivals::Open { rate_per_s, spacing } => {
            format!("open loop, {} messages/s, {}", number(*rate_per_s), word(*spacing))
        }
        Arrivals::Closed { connections } => format!("closed loop, {} connections", count(u64::from(*connections))),
        Arrivals::Ramp { rates_per_s, step_s, spacing } => {
            let ends = rates_per_s.first().zip(rates_per_s.last());
            let (first, last) = ends.map_or((0.0, 0.0), |(first, last)| (*first, *last));
            let (steps, spacing) = (rates_per_s.len(), word(*spacing));
            format!("ramp, {} to {} messages/s in {steps} steps of {step_s} s, {spacing}", number(first), number(last))
        }
    }
}

fn word(spacing: Spacing) -> &'static str {
    match spacing {
        Spacing::Poisson => "Poisson",
        Spacing::Fixed => "evenly spaced",
    }
}

/// How a message travels.
pub(crate) fn session(plan: &Plan) -> String {
    let messages = match plan.messages_per_connection {
        1 => "1 message".to_owned(),
        messages => format!("{} messages", count(u64::from(messages))),
    };
    let with = |on: bool, what: &str| if on { what.to_owned() } else { format!("no {what}") };
    format!("{messages} a connection, {}, {}", with(plan.pipelining, "pipelining"), with(plan.tls, "TLS"))
}

/// How large messages are.
pub(crate) fn body(body: &Body) -> String {
    match body {
        Body::Fixed { octets: size } => format!("{} each", octets(*size)),
        Body::LogNormal { median_octets, sigma, octets_max } => {
            format!("log-normal, median {}, sigma {sigma}, at most {}", octets(*median_octets), octets(*octets_max))
        }
    }
}

/// Who sends.
pub(crate) fn senders(plan: &Plan) -> String {
    let popularity =
        if plan.zipf_exponent == 0.0 { "uniform".to_owned() } else { format!("Zipf {}", plan.zipf_exponent) };
    let (sources, domains) = (count(plan.sources), count(plan.domains));
    format!(
        "{sources} source addresses, {domains} domains ({popularity}), seed {}, warm-up {} s",
        plan.seed, plan.warmup_s
    )
}

/// Classes and how many in a hundred.
pub(crate) fn mix(plan: &Plan) -> String {
    let classes = plan.mix.iter().map(|share| format!("{} {} %", share.class, number(share.percent)));
    classes.collect::<Vec<_>>().join(", ")
}

/// Hardware and kernel.
pub(crate) fn machine(machine: &Machine) -> String {
    let flags =
        if machine.cpu_flags.is_empty() { String::new() } else { format!(" ({})", machine.cpu_flags.join(" ")) };
    let cores = cores(machine.cores);
    let governor = machine.governor.iter().map(|governor| format!("governor {governor}"));
    let more = governor.chain(machine.virtualisation.clone()).map(|word| format!(", {word}")).collect::<String>();
    format!("{}{flags}, {cores}, {}, {}{more}", machine.cpu, octets(machine.memory_octets), machine.kernel)
}

/// So many.
pub(crate) fn cores(cores: u32) -> String {
    if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") }
}

/// What was measured, in one sentence.
pub(crate) fn outcome(measurement: &Measurement) -> String {
    let rate = measurement.messages as f64 / measurement.elapsed_s.max(f64::MIN_POSITIVE);
    let rate = if measurement.messages == 0 { 0.0 } else { rate };
    let tls = match measurement.tls_connections {
        0 => "none under TLS".to_owned(),
        connections => format!("{} under TLS", count(connections)),
    };
    format!(
        "{} messages in {:.1} s, {} a second; {} connections, {tls}; {} sent",
        count(measurement.messages),
        measurement.elapsed_s,
        number(rate),
        count(measurement.connections),
        octets(measurement.octets_sent),
    )
}

/// Why the figures are to be doubted, if they are.
pub(crate) fn warnings(measurement: &Measurement) -> Vec<String> {
    let own = &measurement.own;
    let mut warnings = Vec::new();
    if own.headroom_percent < HEADROOM_PERCENT_MIN {
        warnings.push(format!(
            "the generator had {} % of its CPU left: it may be what was slow. Give it more cores or a lower rate.",
            number(own.headroom_percent)
        ));
    }
    if own.late_starts * 100 > own.arrivals {
        warnings.push(format!(
            "{} of the messages started more than 1 ms late (99 % within {}): the generator did not keep its own schedule.",
            share(own.late_starts, own.arrivals),
            duration(own.late_us_p99),
        ));
    }
    if measurement.messages == 0 {
        warnings.push("no message got its final reply: nothing was measured.".to_owned());
    }
    let failed: u64 = measurement.errors.iter().map(|error| error.count).sum();
    if failed > 0 {
        warnings.push(format!("{} failures below SMTP: their messages are in no percentile.", count(failed)));
    }
    warnings
}

/// Below this the generator itself may be the bottleneck.
const HEADROOM_PERCENT_MIN: f64 = 10.0;
