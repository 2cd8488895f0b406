//! Two next hops of which one fails: what the client hears, who gets the next message, and how long anybody waits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::support::{self, Hop, check, client, config, small_message, target, told};
use futures_util::future::join_all;
use mx6_delivery::{Counters, Delivery, DeliveryConfig};
use mx6_runtime::{Deadline, run_local, sleep};

const UNAVAILABLE: &str = "refused 451 4.4.1 Next hop unavailable, try again later.";
const CLOSED: &str = "unknown 451 4.4.2 Next hop closed the connection, try again later.";
const TO_A: &str = "accepted 250 2.1.5 Ok a@x";
const TO_B: &str = "accepted 250 2.1.5 Ok b@x";
const QUEUED: &str = "accepted 250 2.0.0 queued";
const MAIL: &str = "< MAIL FROM:<s@there.example>";
const RCPT: &str = "< RCPT TO:<a@x>";

type Script = &'static [&'static str];
type Told = &'static [(&'static str, &'static str)];

/// A connection for two messages, one for one, and the client's second message, which must go to the second host at once.
const TWO: Script = &["@", "@to a@x", "@message", "@to a@x", "@message", "<quit"];
const ONE: Script = &["@", "@to a@x", "@message", "<quit"];
const SECOND_MESSAGE: Told = &[("mail", ""), ("rcpt a@x", TO_A), ("deliver", QUEUED)];

/// A back-off that outlasts a test, and so little for one host that a host that hangs is noticed as such.
fn patient() -> DeliveryConfig {
    DeliveryConfig {
        back_off_min: Duration::from_secs(60),
        host_timeout: Duration::from_millis(200),
        command_timeout: Duration::from_secs(10),
        greeting_timeout: Duration::from_secs(10),
        ..config()
    }
}

/// Two hosts, each with its connections, and a client; all connections are used, and no other was tried.
fn check_two(name: &str, first: &[Script], second: &[Script], script: &[(&'static str, &'static str)]) -> Counters {
    println!("{name}");
    let hops = [Hop::start(first), Hop::start(second)];
    let addrs = [hops[0].addr, hops[1].addr];
    let (name, script) = (name.to_owned(), script.to_vec());
    let counters = run_local(async move || {
        let delivery = Delivery::new(&target(&addrs), patient());
        let begin = Instant::now();
        client(&delivery, &name, &script).await;
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}: {:?}", begin.elapsed());
        let counters = delivery.counters();
        delivery.quit().await;
        counters
    })
    .unwrap();
    hops.into_iter().for_each(|hop| drop(hop.join()));
    // A greeting that does not come is one failure.
    assert_eq!(counters.connections_failed, u64::from(first == [["<end"]]), "another connection was tried");
    counters
}

#[test]
fn a_host_that_fails_is_left_for_the_next() {
    let both: Told = &[("rcpt a@x", TO_A), ("deliver", QUEUED)];
    let cases: [(&str, Script, Told); 11] = [
        ("421 at MAIL", &["@", MAIL, RCPT, "> 421 4.3.2 bye", "close"], both),
        ("nothing at MAIL", &["@", MAIL, RCPT, "<end"], both),
        ("421 at RCPT", &["@", MAIL, RCPT, "> 250 ok", "> 421 4.3.2 bye", "close"], both),
        ("closed at RCPT", &["@", MAIL, RCPT, "> 250 ok", "close"], both),
        ("nothing at RCPT", &["@", MAIL, RCPT, "> 250 ok", "<end"], both),
        ("closed at DATA", &["@", "@to a@x", "< DATA", "close"], both),
        ("421 at DATA", &["@", "@to a@x", "< DATA", "> 421 4.3.2 bye", "close"], both),
        ("nothing at DATA", &["@", "@to a@x", "< DATA", "<end"], both),
        ("250 at DATA", &["@", "@to a@x", "< DATA", "> 250 ok", "<end"], both),
        (
            "closed in the message",
            &["@", "@to a@x", "@data", "<octets 200000", "close"],
            &[("rcpt a@x", TO_A), ("deliver-large", QUEUED)],
        ),
        (
            "421 in the message",
            &["@", "@to a@x", "@data", "<octets 200000", "> 421 4.3.2 bye", "close"],
            &[("rcpt a@x", TO_A), ("deliver-large", QUEUED)],
        ),
    ];
    for (name, first, told) in cases {
        check_two(name, &[first], &[TWO], &[told, SECOND_MESSAGE].concat());
    }
}

