//! `mx6 trace`: what is said in the sessions of a running gate.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use ipnet::IpNet;
use mx6_console::stream::Lines;
use mx6_console::tail::network;
use mx6_console::trace::{Ask, Bounds, Saved, Shown, TraceError};
use mx6_telemetry::say;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::admin::Admin;
use crate::failure::{EX_CANTCREAT, EX_IOERR, EX_OSERR, EX_UNAVAILABLE, Failure, failure};

/// Show what is said in sessions of a running gate while they go on: commands, replies, decisions.
///
/// It asks the admin endpoint (`mx6 serve --admin`). Sessions are traced that begin from now on. HELO name, domain, stage and rule are
/// known only when a decision falls: until then the gate keeps what was said, and tells it from its beginning if the session fits.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Trace {
    #[command(flatten)]
    admin: Admin,
    /// Only clients in this network.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    prefix: Option<IpNet>,
    /// Only sessions in which a decision fell about this HELO name.
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// Only sessions in which a decision fell about a recipient of this domain, as A-labels.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Only sessions in which a decision fell at this stage.
    #[arg(long, value_name = "STAGE", value_parser = ["connect", "mail", "rcpt", "end-of-data"])]
    stage: Option<String>,
    /// Only sessions in which this rule decided.
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// How many octets of each message are told.
    #[arg(long, value_name = "OCTETS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1 << 20))]
    octets: u64,
    /// End after so many sessions, the first ones that begin.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after that time: 90s, 30m, 24h.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Print events as the gate tells them, one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Write the sessions into this file as well, each together, for `mx6 explain --transcript`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl Trace {
    /// Traces until it is ended or has enough, and says how much that was.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let address = self.admin.address()?;
        let is_ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // A second one ends the process at once.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_ended))
                .map_err(failure(EX_OSERR))?;
            signal_hook::flag::register(signal, Arc::clone(&is_ended)).map_err(failure(EX_OSERR))?;
        }
        let lines = Lines::open(&address, "/trace", &self.ask().query()).map_err(failure(EX_UNAVAILABLE))?;
        let uncreated =
            |path: &PathBuf, error| failure(EX_CANTCREAT)(anyhow::anyhow!("cannot create {}: {error}", path.display()));
        let saved = self.save.as_ref().map(|path| Saved::create(path).map_err(|error| uncreated(path, error)));
        let saved = saved.transpose()?;
        say!("tracing sessions that begin from now on at {address}");
        let bounds = Bounds { sessions: self.count, until: self.duration.map(|duration| Instant::now() + duration) };
        let (mut out, mut notes) = (io::stdout(), io::stderr());
        let trace = mx6_console::trace::Trace::new(bounds, self.shown(), saved, &mut out, &mut notes);
        let (tally, result) = trace.run(&lines, &is_ended);
        match &self.save {
            Some(path) => say!("{tally}; saved in {}", path.display()),
            None => say!("{tally}"),
        }
        match result {
            // The reader has left, as `head` does.
            Err(TraceError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error @ (TraceError::Client(_) | TraceError::Ended)) => Err(failure(EX_UNAVAILABLE)(error)),
            result => result.map_err(failure(EX_IOERR)),
        }
    }

    fn ask(&self) -> Ask {
        Ask {
            prefix: self.prefix,
            helo: self.helo.clone(),
            domain: self.domain.clone(),
            stage: self.stage.clone(),
            rule: self.rule.clone(),
            message_octets: self.octets,
        }
    }

    fn shown(&self) -> Shown {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if self.json {
            return Shown::json();
        }
        let width = terminal_size::terminal_size_of(io::stdout()).map_or(usize::MAX, |(width, _)| width.0.into());
        Shown::text(io::stdout().is_terminal() && !is_plain, width)
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let span = mx6_console::calendar::span_ms(text).filter(|ms| (1..=SPAN_MS_MAX).contains(ms));
    span.map(Duration::from_millis).ok_or_else(|| "give 1s to 30d, such as 90s, 30m or 24h".to_owned())
}

const EXAMPLES: &str = "Examples:
  mx6 trace --prefix 2001:db8:1::/48          a neighbourhood, word for word
  mx6 trace --rule spf-or-dkim --domain open.example --for 10m
  mx6 trace --helo mail.example.net --count 1 --octets 1000000 --save one.jsonl
  mx6 explain --transcript one.jsonl          why it was answered like that";

/// Whoever traces for longer has forgotten it.
const SPAN_MS_MAX: u64 = 30 * 86_400_000;
