//! What a response says about the question (RFC 1034 §4.3.1, RFC 2308 §2).

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::limits::CNAME_CHAIN_MAX;
use crate::lookup::Failure;

/// A response, or a part of a zone, read for one question.
#[derive(Debug)]
pub(crate) enum Finding<'a> {
    /// Records at the end of any aliases.
    Records { records: Vec<&'a RData>, ttl_s: u32 },
    /// Aliases only: ask for `target` next.
    Alias { target: Name, ttl_s: u32, links: usize },
    /// The name is there, the type is not.
    NoData { ttl_s: Option<u32> },
    /// The name is not there.
    NxDomain { ttl_s: Option<u32> },
}

/// Reads `response` for `name` and `record_type`, after `links` aliases in earlier responses.
///
/// Only records that the question leads to count: those of `name`, and of what its aliases in this response point to.
pub(crate) fn read<'a>(
    response: &'a Message,
    name: &Name,
    record_type: RecordType,
    mut links: usize,
) -> Result<Finding<'a>, Failure> {
    let code = response.metadata.response_code;
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        ResponseCode::Refused => return Err(Failure::Refused),
        _ => return Err(Failure::ServFail),
    }
    if !response.queries.iter().any(|query| query.name == *name && query.query_type == record_type) {
        return Err(Failure::Malformed);
    }
    let (mut owner, mut ttl_s, first) = (name.clone(), u32::MAX, links);
    loop {
        let of_owner = || response.answers.iter().filter(|record| record.name == owner);
        let records: Vec<&Record> = of_owner().filter(|record| record.record_type() == record_type).collect();
        if !records.is_empty() {
            let ttl_s = records.iter().map(|record| ttl(record)).fold(ttl_s, u32::min);
            return Ok(Finding::Records { records: records.iter().map(|record| &record.data).collect(), ttl_s });
        }
        let alias = of_owner().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((&target.0, ttl(record))),
            _ => None,
        });
        let Some((target, alias_ttl_s)) = alias else { break };
        links += 1;
        if links > CNAME_CHAIN_MAX {
            return Err(Failure::CnameChain);
        }
        ttl_s = ttl_s.min(alias_ttl_s);
        owner = target.clone();
    }
    let negative_s = negative_ttl(response).map(|negative_s| negative_s.min(ttl_s));
    match code {
        ResponseCode::NXDomain => Ok(Finding::NxDomain { ttl_s: negative_s }),
        // A referral (RFC 2308 §2.2): this server does not resolve for us, and nothing is known.
        _ if links == first && negative_s.is_none() && response.authorities.iter().any(is_ns) => Err(Failure::ServFail),
        // An SOA says that the end of the chain was reached; without one, an authoritative server left the rest to us.
        _ if links > first && negative_s.is_none() => Ok(Finding::Alias { target: owner, ttl_s, links }),
        _ => Ok(Finding::NoData { ttl_s: negative_s }),
    }
}

fn is_ns(record: &Record) -> bool {
    record.record_type() == RecordType::NS
}

/// A TTL with the highest bit set counts as 0 (RFC 2181 §8).
fn ttl(record: &Record) -> u32 {
    if record.ttl > i32::MAX as u32 { 0 } else { record.ttl }
}

/// The lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5).
fn negative_ttl(response: &Message) -> Option<u32> {
    response.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(ttl(record).min(soa.minimum)),
        _ => None,
    })
}
