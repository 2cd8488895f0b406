//! Thousands of connections with everything a session does, some of them dropped midway: memory and descriptors stay flat.
//!
//! A test binary of its own, so that nothing else moves the numbers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mx6_runtime::{Listener, StopFlag, Stream, accept_is_fatal, run_local, sleep, spawn, timeout};

const ROUNDS: usize = 4;
const CONNECTIONS_A_ROUND: usize = 3_000;
const AT_ONCE: usize = 50;

/// One session: races a read, a timer and the stop flag, answers, and leaves in one of three ways.
async fn session(mut stream: Stream, stop: StopFlag) {
    let mut stopped = stop.stopped();
    let mut buffer = [0; 512];
    loop {
        let read = async {
            futures_lite::future::or(async { Some(stream.read(&mut buffer).await) }, async {
                (&mut stopped).await;
                None
            })
            .await
        };
        match timeout(Duration::from_secs(30), read).await {
            Some(Some(Ok(octets @ 1..))) => {
                if stream.write_all_vectored(&[b"250 ", &buffer[..octets]]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn client(addr: std::net::SocketAddr, index: usize) {
    let mut stream = Stream::connect(addr, Duration::from_secs(5)).await.unwrap();
    let mut buffer = [0; 64];
    if index.is_multiple_of(3) {
        // Waits in vain, then leaves.
        assert!(timeout(Duration::from_micros(200), stream.read(&mut buffer)).await.is_none());
        return;
    }
    stream.write_all(b"NOOP\r\n").await.unwrap();
    if index % 3 == 1 {
        // Leaves with an answer under way.
        return;
    }
    let mut got = 0;
    while got < 10 {
        got += stream.read(&mut buffer[got..]).await.unwrap();
    }
    assert_eq!(&buffer[..10], b"250 NOOP\r\n");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn round(addr: std::net::SocketAddr) {
    let left = Rc::new(Cell::new(AT_ONCE));
    for worker in 0..AT_ONCE {
        let left = left.clone();
        spawn("clients", async move {
            for index in 0..CONNECTIONS_A_ROUND / AT_ONCE {
                client(addr, worker + index).await;
            }
            left.set(left.get() - 1);
        });
    }
    while left.get() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn memory_and_descriptors_stay_flat() {
    run_local(|| async {
        let stop = StopFlag::new();
        let listener = Listener::bind("[::1]:0".parse().unwrap(), 1024).unwrap();
        let (addr, closer) = (listener.local_addr(), listener.handle());
        let open = Rc::new(Cell::new(0_usize));
        let (flag, count) = (stop.clone(), open.clone());
        spawn("accept", async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (flag, count) = (flag.clone(), count.clone());
                        count.set(count.get() + 1);
                        spawn("session", async move {
                            session(stream, flag).await;
                            count.set(count.get() - 1);
                        });
                    }
                    Err(error) => {
                        assert!(accept_is_fatal(&error), "{error}");
                        return;
                    }
                }
            }
        });
        let before = descriptors();
        round(addr).await;
        let warm = resident_kib();
        for _ in 1..ROUNDS {
            round(addr).await;
        }
        while open.get() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        // Closed descriptors leave with the next turns of the ring.
        sleep(Duration::from_millis(50)).await;
        let (end, after) = (resident_kib(), descriptors());
        println!(
            "{} connections: {warm} KiB after the first round, {end} KiB at the end, {before} then {after} descriptors",
            ROUNDS * CONNECTIONS_A_ROUND
        );
        // 9,000 connections that lost 83 octets each would add 730 KiB.
        assert!(end < warm + 600, "{warm} KiB, then {end} KiB");
        assert!(after <= before, "{before} descriptors, then {after}");
        closer.close();
        stop.set();
    })
    .unwrap();
}
