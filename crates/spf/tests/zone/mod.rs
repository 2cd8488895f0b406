//! A zone in memory as the oracle of the tests, and the ways to drive an evaluation over it.

// Each test program uses its part of this.
#![allow(dead_code)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mx6_spf::{Answer, Answers, Evaluation, Output, Query, Request, check_host, parse_txt};

/// One entry of a name.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Txt(Vec<u8>),
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(u16, String),
    Ptr(String),
    Cname(String),
    /// Types without an entry time out.
    Timeout,
}

/// Names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    pub(crate) names: HashMap<String, Vec<Entry>>,
}

impl Zone {
    pub(crate) fn add(&mut self, name: &str, entry: Entry) {
        self.names.entry(name.to_ascii_lowercase()).or_default().push(entry);
    }

    /// Builds a zone of lines `name TYPE value`; values are text, addresses, `10 host` for MX.
    pub(crate) fn parse(text: &str) -> Zone {
        let mut zone = Zone::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut parts = line.splitn(3, ' ');
            let (name, kind) = (parts.next().unwrap(), parts.next().expect(line));
            let value = parts.next().unwrap_or("");
            let entry = match kind {
                "TXT" => Entry::Txt(value.as_bytes().to_vec()),
                "A" => Entry::A(value.parse().expect(line)),
                "AAAA" => Entry::Aaaa(value.parse().expect(line)),
                "MX" => {
                    let (rank, host) = value.split_once(' ').expect(line);
                    Entry::Mx(rank.parse().expect(line), host.to_owned())
                }
                "PTR" => Entry::Ptr(value.to_owned()),
                "CNAME" => Entry::Cname(value.to_owned()),
                "TIMEOUT" => Entry::Timeout,
                other => panic!("unknown type {other}"),
            };
            zone.add(name, entry);
        }
        zone
    }

    fn find<T>(&self, name: &str, pick: impl Fn(&Entry) -> Option<T>) -> Result<Vec<T>, Answer> {
        let mut name = name.to_ascii_lowercase();
        for _ in 0..8 {
            let Some(entries) = self.names.get(&name) else { return Err(Answer::NxDomain) };
            if let Some(target) = entries.iter().find_map(|it| if let Entry::Cname(to) = it { Some(to) } else { None })
            {
                name = target.trim_end_matches('.').to_ascii_lowercase();
                continue;
            }
            let found: Vec<T> = entries.iter().filter_map(&pick).collect();
            return match (found.is_empty(), entries.iter().any(|entry| matches!(entry, Entry::Timeout))) {
                (false, _) => Ok(found),
                (true, true) => Err(Answer::TempFail),
                (true, false) => Err(Answer::NoData),
            };
        }
        // A chain of CNAMEs that does not end is a server failure.
        Err(Answer::TempFail)
    }

    fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Answer> {
        self.find(name, |entry| if let Entry::Txt(text) = entry { Some(text.clone()) } else { None })
    }

    fn lookup(&self, query: &Query) -> Result<Answer, Answer> {
        Ok(match query {
            Query::Spf(name) => Answer::Spf(Arc::new(parse_txt(&self.txt(name)?))),
            Query::Txt(name) => Answer::Txt(self.txt(name)?),
            Query::A(name) => {
                Answer::A(self.find(name, |it| if let Entry::A(ip) = it { Some(*ip) } else { None })?.into())
            }
            Query::Aaaa(name) => {
                Answer::Aaaa(self.find(name, |it| if let Entry::Aaaa(ip) = it { Some(*ip) } else { None })?.into())
            }
            Query::Mx(name) => {
                let pick = |entry: &Entry| {
                    if let Entry::Mx(rank, host) = entry { Some((*rank, host.as_str().into())) } else { None }
                };
                Answer::Mx(self.find(name, pick)?.into())
            }
            Query::Ptr(client) => {
                let pick = |entry: &Entry| if let Entry::Ptr(name) = entry { Some(name.as_str().into()) } else { None };
                Answer::Ptr(self.find(&reverse_name(*client), pick)?.into())
            }
        })
    }
}

impl Answers for Zone {
    fn answer(&self, query: &Query) -> Option<Answer> {
        Some(self.lookup(query).unwrap_or_else(|answer| answer))
    }
}

/// What a driver remembers.
struct Memo(HashMap<Query, Answer>);

impl Answers for Memo {
    fn answer(&self, query: &Query) -> Option<Answer> {
        self.0.get(query).cloned()
    }
}

/// How many queries a driver answers before it calls again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All that were asked for.
    All,
    /// The first only.
    First,
    /// The last only: that which is needed latest.
    Last,
}

/// What an evaluation cost its driver.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) output: Output,
    /// Calls that ended in need.
    pub(crate) rounds: usize,
    /// Questions sent to DNS.
    pub(crate) queries: Vec<Query>,
}

/// Drives an evaluation from nothing known.
pub(crate) fn drive(request: &Request<'_>, zone: &Zone, pace: Pace) -> Drive {
    let mut memo = Memo(HashMap::new());
    let (mut rounds, mut queries) = (0, Vec::new());
    loop {
        let mut need = match check_host(request, &memo) {
            Evaluation::Done(output) => return Drive { output, rounds, queries },
            Evaluation::Need { now, ahead } => {
                assert!(!now.is_empty(), "nothing to ask");
                [now, ahead].concat()
            }
        };
        rounds += 1;
        assert!(rounds < 500, "no end: {need:?}");
        match pace {
            Pace::All => {}
            Pace::First => need.truncate(1),
            Pace::Last => need = need.split_off(need.len() - 1),
        }
        for query in need {
            check_query(&query);
            let answer = zone.answer(&query).expect("a zone knows");
            queries.push(query.clone());
            assert!(memo.0.insert(query, answer).is_none(), "asked for what is known");
        }
    }
}

/// Evaluates over a warm oracle and from nothing in every pace; all must agree.
pub(crate) fn evaluate(request: &Request<'_>, zone: &Zone) -> Output {
    let Evaluation::Done(output) = check_host(request, zone) else { panic!("a warm oracle leaves nothing to ask") };
    for pace in [Pace::All, Pace::First, Pace::Last] {
        assert_eq!(drive(request, zone, pace).output, output, "{pace:?}");
    }
    output
}

/// What is promised of the names in a query.
fn check_query(query: &Query) {
    let (Query::Spf(name) | Query::A(name) | Query::Aaaa(name) | Query::Mx(name) | Query::Txt(name)) = query else {
        return;
    };
    assert!(name.len() <= 253 && !name.chars().any(|octet| octet.is_ascii_uppercase()), "{query:?}");
    assert!(name.contains('.') && name.split('.').all(|label| (1..=63).contains(&label.len())), "{query:?}");
}

/// The name of an address under `in-addr.arpa` or `ip6.arpa`.
pub(crate) fn reverse_name(client: IpAddr) -> String {
    match client {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().map(|it| format!("{:x}.{:x}.", it & 15, it >> 4));
            format!("{}ip6.arpa", nibbles.collect::<String>())
        }
    }
}
