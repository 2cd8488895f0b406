//! What lies beneath a gate, made to fail: a library in front of libc moves the clock, lets it fail, and cuts reads and writes of files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::gate::Setup;
use super::process::succeed;
use super::skip;

/// The faults of one gate; they hold from the moment they are set.
pub struct Faults(File);

/// What can be set, each a number in the file that the library shares with us.
#[derive(Clone, Copy)]
pub enum Fault {
    /// Seconds that the calendar is ahead.
    ClockAheadS,
    /// Which call from now on cannot read the calendar; 0: none.
    ClockFailsAt,
    /// Octets that one call may read from a file or write to it; 0: as many as it wants.
    FileOctets,
    /// Calls that were cut for that.
    FileCuts,
}

impl Faults {
    /// A gate that has such faults, none of them set. None, with a notice, where no C compiler makes the library.
    pub fn beneath(setup: Setup) -> Option<(Setup, Faults)> {
        let (source, library, numbers) =
            (setup.dir().join("faults.c"), setup.dir().join("faults.so"), setup.dir().join("faults"));
        if Command::new("cc").arg("--version").output().is_err() {
            skip("there is no C compiler");
            return None;
        }
        std::fs::write(&source, LIBRARY).unwrap();
        succeed(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source));
        std::fs::write(&numbers, [0; 32]).unwrap();
        let file = File::options().read(true).write(true).open(&numbers).unwrap();
        let preload = format!("LD_PRELOAD={}", library.display());
        let setup = setup.under(&["env", &preload, &format!("TEST_FAULTS={}", numbers.display())]);
        Some((setup, Faults(file)))
    }

    /// From now on.
    pub fn set(&self, fault: Fault, value: i64) {
        self.0.write_all_at(&value.to_ne_bytes(), 8 * fault as u64).unwrap();
    }

    /// As the library has left it.
    pub fn get(&self, fault: Fault) -> i64 {
        let mut value = [0; 8];
        self.0.read_exact_at(&mut value, 8 * fault as u64).unwrap();
        i64::from_ne_bytes(value)
    }
}

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static _Atomic long long none[4], *faults = none;

__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("TEST_FAULTS"), O_RDWR);
    void *shared = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || shared == MAP_FAILED) abort();
    faults = shared;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (clock == CLOCK_REALTIME && faults[1] > 0 && --faults[1] == 0) {
        errno = EINVAL;
        return -1;
    }
    int result = syscall(SYS_clock_gettime, clock, at);
    if (clock == CLOCK_REALTIME) at->tv_sec += faults[0];
    return result;
}

static size_t cut(int fd, size_t octets) {
    struct stat file;
    if (faults[2] == 0 || octets <= (size_t)faults[2] || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return octets;
    faults[3]++;
    return faults[2];
}

ssize_t write(int fd, const void *from, size_t octets) { return syscall(SYS_write, fd, from, cut(fd, octets)); }
ssize_t pwrite64(int fd, const void *from, size_t octets, off64_t at) {
    return syscall(SYS_pwrite64, fd, from, cut(fd, octets), at);
}
ssize_t pread64(int fd, void *into, size_t octets, off64_t at) {
    return syscall(SYS_pread64, fd, into, cut(fd, octets), at);
}
"#;
