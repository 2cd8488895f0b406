//! The measurement as a file, and back. A file is not trusted: its size and its content have limits.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::measurement::Measurement;

/// Writes a measurement.
pub(crate) fn write(measurement: &Measurement, path: &Path) -> Result<()> {
    let written = || -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, measurement)?;
        file.write_all(b"\n")?;
        file.flush()?;
        Ok(())
    };
    written().with_context(|| format!("writing {}", path.display()))
}

/// Reads what [`write()`] wrote.
pub(crate) fn read(path: &Path) -> Result<Measurement> {
    let parsed = || -> Result<Measurement> {
        let mut text = String::new();
        File::open(path)?.take(FILE_OCTETS_MAX + 1).read_to_string(&mut text)?;
        ensure!(text.len() as u64 <= FILE_OCTETS_MAX, "is larger than {FILE_OCTETS_MAX} octets");
        let measurement: Measurement =
            serde_json::from_str(&text).context("is not a measurement as `mx6-loadgen run --json` writes it")?;
        measurement.check()?;
        Ok(measurement)
    };
    parsed().with_context(|| path.display().to_string())
}

/// A day of windows takes about a third of this.
const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;
