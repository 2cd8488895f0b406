//! What a hostile publisher can make us ask and compute, and what a driver may rely on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod zone;

use std::cell::Cell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use mx6_spf::limits::{LOOKUPS_MAX, NAME_OCTETS_MAX};
use mx6_spf::{Answer, Answers, Evaluation, Identity, Query, Request, SpfResult, SpfTxt, check_host, parse_txt};
use zone::{Entry, Pace, Zone, drive, evaluate};

fn request(client: &str) -> Request<'static> {
    let identity = Identity::MailFrom { local_part: "jack", domain: "d.example" };
    let client: IpAddr = client.parse().unwrap();
    Request { client, identity, helo: "mail.example", receiver: "mx.example", now_unix_s: 0, explain: true }
}

/// What is needed in a round, and how much of it now.
fn need(request: &Request<'_>, zone: &Zone, rounds: usize) -> (usize, Vec<Query>) {
    let mut known = HashSet::new();
    let ask = |known: &HashSet<Query>| match check_host(request, &Known(zone, known)) {
        Evaluation::Need { now, ahead } => (now.len(), [now, ahead].concat()),
        done => panic!("{done:?}"),
    };
    for _ in 0..rounds {
        let (_, queries) = ask(&known);
        known.extend(queries);
    }
    ask(&known)
}

/// The zone, as far as it was asked.
struct Known<'z>(&'z Zone, &'z HashSet<Query>);

impl Answers for Known<'_> {
    fn answer(&self, query: &Query) -> Option<Answer> {
        self.1.contains(query).then(|| self.0.answer(query)).flatten()
    }
}

#[test]
fn all_that_can_be_asked_is_asked_at_once() {
    let zone = Zone::parse(
        "d.example TXT v=spf1 ip4:192.0.2.1 mx include:i.example exists:%{l}.x.example ptr a redirect=r.example
         d.example MX 10 mx1.example
         d.example MX 20 mx2.example
         i.example TXT v=spf1 a:one.example a:two.example",
    );
    let name = |name: &str| name.to_owned();
    let ip4: IpAddr = "192.0.2.2".parse().unwrap();
    assert_eq!(need(&request("192.0.2.2"), &zone, 0), (1, vec![Query::Spf(name("d.example"))]));
    assert_eq!(
        need(&request("192.0.2.2"), &zone, 1),
        (
            1,
            vec![
                Query::Mx(name("d.example")),
                Query::Spf(name("i.example")),
                Query::A(name("jack.x.example")),
                Query::Ptr(ip4),
                Query::A(name("d.example")),
                Query::Spf(name("r.example")),
            ]
        )
    );
    assert_eq!(
        need(&request("192.0.2.2"), &zone, 2),
        (2, ["mx1.example", "mx2.example", "one.example", "two.example"].map(|it| Query::A(name(it))).to_vec())
    );
    // What is known to match ends the list.
    let zone = Zone::parse("d.example TXT v=spf1 a ip6:2001:db8::/32 mx -all");
    assert_eq!(need(&request("2001:db8::1"), &zone, 1), (1, vec![Query::Aaaa(name("d.example"))]));
}

#[test]
fn asking_ahead_does_not_multiply_lookups() {
    // Nine includes in each record, four levels deep: 6,561 leaves.
    let mut zone = Zone::default();
    let mut names = vec!["d.example".to_owned()];
    for level in 0..4 {
        let mut next = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let children: Vec<String> = (0..9).map(|it| format!("c{it}-{at}-{level}.example")).collect();
            let terms: String = children.iter().map(|it| format!(" include:{it}")).collect();
            zone.add(name, Entry::Txt(format!("v=spf1{terms} -all").into_bytes()));
            next.extend(children);
        }
        names = next;
    }
    for name in names {
        zone.add(&name, Entry::Txt(b"v=spf1 mx a exists:%{i}.example redirect=d.example".to_vec()));
    }
    for (pace, queries_max) in [(Pace::All, 25), (Pace::First, 25), (Pace::Last, 50)] {
        let drive = drive(&request("192.0.2.1"), &zone, pace);
        assert_eq!(drive.output.result, SpfResult::PermError);
        let (queries, rounds) = (drive.queries.len(), drive.rounds);
        println!("{pace:?}: {queries} queries in {rounds} rounds");
        assert!(queries <= queries_max, "{pace:?}: {queries} queries in {rounds} rounds");
    }
}

#[test]
fn mx_and_ptr_names_are_limited() {
    let mut zone = Zone::parse("d.example TXT v=spf1 ptr:x.example mx -all");
    for at in 0..200 {
        zone.add("1.2.0.192.in-addr.arpa", Entry::Ptr(format!("p{at}.y.example")));
        zone.add("2.2.0.192.in-addr.arpa", Entry::Ptr(format!("p{at}.x.example")));
        zone.add("d.example", Entry::Mx(at, format!("m{at}.example")));
    }
    for (client, names) in [("192.0.2.1", 0), ("192.0.2.2", 10)] {
        let drive = drive(&request(client), &zone, Pace::All);
        assert_eq!(drive.output.result, SpfResult::PermError, "more than ten MX hosts");
        let asked = drive.queries.iter().filter(|query| matches!(query, Query::A(_))).count();
        assert_eq!(asked, names, "{client}");
    }
}

