//! What is counted, and from when.

use std::time::Duration;

use crate::server::{Script, Server};
use crate::{run, stage, told};

/// A server that stands still for a while: whatever was due meanwhile is late, although only one message was ever waiting for its
/// reply (coordinated omission).
#[test]
fn a_stall_shows_in_all_that_was_due() {
    const STALL_MS: u64 = 600;
    let server = Server::start(Script::DEFAULT);
    let stall = server.stall.clone();
    let seen = server.seen.clone();
    let staller = std::thread::spawn(move || {
        while seen.lock().unwrap().len() < 100 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _still = stall.write().unwrap();
        std::thread::sleep(Duration::from_millis(STALL_MS));
    });
    let plan = ["--rate", "200", "--arrivals", "fixed", "--messages", "600", "--sessions-max", "1", "--no-bind"];
    let (output, measurement) = run(server.address, &[&plan[..], &["--mix", "spf=100"]].concat());
    staller.join().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    // Due in the first half of the stall, and so later than the other half.
    let due = 200 * STALL_MS / 2 / 1_000;
    let late = |name: &str| {
        let latencies = stage(&measurement, name);
        latencies.count_between(STALL_MS * 1_000 / 2, u64::MAX)
    };
    assert!(late("message") >= due * 9 / 10, "{} of {due} were late", late("message"));
    assert!(late("service") < due / 2, "{} messages took long by themselves", late("service"));
    assert_eq!(stage(&measurement, "message").len(), measurement["messages"].as_u64().unwrap());
}

/// Every message is counted once, with its stages, whatever shares a connection.
#[test]
fn messages_and_connections() {
    for (args, connections, mails) in [
        (&["--messages-per-connection", "1"][..], 60, 60),
        (&["--messages-per-connection", "20"], 3, 60),
        (&["--messages-per-connection", "20", "--pipelining", "off"], 3, 60),
        (&["--pipelining", "off", "--recipients", "3"], 60, 60),
        (&["--messages-per-connection", "30", "--recipients", "3"], 2, 60),
    ] {
        let server = Server::start(Script::DEFAULT);
        let plan = ["--closed", "1", "--messages", "60", "--no-bind", "--mix", "both=100"];
        let (output, measurement) = run(server.address, &[&plan[..], args].concat());
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        assert_eq!(measurement["messages"], 60, "{args:?}");
        assert_eq!(measurement["connections"], connections, "{args:?}");
        assert_eq!(server.count("MAIL "), mails, "{args:?}");
        let recipients = if args.contains(&"--recipients") { 3 } else { 1 };
        assert_eq!(server.count("RCPT "), mails * recipients, "{args:?}");
        assert_eq!(server.count("QUIT"), connections, "{args:?}");
        for (name, count) in
            [("connect", connections), ("ehlo", connections), ("mail", 60), ("data", 60), ("reply", 60)]
        {
            assert_eq!(stage(&measurement, name).len(), count as u64, "{args:?} {name}");
        }
        assert_eq!(measurement["replies"][0]["count"], 60);
        assert_eq!(measurement["replies"][0]["reply"], "250 2.0.0");
    }
}

/// The mix is of messages, not of connections, although a class may have fewer messages on a connection than another.
#[test]
fn shares_of_the_mix() {
    let server = Server::start(Script::DEFAULT);
    let plan =
        ["--closed", "4", "--messages", "4000", "--no-bind", "--expect", "none", "--messages-per-connection", "20"];
    let (output, measurement) =
        run(server.address, &[&plan[..], &["--mix", "spf=60,neither=20,no-ptr=20", "--body", "64"]].concat());
    assert!(output.status.success(), "{}", told(&output));
    for (class, percent) in [("spf", 60), ("neither", 20), ("no-ptr", 20)] {
        let replies = measurement["replies"].as_array().unwrap().iter();
        let count: u64 =
            replies.filter(|reply| reply["class"] == class).map(|reply| reply["count"].as_u64().unwrap()).sum();
        let expected = 4_000 * percent / 100;
        // Connections of 20 make for a wide spread: five standard deviations.
        assert!(count.abs_diff(expected) < 650, "{class}: {count}, expected {expected}");
    }
}

/// More than one thread share rate, connections and budget.
#[test]
fn threads_share_the_work() {
    let server = Server::start(Script::DEFAULT);
    for load in [["--closed", "3"], ["--rate", "2000"]] {
        let plan = ["--threads", "2", "--messages", "200", "--no-bind", "--mix", "spf=100"];
        let (output, measurement) = run(server.address, &[&plan[..], &load].concat());
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(measurement["messages"], 200, "{load:?}");
    }
}

/// A ramp ends where the server does not keep up, here because one connection at a time is allowed and a reply takes 20 ms.
#[test]
fn a_ramp_finds_the_end() {
    let server = Server::start(Script::DEFAULT);
    let stall = server.stall.clone();
    std::thread::spawn(move || {
        loop {
            let still = stall.write().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            drop(still);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let plan = ["--ramp", "2:402:200", "--duration", "2s", "--sessions-max", "1", "--no-bind", "--mix", "spf=100"];
    let (output, measurement) = run(server.address, &plan);
    assert!(output.status.success(), "{}", told(&output));
    let steps = measurement["ramp"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["saturated"], true, "{steps:?}");
    assert!(steps.len() < 3, "{steps:?}");
}

/// STARTTLS where it is offered, with a second EHLO under it; a server that does not offer it fails only those who insist.
#[test]
fn tls() {
    const OFFERING: Script = Script { ehlo: "250-test.example\r\n250-PIPELINING\r\n250 STARTTLS", ..Script::DEFAULT };
    for (script, tls, code, connections) in [
        (OFFERING, "never", 0, 0),
        (OFFERING, "offered", 0, 3),
        (OFFERING, "required", 0, 3),
        (Script::DEFAULT, "offered", 0, 0),
        (Script::DEFAULT, "required", 1, 0),
    ] {
        let server = Server::start(script);
        let plan =
            ["--closed", "1", "--messages", "30", "--no-bind", "--mix", "both=100", "--messages-per-connection", "10"];
        let (output, measurement) = run(server.address, &[&plan[..], &["--tls", tls, "--body", "50k"]].concat());
        assert_eq!(output.status.code(), Some(code), "{tls}: {}", told(&output));
        assert_eq!(measurement["tls_connections"], connections, "{tls}");
        if connections > 0 {
            assert_eq!(stage(&measurement, "tls").len(), connections);
            assert_eq!(server.count("EHLO "), 6);
        }
        if code == 0 {
            assert_eq!(server.count("MAIL "), 30, "{tls}");
        }
    }
}
