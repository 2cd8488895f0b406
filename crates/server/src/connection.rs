//! One connection: octets between socket and session, questions to the transaction.
//!
//! One task a connection, and inside it plain futures are raced: read, deadline, stop. While a question is open nothing is read, so
//! backpressure is TCP's.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use futures_util::FutureExt;
use mx6_policy::Client;
use mx6_runtime::{Stopped, Stream};
use mx6_smtp::{Notice, Question, Session, Step, Verdict};
use mx6_telemetry::Counter;

use crate::alarm::Alarm;
use crate::limits;
use crate::message::LOCAL_ERROR;
use crate::peer::Peer;
use crate::pending::Pending;
use crate::proxy::{self, ProxyHeader};
use crate::shard::Shard;
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
    let (client, early) = match kind {
        ListenerKind::Direct => (Client::new(peer.ip(), &shard.connectors), Vec::new()),
        ListenerKind::Proxy => match proxied_client(&shard, &mut stream, peer.ip()).await {
            Some(known) => known,
            None => return shard.counters.add_one(Counter::ProxyRefused),
        },
    };
    let mut connection = Connection::new(shard, stream, client);
    // An error here is the peer's: it reset the connection or stopped reading. There is nobody to tell.
    if connection.run(early).await.is_ok() {
        connection.linger().await;
    }
    if let Some(transaction) = connection.transaction.take() {
        transaction.abandon(&connection.peer);
    }
}

