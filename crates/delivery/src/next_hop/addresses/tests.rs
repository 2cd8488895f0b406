use std::time::Instant;

use futures_util::future::join_all;
use mx6_runtime::{run_local, sleep};

use super::*;
use crate::next_hop::lookup::scripted::{self, Does, lookups, say};

const TIMEOUT: Duration = Duration::from_secs(3600);

fn until() -> Deadline {
    Deadline::after(Duration::from_secs(15))
}

/// The ports of what was got, and how long it took.
async fn got(addresses: &Addresses, timeout: Duration, until: Deadline) -> (Vec<u16>, Duration) {
    let begin = Instant::now();
    let got = addresses.get(timeout, until).await;
    let ports = got.iter().map(|endpoint| match endpoint {
        Endpoint::Tcp(address) => address.port(),
        Endpoint::Unix(path) => panic!("{path:?}"),
    });
    (ports.collect(), begin.elapsed())
}

/// A name that was found at port 25.
async fn found(name: &str, timeout: Duration) -> Addresses {
    say(name, Does::Finds(0));
    let addresses = Addresses::new(name, 25, scripted::lookup);
    assert_eq!(got(&addresses, timeout, until()).await.0, [25]);
    addresses
}

/// Waits for a lookup under way to come to its end.
async fn end(addresses: &Addresses) {
    let lookup = addresses.state.borrow().under_way.clone().unwrap();
    deadline(until(), lookup.found).await.unwrap();
}

fn is_prompt(took: Duration) -> bool {
    took < LOOKUP_PATIENCE / 2
}

fn is_patient(took: Duration) -> bool {
    took >= LOOKUP_PATIENCE / 2 && took < 3 * LOOKUP_PATIENCE
}

#[test]
fn one_lookup_is_for_all_who_wait() {
    let cases = [
        ("finds.all", Does::Finds(0), vec![25]),
        ("fails.all", Does::Fails, vec![]),
        ("panics.all", Does::Panics, vec![]),
    ];
    for (name, does, expected) in cases {
        run_local(async || {
            say(name, Does::Hangs);
            let addresses = Addresses::new(name, 25, scripted::lookup);
            let all = join_all((0..100).map(|_| got(&addresses, TIMEOUT, until())));
            let answers = async {
                sleep(Duration::from_millis(100)).await;
                say(name, does);
            };
            let (all, ()) = futures_util::future::join(all, answers).await;
            assert!(all.iter().all(|(ports, _)| *ports == expected), "{name}: {all:?}");
            assert_eq!(lookups(name), 1, "{name}");
            // What was never found is looked up again at once.
            got(&addresses, TIMEOUT, until()).await;
            assert_eq!(lookups(name), if expected.is_empty() { 2 } else { 1 }, "{name}");
        })
        .unwrap();
    }
}

#[test]
fn who_knows_no_address_waits_until_the_deadline() {
    run_local(async || {
        say("hangs.new", Does::Hangs);
        let addresses = Addresses::new("hangs.new", 25, scripted::lookup);
        for _ in 0..3 {
            let (ports, took) = got(&addresses, TIMEOUT, Deadline::after(Duration::from_millis(100))).await;
            assert!(ports.is_empty() && took >= Duration::from_millis(95), "{took:?}");
        }
        assert_eq!(lookups("hangs.new"), 1);
        say("hangs.new", Does::Finds(0));
        assert_eq!(got(&addresses, TIMEOUT, until()).await.0, [25]);
    })
    .unwrap();
}

#[test]
fn after_a_failure_of_the_host_a_lookup_that_hangs_is_waited_for_once_and_not_for_long() {
    run_local(async || {
        let addresses = found("hangs.doubted", TIMEOUT).await;
        say("hangs.doubted", Does::Hangs);
        addresses.doubt();
        let all = join_all((0..100).map(|_| got(&addresses, TIMEOUT, until()))).await;
        assert!(all.iter().all(|(ports, took)| *ports == [25] && is_patient(*took)), "{all:?}");
        let (ports, took) = got(&addresses, TIMEOUT, until()).await;
        assert!(ports == [25] && is_prompt(took), "{took:?}");
        assert_eq!(lookups("hangs.doubted"), 2);
        // What it comes to in the end is used.
        say("hangs.doubted", Does::Finds(1));
        end(&addresses).await;
        assert_eq!(got(&addresses, TIMEOUT, until()).await.0, [26]);
        assert_eq!(lookups("hangs.doubted"), 2);
    })
    .unwrap();
}

#[test]
fn half_of_the_time_is_left_for_the_connection() {
    run_local(async || {
        let addresses = found("hangs.short", TIMEOUT).await;
        say("hangs.short", Does::Hangs);
        addresses.doubt();
        let until = Deadline::after(Duration::from_millis(400));
        assert_eq!(got(&addresses, TIMEOUT, until).await.0, [25]);
        assert!(until.remaining() >= Duration::from_millis(100));
        say("hangs.short", Does::Fails);
    })
    .unwrap();
}

#[test]
fn addresses_that_are_a_little_old_are_used_while_others_are_looked_up() {
    run_local(async || {
        // They are believed for no time at all.
        let addresses = found("hangs.old", Duration::ZERO).await;
        say("hangs.old", Does::Hangs);
        for _ in 0..3 {
            let (ports, took) = got(&addresses, TIMEOUT, until()).await;
            assert!(ports == [25] && is_prompt(took), "{took:?}");
        }
        say("hangs.old", Does::Finds(1));
        end(&addresses).await;
        assert_eq!(got(&addresses, TIMEOUT, until()).await.0, [26]);
        assert_eq!(lookups("hangs.old"), 2);
    })
    .unwrap();
}

#[test]
fn a_lookup_that_fails_is_not_begun_again_with_every_connection() {
    for (name, does) in [("fails.known", Does::Fails), ("panics.known", Does::Panics)] {
        run_local(async || {
            let addresses = found(name, TIMEOUT).await;
            say(name, does);
            for _ in 0..3 {
                addresses.doubt();
                let (ports, took) = got(&addresses, TIMEOUT, until()).await;
                assert!(ports == [25] && is_prompt(took), "{name}: {took:?}");
            }
            assert_eq!(lookups(name), 2, "{name}");
            let retry_at_ms = addresses.state.borrow().retry_at_ms;
            assert!(retry_at_ms > now_ms() + millis(LOOKUP_RETRY) / 2, "{name}");
            // Then it is tried again, and finds it elsewhere.
            addresses.state.borrow_mut().retry_at_ms = now_ms();
            say(name, Does::Finds(1));
            assert_eq!(got(&addresses, TIMEOUT, until()).await.0, [26]);
            assert_eq!(lookups(name), 3, "{name}");
        })
        .unwrap();
    }
}
