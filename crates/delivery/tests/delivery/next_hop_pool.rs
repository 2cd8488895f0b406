//! The pool, several hosts, parameters and limits, over real sockets.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::support::{self, Hop, SMALL_MESSAGE, check, config, small_message, target, told};
use futures_util::future::join_all;
use mx6_delivery::{Delivery, DeliveryConfig, Offers, Reuse, Sender, Stage};
use mx6_runtime::{Deadline, run_local, sleep};

const UNAVAILABLE: &str = "refused 451 4.4.1 Next hop unavailable, try again later.";
const TO_A: &str = "accepted 250 2.1.5 Ok a@x";
const QUEUED: &str = "accepted 250 2.0.0 queued";
const ONE_MESSAGE: [(&str, &str); 2] = [("rcpt a@x", TO_A), ("deliver", QUEUED)];

type Script<'s> = &'s [&'s str];

/// An address where nobody listens.
fn closed_addr() -> SocketAddr {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn the_first_host_that_works_is_used() {
    let mail_fails: &[&str] =
        &["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 451 4.3.0 later", "> 503 no", "<end"];
    let rcpt_dies: &[&str] = &["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 250 ok", "close"];
    let cases: [(&str, &[&str], &str); 4] = [
        ("refuses to greet", &["> 554 no", "close"], "refused"),
        ("MAIL fails", mail_fails, "refused"),
        ("dies at RCPT", rcpt_dies, "connection closed"),
        ("loops", &["> 220 mx.example", "close"], "loop: the next hop bears our own name"),
    ];
    for (name, first, reason) in cases {
        let (first, second) = (Hop::start(&[first]), Hop::start(&[&["@", "@to a@x", "@message", "<end"]]));
        let (closed, addrs) = (closed_addr(), [first.addr, second.addr]);
        run_local(async move || {
            let delivery = Delivery::new(&target(&[closed, addrs[0], addrs[1]]), config());
            let mut transaction = delivery.begin(support::sender());
            assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A, "{name}");
            let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
            assert_eq!(told(&outcome), QUEUED, "{name}");
            let route = transaction.route();
            assert_eq!(route.next_hop.as_deref(), Some(addrs[1].to_string().as_str()));
            assert_eq!((route.stage, route.connection), (Stage::EndOfData, Some(Reuse::Fresh)));
            assert_eq!(route.fault, Some(reason), "{name}");
            delivery.quit().await;
        })
        .unwrap();
        first.join();
        assert_eq!(second.join(), [[SMALL_MESSAGE]]);
    }
}

#[test]
fn a_host_that_failed_is_tried_last_until_its_back_off_is_over() {
    let message: &[&str] = &["@", "@to a@x", "@message", "<quit"];
    let first = Hop::start(&[&["> 421 busy", "close"], message]);
    let second = Hop::start(&[message, message]);
    let addrs = [first.addr, second.addr];
    run_local(async move || {
        // Nothing is kept, so that each message has to choose a host.
        let back_off_min = Duration::from_millis(300);
        let delivery = Delivery::new(&target(&addrs), DeliveryConfig { back_off_min, idle_max: 0, ..config() });
        let mut used = Vec::new();
        for wait_ms in [0, 0, 400] {
            sleep(Duration::from_millis(wait_ms)).await;
            let mut transaction = delivery.begin(support::sender());
            assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A);
            let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
            assert_eq!(told(&outcome), QUEUED);
            used.push(transaction.route().next_hop.clone().unwrap().to_string());
        }
        assert_eq!(used, [addrs[1], addrs[1], addrs[0]].map(|addr| addr.to_string()));
        // The QUITs are sent by tasks of their own.
        sleep(Duration::from_millis(100)).await;
    })
    .unwrap();
    assert_eq!((first.join().concat().len(), second.join().concat().len()), (1, 2));
}

