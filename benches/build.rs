//! Has the runtime set up glommio's rings (`crates/runtime/src/ring_setup.rs`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=__sys_io_uring_setup");
}
