//! What hostile clients send, a bounded set, and what mx6 says to it.
//!
//! A trick is either one command line in place of MAIL, or a message with octets that would end it early, or smuggle another one in,
//! if the server took anything but CRLF.CRLF for its end (RFC 5321 §4.1.1.4).

use super::expectation::Expected;
use crate::measurement::StageName;

/// One of them.
#[derive(Debug)]
pub(super) struct Trick {
    /// Sent as they are.
    pub(super) octets: &'static [u8],
    /// Whether they stand in place of MAIL; else in place of the message.
    pub(super) is_command: bool,
    reply: &'static str,
}

impl Trick {
    /// The trick of a source.
    pub(super) fn of(index: u32) -> &'static Trick {
        &TRICKS[index as usize % TRICKS.len()]
    }

    /// The reply that it must get.
    pub(super) fn expected(&self) -> Expected {
        let stage = if self.is_command { StageName::Mail } else { StageName::Reply };
        Expected::Refused(stage, self.reply.to_owned())
    }
}

const TRICKS: [Trick; 9] = [
    message(b"Subject: bare LF\r\n\r\none\ntwo\r\n.\r\n"),
    message(b"Subject: bare CR\r\n\r\none\rtwo\r\n.\r\n"),
    message(b"Subject: smuggled by LF.LF\r\n\r\none\n.\nMAIL FROM:<smuggled@d1.example>\r\nRCPT TO:<x@open.example>\r\nDATA\r\nx\r\n.\r\n"),
    message(b"Subject: smuggled by LF.CRLF\r\n\r\none\n.\r\nMAIL FROM:<smuggled@d1.example>\r\nRCPT TO:<x@open.example>\r\nDATA\r\nx\r\n.\r\n"),
    message(b"Subject: smuggled by CR.CR\r\n\r\none\r.\rMAIL FROM:<smuggled@d1.example>\r\nRCPT TO:<x@open.example>\r\nDATA\r\nx\r\n.\r\n"),
    command(b"MAIL FROM:<a\0b@d1.example>\r\n", "500 5.5.2 Line contains bare CR, bare LF or NUL, lines end with CR LF."),
    command(b"NOOP\nNOOP\r\n", "500 5.5.2 Line contains bare CR, bare LF or NUL, lines end with CR LF."),
    command(b"XYZZY \xff\xfe{}$(reboot)\r\n", "500 5.5.2 Command not recognized."),
    command(&OVERLONG, "500 5.5.2 Line too long."),
];

const fn message(octets: &'static [u8]) -> Trick {
    Trick { octets, is_command: false, reply: "550 5.6.11 Message contains bare CR or LF." }
}

const fn command(octets: &'static [u8], reply: &'static str) -> Trick {
    Trick { octets, is_command: true, reply }
}

/// NOOP with far more behind it than a line may have.
const OVERLONG: [u8; 4_096] = {
    let mut line = [b'x'; 4_096];
    let (verb, end) = (*b"NOOP ", *b"\r\n");
    let mut at = 0;
    while at < verb.len() {
        line[at] = verb[at];
        at += 1;
    }
    (line[4_094], line[4_095]) = (end[0], end[1]);
    line
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's end of each trick is at its end and nowhere before: the reply that comes is to the whole of it.
    #[test]
    fn each_ends_once() {
        for trick in &TRICKS {
            let end: &[u8] = if trick.is_command { b"\r\n" } else { b"\r\n.\r\n" };
            let found = trick.octets.windows(end.len()).filter(|window| *window == end).count();
            assert_eq!(found, 1, "{}", trick.octets.escape_ascii());
            assert!(trick.octets.ends_with(end));
        }
    }
}
