//! One connection: octets between socket and session, questions to the transaction.
//!
//! One task a connection, and inside it plain futures are raced: read, deadline, stop. While a question is open nothing is read, so
//! backpressure is TCP's. A connection that waits holds no read buffer, only the beginning of a command line if there is one.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use mx6_delivery::{NextHopClient, Sender};
use mx6_policy::Client;
use mx6_runtime::Stream;
use mx6_smtp::{Notice, Question, Session, Step, Verdict};
use mx6_telemetry::{Counter, Timing};

use crate::admission;
use crate::alarm::Alarm;
use crate::buffers::Purpose;
use crate::config::{Config, EarlyTalker};
use crate::limits;
use crate::message::LOCAL_ERROR;
use crate::origin::Ends;
use crate::peer::{Peer, PeerTls};
use crate::pending::Pending;
use crate::phase::{Phase, Watch};
use crate::proxy::{self, ProxyHeader};
use crate::settings::Settings;
use crate::shard::Shard;
use crate::tap::Tap;
use crate::tls::Channel;
use crate::transaction::{Answer, Transaction};

/// How a listener learns who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// The socket's peer.
    Direct,
    /// The PROXY header, demanded first.
    Proxy,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, mut stream: Stream, peer: SocketAddr, kind: ListenerKind) {
    let _open = shard.opened();
    let settings = shard.settings();
    let config = &settings.config;
    let (client, ends, early) = match kind {
        ListenerKind::Direct => {
            // Asking the kernel for our own address is for who wants to know.
            let wants_destination = config.next_hop_client == NextHopClient::Proxy;
            let destination = if wants_destination { stream.local_addr().ok() } else { None };
            (Client::new(peer.ip(), &config.connectors), Some(Ends { source: peer, destination }), Vec::new())
        }
        ListenerKind::Proxy => match proxied_client(config, &mut stream, peer.ip()).await {
            Some(known) => known,
            None => return shard.counters.add_one(Counter::ProxyRefused),
        },
    };
    mx6_telemetry::detail!("shard {}: a connection of {}", shard.index, client.address());
    count_address(&shard, &client, ends.as_ref().map(|ends| ends.source.ip()));
    let Some(_admitted) = admission::admit(&shard, &mut stream, &client).await else { return };
    let mut connection = Connection::new(shard, settings, Channel::plain(stream), client, ends);
    // An error here is the peer's: it reset the connection or stopped reading. There is nobody else to tell.
    match connection.run(early).await {
        Ok(()) => connection.close().await,
        Err(error) => mx6_telemetry::detail!("{}: {error}", connection.peer.session_id),
    }
    if let Some(transaction) = connection.transaction.take() {
        transaction.abandon(&connection.peer);
    }
}

/// Counts what kind of address an anonymous client has; `given` is as the socket or the PROXY header gave it.
fn count_address(shard: &Shard, client: &Client, given: Option<IpAddr>) {
    // A proxy that speaks for itself is no client.
    let Some(given) = given.filter(|_| !client.is_connector()) else { return };
    shard.counters.add_one(match (given, client.address()) {
        (IpAddr::V4(_), _) => Counter::Ipv4Clients,
        (IpAddr::V6(_), IpAddr::V4(_)) => Counter::MappedClients,
        (IpAddr::V6(_), IpAddr::V6(_)) => Counter::Ipv6Clients,
    });
    if mx6_telemetry::is_private(client.address()) {
        shard.counters.add_one(Counter::PrivateClients);
    }
}

