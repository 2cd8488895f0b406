//! A message without a signature costs DKIM nothing but the look for one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mx6_dkim::{Header, KeyAnswer, Verification};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, octets: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(octets, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn unsigned_message() {
    let block = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\n\r\n";
    let header = Header::parse(block);
    let before = ALLOCATIONS.get();
    let mut verification = Verification::new(&header, 1_749_988_800);
    verification.body(&[b'x'; 10_000]);
    verification.end_of_body();
    assert!(verification.key_names().is_empty());
    assert!(verification.body_hashes().is_empty());
    assert!(verification.finish(|_| KeyAnswer::NoKey).is_empty());
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