#[test]
fn connections_are_retired() {
    let three: Vec<(&str, &str)> = ONE_MESSAGE.into_iter().chain([("mail", "")]).cycle().take(8).collect();
    let config_of = |change: fn(&mut DeliveryConfig)| {
        let mut config = config();
        change(&mut config);
        config
    };
    let to_and_message = ["@to a@x", "@message"];
    let twice: Vec<&str> = ["@"].into_iter().chain(to_and_message).chain(to_and_message).chain(["<quit"]).collect();
    let once: Vec<&str> = ["@"].into_iter().chain(to_and_message).chain(["<quit"]).collect();
    check(
        "after so many messages",
        &[&twice, &once],
        &three,
        config_of(|config| config.messages_per_connection_max = 2),
    );
    let pause = [&ONE_MESSAGE[..], &[("sleep 200", ""), ("mail", "")], &ONE_MESSAGE].concat();
    check(
        "after so long a time, with QUIT",
        &[&once, &once],
        &pause,
        config_of(|config| config.idle_timeout = Duration::from_millis(50)),
    );
    let refusing: &[&str] = &[
        "@",
        "< MAIL FROM:<s@there.example>",
        "< RCPT TO:<no1@x>",
        "> 250 ok",
        "> 550 no",
        "< RCPT TO:<a@x>",
        "> 250 2.1.5 Ok a@x",
        "< RCPT TO:<no2@x>",
        "> 550 no",
        "<quit",
    ];
    check(
        "after so many refusals, in the middle of a transaction",
        &[refusing, &["@", "@to a@x b@x", "@message", "<quit"]],
        &[
            ("rcpt no1@x", "refused 550 5.0.0 no"),
            ("rcpt a@x", TO_A),
            ("rcpt no2@x", "refused 550 5.0.0 no"),
            ("rcpt b@x", "accepted 250 2.1.5 Ok b@x"),
            ("deliver", QUEUED),
        ],
        config_of(|config| config.refusals_per_connection_max = 2),
    );
}

