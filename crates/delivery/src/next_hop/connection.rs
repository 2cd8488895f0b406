//! One connection to a next hop: commands out, replies in.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use mx6_runtime::{Deadline, Stream, deadline, now_ms};
use mx6_smtp::Reply;
use mx6_smtp::client::{Extensions, QUIT, RSET, ReplyReader};

use super::fault::Fault;

/// A connection. [`super::opening`] makes it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    reader: ReplyReader,
    input: Box<[u8]>,
    /// What of `input` was received and not read.
    unread: Range<usize>,
    /// What the next hop offers.
    pub(crate) extensions: Extensions,
    /// 4xx and 5xx replies so far.
    pub(crate) refusals: u32,
    /// Messages sent so far.
    pub(crate) messages: u32,
    /// When it was put into the pool.
    pub(crate) idle_since_ms: u64,
    _slot: Slot,
}

impl Connection {
    /// A connection over which nothing was said yet.
    pub(crate) fn new(stream: Stream, slot: Slot) -> Connection {
        Connection {
            stream,
            reader: ReplyReader::new(),
            input: vec![0; INPUT_OCTETS].into(),
            unread: 0..0,
            extensions: Extensions::default(),
            refusals: 0,
            messages: 0,
            idle_since_ms: 0,
            _slot: slot,
        }
    }

    /// Writes all slices. After an error the connection is good for [`Connection::early_reply`] only.
    pub(crate) async fn send(&mut self, slices: &[&[u8]], until: Deadline) -> Result<(), Fault> {
        self.send_counted(slices, until, &mut 0).await
    }

    /// As [`Connection::send`]; `taken` grows by the octets that have left us, for certain, also after an error.
    pub(crate) async fn send_counted(
        &mut self,
        slices: &[&[u8]],
        until: Deadline,
        taken: &mut u64,
    ) -> Result<(), Fault> {
        Ok(deadline(until, self.stream.write_all_counted(slices, taken)).await.ok_or(Fault::TimedOut)??)
    }

    /// The next reply. 421 is a [`Fault`], as the connection ends with it.
    pub(crate) async fn reply(&mut self, until: Deadline) -> Result<Reply, Fault> {
        loop {
            if let Some(reply) = self.received()? {
                return Ok(reply);
            }
            let octets = deadline(until, self.stream.read(&mut self.input)).await.ok_or(Fault::TimedOut)??;
            if octets == 0 {
                return Err(Fault::Closed);
            }
            self.unread = 0..octets;
        }
    }

    /// A reply that is there already, without waiting. A part of one stays for later; the end of the connection is a fault.
    pub(crate) fn early_reply(&mut self) -> Result<Option<Reply>, Fault> {
        loop {
            if let Some(reply) = self.received()? {
                return Ok(Some(reply));
            }
            match self.stream.try_read(&mut self.input)? {
                None => return Ok(None),
                Some(0) => return Err(Fault::Closed),
                Some(octets) => self.unread = 0..octets,
            }
        }
    }

    /// Whether it is alive and nothing came that was not asked for: it may be used again.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.expect_nothing().is_ok()
    }

    /// An error if it has ended, or if something came that was not asked for.
    pub(crate) fn expect_nothing(&mut self) -> Result<(), Fault> {
        if self.has_heard_nothing() {
            return Ok(());
        }
        match self.early_reply()? {
            None if self.is_quiet() => Ok(()),
            _ => Err(Fault::Stray),
        }
    }

    /// Whether it is known, without asking the kernel, that nothing had come when the shard's loop last looked. What comes in the moment
    /// after any look is found by the next reply, whoever looked.
    pub(crate) fn has_heard_nothing(&mut self) -> bool {
        self.is_quiet() && self.stream.is_quiet()
    }

    /// Whether nothing was received that was not read.
    pub(crate) fn is_quiet(&self) -> bool {
        self.unread.is_empty() && !self.reader.in_reply()
    }

    /// Ends a mail transaction; the connection can be used for another.
    pub(crate) async fn reset(&mut self, until: Deadline) -> Result<(), Fault> {
        self.send(&[RSET], until).await?;
        match self.reply(until).await?.code {
            250 => Ok(()),
            _ => Err(Fault::Unexpected),
        }
    }

    /// Says QUIT and waits a moment for the answer.
    pub(crate) async fn quit(mut self) {
        let until = Deadline::after(QUIT_TIMEOUT);
        if self.send(&[QUIT], until).await.is_ok() {
            // Whatever it answers, it is over.
            let _ = self.reply(until).await;
        }
    }

    /// How long it has been in the pool.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.idle_since_ms))
    }

    fn received(&mut self) -> Result<Option<Reply>, Fault> {
        let (taken, reply) = self.reader.read(&self.input[self.unread.clone()])?;
        self.unread.start += taken;
        let Some(reply) = reply else { return Ok(None) };
        if reply.code >= 400 {
            self.refusals += 1;
        }
        if reply.code == 421 { Err(Fault::Closing(reply)) } else { Ok(Some(reply)) }
    }
}

/// A place among the connections that may be open to a host; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Rc<Cell<usize>>);

impl Slot {
    /// Takes one, unless `max` are taken.
    pub(crate) fn take(open: &Rc<Cell<usize>>, max: usize) -> Option<Slot> {
        (open.get() < max).then(|| {
            open.set(open.get() + 1);
            Slot(open.clone())
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Holds the replies of a usual pipelined group in one piece.
const INPUT_OCTETS: usize = 2048;
/// For QUIT and its reply.
pub(crate) const QUIT_TIMEOUT: Duration = Duration::from_secs(2);
