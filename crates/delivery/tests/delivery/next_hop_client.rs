//! Who the client is, as the next hop is told: XFORWARD, XCLIENT, PROXY, and what it makes of that.

use std::time::Duration;

use super::support::{self, Hop, check, client, config, target};
use mx6_delivery::{Delivery, DeliveryConfig, NextHopClient};
use mx6_runtime::run_local;

const UNAVAILABLE: &str = "refused 451 4.4.1 Next hop unavailable, try again later.";
const TO_A: &str = "accepted 250 2.1.5 Ok a@x";
const QUEUED: &str = "accepted 250 2.0.0 queued";
const ONE: [(&str, &str); 2] = [("rcpt a@x", TO_A), ("deliver", QUEUED)];
const GREETING: [&str; 3] = ["> 220 hop", "< EHLO mx.example", "> 250-hop"];
const MAIL: &str = "< MAIL FROM:<s@there.example>";
const RCPT: &str = "< RCPT TO:<a@x>";
const TAKEN: [&str; 3] = ["> 250 ok", "> 250 2.1.5 Ok a@x", "@message"];

fn limits(next_hop_client: NextHopClient) -> DeliveryConfig {
    DeliveryConfig { next_hop_client, back_off_min: Duration::from_secs(60), ..config() }
}

fn script<'s>(parts: &[&[&'s str]]) -> Vec<&'s str> {
    parts.concat()
}

#[test]
fn xforward_goes_before_each_mail() {
    let offered = [&GREETING[..], &["> 250-PIPELINING", "> 250 XFORWARD NAME ADDR PORT PROTO HELO SOURCE"]].concat();
    let all = "< XFORWARD NAME=mail.there.example ADDR=IPV6:2001:db8::7 PORT=4025 PROTO=ESMTP HELO=there.example SOURCE=REMOTE";
    let group = script(&[&[all, MAIL, RCPT, "> 250 fine"], &TAKEN]);
    let refused = script(&[&[all, MAIL, RCPT, "> 501 no"], &TAKEN]);
    let two = [&ONE[..], &[("mail", "")], &ONE].concat();
    let check = |name: &str, hop: &[&str], client: &[(&str, &str)]| {
        println!("{name}");
        check(name, &[hop], client, limits(NextHopClient::Xforward));
    };
    check("in a group, and again over the pooled connection", &script(&[&offered, &group, &group, &["<quit"]]), &two);
    check("refused: without", &script(&[&offered, &refused, &["<quit"]]), &ONE);
    let not_offered = script(&[&GREETING, &["> 250 PIPELINING", MAIL, RCPT], &TAKEN, &["<quit"]]);
    check("not offered: without", &not_offered, &ONE);
    let one_by_one = script(&[
        &GREETING,
        &["> 250 XFORWARD ADDR HELO", "< XFORWARD ADDR=IPV6:2001:db8::7 HELO=there.example", "silent 50", "> 250 fine"],
        &[MAIL, "> 250 ok", RCPT, "> 250 2.1.5 Ok a@x", "@message", "<quit"],
    ]);
    check("one by one, and only what is offered", &one_by_one, &ONE);
    let faults: [(&str, &[&str], &str); 6] = [
        ("421", &["> 421 4.3.2 bye", "close"], "421"),
        ("hung", &["<end"], "timed out"),
        ("closed", &["close"], "connection closed"),
        ("garbage", &["> what?", "<end"], "malformed reply"),
        ("without end", &["flood"], "reply too long"),
        ("too slow", &[">drip 250 for somebody who has all the time there is", "<end"], "timed out"),
    ];
    for (name, answer, fault) in faults {
        let hop = script(&[&offered, &[all, MAIL, RCPT], answer]);
        check(name, &hop, &[("rcpt a@x", UNAVAILABLE), ("fault", fault)]);
    }
}

const XCLIENT: [&str; 2] = ["> 250-PIPELINING", "> 250 XCLIENT NAME ADDR HELO"];
const IT_IS: &str = "< XCLIENT NAME=mail.there.example ADDR=IPV6:2001:db8::7 HELO=there.example";
const AGAIN: [&str; 4] = ["> 220 hop", "< EHLO there.example", "> 250-hop", "> 250 PIPELINING"];

#[test]
fn xclient_makes_a_connection_the_clients() {
    let one = script(&[&GREETING, &XCLIENT, &[IT_IS], &AGAIN, &[MAIL, RCPT], &TAKEN, &["<quit"]]);
    let two = [&ONE[..], &[("mail", "")], &ONE, &[("sleep 50", "")]].concat();
    check("one connection for each message", &[&one, &one], &two, limits(NextHopClient::Xclient));
    let given_up =
        script(&[&GREETING, &XCLIENT, &[IT_IS], &AGAIN, &[MAIL, RCPT, "> 250 ok", "> 250 2.1.5 Ok a@x", "<quit"]]);
    let told = [("rcpt a@x", TO_A), ("abandon", ""), ("sleep 50", "")];
    check("abandoned: QUIT", &[&given_up], &told, limits(NextHopClient::Xclient));
    let released = [("rcpt a@x", TO_A), ("release", ""), ("deliver", QUEUED), ("sleep 50", "")];
    check("released: told again on replay", &[&given_up, &one], &released, limits(NextHopClient::Xclient));
}

