use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::facts::{CacheState, Dkim, Dmarc, DmarcPolicy, Iprev, PtrState, Spf, SpfIdentity};

fn table() -> Arc<LimitTable> {
    Arc::new(LimitTable::new(1 << 20, RandomState::new()))
}

fn rules(limits: &[&str]) -> LimitRules {
    LimitRules::parse_all(limits).unwrap()
}

fn client(address: &str) -> Client {
    Client::new(address.parse().unwrap(), &["2001:db8:c::/48".parse().unwrap()])
}

/// For each set of limits a row of calls and what comes: empty if it is let through.
#[test]
fn which_limit_objects() {
    type Row = (&'static [&'static str], &'static [(u64, &'static str, &'static str)]);
    let rows: [Row; 6] = [
        (
            &["64.messages=2/1h"],
            &[
                (0, "2001:db8::1", ""),
                (0, "2001:db8::2", ""),
                (0, "2001:db8::3", "Too many messages from [2001:db8::/64], try again later."),
                (0, "2001:db8:0:1::3", ""),
                (0, "192.0.2.1", ""),
            ],
        ),
        // The tightest that objects is named, and what it refuses is charged to no other.
        (
            &["address.messages=1/1s", "64.messages=2/1h", "48.messages=3/1h"],
            &[
                (0, "2001:db8::1", ""),
                (0, "2001:db8::1", "Too many messages from [2001:db8::1], try again later."),
                (0, "2001:db8::2", ""),
                (1_000, "2001:db8::1", "Too many messages from [2001:db8::/64], try again later."),
                (1_000, "2001:db8:0:5::1", ""),
                (1_000, "2001:db8:0:6::1", "Too many messages from [2001:db8::/48], try again later."),
                // What the /48 refused its address may still have, once the /48 lets it.
                (1_201_000, "2001:db8:0:6::1", ""),
                (1_201_000, "2001:db8:0:6::1", "Too many messages from [2001:db8:0:6::1], try again later."),
            ],
        ),
        (
            &["56.messages=1/1h"],
            &[
                (0, "2001:db8:0:aaff::1", ""),
                (0, "2001:db8:0:aa00::1", "Too many messages from [2001:db8:0:aa00::/56], try again later."),
                (0, "2001:db8:0:ab00::1", ""),
            ],
        ),
        // IPv4 by address alone, however it is written.
        (
            &["address.messages=1/1h", "64.messages=1/1h"],
            &[
                (0, "192.0.2.1", ""),
                (0, "::ffff:192.0.2.1", "Too many messages from [192.0.2.1], try again later."),
                (0, "192.0.2.2", ""),
            ],
        ),
        // What the operator wrote binds connectors too.
        (
            &["address.messages=1/1h"],
            &[
                (0, "2001:db8:c::1", ""),
                (0, "2001:db8:c::1", "Too many messages from [2001:db8:c::1], try again later."),
            ],
        ),
        (&[], &[(0, "2001:db8::1", ""), (0, "2001:db8::1", ""), (0, "2001:db8::1", "")]),
    ];
    for (limits, calls) in rows {
        let (table, rules) = (table(), rules(limits));
        for (at, (now_ms, address, text)) in calls.iter().enumerate() {
            let said = table.mail(&rules, *now_ms, &client(address)).err().map(|reached| reached.to_string());
            assert_eq!(said.unwrap_or_default(), *text, "{limits:?} call {at}");
        }
    }
}

#[test]
fn sessions_are_given_back_once() {
    let (table, rules) =
        (table(), rules(&["address.sessions=2", "64.sessions=3", "48.sessions=none", "56.sessions=none"]));
    let connect = |address: &str| table.connect(&rules, 0, &client(address));
    let (first, second) = (connect("2001:db8::1").unwrap(), connect("2001:db8::1").unwrap());
    let refused = connect("2001:db8::1").unwrap_err();
    assert_eq!((refused.rule, refused.subject.as_str()), (Rule::SessionLimit, "2001:db8::1"));
    let third = connect("2001:db8::2").unwrap();
    for _ in 0..10 {
        // The /64 refuses; the address, asked before it, must not keep what it gave.
        assert_eq!(connect("2001:db8::3").unwrap_err().subject, "2001:db8::/64");
    }
    drop(first);
    let fourth = connect("2001:db8::3").unwrap();
    assert!(connect("2001:db8::3").is_err() && connect("2001:db8::1").is_err());
    drop((second, third, fourth));
    let again: Vec<_> = ["2001:db8::3", "2001:db8::3", "2001:db8::1"].map(|address| connect(address).unwrap()).into();
    assert!(connect("2001:db8::1").is_err());
    drop(again);
    assert!(!table.has_session_near(&client("2001:db8::1")));
}

#[test]
fn a_connection_refused_for_sessions_is_not_charged_as_one() {
    let (table, rules) = (table(), rules(&["address.connections=2/1h", "64.sessions=1"]));
    let held = table.connect(&rules, 0, &client("2001:db8::1")).unwrap();
    for _ in 0..10 {
        assert_eq!(table.connect(&rules, 0, &client("2001:db8::1")).unwrap_err().rule, Rule::SessionLimit);
    }
    drop(held);
    drop(table.connect(&rules, 0, &client("2001:db8::1")).unwrap());
    let refused = table.connect(&rules, 0, &client("2001:db8::1")).unwrap_err();
    assert_eq!(refused.rule, Rule::ConnectionLimit);
    let reply = refused.closing_reply("mx.example").to_string();
    assert_eq!(reply, "421 4.7.28 mx.example Too many connections from [2001:db8::1], try again later.");
}

