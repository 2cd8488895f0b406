//! Why a connection to a next hop cannot be used any further.

use std::io;

use mx6_smtp::Reply;
use mx6_smtp::client::ReplyFault;

/// The end of a connection. The next hop's fault unless said otherwise.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It closed.
    Closed,
    /// The network's: refused, reset, unreachable.
    Io(io::ErrorKind),
    /// It did not answer, or did not take octets, in time.
    TimedOut,
    /// What it sent is no reply.
    Protocol(ReplyFault),
    /// It sent something when it had not been asked.
    Stray,
    /// A reply that cannot follow what was asked.
    Unexpected,
    /// It refused us in its greeting, at EHLO, or at MAIL in a way that is not the sender's fault.
    Refused,
    /// 421: it closes.
    Closing(Reply),
    /// It bears our own name.
    Loop,
    /// Its name has no address (the operator's fault, or the resolver's).
    NoAddress,
    /// It was told who the client is, and refuses that client. No failure of its.
    ClientRefused(Reply),
    /// It does not let us tell who the client is (the operator's fault).
    NoXclient,
    /// The PROXY header or XCLIENT is wanted, and who the client is was not said (ours).
    NoOrigin,
    /// It does not offer SMTPUTF8, which the mail transaction needs. No failure of its.
    NoSmtpUtf8,
    /// We have as many connections to it as we may (our limit).
    Busy,
}

impl Fault {
    /// The reason in records.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Fault::Closed => "connection closed",
            Fault::Io(io::ErrorKind::ConnectionRefused) => "connection refused",
            Fault::Io(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => "connection reset",
            Fault::Io(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => "unreachable",
            Fault::Io(_) => "network error",
            Fault::TimedOut => "timed out",
            Fault::Protocol(ReplyFault::LineTooLong | ReplyFault::TooManyLines) => "reply too long",
            Fault::Protocol(ReplyFault::NotAReply | ReplyFault::CodesDiffer) => "malformed reply",
            Fault::Stray => "octets that nobody asked for",
            Fault::Unexpected => "unexpected reply code",
            Fault::Refused => "refused",
            Fault::Closing(_) => "421",
            Fault::Loop => "loop: the next hop bears our own name",
            Fault::NoAddress => "no address",
            Fault::ClientRefused(_) => "client refused",
            Fault::NoXclient => "XCLIENT is not offered",
            Fault::NoOrigin => "the client is not known",
            Fault::NoSmtpUtf8 => "SMTPUTF8 is not offered",
            Fault::Busy => "too many connections",
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::TimedOut => Fault::TimedOut,
            kind => Fault::Io(kind),
        }
    }
}

impl From<ReplyFault> for Fault {
    fn from(fault: ReplyFault) -> Fault {
        Fault::Protocol(fault)
    }
}
