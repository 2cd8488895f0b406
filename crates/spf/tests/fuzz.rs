//! Records and macros of a hostile zone: see `tests/fuzz/mod.rs`. Every answer of DNS is drawn too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/fuzz/mod.rs"]
mod inputs;

use std::collections::HashMap;
use std::sync::Arc;

use inputs::{ITERATIONS, Tried, octets};
use mx6_spf::limits::{EXPLANATION_OCTETS_MAX, LOOKUPS_MAX, VOID_LOOKUPS_MAX};
use mx6_spf::{Answer, Answers, Evaluation, Identity, Query, Request, SpfTxt, check_host, parse_txt};

const WORDS: [&[u8]; 46] = [
    b"v=spf1 ",
    b" ",
    b" a",
    b" mx",
    b" ptr",
    b" all",
    b" -all",
    b" ~all",
    b" ?",
    b" include:",
    b" exists:",
    b" redirect=",
    b" exp=",
    b" ip4:192.0.2.0/24",
    b" ip6:2001:db8::/32",
    b" ip6:",
    b"a.example",
    b"b.example",
    b":",
    b"/",
    b"//",
    b"/24",
    b"//64",
    b"/0",
    b"%{s}",
    b"%{l}",
    b"%{d}",
    b"%{i}",
    b"%{ir}",
    b"%{p}",
    b"%{v}",
    b"%{h}",
    b"%{d2r}",
    b"%{l1r+-}",
    b"%{d0}",
    b"%{c}",
    b"%{t}",
    b"%%",
    b"%_",
    b"%-",
    b"%",
    b"%{",
    b".example",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"unknown=x",
    b"\xff",
];

/// What a zone says: of the records that there are, which one is a question's to draw.
struct Zone {
    answers: HashMap<Query, Answer>,
    records: Vec<Arc<SpfTxt>>,
    texts: Vec<Vec<u8>>,
    drawn: Vec<u8>,
    asked: usize,
}

impl Answers for Zone {
    fn answer(&self, query: &Query) -> Option<Answer> {
        self.answers.get(query).cloned()
    }
}

impl Zone {
    /// Settles one question.
    fn ask(&mut self, query: Query) {
        assert_name(&query);
        let drawn = usize::from(self.drawn.get(self.asked % self.drawn.len().max(1)).copied().unwrap_or(0));
        self.asked += 1;
        let name = |at: usize| Box::from(["a.example", "b.example", "x", "", "a.a.example"][at % 5]);
        let answer = match (drawn % 8, &query) {
            (0, _) => Answer::NxDomain,
            (1, _) => Answer::NoData,
            (2, _) => Answer::TempFail,
            (_, Query::Spf(_)) => Answer::Spf(Arc::clone(&self.records[drawn / 8 % self.records.len()])),
            (_, Query::A(_)) => Answer::A([[192, 0, 2, 1].into()].into()),
            (3 | 4, Query::Aaaa(_)) => Answer::Aaaa(["2001:db8::1".parse().unwrap()].into()),
            (_, Query::Aaaa(_)) => Answer::Aaaa(["2001:db8:ffff::1".parse().unwrap()].into()),
            (_, Query::Mx(_)) => Answer::Mx((0..drawn % 12).map(|at| (at as u16, name(at))).collect()),
            (_, Query::Ptr(_)) => Answer::Ptr((0..drawn % 30).map(name).collect()),
            (_, Query::Txt(_)) => Answer::Txt(self.texts.clone()),
        };
        self.answers.insert(query, answer);
    }
}

/// What may be asked of DNS at all.
fn assert_name(query: &Query) {
    let (Query::Spf(name) | Query::A(name) | Query::Aaaa(name) | Query::Mx(name) | Query::Txt(name)) = query else {
        return;
    };
    assert!(name.len() <= 253 && name.split('.').count() > 1, "{name:?}");
    assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name:?}");
}

/// Terms, hosts of each mx, names of ptr, forward lookups of those for `ptr` and for `%{p}`; and the explanation.
const QUERIES_MAX: usize = 1 + LOOKUPS_MAX as usize * (1 + 10) + 2 * 10 + 1;

#[test]
fn records_and_macros() {
    let tried = Tried::new("spf, records and macros");
    type Input = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);
    bolero::check!().with_type::<Input>().with_iterations(ITERATIONS).for_each(|(first, second, local_part, drawn)| {
        let records: Vec<Vec<u8>> =
            [first, second].map(|codes| [b"v=spf1 ", &octets(codes, &WORDS)[..]].concat()).into();
        let parsed: Vec<Arc<SpfTxt>> =
            records.iter().map(|record| Arc::new(parse_txt(std::slice::from_ref(record)))).collect();
        for (record, parsed) in records.iter().zip(&parsed) {
            if let SpfTxt::Record(found) = &**parsed {
                assert_eq!(found.text().as_bytes(), record);
                assert_eq!(parse_txt(&[found.text().as_bytes().to_vec()]), **parsed);
            }
            assert!(parsed.weight_octets() as usize <= 4096 + 64 * record.len());
        }
        let valid = parsed.iter().filter(|parsed| matches!(***parsed, SpfTxt::Record(_))).count();
        let local_part = inputs::text(local_part, &WORDS);
        let client = if drawn.len() % 2 == 0 { "2001:db8::1" } else { "192.0.2.1" };
        let request = Request {
            client: client.parse().unwrap(),
            identity: Identity::MailFrom { local_part: &local_part, domain: "sender.example" },
            helo: &local_part,
            receiver: "mx.example",
            now_unix_s: 1_700_000_000,
            explain: true,
        };
        let mut zone =
            Zone { answers: HashMap::new(), records: parsed, texts: records, drawn: drawn.clone(), asked: 0 };
        let mut passes = 0;
        let output = loop {
            passes += 1;
            assert!(passes <= QUERIES_MAX);
            match check_host(&request, &zone) {
                Evaluation::Done(output) => break output,
                Evaluation::Need { now, ahead } => {
                    assert!(!now.is_empty());
                    now.into_iter().chain(ahead).for_each(|query| zone.ask(query));
                }
            }
        };
        assert!(zone.asked <= QUERIES_MAX, "{} queries", zone.asked);
        assert!(output.lookups <= LOOKUPS_MAX && output.void_lookups <= VOID_LOOKUPS_MAX);
        if let Some(text) = output.explanation {
            assert!(text.len() <= EXPLANATION_OCTETS_MAX && text.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
        }
        tried.count(valid);
    });
}