/// Answers every SPF question with the same record, those for addresses with that of somebody else, every other with nothing; and counts them.
struct Everywhere {
    txt: Arc<SpfTxt>,
    asked: Cell<usize>,
}

impl Answers for Everywhere {
    fn answer(&self, query: &Query) -> Option<Answer> {
        self.asked.set(self.asked.get() + 1);
        Some(match query {
            Query::Spf(_) => Answer::Spf(Arc::clone(&self.txt)),
            Query::A(_) => Answer::A([[192, 0, 2, 99].into()].into()),
            Query::Aaaa(_) => Answer::Aaaa(["2001:db8::99".parse().unwrap()].into()),
            _ => Answer::NxDomain,
        })
    }
}

#[test]
fn the_longest_records_cost_little() {
    let mut expanded_most = 0;
    let filler = |term: &str, octets: usize| format!(" {term}").repeat(octets / (term.len() + 1));
    let long_name = format!("{}.example.org", "%{s}.%{h}.".repeat(6_500).trim_end_matches('.'));
    for (what, record) in [
        ("ip6 and a loop", format!("v=spf1{} include:%{{d}}", filler("ip6:::", 65_500))),
        ("ip4 and a redirect", format!("v=spf1{} redirect=%{{d}}", filler("ip4:1.1.1.1", 65_500))),
        ("unknown modifiers", format!("v=spf1{} include:d.example", filler("x=", 65_500))),
        ("a", format!("v=spf1{}", filler("a", 65_500))),
        ("macros", format!("v=spf1 a:{long_name} include:%{{d}}")),
        ("dots", format!("v=spf1 a:{}.org include:%{{d}}", ".".repeat(65_400))),
        ("percents", format!("v=spf1 a:{}.org include:%{{d}}", "%%".repeat(32_700))),
        ("one modifier", format!("v=spf1 x={}", "%{d}".repeat(16_000))),
        ("open braces", format!("v=spf1 x={}", "%{".repeat(32_000))),
        ("slashes", format!("v=spf1 a{}", "/".repeat(65_000))),
        ("digits", format!("v=spf1 a:%{{d{}}}", "9".repeat(65_000))),
    ] {
        assert!(record.len() < 65_536, "{what}");
        let record_octets = record.len();
        let txt = parse_txt(&[record.into_bytes()]);
        assert!(txt.weight_octets() < 1 << 20, "{what}: {}", txt.weight_octets());
        let txt = Arc::new(txt);
        for client in ["192.0.2.1", "2001:db8::1"] {
            let oracle = Everywhere { txt: Arc::clone(&txt), asked: Cell::new(0) };
            let Evaluation::Done(output) = check_host(&request(client), &oracle) else { panic!("{what}") };
            assert!(
                output.lookups <= LOOKUPS_MAX && oracle.asked.get() <= 1 + usize::from(LOOKUPS_MAX),
                "{what}: {output:?}"
            );
            // A literal is as long as the record at most; of macros there are no more than fit into a name, and the last one's value.
            let octets_max = usize::from(LOOKUPS_MAX) * (record_octets + 2 * NAME_OCTETS_MAX);
            assert!(output.octets_expanded <= octets_max, "{what}: {} octets", output.octets_expanded);
            expanded_most = expanded_most.max(output.octets_expanded);
        }
    }
    assert!(expanded_most > 5 * NAME_OCTETS_MAX, "nothing was expanded: {expanded_most}");
}

#[test]
fn no_record_makes_it_panic_or_run_on() {
    let words = [
        "a",
        "mx",
        "ptr",
        "exists",
        "include",
        "redirect",
        "exp",
        "ip4",
        "ip6",
        "all",
        ":",
        "=",
        "/",
        "//",
        "24",
        "0",
        "64",
        "%{d}",
        "%{p}",
        "%{l2r-}",
        "%{S}",
        "%",
        "%%",
        "%-",
        "%_",
        "{",
        "}",
        ".",
        "example",
        "d.example",
        "192.0.2.1",
        "::1",
        " ",
        " ",
        " ",
        "-",
        "~",
        "?",
        "+",
        "x",
        "\u{e9}",
        "\0",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut records = 0;
    for _ in 0..20_000 {
        let text: String = (0..random(16)).map(|_| words[random(words.len())]).collect();
        let record = format!("v=spf1 {text}");
        let txt = parse_txt(&[record.clone().into_bytes()]);
        records += u32::from(matches!(txt, SpfTxt::Record(_)));
        let mut zone = Zone::parse(
            "d.example A 192.0.2.1
             d.example MX 5 d.example
             x.example TIMEOUT
             1.2.0.192.in-addr.arpa PTR d.example",
        );
        zone.add("d.example", Entry::Txt(record.into_bytes()));
        let output = evaluate(&request("192.0.2.1"), &zone);
        let is_error = matches!(output.result, SpfResult::PermError | SpfResult::TempError);
        assert_eq!(is_error, output.reason.contains(": "), "{output:?}");
    }
    assert!(records > 1_000, "{records} of 20000 had the right syntax");
}
