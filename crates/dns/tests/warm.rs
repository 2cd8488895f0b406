//! What a lookup costs when the answer is in the cache: no allocation, no task.
//!
//! A test binary of its own, because it counts every allocation of the process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mx6_dns::{Source, TxtCache};
use mx6_runtime::run_local;
use support::*;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LOOKUPS: u64 = 100_000;

#[test]
fn a_hit_costs_no_allocation() {
    let server = Server::start(|query| match query.name.ends_with("arpa.") {
        true => query.records(3600, [ptr("mail.test.")]),
        false => query.records(3600, [txt(&["v=spf1 -all"])]),
    });
    run_local(|| async {
        let dns = dns(&[server.address]);
        let cache: TxtCache<Text> = TxtCache::new(1 << 20);
        dns.ptr(v4(1), soon()).await;
        dns.txt(&cache, "warm.test", soon()).await;
        for what in ["ptr", "txt", "txt, capitals"] {
            let (before, start) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
            for _ in 0..LOOKUPS {
                let source = match what {
                    "ptr" => dns.ptr(v4(1), soon()).await.source,
                    "txt" => dns.txt(&cache, "warm.test", soon()).await.source,
                    _ => dns.txt(&cache, "Warm.TEST.", soon()).await.source,
                };
                assert_eq!(source, Source::Cache);
            }
            let nanoseconds = start.elapsed().as_nanos() as u64 / LOOKUPS;
            let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
            println!("{what}: {nanoseconds} ns a hit, {allocations} allocations in {LOOKUPS}");
            // None is ours: moka's housekeeping, once in 64 reads, makes a handful.
            assert!(allocations < LOOKUPS / 8, "{what}: {allocations}");
        }
    })
    .unwrap();
}
