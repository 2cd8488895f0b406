//! A next hop that keeps to a script, on a thread of its own, and a client's script for delivery.
//!
//! Steps of a connection: `> text` says a line; `>+ text` says it without its end; `< line` hears exactly that line; `<message` hears a message up
//! to its end and keeps it; `<octets N` hears so many; `silent MS` checks that nothing comes for so long; `sleep MS`; `close`; `reset`; `<end` hears the end
//! of the connection or QUIT; `<quit` hears QUIT; `<hex H` hears exactly those octets; `<drip N` hears so many, one each 10 ms; `>drip text` says a
//! line in the same way; `flood` says lines of one reply without end. `@` stands for a greeting and EHLO with PIPELINING, `@plain` for one
//! without extensions, `@lmtp` for the first over LMTP, `@to A B` for MAIL and RCPTs in one group, all accepted, `@data` for DATA and 354, `@message` for these and the message.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use mx6_delivery::{Body, Delivery, DeliveryConfig, Message, Sender, Target, Transaction};
use mx6_runtime::{Deadline, run_local, sleep};
use mx6_smtp::Outcome;
use mx6_smtp::client::{Origin, OriginName};

/// A scripted next hop; it takes as many connections as there are scripts and then listens no more.
pub(crate) struct Hop {
    pub(crate) addr: SocketAddr,
    thread: JoinHandle<Vec<Vec<Vec<u8>>>>,
}

impl Hop {
    pub(crate) fn start(scripts: &[&[&str]]) -> Hop {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let scripts: Vec<Vec<String>> = scripts.iter().map(|script| expand(script)).collect();
        let thread = std::thread::spawn(move || {
            let connections: Vec<_> = scripts
                .into_iter()
                .map(|script| {
                    let stream = listener.accept().unwrap().0;
                    std::thread::spawn(move || play(stream, &script))
                })
                .collect();
            drop(listener);
            connections.into_iter().map(|connection| connection.join().unwrap()).collect()
        });
        Hop { addr, thread }
    }

    /// The messages heard, for each connection.
    pub(crate) fn join(self) -> Vec<Vec<Vec<u8>>> {
        self.thread.join().expect("the next hop's script was not followed")
    }
}

fn expand(script: &[&str]) -> Vec<String> {
    let mut steps = Vec::new();
    for step in script {
        let mut add = |more: &[&str]| steps.extend(more.iter().map(|step| (*step).to_owned()));
        let hello =
            ["> 220 hop.example ESMTP", "< EHLO mx.example", "> 250-hop.example", "> 250-PIPELINING", "> 250 8BITMIME"];
        match step.split_once(' ').unwrap_or((step, "")) {
            ("@", _) => add(&hello),
            ("@lmtp", _) => {
                add(&hello.map(|step| step.replace("EHLO", "LHLO")).each_ref().map(String::as_str));
            }
            ("@plain", _) => add(&["> 220 hop.example", "< EHLO mx.example", "> 250 hop.example"]),
            ("@data", _) => add(&["< DATA", "> 354 go"]),
            ("@message", _) => add(&["< DATA", "> 354 go", "<message", "> 250 2.0.0 queued"]),
            ("@to", users) => {
                add(&["< MAIL FROM:<s@there.example>"]);
                users.split(' ').for_each(|user| add(&[&format!("< RCPT TO:<{user}>")]));
                add(&["> 250 2.1.0 Ok"]);
                users.split(' ').for_each(|user| add(&[&format!("> 250 2.1.5 Ok {user}")]));
            }
            _ => add(&[step]),
        }
    }
    steps
}

