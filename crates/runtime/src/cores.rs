//! Which cores the shards run on.

use std::fmt;

/// CPU numbers, one shard each, without repetition, all allowed to this process; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// Reads `2` (the first two CPUs this process may use), `0,1`, `0-3` or `0,2-3` (CPU numbers as Linux counts them).
    ///
    /// A single number is a count; to name one CPU write `3-3`.
    ///
    /// # Errors
    /// [`CoresError`]: not such a text, or CPUs that do not exist or are not allowed to this process.
    pub fn parse(text: &str) -> Result<Cores, CoresError> {
        Cores::choose(text, &allowed_cpus()?)
    }

    /// The first `count` CPUs this process may use.
    ///
    /// # Errors
    /// [`CoresError`] when there are fewer, or none was asked for.
    pub fn first(count: usize) -> Result<Cores, CoresError> {
        Cores::take(count, &allowed_cpus()?)
    }

    /// The CPU numbers; the index is the shard.
    #[must_use]
    pub fn cpus(&self) -> &[usize] {
        &self.0
    }

    fn choose(text: &str, allowed: &[usize]) -> Result<Cores, CoresError> {
        let syntax = || CoresError::Syntax(text.to_owned());
        let text = text.trim();
        if let Some(count) = number(text) {
            return Cores::take(count, allowed);
        }
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first), number(last)),
                None => (number(part), number(part)),
            };
            let (Some(first), Some(last)) = (first, last) else { return Err(syntax()) };
            if first > last || last > CPU_NUMBER_MAX {
                return Err(syntax());
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(CoresError::Repeated { cpu });
                }
                cpus.push(cpu);
            }
        }
        match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(CoresError::NotAllowed { cpu, allowed: ranges(allowed) }),
            None => Ok(Cores(cpus)),
        }
    }

    fn take(count: usize, allowed: &[usize]) -> Result<Cores, CoresError> {
        if count == 0 {
            return Err(CoresError::Syntax("0".to_owned()));
        }
        if count > allowed.len() {
            return Err(CoresError::TooFew { wanted: count, found: allowed.len(), allowed: ranges(allowed) });
        }
        Ok(Cores(allowed[..count].to_vec()))
    }
}

/// In the form that [`Cores::parse`] takes for CPU numbers.
impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [cpu] => write!(f, "{cpu}-{cpu}"),
            cpus => f.write_str(&ranges(cpus)),
        }
    }
}

/// Why shards cannot be placed as asked: a fault of the configuration, or of the limits the process was started with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoresError {
    /// Neither a count nor a list.
    #[error("cores `{0}`: expected a count above 0 (2) or a list of CPU numbers (0,1 or 0-3)")]
    Syntax(String),
    /// One core twice.
    #[error("cores: CPU {cpu} is listed twice")]
    Repeated {
        /// Its number.
        cpu: usize,
    },
    /// More shards than CPUs.
    #[error(
        "cores: {wanted} asked for, but this process may use only {found} (CPU {allowed}); ask for fewer, or widen its CPU \
         set (taskset, systemd CPUAffinity= or AllowedCPUs=, docker --cpuset-cpus)"
    )]
    TooFew {
        /// Asked for.
        wanted: usize,
        /// Allowed.
        found: usize,
        /// Which.
        allowed: String,
    },
    /// No such CPU, or not for us.
    #[error(
        "cores: CPU {cpu} does not exist or is not allowed to this process, which may use CPU {allowed}; name others, or widen \
         its CPU set (taskset, systemd CPUAffinity= or AllowedCPUs=, docker --cpuset-cpus)"
    )]
    NotAllowed {
        /// Its number.
        cpu: usize,
        /// Which are.
        allowed: String,
    },
    /// The kernel does not tell.
    #[error("cores: the kernel does not tell which CPUs this process may use: {0}")]
    Affinity(String),
}

/// CPUs of this thread's affinity mask, in ascending order.
fn allowed_cpus() -> Result<Vec<usize>, CoresError> {
    let set = rustix::thread::sched_getaffinity(None).map_err(|error| CoresError::Affinity(error.to_string()))?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `0-3,6`.
fn ranges(cpus: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some((&first, _)) = rest.split_first() {
        let run = rest.iter().enumerate().take_while(|&(index, &cpu)| cpu == first + index).count();
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if run > 1 {
            text.push('-');
            text.push_str(&(first + run - 1).to_string());
        }
        rest = &rest[run..];
    }
    text
}

/// The kernel's `CPU_SETSIZE`, less one.
const CPU_NUMBER_MAX: usize = 1023;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let allowed = [0, 1, 2, 3, 6];
        let check = |text: &str, expected: Result<&[usize], &str>| {
            let got = Cores::choose(text, &allowed);
            match (got, expected) {
                (Ok(cores), Ok(cpus)) => assert_eq!(cores.cpus(), cpus, "{text}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
            }
        };
        check("1", Ok(&[0]));
        check("5", Ok(&[0, 1, 2, 3, 6]));
        check("6", Err("only 5 (CPU 0-3,6)"));
        check("0", Err("count above 0"));
        check("", Err("expected a count"));
        check("0,1", Ok(&[0, 1]));
        check("3,0", Ok(&[3, 0]));
        check("3-3", Ok(&[3]));
        check("0-2,6", Ok(&[0, 1, 2, 6]));
        check("4,0", Err("CPU 4 does not exist"));
        check("0,0", Err("twice"));
        check("3-1", Err("expected a count"));
        check("0,", Err("expected a count"));
        check("+1,2", Err("expected a count"));
        check("-1", Err("expected a count"));
        check("0-99999999999", Err("expected a count"));
        check("two", Err("expected a count"));
    }

    #[test]
    fn display_can_be_parsed() {
        for text in ["3-3", "0-2,6", "0-1"] {
            assert_eq!(Cores::choose(text, &[0, 1, 2, 3, 6]).unwrap().to_string(), text);
        }
    }
}
