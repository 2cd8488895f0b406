//! What a run says about itself: on the terminal while it runs and when it is done, and in files.
//!
//! One [`Measurement`] goes in; nothing here measures anything. Text that came from a server is escaped for the terminal
//! and for HTML.

mod hgrm;
mod html;
pub(crate) mod json;
mod plots;
mod progress;
mod series;
pub(crate) mod terminal;
pub(crate) mod units;
pub(crate) mod words;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::measurement::Measurement;

pub(crate) use progress::{Goal, Progress};

/// Where the report goes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportOptions {
    /// Write the whole measurement as JSON, which `compare` reads.
    ///
    /// Times are in µs, sizes in octets. Each stage has its percentiles in plain numbers and its whole histogram as
    /// HdrHistogram V2, deflated, in base64. An existing file is replaced.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latencies of each stage as HdrHistogram percentiles: PREFIX.connect.hgrm ... PREFIX.message.hgrm.
    ///
    /// In milliseconds, for HdrHistogram's plotFiles.html and other plotters of that format. `message` is the one from the
    /// intended start to the final reply.
    #[arg(long, value_name = "PREFIX")]
    pub hgrm: Option<PathBuf>,
    /// Write one self-contained HTML page with plots. It loads nothing from anywhere.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Draw no progress, and end with one line in place of the report, besides what was wrong.
    #[arg(long)]
    pub quiet: bool,
}

impl ReportOptions {
    /// Whether the files can be written: better known before the load than after it.
    pub(crate) fn check(&self) -> Result<()> {
        for path in self.json.iter().chain(&self.html) {
            let is_new = !path.exists();
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.with_context(|| format!("{} cannot be written; give another file", path.display()))?;
            if is_new {
                // A run that fails leaves no empty report behind.
                _ = std::fs::remove_file(path);
            }
        }
        if let Some(prefix) = &self.hgrm {
            let folder = prefix.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let there = folder.metadata().is_ok_and(|metadata| metadata.is_dir());
            anyhow::ensure!(there, "{}: there is no folder {}; make it first", prefix.display(), folder.display());
        }
        Ok(())
    }
}

/// Prints the report and writes the files that were asked for.
pub(crate) fn write_all(measurement: &Measurement, options: &ReportOptions, out: &mut impl Write) -> Result<()> {
    let report = if options.quiet { terminal::brief(measurement) } else { terminal::report(measurement) };
    let mut printed = out.write_all(report.as_bytes()).and_then(|()| out.flush()).context("printing the report");
    if let Some(path) = &options.json {
        json::write(measurement, path)?;
    }
    if let Some(prefix) = &options.hgrm {
        hgrm::write(measurement, prefix)?;
    }
    if let Some(path) = &options.html {
        let page = html::page(measurement)?;
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    if printed.as_ref().is_err_and(is_closed_pipe) {
        printed = Ok(());
    }
    printed
}

/// Whether the reader has left, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
