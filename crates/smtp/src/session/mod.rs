//! One SMTP session, server side, without input or output (RFC 5321, 1870, 2034, 2920, 6152).
//!
//! The driver owns the socket, the clock and a read buffer of at least [`SessionConfig::line_octets_max`] octets, and turns this crank:
//!
//! 1. [`Session::step`] with what is in the buffer; drop the octets it took from the front of the buffer.
//! 2. Do what the [`Step`] says. After a [`Step::Question`] call [`Session::verdict`] or [`Session::outcome`] before the next step; everything
//!    else goes back to 1 until [`Step::NeedInput`].
//! 3. At [`Step::NeedInput`] write [`Session::output`], then read more **behind the octets that were not taken**: they are the beginning of a command
//!    line, which is never copied and so must come again whole.
//!
//! The session never looks at a clock: `now_ms` is milliseconds of a clock that never goes back, and [`Session::on_deadline`] is to be called once
//! it reaches [`Session::deadline_ms`]. The same inputs give the same outputs; how the octets were cut changes nothing but how
//! [`Step::Octets`] are cut.
//!
//! Peers are not trusted, and never make this panic. Whom mail is taken from and for whom is nothing the session knows: it asks.

mod answers;
mod chunks;
mod commands;
mod config;
mod replies;
mod transaction;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::address::{ForwardPath, ReversePath};
use crate::frame::LineFrame;
use crate::limits::OUTPUT_OCTETS_MAX;
use crate::{EnhancedCode, MailDsn, RcptDsn, Reply};
use chunks::Chunk;
use replies::Closing;
use transaction::{Incoming, Received, Transaction};

pub use config::{SessionConfig, StartTls};

/// A session: see the module's text.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    state: State,
    lines: LineFrame,
    in_tls: bool,
    /// Whether HELO or EHLO was accepted.
    greeted: bool,
    transaction: Transaction,
    /// Whether the transaction's MAIL said so: without it no address may have UTF-8 (RFC 6531 §3.2).
    smtp_utf8: bool,
    /// The message that is coming in; between two of its chunks, too.
    incoming: Option<Incoming>,
    /// The message is over with a chunk that was not its last.
    chunks_may_follow: bool,
    /// Of refused chunks, so far.
    drained_octets: u64,
    /// Transactions so far.
    transactions: u32,
    early_talker: bool,
    bad_commands: u32,
    refused_recipients: u32,
    /// Given before anything else happens.
    notice: Option<Notice>,
    /// Close as soon as nothing is under way.
    stopping: bool,
    output: Vec<u8>,
    /// Octets at the front of `output` that are gone already.
    output_written: usize,
    /// Meaningful only while octets are awaited.
    deadline_ms: u64,
    /// When the next block of a message in chunks is to be there. Meaningful only while there is one.
    block_deadline_ms: u64,
}

/// What the driver must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'i> {
    /// Write the output, then read more and step again.
    NeedInput,
    /// Ask somebody, then call [`Session::verdict`] or [`Session::outcome`]. The output may be written meanwhile.
    Question(Question<'i>),
    /// For the record: no answer is wanted.
    Notice(Notice),
    /// Octets of the message, dot-stuffing undone, lines ended by CRLF: the header section with its blank line before
    /// [`Notice::HeaderComplete`], the body after it. Never empty. Without a fault at the end there is no bare CR or LF in them.
    Octets(&'i [u8]),
    /// Much output waits: write it before the next step.
    Output,
    /// Write the output, throw away whatever else was read (the session has taken all of this input: RFC 3207 §4.2 wants nothing to
    /// survive that was said in the clear), and do the server's part of a TLS handshake. Then call [`Session::tls_established`], or close
    /// the connection if it failed.
    StartTls,
    /// Write the output, then close the connection.
    Close,
}

/// What the session cannot decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'i> {
    /// HELO or EHLO. Refused, the session stays what it was, a transaction with it (RFC 5321 §4.1.4).
    Helo {
        /// What the client calls itself: letters, digits and `-._:[]%`, so anything from a name to half an address.
        domain: &'i str,
        /// EHLO.
        extended: bool,
    },
    /// MAIL. Accepted, a transaction begins.
    Mail {
        /// The sender.
        reverse_path: ReversePath<'i>,
        /// Octets, as declared; one over the limit never comes here (552 5.3.4).
        size: Option<u64>,
        /// Whether `BODY=8BITMIME` was declared.
        body_8bit: bool,
        /// Whether `SMTPUTF8` was declared.
        smtp_utf8: bool,
        /// What came for delivery status notifications.
        dsn: MailDsn<'i>,
    },
    /// RCPT.
    Rcpt {
        /// The recipient.
        forward_path: ForwardPath<'i>,
        /// What came for delivery status notifications.
        dsn: RcptDsn<'i>,
    },
    /// DATA, or the first BDAT, with at least one accepted recipient. Refused, the transaction stays open after DATA and is over after BDAT.
    Data,
    /// The message is complete. However this is answered, the transaction is over.
    EndOfData {
        /// Why it must not be accepted; octets after a fault were not handed on.
        fault: Option<MessageFault>,
    },
}