/// The client that the PROXY header names, the ends of its connection, and the octets that followed it. None: not a proxy of ours, or not a
/// header.
async fn proxied_client(
    config: &Config,
    stream: &mut Stream,
    proxy: IpAddr,
) -> Option<(Client, Option<Ends>, Vec<u8>)> {
    let proxy = mx6_policy::canonical_address(proxy);
    if !config.proxy_from.iter().any(|network| network.contains(&proxy)) {
        return None;
    }
    mx6_runtime::timeout(limits::PROXY_HEADER_TIMEOUT, async {
        let mut buffer = vec![0; proxy::OCTETS_MAX];
        let mut filled = 0;
        loop {
            match proxy::parse(&buffer[..filled]) {
                ProxyHeader::Complete { octets, ends } => {
                    let client = match ends {
                        Some(ends) => Client::new(ends.source.ip(), &config.connectors),
                        None => Client::unknowable(proxy),
                    };
                    return Some((client, ends, buffer[octets..filled].to_vec()));
                }
                ProxyHeader::Incomplete if filled < buffer.len() => match stream.read(&mut buffer[filled..]).await {
                    Ok(octets) if octets > 0 => filled += octets,
                    _ => return None,
                },
                _ => return None,
            }
        }
    })
    .await
    .flatten()
}

struct Connection {
    shard: Rc<Shard>,
    /// Those that held when it began.
    settings: Rc<Settings>,
    channel: Channel,
    session: Session,
    peer: Peer,
    /// Boxed: most of the time most connections have none.
    transaction: Option<Box<Transaction>>,
    in_body: bool,
    alarm: Alarm,
    phase: Phase,
    watch: Watch,
    /// What the session has not taken yet: the beginning of a command line.
    held: Vec<u8>,
    last_octets_ms: u64,
}

/// Why a read ended.
enum Wake {
    /// The first `filled` octets of the buffer are to be looked at.
    Octets {
        buffer: Vec<u8>,
        purpose: Purpose,
        filled: usize,
    },
    Ended,
    Deadline,
    Stalled,
    Phase(Phase),
}

impl Connection {
    fn new(
        shard: Rc<Shard>,
        settings: Rc<Settings>,
        channel: Channel,
        client: Client,
        ends: Option<Ends>,
    ) -> Connection {
        let now_ms = mx6_runtime::now_ms();
        let address = client.address();
        let (auth, memory) = shard.allotted(&client);
        let (auth_iprev, auth_ptr) = (auth.clone(), auth.clone());
        let timed = Some((&shard.counters, Timing::Iprev));
        let iprev = Pending::start("reverse DNS", timed, async move { auth_iprev.iprev(address).await });
        let lookup = async move { auth_ptr.ptr(address).await };
        let ptr = iprev.known().is_none().then(|| Pending::start("PTR", None, lookup));
        let session_id = shard.next_session_id();
        let tap = Tap::open(&shard.tracing, address, &session_id, now_ms);
        let peer = Peer {
            client,
            ends,
            session_id,
            helo: String::new(),
            with_esmtp: false,
            early_talker: false,
            tls: None,
            ptr,
            iprev,
            auth,
            memory,
            accepted_at_ms: now_ms,
            tap,
        };
        Connection {
            session: Session::new(settings.session_config(), now_ms),
            watch: shard.phases.watch(),
            shard,
            settings,
            channel,
            peer,
            transaction: None,
            in_body: false,
            alarm: Alarm::default(),
            phase: Phase::Serving,
            held: Vec::new(),
            last_octets_ms: now_ms,
        }
    }

    async fn run(&mut self, early: Vec<u8>) -> io::Result<()> {
        self.held = early;
        self.before_the_greeting().await?;
        let mut open = self.advance_held().await?;
        while open {
            open = self.turn().await?;
        }
        Ok(())
    }

