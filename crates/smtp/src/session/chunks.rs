//! A message that comes in chunks (RFC 3030): BDAT, its octets, and what becomes of those that nobody wants.
//!
//! The octets of a chunk follow its command whatever the reply would be, so a chunk that is refused is read to its end first and answered
//! then. With the first chunk that fails the message is over; those that a client had sent behind it are drained and answered 503.

use super::replies::{self, Closing};
use super::transaction::{Incoming, Received};
use super::{Asked, Question, Session, State, Step, Transaction};
use crate::Reply;
use crate::limits::{DATA_BLOCK_OCTETS, DRAINED_OCTETS_MAX};

/// The chunk that is coming in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    octets: u64,
    /// Of these, not yet here.
    left: u64,
    last: bool,
}

impl Chunk {
    pub(super) fn new(octets: u64, last: bool) -> Chunk {
        Chunk { octets, left: octets, last }
    }

    /// The part of `input` that belongs to it.
    fn of<'i>(&self, input: &'i [u8]) -> &'i [u8] {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        &input[..left.min(input.len())]
    }
}

impl Session {
    /// The command, with its chunk behind it.
    pub(super) fn bdat<'i>(&mut self, now_ms: u64, chunk: Chunk) -> Option<Step<'i>> {
        match self.transaction {
            Transaction::None => self.drain(now_ms, chunk, &replies::MAIL_FIRST, true),
            Transaction::Refused => self.drain(now_ms, chunk, &replies::MAIL_FIRST, false),
            Transaction::Open { recipients: 0, refused } => {
                self.drain(now_ms, chunk, &replies::NO_RECIPIENTS, refused == 0)
            }
            Transaction::Open { .. } if self.incoming.is_none() => {
                self.state = State::Asked(Asked::FirstChunk(chunk));
                Some(Step::Question(Question::Data))
            }
            Transaction::Open { .. } => {
                self.take_chunk(chunk);
                None
            }
        }
    }

    /// The answer to the first chunk of a message was yes.
    pub(super) fn first_chunk(&mut self, now_ms: u64, chunk: Chunk) {
        self.incoming = Some(Incoming::chunked(&self.config));
        self.block_deadline_ms = now_ms.saturating_add(self.config.data_block_timeout_ms);
        self.take_chunk(chunk);
    }

    /// The answer was no. Chunks behind this one must not begin a message.
    pub(super) fn first_chunk_refused(&mut self, now_ms: u64, chunk: Chunk, reply: &Reply) {
        self.reset_transaction();
        self.transaction = Transaction::Refused;
        self.drain(now_ms, chunk, reply, false);
    }

    fn take_chunk(&mut self, chunk: Chunk) {
        let Some(incoming) = &mut self.incoming else { return };
        incoming.count_chunk(chunk.octets, self.config.chunks_max);
        if let Some(fault) = incoming.fault()
            && !self.may_drain(chunk)
        {
            fault.reply().write_to(&mut self.output);
            return self.close(Closing::Chunking);
        }
        self.state = State::Chunk(chunk);
        // However small the chunks are, the message must come on.
        self.deadline_ms = self.block_deadline_ms;
    }

    /// Octets of the chunk that is coming in.
    pub(super) fn chunk<'i>(&mut self, now_ms: u64, input: &'i [u8]) -> (usize, Option<Step<'i>>) {
        let (State::Chunk(chunk), Some(incoming)) = (&mut self.state, &mut self.incoming) else { return (0, None) };
        let (taken, received) = incoming.next(chunk.of(input));
        chunk.left -= taken as u64;
        let chunk = *chunk;
        if incoming.block_complete() {
            self.block_deadline_ms = now_ms.saturating_add(self.config.data_block_timeout_ms);
            self.deadline_ms = self.block_deadline_ms;
        }
        if received == Received::NeedInput && chunk.left == 0 {
            return (taken, self.chunk_ended(now_ms, chunk));
        }
        (taken, self.received(received))
    }

    fn chunk_ended<'i>(&mut self, now_ms: u64, chunk: Chunk) -> Option<Step<'i>> {
        let incoming = self.incoming.as_mut()?;
        if chunk.last
            && let Some(octets) = incoming.end_of_chunks()
        {
            return Some(Step::Octets(octets));
        }
        let fault = incoming.fault();
        if chunk.last || fault.is_some() {
            self.chunks_may_follow = !chunk.last;
            return self.received(Received::End(fault));
        }
        self.state = State::Command;
        self.deadline_ms = self.block_deadline_ms.min(now_ms.saturating_add(self.config.command_timeout_ms));
        replies::chunk_received(chunk.octets, &mut self.output);
        None
    }

    /// Reads a chunk that nobody wants; `reply` follows it, and counts as the answer to a bad command if it `is_to_blame`.
    fn drain<'i>(&mut self, now_ms: u64, chunk: Chunk, reply: &Reply, is_to_blame: bool) -> Option<Step<'i>> {
        if !self.may_drain(chunk) {
            reply.write_to(&mut self.output);
            self.close(Closing::Chunking);
            return None;
        }
        self.state = State::Drain { left: chunk.left, block_octets: 0, reply: reply.clone(), is_to_blame };
        self.deadline_ms = now_ms.saturating_add(self.config.data_block_timeout_ms);
        None
    }

    /// Counts a chunk that nobody wants; whether it is still read to its end.
    fn may_drain(&mut self, chunk: Chunk) -> bool {
        self.drained_octets = self.drained_octets.saturating_add(chunk.octets);
        self.drained_octets <= DRAINED_OCTETS_MAX
    }

    /// Octets of a chunk that nobody wants.
    pub(super) fn drained<'i>(&mut self, now_ms: u64, input: &'i [u8]) -> (usize, Option<Step<'i>>) {
        let State::Drain { left, block_octets, reply, is_to_blame } = &mut self.state else { return (0, None) };
        let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        *block_octets += taken as u64;
        if *block_octets >= DATA_BLOCK_OCTETS {
            *block_octets = 0;
            self.deadline_ms = now_ms.saturating_add(self.config.data_block_timeout_ms);
        }
        if *left > 0 {
            return (taken, Some(Step::NeedInput));
        }
        let (reply, is_to_blame) = (reply.clone(), *is_to_blame);
        self.state = State::Command;
        self.deadline_ms = now_ms.saturating_add(self.config.command_timeout_ms);
        if is_to_blame {
            self.bad_command(&reply);
        } else {
            self.reply(&reply);
        }
        if reply.code == 421 {
            self.state = State::Closing;
        }
        (taken, None)
    }
}
