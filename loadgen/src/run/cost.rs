//! What processes cost: CPU time, memory and context switches, from /proc (proc(5)).
//!
//! The times of a process in `stat` count in ticks; those of its threads in `schedstat` in nanoseconds, but end with the thread. The finer
//! ones are taken where no thread ended.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::measurement::{ProcessCost, ServerCost};

/// A look at a process.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    name: String,
    user_us: u64,
    system_us: u64,
    /// On a processor, for each thread.
    threads_ns: BTreeMap<u32, u64>,
    pub(super) rss_octets: u64,
    voluntary: u64,
    involuntary: u64,
}

impl Reading {
    /// Looks at process `pid`.
    pub(super) fn of(pid: u32) -> Result<Reading> {
        Reading::read(pid).with_context(|| format!("process {pid} cannot be measured"))
    }

    fn read(pid: u32) -> Result<Reading> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name stands in parentheses and may have any in it.
        let (head, tail) = stat.rsplit_once(')').context("stat without a name")?;
        let name = head.split_once('(').map(|(_, name)| name.to_owned()).unwrap_or_default();
        let words: Vec<&str> = tail.split_ascii_whitespace().collect();
        let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * TICK_US;
        let mut reading = Reading { name, user_us: ticks(11), system_us: ticks(12), ..Reading::default() };
        reading.rss_octets = field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:") * 1024;
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let path = task.path();
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end while it is looked at.
            let Ok(schedstat) = fs::read_to_string(path.join("schedstat")) else { continue };
            let ns = schedstat.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            reading.threads_ns.insert(tid, ns);
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            reading.voluntary += field(&status, "voluntary_ctxt_switches:");
            reading.involuntary += field(&status, "nonvoluntary_ctxt_switches:");
        }
        Ok(reading)
    }

    /// CPU time since an earlier look.
    pub(super) fn cpu_us_since(&self, earlier: &Reading) -> u64 {
        let ticks_us = (self.user_us + self.system_us).saturating_sub(earlier.user_us + earlier.system_us);
        if earlier.threads_ns.keys().any(|tid| !self.threads_ns.contains_key(tid)) {
            return ticks_us;
        }
        let sum = |reading: &Reading| reading.threads_ns.values().sum::<u64>();
        let threads_us = sum(self).saturating_sub(sum(earlier)) / 1_000;
        // Threads that came and went between the two looks are only in the ticks.
        if ticks_us > threads_us + threads_us / 50 + 4 * TICK_US { ticks_us } else { threads_us }
    }

    /// CPU time of the thread `tid` since an earlier look.
    pub(super) fn thread_us_since(&self, earlier: &Reading, tid: u32) -> u64 {
        let of = |reading: &Reading| reading.threads_ns.get(&tid).copied().unwrap_or(0);
        of(self).saturating_sub(of(earlier)) / 1_000
    }
}

/// Processes of the server, watched.
pub(super) struct Watch {
    pids: Vec<u32>,
    start: Vec<Reading>,
    last: Vec<Reading>,
    peaks: Vec<u64>,
}

impl Watch {
    /// From now on.
    pub(super) fn start(pids: &[u32]) -> Result<Watch> {
        let start: Vec<Reading> = pids.iter().map(|pid| Reading::of(*pid)).collect::<Result<_>>()?;
        let peaks = start.iter().map(|reading| reading.rss_octets).collect();
        Ok(Watch { pids: pids.to_vec(), last: start.clone(), start, peaks })
    }

    /// CPU time since the last look, and memory now, of all together. A process that is gone adds nothing.
    pub(super) fn look(&mut self) -> Option<(u64, u64)> {
        let (mut cpu_us, mut rss_octets) = (0, 0);
        for (at, pid) in self.pids.iter().enumerate() {
            let Ok(now) = Reading::of(*pid) else { continue };
            cpu_us += now.cpu_us_since(&self.last[at]);
            rss_octets += now.rss_octets;
            self.peaks[at] = self.peaks[at].max(now.rss_octets);
            self.last[at] = now;
        }
        (!self.pids.is_empty()).then_some((cpu_us, rss_octets))
    }