/// Something the driver must know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The header section was handed on whole. Given once a message, at the latest just before [`Question::EndOfData`].
    HeaderComplete,
    /// RSET, a HELO or EHLO that was accepted, TLS, or a first chunk that was refused ended a transaction.
    TransactionReset,
    /// The client sends before its turn: behind a command whose reply it must await there was more in the same input (RFC 2920 §3.1).
    /// Given once, before that command is looked at, and only where [`SessionConfig::watch_early_talkers`]; it is the one thing that depends
    /// on how the input is cut.
    EarlyTalker,
}

/// What makes a message unacceptable, whatever policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFault {
    /// A CR without LF or an LF without CR (RFC 5321 §2.3.8).
    BareCrOrLf,
    /// More octets than [`SessionConfig::size_limit`].
    TooLarge,
    /// A header section of more octets than [`SessionConfig::header_octets_max`].
    HeaderTooLarge,
    /// More chunks than [`SessionConfig::chunks_max`] (RFC 3030).
    TooManyChunks,
}

impl MessageFault {
    /// What the peer is told.
    #[must_use]
    pub const fn reply(self) -> Reply {
        match self {
            MessageFault::BareCrOrLf => Reply::fixed(550, EnhancedCode(5, 6, 11), "Message contains bare CR or LF."),
            MessageFault::TooLarge => replies::MESSAGE_TOO_LARGE,
            MessageFault::TooManyChunks => replies::TOO_MANY_CHUNKS,
            MessageFault::HeaderTooLarge => {
                Reply::fixed(552, EnhancedCode(5, 3, 4), "Header section exceeds the size limit.")
            }
        }
    }
}

#[derive(Debug)]
enum State {
    /// A command is awaited.
    Command,
    /// An answer is awaited.
    Asked(Asked),
    /// A message is awaited that comes by DATA.
    Message,
    /// A chunk of one is awaited.
    Chunk(Chunk),
    /// A chunk that is refused is awaited, to be thrown away and answered.
    Drain { left: u64, block_octets: u64, reply: Reply, is_to_blame: bool },
    /// A message is complete, and nobody was asked about it yet.
    MessageEnded(Option<MessageFault>),
    /// A TLS handshake is awaited.
    Handshake,
    /// Nothing is awaited.
    Closing,
}

/// What the pending question is about.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Helo { extended: bool },
    Mail,
    Rcpt,
    Data,
    FirstChunk(Chunk),
    EndOfData { fault: Option<MessageFault> },
}

impl Session {
    /// A session that begins now, with the greeting in its output.
    #[must_use]
    pub fn new(config: Arc<SessionConfig>, now_ms: u64) -> Session {
        let mut output = Vec::with_capacity(OUTPUT_OCTETS_INITIAL);
        replies::greeting(&config, &mut output);
        Session {
            deadline_ms: now_ms.saturating_add(config.command_timeout_ms),
            block_deadline_ms: 0,
            config,
            state: State::Command,
            lines: LineFrame::default(),
            in_tls: false,
            greeted: false,
            transaction: Transaction::None,
            smtp_utf8: false,
            incoming: None,
            chunks_may_follow: false,
            drained_octets: 0,
            transactions: 0,
            early_talker: false,
            bad_commands: 0,
            refused_recipients: 0,
            notice: None,
            stopping: false,
            output,
            output_written: 0,
        }
    }

