//! How a transaction went on its way, for records: which host, how far, over which connection, and what went wrong.

use std::sync::Arc;

/// The last attempt of a transaction. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The next hop as the operator named it; none for a Maildir and `discard:`, and before the first recipient.
    pub next_hop: Option<Arc<str>>,
    /// How far it came.
    pub stage: Stage,
    /// The connection that was used; none while there was none.
    pub connection: Option<Reuse>,
    /// Why the last attempt failed, when it was not a reply of the next hop.
    pub fault: Option<&'static str>,
    /// How often MAIL and RCPT were sent once more on another connection.
    pub replays: u32,
}

/// A step of delivery; a later one is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Looking up the next hop's addresses, or connecting.
    #[default]
    Connect,
    /// Waiting for its greeting.
    Greeting,
    /// EHLO, or LHLO.
    Ehlo,
    /// XCLIENT, with the greeting and EHLO that follow it.
    Xclient,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// Sending the message; nothing of the terminator was sent.
    Body,
    /// The terminator was sent, or the copies became visible.
    EndOfData,
}

impl Stage {
    /// The word in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Greeting => "greeting",
            Stage::Ehlo => "ehlo",
            Stage::Xclient => "xclient",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Body => "body",
            Stage::EndOfData => "end-of-data",
        }
    }
}

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Made for this transaction.
    Fresh,
    /// It had served another one before.
    Pooled,
}

impl Reuse {
    /// The word in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reuse::Fresh => "fresh",
            Reuse::Pooled => "pooled",
        }
    }
}
