//! `mx6 tail`: decision records of a log or of a running gate, filtered, one aligned line each.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use mx6_console::client;
use mx6_console::follow::Follow;
use mx6_console::stream::{Lines, Next};
use mx6_console::tail::{self, Filter, Looks, network};
use serde_json::Value;

use super::admin::Admin;
use crate::failure::{EX_IOERR, EX_NOINPUT, EX_UNAVAILABLE, Failure, failure};

/// Show decision records, filtered, one aligned line each: those of a log, or without FILE those of a running gate as they fall.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Tail {
    /// The decision log, as of `serve --log`; without it the gate's admin endpoint is asked.
    #[arg(value_name = "FILE", conflicts_with = "admin")]
    file: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
    /// Show so many of the last records that match; a running gate remembers 100.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=100_000))]
    lines: u32,
    /// Go on with what is written from now on, through rotation; without FILE it always does.
    #[arg(short, long)]
    follow: bool,
    /// Only this rule (repeatable).
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// Only this verdict: accept, defer, reject or none (repeatable).
    #[arg(long, value_name = "VERDICT", value_parser = ["accept", "defer", "reject", "none"])]
    verdict: Vec<String>,
    /// Only recipients of this domain, as A-labels (repeatable).
    #[arg(long, value_name = "DOMAIN")]
    domain: Vec<String>,
    /// Only clients in this network (repeatable).
    #[arg(long, value_name = "CIDR", value_parser = network)]
    prefix: Vec<IpNet>,
    /// Only this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only clients that gave this HELO name.
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// Only this stage.
    #[arg(long, value_name = "STAGE", value_parser = ["connect", "mail", "rcpt", "end-of-data"])]
    stage: Option<String>,
    /// Only what was deferred or rejected.
    #[arg(long)]
    refused: bool,
    /// Print the records that match as they are in the log.
    #[arg(long)]
    json: bool,
    /// Do not cut lines at the width of the terminal.
    #[arg(long)]
    wide: bool,
}

impl Tail {
    /// Runs until the end of the log; with `--follow` and for a gate, until it is ended or nobody reads what it prints.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let result = match &self.file {
            Some(path) => self.log(path),
            None => self.gate(),
        };
        let is_left = |failure: &Failure| {
            let error = failure.error.as_ref().and_then(|error| error.downcast_ref::<io::Error>());
            failure.code == EX_IOERR && error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        };
        match result {
            // The reader has seen enough.
            Err(failure) if is_left(&failure) => Ok(()),
            result => result,
        }
    }

    fn log(&self, path: &Path) -> Result<(), Failure> {
        let unread = |error| failure(EX_NOINPUT)(anyhow::anyhow!("cannot read {}: {error}", path.display()));
        let mut follow = Follow::open(path).map_err(unread)?;
        let filter = self.filter();
        let mut last = Last::of(self.lines);
        while let Some(line) = follow.next_line().map_err(unread)? {
            last.push(tail::shown(&line, &filter, self.looks()));
        }
        if !self.follow {
            let rest = follow.rest().and_then(|line| tail::shown(&line, &filter, self.looks()));
            last.push(rest);
        }
        print(&last.lines.into_iter().collect::<Vec<_>>().concat())?;
        if !self.follow {
            return Ok(());
        }
        loop {
            match follow.next_line().map_err(unread)? {
                Some(line) => print(&tail::shown(&line, &filter, self.looks()).unwrap_or_default())?,
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn gate(&self) -> Result<(), Failure> {
        let (address, filter) = (self.admin.address()?, self.filter());
        // First the stream, then what was before: nothing falls between the two, and what is in both is left out once.
        let stream = Lines::open(&address, "/decisions", &filter.query()).map_err(failure(EX_UNAVAILABLE))?;
        let recent = client::status(&address).map_err(failure(EX_UNAVAILABLE))?.observed.recent;
        let mut last = Last::of(self.lines);
        for record in &recent {
            last.push(tail::shown(record.to_string().as_bytes(), &filter, self.looks()));
        }
        print(&last.lines.into_iter().collect::<Vec<_>>().concat())?;
        let mut known = recent;
        loop {
            let line = match stream.next(WAIT).map_err(failure(EX_UNAVAILABLE))? {
                Next::Line(line) => line,
                Next::Nothing => continue,
                Next::End => {
                    let ended = "the gate has ended the stream: it stops, another one takes its place, or nobody read for too long";
                    return Err(failure(EX_UNAVAILABLE)(anyhow::anyhow!("{address}: {ended}")));
                }
            };
            let value: Value = serde_json::from_slice(&line).unwrap_or_default();
            if let Some(missed) = value["missed"].as_u64() {
                self.tell_missed(missed, &line)?;
            } else if !known.is_empty() && known.contains(&value) {
                known.retain(|record| *record != value);
            } else {
                // Records come in their order: what follows is new.
                known.clear();
                print(&tail::shown(&line, &filter, self.looks()).unwrap_or_default())?;
            }
        }
    }

    /// The gate does not wait for slow readers: it says how many decisions it could not send, before filtering.
    fn tell_missed(&self, missed: u64, line: &[u8]) -> Result<(), Failure> {
        const WHY: &str = "they fell faster than they were read; the log has them";
        if self.json {
            print(&[line, b"\n"].concat())?;
            mx6_telemetry::warning!("{missed} decisions are missing: {WHY}");
            return Ok(());
        }
        print((tail::lost_row(missed, WHY, self.looks()) + "\n").as_bytes())
    }

    /// Asked for each line: a terminal may be resized.
    fn looks(&self) -> Looks {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let of_terminal = terminal_size::terminal_size_of(io::stdout()).filter(|_| !self.wide);
        let width = of_terminal.map_or(WIDTH_MAX, |(width, _)| usize::from(width.0));
        Looks { width, colour, json: self.json }
    }

    fn filter(&self) -> Filter {
        Filter {
            rules: self.rule.clone(),
            verdicts: self.verdict.clone(),
            domains: self.domain.clone(),
            prefixes: self.prefix.clone(),
            session: self.session.clone(),
            helo: self.helo.clone(),
            stage: self.stage.clone(),
            refused: self.refused,
        }
    }
}

/// The last lines.
struct Last {
    lines: VecDeque<Vec<u8>>,
    most: usize,
}

impl Last {
    fn of(most: u32) -> Last {
        Last { lines: VecDeque::new(), most: most as usize }
    }

    fn push(&mut self, line: Option<Vec<u8>>) {
        self.lines.extend(line);
        if self.lines.len() > self.most {
            self.lines.pop_front();
        }
    }
}

fn print(lines: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(lines).and_then(|()| out.flush()).map_err(failure(EX_IOERR))
}

const EXAMPLES: &str = "Examples:
  mx6 tail -f --refused /var/log/mx6/decisions.log
  mx6 tail --rule reverse-dns --prefix 2001:db8::/32     of a running gate
  mx6 tail -n 1000 --json --domain open.example decisions.log | jq .reply";

/// How often a file that does not grow is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For the next decision, before the wait begins anew.
const WAIT: Duration = Duration::from_secs(60);
/// Characters of a line where no terminal says how wide it is: nothing is cut.
const WIDTH_MAX: usize = 64 * 1024;