    /// Takes octets from the front of `input` and says what the driver must do now. Returns how many octets were taken; those left over must
    /// come again. While a question is pending this must not be called: it then takes nothing and answers [`Step::NeedInput`].
    pub fn step<'i>(&mut self, now_ms: u64, input: &'i [u8]) -> (usize, Step<'i>) {
        debug_assert!(!matches!(self.state, State::Asked(_)), "a question is pending");
        let mut taken = 0;
        loop {
            if let Some(notice) = self.notice.take() {
                return (taken, Step::Notice(notice));
            }
            if self.output().len() > OUTPUT_OCTETS_MAX {
                return (taken, Step::Output);
            }
            let rest = &input[taken..];
            let (octets, step) = match &mut self.state {
                State::Command => self.command(now_ms, rest),
                State::Message => self.message(now_ms, rest),
                State::Chunk(_) => self.chunk(now_ms, rest),
                State::Drain { .. } => self.drained(now_ms, rest),
                State::MessageEnded(fault) => (0, Some(Step::Question(Question::EndOfData { fault: *fault }))),
                State::Asked(_) => (0, Some(Step::NeedInput)),
                State::Handshake => (rest.len(), Some(Step::StartTls)),
                State::Closing => (0, Some(Step::Close)),
            };
            taken += octets;
            if let Some(step) = step {
                self.note_question(&step);
                return (taken, step);
            }
        }
    }

    /// Octets to send, replies to a pipelined group together.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.output_written..]
    }

    /// So many octets of [`Session::output`] were sent.
    pub fn output_written(&mut self, octets: usize) {
        self.output_written = self.output.len().min(self.output_written.saturating_add(octets));
        if self.output_written == self.output.len() {
            self.output.clear();
            self.output_written = 0;
        }
    }

    /// When [`Session::on_deadline`] must be called if nothing came; `u64::MAX` while no octets are awaited.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        match self.state {
            State::Command | State::Message | State::Chunk(_) | State::Drain { .. } => self.deadline_ms,
            State::Asked(_) | State::MessageEnded(_) | State::Handshake | State::Closing => u64::MAX,
        }
    }

    /// The client was too slow: writes `421 4.4.2`, and the next step is [`Step::Close`]. Before the deadline it does nothing.
    pub fn on_deadline(&mut self, now_ms: u64) {
        if now_ms >= self.deadline_ms() {
            self.close(Closing::Timeout);
        }
    }

    /// The next command is to be there by `deadline_ms`, if it was to be there later: for a server whose places have become short. Counts for
    /// this one command; a message that is awaited is left alone.
    pub fn hurry(&mut self, deadline_ms: u64) {
        if matches!(self.state, State::Command) {
            self.deadline_ms = self.deadline_ms.min(deadline_ms);
        }
    }

    /// Ends the session with `421 4.3.2`: now when a command is awaited, else behind the reply to what is under way, a message included.
    pub fn shutdown(&mut self) {
        self.stopping = true;
        self.close_if_stopping();
    }

    /// The TLS handshake is done: the session begins anew inside TLS, without a greeting (RFC 3207 §4.2). What it has against the client
    /// (bad commands, refused recipients) stays.
    pub fn tls_established(&mut self, now_ms: u64) {
        debug_assert!(matches!(self.state, State::Handshake), "no handshake was asked for");
        self.state = State::Command;
        self.deadline_ms = now_ms.saturating_add(self.config.command_timeout_ms);
        self.in_tls = true;
        self.greeted = false;
        self.lines = LineFrame::default();
        self.reset_transaction();
        self.close_if_stopping();
    }

    /// Whether MAIL was accepted and the transaction has not ended.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_open()
    }

    /// Whether octets of a message are awaited.
    #[must_use]
    pub fn receiving_message(&self) -> bool {
        matches!(self.state, State::Message | State::Chunk(_) | State::Drain { .. })
    }

    /// Ends the session with `554 5.5.0`, in answer to [`Notice::EarlyTalker`], behind the replies that are owed, or in place of the greeting.
    pub fn refuse_early_talker(&mut self) {
        let is_greeted = self.early_talker;
        if !is_greeted {
            self.output.clear();
            self.output_written = 0;
        }
        self.close(Closing::EarlyTalker);
    }

    fn message<'i>(&mut self, now_ms: u64, input: &'i [u8]) -> (usize, Option<Step<'i>>) {
        let Some(incoming) = &mut self.incoming else { return (0, None) };
        let (taken, received) = incoming.next(input);
        if incoming.block_complete() {
            self.deadline_ms = now_ms.saturating_add(self.config.data_block_timeout_ms);
        }
        (taken, self.received(received))
    }

    fn received<'i>(&mut self, received: Received<'i>) -> Option<Step<'i>> {
        match received {
            Received::NeedInput => Some(Step::NeedInput),
            Received::Octets(octets) => Some(Step::Octets(octets)),
            Received::HeaderComplete => Some(Step::Notice(Notice::HeaderComplete)),
            Received::End(fault) => {
                let owed = self.incoming.take().is_some_and(|mut incoming| incoming.owes_header_notice());
                self.notice = owed.then_some(Notice::HeaderComplete);
                self.state = State::MessageEnded(fault);
                None
            }
        }
    }

    fn note_question(&mut self, step: &Step<'_>) {
        let Step::Question(question) = step else { return };
        if matches!(self.state, State::Asked(Asked::FirstChunk(_))) {
            return;
        }
        self.state = State::Asked(match *question {
            Question::Helo { extended, .. } => Asked::Helo { extended },
            Question::Mail { .. } => Asked::Mail,
            Question::Rcpt { .. } => Asked::Rcpt,
            Question::Data => Asked::Data,
            Question::EndOfData { fault } => Asked::EndOfData { fault },
        });
    }

    fn close_if_stopping(&mut self) {
        if self.stopping && matches!(self.state, State::Command) {
            self.close(Closing::Shutdown);
        }
    }

    fn close(&mut self, why: Closing) {
        why.write_to(&self.config.hostname, &mut self.output);
        self.state = State::Closing;
    }
}

/// Room for the replies to the usual pipelined group, so that most sessions never grow their output.
const OUTPUT_OCTETS_INITIAL: usize = 256;
