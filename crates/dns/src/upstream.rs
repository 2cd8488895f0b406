//! The network: resolvers asked one after the other, UDP first, TCP when an answer was cut.
//!
//! hickory sends and checks: a random source port and id for every query, the answer taken only from the server asked (the socket is
//! connected), with that id and that question. Which server is asked when, and what its answer means, is decided here: hickory's
//! own pool does not turn to the next server on SERVFAIL, and asks two at once by default.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender, DnsResponseStream};
use hickory_resolver::net::{DnsError, NetError};
use mx6_runtime::{Deadline, GlommioProvider, deadline, now_ms};
use rustix::io::Errno;

use crate::config::DnsConfig;
use crate::counters::{ShardCounters, count};
use crate::limits::{DATAGRAMS_PER_QUERY, EDNS_UDP_OCTETS, LOOKUP_TIME_MAX, RETRANSMIT_AFTER_MS, SERVER_REST_MS};
use crate::lookup::Failure;
use crate::response::{self, Finding};

/// What the network, or the zone, says of a question, with the records given to `read`.
#[derive(Debug)]
pub(crate) enum Told<T> {
    Found { value: T, ttl_s: u32 },
    NoData { ttl_s: Option<u32> },
    NxDomain { ttl_s: Option<u32> },
}

/// One shard's resolvers.
pub(crate) struct Upstream {
    servers: Vec<Server>,
    query_timeout: Duration,
    attempts: u32,
    counters: Arc<ShardCounters>,
}

struct Server {
    address: SocketAddr,
    udp: RefCell<UdpClientStream<GlommioProvider>>,
    /// It did not answer lately: others come first until then, on the clock of `now_ms`.
    rests_until_ms: Cell<u64>,
}

impl Upstream {
    pub(crate) fn new(config: &DnsConfig, counters: Arc<ShardCounters>) -> Upstream {
        let server = |&address| Server {
            address,
            udp: RefCell::new(
                UdpClientStream::builder(address, GlommioProvider)
                    .with_timeout(Some(config.query_timeout))
                    .with_max_retries(DATAGRAMS_PER_QUERY)
                    .with_retry_interval_floor(RETRANSMIT_AFTER_MS)
                    .build(),
            ),
            rests_until_ms: Cell::new(0),
        };
        Upstream {
            servers: config.servers.iter().map(server).collect(),
            query_timeout: config.query_timeout,
            attempts: config.attempts.max(1),
            counters,
        }
    }

    /// Asks until the question is settled, following aliases that a server leaves to us. Takes no longer than [`LOOKUP_TIME_MAX`].
    pub(crate) async fn ask<T>(
        &self,
        name: Name,
        record_type: RecordType,
        read: impl Fn(&[&RData]) -> Result<T, Failure>,
    ) -> Result<Told<T>, Failure> {
        let end = Deadline::after(LOOKUP_TIME_MAX);
        let chain = async {
            let (mut name, mut chain_ttl_s, mut links) = (name, u32::MAX, 0);
            loop {
                let response = self.ask_servers(&name, record_type).await?;
                match response::read(&response, &name, record_type, links)? {
                    Finding::Records { records, ttl_s } => {
                        return Ok(Told::Found { value: read(&records)?, ttl_s: ttl_s.min(chain_ttl_s) });
                    }
                    Finding::NoData { ttl_s } => {
                        return Ok(Told::NoData { ttl_s: ttl_s.map(|ttl_s| ttl_s.min(chain_ttl_s)) });
                    }
                    Finding::NxDomain { ttl_s } => {
                        return Ok(Told::NxDomain { ttl_s: ttl_s.map(|ttl_s| ttl_s.min(chain_ttl_s)) });
                    }
                    Finding::Alias { target, ttl_s, links: now } => {
                        (name, chain_ttl_s, links) = (target, chain_ttl_s.min(ttl_s), now);
                    }
                }
            }
        };
        deadline(end, chain).await.unwrap_or(Err(Failure::Timeout))
    }

