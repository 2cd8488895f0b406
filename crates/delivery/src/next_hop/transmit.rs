//! DATA, the message, and what comes of it.
//!
//! **Which octet makes a second try unsafe.** A next hop has a message once it has the line with the dot. While no write that carries
//! an octet of that line has begun, it cannot have one, and the message may be sent over another connection. The line goes with the last
//! octets of the message in one vectored write, so the point of no return is the start of that write: just before it the connection is
//! looked at once more. From then on the next hop may have the message, whatever else the write reports, unless of all its octets the
//! kernel took not a single one; or unless a 4xx or 5xx reply says for certain that it has not.

use std::io;

use mx6_runtime::Deadline;
use mx6_smtp::Reply;
use mx6_smtp::client::DATA;
use mx6_smtp::dot_stuffing::DotStuffing;

use super::connection::Connection;
use super::fault::Fault;
use crate::{DeliveryConfig, Message, Stage};

/// What came of a message.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The next hop's reply to the message. The connection is as good as before.
    Answered(Reply),
    /// The replies to the message of an LMTP next hop, one for each of several recipients; as many as came. The fault is why no more did.
    Each(Vec<Reply>, Option<Fault>),
    /// DATA was refused; the mail transaction is still open.
    NoData(Reply),
    /// It was refused before it was sent, or while the last of it was: for certain. The connection is of no more use.
    Refused(Reply),
    /// The connection died, and the message cannot have arrived.
    Dead(Fault),
    /// The connection died, and the message may have arrived.
    Unknown(Fault),
    /// We could not read the message from our own disk; it cannot have arrived.
    Unreadable(io::Error),
}

/// Sends a message over a connection on which MAIL and RCPT were accepted, and takes so many `replies` to it. The reply to DATA is waited
/// for until the first deadline.
pub(crate) async fn transmit(
    connection: &mut Connection,
    message: &Message,
    config: &DeliveryConfig,
    replies: usize,
    (data_until, until): (Deadline, Deadline),
    stage: &mut Stage,
) -> Sent {
    *stage = Stage::Data;
    match ask_for_data(connection, data_until.earlier(until)).await {
        Ok(reply) if reply.code == 354 => {}
        Ok(reply) if reply.code >= 400 => return Sent::NoData(reply),
        Ok(_) => return Sent::Dead(Fault::Unexpected),
        Err(fault) => return Sent::Dead(fault),
    }
    *stage = Stage::Body;
    connection.messages += 1;
    if let Err(sent) = (Transmission { connection, config, until, stage, has_begun: false }).message(message).await {
        return sent;
    }
    match connection.reply(until).await {
        Ok(reply) if reply.code / 100 == 3 => Sent::Unknown(Fault::Unexpected),
        Ok(reply) if replies > 1 => each(connection, reply, replies, until).await,
        Ok(reply) => Sent::Answered(reply),
        Err(Fault::Closing(reply)) => Sent::Refused(reply),
        Err(fault) => Sent::Unknown(fault),
    }
}

/// The replies after the first. A 421 is a reply to its recipient, and the end.
async fn each(connection: &mut Connection, first: Reply, replies: usize, until: Deadline) -> Sent {
    let mut told = Vec::with_capacity(replies);
    told.push(first);
    while told.len() < replies {
        match connection.reply(until).await {
            Ok(reply) if reply.code / 100 == 3 => return Sent::Each(told, Some(Fault::Unexpected)),
            Ok(reply) => told.push(reply),
            Err(Fault::Closing(reply)) => {
                told.push(reply.clone());
                return Sent::Each(told, Some(Fault::Closing(reply)));
            }
            Err(fault) => return Sent::Each(told, Some(fault)),
        }
    }
    Sent::Each(told, None)
}

async fn ask_for_data(connection: &mut Connection, until: Deadline) -> Result<Reply, Fault> {
    // It may have been held for seconds while the body came in.
    connection.expect_nothing()?;
    connection.send(&[DATA], until).await?;
    connection.reply(until).await
}

