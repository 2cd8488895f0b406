//! Benchmarks of single rooms: `cargo bench -p mx6-benches`. What a whole message costs is measured by `relay_cost.py` beside this file.
#![forbid(unsafe_code)]
