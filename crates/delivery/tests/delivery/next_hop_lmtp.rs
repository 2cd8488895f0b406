//! LMTP: a reply for each recipient after the dot, one for the client, and what its next try gets.

use std::sync::Arc;
use std::time::Duration;

use super::support::{self, Hop, check_over, client, config, small_message, target_over, told};
use mx6_delivery::{Delivery, DeliveryConfig, Ledger, Message};
use mx6_runtime::{Deadline, run_local};

const UNAVAILABLE: &str = "refused 451 4.4.1 Next hop unavailable, try again later.";
const CLOSED: &str = "unknown 451 4.4.2 Next hop closed the connection, try again later.";
const SOME: &str = "refused 451 4.0.0 Delivered to some of the recipients, try again for the others.";
const SOME_UNKNOWN: &str = "unknown 451 4.4.2 Delivered to some of the recipients, try again for the others.";
const BEFORE: &str = "accepted 250 2.0.0 OK: delivered with an earlier try";
const ALONE: &str =
    "refused 452 4.5.3 Too many recipients: the next hop refused one of them before, send it by itself.";
const TO_A: &str = "accepted 250 2.1.5 Ok a@x";
const TO_B: &str = "accepted 250 2.1.5 Ok b@x";
const A_HAS_IT: &str = "accepted 250 2.0.0 a has it";
const B_HAS_IT: &str = "accepted 250 2.0.0 b has it";

/// Both recipients are named, as they come.
const BOTH: [&str; 3] = ["@to a@x", "< RCPT TO:<b@x>", "> 250 2.1.5 Ok b@x"];
/// The message is sent.
const MESSAGE: [&str; 2] = ["@data", "<message"];
/// The client's part of that.
const RCPTS: [(&str, &str); 2] = [("rcpt a@x", TO_A), ("rcpt b@x", TO_B)];

/// The parts of a script, one after the other.
fn script<'s>(parts: &[&[&'s str]]) -> Vec<&'s str> {
    parts.concat()
}

fn check(name: &str, hop: &[&[&str]], client: &[(&str, &str)]) -> Vec<Vec<Vec<u8>>> {
    println!("{name}");
    check_over("lmtp", name, hop, client, config())
}

#[test]
fn one_reply_for_the_client() {
    // (replies after the dot, what the client hears, what became of each)
    let cases: [(&[&str], &str, &str); 10] = [
        (
            &["> 250 2.0.0 a has it", "> 250 2.0.0 b has it"],
            A_HAS_IT,
            "accepted 250 2.0.0 a has it, accepted 250 2.0.0 b has it",
        ),
        (
            &["> 250-2.0.0 a", "> 250 2.0.0 has it", "> 250 b"],
            "accepted 250 2.0.0 a / has it",
            "accepted 250 2.0.0 a / has it, accepted 250 2.0.0 b",
        ),
        (
            &["> 452 4.2.2 full", "> 452 4.2.2 full"],
            "refused 452 4.2.2 full",
            "refused 452 4.2.2 full, refused 452 4.2.2 full",
        ),
        (&["> 552 5.2.2 a", "> 552 5.2.2 b"], "refused 552 5.2.2 a", "refused 552 5.2.2 a, refused 552 5.2.2 b"),
        (&["> 552 5.2.2 a", "> 450 4.2.0 b"], "refused 450 4.2.0 b", "refused 552 5.2.2 a, refused 450 4.2.0 b"),
        (&["> 250 2.0.0 a has it", "> 450 4.2.0 b"], SOME, "accepted 250 2.0.0 a has it, refused 450 4.2.0 b"),
        (
            &["> 250 2.0.0 a has it", "> 421 4.3.2 bye", "close"],
            SOME,
            "accepted 250 2.0.0 a has it, refused 451 4.3.2 bye",
        ),
        (
            &["> 250 2.0.0 a has it", "close"],
            SOME_UNKNOWN,
            "accepted 250 2.0.0 a has it, unknown 451 4.4.2 Next hop closed the connection, try again later.",
        ),
        (
            &["> 550 5.7.1 a", "> what?", "<end"],
            CLOSED,
            "refused 550 5.7.1 a, unknown 451 4.4.2 Next hop closed the connection, try again later.",
        ),
        (
            &["> 250 2.0.0 a has it", "> 354 more", "<end"],
            SOME_UNKNOWN,
            "accepted 250 2.0.0 a has it, unknown 451 4.4.2 Next hop closed the connection, try again later.",
        ),
    ];
    for (replies, expected, each) in cases {
        let ends = replies.iter().any(|step| ["close", "<end"].contains(step));
        let hop = script(&[&["@lmtp"], &BOTH, &MESSAGE, replies, if ends { &[] } else { &["<quit"] }]);
        let client = [&RCPTS[..], &[("deliver", expected), ("each", each)]].concat();
        check(&replies.join(" "), &[&hop], &client);
    }
}

