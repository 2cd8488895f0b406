//! Connections that are given back in the middle of a mail transaction: nobody waits for RSET, and what comes into the pool is clean.

use std::time::{Duration, Instant};

use super::support::{self, Hop, client, config, target, told};
use mx6_delivery::{Delivery, DeliveryConfig};
use mx6_runtime::{run_local, timeout};

const UNAVAILABLE: &str = "refused 451 4.4.1 Next hop unavailable, try again later.";
const TO_A: &str = "accepted 250 2.1.5 Ok a@x";
const TO_B: &str = "accepted 250 2.1.5 Ok b@x";
const QUEUED: &str = "accepted 250 2.0.0 queued";

/// The scripts of the next hop's connections, the client's script.
type Scripts = (&'static [&'static [&'static str]], &'static [(&'static str, &'static str)]);

/// Runs both; the client's script takes less than 1.2 s, in which no RSET is waited for. Then the connections open and idle, and none after quit.
fn check(name: &str, (hop, script): Scripts, config: DeliveryConfig, connections: (usize, usize)) {
    println!("{name}");
    let (hop, name) = (Hop::start(hop), name.to_owned());
    let target = target(&[hop.addr]);
    run_local(async move || {
        let delivery = Delivery::new(&target, config);
        let begin = Instant::now();
        client(&delivery, &name, script).await;
        assert!(begin.elapsed() < Duration::from_millis(1_200), "{name}: somebody waited");
        let counters = delivery.counters();
        assert_eq!((counters.connections_open, counters.connections_idle), connections, "{name}");
        delivery.quit().await;
        assert_eq!(delivery.counters().connections_open, 0, "{name}");
    })
    .unwrap();
    hop.join();
}

/// RSET is waited for so long, well over what [`check`] allows.
fn slow() -> DeliveryConfig {
    DeliveryConfig { command_timeout: Duration::from_millis(2_000), ..config() }
}

#[test]
fn nobody_waits_for_the_reply_to_reset() {
    let cases: [(&str, Scripts, (usize, usize)); 5] = [
        (
            "the body stalls, and comes after all",
            (
                &[&["@", "@to a@x", "< RSET", "<end"], &["@", "@to a@x", "@message", "<end"]],
                &[("rcpt a@x", TO_A), ("release", ""), ("deliver", QUEUED)],
            ),
            (2, 1),
        ),
        (
            "abandoned, and the next transaction is at once",
            (
                &[&["@", "@to a@x", "< RSET", "<end"], &["@", "@to a@x", "@message", "<end"]],
                &[("rcpt a@x", TO_A), ("abandon", ""), ("mail", ""), ("rcpt a@x", TO_A), ("deliver", QUEUED)],
            ),
            (2, 1),
        ),
        (
            "DATA is refused",
            (
                &[&["@", "@to a@x", "< DATA", "> 451 4.7.1 later", "< RSET", "<end"]],
                &[("rcpt a@x", TO_A), ("deliver", "refused 451 4.7.1 later")],
            ),
            (1, 0),
        ),
        (
            "a recipient fares differently at the end",
            (
                &[
                    &["@", "@to a@x", "close"],
                    &[
                        "@",
                        "< MAIL FROM:<s@there.example>",
                        "< RCPT TO:<a@x>",
                        "> 250 ok",
                        "> 450 no",
                        "< RSET",
                        "<end",
                    ],
                ],
                &[("rcpt a@x", TO_A), ("sleep 50", ""), ("deliver", UNAVAILABLE)],
            ),
            (1, 0),
        ),
        (
            "a recipient fares differently when another is added",
            (
                &[
                    &["@plain", "< MAIL FROM:<s@there.example>", "> 250 ok", "< RCPT TO:<a@x>", "> 250 2.1.5 Ok a@x"],
                    &[
                        "@plain",
                        "< MAIL FROM:<s@there.example>",
                        "> 250 ok",
                        "< RCPT TO:<a@x>",
                        "> 450 no",
                        "< RSET",
                        "<end",
                    ],
                ],
                &[("rcpt a@x", TO_A), ("sleep 50", ""), ("rcpt b@x", UNAVAILABLE), ("deliver", UNAVAILABLE)],
            ),
            (1, 0),
        ),
    ];
    for (name, scripts, connections) in cases {
        check(name, scripts, slow(), connections);
    }
}

#[test]
fn only_a_clean_connection_comes_into_the_pool() {
    // The first connection ends so; a second one carries the next transaction if the first is of no more use.
    let cases: [(&str, Scripts, (usize, usize)); 5] = [
        (
            "RSET refused",
            (
                &[&["@", "@to a@x", "< RSET", "> 500 what", "<end"]],
                &[("rcpt a@x", TO_A), ("release", ""), ("sleep 100", "")],
            ),
            (0, 0),
        ),
        (
            "octets that nobody asked for, before RSET",
            (
                &[&["@", "@to a@x", "sleep 20", "> 250 more", "<end"]],
                &[("rcpt a@x", TO_A), ("sleep 50", ""), ("release", ""), ("sleep 50", "")],
            ),
            (0, 0),
        ),
        (
            "421 before RSET",
            (
                &[&["@", "@to a@x", "sleep 20", "> 421 4.4.2 timeout", "<end"]],
                &[("rcpt a@x", TO_A), ("sleep 50", ""), ("release", ""), ("sleep 50", "")],
            ),
            (0, 0),
        ),
        (
            "no reply to RSET in time",
            (&[&["@", "@to a@x", "< RSET", "<end"]], &[("rcpt a@x", TO_A), ("release", ""), ("sleep 500", "")]),
            (0, 0),
        ),
        (
            "RSET answered late, but in time",
            (
                &[&["@", "@to a@x", "< RSET", "sleep 150", "> 250 ok", "@to a@x", "@message", "<quit"]],
                &[("rcpt a@x", TO_A), ("release", ""), ("sleep 250", ""), ("deliver", QUEUED)],
            ),
            (1, 1),
        ),
    ];
    for (name, scripts, connections) in cases {
        check(name, scripts, config(), connections);
    }
}

#[test]
fn a_connection_on_which_reset_is_said_counts() {
    let one = DeliveryConfig { connections_max: 1, ..slow() };
    let scripts: Scripts = (
        &[&["@", "@to a@x", "< RSET", "sleep 150", "> 250 ok", "@to a@x", "@message", "<quit"]],
        &[("rcpt a@x", TO_A), ("abandon", ""), ("mail", ""), ("rcpt a@x", TO_A), ("deliver", QUEUED)],
    );
    check("the one connection is waited for", scripts, one, (1, 1));

    let hasty = DeliveryConfig { connections_max: 1, slot_timeout: Duration::from_millis(50), ..slow() };
    let scripts: Scripts = (
        &[&["@", "@to a@x", "< RSET", "sleep 150", "> 250 ok", "@to a@x", "@message", "<quit"]],
        &[
            ("rcpt a@x", TO_A),
            ("abandon", ""),
            ("mail", ""),
            ("rcpt b@x", UNAVAILABLE),
            ("sleep 300", ""),
            ("mail", ""),
            ("rcpt a@x", TO_A),
            ("deliver", QUEUED),
        ],
    );
    check("not for longer than it may be", scripts, hasty, (1, 1));
}

#[test]
fn a_recipient_after_a_release_is_said_with_those_before() {
    let cases: [(&str, Scripts, (usize, usize)); 6] = [
        (
            "over the connection that was given back",
            (
                &[&["@", "@to a@x", "< RSET", "> 250 ok", "@to a@x b@x", "@message", "<quit"]],
                &[("rcpt a@x", TO_A), ("release", ""), ("sleep 50", ""), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
            ),
            (1, 1),
        ),
        (
            "over another while RSET is not answered",
            (
                &[&["@", "@to a@x", "< RSET", "<end"], &["@", "@to a@x b@x", "@message", "<quit"]],
                &[("rcpt a@x", TO_A), ("release", ""), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
            ),
            (2, 1),
        ),
        (
            "again and again",
            (
                &[&[
                    "@",
                    "@to a@x",
                    "< RSET",
                    "> 250 ok",
                    "@to a@x b@x",
                    "< RSET",
                    "> 250 ok",
                    "@to a@x b@x c@x",
                    "< RSET",
                    "> 250 ok",
                    "@to a@x b@x c@x",
                    "@message",
                    "<quit",
                ]],
                &[
                    ("rcpt a@x", TO_A),
                    ("release", ""),
                    ("sleep 50", ""),
                    ("rcpt b@x", TO_B),
                    ("release", ""),
                    ("sleep 50", ""),
                    ("rcpt c@x", "accepted 250 2.1.5 Ok c@x"),
                    ("release", ""),
                    ("sleep 50", ""),
                    ("deliver", QUEUED),
                ],
            ),
            (1, 1),
        ),
        (
            "the new one is refused",
            (
                &[&[
                    "@",
                    "@to a@x",
                    "< RSET",
                    "> 250 ok",
                    "< MAIL FROM:<s@there.example>",
                    "< RCPT TO:<a@x>",
                    "< RCPT TO:<b@x>",
                    "> 250 ok",
                    "> 250 ok",
                    "> 550 5.1.1 no",
                    "@message",
                    "<quit",
                ]],
                &[
                    ("rcpt a@x", TO_A),
                    ("release", ""),
                    ("sleep 50", ""),
                    ("rcpt b@x", "refused 550 5.1.1 no"),
                    ("deliver", QUEUED),
                ],
            ),
            (1, 1),
        ),
        (
            "one before fares differently",
            (
                &[&[
                    "@",
                    "@to a@x",
                    "< RSET",
                    "> 250 ok",
                    "< MAIL FROM:<s@there.example>",
                    "< RCPT TO:<a@x>",
                    "< RCPT TO:<b@x>",
                    "> 250 ok",
                    "> 450 no",
                    "> 250 ok",
                    "< RSET",
                    "> 250 ok",
                    "<quit",
                ]],
                &[
                    ("rcpt a@x", TO_A),
                    ("release", ""),
                    ("sleep 50", ""),
                    ("rcpt b@x", UNAVAILABLE),
                    ("rcpt c@x", UNAVAILABLE),
                    ("deliver", UNAVAILABLE),
                    ("sleep 50", ""),
                ],
            ),
            (1, 1),
        ),
        (
            "the next hop is gone",
            (
                &[&["@", "@to a@x", "< RSET", "> 250 ok", "close"]],
                &[
                    ("rcpt a@x", TO_A),
                    ("release", ""),
                    ("sleep 50", ""),
                    ("rcpt b@x", UNAVAILABLE),
                    ("deliver", UNAVAILABLE),
                ],
            ),
            (0, 0),
        ),
    ];
    for (name, scripts, connections) in cases {
        check(name, scripts, slow(), connections);
    }
}

#[test]
fn a_drain_says_quit_on_connections_that_were_given_back() {
    let scripts: Scripts =
        (&[&["@", "@to a@x", "< RSET", "sleep 150", "> 250 ok", "<quit"]], &[("rcpt a@x", TO_A), ("abandon", "")]);
    check("before the drain", scripts, slow(), (1, 0));

    let hop = Hop::start(&[&["@", "@to a@x", "<quit"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), slow());
        let mut transaction = delivery.begin(support::sender());
        assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A);
        delivery.quit().await;
        assert_eq!(delivery.counters().connections_open, 1);
        transaction.abandon();
        delivery.quit().await;
        assert_eq!(delivery.counters().connections_open, 0);
    })
    .unwrap();
    hop.join();
}

#[test]
fn a_drain_does_not_wait_long_for_a_next_hop_that_hangs() {
    let hop = Hop::start(&[&["@", "@to a@x", "< RSET", "sleep 6000", "close"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), DeliveryConfig::new("mx.example"));
        let mut transaction = delivery.begin(support::sender());
        assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A);
        transaction.abandon();
        let begin = Instant::now();
        delivery.quit().await;
        assert!(begin.elapsed() < Duration::from_secs(5));
    })
    .unwrap();
    hop.join();
}

#[test]
fn a_recipient_whose_reply_was_not_waited_for_leaves_no_connection() {
    let hop = Hop::start(&[&["@", "@to a@x", "< RCPT TO:<b@x>", "<end"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), slow());
        let mut transaction = delivery.begin(support::sender());
        assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A);
        assert!(timeout(Duration::from_millis(100), transaction.rcpt("b@x", None, None)).await.is_none());
        transaction.abandon();
        assert_eq!(delivery.counters().connections_open, 0);
    })
    .unwrap();
    hop.join();
}