#[test]
fn after_the_terminator_only_the_next_message_goes_elsewhere() {
    let unknown: Told = &[("rcpt a@x", TO_A), ("deliver 400", CLOSED)];
    let cases: [(&str, Script, Told); 3] = [
        ("closed", &["@", "@to a@x", "@data", "<message", "close"], unknown),
        ("nothing", &["@", "@to a@x", "@data", "<message", "<end"], unknown),
        (
            "421",
            &["@", "@to a@x", "@data", "<message", "> 421 4.3.2 bye", "close"],
            &[("rcpt a@x", TO_A), ("deliver", "refused 451 4.3.2 bye")],
        ),
    ];
    for (name, first, told) in cases {
        let counters = check_two(name, &[first], &[ONE], &[told, SECOND_MESSAGE].concat());
        assert_eq!(counters.replays, 0, "{name}");
    }
}

#[test]
fn on_the_next_host_all_recipients_fare_the_same_or_none_gets_it() {
    let differs: Script = &["@", MAIL, RCPT, "> 250 ok", "> 450 4.2.1 busy", "< RSET", "> 250 ok", "<quit"];
    let differs_two: Script =
        &["@", MAIL, RCPT, "< RCPT TO:<b@x>", "> 250 ok", "> 550 no", "> 250 ok", "< RSET", "> 250 ok", "<quit"];
    check_two(
        "421 at DATA",
        &[&["@", "@to a@x", "< DATA", "> 421 bye", "close"]],
        &[differs],
        &[("rcpt a@x", TO_A), ("deliver", UNAVAILABLE), ("sleep 50", "")],
    );
    check_two(
        "421 at the second RCPT",
        &[&["@", "@to a@x", "< RCPT TO:<b@x>", "> 421 bye", "close"]],
        &[differs_two],
        &[("rcpt a@x", TO_A), ("rcpt b@x", UNAVAILABLE), ("deliver", UNAVAILABLE), ("sleep 50", "")],
    );
    check_two(
        "421 at the second RCPT, and the next host takes both",
        &[&["@", "@to a@x", "< RCPT TO:<b@x>", "> 421 bye", "close"]],
        &[&["@", "@to a@x b@x", "@message", "<quit"]],
        &[("rcpt a@x", TO_A), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
    );
    check_two(
        "nothing at the second RCPT",
        &[&["@", "@to a@x", "< RCPT TO:<b@x>", "<end"]],
        &[&["@", "@to a@x b@x", "@message", "<quit"]],
        &[("rcpt a@x", TO_A), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
    );
}

#[test]
fn a_host_that_hangs_holds_up_few() {
    check_two(
        "at its greeting",
        &[&["<end"]],
        &[TWO],
        &[&[("rcpt a@x", TO_A), ("deliver", QUEUED)], SECOND_MESSAGE].concat(),
    );
    let pooled: Script = &["@", "@to a@x", "@message", MAIL, RCPT, "<end"];
    let three = [&[("rcpt a@x", TO_A), ("deliver", QUEUED)], SECOND_MESSAGE, SECOND_MESSAGE].concat();
    check_two("on a connection out of the pool", &[pooled], &[TWO], &three);
    let reset: Script = &["@", "@to a@x", "< RSET", "<end"];
    let hop = Hop::start(&[reset]);
    let second = Hop::start(&[ONE]);
    let addrs = [hop.addr, second.addr];
    run_local(async move || {
        let command_timeout = Duration::from_millis(100);
        let delivery = Delivery::new(&target(&addrs), DeliveryConfig { command_timeout, ..patient() });
        let script = [&[("rcpt a@x", TO_A), ("abandon", ""), ("sleep 200", "")], SECOND_MESSAGE].concat();
        client(&delivery, "at RSET", &script).await;
        delivery.quit().await;
    })
    .unwrap();
    hop.join();
    second.join();
}

#[test]
fn a_slow_host_is_asked_again_when_the_others_are_down() {
    let slow: Script = &["@", MAIL, RCPT, "sleep 400", "> 250 ok", "> 250 2.1.5 Ok a@x", "@message", "<quit"];
    let hops = [Hop::start(&[&["@", MAIL, RCPT, "<end"], slow]), Hop::start(&[&["> 421 down", "close"]])];
    let addrs = [hops[0].addr, hops[1].addr];
    run_local(async move || {
        let delivery = Delivery::new(&target(&addrs), patient());
        client(&delivery, "slow", &[("rcpt a@x", TO_A), ("deliver", QUEUED)]).await;
        delivery.quit().await;
    })
    .unwrap();
    hops.into_iter().for_each(|hop| drop(hop.join()));
}

/// Nobody answers the SYN: the backlog of the first host is full.
#[test]
fn a_host_that_does_not_answer_the_connect_holds_up_few() {
    let full = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let first = full.local_addr().unwrap().as_socket().unwrap();
    let waiting: Vec<_> =
        std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&first, Duration::from_millis(200)).ok()).collect();
    assert!(!waiting.is_empty());
    let second = Hop::start(&[TWO]);
    let addrs = [first, second.addr];
    run_local(async move || {
        let connect_timeout = Duration::from_millis(100);
        let delivery = Delivery::new(&target(&addrs), DeliveryConfig { connect_timeout, ..patient() });
        let script = [&[("rcpt a@x", TO_A), ("fault", "timed out"), ("deliver", QUEUED)], SECOND_MESSAGE].concat();
        client(&delivery, "SYN", &script).await;
        assert_eq!(delivery.counters().connections_failed, 1);
        delivery.quit().await;
        let alone = Delivery::new(&target(&addrs[..1]), DeliveryConfig { connect_timeout, ..patient() });
        client(&alone, "SYN", &[("rcpt a@x", UNAVAILABLE), ("fault", "timed out")]).await;
    })
    .unwrap();
    second.join();
}

