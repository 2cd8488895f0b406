//! One connection of a client: greeting, EHLO, and its messages.
//!
//! With pipelining (RFC 2920) MAIL, RCPT and DATA leave in one write, and the end of a message in one write with the beginning of the
//! next, or with QUIT. Latency of a stage is the time from when its reply could first come: from the write, or from the reply before.

use std::io::Write as _;
use std::net::Ipv6Addr;
use std::time::Instant;

use fastrand::Rng;

use super::envelope::{Envelope, Offer};
use super::expectation::{Expected, Outcome};
use super::hostile::Trick;
use super::mail::{FINAL_DOT, Message, mailbox};
use super::options::{Pipelining, Tls};
use super::recorder::{Finished, Marks};
use super::socket::{connect, proxy_header};
use super::wire::{Failure, Reply, Wire};
use super::worker::{Setup, Worker};
use crate::measurement::{StageName, WrongAnswer};
use crate::population::{Class, Source};
use crate::zone::sender_domain;

/// One message of this connection.
pub(super) struct Transaction {
    pub(super) message: Message,
    pub(super) from: String,
    pub(super) trick: Option<&'static Trick>,
    intended: Instant,
}

/// A connection and its client.
pub(super) struct Session<'w> {
    worker: &'w Worker,
    pub(super) setup: &'w Setup,
    rng: Rng,
    pub(super) source: Source,
    address: Ipv6Addr,
    pub(super) wire: Wire,
    pub(super) offer: Offer,
    pub(super) reply: Reply,
    marks: Marks,
    /// When it began to connect.
    opened: Instant,
    /// When the reply that is awaited could first come.
    since: Instant,
    /// Where it is, for failures.
    stage: StageName,
    pub(super) out: Vec<u8>,
    scratch: Vec<u8>,
    octets_counted: u64,
}

/// Runs a whole connection of `messages` messages of a class. `intended`: when the first of them was to start. False if it failed.
pub(super) async fn run(worker: &Worker, class: Class, messages: u32, intended: Instant, mut rng: Rng) -> bool {
    let setup = &*worker.setup;
    let source = worker.common.source(setup, class, &mut rng);
    let address = setup.population.address(source);
    let mut stage = StageName::Connect;
    let opened = tokio::time::timeout(setup.options.timeout, open(worker, source, address, intended, rng, &mut stage));
    let mut session = match opened.await.unwrap_or(Err(Failure::Timeout)) {
        Ok(session) => session,
        Err(failure) => {
            fail(worker, source, address, stage, &failure);
            return false;
        }
    };
    let conversed = session.converse(messages, intended).await;
    if let Err(failure) = &conversed {
        fail(worker, source, address, session.stage, failure);
    }
    conversed.is_ok()
}

/// Connects, and comes to the end of EHLO.
async fn open<'w>(
    worker: &'w Worker,
    source: Source,
    address: Ipv6Addr,
    intended: Instant,
    rng: Rng,
    stage: &mut StageName,
) -> Result<Session<'w>, Failure> {
    let setup = &*worker.setup;
    let since = Instant::now();
    let bound = (!setup.options.proxy && !setup.options.no_bind).then_some(address);
    let wire = Wire::new(connect(setup.options.target, bound).await?);
    let mut session = Session {
        worker,
        setup,
        rng,
        source,
        address,
        wire,
        offer: Offer::default(),
        reply: Reply::default(),
        marks: Marks::default(),
        opened: since,
        since,
        stage: StageName::Connect,
        out: Vec::with_capacity(512),
        scratch: Vec::new(),
        octets_counted: 0,
    };
    session.mark(StageName::Connect);
    let greeted = session.greet().await;
    *stage = session.stage;
    greeted?;
    let tls = setup.options.tls;
    if tls == Tls::Required && !session.offer.starttls {
        return Err(Failure::NoTls);
    }
    let tls = tls != Tls::Never && session.offer.starttls;
    let session = if tls { session.start_tls(stage).await? } else { session };
    worker.recorder.lock().connection(intended, &session.marks, tls);
    Ok(session)
}

fn fail(worker: &Worker, source: Source, address: Ipv6Addr, stage: StageName, failure: &Failure) {
    let wrong = !worker.setup.expectation.is_none();
    let mut record = worker.recorder.lock();
    record.failure(failure.kind(), wrong);
    if wrong {
        record.wrong_sample(|| WrongAnswer {
            class: source.class.as_str().into(),
            stage,
            source: address.to_string(),
            expected: "a reply".into(),
            got: match failure {
                Failure::Io(error) => format!("{}: {error}", failure.kind()),
                failure => failure.kind().into(),
            },
        });
    }
}

