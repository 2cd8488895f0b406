//! What the session is told: policy's [`Verdict`] and delivery's [`Outcome`].

use crate::Reply;

/// What policy decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Not now: a 4xx reply.
    Defer(Reply),
    /// Never: a 5xx reply.
    Reject(Reply),
}

impl Verdict {
    /// The verdict that a negative reply stands for, by its first digit.
    #[must_use]
    pub fn refuse(reply: Reply) -> Verdict {
        if reply.is_transient() { Verdict::Defer(reply) } else { Verdict::Reject(reply) }
    }

    /// The reply of a refusal; none for [`Verdict::Accept`].
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Verdict::Accept => None,
            Verdict::Defer(reply) | Verdict::Reject(reply) => Some(reply),
        }
    }

    /// `accept`, `defer` or `reject`: the word in records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Accept => "accept",
            Verdict::Defer(_) => "defer",
            Verdict::Reject(_) => "reject",
        }
    }
}

/// What delivery did with a recipient or with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken over: the next hop said so, or the message is on disk.
    Accepted(Reply),
    /// Not taken over, for certain.
    Refused(Reply),
    /// The terminator was sent and no reply came: the message may have been taken over. The reply is 4xx.
    Unknown(Reply),
}

impl Outcome {
    /// The reply for the client.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        match self {
            Outcome::Accepted(reply) | Outcome::Refused(reply) | Outcome::Unknown(reply) => reply,
        }
    }

    /// `accepted`, `refused` or `unknown`: the word in records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Accepted(_) => "accepted",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
        }
    }
}