#[test]
fn neighbours() {
    let none: [&str; 0] = [];
    for limits in [&none[..], &["64.sessions=none", "address.sessions=none"]] {
        let (table, rules) = (table(), rules(limits));
        let held =
            ["2001:db8::1", "192.0.2.1", "2001:db8:c::1"].map(|at| table.connect(&rules, 0, &client(at)).unwrap());
        for (address, near) in [
            ("2001:db8::ffff", true),
            ("2001:db8:0:1::1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            // A connector's session is nobody's neighbour.
            ("2001:db8:c::1", false),
        ] {
            assert_eq!(table.has_session_near(&client(address)), near, "{limits:?} {address}");
        }
        drop(held);
        assert!(!table.has_session_near(&client("2001:db8::ffff")));
    }
}

fn facts(spf: (MethodResult, &str), signatures: &[(MethodResult, &str)]) -> Facts {
    let dkim = signatures.iter().map(|(result, domain)| Dkim {
        result: *result,
        domain: (*domain).to_owned(),
        selector: "s".to_owned(),
        identity: None,
        algorithm: "rsa-sha256",
        signature_b: String::new(),
        reason: "".into(),
        testing: false,
    });
    Facts {
        client: "2001:db8::1".parse().unwrap(),
        iprev: Iprev {
            ptr: PtrState::Exists,
            result: MethodResult::Pass,
            names: Vec::new(),
            confirmed: None,
            cache: CacheState::Hit,
        },
        spf: Spf {
            result: spf.0,
            identity: SpfIdentity::MailFrom,
            domain: spf.1.to_owned(),
            reason: "".into(),
            explanation: None,
            cache: CacheState::Hit,
        },
        dkim: dkim.collect(),
        dkim_cache: CacheState::Hit,
        dmarc: Dmarc {
            result: MethodResult::None,
            policy: DmarcPolicy::None,
            domain: String::new(),
            cache: CacheState::Hit,
        },
    }
}

#[test]
fn only_verified_identities_are_charged() {
    use MethodResult::{Fail, Pass};
    let (table, rules) = (table(), rules(&["identity.messages=1/1h"]));
    let message = |spf, signatures: &[_]| {
        let facts = facts(spf, signatures);
        table.message(&rules, 0, &client("2001:db8::1"), &facts, 1).map_err(|reached| reached.reply().to_string())
    };
    for _ in 0..5 {
        assert!(message((Fail, "a.example"), &[(Fail, "a.example")]).is_ok(), "forged: charged to nobody");
    }
    // Verified twice is charged once.
    let charged = message((Pass, "a.example"), &[(Pass, "a.example"), (Pass, "b.example")]).unwrap();
    let refused = message((Fail, "c.example"), &[(Pass, "b.example")]).unwrap_err();
    assert_eq!(refused, "450 4.7.28 Too many messages from [b.example], try again later.");
    // Refused for b.example: c.example, asked before it, keeps nothing.
    assert!(message((Pass, "c.example"), &[(Pass, "b.example")]).is_err());
    assert!(message((Pass, "c.example"), &[]).is_ok());
    table.give_back(&rules, charged);
    assert!(message((Pass, "a.example"), &[(Pass, "b.example")]).is_ok(), "delivery had not taken it");
    assert!(message((Pass, "a.example"), &[]).is_err());
}

#[test]
fn recipients_of_an_identity() {
    let (table, rules) = (table(), rules(&["identity.recipients=10/1h", "address.recipients=2/1h"]));
    let facts = facts((MethodResult::Pass, "a.example"), &[]);
    let message = |recipients| table.message(&rules, 0, &client("2001:db8::1"), &facts, recipients);
    assert!(message(7).is_ok());
    let refused = message(4).unwrap_err();
    assert_eq!(refused.reply().to_string(), "450 4.7.28 Too many recipients from [a.example], try again later.");
    assert!(message(3).is_ok());
    for is_taken in [true, true, false] {
        assert_eq!(table.rcpt(&rules, 0, &client("2001:db8::1")).is_ok(), is_taken);
    }
}

/// Shards share the table: what they hold at once never goes over a limit, and comes back whole.
#[test]
fn many_threads() {
    let (table, rules) = (table(), rules(&["64.sessions=5", "64.messages=1000/30d"]));
    let (taken, open) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (table, rules, taken, open) = (&table, &rules, &taken, &open);
            scope.spawn(move || {
                let client = client(&format!("2001:db8::{number}"));
                for _ in 0..5_000 {
                    let held: Vec<_> = (0..3).filter_map(|_| table.connect(rules, 0, &client).ok()).collect();
                    let mine = u32::try_from(held.len()).unwrap();
                    assert!(open.fetch_add(mine, Ordering::SeqCst) + mine <= 5);
                    taken.fetch_add(u32::from(table.mail(rules, 0, &client).is_ok()), Ordering::SeqCst);
                    open.fetch_sub(mine, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 1_000);
    assert!(!table.has_session_near(&client("2001:db8::1")));
}