    /// The greeting is held back if so configured, and whoever speaks before it has arrived is an early talker.
    async fn before_the_greeting(&mut self) -> io::Result<()> {
        let config = &self.settings.config;
        if config.early_talker == EarlyTalker::Ignore {
            return Ok(());
        }
        if self.held.is_empty() {
            let mut buffer = self.shard.buffers.take(Purpose::Commands);
            let delay = if self.peer.client.is_connector() { Duration::ZERO } else { config.greet_delay };
            let stream = self.channel.stream();
            let octets = if delay.is_zero() {
                stream.try_read(&mut buffer)?
            } else {
                mx6_runtime::timeout(delay, stream.read(&mut buffer)).await.transpose()?
            };
            self.held.extend_from_slice(&buffer[..octets.unwrap_or_default()]);
            self.shard.buffers.keep(Purpose::Commands, buffer);
            if octets == Some(0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !self.held.is_empty() {
            self.early_talker();
        }
        Ok(())
    }

    /// The client spoke before its turn.
    fn early_talker(&mut self) {
        self.shard.counters.add_one(Counter::EarlyTalkers);
        self.peer.early_talker = true;
        if self.settings.config.early_talker == EarlyTalker::Refuse && !self.peer.client.is_connector() {
            self.session.refuse_early_talker();
        }
    }

    /// Waits for something to happen and lets the session work on it. False when the connection is to be closed.
    async fn turn(&mut self) -> io::Result<bool> {
        match self.read().await? {
            Wake::Octets { mut buffer, purpose, filled } => {
                self.last_octets_ms = mx6_runtime::now_ms();
                let open = self.advance(&mut buffer, filled).await;
                if let Ok(Some(held)) = open {
                    self.held.extend_from_slice(&buffer[..held]);
                }
                self.shard.buffers.keep(purpose, buffer);
                return open.map(|held| held.is_some());
            }
            Wake::Ended => return Ok(false),
            Wake::Deadline => self.session.on_deadline(mx6_runtime::now_ms()),
            Wake::Stalled => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.release_next_hop();
                }
            }
            Wake::Phase(Phase::CutOff) => {
                // Between commands this says 421; in the middle of a message there is no place for a reply.
                self.session.shutdown();
                self.flush().await?;
                return Ok(false);
            }
            Wake::Phase(phase) => self.phase = phase,
        }
        self.advance_held().await
    }

    /// Lets the session go on when nothing came. False when the connection is to be closed.
    async fn advance_held(&mut self) -> io::Result<bool> {
        let mut held = std::mem::take(&mut self.held);
        let filled = held.len();
        let Some(left) = self.advance(&mut held, filled).await? else { return Ok(false) };
        held.truncate(left);
        self.held = held;
        Ok(true)
    }