fn play(stream: TcpStream, script: &[String]) -> Vec<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    let mut messages = Vec::new();
    for step in script {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            ">" => out.write_all(format!("{rest}\r\n").as_bytes()).unwrap(),
            ">+" => out.write_all(rest.as_bytes()).unwrap(),
            "<" => assert_eq!(line(&mut input), format!("{rest}\r\n"), "in {script:?}"),
            "<quit" => {
                assert_eq!(line(&mut input), "QUIT\r\n", "in {script:?}");
                out.write_all(b"221 bye\r\n").unwrap();
            }
            "<message" => messages.push(message(&mut input)),
            "<octets" => input.read_exact(&mut vec![0; rest.parse().unwrap()]).unwrap(),
            "<hex" => {
                let expected = unhex(rest);
                let mut heard = vec![0; expected.len()];
                input.read_exact(&mut heard).unwrap();
                assert_eq!(heard, expected, "in {script:?}");
            }
            "<drip" => {
                for _ in 0..rest.parse().unwrap() {
                    std::thread::sleep(DRIP);
                    input.read_exact(&mut [0]).unwrap();
                }
            }
            ">drip" => {
                // It may have been left alone before the end.
                for octet in rest.bytes().chain(*b"\r\n") {
                    std::thread::sleep(DRIP);
                    let _ = out.write_all(&[octet]);
                }
            }
            "flood" => while out.write_all(&b"250-and\r\n".repeat(100)).is_ok() {},
            "<end" => end(&mut input, &mut out),
            "silent" => silent(&mut input, rest.parse().unwrap()),
            "sleep" => std::thread::sleep(Duration::from_millis(rest.parse().unwrap())),
            "close" => return messages,
            "reset" => {
                socket2::SockRef::from(&out).set_linger(Some(Duration::ZERO)).unwrap();
                return messages;
            }
            _ => panic!("no such step: {step}"),
        }
    }
    messages
}

const DRIP: Duration = Duration::from_millis(10);

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn line(input: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    line
}

fn message(input: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut message = Vec::new();
    while !message.ends_with(b"\r\n.\r\n") && message != b".\r\n" {
        assert!(input.read_until(b'\n', &mut message).unwrap() > 0, "the message has no end");
    }
    message
}

fn silent(input: &mut BufReader<TcpStream>, time_ms: u64) {
    assert!(input.buffer().is_empty(), "said too early: {:?}", input.buffer());
    let stream = input.get_ref();
    stream.set_read_timeout(Some(Duration::from_millis(time_ms))).unwrap();
    let kind = stream.peek(&mut [0]).unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut));
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
}