/// How long each of so many recipients at once took, and over which host.
async fn at_once(delivery: &Delivery, times: usize) -> Vec<(Duration, String)> {
    let begin = Instant::now();
    let all = (0..times).map(async |_| {
        let mut transaction = delivery.begin(support::sender());
        assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A);
        let took = begin.elapsed();
        let outcome = transaction.deliver(&small_message(), Deadline::after(Duration::from_secs(5))).await;
        assert_eq!(told(&outcome), QUEUED);
        (took, transaction.route().next_hop.clone().unwrap().to_string())
    });
    join_all(all).await
}

#[test]
fn one_at_a_time_tries_out_a_host_whose_back_off_has_ended() {
    let hang: Script = &["@", MAIL, RCPT, "<end"];
    let one: Script = &["@", "@to a@x", "@message", "<end"];
    // EHLO is no sign of health: each of the connections that hang must be alone in its time, or none is left for the last message.
    let first = Hop::start(&[hang, hang, hang, one]);
    let second = Hop::start(&[one; 7]);
    let addrs: [SocketAddr; 2] = [first.addr, second.addr];
    run_local(async move || {
        let (back_off_min, back_off_max) = (Duration::from_millis(30), Duration::from_millis(30));
        let delivery =
            Delivery::new(&target(&addrs), DeliveryConfig { back_off_min, back_off_max, idle_max: 0, ..patient() });
        for times in [1, 3, 3] {
            let took = at_once(&delivery, times).await;
            let slow = took.iter().filter(|(took, _)| *took >= Duration::from_millis(190)).count();
            assert!(slow > 0, "{took:?}");
            assert!(took.iter().all(|(_, host)| *host == addrs[1].to_string()));
            sleep(Duration::from_millis(60)).await;
        }
        let took = at_once(&delivery, 1).await;
        assert_eq!(took[0].1, addrs[0].to_string());
        assert_eq!(delivery.counters().connections_failed, 0);
        delivery.quit().await;
    })
    .unwrap();
    first.join();
    second.join();
}

