//! What a client hears for everything that a next hop can answer, or fail to answer, over real sockets.

use super::support::{SMALL_MESSAGE, check, config};

const UNAVAILABLE: &str = "refused 451 4.4.1 Next hop unavailable, try again later.";
const CLOSED: &str = "unknown 451 4.4.2 Next hop closed the connection, try again later.";
const TO_A: &str = "accepted 250 2.1.5 Ok a@x";
const TO_B: &str = "accepted 250 2.1.5 Ok b@x";
const QUEUED: &str = "accepted 250 2.0.0 queued";

/// One case: the scripts of the next hop's connections, the client's script.
type Case = (&'static str, &'static [&'static [&'static str]], &'static [(&'static str, &'static str)]);

fn check_all(cases: &[Case]) {
    for (name, hop, client) in cases {
        println!("{name}");
        let heard = check(name, hop, client, config());
        for message in heard.iter().flatten().filter(|message| message.len() < 1000) {
            assert_eq!(message, SMALL_MESSAGE, "{name}");
        }
        let accepted = client.iter().filter(|(_, told)| *told == QUEUED).count();
        assert!(heard.iter().flatten().count() >= accepted, "{name}: each acceptance is a message of the next hop");
    }
}

#[test]
fn a_message_goes_through() {
    check_all(&[
        (
            "in one group",
            &[&["@", "@to a@x", "< RCPT TO:<b@x>", "> 250 2.1.5 Ok b@x", "@message", "<quit"]],
            &[("rcpt a@x", TO_A), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
        ),
        (
            "one by one where the next hop does not offer PIPELINING",
            &[&[
                "@plain",
                "< MAIL FROM:<s@there.example>",
                "silent 50",
                "> 250 ok",
                "< RCPT TO:<a@x>",
                "> 250 ok",
                "@message",
                "<end",
            ]],
            &[("rcpt a@x", "accepted 250 2.0.0 ok"), ("deliver", QUEUED)],
        ),
        (
            "slow, but in time",
            &[&["@", "@to a@x", "< DATA", ">drip 354 go", "<message", ">drip 250 2.0.0 queued", "<quit"]],
            &[("rcpt a@x", TO_A), ("deliver", QUEUED)],
        ),
        (
            "two messages over one connection",
            &[&["@", "@to a@x", "@message", "@to b@x", "@message", "<quit"]],
            &[("rcpt a@x", TO_A), ("deliver", QUEUED), ("mail", ""), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
        ),
        (
            "replies of several lines, in pieces, without enhanced codes",
            &[&[
                "@",
                "< MAIL FROM:<s@there.example>",
                "< RCPT TO:<a@x>",
                ">+ 250-sen",
                "sleep 20",
                "> der",
                "> 250 ok",
                ">+ 25",
                "sleep 20",
                "> 0 recipient",
                "< DATA",
                "> 354-send",
                "> 354 it",
                "<message",
                "> 250-queued",
                "> 250 as 123",
                "<end",
            ]],
            &[("rcpt a@x", "accepted 250 2.0.0 recipient"), ("deliver", "accepted 250 2.0.0 queued / as 123")],
        ),
        (
            "a large message, spilled, with a dot on every other line",
            &[&["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver-large", QUEUED)],
        ),
        (
            "abandoned: the connection is used again",
            &[&["@", "@to a@x", "< RSET", "> 250 ok", "@to b@x", "@message", "<end"]],
            &[
                ("rcpt a@x", TO_A),
                ("abandon", ""),
                ("sleep 50", ""),
                ("mail", ""),
                ("rcpt b@x", TO_B),
                ("deliver", QUEUED),
            ],
        ),
        (
            "released: said again over the pooled connection",
            &[&["@", "@to a@x", "< RSET", "> 250 ok", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("release", ""), ("sleep 50", ""), ("deliver", QUEUED)],
        ),
        ("nobody accepted", &[], &[("deliver", "refused 554 5.5.1 No valid recipients.")]),
    ]);
}

#[test]
fn refusals_are_passed_on() {
    check_all(&[
        (
            "MAIL 550 to 553, told at every RCPT",
            &[&[
                "@",
                "< MAIL FROM:<s@there.example>",
                "< RCPT TO:<a@x>",
                "> 553 5.1.8 bad sender",
                "> 503 5.5.1 need MAIL",
                "<end",
            ]],
            &[("rcpt a@x", "refused 553 5.1.8 bad sender"), ("rcpt b@x", "refused 553 5.1.8 bad sender")],
        ),
        (
            "MAIL 550 without PIPELINING",
            &[&["@plain", "< MAIL FROM:<s@there.example>", "> 550 no", "<end"]],
            &[("rcpt a@x", "refused 550 5.0.0 no")],
        ),
        (
            "other MAIL failures",
            &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 452 4.3.1 full", "> 503 no", "<end"]],
            &[("rcpt a@x", UNAVAILABLE), ("rcpt b@x", UNAVAILABLE)],
        ),
        (
            "RCPT 550 and 450 among others; the others get the message",
            &[&[
                "@",
                "< MAIL FROM:<s@there.example>",
                "< RCPT TO:<no@x>",
                "> 250 2.1.0 Ok",
                "> 550-5.1.1 no such",
                "> 550 5.1.1 user",
                "< RCPT TO:<a@x>",
                "> 250 2.1.5 Ok a@x",
                "< RCPT TO:<later@x>",
                "> 450 busy",
                "@message",
                "<end",
            ]],
            &[
                ("rcpt no@x", "refused 550 5.1.1 no such / user"),
                ("rcpt a@x", TO_A),
                ("rcpt later@x", "refused 450 4.0.0 busy"),
                ("deliver", QUEUED),
            ],
        ),
        (
            "RCPT 421 on a new connection",
            &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 250 ok", "> 421 4.7.0 bye", "close"]],
            &[("rcpt a@x", "refused 451 4.7.0 bye")],
        ),
        (
            "DATA refused: RSET, and the connection is used again",
            &[&["@", "@to a@x", "< DATA", "> 451 4.7.1 later", "< RSET", "> 250 ok", "@to b@x", "@message", "<end"]],
            &[
                ("rcpt a@x", TO_A),
                ("deliver", "refused 451 4.7.1 later"),
                ("sleep 50", ""),
                ("mail", ""),
                ("rcpt b@x", TO_B),
                ("deliver", QUEUED),
            ],
        ),
        (
            "DATA refused for good",
            &[&["@", "@to a@x", "< DATA", "> 554 5.5.1 no", "< RSET", "> 250 ok", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver", "refused 554 5.5.1 no"), ("sleep 50", "")],
        ),
        (
            "the message deferred",
            &[&["@", "@to a@x", "@data", "<message", "> 451-4.7.1 not", "> 451 4.7.1 now", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver", "refused 451 4.7.1 not / now")],
        ),
        (
            "the message refused",
            &[&["@", "@to a@x", "@data", "<message", "> 554 5.7.1 spam", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver", "refused 554 5.7.1 spam")],
        ),
        (
            "421 after the dot is a refusal, not a doubt",
            &[&["@", "@to a@x", "@data", "<message", "> 421 4.3.2 going down", "close"]],
            &[("rcpt a@x", TO_A), ("deliver", "refused 451 4.3.2 going down")],
        ),
        (
            "a refusal in the middle of a large message, then closed",
            &[&["@", "@to a@x", "@data", "<octets 100000", "> 552 5.3.4 too large", "close"]],
            &[("rcpt a@x", TO_A), ("deliver-large", "refused 552 5.3.4 too large")],
        ),
        (
            "a refusal in the middle of a large message, then nothing is read any more",
            &[&["@", "@to a@x", "@data", "<octets 100000", "> 552 too large", "sleep 1500", "close"]],
            &[("rcpt a@x", TO_A), ("deliver-large", "refused 552 5.0.0 too large")],
        ),
    ]);
}

#[test]
fn a_next_hop_that_cannot_be_used() {
    let at_once: &[(&str, &str)] = &[("rcpt a@x", UNAVAILABLE), ("deliver", "refused 554 5.5.1 No valid recipients.")];
    check_all(&[
        ("greeting 554", &[&["> 554 no", "<end"]], at_once),
        ("greeting 421", &[&["> 421 4.3.2 busy", "<end"]], at_once),
        ("greeting 250", &[&["> 250 hello", "<end"]], at_once),
        ("no greeting", &[&["<end"]], at_once),
        ("half a greeting", &[&[">+ 220 hop", "<end"]], at_once),
        ("closed at once", &[&["close"]], at_once),
        ("reset at once", &[&["reset"]], at_once),
        ("garbage", &[&["> HTTP/1.1 400 Bad Request", "<end"]], at_once),
        ("our own greeting", &[&["> 220 MX.example ESMTP", "<end"]], at_once),
        (
            "our own name at EHLO",
            &[&["> 220 hop", "< EHLO mx.example", "> 250-mx.example", "> 250 SIZE", "<end"]],
            at_once,
        ),
        ("EHLO 502", &[&["> 220 hop", "< EHLO mx.example", "> 502 what", "<end"]], at_once),
        ("EHLO 421", &[&["> 220 hop", "< EHLO mx.example", "> 421 4.3.2 bye", "close"]], at_once),
        ("EHLO closed", &[&["> 220 hop", "< EHLO mx.example", "close"]], at_once),
        ("EHLO garbage", &[&["> 220 hop", "< EHLO mx.example", "> what?", "<end"]], at_once),
        (
            "EHLO that comes too slowly",
            &[&["> 220 hop", "< EHLO mx.example", ">drip 250 hop.example is a very slow speaker", "<end"]],
            at_once,
        ),
        ("more than was asked for", &[&["> 220 hop", "< EHLO mx.example", "> 250 hop", "> 250 hop", "<end"]], at_once),
        ("a greeting that comes too slowly", &[&[">drip 220 hop.example is a very slow speaker", "<end"]], at_once),
        ("a greeting without end", &[&["flood"]], at_once),
        ("EHLO without end", &[&["> 220 hop", "< EHLO mx.example", "flood"]], at_once),
        (
            "RCPT without end",
            &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 250 ok", "flood"]],
            at_once,
        ),
        (
            "RCPT garbage",
            &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 250 ok", "> OK", "<end"]],
            at_once,
        ),
        ("MAIL garbage", &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> OK", "<end"]], at_once),
        (
            "MAIL that comes too slowly",
            &[&[
                "@",
                "< MAIL FROM:<s@there.example>",
                "< RCPT TO:<a@x>",
                ">drip 250 from a hop that is a very slow speaker",
                "<end",
            ]],
            at_once,
        ),
        ("EHLO unanswered", &[&["> 220 hop", "< EHLO mx.example", "<end"]], at_once),
        ("MAIL unanswered", &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "<end"]], at_once),
        ("MAIL closed", &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "close"]], at_once),
        (
            "MAIL 354",
            &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 354 a", "> 250 b", "<end"]],
            at_once,
        ),
        ("RCPT closed", &[&["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 250 ok", "close"]], at_once),
        ("nobody listens", &[], at_once),
    ]);
}

#[test]
fn a_pooled_connection_that_is_dead_is_replaced_once() {
    let twice: &[(&str, &str)] = &[
        ("rcpt a@x", TO_A),
        ("deliver", QUEUED),
        ("sleep 50", ""),
        ("mail", ""),
        ("rcpt b@x", TO_B),
        ("deliver", QUEUED),
    ];
    let mail_b: &[&str] = &["< MAIL FROM:<s@there.example>", "< RCPT TO:<b@x>"];
    let first = ["@", "@to a@x", "@message"];
    let cases: [(&str, Vec<&str>); 6] = [
        ("closed while idle", vec!["close"]),
        ("reset while idle", vec!["reset"]),
        ("421 while idle", vec!["sleep 20", "> 421 4.4.2 timeout", "close"]),
        ("closed when it is used", [mail_b, &["close"]].concat()),
        ("421 when it is used", [mail_b, &["> 421 4.7.0 enough", "close"]].concat()),
        ("421 at RCPT when it is used", [mail_b, &["> 250 ok", "> 421 4.7.0 enough", "close"]].concat()),
    ];
    for (name, end) in &cases {
        let connection: Vec<&str> = first.iter().chain(end).copied().collect();
        let heard = check(name, &[&connection, &["@", "@to b@x", "@message", "<end"]], twice, config());
        assert_eq!(heard.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1], "{name}");
    }
    // A new connection that does the same is not replaced.
    let connection: Vec<&str> = first.iter().copied().chain(["close"]).collect();
    let again: Vec<&str> = ["@"].iter().chain(mail_b).copied().chain(["close"]).collect();
    let told = [("rcpt a@x", TO_A), ("deliver", QUEUED), ("mail", ""), ("rcpt b@x", UNAVAILABLE)];
    check("dead twice", &[&connection, &again], &told, config());
}

#[test]
fn a_connection_lost_before_the_terminator_is_replayed() {
    check_all(&[
        (
            "between two recipients",
            &[&["@", "@to a@x", "close"], &["@", "@to a@x b@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("sleep 50", ""), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
        ),
        (
            "421 between two recipients",
            &[
                &["@", "@to a@x", "< RCPT TO:<b@x>", "> 421 4.4.2 bye", "close"],
                &["@", "@to a@x b@x", "@message", "<end"],
            ],
            &[("rcpt a@x", TO_A), ("rcpt b@x", TO_B), ("deliver", QUEUED)],
        ),
        (
            "before DATA",
            &[&["@", "@to a@x", "close"], &["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("sleep 50", ""), ("deliver", QUEUED)],
        ),
        (
            "421 before DATA",
            &[&["@", "@to a@x", "sleep 20", "> 421 4.4.2 timeout", "close"], &["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("sleep 50", ""), ("deliver", QUEUED)],
        ),
        (
            "at DATA",
            &[&["@", "@to a@x", "< DATA", "close"], &["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver", QUEUED)],
        ),
        (
            "after 354",
            &[&["@", "@to a@x", "@data", "reset"], &["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver-large", QUEUED)],
        ),
        (
            "in the middle of a large message",
            &[&["@", "@to a@x", "@data", "<octets 200000", "close"], &["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver-large", QUEUED)],
        ),
        (
            "twice: given up",
            &[&["@", "@to a@x", "@data", "<octets 200000", "close"], &["@", "@to a@x", "@data", "<octets 9", "reset"]],
            &[("rcpt a@x", TO_A), ("deliver-large", UNAVAILABLE)],
        ),
        (
            "421 at DATA twice: passed on",
            &[
                &["@", "@to a@x", "< DATA", "> 421 4.3.2 a", "close"],
                &["@", "@to a@x", "< DATA", "> 421 4.3.2 b", "close"],
            ],
            &[("rcpt a@x", TO_A), ("deliver", "refused 451 4.3.2 b")],
        ),
        (
            "and the next hop is gone",
            &[&["@", "@to a@x", "close"]],
            &[("rcpt a@x", TO_A), ("sleep 50", ""), ("deliver", UNAVAILABLE)],
        ),
        (
            "released, the pooled one dead, said again over a new one",
            &[&["@", "@to a@x", "< RSET", "> 250 ok", "close"], &["@", "@to a@x", "@message", "<end"]],
            &[("rcpt a@x", TO_A), ("release", ""), ("sleep 50", ""), ("deliver", QUEUED)],
        ),
    ]);
}

#[test]
fn never_data_to_a_subset() {
    check_all(&[
        (
            "a recipient fares differently when it is said again",
            &[
                &["@", "@to a@x", "< RCPT TO:<b@x>", "> 250 2.1.5 Ok b@x", "close"],
                &[
                    "@",
                    "< MAIL FROM:<s@there.example>",
                    "< RCPT TO:<a@x>",
                    "< RCPT TO:<b@x>",
                    "> 250 ok",
                    "> 250 ok",
                    "> 450 4.2.1 busy",
                    "< RSET",
                    "> 250 ok",
                    "<end",
                ],
            ],
            &[("rcpt a@x", TO_A), ("rcpt b@x", TO_B), ("sleep 50", ""), ("deliver", UNAVAILABLE)],
        ),
        (
            "the same while recipients are still coming, without PIPELINING",
            &[
                &[
                    "@plain",
                    "< MAIL FROM:<s@there.example>",
                    "> 250 ok",
                    "< RCPT TO:<a@x>",
                    "> 250 2.1.5 Ok a@x",
                    "close",
                ],
                &[
                    "@plain",
                    "< MAIL FROM:<s@there.example>",
                    "> 250 ok",
                    "< RCPT TO:<a@x>",
                    "> 550 gone",
                    "< RSET",
                    "> 250 ok",
                    "<end",
                ],
            ],
            &[
                ("rcpt a@x", TO_A),
                ("sleep 50", ""),
                ("rcpt b@x", UNAVAILABLE),
                ("rcpt c@x", UNAVAILABLE),
                ("deliver", UNAVAILABLE),
            ],
        ),
        (
            "MAIL is refused when it is said again",
            &[
                &["@", "@to a@x", "close"],
                &["@", "< MAIL FROM:<s@there.example>", "< RCPT TO:<a@x>", "> 550 no", "> 503 no", "<end"],
            ],
            &[("rcpt a@x", TO_A), ("sleep 50", ""), ("deliver", UNAVAILABLE)],
        ),
    ]);
}

#[test]
fn after_the_terminator_nothing_is_sent_again() {
    let cases: [(&str, &[&str]); 8] = [
        ("closed", &["close"]),
        ("reset", &["reset"]),
        ("garbage", &["> what?", "<end"]),
        ("a part of a reply", &[">+ 250 2.0", "close"]),
        ("354 once more", &["> 354 more", "<end"]),
        ("a reply without end", &["flood"]),
        ("no answer before the deadline", &["<end"]),
        (
            "an answer too slow for the deadline",
            &[">drip 250 2.0.0 queued, as somebody says who has all the time", "<end"],
        ),
    ];
    for (name, end) in cases {
        let connection: Vec<&str> = ["@", "@to a@x", "@data", "<message"].iter().chain(end).copied().collect();
        // A second connection would be refused, and the outcome another.
        check(name, &[&connection], &[("rcpt a@x", TO_A), ("deliver 400", CLOSED)], config());
    }
}

#[test]
fn past_the_deadline_before_the_terminator_it_is_not_taken_over() {
    check_all(&[
        (
            "no answer to DATA",
            &[&["@", "@to a@x", "< DATA", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver 200", UNAVAILABLE)],
        ),
        (
            "an answer to DATA that comes too slowly",
            &[&["@", "@to a@x", "< DATA", ">drip 354 from a hop that is a very slow speaker", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver 200", UNAVAILABLE)],
        ),
        (
            "garbage in the middle of the message, and nothing is read any more",
            &[
                &["@", "@to a@x", "@data", "<octets 100000", "> what?", "sleep 1500", "close"],
                &["@", "@to a@x", "@data", "<octets 100000", "> what?", "sleep 1500", "close"],
            ],
            &[("rcpt a@x", TO_A), ("deliver-large", UNAVAILABLE), ("fault", "malformed reply")],
        ),
        (
            "garbage at DATA",
            &[&["@", "@to a@x", "< DATA", "> OK", "<end"], &["@", "@to a@x", "< DATA", "> OK", "<end"]],
            &[("rcpt a@x", TO_A), ("deliver", UNAVAILABLE)],
        ),
        (
            "the message is read octet by octet",
            &[&["@", "@to a@x", "@data", "<drip 400", "close"], &["@", "@to a@x", "@data", "<drip 400", "close"]],
            &[("rcpt a@x", TO_A), ("deliver-large 10000", UNAVAILABLE), ("fault", "timed out")],
        ),
        (
            "the message is not read",
            &[&["@", "@to a@x", "@data", "sleep 800", "close"]],
            &[("rcpt a@x", TO_A), ("deliver-large 400", UNAVAILABLE)],
        ),
    ]);
}