impl<'w> Session<'w> {
    /// The time since the last mark belongs to `stage`.
    fn mark(&mut self, stage: StageName) {
        let now = Instant::now();
        self.marks.push(stage, now - self.since);
        self.since = now;
    }

    /// Waits for a reply, which belongs to `stage`.
    pub(super) async fn reply_to(&mut self, stage: StageName) -> Result<(), Failure> {
        self.stage = stage;
        self.wire.reply(&mut self.reply).await?;
        self.mark(stage);
        Ok(())
    }

    async fn greet(&mut self) -> Result<(), Failure> {
        if self.setup.options.proxy {
            self.wire.send(&[&proxy_header(self.address)]).await?;
        }
        self.reply_to(StageName::Banner).await?;
        if self.reply.code != 220 {
            return Err(Failure::NotSmtp);
        }
        self.hello().await
    }

    async fn hello(&mut self) -> Result<(), Failure> {
        self.out.clear();
        let _ = write!(self.out, "EHLO {}\r\n", self.source);
        self.wire.send(&[&self.out]).await?;
        self.reply_to(StageName::Ehlo).await?;
        if self.reply.code != 250 {
            return Err(Failure::NotSmtp);
        }
        self.offer = Offer::of(&self.reply.text);
        Ok(())
    }

    async fn start_tls(mut self, stage: &mut StageName) -> Result<Session<'w>, Failure> {
        *stage = StageName::Tls;
        self.wire.send(&[b"STARTTLS\r\n"]).await?;
        self.stage = StageName::Tls;
        self.wire.reply(&mut self.reply).await?;
        if self.reply.code != 220 {
            return Err(Failure::NoTls);
        }
        self.wire = self.wire.start_tls(self.setup.tls.clone()).await?;
        self.mark(StageName::Tls);
        self.hello().await?;
        *stage = StageName::Ehlo;
        Ok(self)
    }

    fn pipelines(&self) -> bool {
        self.offer.pipelining && self.setup.options.pipelining == Pipelining::Auto
    }

    /// Sends the messages and QUIT.
    async fn converse(&mut self, messages: u32, intended: Instant) -> Result<(), Failure> {
        let mut left = messages.saturating_sub(1);
        let mut transaction = self.transaction(intended);
        let mut started = self.opened;
        self.out.clear();
        self.push_envelope(&transaction);
        if self.pipelines() || transaction.trick.is_some_and(|trick| trick.is_command) {
            self.wire.send(&[&self.out]).await?;
        }
        self.marks.clear();
        loop {
            let more = left > 0 && self.worker.may_go_on();
            let limit = self.setup.options.timeout;
            let next = tokio::time::timeout(limit, self.one(&transaction, started, more)).await;
            let next = next.unwrap_or(Err(Failure::Timeout))?;
            let Some(next) = next else { break };
            left -= 1;
            (transaction, started) = (next, self.since);
            transaction.intended = started;
            self.marks.clear();
        }
        // A QUIT is no part of any message: whether it is answered changes nothing.
        self.stage = StageName::Reply;
        let farewell = tokio::time::timeout(QUIT_TIMEOUT, self.wire.reply(&mut self.reply)).await;
        let smuggled = transaction.trick.is_some() && matches!(farewell, Ok(Ok(()))) && self.reply.code != 221;
        if smuggled {
            let expected = Expected::Refused(StageName::Reply, "221 to QUIT, and nothing before it".into());
            self.tell_wrong(&expected, &self.outcome(StageName::Reply));
        }
        Ok(())
    }

    fn transaction(&mut self, intended: Instant) -> Transaction {
        let class = self.source.class;
        let message = self.setup.mail.draw(&self.setup.population, class, &mut self.rng);
        let domain = sender_domain(message.domain, self.source.spf_fails_for_now());
        let trick = (class == Class::Hostile).then(|| Trick::of(self.source.index));
        Transaction { message, from: mailbox(&domain), trick, intended }
    }

    /// One message, from the replies to its envelope to its own. Its envelope has been sent if the server pipelines. Yields the next one,
    /// whose envelope has been sent too; without one, QUIT has.
    async fn one(
        &mut self,
        transaction: &Transaction,
        started: Instant,
        more: bool,
    ) -> Result<Option<Transaction>, Failure> {
        let next = more.then(|| self.transaction(started));
        let envelope = match transaction.trick {
            Some(trick) if trick.is_command => {
                self.reply_to(StageName::Mail).await?;
                Envelope::Refused { outcome: self.outcome(StageName::Mail), open: false }
            }
            _ if self.pipelines() => self.envelope_replies().await?,
            _ => self.envelope_in_steps(transaction).await?,
        };
        match envelope {
            Envelope::Data { refused } => {
                self.send_message(transaction, next.as_ref()).await?;
                self.reply_to(StageName::Reply).await?;
                let outcome = self.worse(transaction, refused, self.outcome(StageName::Reply));
                self.record(transaction, started, &outcome);
                if !self.pipelines() && next.is_none() {
                    self.quit().await;
                }
            }
            Envelope::Refused { outcome, open } => {
                self.record(transaction, started, &outcome);
                self.after_refusal(next.as_ref(), open).await?;
            }
        }
        Ok(next)
    }

    pub(super) async fn send_out(&mut self) -> Result<(), Failure> {
        self.wire.send(&[&self.out]).await
    }

    /// The message, and behind it the next envelope or QUIT if the server pipelines.
    async fn send_message(&mut self, transaction: &Transaction, next: Option<&Transaction>) -> Result<(), Failure> {
        self.out.clear();
        if self.pipelines() {
            match next {
                Some(next) => self.push_envelope(next),
                None => self.out.extend_from_slice(b"QUIT\r\n"),
            }
        }
        let (setup, oversize_limit) = (self.setup, self.oversize_limit());
        if let Some(trick) = transaction.trick {
            return self.wire.send(&[trick.octets, &self.out]).await;
        }
        let mut head = setup.mail.head(&transaction.message, &transaction.from, &mut self.scratch);
        let body = setup.mail.body(&transaction.message);
        let repeated = body.strip_suffix(FINAL_DOT).unwrap_or(body);
        let times = oversize_limit.map_or(0, |limit| limit / setup.mail.body_octets(&transaction.message));
        for _ in 0..times {
            self.wire.send(&[head, repeated]).await?;
            head = &[];
        }
        self.wire.send(&[head, body, &self.out]).await
    }

    async fn after_refusal(&mut self, next: Option<&Transaction>, open: bool) -> Result<(), Failure> {
        self.out.clear();
        let Some(next) = next else {
            self.quit().await;
            return Ok(());
        };
        if open {
            self.out.extend_from_slice(b"RSET\r\n");
        }
        if self.pipelines() {
            self.push_envelope(next);
        }
        if !self.out.is_empty() {
            self.send_out().await?;
        }
        if open {
            self.wire.reply(&mut self.reply).await?;
            self.since = Instant::now();
        }
        Ok(())
    }

    /// The server may have closed the connection already.
    async fn quit(&mut self) {
        let _ = self.wire.send(&[b"QUIT\r\n"]).await;
    }

    pub(super) fn outcome(&self, stage: StageName) -> Outcome {
        Outcome { stage, code: self.reply.code, text: self.reply.text.clone() }
    }

    fn expected(&self, transaction: &Transaction) -> Expected {
        let oversize = self.oversize_limit().map(|_| self.setup.options.oversize);
        self.setup.expectation.of(self.source, self.address, transaction.trick, oversize)
    }

    /// Of a refusal of some recipients and the reply to the message for the others, the one that is not as expected.
    fn worse(&self, transaction: &Transaction, refused: Option<Outcome>, end: Outcome) -> Outcome {
        match refused {
            Some(refused) if !self.setup.expectation.is_met(&self.expected(transaction), &refused) => refused,
            _ => end,
        }
    }

    fn record(&mut self, transaction: &Transaction, started: Instant, outcome: &Outcome) {
        let expected = self.expected(transaction);
        let met = self.setup.expectation.is_met(&expected, outcome);
        let octets_sent = self.wire.octets_sent - self.octets_counted;
        self.octets_counted = self.wire.octets_sent;
        self.worker.recorder.lock().message(&Finished {
            class: self.source.class,
            intended: transaction.intended,
            started,
            finished: self.since,
            marks: &self.marks,
            outcome,
            expected: met,
            octets_sent,
        });
        if !met {
            self.sample(&expected, outcome);
        }
    }

    /// A wrong answer that is to no message.
    fn tell_wrong(&self, expected: &Expected, got: &Outcome) {
        if !self.setup.expectation.is_none() {
            self.worker.recorder.lock().failure("reply to something smuggled", true);
            self.sample(expected, got);
        }
    }

    fn sample(&self, expected: &Expected, got: &Outcome) {
        self.worker.recorder.lock().wrong_sample(|| WrongAnswer {
            class: self.source.class.as_str().into(),
            stage: got.stage,
            source: self.address.to_string(),
            expected: expected.to_string(),
            got: String::from_utf8_lossy(&got.text).into_owned(),
        });
    }
}

/// Nothing depends on the answer.
const QUIT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
