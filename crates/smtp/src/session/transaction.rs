//! The state of one mail transaction (RFC 5321 §3.3) and of the message in it.

use super::{MessageFault, SessionConfig};
use crate::frame::{MessageFrame, Piece};
use crate::limits::DATA_BLOCK_OCTETS;

/// From MAIL to the answer after the end of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Transaction {
    /// No MAIL yet.
    #[default]
    None,
    /// MAIL was refused. What a pipelining client sent behind it is refused too, but it is not to blame for that.
    Refused,
    /// MAIL was accepted.
    Open { recipients: usize, refused: usize },
}

impl Transaction {
    pub(super) const fn opened() -> Transaction {
        Transaction::Open { recipients: 0, refused: 0 }
    }

    pub(super) fn is_open(self) -> bool {
        matches!(self, Transaction::Open { .. })
    }

    pub(super) fn count_recipient(&mut self, accepted: bool) {
        if let Transaction::Open { recipients, refused } = self {
            *(if accepted { recipients } else { refused }) += 1;
        }
    }
}

/// A message while it comes in: cut, counted and held against the limits.
///
/// The limits are kept to the octet: what is handed on does not depend on how the input was cut, up to and including the first fault.
#[derive(Debug)]
pub(super) struct Incoming {
    frame: MessageFrame,
    /// Octets that may still be handed on.
    allowance: u64,
    /// Of these, octets of the header section; none once it is complete.
    header_allowance: Option<u64>,
    header_notified: bool,
    fault: Option<MessageFault>,
    /// Octets since the deadline was last moved.
    block_octets: u64,
    /// Chunks so far.
    chunks: u32,
    /// Octets that further chunks may have.
    chunk_allowance: u64,
}

/// What became of the next octets of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received<'i> {
    NeedInput,
    Octets(&'i [u8]),
    HeaderComplete,
    End(Option<MessageFault>),
}

impl Incoming {
    fn new(frame: MessageFrame, config: &SessionConfig) -> Incoming {
        let allowance = if config.size_limit == 0 { u64::MAX } else { config.size_limit };
        Incoming {
            frame,
            allowance,
            header_allowance: Some(config.header_octets_max as u64),
            header_notified: false,
            fault: None,
            block_octets: 0,
            chunks: 0,
            chunk_allowance: allowance,
        }
    }

    /// A message that comes by DATA.
    pub(super) fn dotted(config: &SessionConfig) -> Incoming {
        Incoming::new(MessageFrame::dotted(), config)
    }

    /// A message that comes by BDAT.
    pub(super) fn chunked(config: &SessionConfig) -> Incoming {
        Incoming::new(MessageFrame::chunked(), config)
    }

    /// One chunk more, of so many octets. That it is one too many, or too large with those before it, is known before it has come.
    pub(super) fn count_chunk(&mut self, octets: u64, chunks_max: u32) {
        self.chunks += 1;
        if self.chunk_allowance < octets {
            self.fault = self.fault.or(Some(MessageFault::TooLarge));
        } else if self.chunks > chunks_max {
            self.fault = self.fault.or(Some(MessageFault::TooManyChunks));
        }
        self.chunk_allowance = self.chunk_allowance.saturating_sub(octets);
    }

    /// What is to be handed on behind the last chunk; then nothing is left.
    pub(super) fn end_of_chunks(&mut self) -> Option<&'static [u8]> {
        match self.frame.end_of_chunks()? {
            Piece::Octets(octets) if self.fault.is_none() => match self.admit(octets) {
                Some(Received::Octets(octets)) => Some(octets),
                _ => None,
            },
            Piece::Bare => {
                self.fault = self.fault.or(Some(MessageFault::BareCrOrLf));
                None
            }
            _ => None,
        }
    }

    /// Why the message cannot be accepted, as far as it has come.
    pub(super) fn fault(&self) -> Option<MessageFault> {
        self.fault
    }

    /// Takes octets of `input` and says what the driver must know next; after `End` it must not be called again.
    pub(super) fn next<'i>(&mut self, input: &'i [u8]) -> (usize, Received<'i>) {
        if self.header_allowance.is_none() && !self.header_notified {
            self.header_notified = true;
            return (0, Received::HeaderComplete);
        }
        let mut taken = 0;
        loop {
            let (octets, piece) = self.frame.next(&input[taken..]);
            taken += octets;
            self.block_octets += octets as u64;
            match piece {
                Piece::NeedInput => return (taken, Received::NeedInput),
                Piece::Bare => self.fault = self.fault.or(Some(MessageFault::BareCrOrLf)),
                Piece::End => return (taken, Received::End(self.fault)),
                Piece::Octets(_) | Piece::HeaderEnd(_) if self.fault.is_some() => {}
                Piece::Octets(octets) => {
                    if let Some(received) = self.admit(octets) {
                        return (taken, received);
                    }
                }
                Piece::HeaderEnd(octets) => {
                    let admitted = self.admit(octets);
                    if self.fault.is_none() {
                        self.header_allowance = None;
                    }
                    if let Some(received) = admitted {
                        return (taken, received);
                    }
                }
            }
        }
    }

    /// Whether the notice that the header section is complete is still owed; it is then taken as given.
    pub(super) fn owes_header_notice(&mut self) -> bool {
        !core::mem::replace(&mut self.header_notified, true)
    }

    /// Whether a block of the message has arrived since this was last answered with yes.
    pub(super) fn block_complete(&mut self) -> bool {
        let complete = self.block_octets >= DATA_BLOCK_OCTETS;
        if complete {
            self.block_octets = 0;
        }
        complete
    }

    /// The part of these octets that the limits let through.
    fn admit<'i>(&mut self, octets: &'i [u8]) -> Option<Received<'i>> {
        let length = octets.len() as u64;
        let header_allowance = self.header_allowance.unwrap_or(u64::MAX);
        let admitted = length.min(self.allowance).min(header_allowance);
        if admitted < length {
            let message_is_full = admitted == self.allowance;
            self.fault = Some(if message_is_full { MessageFault::TooLarge } else { MessageFault::HeaderTooLarge });
        }
        self.allowance -= admitted;
        if let Some(header_allowance) = &mut self.header_allowance {
            *header_allowance -= admitted;
        }
        // Not more octets than the slice has, which fits into memory.
        let octets = &octets[..admitted as usize];
        (!octets.is_empty()).then_some(Received::Octets(octets))
    }
}
