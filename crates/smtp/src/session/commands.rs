//! What the session does about each command line: refuse it, answer it, or ask.

use super::chunks::Chunk;
use super::replies::{self, Closing};
use super::{Notice, Question, Session, StartTls, State, Step, Transaction};
use crate::Reply;
use crate::address::{ForwardPath, ReversePath};
use crate::command::{Command, CommandError, MailDsn, MailParameters, RcptDsn};
use crate::frame::Line;

impl Session {
    /// Takes at most one line. Without a step the next line is up.
    pub(super) fn command<'i>(&mut self, now_ms: u64, input: &'i [u8]) -> (usize, Option<Step<'i>>) {
        let (taken, line) = self.lines.next(input, self.config.line_octets_max);
        if line == Line::Partial {
            return (taken, Some(Step::NeedInput));
        }
        // Between two chunks only BDAT gives more time: a message must not be held up by NOOPs.
        if self.incoming.is_none() {
            self.deadline_ms = now_ms.saturating_add(self.config.command_timeout_ms);
        }
        if self.config.watch_early_talkers && !self.early_talker && taken < input.len() && must_be_last(line) {
            self.early_talker = true;
            return (0, Some(Step::Notice(Notice::EarlyTalker)));
        }
        let step = match line {
            Line::Partial => None,
            Line::TooLong => self.bad_command(&replies::LINE_TOO_LONG),
            Line::Broken => self.bad_command(&replies::LINE_BROKEN),
            Line::Whole(line) => match Command::parse(line) {
                Ok(command) => self.obey(now_ms, command),
                Err(error) => self.refuse(error),
            },
        };
        (taken, step)
    }

    fn obey<'i>(&mut self, now_ms: u64, command: Command<'i>) -> Option<Step<'i>> {
        match command {
            Command::Helo { domain } => Some(Step::Question(Question::Helo { domain, extended: false })),
            Command::Ehlo { domain } => Some(Step::Question(Question::Helo { domain, extended: true })),
            Command::Mail { reverse_path, parameters } => self.mail(reverse_path, parameters),
            Command::Rcpt { forward_path, dsn } => self.rcpt(forward_path, dsn),
            Command::StartTls => self.start_tls(),
            Command::Data => self.data(),
            Command::Bdat { octets, last } => self.bdat(now_ms, Chunk::new(octets, last)),
            Command::Rset => {
                self.reset_transaction();
                self.say(replies::RESET)
            }
            Command::Noop => self.say(replies::NOOP),
            Command::Help => self.say(replies::HELP),
            Command::Vrfy => self.say(replies::VRFY),
            Command::Quit => {
                self.state = State::Closing;
                self.say(replies::QUIT)
            }
        }
    }

    fn mail<'i>(&mut self, reverse_path: ReversePath<'i>, parameters: MailParameters<'i>) -> Option<Step<'i>> {
        if !self.offered(&parameters) {
            return self.refuse(CommandError::UnknownParameter);
        }
        if !self.greeted {
            return self.bad_command(&replies::HELO_FIRST);
        }
        if self.transaction.is_open() {
            return self.bad_command(&replies::NESTED_MAIL);
        }
        if self.transactions >= self.config.transactions_max {
            self.close(Closing::Transactions);
            return None;
        }
        let MailParameters { size, body_8bit, smtp_utf8, dsn } = parameters;
        if self.config.size_limit > 0 && size.is_some_and(|size| size > self.config.size_limit) {
            self.transaction = Transaction::Refused;
            return self.reply(&replies::MESSAGE_TOO_LARGE);
        }
        self.smtp_utf8 = smtp_utf8;
        Some(Step::Question(Question::Mail { reverse_path, size, body_8bit: body_8bit == Some(true), smtp_utf8, dsn }))
    }

    fn offered(&self, parameters: &MailParameters<'_>) -> bool {
        (self.config.eight_bit_mime || parameters.body_8bit.is_none())
            && (self.config.smtp_utf8 || !parameters.smtp_utf8)
            && (self.config.dsn || parameters.dsn == MailDsn::default())
    }

    fn rcpt<'i>(&mut self, forward_path: ForwardPath<'i>, dsn: RcptDsn<'i>) -> Option<Step<'i>> {
        if dsn != RcptDsn::default() && !self.config.dsn {
            return self.refuse(CommandError::UnknownParameter);
        }
        match self.transaction {
            Transaction::None => self.bad_command(&replies::MAIL_FIRST),
            Transaction::Refused => self.reply(&replies::MAIL_FIRST),
            Transaction::Open { .. } if self.incoming.is_some() => self.bad_command(&replies::CHUNKS_BEGUN),
            Transaction::Open { recipients, .. } if recipients >= self.config.recipients_max => {
                self.reply(&replies::TOO_MANY_RECIPIENTS)
            }
            Transaction::Open { .. } if !(self.smtp_utf8 || forward_path.is_ascii() && dsn.is_ascii()) => {
                self.refuse(CommandError::NonAsciiPath)
            }
            Transaction::Open { .. } => Some(Step::Question(Question::Rcpt { forward_path, dsn })),
        }
    }

    fn data<'i>(&mut self) -> Option<Step<'i>> {
        match self.transaction {
            Transaction::None => self.bad_command(&replies::MAIL_FIRST),
            Transaction::Refused => self.reply(&replies::MAIL_FIRST),
            Transaction::Open { recipients: 0, refused: 0 } => self.bad_command(&replies::NO_RECIPIENTS),
            Transaction::Open { recipients: 0, .. } => self.reply(&replies::NO_RECIPIENTS),
            Transaction::Open { .. } if self.incoming.is_some() => self.bad_command(&replies::CHUNKS_BEGUN),
            Transaction::Open { .. } => Some(Step::Question(Question::Data)),
        }
    }

    fn start_tls<'i>(&mut self) -> Option<Step<'i>> {
        match self.config.starttls {
            _ if self.in_tls => self.bad_command(&replies::TLS_ALREADY),
            StartTls::NotOffered => self.bad_command(&replies::TLS_NOT_OFFERED),
            StartTls::Unavailable => self.reply(&replies::TLS_UNAVAILABLE),
            StartTls::Offered => {
                self.state = State::Handshake;
                self.say(replies::READY_FOR_TLS)
            }
        }
    }

    fn refuse<'i>(&mut self, error: CommandError) -> Option<Step<'i>> {
        match error {
            CommandError::NotSmtp => {
                self.state = State::Closing;
                self.reply(&error.reply())
            }
            CommandError::Chunking => {
                self.reply(&error.reply());
                self.close(Closing::Chunking);
                None
            }
            CommandError::ForwardPath | CommandError::NonAsciiPath | CommandError::UnknownParameter
                if self.transaction.is_open() =>
            {
                self.transaction.count_recipient(false);
                self.reply(&error.reply());
                self.count_refused_recipient();
                None
            }
            CommandError::ReversePath | CommandError::NonAsciiPath | CommandError::UnknownParameter => {
                if !self.transaction.is_open() {
                    self.transaction = Transaction::Refused;
                }
                self.bad_command(&error.reply())
            }
            _ => self.bad_command(&error.reply()),
        }
    }

    /// Syntax errors, unknown commands and commands out of sequence are counted. A refused recipient is not, nor what a client had sent
    /// before it could know that its MAIL was refused (RFC 2920): else a long list of recipients would look like an attack.
    pub(super) fn bad_command<'i>(&mut self, reply: &Reply) -> Option<Step<'i>> {
        self.bad_commands += 1;
        if self.bad_commands >= self.config.bad_commands_max {
            self.close(Closing::BadCommands);
            return None;
        }
        self.reply(reply)
    }

    /// One recipient more that was refused; with too many of them the connection is given up.
    pub(super) fn count_refused_recipient(&mut self) {
        self.refused_recipients += 1;
        if self.refused_recipients >= self.config.refused_recipients_max {
            self.close(Closing::RefusedRecipients);
        }
    }

    pub(super) fn reset_transaction(&mut self) {
        if self.transaction.is_open() {
            self.notice = Some(Notice::TransactionReset);
        }
        self.transaction = Transaction::None;
        self.incoming = None;
    }

    pub(super) fn reply<'i>(&mut self, reply: &Reply) -> Option<Step<'i>> {
        reply.write_to(&mut self.output);
        None
    }

    fn say<'i>(&mut self, wire: &[u8]) -> Option<Step<'i>> {
        self.output.extend_from_slice(wire);
        None
    }
}

/// Commands that must be the last of a pipelined group (RFC 2920 §3.1). Behind QUIT nothing matters, what follows STARTTLS is thrown away, and
/// NOOP is left out because its reply tells nothing.
fn must_be_last(line: Line<'_>) -> bool {
    let Line::Whole(line) = line else { return false };
    let verb = line.get(..4).unwrap_or_default();
    [b"EHLO", b"HELO", b"DATA", b"VRFY", b"EXPN"].iter().any(|command| verb.eq_ignore_ascii_case(*command))
}
