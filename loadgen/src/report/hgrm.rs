//! Latencies in the text format of HdrHistogram (`outputPercentileDistribution`), which its plotters read: four columns in
//! milliseconds, five reporting points for each halving of the distance to 100 %, and the summary as comments.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::measurement::{Measurement, StageName};

/// Writes one file for each stage that happened.
pub(crate) fn write(measurement: &Measurement, prefix: &Path) -> Result<()> {
    for stage in measurement.stages.iter().filter(|stage| !stage.histogram.is_empty()) {
        let path = path(prefix, stage.name);
        std::fs::write(&path, text(&stage.histogram)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// `PREFIX.reply.hgrm`.
fn path(prefix: &Path, stage: StageName) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(format!(".{}.hgrm", stage.as_str()));
    path.into()
}

/// The distribution of one histogram of µs.
fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for point in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += point.count_since_last_iteration();
        let (value, quantile) = (ms(point.value_iterated_to()), point.quantile_iterated_to());
        // The last line has no fourth column: it would be infinite.
        let inverse = if quantile < 1.0 { format!(" {:14.2}", 1.0 / (1.0 - quantile)) } else { String::new() };
        _ = writeln!(text, "{value:12.3} {quantile:2.12} {total:10}{inverse}");
    }
    let (mean, deviation) = (histogram.mean() / 1000.0, histogram.stdev() / 1000.0);
    _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    _ = writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", ms(histogram.max()), histogram.len());
    let (buckets, sub_buckets) = (histogram.buckets(), sub_buckets(histogram.sigfig()));
    _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    text
}

/// As HdrHistogram counts them: the power of two that keeps so many digits apart.
fn sub_buckets(significant_digits: u8) -> u64 {
    (2 * 10_u64.pow(u32::from(significant_digits))).next_power_of_two()
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// What HdrHistogram's own tools take.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::latencies_us;

    /// The format, by the rules its readers rely on: four columns, rising, the last line at 100 % with the whole count.
    #[test]
    fn readers_of_the_format_find_what_they_look_for() {
        let many: Vec<u64> = (1..=10_000).map(|n| n * 7 % 50_021).collect();
        for latencies in [&[1_u64][..], &[5, 5, 5], &many] {
            let mut histogram = latencies_us();
            latencies.iter().for_each(|us| histogram.saturating_record(*us));
            let text = text(&histogram);
            let rows: Vec<Vec<f64>> = text
                .lines()
                .skip(2)
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
                .collect();
            assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
            assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{text}");
            let (last, others) = rows.split_last().unwrap();
            assert_eq!((last.len(), last[1], last[2]), (3, 1.0, latencies.len() as f64), "{text}");
            assert!((last[0] - histogram.max() as f64 / 1000.0).abs() < 1e-9, "{text}");
            assert!(others.iter().all(|row| row.len() == 4), "{text}");
            assert_eq!(text.lines().filter(|line| line.starts_with("#[")).count(), 3);
        }
    }

    /// A row of Gil Tene's own tools, as their documentation shows it.
    #[test]
    fn the_columns_are_where_they_are() {
        let mut histogram = latencies_us();
        histogram.record(15_000).unwrap();
        let text = text(&histogram);
        assert_eq!(text.lines().nth(2), Some("      15.007 0.000000000000          1           1.00"));
    }
}
