//! What the kernel says of a shard's thread: how long it ran, and how long it could have and waited for a CPU (proc(5), `schedstat`).

/// Times of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Times {
    pub(super) running_us: u64,
    pub(super) run_queue_us: u64,
}

/// Of the thread `id` of this process; zero where the kernel keeps no such account.
pub(super) fn times(id: u64) -> Times {
    let text = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).unwrap_or_default();
    parse(&text).unwrap_or_default()
}

/// `RUNNING WAITING SLICES`, both times in nanoseconds.
fn parse(text: &str) -> Option<Times> {
    let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().ok());
    let mut us = || Some(numbers.next()?? / 1000);
    Some(Times { running_us: us()?, run_queue_us: us()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_the_kernel() {
        assert_eq!(parse("1234567 89012 42\n"), Some(Times { running_us: 1234, run_queue_us: 89 }));
        assert_eq!(parse(""), None);
        assert_eq!(parse("1 x 2"), None);
    }
}