/// The first host's script, what is heard, the reason, whether the second host gets the message, and whether the first one is to blame.
type Case = (&'static str, Vec<&'static str>, &'static str, bool, bool);

fn check_cases(mode: NextHopClient, second: &[&str], cases: &[Case]) {
    for (name, first, told, goes_on, is_blamed) in cases {
        println!("{name}");
        // A host that is not to blame is the first one tried for the next message too.
        let firsts: Vec<&[&str]> = vec![first; if *is_blamed { 1 } else { 2 }];
        let seconds: Vec<&[&str]> = vec![second; if *goes_on { 2 } else { 0 }];
        let hops = [Hop::start(&firsts), Hop::start(&seconds)];
        let addrs = [hops[0].addr, hops[1].addr];
        let (name, told, goes_on) = (*name, *told, *goes_on);
        run_local(async move || {
            let delivery = Delivery::new(&target(&addrs), limits(mode));
            let one = [("rcpt a@x", if goes_on { TO_A } else { told }), ("deliver", QUEUED), ("mail", "")];
            let one = if goes_on { &one[..] } else { &[one[0], one[2]] };
            client(&delivery, name, &[one, one].concat()).await;
            delivery.quit().await;
        })
        .unwrap();
        hops.into_iter().for_each(|hop| drop(hop.join()));
    }
}

#[test]
fn what_a_next_hop_makes_of_xclient() {
    let begin = script(&[&GREETING, &XCLIENT, &[IT_IS]]);
    let after = |more: &[&'static str]| [&begin[..], more].concat();
    let second = script(&[&GREETING, &XCLIENT, &[IT_IS], &AGAIN, &[MAIL, RCPT], &TAKEN, &["<quit"]]);
    check_cases(
        NextHopClient::Xclient,
        &second,
        &[
            ("not offered", script(&[&GREETING, &["> 250 XCLIENT NAME", "<end"]]), "", true, true),
            (
                "the client refused for good",
                after(&["> 554 5.7.1 listed", "<end"]),
                "refused 554 5.7.1 listed",
                false,
                false,
            ),
            ("the client refused for now", after(&["> 450 4.7.1 later", "<end"]), "", true, false),
            ("the client refused with 421", after(&["> 421 4.7.0 too many", "close"]), "", true, false),
            (
                "the client's EHLO refused",
                after(&["> 220 hop", "< EHLO there.example", "> 550 5.7.1 no", "<end"]),
                "refused 550 5.7.1 no",
                false,
                false,
            ),
            ("unanswered", after(&["<end"]), "", true, true),
            ("closed", after(&["close"]), "", true, true),
            ("garbage", after(&["> what?", "<end"]), "", true, true),
            ("another code", after(&["> 250 ok", "<end"]), "", true, true),
            ("too slow", after(&[">drip 220 for somebody who has all the time", "<end"]), "", true, true),
        ],
    );
    let not_offered = script(&[&GREETING, &["> 250 HELP", "<end"]]);
    let told = [("rcpt a@x", UNAVAILABLE), ("fault", "XCLIENT is not offered")];
    check("nobody offers it", &[&not_offered], &told, limits(NextHopClient::Xclient));
}

const HEADER: &str =
    "<hex 0d0a0d0a000d0a515549540a2121002420010db800000000000000000000000720010db80000000000000000000000250fb90019";
const LOCAL: &str = "<hex 0d0a0d0a000d0a515549540a20000000";

#[test]
fn a_proxy_header_begins_each_connection() {
    let one = script(&[&[HEADER, "@", MAIL, RCPT], &TAKEN, &["<quit"]]);
    let two = [&ONE[..], &[("mail", "")], &ONE, &[("sleep 50", "")]].concat();
    check("one connection for each message", &[&one, &one], &two, limits(NextHopClient::Proxy));
    check_cases(
        NextHopClient::Proxy,
        &one,
        &[
            (
                "the client refused for good",
                vec![HEADER, "> 554 5.7.1 listed", "<end"],
                "refused 554 5.7.1 listed",
                false,
                false,
            ),
            ("the client refused for now", vec![HEADER, "> 421 4.7.0 too many", "close"], "", true, false),
            ("no greeting", vec![HEADER, "<end"], "", true, true),
            ("too slow", vec![HEADER, ">drip 220 for somebody who has all the time", "<end"], "", true, true),
        ],
    );
    let hop = Hop::start(&[&[LOCAL, "@", "<quit"]]);
    let addr = hop.addr;
    run_local(async move || {
        let delivery = Delivery::new(&target(&[addr]), limits(NextHopClient::Proxy));
        assert!(delivery.probe().await[0].offered.is_ok(), "for ourselves we are LOCAL");
        delivery.quit().await;
    })
    .unwrap();
    hop.join();
}

#[test]
fn nothing_goes_as_ours_where_the_client_is_to_be_told() {
    for mode in [NextHopClient::Xclient, NextHopClient::Proxy] {
        let hop = Hop::start(&[]);
        let addr = hop.addr;
        run_local(async move || {
            let delivery = Delivery::new(&target(&[addr]), limits(mode));
            let mut transaction = delivery.begin(support::sender());
            assert_eq!(support::told(&transaction.rcpt("a@x", None, None).await), UNAVAILABLE);
            assert_eq!(transaction.route().fault, Some("the client is not known"));
        })
        .unwrap();
        hop.join();
    }
}
