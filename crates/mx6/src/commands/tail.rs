//! `mx6 tail`: decision records of a log, filtered, one aligned line each.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mx6_console::follow::Follow;
use mx6_console::tail::{self, Filter};

use crate::failure::{EX_NOINPUT, Failure, failure};

/// How often a file that does not grow is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Characters of a line where no terminal says how wide it is: nothing is cut.
const WIDTH_MAX: usize = 64 * 1024;

/// Show decision records of a log, filtered, one aligned line each.
#[derive(Args)]
pub(crate) struct Tail {
    /// The decision log, as of `serve --log`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show so many of the last records that match.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=100_000))]
    lines: u32,
    /// Go on with what is written from now on, through rotation.
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
    #[arg(long, value_name = "CIDR")]
    prefix: Vec<String>,
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
    /// Runs until the end of the log; with `--follow`, until it is ended or nobody reads what it prints.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let path = self.file.display().to_string();
        let result = self.show();
        match result.as_ref().map_err(|error| error.downcast_ref::<io::Error>().map(io::Error::kind)) {
            Err(Some(io::ErrorKind::BrokenPipe)) => Ok(()),
            _ => result.with_context(|| format!("{path} cannot be shown")).map_err(failure(EX_NOINPUT)),
        }
    }

    fn show(&self) -> anyhow::Result<()> {
        let filter = self.filter()?;
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut follow = Follow::open(&self.file)?;
        let mut last = VecDeque::new();
        while let Some(line) = follow.next_line()? {
            if let Some(shown) = self.shown(&filter, &line, colour) {
                last.push_back(shown);
                if last.len() > self.lines as usize {
                    last.pop_front();
                }
            }
        }
        let mut out = io::stdout().lock();
        for line in &last {
            out.write_all(line)?;
        }
        while self.follow {
            match follow.next_line()? {
                Some(line) => out.write_all(&self.shown(&filter, &line, colour).unwrap_or_default())?,
                None => {
                    out.flush()?;
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
        Ok(out.flush()?)
    }

    /// A line of the log as it is printed; none if it is not. What is no record is shown only where nothing is filtered: it cannot match.
    fn shown(&self, filter: &Filter, line: &[u8], colour: bool) -> Option<Vec<u8>> {
        let record = tail::record(line);
        let shown = match &record {
            Some(record) if !filter.matches(record) => return None,
            Some(_) if self.json => line.to_vec(),
            Some(record) => tail::row(record, self.width(), colour).into_bytes(),
            None if self.json || self.is_filtered() => return None,
            None => tail::other(line, self.width(), colour).into_bytes(),
        };
        Some([shown, b"\n".to_vec()].concat())
    }

    /// Asked for each line: a terminal may be resized.
    fn width(&self) -> usize {
        if self.wide {
            return WIDTH_MAX;
        }
        let of_terminal = terminal_size::terminal_size_of(io::stdout());
        of_terminal.map_or(WIDTH_MAX, |(width, _)| usize::from(width.0))
    }

    fn is_filtered(&self) -> bool {
        let lists = [&self.rule, &self.verdict, &self.domain, &self.prefix];
        let words = [&self.session, &self.helo, &self.stage];
        self.refused || lists.iter().any(|list| !list.is_empty()) || words.iter().any(|word| word.is_some())
    }

    fn filter(&self) -> anyhow::Result<Filter> {
        let network = |text: &String| {
            tail::network(text)
                .with_context(|| format!("--prefix {text} is no network, such as 2001:db8::/32 or an address"))
        };
        Ok(Filter {
            rules: self.rule.clone(),
            verdicts: self.verdict.clone(),
            domains: self.domain.clone(),
            prefixes: self.prefix.iter().map(network).collect::<anyhow::Result<_>>()?,
            session: self.session.clone(),
            helo: self.helo.clone(),
            stage: self.stage.clone(),
            refused: self.refused,
        })
    }
}
