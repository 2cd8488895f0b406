//! What `mx6-loadgen run` can be told.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

use super::quantity::{RampRange, body, duration};
use crate::measurement::{Arrivals, Body, ClassShare, Plan, Spacing};
use crate::population::{Class, PopulationOptions};
use crate::report::{Goal, ReportOptions};
use crate::zone::Faults;

/// Where mail goes, how much, and what must come back.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Server that is measured.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::1]:2525")]
    pub(crate) target: SocketAddr,
    /// Announce each source in a PROXY header (version 2) instead of sending from its address: the target is a `--proxy-listen` of mx6.
    #[arg(long)]
    pub(crate) proxy: bool,
    /// Send everything from this machine's own address, for servers that do not look at it; go with `--expect none` or a mix that suits.
    #[arg(long, conflicts_with = "proxy")]
    pub(crate) no_bind: bool,

    #[command(flatten)]
    pub(crate) population: PopulationOptions,

    /// Take the sources of each class one after the other, not at random: `--messages` as many as `--sources`, and `--mix` of one class, make
    /// every one of them send once. With `--prefix 2000::/12` each lies in a /48 of its own.
    #[arg(long)]
    pub(crate) sources_in_turn: bool,

    /// Messages a second, whether or not the server keeps up (open loop) [default: 100].
    #[arg(long, value_name = "N", conflicts_with_all = ["closed", "ramp"])]
    pub(crate) rate: Option<f64>,
    /// How arrivals are spaced.
    #[arg(long, value_enum, default_value_t = ArrivalSpacing::Poisson)]
    pub(crate) arrivals: ArrivalSpacing,
    /// So many connections, each of which sends its next message when the one before has its reply (closed loop).
    #[arg(long, value_name = "CONNECTIONS", conflicts_with = "ramp", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) closed: Option<u32>,
    /// Faster and faster, `--duration` each, until the server does not keep up.
    #[arg(long, value_name = "FROM:TO:STEP")]
    pub(crate) ramp: Option<RampRange>,
    /// A step of the ramp is too fast when its 99th percentile is above this.
    #[arg(long, value_name = "MS", default_value_t = 1_000.0)]
    pub(crate) ramp_p99_ms: f64,
    /// Connections at once; what cannot start is late, and counted as late.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sessions_max: u32,
    /// Messages on one connection.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) messages_per_connection: u32,
    /// Recipients of one message.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) recipients: u32,
    /// `auto`: MAIL, RCPT and DATA in one write when the server offers it (RFC 2920). `off`: one command at a time.
    #[arg(long, value_enum, default_value_t = Pipelining::Auto)]
    pub(crate) pipelining: Pipelining,
    /// When to use STARTTLS. The certificate is not looked at.
    #[arg(long, value_enum, default_value_t = Tls::Never)]
    pub(crate) tls: Tls,
    /// Size of the bodies: `4k`, `50k`, or `mail` for log-normal sizes with a median of 12 KiB and a mean of 32.
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = body)]
    pub(crate) body: Body,
    /// How a message of class `oversize` is larger than the server takes.
    #[arg(long, value_enum, default_value_t = Oversize::Declared)]
    pub(crate) oversize: Oversize,
    /// Signed messages of each signing class that are made before the clock starts.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pool: u32,

    /// How long to send, without the warm-up [default: 30s, without end when --messages is given].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Stop after so many messages, the warm-up included.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    /// How long to send before the clock starts.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// For one message, from its start to its reply.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// What is compared: `mx6` every reply of the gate to the octet; `class` only 2xx, 4xx or 5xx; `refusal` only whether the message
    /// was taken; `none` nothing.
    #[arg(long, value_enum, default_value_t = Expect::Mx6)]
    pub(crate) expect: Expect,
    /// What the server takes for reverse DNS, as `mx6 serve --ptr`.
    #[arg(long, value_enum, default_value_t = Ptr::Exists)]
    pub(crate) ptr: Ptr,
    /// A temporary refusal for DNS (451 4.4.3) is right in place of any reply: for a server whose resolver fails at times.
    #[arg(long)]
    pub(crate) allow_temperror: bool,
    /// That the outcome of a message is unknown (451 4.4.2) is right in place of 250: for a server whose next hops fail after the final dot.
    #[arg(long)]
    pub(crate) allow_unknown_outcome: bool,

    /// Process of the server, to measure what it costs; repeatable.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Start the zone in this process too, on this address.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) with_zone: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) faults: Faults,
    /// Threads that send.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Of everything that is drawn.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// Between two arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArrivalSpacing {
    /// Exponential.
    Poisson,
    /// Always the same.
    Fixed,
}

