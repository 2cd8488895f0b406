//! The resolver: each question has a mood that is drawn once, and keeps it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mx6_runtime::simulation::{draw, serve_datagrams};

use super::World;

#[derive(Default)]
pub(super) struct Resolver {
    moods: RefCell<HashMap<(String, RecordType), Mood>>,
    always: Option<Mood>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Right,
    Late,
    /// The first datagrams get no answer.
    Lost(u8),
    NoName,
    NoData,
    ServFail,
    Refused,
    Silent,
    Garbage,
}

/// What may be concluded from what the resolver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    /// Only for now not known: nothing final may follow.
    Unknown,
    /// Yes, or not known: the answer is late or lost.
    Perhaps,
    /// No, or not known.
    PerhapsNot,
}

impl Truth {
    pub(super) fn may_be_yes(self) -> bool {
        matches!(self, Truth::Yes | Truth::Perhaps)
    }

    pub(super) fn may_be_no(self) -> bool {
        matches!(self, Truth::No | Truth::PerhapsNot)
    }
}

pub(super) fn serve(world: &Rc<World>, server: SocketAddr) {
    let world = Rc::clone(world);
    serve_datagrams(server, move |query| world.resolver.answer(query));
}

/// Answers each question, by its name in lower case and its type, with what `answer` says: how long it takes, and the records; without any there
/// is no such name. None: never.
pub(super) fn serve_answers(
    server: SocketAddr,
    answer: impl Fn(&str, RecordType) -> Option<(Duration, Vec<RData>)> + 'static,
) {
    serve_datagrams(server, move |query| {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let name = question.name().to_ascii().to_ascii_lowercase();
        let Some((delay, data)) = answer(&name, question.query_type()) else { return Vec::new() };
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        message.add_query(question);
        if data.is_empty() {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        for data in data {
            message.add_answer(Record::from_rdata(Name::from_ascii(&name).unwrap(), 300, data));
        }
        vec![(delay, message.to_vec().unwrap())]
    });
}

/// A resolver that is always right.
pub(super) fn serve_all(server: SocketAddr) {
    let resolver = Resolver { always: Some(Mood::Right), ..Resolver::default() };
    serve_datagrams(server, move |query| resolver.answer(query));
}

impl Resolver {
    fn mood(&self, name: &str, record_type: RecordType) -> Mood {
        if let Some(mood) = self.always {
            return mood;
        }
        let key = (name.to_ascii_lowercase(), record_type);
        *self.moods.borrow_mut().entry(key).or_insert_with(|| match draw(40) {
            0..24 => Mood::Right,
            24..26 => Mood::Late,
            26..28 => Mood::Lost(1 + draw(3) as u8),
            28..30 => Mood::NoName,
            30..32 => Mood::NoData,
            32..35 => Mood::ServFail,
            35 => Mood::Refused,
            36 | 37 => Mood::Silent,
            _ => Mood::Garbage,
        })
    }

    fn answer(&self, query: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let (name, record_type) = (question.name().to_ascii().to_ascii_lowercase(), question.query_type());
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        message.add_query(question);
        let mood = self.mood(&name, record_type);
        match (mood, data(&name, record_type)) {
            (Mood::Right | Mood::Late | Mood::Lost(_), Some(data)) => {
                message.add_answer(Record::from_rdata(Name::from_ascii(&name).unwrap(), 300, data));
            }
            (Mood::ServFail, _) => message.metadata.response_code = ResponseCode::ServFail,
            (Mood::Refused, _) => message.metadata.response_code = ResponseCode::Refused,
            (Mood::NoData, _) => {}
            _ => message.metadata.response_code = ResponseCode::NXDomain,
        }
        let delay = match mood {
            Mood::Silent => return Vec::new(),
            Mood::Lost(left) => {
                let next = if left > 1 { Mood::Lost(left - 1) } else { Mood::Late };
                self.moods.borrow_mut().insert((name, record_type), next);
                return Vec::new();
            }
            Mood::Late => draw(3_000),
            _ => draw(100),
        };
        // Never at the moment when hickory sends again: which of two things that are ready it sees first is for no seed to say.
        let delay = Duration::from_millis(delay) + Duration::from_micros(500);
        let mut octets = message.to_vec().unwrap();
        if mood == Mood::Garbage {
            let id_octets = 2;
            octets.truncate(id_octets + draw(octets.len() as u64 - 2) as usize);
        }
        vec![(delay, octets)]
    }

    fn truth(&self, name: &str, record_type: RecordType) -> Truth {
        match self.mood(name, record_type) {
            Mood::Right if data(name, record_type).is_some() => Truth::Yes,
            Mood::Late | Mood::Lost(_) if data(name, record_type).is_some() => Truth::Perhaps,
            Mood::Late | Mood::Lost(_) => Truth::PerhapsNot,
            Mood::Right | Mood::NoName | Mood::NoData => Truth::No,
            _ => Truth::Unknown,
        }
    }

    pub(super) fn reverse_dns(&self, client: IpAddr) -> Truth {
        self.truth(&Name::from(client).to_ascii(), RecordType::PTR)
    }

    pub(super) fn spf(&self, sender: &str) -> Truth {
        let own = self.truth(&format!("{sender}."), RecordType::TXT);
        match (sender, own) {
            ("include.test", Truth::Yes) => self.spf("pass.test"),
            ("include.test", Truth::Perhaps) => match self.spf("pass.test") {
                Truth::Yes => Truth::Perhaps,
                Truth::No => Truth::PerhapsNot,
                other => other,
            },
            ("fail.test", Truth::Yes) => Truth::No,
            ("fail.test", Truth::Perhaps) => Truth::PerhapsNot,
            _ => own,
        }
    }

    pub(super) fn dkim(&self, signed: bool) -> Truth {
        if signed { self.truth("brisbane._domainkey.football.example.com.", RecordType::TXT) } else { Truth::No }
    }
}

/// The zone; names end with a dot.
fn data(name: &str, record_type: RecordType) -> Option<RData> {
    let text = |text: &str| RData::TXT(TXT::new(vec![text.to_owned()]));
    match (name, record_type) {
        ("pass.test.", RecordType::TXT) => Some(text("v=spf1 ip6:2001:db8:1::/48 ip4:192.0.2.0/24 -all")),
        ("fail.test.", RecordType::TXT) => Some(text("v=spf1 -all")),
        ("include.test.", RecordType::TXT) => Some(text("v=spf1 include:pass.test -all")),
        ("brisbane._domainkey.football.example.com.", RecordType::TXT) => {
            Some(text("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="))
        }
        (name, RecordType::PTR) if name.ends_with(".arpa.") => {
            Some(RData::PTR(PTR(Name::from_ascii("host.client.test.").ok()?)))
        }
        _ => None,
    }
}
