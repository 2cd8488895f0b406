//! Serves the tests' sample gate, for whoever works on the page: `cargo run -p mx6-admin --example lively -- 127.0.0.1:9125 4`.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/sample/mod.rs"]
mod sample;

use std::time::Duration;

fn main() {
    let mut words = std::env::args().skip(1);
    let address: mx6_admin::Address = words.next().unwrap_or("127.0.0.1:9125".into()).parse().unwrap();
    let shards = words.next().map_or(4, |shards| shards.parse().unwrap());
    let gate = sample::Sample::new(shards);
    let running = mx6_admin::start(vec![address.bind().unwrap()], gate.clone()).unwrap();
    println!("http://{}/", running.addresses()[0]);
    let idle = words.next().is_some_and(|word| word == "idle");
    loop {
        if !idle {
            gate.advance();
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
