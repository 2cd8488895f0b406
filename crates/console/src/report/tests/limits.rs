//! Logs with more of everything than the report has room for.

use super::super::tally::{Kind, Tally};
use super::*;

/// So many messages on trial, each of a sender of its own, over so many domains in turn.
fn strangers(messages: u32, domains: u32) -> String {
    let line = |number: u32| {
        let mut line = Mail::new(u64::from(number) * 10, "s", V6, Would("spf-or-dkim")).line(0, "bob@d.example");
        line["session"] = format!("s{number}").into();
        line["client"] = format!("2001:db8:{:x}:{:x}::1", number >> 16, number & 0xffff).into();
        line["helo"] = format!("helo-{number}.example").into();
        line["mail_from"] = format!("x@from-{number}.example").into();
        line["dmarc"]["domain"] = format!("from-{number}.example").into();
        line["domain"] = format!("d{}.example", number % domains).into();
        format!("{line}\n")
    };
    (0..messages).map(line).collect()
}

fn kept(tally: &Value) -> usize {
    let kinds = ["networks", "helo_names", "envelope_domains", "from_domains"];
    kinds.iter().map(|kind| tally["senders"][kind].as_array().unwrap().len()).sum()
}

/// Whoever is in no list is not said to be known or unknown.
#[test]
fn a_domain_with_too_many_senders_says_so() {
    let report = report_on(options(), &[strangers(2_003, 1).as_bytes()]);
    let figures = json_of(&report);
    let domain = &figures["domains"]["d0.example"];
    assert_eq!((kept(domain), kept(&figures["total"])), (4 * 2_000, 4 * 2_003));
    assert_eq!(domain["objected_messages"], 2_003, "what is in no list is counted all the same");
    let verdict = domain["verdict"].as_str().unwrap();
    for words in [
        "from more than 2,000 networks.",
        "2,000 are not of sender domains that were seen to deliver over IPv4: look at these; of 3 it is not known.",
    ] {
        assert!(verdict.contains(words), "{verdict}");
    }
    let whole = figures["total"]["verdict"].as_str().unwrap();
    assert!(whole.contains("from 2,003 networks.") && !whole.contains("not known"), "{whole}");
    assert!(report.limits_reached().iter().any(|reached| reached.starts_with("1 domain had more senders")));
}

/// Memory does not grow with the number of domains and senders.
#[test]
fn domains_share_the_room_for_senders() {
    let report = report_on(options(), &[strangers(26_000, 20).as_bytes()]);
    let senders = |tally: &Tally| Kind::ALL.map(|kind| tally.senders(kind).all.len()).iter().sum::<usize>();
    assert_eq!(report.domains.values().map(senders).sum::<usize>(), 100_000);
    assert_eq!((senders(&report.total), report.total.objected()), (4 * 10_000, 26_000));
    let (text, page) = (report.to_text(), report.to_html().unwrap());
    for told in ["20 domains had more senders", "16,000 messages are of senders beyond the first 10,000"] {
        let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flowing.contains(told) && page.contains(told), "{told}: {text}");
    }
}
