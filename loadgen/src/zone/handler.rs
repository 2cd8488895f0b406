//! Questions from the network, answered by [`Population::answer`] over hickory-server, with the failures asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::{Name, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::answers::{Answer, NEGATIVE_TTL_S, dns_name, soa};
use super::faults::Faults;
use crate::population::Population;

/// Answers for one population.
pub(super) struct Handler {
    pub(super) population: Arc<Population>,
    pub(super) faults: Faults,
    pub(super) rng: Mutex<Rng>,
    pub(super) counters: Arc<Counters>,
}

/// What was asked and what was done about it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    kinds: [AtomicU64; KINDS.len() + 1],
    tcp: AtomicU64,
    lost: AtomicU64,
    servfail: AtomicU64,
    truncated: AtomicU64,
}

impl Counters {
    /// Questions so far.
    pub(crate) fn questions(&self) -> u64 {
        self.kinds.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn count(&self, kind: RecordType) {
        let at = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len());
        self.kinds[at].fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} questions", self.questions())?;
        let names = KINDS.iter().map(ToString::to_string).chain(["other".to_owned()]);
        for (name, count) in names.zip(&self.kinds) {
            match count.load(Ordering::Relaxed) {
                0 => {}
                count => write!(f, ", {name} {count}")?,
            }
        }
        let made = [
            ("over TCP", &self.tcp),
            ("dropped", &self.lost),
            ("SERVFAIL on purpose", &self.servfail),
            ("truncated on purpose", &self.truncated),
        ];
        for (what, count) in made {
            match count.load(Ordering::Relaxed) {
                0 => {}
                count => write!(f, "; {count} {what}")?,
            }
        }
        Ok(())
    }
}

/// What becomes of a question by the lots that were drawn.
struct Lots {
    lost: bool,
    servfail: bool,
    truncated: bool,
    delay: Duration,
}

impl Handler {
    fn draw(&self, is_udp: bool) -> Lots {
        if self.faults.is_none() {
            return Lots { lost: false, servfail: false, truncated: false, delay: Duration::ZERO };
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chance = |percent: f64| percent > 0.0 && rng.f64() * 100.0 < percent;
        let (lost, servfail) = (is_udp && chance(self.faults.loss), chance(self.faults.servfail));
        let truncated = is_udp && chance(self.faults.truncate);
        let jitter_ms = rng.f64() * self.faults.jitter_ms;
        Lots { lost, servfail, truncated, delay: Duration::from_secs_f64((self.faults.delay_ms + jitter_ms) / 1_000.0) }
    }

    /// Code, records of the answer section, and the SOA record for the authority section.
    fn look_up(&self, name: &Name, kind: RecordType) -> (ResponseCode, Vec<Record>, Option<Record>) {
        let mut text = name.to_ascii();
        text.make_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        let negative = |apex: &str| Some(Record::from_rdata(dns_name(apex), NEGATIVE_TTL_S, soa()));
        match self.population.answer(text, kind) {
            Answer::Records(records) => {
                let record = |data| Record::from_rdata(name.clone(), TTL_S, data);
                (ResponseCode::NoError, records.into_iter().map(record).collect(), None)
            }
            Answer::NoData { apex } => (ResponseCode::NoError, Vec::new(), negative(&apex)),
            Answer::NxDomain { apex } => (ResponseCode::NXDomain, Vec::new(), negative(&apex)),
            Answer::ServFail => (ResponseCode::ServFail, Vec::new(), None),
        }
    }

    async fn respond<R: ResponseHandler>(&self, request: &Request, mut handle: R) -> Option<ResponseInfo> {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let mut edns = Edns::new();
        edns.set_max_payload(request.max_payload().min(UDP_OCTETS_MAX));
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let question = request.request_info().ok().filter(|_| request.metadata.op_code == OpCode::Query);
        let Some(question) = question else {
            let code =
                if request.metadata.op_code == OpCode::Query { ResponseCode::FormErr } else { ResponseCode::NotImp };
            return handle.send_response(builder.error_msg(&request.metadata, code)).await.ok();
        };
        let (name, kind) = (Name::from(question.query.name()), question.query.query_type());
        let is_udp = request.protocol() == Protocol::Udp;
        self.counters.count(kind);
        self.counters.tcp.fetch_add(u64::from(!is_udp), Ordering::Relaxed);
        let lots = self.draw(is_udp);
        if lots.lost {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if !lots.delay.is_zero() {
            tokio::time::sleep(lots.delay).await;
        }
        (metadata.authoritative, metadata.recursion_available) = (true, true);
        let (code, answers, soa) = if lots.servfail {
            self.counters.servfail.fetch_add(1, Ordering::Relaxed);
            (ResponseCode::ServFail, Vec::new(), None)
        } else if lots.truncated {
            self.counters.truncated.fetch_add(1, Ordering::Relaxed);
            metadata.truncation = true;
            (ResponseCode::NoError, Vec::new(), None)
        } else {
            self.look_up(&name, kind)
        };
        metadata.response_code = code;
        handle.send_response(builder.build(metadata, &answers, [], &soa, [])).await.ok()
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, handle: R) -> ResponseInfo {
        let sent = self.respond(request, handle).await;
        sent.unwrap_or_else(|| {
            let metadata = Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        })
    }
}

/// Counted by name.
const KINDS: [RecordType; 8] = [
    RecordType::PTR,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::A,
    RecordType::MX,
    RecordType::NS,
    RecordType::SOA,
    RecordType::ANY,
];

/// How long answers may be remembered.
const TTL_S: u32 = 3_600;

/// DNS flag day 2020.
const UDP_OCTETS_MAX: u16 = 1_232;
