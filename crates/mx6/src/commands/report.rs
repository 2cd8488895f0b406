//! `mx6 report`: what enforcing would refuse, or did, from decision records.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use mx6_console::calendar;
use mx6_console::report::{Options, Report as Figures, ReportError};

use crate::failure::{EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, Failure, failure};

/// Say from decision records what enforcing the rules would refuse, or did.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Report {
    /// Report on this recipient domain only (repeatable); else on all.
    #[arg(long = "domain", value_name = "D")]
    domains: Vec<String>,
    /// Leave out what was before: 2026-11-26T21:10:00Z, 2026-11-26, or 30m, 24h, 7d ago.
    #[arg(long, value_name = "T", value_parser = moment)]
    since: Option<u64>,
    /// Leave out what was from then on.
    #[arg(long, value_name = "T", value_parser = moment)]
    until: Option<u64>,
    /// How long a refused message may take to come again (30m, 24h, 7d).
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    fallback_window: u64,
    /// Write one self-contained page with plots as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object, with all senders.
    #[arg(long)]
    json: bool,
    /// How many senders of each kind are shown.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Decision records, gzipped or not, in any order; standard input if there are none.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  mx6 report --domain trial.example --since 7d /var/log/mx6/decisions.log*
  mx6 report --html report.html /var/log/mx6/decisions.log
  zstdcat decisions.*.zst | mx6 report --json | jq .total.verdict";

impl Report {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let options = Options {
            domains: self.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            since_ms: self.since,
            until_ms: self.until,
            fallback_window_ms: self.fallback_window,
            top: self.top,
        };
        let unreadable = |error: ReportError| {
            let code = if matches!(error, ReportError::Open { .. }) { EX_NOINPUT } else { EX_DATAERR };
            failure(code)(error)
        };
        let report = Figures::read(options, &self.files).map_err(unreadable)?;
        if let Some(path) = &self.html {
            let page = report.to_html().map_err(unreadable)?;
            let written = std::fs::write(path, page);
            written
                .map_err(|error| failure(EX_CANTCREAT)(anyhow::anyhow!("cannot write {}: {error}", path.display())))?;
        }
        let text = if self.json { format!("{:#}\n", report.to_json()) } else { report.to_text() };
        match std::io::stdout().write_all(text.as_bytes()) {
            // The reader has left, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            printed => {
                printed.map_err(|error| failure(EX_CANTCREAT)(anyhow::anyhow!("cannot print the report: {error}")))
            }
        }
    }
}

fn moment(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    calendar::moment(text, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn span(text: &str) -> Result<u64, String> {
    let span = calendar::span_ms(text).filter(|span| (1..=WINDOW_MS_MAX).contains(span));
    span.ok_or_else(|| format!("`{text}` is no time of at most 30d; give 90s, 30m, 24h or 7d"))
}

/// No sender tries longer.
const WINDOW_MS_MAX: u64 = 30 * 86_400_000;