fn end(input: &mut BufReader<TcpStream>, out: &mut TcpStream) {
    let mut rest = String::new();
    match input.read_line(&mut rest) {
        Ok(0) => {}
        Ok(_) => {
            assert_eq!(rest, "QUIT\r\n");
            // It may be gone already.
            let _ = out.write_all(b"221 bye\r\n");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Short times, for next hops that do not answer.
pub(crate) fn config() -> DeliveryConfig {
    DeliveryConfig {
        connect_timeout: Duration::from_millis(2_000),
        greeting_timeout: Duration::from_millis(300),
        command_timeout: Duration::from_millis(300),
        block_timeout: Duration::from_millis(1_000),
        ..DeliveryConfig::new("mx.example")
    }
}

pub(crate) fn target(addrs: &[SocketAddr]) -> Target {
    target_over("smtp", addrs)
}

pub(crate) fn target_over(scheme: &str, addrs: &[SocketAddr]) -> Target {
    let values: Vec<String> = addrs.iter().map(|addr| format!("{scheme}://{addr}")).collect();
    Target::parse_all(&values).unwrap()
}

pub(crate) fn sender() -> Sender {
    Sender { reverse_path: "s@there.example".into(), ..Sender::default() }
}

/// Who the client is; next hops that are not to learn it are not told.
pub(crate) fn origin() -> Origin {
    Origin {
        address: "2001:db8::7".parse().unwrap(),
        port: Some(4025),
        name: OriginName::Known("mail.there.example".into()),
        helo: "there.example".into(),
        with_esmtp: true,
        destination: Some("[2001:db8::25]:25".parse().unwrap()),
    }
}

#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
pub(crate) fn small_message() -> Message {
    let mut body = Body::new(Path::new("/nowhere"));
    body.append(b"Hello\r\n.dot\r\n");
    let header = b"Subject: x\r\nX-Gone: y\r\n\r\n".to_vec();
    Message { added: b"Received: z\r\n".to_vec(), header, leave_out: vec![12..23], body }
}

/// [`small_message`] on the wire.
pub(crate) const SMALL_MESSAGE: &[u8] = b"Received: z\r\nSubject: x\r\n\r\nHello\r\n..dot\r\n.\r\n";

/// A message of that many octets in lines, spilled when it is large.
pub(crate) async fn message_of(octets: usize, dir: &Path) -> Message {
    let mut body = Body::new(dir);
    while body.len() < octets as u64 {
        body.append(b".a line that begins with a dot, and one that does not\r\nx\r\n");
        body.settle().await.unwrap();
    }
    Message { added: b"Received: z\r\n".to_vec(), header: b"Subject: x\r\n\r\n".to_vec(), leave_out: Vec::new(), body }
}

pub(crate) fn told(outcome: &Outcome) -> String {
    format!("{} {}", outcome.word(), outcome.reply())
}

fn begin(delivery: &Delivery) -> Transaction {
    let mut transaction = delivery.begin(sender());
    transaction.introduce(origin());
    transaction
}

/// Plays a client's script: `mail`, `rcpt A`, `deliver`, `deliver-other` (another message), `each` (outcomes of the first two recipients), `fault` (of the route), `deliver-large` (8 MiB), `release`, `abandon`, `sleep MS`, each with what must come of it.
pub(crate) async fn client(delivery: &Delivery, name: &str, script: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut transaction: Option<Transaction> = Some(begin(delivery));
    for (step, expected) in script {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let current = transaction.as_mut();
        let result = match verb {
            "mail" => {
                transaction = Some(begin(delivery));
                String::new()
            }
            "rcpt" => told(&current.unwrap().rcpt(rest, None, None).await),
            "release" => {
                current.unwrap().release();
                String::new()
            }
            "abandon" => {
                transaction.take().unwrap().abandon();
                String::new()
            }
            "sleep" => {
                sleep(Duration::from_millis(rest.parse().unwrap())).await;
                String::new()
            }
            "each" => {
                let each = (0..2).filter_map(|number| current.as_ref().unwrap().recipient_outcome(number).map(told));
                each.collect::<Vec<_>>().join(", ")
            }
            "fault" => current.unwrap().route().fault.unwrap_or_default().to_owned(),
            "deliver" | "deliver-other" | "deliver-large" => {
                let mut message = match verb {
                    "deliver-large" => message_of(8 << 20, dir.path()).await,
                    _ => small_message(),
                };
                if verb == "deliver-other" {
                    message.body.append(b"And more.\r\n");
                }
                let until = Deadline::after(Duration::from_millis(rest.parse().unwrap_or(5_000)));
                told(&current.unwrap().deliver(&message, until).await)
            }
            _ => panic!("no such step: {step}"),
        };
        assert_eq!(result, *expected, "{name}: {step}");
    }
}

/// One next hop with its scripts, one client with its; returns the messages heard.
pub(crate) fn check(name: &str, hop: &[&[&str]], script: &[(&str, &str)], config: DeliveryConfig) -> Vec<Vec<Vec<u8>>> {
    check_over("smtp", name, hop, script, config)
}

/// [`check`] over `smtp` or `lmtp`.
pub(crate) fn check_over(
    scheme: &str,
    name: &str,
    hop: &[&[&str]],
    script: &[(&str, &str)],
    config: DeliveryConfig,
) -> Vec<Vec<Vec<u8>>> {
    let hop = Hop::start(hop);
    let target = target_over(scheme, &[hop.addr]);
    let script: Vec<(String, String)> = script.iter().map(|(step, told)| ((*step).into(), (*told).into())).collect();
    let name = name.to_owned();
    run_local(async move || {
        let delivery = Delivery::new(&target, config);
        let script: Vec<(&str, &str)> = script.iter().map(|(step, told)| (step.as_str(), told.as_str())).collect();
        client(&delivery, &name, &script).await;
        delivery.quit().await;
        assert_eq!(delivery.counters().connections_idle, 0);
    })
    .unwrap();
    hop.join()
}