/// The client that the PROXY header names, and the octets that followed it. None: not a proxy of ours, or not a header.
async fn proxied_client(shard: &Shard, stream: &mut Stream, proxy: IpAddr) -> Option<(Client, Vec<u8>)> {
    let proxy = mx6_policy::canonical_address(proxy);
    if !shard.proxy_from.iter().any(|network| network.contains(&proxy)) {
        return None;
    }
    mx6_runtime::timeout(limits::PROXY_HEADER_TIMEOUT, async {
        let mut buffer = vec![0; proxy::OCTETS_MAX];
        let mut filled = 0;
        loop {
            match proxy::parse(&buffer[..filled]) {
                ProxyHeader::Complete { octets, source } => {
                    let client = match source {
                        Some(source) => Client::new(source, &shard.connectors),
                        // The proxy speaks for itself: never a connector.
                        None => Client::new(proxy, &[]),
                    };
                    return Some((client, buffer[octets..filled].to_vec()));
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
    stream: Stream,
    session: Session,
    peer: Peer,
    transaction: Option<Transaction>,
    in_body: bool,
    alarm: Alarm,
    stopped: Pin<Box<Stopped>>,
    cut_off: Pin<Box<Stopped>>,
    stopping: bool,
    last_octets_ms: u64,
}

/// Why a read ended.
enum Wake {
    Octets(usize),
    Ended,
    Deadline,
    Stalled,
    Stopping,
    CutOff,
}

impl Connection {
    fn new(shard: Rc<Shard>, stream: Stream, client: Client) -> Connection {
        let now_ms = mx6_runtime::now_ms();
        let address = client.address();
        let (auth, auth_ptr) = (shard.auth.clone(), shard.auth.clone());
        let iprev = Pending::start("reverse DNS", async move { auth.iprev(address).await });
        let ptr = iprev.known().is_none().then(|| Pending::start("PTR", async move { auth_ptr.ptr(address).await }));
        let peer = Peer {
            client,
            session_id: shard.next_session_id(),
            helo: String::new(),
            with_esmtp: false,
            ptr,
            iprev,
            accepted_at_ms: now_ms,
        };
        Connection {
            session: Session::new(shard.session_config(), now_ms),
            stopped: Box::pin(shard.stop.stopped()),
            cut_off: Box::pin(shard.cut_off.stopped()),
            shard,
            stream,
            peer,
            transaction: None,
            in_body: false,
            alarm: Alarm::default(),
            stopping: false,
            last_octets_ms: now_ms,
        }
    }

    async fn run(&mut self, early: Vec<u8>) -> io::Result<()> {
        // What a session has not taken is the start of a command line, which always fits here.
        let mut commands = [0; limits::COMMAND_BUFFER_OCTETS];
        commands[..early.len()].copy_from_slice(&early);
        let mut open = self.advance(&mut commands, early.len()).await?;
        while let Some(held) = open {
            open = if self.session.receiving_message() {
                let mut buffer = self.shard.take_buffer();
                let open = self.turn(&mut buffer, 0).await;
                if let Ok(Some(held)) = open {
                    commands[..held].copy_from_slice(&buffer[..held]);
                }
                self.shard.keep_buffer(buffer);
                open?
            } else {
                self.turn(&mut commands, held).await?
            };
        }
        Ok(())
    }

    /// Reads once behind the `held` octets at the start of `buffer` and lets the session work on all of them. Returns how many are held
    /// then, or none when the connection is to be closed.
    async fn turn(&mut self, buffer: &mut [u8], held: usize) -> io::Result<Option<usize>> {
        let mut filled = held;
        match self.read(&mut buffer[held..]).await? {
            Wake::Octets(octets) => {
                self.last_octets_ms = mx6_runtime::now_ms();
                filled += octets;
            }
            Wake::Ended => return Ok(None),
            Wake::Deadline => self.session.on_deadline(mx6_runtime::now_ms()),
            Wake::Stalled => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.release_next_hop();
                }
            }
            Wake::Stopping => self.stopping = true,
            Wake::CutOff => {
                // Between commands this says 421; in the middle of a message there is no place for a reply.
                self.session.shutdown();
                self.flush().await?;
                return Ok(None);
            }
        }
        self.advance(buffer, filled).await
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<Wake> {
        let deadline_ms = self.session.deadline_ms();
        let stall_ms = match &self.transaction {
            Some(transaction) if transaction.holds_next_hop() => self.last_octets_ms + limits::CLIENT_STALL_MS,
            _ => u64::MAX,
        };
        let mut read = pin!(self.stream.read(buffer));
        let (alarm, stopping) = (&mut self.alarm, self.stopping);
        let (stopped, cut_off) = (&mut self.stopped, &mut self.cut_off);
        poll_fn(|cx| {
            if let Poll::Ready(result) = read.as_mut().poll(cx) {
                return Poll::Ready(result.map(|octets| if octets == 0 { Wake::Ended } else { Wake::Octets(octets) }));
            }
            if !stopping && stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Wake::Stopping));
            }
            if stopping && cut_off.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Wake::CutOff));
            }
            if alarm.poll(cx, deadline_ms.min(stall_ms)).is_ready() {
                let wake = if deadline_ms <= stall_ms { Wake::Deadline } else { Wake::Stalled };
                return Poll::Ready(Ok(wake));
            }
            Poll::Pending
        })
        .await
    }

    /// Hands the first `filled` octets of `buffer` to the session until it wants more, and answers its questions. What it did not take
    /// is moved to the front; returns how many octets that are, or none when the connection is to be closed.
    async fn advance(&mut self, buffer: &mut [u8], filled: usize) -> io::Result<Option<usize>> {
        let mut input = &buffer[..filled];
        loop {
            if self.stopping && !self.session.in_transaction() {
                self.session.shutdown();
            }
            let (taken, step) = self.session.step(mx6_runtime::now_ms(), input);
            input = &input[taken..];
            match step {
                Step::NeedInput => {
                    let held = input.len();
                    self.flush().await?;
                    buffer.copy_within(filled - held..filled, 0);
                    return Ok(Some(held));
                }
                Step::Output => self.flush().await?,
                Step::Octets(octets) => self.octets(octets).await,
                Step::Notice(notice) => self.notice(notice),
                Step::Question(question) => match self.answer(question).await {
                    Answer::Verdict(verdict) => self.session.verdict(mx6_runtime::now_ms(), verdict),
                    Answer::Outcome(outcome) => self.session.outcome(mx6_runtime::now_ms(), outcome),
                },
                Step::Close => {
                    self.flush().await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn octets(&mut self, octets: &[u8]) {
        let Some(message) = self.transaction.as_mut().and_then(Transaction::message) else { return };
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
                if let Some(message) = self.transaction.as_mut().and_then(Transaction::message) {
                    message.header_complete();
                }
            }
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
            Question::Mail { reverse_path, size, body_8bit } => {
                match Transaction::begin(&self.shard, &self.peer, &reverse_path, size, body_8bit) {
                    Ok(transaction) => {
                        self.transaction = Some(transaction);
                        Answer::Verdict(Verdict::Accept)
                    }
                    Err(verdict) => Answer::Verdict(verdict),
                }
            }
            Question::Rcpt { forward_path } => match &mut self.transaction {
                // Boxed, as the end of data is: a connection that waits is as large as the largest future inside it.
                Some(transaction) => Box::pin(transaction.rcpt(&mut self.peer, &forward_path)).await,
                None => NO_TRANSACTION,
            },
            Question::Data => {
                self.in_body = false;
                self.transaction.as_mut().map_or(NO_TRANSACTION, |transaction| Answer::Verdict(transaction.data()))
            }
            Question::EndOfData { fault } => match self.transaction.take() {
                Some(transaction) => Box::pin(transaction.end_of_data(&mut self.peer, fault)).await,
                None => NO_TRANSACTION,
            },
        }
    }

    /// Octets that were never read would make the kernel reset the connection, and the client lose our last reply: take them first,
    /// for a while.
    async fn linger(&mut self) {
        let mut unread = [0; limits::COMMAND_BUFFER_OCTETS];
        if !matches!(self.stream.try_read(&mut unread), Ok(Some(1..))) || self.stream.shutdown_write().is_err() {
            return;
        }
        let drained = async {
            let mut left = limits::LINGER_OCTETS_MAX;
            while let (1.., Ok(octets @ 1..)) = (left, self.stream.read(&mut unread).await) {
                left = left.saturating_sub(octets);
            }
        };
        mx6_runtime::timeout(limits::LINGER_TIMEOUT, drained).await;
    }

    /// Sends what the session has to say. The usual write is done at once and costs no timer.
    async fn flush(&mut self) -> io::Result<()> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let octets = output.len();
        {
            let mut write = pin!(self.stream.write_all(output));
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

/// The session asks about a transaction only after its MAIL was accepted, which made one. Were it otherwise, a message must not be lost.
const NO_TRANSACTION: Answer = Answer::Verdict(Verdict::Defer(LOCAL_ERROR));
