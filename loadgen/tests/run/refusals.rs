//! Answers that are wrong, servers that are not there, and routes that are missing.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::server::{Script, Server};
use crate::{run, told};

/// The server takes what it must refuse, or refuses it in other words, or refuses what it must take.
#[test]
fn wrong_answers_are_counted_and_shown() {
    for (script, class, expected, got) in [
        (Script::DEFAULT, "neither", "450 4.7.26 Service unavailable, message sent over IPv6 [", "250 2.0.0 Ok"),
        (Script::DEFAULT, "no-ptr", "450 4.7.25 Service unavailable, sending IPv6 address [", "250 2.0.0 Ok"),
        (Script::DEFAULT, "not-opted-in", "550 5.2.1 Service unavailable, [v4only.example] does", "250 2.0.0 Ok"),
        (Script::DEFAULT, "temperror", "451 4.4.3 Temporary DNS failure, ", "250 2.0.0 Ok"),
        (Script::DEFAULT, "oversize", "552 5.3.4 Message exceeds the size limit. (at mail)", "250 2.0.0 Ok"),
        (Script::DEFAULT, "hostile", "", "250 2.0.0 Ok"),
        (
            Script { rcpt: "450 4.7.25 No PTR.", ..Script::DEFAULT },
            "no-ptr",
            "must have reverse DNS record.",
            "450 4.7.25 No PTR.",
        ),
        (Script { rcpt: "550 5.7.1 No.", ..Script::DEFAULT }, "spf", "250 to the message", "550 5.7.1 No."),
        (Script { end: "554 5.6.0 No.", ..Script::DEFAULT }, "both", "250 to the message", "554 5.6.0 No."),
        (Script { mail: "421 4.3.2 Later.", ..Script::DEFAULT }, "both", "250 to the message", "421 4.3.2 Later."),
    ] {
        let server = Server::start(script);
        let plan = ["--closed", "1", "--messages", "30", "--no-bind", "--mix", &format!("{class}=100")];
        let (output, measurement) = run(server.address, &plan);
        assert_eq!(output.status.code(), Some(1), "{class}: {}", told(&output));
        assert!(measurement["wrong"].as_u64().unwrap() >= 30, "{class}: {}", told(&output));
        let samples = measurement["wrong_samples"].as_array().unwrap();
        assert_eq!(samples.len(), 20, "{class}");
        let sample = &samples[0];
        assert!(sample["expected"].as_str().unwrap().contains(expected), "{class}: {sample}");
        assert!(samples.iter().any(|sample| sample["got"] == got), "{class}: {samples:?}");
        assert!(measurement["replies"].as_array().unwrap().iter().all(|reply| reply["expected"] == false));
    }
}

/// Each recipient has its own reply: one that is refused among others that are taken is wrong, and so is one that is taken.
#[test]
fn every_recipient_counts() {
    for (script, class, stage) in [
        (Script { first_rcpt: Some("550 5.1.1 No."), ..Script::DEFAULT }, "spf", "rcpt"),
        (Script { first_rcpt: Some("550 5.2.1 No."), ..Script::DEFAULT }, "not-opted-in", "reply"),
    ] {
        for pipelining in ["auto", "off"] {
            let server = Server::start(script.clone());
            let plan = [
                "--closed",
                "1",
                "--messages",
                "5",
                "--no-bind",
                "--recipients",
                "3",
                "--mix",
                &format!("{class}=100"),
            ];
            let (output, measurement) =
                run(server.address, &[&plan[..], &["--pipelining", pipelining, "--expect", "class"]].concat());
            assert_eq!(measurement["wrong"], 5, "{class}: {}", told(&output));
            assert_eq!(measurement["wrong_samples"][0]["stage"], stage, "{class}: {}", told(&output));
        }
    }
}

/// What a server takes for less: any refusal, any reply.
#[test]
fn less_can_be_expected() {
    let refusing = || Script { rcpt: "550 5.7.1 No.", ..Script::DEFAULT };
    for (script, class, expect, code) in [
        (refusing(), "no-ptr", "refusal", 0),
        (refusing(), "no-ptr", "class", 1),
        (refusing(), "not-opted-in", "class", 0),
        (refusing(), "spf", "refusal", 1),
        (refusing(), "spf", "none", 0),
        (Script { rcpt: "451 4.4.3 DNS.", ..refusing() }, "spf", "mx6", 1),
    ] {
        let server = Server::start(script);
        let plan =
            ["--closed", "1", "--messages", "5", "--no-bind", "--expect", expect, "--mix", &format!("{class}=100")];
        let (output, _) = run(server.address, &plan);
        assert_eq!(output.status.code(), Some(code), "{class} {expect}: {}", told(&output));
    }
    let server = Server::start(Script { rcpt: "451 4.4.3 DNS.", ..refusing() });
    let plan = ["--closed", "1", "--messages", "5", "--no-bind", "--mix", "spf=100", "--allow-temperror"];
    assert!(run(server.address, &plan).0.status.success());
}

/// A server that dies on the way is a wrong answer too.
#[test]
fn a_dead_server_is_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(drop));
    let (output, measurement) = run(address, &["--closed", "1", "--messages", "5", "--no-bind", "--mix", "spf=100"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!((&measurement["messages"], &measurement["wrong"]), (&0.into(), &5.into()), "{}", told(&output));
}

#[test]
fn what_cannot_run_says_why() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, nobody.port()));
    for (target, args, says) in [
        (nobody, &["--no-bind"][..], "connecting to 127.0.0.1:"),
        (nobody, &[], "the sources are IPv6: use --proxy"),
        (v6, &["--prefix", "3fff:abc::/32"], "ip -6 route add local 3fff:abc::/32 dev lo"),
        (nobody, &["--no-bind", "--mix", "spf=99"], "the mix adds up to 99"),
        (nobody, &["--no-bind", "--rate", "0"], "--rate 0"),
        (nobody, &["--no-bind", "--pid", "4194305"], ""),
        (nobody, &["--no-bind", "--loss", "5"], "need --with-zone"),
    ] {
        let (output, _) = run(target, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", told(&output));
        assert!(told(&output).contains(says), "{args:?}: {}", told(&output));
    }
}
