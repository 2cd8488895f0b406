//! Descriptors: how many the process has left, and one kept back for when it has none.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getrlimit};

/// How many of the descriptors that the process may have (RLIMIT_NOFILE) are open, in permille; 0 where there is no limit.
///
/// The size of `/proc/self/fd` is their number since Linux 6.2, and 0 before. There, and without /proc, the lowest free descriptor stands for
/// it: the kernel hands out the lowest always, so that many are open at least.
#[must_use]
pub fn descriptors_permille() -> u32 {
    let Some(most) = getrlimit(Resource::Nofile).current.filter(|most| *most > 0) else { return 0 };
    let open = match std::fs::metadata("/proc/self/fd") {
        Ok(folder) if folder.len() > 0 => folder.len(),
        _ => null().map_or(most, |lowest| {
            use std::os::fd::AsRawFd;
            u64::from(lowest.as_raw_fd().unsigned_abs())
        }),
    };
    (open.saturating_mul(1_000) / most).min(1_000) as u32
}

/// A descriptor that is there only to be closed, so that another may take its place for a moment.
#[derive(Debug, Default)]
pub struct SpareDescriptor(Option<OwnedFd>);

impl SpareDescriptor {
    /// One that is held from now on, if there is one left.
    #[must_use]
    pub fn take() -> SpareDescriptor {
        SpareDescriptor(null())
    }

    /// Frees it for `use_it`, and takes one again. Shards do so one at a time, or one would use what another has freed.
    pub(crate) fn lend(&mut self, use_it: impl FnOnce() -> bool) -> bool {
        static LENT: AtomicBool = AtomicBool::new(false);
        if LENT.swap(true, Ordering::Acquire) {
            return false;
        }
        // Dropped: free.
        self.0 = None;
        let used = use_it();
        self.0 = null();
        LENT.store(false, Ordering::Release);
        used
    }
}

fn null() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_descriptors_are_seen() {
        let most = getrlimit(Resource::Nofile).current.unwrap();
        let tenth = usize::try_from(most / 10).unwrap().min(1_000);
        let before = descriptors_permille();
        let held: Vec<_> = (0..tenth).filter_map(|_| null()).collect();
        let expected = u32::try_from(held.len() as u64 * 1_000 / most).unwrap();
        assert!(descriptors_permille() + 5 >= before + expected, "{before} and {expected} more");
    }

    #[test]
    fn what_is_lent_comes_back() {
        let mut spare = SpareDescriptor::take();
        assert!(spare.lend(|| null().is_some()) && spare.0.is_some());
        assert!(!spare.lend(|| false) && spare.0.is_some());
    }
}