/// The way of one message through a connection.
struct Transmission<'t> {
    connection: &'t mut Connection,
    config: &'t DeliveryConfig,
    until: Deadline,
    stage: &'t mut Stage,
    /// Something was written, and the shard's loop may not have looked at the connection since.
    has_begun: bool,
}

impl Transmission<'_> {
    /// Everything up to and with the terminator.
    async fn message(&mut self, message: &Message) -> Result<(), Sent> {
        let mut stuffing = DotStuffing::new();
        let mut blocks = message.body.blocks();
        let mut is_first = true;
        while let Some(block) = blocks.next().await.map_err(Sent::Unreadable)? {
            let mut batch = Batch::default();
            let top = std::mem::take(&mut is_first).then(|| message.top());
            for part in top.into_iter().flatten().chain(block.slices()) {
                for piece in stuffing.pieces(part) {
                    if batch.is_full() {
                        self.write(&mut batch).await?;
                    }
                    batch.add(piece);
                }
            }
            if block.is_last() {
                batch.add(stuffing.terminator());
                return self.write_last(&mut batch).await;
            }
            self.write(&mut batch).await?;
        }
        Err(Sent::Unreadable(io::ErrorKind::UnexpectedEof.into()))
    }

    async fn write(&mut self, batch: &mut Batch<'_>) -> Result<(), Sent> {
        self.look()?;
        let written = self.connection.send(&batch.slices, self.block_deadline()).await;
        batch.clear();
        written.map_err(|fault| self.lost(fault))
    }

    async fn write_last(&mut self, batch: &mut Batch<'_>) -> Result<(), Sent> {
        self.look()?;
        *self.stage = Stage::EndOfData;
        let mut taken = 0;
        let written = self.connection.send_counted(&batch.slices, self.block_deadline(), &mut taken).await;
        let Err(fault) = written else { return Ok(()) };
        if taken == 0 {
            *self.stage = Stage::Body;
            return Err(self.lost(fault));
        }
        Err(match self.look() {
            Err(Sent::Refused(reply) | Sent::Dead(Fault::Closing(reply))) => Sent::Refused(reply),
            _ => Sent::Unknown(fault),
        })
    }

    /// A write failed, and nothing of the terminator is under way. A next hop that refuses and closes makes it fail, and its reply is
    /// waiting to be read.
    fn lost(&mut self, fault: Fault) -> Sent {
        match self.look() {
            Err(sent @ (Sent::Refused(_) | Sent::Unknown(_) | Sent::Dead(Fault::Closing(_)))) => sent,
            _ => Sent::Dead(fault),
        }
    }

    /// Whether the next hop has said something, or gone, before the end of the message.
    fn look(&mut self) -> Result<(), Sent> {
        if !std::mem::replace(&mut self.has_begun, true) && self.connection.has_heard_nothing() {
            return Ok(());
        }
        match self.connection.early_reply() {
            Ok(None) => Ok(()),
            Ok(Some(reply)) if reply.code >= 400 => Err(Sent::Refused(reply)),
            // It claims to have taken what it cannot have yet. Sending it again could make a second one.
            Ok(Some(_)) => Err(Sent::Unknown(Fault::Unexpected)),
            Err(fault) => Err(Sent::Dead(fault)),
        }
    }

    fn block_deadline(&self) -> Deadline {
        Deadline::after(self.config.block_timeout).earlier(self.until)
    }
}

/// The slices of one vectored write.
#[derive(Default)]
struct Batch<'p> {
    slices: Vec<&'p [u8]>,
    octets: usize,
}

impl<'p> Batch<'p> {
    fn add(&mut self, piece: &'p [u8]) {
        self.octets += piece.len();
        self.slices.push(piece);
    }

    fn is_full(&self) -> bool {
        self.octets >= BATCH_OCTETS || self.slices.len() >= BATCH_SLICES
    }

    fn clear(&mut self) {
        self.slices.clear();
        self.octets = 0;
    }
}

/// Between two writes of about this size an early reply is noticed.
const BATCH_OCTETS: usize = 64 << 10;
const BATCH_SLICES: usize = 256;

#[cfg(test)]
mod tests;
