//! The answers to the session's questions, and what they make of it.

use super::replies;
use super::transaction::{Incoming, Transaction};
use super::{Asked, Session, StartTls, State};
use crate::{Outcome, Reply, Verdict};

impl Session {
    /// Policy's answer to the pending question.
    ///
    /// A message with a fault is refused even when the verdict is to accept it. A reply of code 421 closes the connection.
    pub fn verdict(&mut self, now_ms: u64, verdict: Verdict) {
        let Some(asked) = self.take_question(now_ms) else { return };
        match verdict {
            Verdict::Accept => self.accepted(now_ms, asked, None),
            Verdict::Defer(reply) | Verdict::Reject(reply) => self.refused(now_ms, asked, &reply),
        }
        self.close_if_stopping();
    }

    /// Delivery's answer to a question about a recipient or a complete message, in its own words: see [`Session::verdict`].
    pub fn outcome(&mut self, now_ms: u64, outcome: Outcome) {
        let Some(asked) = self.take_question(now_ms) else { return };
        debug_assert!(matches!(asked, Asked::Rcpt | Asked::EndOfData { .. }), "delivery is not asked about this");
        match outcome {
            Outcome::Accepted(reply) => self.accepted(now_ms, asked, Some(&reply)),
            Outcome::Refused(reply) | Outcome::Unknown(reply) => self.refused(now_ms, asked, &reply),
        }
        self.close_if_stopping();
    }

    fn take_question(&mut self, now_ms: u64) -> Option<Asked> {
        let State::Asked(asked) = self.state else {
            debug_assert!(false, "no question is pending");
            return None;
        };
        self.state = State::Command;
        self.deadline_ms = now_ms.saturating_add(self.config.command_timeout_ms);
        Some(asked)
    }

    fn accepted(&mut self, now_ms: u64, asked: Asked, words: Option<&Reply>) {
        let wire = match asked {
            Asked::Helo { extended } => {
                self.greeted = true;
                self.reset_transaction();
                let offers_tls = self.config.starttls == StartTls::Offered && !self.in_tls;
                return replies::hello(&self.config, extended, offers_tls, &mut self.output);
            }
            Asked::Mail => {
                self.transaction = Transaction::opened();
                self.transactions += 1;
                replies::MAIL_ACCEPTED
            }
            Asked::Rcpt => {
                self.transaction.count_recipient(true);
                replies::RCPT_ACCEPTED
            }
            Asked::Data => {
                self.incoming = Some(Incoming::dotted(&self.config));
                self.state = State::Message;
                self.deadline_ms = now_ms.saturating_add(self.config.data_block_timeout_ms);
                replies::SEND_MESSAGE
            }
            Asked::FirstChunk(chunk) => return self.first_chunk(now_ms, chunk),
            Asked::EndOfData { fault: Some(fault) } => return self.refused(now_ms, asked, &fault.reply()),
            Asked::EndOfData { fault: None } => {
                self.transaction = Transaction::None;
                replies::MESSAGE_ACCEPTED
            }
        };
        match words {
            Some(reply) => reply.write_to(&mut self.output),
            None => self.output.extend_from_slice(wire),
        }
    }

    fn refused(&mut self, now_ms: u64, asked: Asked, reply: &Reply) {
        match asked {
            // The reply follows the chunk.
            Asked::FirstChunk(chunk) => return self.first_chunk_refused(now_ms, chunk, reply),
            Asked::Helo { .. } | Asked::Data => {}
            Asked::Mail => self.transaction = Transaction::Refused,
            Asked::Rcpt => self.transaction.count_recipient(false),
            Asked::EndOfData { .. } if core::mem::take(&mut self.chunks_may_follow) => {
                self.transaction = Transaction::Refused;
            }
            Asked::EndOfData { .. } => self.transaction = Transaction::None,
        }
        reply.write_to(&mut self.output);
        if reply.code == 421 {
            self.state = State::Closing;
        }
        if matches!(asked, Asked::Rcpt) {
            self.count_refused_recipient();
        }
    }
}
