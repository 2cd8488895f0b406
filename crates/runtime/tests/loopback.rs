//! The runtime over loopback: connections, shutdown, panics, lost reads, leaks.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use mx6_runtime::{
    Cores, Deadline, Listener, Needs, ShardError, StopFlag, Stream, accept_is_fatal, blocking, deadline, end_of_turn,
    now_ms, panics, preflight, run_local, run_shards, sleep, spawn, timeout,
};

fn loopback() -> SocketAddr {
    "[::1]:0".parse().unwrap()
}

/// Echoes until the client shuts its side.
async fn echo(mut stream: Stream) {
    let mut buffer = vec![0; 4096];
    while let Ok(octets @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..octets]).await.is_err() {
            return;
        }
    }
}

async fn accept_loop(listener: Listener, mut each: impl FnMut(Stream)) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                assert_eq!(stream.peer_addr(), peer);
                each(stream);
            }
            Err(error) if accept_is_fatal(&error) => return,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Waits for `condition` with a generous limit, polling.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = Deadline::after(Duration::from_secs(20));
    while !condition() {
        assert!(!limit.has_passed(), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn preflight_passes_here() {
    preflight(1, Needs::default()).unwrap();
}

#[test]
fn echo_over_both_families() {
    for address in ["[::1]:0", "127.0.0.1:0"] {
        run_local(|| async {
            let listener = Listener::bind(address.parse().unwrap(), 16).unwrap();
            let addr = listener.local_addr();
            spawn("accept", accept_loop(listener, |stream| spawn("echo", echo(stream))));
            let mut client = Stream::connect(addr, Duration::from_secs(5)).await.unwrap();
            assert_eq!(client.peer_addr(), addr);
            assert_eq!(client.local_addr().unwrap().ip(), addr.ip());
            client.write_all_vectored(&[b"", b"hel", b"", b"lo ", b"world"]).await.unwrap();
            client.shutdown_write().unwrap();
            let mut got = Vec::new();
            let mut buffer = [0; 4];
            loop {
                match client.read(&mut buffer).await.unwrap() {
                    0 => break,
                    octets => got.extend_from_slice(&buffer[..octets]),
                }
            }
            assert_eq!(got, b"hello world");
            assert_eq!(client.try_read(&mut buffer).unwrap(), Some(0));
        })
        .unwrap();
    }
}

#[test]
fn ipv6_sockets_take_no_ipv4_and_accepted_ones_have_nodelay() {
    run_local(|| async {
        let listener = Listener::bind("[::]:0".parse().unwrap(), 16).unwrap();
        let port = listener.local_addr().port();
        let v4 = Stream::connect(SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(5)).await;
        assert_eq!(v4.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        let accepted = Rc::new(Cell::new(0));
        let count = accepted.clone();
        spawn(
            "accept",
            accept_loop(listener, move |stream| count.set(count.get() + usize::from(flags_are_right(&stream)))),
        );
        // One that finds the acceptor waiting and some that queue up.
        for _ in 0..5 {
            let _keep = TcpStream::connect(("::1", port)).unwrap();
        }
        until("five connections with TCP_NODELAY and CLOEXEC", || accepted.get() == 5).await;
    })
    .unwrap();
}

/// Looks the accepted socket up in `/proc`, since a stream does not show its descriptor.
fn flags_are_right(stream: &Stream) -> bool {
    let me = stream.local_addr().unwrap();
    let mut found = false;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let fd: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: only borrowed for the calls below; a descriptor closed meanwhile gives an error.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let peer = rustix::net::getpeername(fd).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
        let local = rustix::net::getsockname(fd).ok().and_then(|local| SocketAddr::try_from(local).ok());
        if peer == Some(stream.peer_addr()) && local == Some(me) {
            found = rustix::net::sockopt::tcp_nodelay(fd).unwrap()
                && rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC);
        }
    }
    found
}

#[test]
fn a_panic_ends_its_task_alone() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    struct Tally(Rc<Cell<u32>>);
    impl Drop for Tally {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    run_local(|| async {
        let before = panics();
        // Said on the way out, so that no task is left when the executor ends; the counter is of the whole process.
        let ended = Rc::new(Cell::new(0));
        let tally = || Tally(ended.clone());
        let (first, second, third) = (tally(), tally(), tally());
        spawn("first", async move {
            let _first = first;
            panic!("in a task")
        });
        spawn("second", async move {
            let _second = second;
            let _value = PanicsInDrop;
            end_of_turn().await;
        });
        spawn("third", async move {
            let _third = third;
            std::panic::panic_any(17_u8)
        });
        let done = Rc::new(Cell::new(false));
        let theirs = done.clone();
        spawn("fourth", async move { theirs.set(true) });
        until("the fourth task", || done.get()).await;
        until("three tasks", || ended.get() == 3).await;
        until("three panics", || panics() >= before + 3).await;
    })
    .unwrap();
}

#[test]
fn shards_share_one_port() {
    let cores = Cores::first(2).unwrap();
    // Both bound before a client comes, so that the kernel has two to choose from.
    let first = Listener::bind(loopback(), 64).unwrap();
    let addr = first.local_addr();
    let listeners = Arc::new(Mutex::new(vec![Listener::bind(addr, 64).unwrap(), first]));
    let served: Arc<[AtomicUsize; 2]> = Arc::default();
    let stop = StopFlag::new();
    let (counts, flag) = (served.clone(), stop.clone());
    let clients = std::thread::spawn(move || {
        for _ in 0..200 {
            let mut client = TcpStream::connect(addr).unwrap();
            client.write_all(b"x").unwrap();
            let mut answer = [0; 1];
            client.read_exact(&mut answer).unwrap();
        }
        flag.set();
    });
    run_shards(&cores, move |shard| {
        let listener = listeners.lock().unwrap().pop().unwrap();
        let (counts, stop) = (counts.clone(), stop.clone());
        async move {
            let closer = listener.handle();
            spawn("accept", async move {
                accept_loop(listener, move |stream| {
                    counts[shard.index].fetch_add(1, Ordering::SeqCst);
                    spawn("echo", echo(stream));
                })
                .await;
            });
            stop.stopped().await;
            closer.close();
        }
    })
    .unwrap();
    clients.join().unwrap();
    let counts = [served[0].load(Ordering::SeqCst), served[1].load(Ordering::SeqCst)];
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn a_dead_shard_is_reported() {
    let result = run_shards(&Cores::first(2).unwrap(), |shard| async move {
        if shard.index == 1 {
            panic!("main of shard one");
        }
    });
    match result {
        Err(error @ ShardError::Died { .. }) => {
            assert!(error.to_string().contains("main of shard one"), "{error}");
            assert_eq!(error.exit_code(), 70);
        }
        other => panic!("{other:?}"),
    }
    assert!(run_local(|| async { panic!("here") }).is_err());
}

#[test]
fn no_main_begins_before_all_are_up() {
    // Would deadlock if the second executor were started only after the first had returned.
    let barrier = Arc::new(Barrier::new(2));
    run_shards(&Cores::first(2).unwrap(), move |_| {
        let barrier = barrier.clone();
        async move {
            barrier.wait();
        }
    })
    .unwrap();
}

#[test]
fn closing_a_listener_ends_accept() {
    run_local(|| async {
        let listener = Listener::bind(loopback(), 16).unwrap();
        let addr = listener.local_addr();
        let closer = listener.handle();
        let (ended, seen) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
        let (theirs, count) = (ended.clone(), seen.clone());
        spawn("accept", async move {
            let error = loop {
                match listener.accept().await {
                    Ok(_) => count.set(count.get() + 1),
                    Err(error) => break error,
                }
            };
            // And it stays shut.
            assert!(accept_is_fatal(&listener.accept().await.unwrap_err()));
            *theirs.borrow_mut() = Some(error);
        });
        let _client = Stream::connect(addr, Duration::from_secs(5)).await.unwrap();
        until("one connection", || seen.get() == 1).await;
        std::thread::spawn({
            let closer = closer.clone();
            move || closer.close()
        });
        until("the end of accept", || ended.borrow().is_some()).await;
        let error = ended.borrow_mut().take().unwrap();
        assert!(accept_is_fatal(&error), "{error:?}");
        let refused = Stream::connect(addr, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        closer.close();
    })
    .unwrap();
}

#[test]
fn the_backlog_is_measured() {
    let seen = run_local(async || {
        let listener = Listener::bind(loopback(), 100).unwrap();
        let (address, handle) = (listener.local_addr(), listener.handle());
        let mut clients = Vec::new();
        let mut seen = Vec::new();
        for waiting in [0, 50, 100] {
            clients.extend((clients.len()..waiting).map(|_| TcpStream::connect(address).unwrap()));
            seen.push(handle.backlog_permille());
        }
        listener.accept().await.unwrap();
        seen.push(handle.backlog_permille());
        drop(listener);
        seen.push(handle.backlog_permille());
        seen
    });
    assert_eq!(seen.unwrap(), [Some(0), Some(500), Some(1_000), Some(990), None]);
}

/// To close a socket resets what waits in its queue, so it is emptied first; new ones are refused only when it is closed.
#[test]
fn what_waits_is_accepted_before_the_end() {
    run_local(|| async {
        let listener = Listener::bind(loopback(), 64).unwrap();
        let addr = listener.local_addr();
        let waiting: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
        listener.handle().close();
        let mut accepted = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            accepted.push(stream);
        }
        assert_eq!(accepted.len(), waiting.len());
        drop(listener);
        for stream in &mut accepted {
            stream.write_all(b"x").await.unwrap();
        }
        for mut client in waiting {
            client.read_exact(&mut [0]).unwrap();
        }
    })
    .unwrap();
}

/// The socket stays as it is for the other who holds it, and nothing that waits there is taken.
#[test]
fn a_queue_that_is_left_is_the_others() {
    run_local(|| async {
        let listener = Listener::bind(loopback(), 64).unwrap();
        let (addr, closer) = (listener.local_addr(), listener.handle());
        let successor = Listener::adopt(closer.duplicate().unwrap().unwrap()).unwrap();
        let ended = Rc::new(Cell::new(0));
        let count = ended.clone();
        spawn("accept", async move {
            accept_loop(listener, |_| panic!("nothing came")).await;
            count.set(1);
        });
        // It waits, its socket watched by the ring, when it is told.
        sleep(Duration::from_millis(20)).await;
        closer.leave_queue(true);
        closer.close();
        until("the end of accept", || ended.get() == 1).await;
        let clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for _ in &clients {
            successor.accept().await.unwrap();
        }
        assert!(closer.duplicate().unwrap().is_none());
    })
    .unwrap();
}

/// Reads are dropped at random moments while octets arrive: every octet is seen once, in order.
#[test]
fn cancelled_reads_lose_nothing() {
    const OCTETS: usize = 200_000;
    run_local(|| async {
        let listener = Listener::bind(loopback(), 16).unwrap();
        let addr = listener.local_addr();
        std::thread::spawn(move || {
            let mut client = TcpStream::connect(addr).unwrap();
            let all: Vec<u8> = (0..OCTETS).map(|index| (index % 251) as u8).collect();
            for (index, chunk) in all.chunks(997).enumerate() {
                client.write_all(chunk).unwrap();
                if index % 7 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut got, mut dropped) = (0, 0);
        let mut buffer = [0; 600];
        loop {
            // Polled once, then dropped.
            let polled = futures_lite::future::poll_once(stream.read(&mut buffer)).await;
            let octets = match polled {
                Some(octets) => octets.unwrap(),
                None => {
                    dropped += 1;
                    match timeout(Duration::from_micros(300), stream.read(&mut buffer)).await {
                        Some(octets) => octets.unwrap(),
                        None => continue,
                    }
                }
            };
            if octets == 0 {
                break;
            }
            for &octet in &buffer[..octets] {
                assert_eq!(octet, (got % 251) as u8, "at {got}");
                got += 1;
            }
        }
        assert_eq!(got, OCTETS);
        assert!(dropped > 10, "{dropped}");
    })
    .unwrap();
}

#[test]
fn long_vectored_writes_arrive_whole() {
    run_local(|| async {
        let listener = Listener::bind(loopback(), 16).unwrap();
        let addr = listener.local_addr();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut client = TcpStream::connect(addr).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            sender.send(all).unwrap();
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        // 300 slices of uneven length, 6 MB: more than one call takes, more than the socket's buffers hold.
        let parts: Vec<Vec<u8>> = (0..300_usize).map(|n| vec![n as u8; (n * 137) % 40_000]).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        stream.write_all_vectored(&slices).await.unwrap();
        drop(stream);
        let all = blocking(move || receiver.recv().unwrap()).await;
        assert!(all == parts.concat(), "{} octets", all.len());
    })
    .unwrap();
}

#[test]
fn writing_to_a_closed_peer_is_an_error() {
    run_local(|| async {
        let listener = Listener::bind(loopback(), 16).unwrap();
        let mut client = Stream::connect(listener.local_addr(), Duration::from_secs(5)).await.unwrap();
        drop(listener.accept().await.unwrap());
        let mut failed = false;
        for _ in 0..100 {
            if client.write_all(b"hello").await.is_err() {
                failed = true;
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert!(failed);
    })
    .unwrap();
}

#[test]
fn a_fast_peer_does_not_hold_the_shard() {
    run_local(|| async {
        let listener = Listener::bind(loopback(), 16).unwrap();
        let addr = listener.local_addr();
        std::thread::spawn(move || {
            let mut client = TcpStream::connect(addr).unwrap();
            let block = vec![0; 1 << 20];
            for _ in 0..16 {
                client.write_all(&block).unwrap();
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let (turns, done) = (Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(false)));
        let (count, end) = (turns.clone(), done.clone());
        spawn("other", async move {
            while !end.get() {
                count.set(count.get() + 1);
                end_of_turn().await;
            }
        });
        let mut buffer = [0; 1024];
        let mut reads = 0;
        while stream.read(&mut buffer).await.unwrap() > 0 {
            reads += 1;
        }
        done.set(true);
        assert!(turns.get() > reads / 20, "{} turns, {reads} reads", turns.get());
    })
    .unwrap();
}

#[test]
fn end_of_turn_lets_all_ready_tasks_run_first() {
    run_local(|| async {
        let ran = Rc::new(Cell::new(0));
        for _ in 0..50 {
            let ran = ran.clone();
            spawn("one of fifty", async move { ran.set(ran.get() + 1) });
        }
        end_of_turn().await;
        assert_eq!(ran.get(), 50);
    })
    .unwrap();
}

#[test]
fn time_and_deadlines() {
    run_local(|| async {
        let (start, start_ms) = (Instant::now(), now_ms());
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Some(7), "what is ready wins");
        assert_eq!(timeout(Duration::from_millis(30), std::future::pending::<()>()).await, None);
        sleep(Duration::from_millis(30)).await;
        let end = Deadline::after(Duration::from_millis(30));
        assert!(end.at_ms() >= now_ms() && end.at_ms() <= now_ms() + 31);
        assert_eq!(deadline(end, std::future::pending::<()>()).await, None);
        assert!(end.has_passed() && end.remaining().is_zero());
        assert!(start.elapsed() >= Duration::from_millis(90));
        assert!(now_ms() - start_ms >= 89);
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(Deadline::at(now_ms() + 50).at_ms() / 1000, (now_ms() + 50) / 1000);
        assert!(Deadline::after(Duration::MAX).remaining() > Duration::from_secs(1 << 31));
        assert!(Deadline::at(u64::MAX).remaining() > Duration::from_secs(1 << 31));
    })
    .unwrap();
}

#[test]
fn blocking_work_runs_side_by_side_and_may_panic() {
    run_local(|| async {
        let before = panics();
        let barrier = Arc::new(Barrier::new(8));
        let done = Rc::new(Cell::new(0));
        for _ in 0..8 {
            let (barrier, done) = (barrier.clone(), done.clone());
            // Each waits for all: would never end with fewer threads.
            spawn("blocking", async move {
                blocking(move || barrier.wait()).await;
                done.set(done.get() + 1);
            });
        }
        until("eight at once", || done.get() == 8).await;
        spawn("panics", async {
            blocking(|| panic!("off the shard")).await;
        });
        until("the panic came back", || panics() > before).await;
        assert_eq!(blocking(|| 5).await, 5);
        let all = futures_lite::future::block_on(async {
            blocking(|| std::thread::current().name().map(str::to_owned)).await
        });
        assert_eq!(all.as_deref(), Some("mx6-blocking"));
    })
    .unwrap();
}

#[test]
fn a_stop_flag_reaches_every_shard() {
    let stop = StopFlag::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    let (flag, count) = (stop.clone(), waiting.clone());
    let setter = std::thread::spawn(move || {
        while count.load(Ordering::SeqCst) < 40 {
            std::thread::yield_now();
        }
        flag.set();
    });
    run_shards(&Cores::first(2).unwrap(), move |_| {
        let (stop, waiting) = (stop.clone(), waiting.clone());
        async move {
            let woken = Rc::new(Cell::new(0));
            for _ in 0..20 {
                let (stop, waiting, woken) = (stop.clone(), waiting.clone(), woken.clone());
                spawn("waits", async move {
                    let stopped = stop.stopped();
                    waiting.fetch_add(1, Ordering::SeqCst);
                    stopped.await;
                    woken.set(woken.get() + 1);
                });
            }
            until("twenty woken", || woken.get() == 20).await;
            stop.stopped().await;
        }
    })
    .unwrap();
    setter.join().unwrap();
}

#[test]
fn connect_gives_up_in_time() {
    run_local(|| async {
        // A listener whose queue is full: the kernel drops further SYNs.
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 0).unwrap();
        let addr = listener.local_addr();
        let mut kept = Vec::new();
        let start = Instant::now();
        let error = loop {
            match Stream::connect(addr, Duration::from_millis(200)).await {
                Ok(stream) => kept.push(stream),
                Err(error) => break error,
            }
            assert!(kept.len() < 100);
        };
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(10));
        let zero = Stream::connect(addr, Duration::ZERO).await.unwrap_err();
        assert_eq!(zero.kind(), std::io::ErrorKind::TimedOut);
    })
    .unwrap();
}

#[test]
fn unix_sockets_are_streams_too() {
    let dir = std::env::temp_dir().join(format!("mx6-runtime-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut octets = vec![0; 300_000];
        stream.read_exact(&mut octets).unwrap();
        stream.write_all(&octets).unwrap();
    });
    let socket = path.clone();
    run_local(async move || {
        let mut stream = Stream::connect_unix(&socket, Duration::from_secs(5)).await.unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        assert!(stream.is_quiet() || stream.try_read(&mut [0]).unwrap().is_none());
        stream.write_all_vectored(&[&sent[..1], &sent[1..]]).await.unwrap();
        let (mut heard, mut buffer) = (Vec::new(), vec![0; 65_536]);
        while heard.len() < sent.len() {
            let octets = stream.read(&mut buffer).await.unwrap();
            heard.extend_from_slice(&buffer[..octets]);
        }
        assert!(heard == sent);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0, "the end");
        let absent = Stream::connect_unix(&socket.with_file_name("absent"), Duration::from_secs(5)).await;
        assert_eq!(absent.unwrap_err().kind(), std::io::ErrorKind::NotFound);
        let refused = Stream::connect_unix(&socket, Duration::from_secs(5)).await;
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    })
    .unwrap();
    peer.join().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}