    /// The first usable response of any server: one without an error code that is about the question.
    async fn ask_servers(&self, name: &Name, record_type: RecordType) -> Result<DnsResponse, Failure> {
        let mut last = Failure::Timeout;
        let mut order = self.order();
        for _ in 0..self.attempts {
            let mut silent = Vec::new();
            for index in order {
                let server = &self.servers[index];
                match self.ask_server(server, name, record_type).await {
                    Ok(response) => {
                        server.rests_until_ms.set(0);
                        // Read twice when it is good, which is cheap; a bad one must lead to the next server.
                        match response::read(&response, name, record_type, 0) {
                            Err(failure @ (Failure::ServFail | Failure::Refused | Failure::Malformed)) => {
                                last = failure
                            }
                            _ => return Ok(response),
                        }
                    }
                    Err(failure) => {
                        last = failure;
                        if matches!(failure, Failure::Timeout | Failure::Unreachable) {
                            server.rests_until_ms.set(now_ms() + SERVER_REST_MS);
                            silent.push(index);
                        }
                    }
                }
            }
            if silent.is_empty() {
                break;
            }
            order = silent;
        }
        Err(last)
    }

    /// As configured, those that rest last.
    fn order(&self) -> Vec<usize> {
        let now = now_ms();
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(|&index| self.servers[index].rests_until_ms.get() > now);
        order
    }

    async fn ask_server(&self, server: &Server, name: &Name, record_type: RecordType) -> Result<DnsResponse, Failure> {
        let response = self.over_udp(server, request(name, record_type, true)).await?;
        // A server that does not know EDNS says so (RFC 6891 §7).
        let response = match response.metadata.response_code {
            ResponseCode::FormErr | ResponseCode::NotImp => {
                self.over_udp(server, request(name, record_type, false)).await?
            }
            _ => response,
        };
        if !response.metadata.truncation {
            return Ok(response);
        }
        let over_tcp = self.over_tcp(server.address, request(name, record_type, true));
        let response = mx6_runtime::timeout(self.query_timeout, over_tcp).await.unwrap_or(Err(Failure::Timeout))?;
        if response.metadata.truncation { Err(Failure::TooBig) } else { Ok(response) }
    }

    async fn over_udp(&self, server: &Server, request: DnsRequest) -> Result<DnsResponse, Failure> {
        count(&self.counters.queries_udp);
        let responses = server.udp.borrow_mut().send_message(request);
        first(responses).await
    }

    /// Over a connection of its own: answers that do not fit are few.
    async fn over_tcp(&self, address: SocketAddr, request: DnsRequest) -> Result<DnsResponse, Failure> {
        count(&self.counters.queries_tcp);
        let exchange = TcpClientStream::exchange(address, None, self.query_timeout, None, GlommioProvider);
        let exchange = exchange.await.map_err(|error| failure(&error))?;
        let mut responses = exchange.send(request);
        match responses.next().await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(failure(&error)),
            None => Err(Failure::Unreachable),
        }
    }
}

/// One question to a recursive resolver.
fn request(name: &Name, record_type: RecordType, edns: bool) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.use_edns = edns;
    options.edns_payload_len = EDNS_UDP_OCTETS;
    options.recursion_desired = true;
    options.retry_interval = Duration::from_millis(RETRANSMIT_AFTER_MS);
    DnsRequest::from_query(Query::query(name.clone(), record_type), options)
}

/// The first response; hickory ends the stream without one on a timeout.
async fn first(mut responses: DnsResponseStream) -> Result<DnsResponse, Failure> {
    match responses.next().await {
        Some(Ok(response)) => Ok(response),
        Some(Err(error)) => Err(failure(&error)),
        None => Err(Failure::Timeout),
    }
}

/// Whether we lack something ourselves: that tells nothing of the resolver.
fn is_shortage(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| {
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&Errno::from_raw_os_error(code))
    })
}

fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Timeout => Failure::Timeout,
        NetError::Proto(_) | NetError::QueryCaseMismatch => Failure::Malformed,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Failure::Refused,
        NetError::Dns(_) => Failure::ServFail,
        NetError::Truncated => Failure::TooBig,
        NetError::Io(error) if is_shortage(error) => Failure::Overload,
        _ => Failure::Unreachable,
    }
}
