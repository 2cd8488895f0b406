//! One message while it arrives: evaluated, held within the shard's memory budget, spilled when it is large.

use std::rc::Rc;
use std::sync::Arc;

use mx6_delivery::Body;
use mx6_message_auth::MessageAuth;
use mx6_policy::Rule;
use mx6_smtp::{EnhancedCode, Reply};
use mx6_telemetry::Counter;

use crate::evaluation::Evaluation;
use crate::limits;
use crate::memory::Reservation;
use crate::peer::Peer;
use crate::shard::Shard;

/// A rule that objects and its reply.
pub(crate) type Objection = (Rule, Reply);

/// A message from DATA to its end.
pub(crate) struct Message {
    pub(crate) evaluation: Evaluation,
    shard: Rc<Shard>,
    auth: MessageAuth,
    body: Body,
    octets: u64,
    /// Why it cannot be taken whatever the gate says; its further octets are dropped.
    trouble: Option<Objection>,
    reservation: Reservation,
}

impl Message {
    /// A message to come. `size`: what the client says of its octets.
    ///
    /// # Errors
    /// The reply, if there is no memory to begin with.
    pub(crate) fn begin(shard: &Rc<Shard>, peer: &Peer, size: Option<u64>) -> Result<Message, Reply> {
        let reservation = Message::reserve(shard, peer)?;
        let mut body = Body::new(Arc::clone(&shard.spill_dir));
        body.expect(size.unwrap_or(0));
        let evaluation = Evaluation::new(&shard.batch);
        let (shard, auth) = (Rc::clone(shard), peer.auth.clone());
        Ok(Message { evaluation, shard, auth, body, octets: 0, trouble: None, reservation })
    }

    /// Memory to begin a message with.
    ///
    /// # Errors
    /// The reply, if the budget is used up, or the client's part of it.
    pub(crate) fn reserve(shard: &Shard, peer: &Peer) -> Result<Reservation, Reply> {
        shard.memory.reserve(&peer.memory, limits::MESSAGE_OVERHEAD_OCTETS as u64).ok_or_else(|| {
            shard.counters.add_one(Counter::MemoryRefused);
            MEMORY_USED_UP
        })
    }

    /// Octets of the header block.
    pub(crate) fn header_octets(&mut self, octets: &[u8]) {
        // They count twice: a Maildir works on a copy of the header block.
        if self.admit(octets.len(), 2 * octets.len()) {
            self.evaluation.header_octets(octets);
        }
    }

    /// The header block is complete.
    pub(crate) fn header_complete(&mut self) {
        if self.trouble.is_none() {
            self.evaluation.header_complete(&self.auth, &self.shard.counters);
        }
    }

    /// Octets of the body.
    pub(crate) async fn body_octets(&mut self, octets: &[u8]) {
        if !self.admit(octets.len(), octets.len()) {
            return;
        }
        self.body.append(octets);
        if !self.evaluation.body_octets(octets, &self.shard.batch).await {
            self.trouble = Some((Rule::Storage, LOCAL_ERROR));
        }
        if let Err(error) = self.body.settle().await {
            mx6_telemetry::failure!("a message cannot be held in {}: {error}", self.shard.spill_dir.display());
            self.trouble = Some((Rule::Storage, mx6_delivery::storage_reply(&error)));
        }
    }

    /// Octets taken so far.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Why the message cannot be taken whatever the gate says.
    pub(crate) fn take_trouble(&mut self) -> Option<Objection> {
        self.trouble.take()
    }

    /// The message with our fields on top, for delivery, and the memory reserved for it, to be held as long.
    pub(crate) fn into_delivery(self, added: Vec<u8>) -> (mx6_delivery::Message, Reservation) {
        let (header, leave_out) = self.evaluation.into_header_block();
        (mx6_delivery::Message { added, header, leave_out, body: self.body }, self.reservation)
    }

    /// Reserves memory for `more` octets, which will take `memory`, before they are taken.
    fn admit(&mut self, more: usize, memory: usize) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        let held = 2 * self.evaluation.header_block().len() + self.body.memory_octets();
        let octets = (limits::MESSAGE_OVERHEAD_OCTETS + held + memory) as u64;
        if !self.reservation.cover(octets.next_multiple_of(limits::MEMORY_RESERVATION_STEP_OCTETS)) {
            self.shard.counters.add_one(Counter::MemoryRefused);
            self.trouble = Some((Rule::MemoryBudget, MEMORY_USED_UP));
            return false;
        }
        self.octets += more as u64;
        true
    }
}

const MEMORY_USED_UP: Reply = Reply::fixed(452, EnhancedCode(4, 3, 1), "Insufficient system storage, try again later.");
/// A fault of ours: a lookup or the hashing was lost.
pub(crate) const LOCAL_ERROR: Reply =
    Reply::fixed(451, EnhancedCode(4, 3, 0), "Local error in processing, try again later.");