#[test]
fn a_host_with_all_its_connections_in_use_is_passed_over_then_waited_for() {
    let hops = [Hop::start(&[TWO]), Hop::start(&[ONE])];
    let addrs = [hops[0].addr, hops[1].addr];
    run_local(async move || {
        let delivery = Delivery::new(&target(&addrs), DeliveryConfig { connections_max: 1, ..patient() });
        let until = Deadline::after(Duration::from_secs(5));
        let [mut first, mut second, mut third] = [(); 3].map(|()| delivery.begin(support::sender()));
        let begin = Instant::now();
        assert_eq!(told(&first.rcpt("a@x", None, None).await), TO_A);
        assert_eq!(told(&second.rcpt("a@x", None, None).await), TO_A);
        assert!(begin.elapsed() < Duration::from_millis(1_500), "the other host is there");
        let message = small_message();
        let ends = async {
            sleep(Duration::from_millis(200)).await;
            told(&first.deliver(&message, until).await)
        };
        let (outcome, waited) = futures_util::future::join(ends, third.rcpt("a@x", None, None)).await;
        assert_eq!((outcome.as_str(), told(&waited).as_str()), (QUEUED, TO_A));
        assert!(begin.elapsed() >= Duration::from_millis(200));
        assert_eq!(third.route().next_hop.as_deref(), Some(addrs[0].to_string().as_str()));
        assert_eq!(told(&third.deliver(&message, until).await), QUEUED);
        assert_eq!(told(&second.deliver(&message, until).await), QUEUED);
        assert_eq!(delivery.counters().connections_failed, 0);
        delivery.quit().await;
    })
    .unwrap();
    hops.into_iter().for_each(|hop| drop(hop.join()));
}

#[test]
fn nobody_waits_for_a_connection_beyond_the_deadline_of_the_recipient() {
    let hop = Hop::start(&[&["@", "@to a@x", "<end"]]);
    let addr = hop.addr;
    run_local(async move || {
        let recipient_timeout = Duration::from_millis(300);
        let delivery =
            Delivery::new(&target(&[addr]), DeliveryConfig { connections_max: 1, recipient_timeout, ..patient() });
        let [mut first, mut second] = [(); 2].map(|()| delivery.begin(support::sender()));
        assert_eq!(told(&first.rcpt("a@x", None, None).await), TO_A);
        let begin = Instant::now();
        assert_eq!(told(&second.rcpt("a@x", None, None).await), UNAVAILABLE);
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_millis(250) && waited < Duration::from_secs(1), "{waited:?}");
    })
    .unwrap();
    hop.join();
}

#[test]
fn refusals_do_not_make_recipients_be_said_again_and_again() {
    let limits = |retirements_per_transaction_max| DeliveryConfig {
        refusals_per_connection_max: 1,
        retirements_per_transaction_max,
        ..config()
    };
    let no: (&str, &str) = ("rcpt no@x", "refused 550 5.1.1 no");
    let refused = ["< RCPT TO:<no@x>", "> 550 5.1.1 no"];
    let leaves = ["@", "@to a@x", refused[0], refused[1], "<quit"];
    let again = [&["@", MAIL, RCPT, refused[0], "> 250 ok", "> 250 2.1.5 Ok a@x", refused[1]][..]].concat();
    let stays = [&again[..], &refused, &refused, &["@message", "<quit"]].concat();
    check("it stays", &[&leaves, &stays], &[("rcpt a@x", TO_A), no, no, no, no, ("deliver", QUEUED)], limits(1));
    let enough: (&str, &str) = ("rcpt no@x", "refused 451 4.7.0 too many errors");
    let ends = [&["@", "@to a@x"][..], &refused, &[refused[0], "> 421 4.7.0 too many errors", "close"]].concat();
    check(
        "the next hop has enough, and those before get it",
        &[&ends, ONE],
        &[("rcpt a@x", TO_A), no, enough, ("rcpt b@x", "refused 451 4.7.0 too many errors"), ("deliver", QUEUED)],
        limits(0),
    );
}