    async fn read(&mut self) -> io::Result<Wake> {
        let stall_ms = match &self.transaction {
            Some(transaction) if transaction.holds_next_hop() => self.last_octets_ms + limits::CLIENT_STALL_MS,
            _ => u64::MAX,
        };
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_octets(cx) {
                return Poll::Ready(result);
            }
            if let Poll::Ready(phase) = self.watch.poll_later(cx, self.phase) {
                return Poll::Ready(Ok(Wake::Phase(phase)));
            }
            self.hurry();
            let deadline_ms = self.session.deadline_ms();
            if self.alarm.poll(cx, deadline_ms.min(stall_ms)).is_ready() {
                let wake = if deadline_ms <= stall_ms { Wake::Deadline } else { Wake::Stalled };
                return Poll::Ready(Ok(wake));
            }
            Poll::Pending
        })
        .await
    }

    /// While places are short, an anonymous client that has begun nothing does not hold one for long.
    fn hurry(&mut self) {
        if self.shard.load.is_short() && !self.session.in_transaction() && !self.peer.client.is_connector() {
            self.session.hurry(mx6_runtime::now_ms() + limits::BUSY_COMMAND_TIMEOUT_MS);
        }
    }

    /// Octets behind those that are held, in a buffer that is borrowed from the shard for as long as there is something in it.
    fn poll_octets(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Wake>> {
        let purpose = if self.session.receiving_message() { Purpose::Message } else { Purpose::Commands };
        let mut buffer = self.shard.buffers.take(purpose);
        // A held line is shorter than either buffer, or the session would have refused it.
        let held = self.held.len();
        let poll = self.channel.poll_read(cx, &mut buffer[held..]);
        if let Poll::Ready(Ok(octets @ 1..)) = poll {
            buffer[..held].copy_from_slice(&self.held);
            self.held.clear();
            return Poll::Ready(Ok(Wake::Octets { buffer, purpose, filled: held + octets }));
        }
        self.shard.buffers.keep(purpose, buffer);
        poll.map_ok(|_| Wake::Ended)
    }

    /// Hands the first `filled` octets of `buffer` to the session until it wants more, and answers its questions. What it did not take
    /// is moved to the front; returns how many octets that are, or none when the connection is to be closed.
    async fn advance(&mut self, buffer: &mut [u8], filled: usize) -> io::Result<Option<usize>> {
        let mut input = &buffer[..filled];
        // Read once for all that is ready now, and again whenever something was waited for.
        let mut now_ms = mx6_runtime::now_ms();
        loop {
            if self.phase > Phase::Serving && !self.session.in_transaction() {
                self.session.shutdown();
            }
            let of_message = self.session.receiving_message();
            let (taken, step) = self.session.step(now_ms, input);
            if let Some(tap) = &mut self.peer.tap {
                tap.client(&input[..taken], of_message);
            }
            input = &input[taken..];
            match step {
                Step::NeedInput => {
                    let held = input.len();
                    self.flush().await?;
                    buffer.copy_within(filled - held..filled, 0);
                    return Ok(Some(held));
                }
                Step::Output => self.flush().await?,
                Step::Octets(octets) => {
                    self.octets(octets).await;
                    now_ms = mx6_runtime::now_ms();
                }
                Step::StartTls => {
                    // Boxed, as a connection that waits is as large as the largest future inside it.
                    Box::pin(self.start_tls()).await?;
                    now_ms = mx6_runtime::now_ms();
                }
                Step::Notice(notice) => self.notice(notice),
                Step::Question(question) => {
                    let answer = self.answer(question).await;
                    now_ms = mx6_runtime::now_ms();
                    // What we took to answer is not the client's stall.
                    self.last_octets_ms = now_ms;
                    match answer {
                        Answer::Verdict(verdict) => self.session.verdict(now_ms, verdict),
                        Answer::Outcome(outcome) => self.session.outcome(now_ms, outcome),
                    }
                }
                Step::Close => {
                    self.flush().await?;
                    return Ok(None);
                }
            }
        }
    }

    /// The client goes on inside TLS, perhaps as a partner that its certificate makes known.
    async fn start_tls(&mut self) -> io::Result<()> {
        self.flush().await?;
        // A transaction that was begun ends with the handshake, which may take its time.
        if let Some(transaction) = &mut self.transaction {
            transaction.release_next_hop();
        }
        // The session offers it only where there is TLS.
        let Some(tls) = self.settings.tls.ready() else { return Err(io::ErrorKind::Unsupported.into()) };
        let handshake = tls.handshake().map_err(io::Error::other)?;
        let done = mx6_runtime::timeout(limits::TLS_HANDSHAKE_TIMEOUT, self.channel.handshake(handshake.config)).await;
        let done = done.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        self.shard.counters.add_one(if done.is_ok() { Counter::TlsSessions } else { Counter::TlsFailed });
        done?;
        self.peer.tls = self.channel.agreed().map(|agreed| PeerTls {
            version: agreed.version,
            cipher: agreed.cipher,
            connector: handshake.client.and_then(|client| Some(client.partner(agreed.client_certificates)?.to_owned())),
        });
        if let (Some(tap), Some(tls)) = (&mut self.peer.tap, &self.peer.tls) {
            tap.tls(tls.version);
        }
        if self.peer.tls.as_ref().is_some_and(|tls| tls.connector.is_some()) {
            self.peer.client = self.peer.client.known();
            (self.peer.auth, self.peer.memory) = self.shard.allotted(&self.peer.client);
        }
        self.session.tls_established(mx6_runtime::now_ms());
        Ok(())
    }

    async fn octets(&mut self, octets: &[u8]) {
        let Some(message) = self.transaction.as_mut().and_then(|transaction| transaction.message()) else { return };
        if self.in_body {
            message.body_octets(octets).await;
        } else {
            message.header_octets(octets);
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::HeaderComplete => {
                self.in_body = true;
                if let Some(message) = self.transaction.as_mut().and_then(|transaction| transaction.message()) {
                    message.header_complete();
                }
            }
            Notice::EarlyTalker => self.early_talker(),
            Notice::TransactionReset => {
                if let Some(transaction) = self.transaction.take() {
                    transaction.abandon(&self.peer);
                }
            }
        }
    }

    async fn answer(&mut self, question: Question<'_>) -> Answer {
        match question {
            Question::Helo { domain, extended } => {
                self.peer.helo.clear();
                self.peer.helo.push_str(domain);
                self.peer.with_esmtp = extended;
                Answer::Verdict(Verdict::Accept)
            }
            Question::Mail { reverse_path, size, body_8bit, smtp_utf8, dsn } => {
                let (ret, envid) = (dsn.ret.map(str::to_owned), dsn.envid.map(str::to_owned));
                let sender = Sender { reverse_path: reverse_path.to_string(), size, body_8bit, smtp_utf8, ret, envid };
                match Transaction::begin(&self.shard, &self.peer, &reverse_path, sender) {
                    Ok(transaction) => {
                        self.transaction = Some(Box::new(transaction));
                        Answer::Verdict(Verdict::Accept)
                    }
                    Err(verdict) => Answer::Verdict(verdict),
                }
            }
            Question::Rcpt { forward_path, dsn } => match &mut self.transaction {
                // Boxed, as the end of data is: a connection that waits is as large as the largest future inside it.
                Some(transaction) => Box::pin(transaction.rcpt(&mut self.peer, &forward_path, &dsn)).await,
                None => NO_TRANSACTION,
            },
            Question::Data => {
                self.in_body = false;
                self.transaction
                    .as_mut()
                    .map_or(NO_TRANSACTION, |transaction| Answer::Verdict(transaction.data(&self.peer)))
            }
            Question::EndOfData { fault } => match self.transaction.take() {
                Some(transaction) => Box::pin(transaction.end_of_data(&mut self.peer, fault)).await,
                None => NO_TRANSACTION,
            },
        }
    }

    /// Says the end inside TLS, and takes what the client still sends.
    async fn close(&mut self) {
        let told = mx6_runtime::timeout(limits::LINGER_TIMEOUT, self.channel.close_notify()).await;
        if let Some(Ok(())) = told {
            linger(self.channel.stream()).await;
        }
    }

    /// Sends what the session has to say. The usual write is done at once and costs no timer.
    async fn flush(&mut self) -> io::Result<()> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let octets = output.len();
        if let Some(tap) = &mut self.peer.tap {
            tap.server(output);
        }
        {
            let mut write = pin!(self.channel.write_all(output));
            match (&mut write).now_or_never() {
                Some(result) => result?,
                None => match mx6_runtime::timeout(limits::WRITE_TIMEOUT, write).await {
                    Some(result) => result?,
                    None => return Err(io::ErrorKind::TimedOut.into()),
                },
            }
        }
        self.session.output_written(octets);
        Ok(())
    }
}

/// Octets that were never read would make the kernel reset the connection, and the client lose our last reply: take them first,
/// for a while.
pub(crate) async fn linger(stream: &mut Stream) {
    let mut unread = [0; LINGER_PIECE_OCTETS];
    if stream.is_quiet() || !matches!(stream.try_read(&mut unread), Ok(Some(1..))) || stream.shutdown_write().is_err() {
        return;
    }
    let drained = async {
        let mut left = limits::LINGER_OCTETS_MAX;
        while let (1.., Ok(octets @ 1..)) = (left, stream.read(&mut unread).await) {
            left = left.saturating_sub(octets);
        }
    };
    mx6_runtime::timeout(limits::LINGER_TIMEOUT, drained).await;
}

/// What is thrown away at a time: it is part of every connection's task.
const LINGER_PIECE_OCTETS: usize = 512;
/// The session asks about a transaction only after its MAIL was accepted, which made one. Were it otherwise, a message must not be lost.
const NO_TRANSACTION: Answer = Answer::Verdict(Verdict::Defer(LOCAL_ERROR));