/// Whether commands are sent together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pipelining {
    /// When the server offers it.
    Auto,
    /// Never.
    Off,
}

/// When STARTTLS is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    /// Never.
    Never,
    /// When the server offers it.
    Offered,
    /// Always; a server that does not offer it fails.
    Required,
}

/// Where it shows that a message is larger than the server's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Oversize {
    /// In SIZE= of MAIL (RFC 1870 §6.1); the message is never sent.
    Declared,
    /// In the message itself, nothing is said of it before: one octet more than the limit at least, all of it sent.
    Sent,
}

/// What replies are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expect {
    /// Those of mx6.
    Mx6,
    /// Their first digit.
    Class,
    /// Whether they accept.
    Refusal,
    /// Nothing.
    None,
}

/// What counts as reverse DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ptr {
    /// A PTR record.
    Exists,
    /// One that resolves back.
    Fcrdns,
}

impl Options {
    /// What is to happen, as the report has it.
    pub(crate) fn plan(&self) -> Result<Plan> {
        ensure!(!self.timeout.is_zero(), "--timeout: expected more than 0");
        ensure!(self.with_zone.is_some() || self.faults.is_none(), "--delay-ms, --loss and the like need --with-zone");
        if !self.proxy && !self.no_bind && self.target.is_ipv4() {
            bail!(
                "the target {} is IPv4, the sources are IPv6: use --proxy and a PROXY listener, or --no-bind",
                self.target
            );
        }
        Ok(Plan {
            arrivals: self.plan_arrivals()?,
            messages_per_connection: self.messages_per_connection,
            pipelining: self.pipelining == Pipelining::Auto,
            tls: self.tls != Tls::Never,
            body: self.body.clone(),
            mix: self.shares(),
            sources: self.population.sources,
            domains: self.population.domains,
            zipf_exponent: self.population.zipf,
            seed: self.seed,
            warmup_s: self.warmup.as_secs_f64(),
        })
    }

    fn plan_arrivals(&self) -> Result<Arrivals> {
        let spacing = match self.arrivals {
            ArrivalSpacing::Poisson => Spacing::Poisson,
            ArrivalSpacing::Fixed => Spacing::Fixed,
        };
        if let Some(connections) = self.closed {
            return Ok(Arrivals::Closed { connections });
        }
        if let Some(ramp) = self.ramp {
            let step_s = self.time().unwrap_or(DURATION_DEFAULT).as_secs_f64();
            return Ok(Arrivals::Ramp { rates_per_s: ramp.rates(), step_s, spacing });
        }
        let rate_per_s = self.rate.unwrap_or(RATE_DEFAULT_PER_S);
        ensure!((0.001..=10_000_000.0).contains(&rate_per_s), "--rate {rate_per_s}: expected 0.001 to 10000000");
        Ok(Arrivals::Open { rate_per_s, spacing })
    }

    fn shares(&self) -> Vec<ClassShare> {
        let mix = &self.population.mix;
        let share = |class: Class| ClassShare { class: class.as_str().to_owned(), percent: mix.percent(class) };
        mix.classes().map(share).collect()
    }

    /// How long to send, if there is an end to it.
    /// When the run is done, as far as the options say.
    pub(crate) fn goal(&self) -> Goal {
        match (self.messages, self.ramp, self.time()) {
            (Some(messages), None, _) => Goal::Messages(messages),
            (_, Some(ramp), Some(step)) => {
                Goal::Seconds((self.warmup + step * ramp.rates().len() as u32).as_secs_f64())
            }
            (_, _, time) => Goal::Seconds((self.warmup + time.unwrap_or_default()).as_secs_f64()),
        }
    }

    pub(crate) fn time(&self) -> Option<Duration> {
        self.duration.or(if self.messages.is_none() { Some(DURATION_DEFAULT) } else { None })
    }

    /// Whether a lookup may fail that the population does not want to fail.
    pub(crate) fn lookups_may_fail(&self) -> bool {
        self.allow_temperror || self.faults.may_fail_lookups()
    }
}

const DURATION_DEFAULT: Duration = Duration::from_secs(30);
const RATE_DEFAULT_PER_S: f64 = 100.0;