#[test]
fn before_the_first_reply_it_is_as_over_smtp() {
    let cases: [(&[&str], &str); 5] = [
        (&["close"], CLOSED),
        (&["reset"], CLOSED),
        (&["<end"], CLOSED),
        (&["> what?", "<end"], CLOSED),
        (&["> 421 4.3.2 bye", "close"], "refused 451 4.3.2 bye"),
    ];
    for (end, expected) in cases {
        let hop = script(&[&["@lmtp"], &BOTH, &MESSAGE, end]);
        check(&end.join(" "), &[&hop], &[&RCPTS[..], &[("deliver 400", expected), ("each", "")]].concat());
    }
    let one = script(&[&["@lmtp", "@to a@x"], &MESSAGE, &["> 250 2.0.0 a has it", "<quit"]]);
    check("one recipient", &[&one], &[("rcpt a@x", TO_A), ("deliver", A_HAS_IT), ("each", "")]);
    let refused = script(&[&["@lmtp"], &BOTH, &["< DATA", "> 451 4.3.0 later", "< RSET", "> 250 ok", "<end"]]);
    check(
        "DATA refused",
        &[&refused],
        &[&RCPTS[..], &[("deliver", "refused 451 4.3.0 later"), ("sleep 50", "")]].concat(),
    );
}

#[test]
fn the_retry_skips_who_has_it() {
    let replies = ["> 250 2.0.0 a has it", "> 450 4.2.0 busy"];
    // It closes at RSET, so that it does not come back into the pool.
    let first = script(&[&["@lmtp"], &BOTH, &MESSAGE, &replies, &BOTH, &["< RSET", "close"]]);
    let second = script(&[
        &["@lmtp", "@to b@x"],
        &MESSAGE,
        &["> 250 2.0.0 b has it", "@to a@x", "< RCPT TO:<b@x>", "> 250 2.1.5 Ok b@x", "< RSET", "> 250 ok", "<end"],
    ]);
    let retry = [
        &RCPTS[..],
        &[("deliver", SOME), ("mail", "")],
        &RCPTS,
        &[
            ("deliver", B_HAS_IT),
            ("each", "accepted 250 2.0.0 OK: delivered with an earlier try, accepted 250 2.0.0 b has it"),
            ("sleep 50", ""),
        ],
    ]
    .concat();
    let once_more = [&retry[..], &[("mail", "")], &RCPTS, &[("deliver", BEFORE), ("sleep 50", "")]].concat();
    let heard = check("and the other gets it, and nobody once more", &[&first, &second], &once_more);
    assert_eq!(heard.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);

    let second = script(&[&["@lmtp", "@to b@x"], &MESSAGE, &["> 450 4.2.0 busy", "<end"]]);
    let third = [
        &retry[..6],
        &[
            ("deliver", SOME),
            ("each", "accepted 250 2.0.0 OK: delivered with an earlier try, refused 450 4.2.0 busy"),
            ("sleep 50", ""),
        ],
    ]
    .concat();
    check("and the other is refused again", &[&first, &second], &third);

    let replies = ["> 250 2.0.0 a has it", "close"];
    let first = script(&[&["@lmtp"], &BOTH, &MESSAGE, &replies]);
    let again = script(&[&["@lmtp", "@to a@x", "< RSET", "> 250 ok", "<end"]]);
    let alone = [
        &RCPTS[..],
        &[("deliver", SOME_UNKNOWN), ("mail", ""), ("rcpt a@x", TO_A), ("deliver", BEFORE), ("sleep 50", "")],
    ]
    .concat();
    check("who has it comes alone: nothing is sent", &[&first, &again], &alone);
}

