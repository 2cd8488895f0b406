//! For tests: measurements made of numbers that are known, with real histograms.

use crate::measurement::*;

/// Draws that are the same in every run.
pub(crate) struct Lot(u64);

impl Lot {
    pub(crate) fn new(seed: u64) -> Lot {
        Lot(seed)
    }

    /// SplitMix64, in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// How a synthetic run behaves.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub seconds: usize,
    pub rate_per_s: f64,
    pub latency_us: f64,
    pub cpu_us: f64,
    /// Of the noise that all messages of a second share.
    pub noise: f64,
    /// Between the noise of a second and that of the next.
    pub autocorrelation: f64,
}

/// A quiet machine.
pub(crate) const STEADY: Behaviour =
    Behaviour { seconds: 60, rate_per_s: 200.0, latency_us: 2_000.0, cpu_us: 150.0, noise: 0.03, autocorrelation: 0.0 };

/// A run without wrong answers whose windows and histograms come from the same messages.
pub(crate) fn run(behaviour: &Behaviour, seed: u64) -> Measurement {
    let mut lot = Lot::new(seed);
    let mut message = Stage::new(StageName::Message);
    let mut reply = Stage::new(StageName::Reply);
    let mut connect = Stage::new(StageName::Connect);
    let mut windows = Vec::new();
    let fresh = (1.0 - behaviour.autocorrelation.powi(2)).sqrt();
    let mut shared = lot.normal();
    for second in 0..behaviour.seconds {
        shared = shared * behaviour.autocorrelation + fresh * lot.normal();
        let slow = (behaviour.noise * shared).exp();
        let mut within = latencies_us();
        let count = (behaviour.rate_per_s + behaviour.rate_per_s.sqrt() * lot.normal()).round().max(1.0) as u64;
        for _ in 0..count {
            let latency_us = behaviour.latency_us * slow * (0.35 * lot.normal()).exp();
            within.saturating_record(latency_us as u64);
            reply.histogram.saturating_record((latency_us * 0.6) as u64);
            connect.histogram.saturating_record((40.0 * (0.5 * lot.normal()).exp()) as u64);
        }
        message.histogram.add(&within).unwrap();
        let cpu_us = behaviour.cpu_us * slow * count as f64 * (1.0 + 0.01 * lot.normal());
        windows.push(Window {
            at_s: second as f64 + 1.0,
            messages: count,
            p50_us: within.value_at_percentile(50.0),
            p99_us: within.value_at_percentile(99.0),
            server_cpu_us: Some(cpu_us as u64),
            server_rss_octets: Some(30_000_000 + second as u64 * 10_000),
            in_flight: (count / 100).max(1),
            late_us_max: 80,
        });
    }
    let messages: u64 = windows.iter().map(|window| window.messages).sum();
    let mut measurement = empty();
    measurement.plan.arrivals = Arrivals::Open { rate_per_s: behaviour.rate_per_s, spacing: Spacing::Poisson };
    measurement.elapsed_s = behaviour.seconds as f64;
    measurement.messages = messages;
    measurement.connections = messages;
    measurement.octets_sent = messages * 4_400;
    measurement.stages = vec![connect, reply, message];
    measurement.server = Some(server(&windows, messages));
    measurement.replies = vec![reply_count("spf-pass", "250 2.0.0 Message accepted", messages, true)];
    measurement.own.arrivals = messages;
    measurement.windows = windows;
    measurement
}

fn server(windows: &[Window], messages: u64) -> ServerCost {
    let cpu_us: u64 = windows.iter().filter_map(|window| window.server_cpu_us).sum();
    let total = ProcessCost {
        name: "all".into(),
        threads: 3,
        cpu_user_us: cpu_us * 2 / 3,
        cpu_system_us: cpu_us / 3,
        cpu_us_per_message: cpu_us as f64 / messages.max(1) as f64,
        rss_start_octets: 30_000_000,
        rss_peak_octets: 31_000_000,
        rss_end_octets: 30_900_000,
        context_switches_voluntary: 12_345,
        context_switches_involuntary: 67,
        ..ProcessCost::default()
    };
    let processes = vec![ProcessCost { pid: 4711, name: "mx6".into(), ..total.clone() }];
    ServerCost { total, processes }
}

pub(crate) fn reply_count(class: &str, reply: &str, count: u64, expected: bool) -> ReplyCount {
    ReplyCount { class: class.into(), stage: StageName::Reply, reply: reply.into(), count, expected }
}

/// A run in which nothing happened.
pub(crate) fn empty() -> Measurement {
    Measurement {
        version: FORMAT_VERSION,
        command: ["mx6-loadgen", "run", "--rate", "200"].map(str::to_owned).to_vec(),
        started_unix_s: 1_795_611_600,
        target: "[::1]:2525".into(),
        machine: crate::machine::facts(),
        plan: Plan {
            arrivals: Arrivals::Closed { connections: 8 },
            messages_per_connection: 1,
            pipelining: true,
            tls: false,
            body: Body::LogNormal { median_octets: 4_096, sigma: 1.2, octets_max: 1_048_576 },
            mix: vec![
                ClassShare { class: "spf-pass".into(), percent: 60.0 },
                ClassShare { class: "no-ptr".into(), percent: 40.0 },
            ],
            sources: 1_000_000,
            domains: 1_000,
            zipf_exponent: 1.0,
            seed: 1,
            warmup_s: 2.0,
        },
        elapsed_s: 0.0,
        messages: 0,
        connections: 0,
        octets_sent: 0,
        tls_connections: 0,
        stages: Vec::new(),
        replies: Vec::new(),
        wrong: 0,
        wrong_samples: Vec::new(),
        errors: Vec::new(),
        windows: Vec::new(),
        server: None,
        own: OwnCost {
            cpu_us: 4_000_000,
            cores_available: 2,
            headroom_percent: 71.3,
            late_us_p99: 90,
            ..OwnCost::default()
        },
        ramp: Vec::new(),
        saturation_per_s: None,
    }
}
