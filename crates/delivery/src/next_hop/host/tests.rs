use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mx6_runtime::{run_local, sleep};

use super::*;
use crate::Target;
use crate::next_hop::lookup::scripted::{self, Does, lookups, lookups_by_now, say};
use crate::next_hop::opening::Protocol;

/// A host of this name, on this machine; it takes so many connections.
fn host(name: &str, connections: usize) -> Host {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let taken = listener.incoming().take(connections).map(|stream| {
            let mut stream = stream.unwrap();
            stream.write_all(b"220 hop.example\r\n").unwrap();
            let heard = stream.read(&mut [0; 64]).unwrap();
            assert!(heard > 0);
            stream.write_all(b"250 hop.example\r\n").unwrap();
            stream
        });
        drop(taken.collect::<Vec<_>>());
    });
    let Target::Smtp(next_hops) = Target::parse_all(&[format!("smtp://{name}:{port}")]).unwrap() else { panic!() };
    Host::found_by(&next_hops[0], scripted::lookup)
}

/// One connection in `time`: what came of it, and how long it took.
async fn connected(host: &Host, config: &DeliveryConfig, time: Duration) -> (Result<(), Fault>, Duration) {
    let opening = Opening { config, protocol: Protocol::Smtp, origin: None };
    let begin = Instant::now();
    let result = host.connect(opening, Deadline::after(time), &mut Stage::default()).await;
    (result.map(drop), begin.elapsed())
}

#[test]
fn a_resolver_that_fails_or_hangs_is_no_failure_of_a_host_that_is_known() {
    // (name, what the resolver does, how long addresses are believed)
    let cases = [
        ("fails.once", Does::Fails, Duration::ZERO),
        ("hangs.once", Does::Hangs, Duration::ZERO),
        ("hangs.after-failure", Does::Hangs, Duration::from_secs(60)),
    ];
    for (name, does, addresses_timeout) in cases {
        let config = DeliveryConfig { addresses_timeout, back_off_min: Duration::ZERO, ..DeliveryConfig::new("mx") };
        let host = host(name, 4);
        run_local(async || {
            let time = Duration::from_secs(3);
            say(name, Does::Finds(0));
            connected(&host, &config, time).await.0.unwrap();
            say(name, does);
            if addresses_timeout > Duration::ZERO {
                host.failed(Stage::Connect, &config);
                host.health.succeeded(Stage::EndOfData);
            }
            for _ in 0..3 {
                let (result, took) = connected(&host, &config, time).await;
                assert!(result.is_ok() && took < Duration::from_secs(2), "{name}: {result:?} after {took:?}");
                assert_eq!(host.health.rank(), 0, "{name}");
            }
            // The second one may have begun after the connections were made.
            assert_eq!(lookups_by_now(name, 2).await, 2, "{name}");
            say(name, Does::Fails);
        })
        .unwrap();
    }
}

#[test]
fn a_host_whose_name_is_never_found_fails() {
    let config = DeliveryConfig::new("mx");
    let host = host("fails.always", 0);
    run_local(async || {
        say("fails.always", Does::Fails);
        for lookup in 1..3 {
            let (result, _) = connected(&host, &config, Duration::from_secs(3)).await;
            assert!(matches!(result, Err(Fault::NoAddress)), "{result:?}");
            assert_eq!(lookups("fails.always"), lookup);
            assert!(host.health.rank() > 0);
        }
    })
    .unwrap();
}

#[test]
fn many_connections_at_once_are_one_lookup() {
    let config = DeliveryConfig::new("mx");
    let host = host("slow.once", 20);
    run_local(async || {
        say("slow.once", Does::Hangs);
        let all = join_all((0..20).map(|_| connected(&host, &config, Duration::from_secs(10))));
        let answers = async {
            sleep(Duration::from_millis(100)).await;
            say("slow.once", Does::Finds(0));
        };
        let (all, ()) = futures_util::future::join(all, answers).await;
        assert!(all.iter().all(|(result, _)| result.is_ok()), "{all:?}");
        assert_eq!(lookups("slow.once"), 1);
    })
    .unwrap();
}
