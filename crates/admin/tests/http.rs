//! The endpoint over real sockets, with the sample gate behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[expect(dead_code, reason = "the example uses the rest")]
mod sample;

use std::io::{Read, Write};
use std::net::TcpStream;

use mx6_admin::Address;
use mx6_telemetry::Readiness;

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn probes_hosts_and_the_log_level() {
    let gate = sample::Sample::new(2);
    let bound = "127.0.0.1:0".parse::<Address>().unwrap().bind().unwrap();
    let running = mx6_admin::start(vec![bound], gate.clone()).unwrap();
    let at = running.addresses()[0].clone();
    let check = |request: &str, code: &str, word: &str| {
        let answer = ask(&at, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(word), "{request}: {answer}");
    };
    check("GET /ready HTTP/1.1\r\nHost: localhost", "200", "ready");
    gate.set(Readiness::Draining);
    check("GET /ready HTTP/1.1\r\nHost: localhost", "503", "draining");
    check("GET /live HTTP/1.1\r\nHost: [::1]", "200", "ok");
    check("GET /live HTTP/1.1\r\nHost: evil.example", "403", "localhost");
    check("POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", "405", "Only GET");
    check("PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\ndebug", "200", "debug");
    check(
        "PUT /log-level HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0",
        "403",
        "Origin",
    );
    check("GET / HTTP/1.1\r\nHost: localhost", "200", "default-src 'none'");
    running.close();
    assert!(TcpStream::connect(&at).is_err());
}