    /// From the start to the last look.
    pub(super) fn cost(&self, messages: u64) -> Option<ServerCost> {
        let process = |at: usize| {
            let (start, end) = (&self.start[at], &self.last[at]);
            let cpu_us = end.cpu_us_since(start);
            let (user, system) = (end.user_us - start.user_us, end.system_us - start.system_us);
            // The ticks tell how the exact sum divides.
            let cpu_user_us = cpu_us * user.max(1) / (user + system).max(1);
            ProcessCost {
                pid: self.pids[at],
                name: end.name.clone(),
                threads: u32::try_from(end.threads_ns.len()).unwrap_or(u32::MAX),
                cpu_user_us: cpu_user_us.min(cpu_us),
                cpu_system_us: cpu_us.saturating_sub(cpu_user_us),
                cpu_us_per_message: per_message(cpu_us, messages),
                rss_start_octets: start.rss_octets,
                rss_peak_octets: self.peaks[at],
                rss_end_octets: end.rss_octets,
                context_switches_voluntary: end.voluntary.saturating_sub(start.voluntary),
                context_switches_involuntary: end.involuntary.saturating_sub(start.involuntary),
            }
        };
        let processes: Vec<ProcessCost> = (0..self.pids.len()).map(process).collect();
        (!processes.is_empty()).then(|| ServerCost { total: sum(&processes, messages), processes })
    }
}

fn sum(processes: &[ProcessCost], messages: u64) -> ProcessCost {
    let mut total = ProcessCost { name: "all".into(), ..ProcessCost::default() };
    for process in processes {
        total.threads += process.threads;
        total.cpu_user_us += process.cpu_user_us;
        total.cpu_system_us += process.cpu_system_us;
        total.rss_start_octets += process.rss_start_octets;
        total.rss_peak_octets += process.rss_peak_octets;
        total.rss_end_octets += process.rss_end_octets;
        total.context_switches_voluntary += process.context_switches_voluntary;
        total.context_switches_involuntary += process.context_switches_involuntary;
    }
    total.cpu_us_per_message = per_message(total.cpu_user_us + total.cpu_system_us, messages);
    total
}

fn per_message(cpu_us: u64, messages: u64) -> f64 {
    if messages == 0 { 0.0 } else { cpu_us as f64 / messages as f64 }
}

/// The first number behind a name at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// USER_HZ is 100 wherever Linux runs today (time(7)).
const TICK_US: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_costs_what_it_does() {
        let before = Reading::of(std::process::id()).unwrap();
        let mut sum = 0u64;
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(200) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        let after = Reading::of(std::process::id()).unwrap();
        assert!(after.cpu_us_since(&before) > 0, "{sum}");
        assert!(after.rss_octets > 100_000 && !after.name.is_empty());
        assert!(Reading::of(u32::MAX).unwrap_err().to_string().contains("process 4294967295 cannot be measured"));
    }

    /// Threads that ended count too, by the ticks.
    #[test]
    fn ended_threads_count() {
        let reading = |user_us, threads: &[(u32, u64)]| Reading {
            user_us,
            threads_ns: threads.iter().copied().collect(),
            ..Reading::default()
        };
        for (before, after, expected) in [
            (reading(0, &[(1, 0)]), reading(10_000, &[(1, 12_345_000)]), 12_345),
            (reading(0, &[(1, 0), (2, 0)]), reading(50_000, &[(1, 12_345_000)]), 50_000),
            (reading(0, &[(1, 0)]), reading(900_000, &[(1, 12_345_000)]), 900_000),
            (reading(0, &[(1, 0)]), reading(20_000, &[(1, 12_345_000), (2, 5_000_000)]), 17_345),
        ] {
            assert_eq!(after.cpu_us_since(&before), expected);
        }
    }
}
