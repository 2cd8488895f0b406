//! How glommio's rings are set up, where the program asks the linker for it.
//!
//! The kernel completes an operation in the context of the thread that asked for it. When the thread is busy on its core just then it is
//! interrupted for that, unless its ring says `IORING_SETUP_COOP_TASKRUN` (Linux 5.19): then the completion waits for the thread's next
//! system call. A shard makes one every few microseconds, so nothing is gained by interrupting it. glommio has no setting for it; a program
//! that links with `--wrap=__sys_io_uring_setup` (see its build script) has the calls of glommio's liburing come here instead.

use std::ffi::{c_int, c_long};

/// The beginning of the kernel's `struct io_uring_params`; the rest goes through.
#[repr(C)]
struct RingParams {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
}

/// As liburing's own: a descriptor, or -1 and `errno`.
#[unsafe(no_mangle)]
extern "C" fn __wrap___sys_io_uring_setup(entries: u32, params: &mut RingParams) -> c_int {
    let flags = params.flags;
    params.flags |= COOP_TASKRUN;
    let descriptor = set_up(entries, params);
    if descriptor >= 0 {
        return descriptor;
    }
    // A kernel before 5.19, or an error that it has with any flags.
    params.flags = flags;
    set_up(entries, params)
}

fn set_up(entries: u32, params: &mut RingParams) -> c_int {
    // SAFETY: liburing passes a whole `struct io_uring_params`, which the kernel reads and writes.
    let descriptor: c_long = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params as *mut RingParams) };
    c_int::try_from(descriptor).unwrap_or(-1)
}

const COOP_TASKRUN: u32 = 1 << 8;