#[test]
fn another_message_or_envelope_is_not_skipped() {
    let replies = ["> 250 2.0.0 a has it", "> 450 4.2.0 busy"];
    let sent = script(&[&MESSAGE, &["> 250 2.0.0 a has it"]]);
    let hop = script(&[&["@lmtp"], &BOTH, &MESSAGE, &replies, &["@to a@x"], &sent, &["<quit"]]);
    let again =
        [&RCPTS[..], &[("deliver", SOME), ("mail", ""), ("rcpt a@x", TO_A), ("deliver-other", A_HAS_IT)]].concat();
    assert_eq!(check("another message", &[&hop], &again)[0].len(), 2);
    let to_c = ["< MAIL FROM:<s@there.example>", "< RCPT TO:<A@x>", "> 250 ok", "> 250 2.1.5 Ok a@x"];
    let hop = script(&[&["@lmtp"], &BOTH, &MESSAGE, &replies, &to_c, &sent, &["<quit"]]);
    let again = [&RCPTS[..], &[("deliver", SOME), ("mail", ""), ("rcpt A@x", TO_A), ("deliver", A_HAS_IT)]].concat();
    assert_eq!(check("another recipient", &[&hop], &again)[0].len(), 2);
}

/// Who is refused for good hears so alone, and nobody else does.
#[test]
fn a_refusal_for_good_reaches_its_recipient() {
    let replies = ["> 250 2.0.0 a has it", "> 550 5.7.1 no"];
    let first = script(&[
        &["@lmtp"],
        &BOTH,
        &MESSAGE,
        &replies,
        &["@to a@x", "< RSET", "> 250 ok", "@to b@x"],
        &MESSAGE,
        &["> 550 5.7.1 no", "<end"],
    ]);
    let told = [
        &RCPTS[..],
        &[
            ("deliver", SOME),
            ("mail", ""),
            ("rcpt a@x", TO_A),
            ("rcpt b@x", ALONE),
            ("deliver", BEFORE),
            ("sleep 50", ""),
        ],
        &[("mail", ""), ("rcpt b@x", TO_B), ("rcpt a@x", ALONE), ("deliver", "refused 550 5.7.1 no")],
    ]
    .concat();
    check("told apart", &[&first], &told);
}

/// The retry lands on another shard, and what we add differs.
#[test]
fn shards_share_the_ledger() {
    let replies = ["> 250 2.0.0 a has it", "> 450 4.2.0 busy"];
    let first = script(&[&["@lmtp"], &BOTH, &MESSAGE, &replies, &["<end"]]);
    let again = ["@lmtp", "@to a@x", "< RSET", "> 250 ok", "<end"];
    let hop = Hop::start(&[&first, &again]);
    let target = target_over("lmtp", &[hop.addr]);
    let ledger: Arc<Ledger> = Arc::default();
    let theirs = ledger.clone();
    let other = target.clone();
    run_local(async move || {
        let delivery = Delivery::with_ledger(&other, config(), theirs);
        client(&delivery, "first", &[&RCPTS[..], &[("deliver", SOME)]].concat()).await;
        assert_eq!((delivery.counters().mixed_outcomes, delivery.counters().outcomes_unknown), (1, 0));
        delivery.quit().await;
    })
    .unwrap();
    run_local(async move || {
        let delivery = Delivery::with_ledger(&target, config(), ledger.clone());
        let mut transaction = delivery.begin(support::sender());
        assert_eq!(told(&transaction.rcpt("a@x", None, None).await), TO_A);
        let message = Message { added: b"Received: later\r\n".to_vec(), leave_out: Vec::new(), ..small_message() };
        let outcome = transaction.deliver(&message, Deadline::after(Duration::from_secs(5))).await;
        assert_eq!(told(&outcome), BEFORE);
        assert_eq!((delivery.counters().deliveries_skipped, ledger.counters().held), (1, 1));
        delivery.quit().await;
    })
    .unwrap();
    hop.join();
}

