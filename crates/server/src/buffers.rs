//! Read buffers of a shard, lent only while there are octets to work on: a connection that waits holds none.

use std::cell::RefCell;

use crate::limits::{BUFFERS_KEPT, COMMAND_BUFFER_OCTETS, MESSAGE_BUFFER_OCTETS};

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Holds the longest command line.
    Commands,
    /// Holds much of a message.
    Message,
}

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    commands: RefCell<Vec<Vec<u8>>>,
    message: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer, full of octets that mean nothing.
    pub(crate) fn take(&self, purpose: Purpose) -> Vec<u8> {
        let (kept, octets) = match purpose {
            Purpose::Commands => (&self.commands, COMMAND_BUFFER_OCTETS),
            Purpose::Message => (&self.message, MESSAGE_BUFFER_OCTETS),
        };
        kept.borrow_mut().pop().unwrap_or_else(|| vec![0; octets])
    }

    /// Takes a buffer back for the next who needs one.
    pub(crate) fn keep(&self, purpose: Purpose, buffer: Vec<u8>) {
        let mut kept = match purpose {
            Purpose::Commands => self.commands.borrow_mut(),
            Purpose::Message => self.message.borrow_mut(),
        };
        if kept.len() < BUFFERS_KEPT {
            kept.push(buffer);
        }
    }
}
