//! Load by connections: a shard has a place for more of them than a test has descriptors.

use std::net::Ipv4Addr;
use std::time::Duration;

use mx6_runtime::Stream;
use mx6_runtime::simulation::{connect_from, simulate};
use mx6_telemetry::Counter;

use super::caps::{config, replies};
use super::{GATE, Gate, RESOLVER, address, resolver};
use crate::limits::{CONNECTIONS_MAX, LOAD_PERIOD};

/// An address for each number, all of them IPv4, so that no limit by prefix comes first.
async fn open(number: usize) -> Stream {
    let host = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number as u32);
    connect_from((host, 1_024).into(), address(GATE)).await.unwrap()
}

/// What a client hears that comes now: one from an address that has a session, and one from another.
async fn first_words() -> [String; 2] {
    mx6_runtime::sleep(2 * LOAD_PERIOD).await;
    [replies(&mut open(0).await, 1).await, replies(&mut open(1 << 16).await, 1).await]
}

#[test]
fn connections_of_a_shard() {
    let counters = simulate(5, || async {
        resolver::serve_all(address(RESOLVER));
        let gate = Gate::start(config());
        let mut held: Vec<Stream> = Vec::new();
        for (permille, words) in [(795, ["220 ", "220 "]), (805, ["421 ", "220 "]), (955, ["421 ", "421 "])] {
            for number in held.len()..CONNECTIONS_MAX * permille / 1_000 {
                held.push(open(number).await);
            }
            let heard = first_words().await;
            for (heard, word) in heard.iter().zip(words) {
                assert!(heard.starts_with(word), "{permille} of a thousand: {heard:?}");
            }
        }
        drop(held);
        mx6_runtime::sleep(Duration::from_secs(10)).await;
        assert!(first_words().await.iter().all(|word| word.starts_with("220 ")));
        gate.end().await
    });
    assert_eq!(counters.value(Counter::ShedForConnections), 3);
}
