//! `mx6 top`: a running gate at a glance.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use mx6_console::top::{self, TopError};

use super::admin::Admin;
use crate::failure::{EX_IOERR, EX_UNAVAILABLE, Failure, failure};

/// Watch a running gate: rates, rules, latency, cores, DNS and next hops, and the last decisions.
///
/// It asks the admin endpoint (`mx6 serve --admin`). On a terminal a gate that goes away is asked again until it is back.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Top {
    #[command(flatten)]
    admin: Admin,
    /// How often the gate is asked: 200ms, 1s, 1m.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one JSON object a line for each interval, the same figures as on the screen; a gate that goes away ends it.
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// End after so many of them.
    #[arg(long, value_name = "N", requires = "json", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print the figures of one interval as text, and end; so it does where standard output is no terminal.
    #[arg(long)]
    once: bool,
}

impl Top {
    /// Runs until it is ended.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let address = self.admin.address()?;
        let done = if self.json {
            top::print_json(&address, self.interval, self.count, &mut io::stdout())
        } else if self.once || !io::stdout().is_terminal() {
            let printed = |text: String| io::stdout().write_all(text.as_bytes()).map_err(TopError::Write);
            let columns = terminal_size::terminal_size_of(io::stdout()).map_or(usize::MAX, |(width, _)| width.0.into());
            top::once(&address, self.interval, TEXT_COLUMNS.min(columns)).and_then(printed)
        } else {
            top::watch(&address, self.interval)
        };
        match done {
            // The reader has left, as `head` does.
            Err(TopError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error @ TopError::Client(_)) => Err(failure(EX_UNAVAILABLE)(error)),
            done => done.map_err(failure(EX_IOERR)),
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let milliseconds = match text.strip_suffix("ms") {
        Some(number) => number.parse().ok(),
        None => mx6_console::calendar::span_ms(text),
    };
    let given = milliseconds.filter(|ms| (100..=3_600_000).contains(ms)).map(Duration::from_millis);
    given.ok_or_else(|| "give 100ms to 1h, such as 200ms, 1s or 1m".to_owned())
}

const EXAMPLES: &str = "Examples:
  mx6 top                                       ? shows the keys
  mx6 top --admin unix:/run/mx6/admin.sock
  mx6 top --once                                as text, for a bug report
  mx6 top --json --count 1 | jq .accept.per_s   one figure for a script";

/// Fits into mail.
const TEXT_COLUMNS: usize = 100;