#[test]
fn the_number_of_connections_is_limited() {
    let hop = Hop::start(&[&["@", "@to a@x", "@message", "<end"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(
            &target(&[addr]),
            DeliveryConfig { connections_max: 1, slot_timeout: Duration::from_millis(100), ..config() },
        );
        let mut first = delivery.begin(support::sender());
        assert_eq!(told(&first.rcpt("a@x", None, None).await), TO_A);
        let mut second = delivery.begin(support::sender());
        assert_eq!(told(&second.rcpt("a@x", None, None).await), UNAVAILABLE);
        assert_eq!(second.route().fault, Some("too many connections"));
        let outcome = first.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
        assert_eq!(told(&outcome), QUEUED);
        let counters = delivery.counters();
        assert_eq!((counters.connections_open, counters.connections_idle), (1, 1));
        delivery.quit().await;
        assert_eq!(delivery.counters().connections_open, 0);
    })
    .unwrap();
    hop.join();
}

#[test]
fn parameters_follow_what_is_offered() {
    let offers = |extension: &'static str| ["> 220 hop.example", "< EHLO mx.example", "> 250-hop.example", extension];
    let plain = |size, body_8bit| Sender { size, body_8bit, ..support::sender() };
    let dsn = Sender { ret: Some("HDRS".into()), envid: Some("a+2Bb".into()), ..support::sender() };
    let (rcpt, rcpt_dsn) = ("< RCPT TO:<a@x>", "< RCPT TO:<a@x> NOTIFY=NEVER ORCPT=rfc822;A@x");
    let cases = [
        ("> 250 SIZE 100000", plain(Some(1000), true), "< MAIL FROM:<s@there.example> SIZE=17384", rcpt),
        ("> 250 SIZE", plain(None, true), "< MAIL FROM:<s@there.example>", rcpt),
        ("> 250 8BITMIME", plain(Some(1000), true), "< MAIL FROM:<s@there.example> BODY=8BITMIME", rcpt),
        ("> 250 8BITMIME", plain(Some(1000), false), "< MAIL FROM:<s@there.example>", rcpt),
        ("> 250 HELP", plain(Some(1000), true), "< MAIL FROM:<s@there.example>", rcpt),
        ("> 250 DSN", dsn.clone(), "< MAIL FROM:<s@there.example> RET=HDRS ENVID=a+2Bb", rcpt_dsn),
        ("> 250 HELP", dsn, "< MAIL FROM:<s@there.example>", rcpt),
    ];
    for (extension, sender, mail, rcpt) in cases {
        let end = [mail, "> 250 ok", rcpt, "> 250 2.1.5 Ok a@x", "< RSET", "> 250 ok"];
        // Once more, and so on replay.
        let again = [mail, "> 250 ok", rcpt, "> 250 2.1.5 Ok a@x", "@message", "<end"];
        let script: Vec<&str> = offers(extension).into_iter().chain(end).chain(again).collect();
        let hop = Hop::start(&[&script]);
        let addr = hop.addr;
        run_local(async move || {
            let delivery = Delivery::new(&target(&[addr]), config());
            let mut transaction = delivery.begin(sender);
            let said = transaction.rcpt("a@x", Some("NEVER"), Some("rfc822;A@x")).await;
            assert_eq!(told(&said), TO_A);
            transaction.release();
            sleep(Duration::from_millis(50)).await;
            let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
            assert_eq!(told(&outcome), QUEUED);
            delivery.quit().await;
        })
        .unwrap();
        hop.join();
    }
}

const UTF8: [&str; 4] = ["> 220 hop", "< EHLO mx.example", "> 250-hop", "> 250 SMTPUTF8"];
const NO_UTF8: [&str; 3] = ["> 220 hop", "< EHLO mx.example", "> 250 hop"];

#[test]
fn smtputf8_goes_only_to_who_takes_it() {
    let takes: Vec<&str> = UTF8
        .into_iter()
        .chain(["< MAIL FROM:<s@there.example> SMTPUTF8", "> 250 ok", "< RCPT TO:<\u{e4}@x>", "> 250 2.1.5 Ok a@x"])
        .chain(["@message", "<quit"])
        .collect();
    let lacks: Vec<&str> = NO_UTF8.into_iter().chain(["<quit"]).collect();
    // (the hosts, what is told, why the last attempt failed)
    let cases: [(Vec<Script<'_>>, &str, Option<&str>); 3] = [
        (vec![&takes], TO_A, None),
        (vec![&lacks, &takes], TO_A, Some("SMTPUTF8 is not offered")),
        (vec![&lacks, &lacks], UNAVAILABLE, Some("SMTPUTF8 is not offered")),
    ];
    for (scripts, expected, fault) in cases {
        let hops: Vec<Hop> = scripts.iter().map(|script| Hop::start(&[script])).collect();
        let addrs: Vec<SocketAddr> = hops.iter().map(|hop| hop.addr).collect();
        let (expected, fault) = (expected.to_owned(), fault.map(str::to_owned));
        run_local(async move || {
            let delivery = Delivery::new(&target(&addrs), config());
            let mut transaction = delivery.begin(Sender { smtp_utf8: true, ..support::sender() });
            let said = told(&transaction.rcpt("\u{e4}@x", None, None).await);
            assert_eq!((said.as_str(), transaction.route().fault), (expected.as_str(), fault.as_deref()));
            if said == TO_A {
                let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
                assert_eq!(told(&outcome), QUEUED);
            }
            delivery.quit().await;
        })
        .unwrap();
        hops.into_iter().for_each(|hop| drop(hop.join()));
    }
    check("UTF-8 without SMTPUTF8", &[], &[("rcpt \u{e4}@x", "refused 553 5.1.3 Bad mailbox syntax.")], config());
}

#[test]
fn what_clients_are_offered_follows_the_next_hops() {
    fn offers(lines: &[&'static str]) -> Vec<&'static str> {
        ["> 220 hop", "< EHLO mx.example"].iter().chain(lines).chain(&["<end"]).copied().collect()
    }
    let all = offers(&["> 250-hop", "> 250-8BITMIME", "> 250-SMTPUTF8", "> 250-SIZE 5000", "> 250 DSN"]);
    let some = offers(&["> 250-hop", "> 250-8BITMIME", "> 250-SMTPUTF8", "> 250 SIZE 3000"]);
    let none = offers(&["> 250 hop"]);
    let down = vec!["> 421 down", "close"];
    // What the two hosts do at each look, and what is offered then: SIZE, 8BITMIME, SMTPUTF8, DSN.
    let rounds = [
        (&down, &down, (None, false, false, false)),
        (&all, &down, (Some(5000), true, true, true)),
        (&down, &some, (Some(3000), true, true, false)),
        (&all, &none, (Some(5000), false, false, false)),
        (&all, &all, (Some(5000), true, true, true)),
    ];
    let first = Hop::start(&rounds.iter().map(|round| round.0.as_slice()).collect::<Vec<_>>());
    let second = Hop::start(&rounds.iter().map(|round| round.1.as_slice()).collect::<Vec<_>>());
    let addrs = [first.addr, second.addr];
    let expected = rounds.map(|round| round.2);
    run_local(async move || {
        let delivery = Delivery::new(&target(&addrs), config());
        let mut generation = delivery.offers_generation();
        for (round, expected) in expected.into_iter().enumerate() {
            delivery.probe().await;
            let Offers { size_max, eight_bit_mime, smtp_utf8, dsn } = delivery.offers();
            assert_eq!((size_max, eight_bit_mime, smtp_utf8, dsn), expected, "round {round}");
            assert_eq!(delivery.offers_generation() != generation, round > 0, "round {round}");
            generation = delivery.offers_generation();
        }
        delivery.quit().await;
    })
    .unwrap();
    first.join();
    second.join();
}

#[test]
fn a_host_that_stays_away_counts_no_more() {
    let hop = Hop::start(&[&["@", "<end"], &["> 421 down", "close"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), DeliveryConfig { offers_timeout: Duration::ZERO, ..config() });
        delivery.probe().await;
        let (known, generation) = (delivery.offers(), delivery.offers_generation());
        delivery.probe().await;
        assert!(known.eight_bit_mime && !delivery.offers().eight_bit_mime);
        assert_ne!(delivery.offers_generation(), generation);
        delivery.quit().await;
    })
    .unwrap();
    hop.join();
}

#[test]
fn the_smallest_size_is_learnt() {
    let hop = |offer: &'static str| Hop::start(&[&["> 220 hop", "< EHLO mx.example", "> 250-hop", offer, "<end"]]);
    let hops = [
        hop("> 250 SIZE 3000"),
        hop("> 250 SIZE 2000"),
        hop("> 250 SIZE 0"),
        Hop::start(&[&["> 220 mx.example", "close"]]),
    ];
    let addrs: Vec<SocketAddr> = hops.iter().map(|hop| hop.addr).collect();
    run_local(async move || {
        let delivery = Delivery::new(&target(&addrs[..3]), config());
        delivery.probe().await;
        assert_eq!(delivery.offers().size_max, Some(2000));
        assert_eq!(delivery.counters().connections_idle, 3);
        delivery.quit().await;
        let delivery = Delivery::new(&target(&[addrs[3]]), config());
        let probe = delivery.probe().await.remove(0);
        assert_eq!(probe.stage, Stage::Greeting);
        assert_eq!(probe.offered, Err("loop: the next hop bears our own name"));
    })
    .unwrap();
    hops.into_iter().for_each(|hop| drop(hop.join()));
}

#[test]
fn a_host_that_is_down_counts_with_the_size_it_offered_last() {
    let offers = |size: &'static str| ["> 220 hop", "< EHLO mx.example", "> 250-hop", size, "<end"];
    let (small, middle, large) = (offers("> 250 SIZE 2000"), offers("> 250 SIZE 3000"), offers("> 250 SIZE 5000"));
    let (unlimited, down) = (offers("> 250 HELP"), ["> 421 down", "close"]);
    let first = Hop::start(&[&down, &small, &down, &large, &unlimited]);
    let second = Hop::start(&[&middle, &middle, &middle, &middle, &["> 554 no", "close"]]);
    let addrs = [first.addr, second.addr];
    run_local(async move || {
        let delivery = Delivery::new(&target(&addrs), config());
        for limit in [3000, 2000, 2000, 3000, 3000] {
            delivery.probe().await;
            assert_eq!(delivery.offers().size_max, Some(limit));
        }
        delivery.quit().await;
    })
    .unwrap();
    first.join();
    second.join();
}

#[test]
fn a_name_is_looked_up() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    run_local(async move || {
        let values = [format!("smtp://localhost:{}", addr.port()), "smtp://does-not-exist.invalid".to_owned()];
        let target = mx6_delivery::Target::parse_all(&values).unwrap();
        let delivery = Delivery::new(&target, DeliveryConfig { recipient_timeout: Duration::from_secs(3), ..config() });
        let probes = delivery.probe().await;
        assert_eq!(probes[0].offered, Err("connection refused"));
        assert!(matches!(probes[1].offered, Err("no address")), "{probes:?}");
    })
    .unwrap();
}

#[test]
fn a_path_with_a_line_end_is_never_sent() {
    let script: &[(&str, &str)] = &[("rcpt a@x>\r\nDATA", "refused 553 5.1.3 Bad mailbox syntax.")];
    check("injection", &[], script, config());
}

#[test]
fn a_delivery_outlives_who_began_it() {
    let hop = Hop::start(&[&["@", "@to a@x", "@data", "<message", "sleep 100", "> 250 2.0.0 queued", "<end"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), config());
        let mut transaction = delivery.begin(support::sender());
        transaction.rcpt("a@x", None, None).await;
        let (sender, receiver) = std::sync::mpsc::channel();
        mx6_runtime::spawn("shielded delivery", async move {
            let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
            sender.send(told(&outcome)).unwrap();
        });
        sleep(Duration::from_millis(400)).await;
        assert_eq!(receiver.try_recv().unwrap(), QUEUED);
        delivery.quit().await;
    })
    .unwrap();
    hop.join();
}

#[test]
fn many_transactions_at_once_share_a_pool() {
    let scripts: Vec<&[&str]> = vec![&["@", "@to a@x", "@message", "@to a@x", "@message", "<end"]; 8];
    let hop = Hop::start(&scripts);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), config());
        for _ in 0..2 {
            let mut all: Vec<_> = (0..8).map(|_| delivery.begin(support::sender())).collect();
            let replies = join_all(all.iter_mut().map(|transaction| transaction.rcpt("a@x", None, None))).await;
            assert!(replies.iter().all(|reply| told(reply) == TO_A));
            let message = small_message();
            let until = Deadline::after(Duration::from_secs(5));
            let outcomes = join_all(all.iter_mut().map(|transaction| transaction.deliver(&message, until))).await;
            assert!(outcomes.iter().all(|outcome| told(outcome) == QUEUED));
        }
        let counters = delivery.counters();
        assert_eq!((counters.connections_opened, counters.connections_reused), (8, 8));
        delivery.quit().await;
    })
    .unwrap();
    assert_eq!(hop.join().concat().len(), 16);
}
