//! Benchmarks of single rooms: `cargo bench -p mx6-benches` (reports with plots in `target/criterion/report/index.html`).
//!
//! What a whole message costs is measured beside this file: `relay_cost.py` (CPU, system calls, memory of idle connections, against
//! `mx6-floor`) and `allocations.py`.
#![forbid(unsafe_code)]