#[test]
fn a_next_hop_that_cannot_be_used() {
    let (mail, rcpt) = ("< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>");
    let cases: [(&str, &[&[&str]]); 16] = [
        ("greeting 554", &[&["> 554 no", "<end"]]),
        ("no greeting", &[&["<end"]]),
        ("garbage", &[&["> HTTP/1.1 400 Bad Request", "<end"]]),
        ("greeting 421", &[&["> 421 4.3.2 busy", "close"]]),
        ("closed at once", &[&["close"]]),
        ("LHLO 421", &[&["> 220 hop", "< LHLO mx.example", "> 421 4.3.2 bye", "close"]]),
        ("LHLO garbage", &[&["> 220 hop", "< LHLO mx.example", "> what?", "<end"]]),
        ("LHLO 500", &[&["> 220 hop", "< LHLO mx.example", "> 500 what", "<end"]]),
        ("LHLO unanswered", &[&["> 220 hop", "< LHLO mx.example", "<end"]]),
        ("more than was asked for", &[&["> 220 hop", "< LHLO mx.example", "> 250 hop", "> 250 hop", "<end"]]),
        ("MAIL unanswered", &[&["@lmtp", mail, rcpt, "<end"]]),
        ("MAIL closed", &[&["@lmtp", mail, rcpt, "close"]]),
        ("MAIL 354", &[&["@lmtp", mail, rcpt, "> 354 a", "> 250 b", "<end"]]),
        ("MAIL 451", &[&["@lmtp", mail, rcpt, "> 451 a", "> 503 b", "<end"]]),
        ("RCPT closed", &[&["@lmtp", mail, rcpt, "> 250 ok", "close"]]),
        ("nobody listens", &[]),
    ];
    for (name, hop) in cases {
        check(name, hop, &[("rcpt a@x", UNAVAILABLE)]);
    }
    // A delivery agent on the same machine may bear our name.
    let ours = ["> 220 mx.example LMTP", "< LHLO mx.example", "> 250-mx.example", "> 250 PIPELINING"];
    let hop = script(&[&ours, &["@to a@x"], &MESSAGE, &["> 250 2.0.0 a has it", "<end"]]);
    check("our own name", &[&hop], &[("rcpt a@x", TO_A), ("deliver", A_HAS_IT)]);
}

#[test]
fn before_the_dot_another_host_is_tried() {
    let taken = script(&[&["@lmtp", "@to a@x b@x"], &MESSAGE, &["> 250 2.0.0 a has it", "> 250 2.0.0 b", "<end"]]);
    let cases: [(&str, &[&str]); 4] = [
        ("421 at DATA", &["< DATA", "> 421 4.3.2 bye", "close"]),
        ("closed at DATA", &["< DATA", "close"]),
        ("nothing at DATA", &["< DATA", "<end"]),
        ("closed in the message", &["@data", "<octets 9", "reset"]),
    ];
    for (name, end) in cases {
        println!("{name}");
        let hops = [Hop::start(&[&script(&[&["@lmtp"], &BOTH, end])]), Hop::start(&[&taken])];
        let target = target_over("lmtp", &[hops[0].addr, hops[1].addr]);
        let (verb, told) = if name.ends_with("message") { ("deliver-large", A_HAS_IT) } else { ("deliver", A_HAS_IT) };
        run_local(async move || {
            let limits = DeliveryConfig { back_off_min: Duration::from_secs(60), ..config() };
            let delivery = Delivery::new(&target, limits);
            client(&delivery, name, &[&RCPTS[..], &[(verb, told)]].concat()).await;
            delivery.quit().await;
        })
        .unwrap();
        let heard: Vec<usize> = hops.into_iter().map(|hop| hop.join().concat().len()).collect();
        assert_eq!(heard, [0, 1], "{name}");
    }
}
