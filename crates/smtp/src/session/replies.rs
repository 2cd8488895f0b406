//! What the session says by itself, octet for octet. Policy's and delivery's replies come from there.

use alloc::vec::Vec;

use super::SessionConfig;
use crate::command::CommandError;
use crate::{EnhancedCode, Reply};

pub(super) const RESET: &[u8] = b"250 2.0.0 OK\r\n";
pub(super) const NOOP: &[u8] = b"250 2.0.0 OK\r\n";
pub(super) const QUIT: &[u8] = b"221 2.0.0 Bye\r\n";
pub(super) const VRFY: &[u8] = b"252 2.0.0 Cannot verify, send the message and see.\r\n";
pub(super) const HELP: &[u8] = b"214 2.0.0 HELO EHLO STARTTLS MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n";
pub(super) const MAIL_ACCEPTED: &[u8] = b"250 2.1.0 OK\r\n";
pub(super) const RCPT_ACCEPTED: &[u8] = b"250 2.1.5 OK\r\n";
pub(super) const SEND_MESSAGE: &[u8] = b"354 End data with <CR><LF>.<CR><LF>\r\n";
pub(super) const MESSAGE_ACCEPTED: &[u8] = b"250 2.0.0 OK\r\n";

pub(super) const LINE_TOO_LONG: Reply = Reply::fixed(500, EnhancedCode(5, 5, 2), "Line too long.");
pub(super) const LINE_BROKEN: Reply =
    Reply::fixed(500, EnhancedCode(5, 5, 2), "Line contains bare CR, bare LF or NUL, lines end with CR LF.");
pub(super) const HELO_FIRST: Reply = Reply::fixed(503, EnhancedCode(5, 5, 1), "Send HELO or EHLO first.");
pub(super) const NESTED_MAIL: Reply = Reply::fixed(503, EnhancedCode(5, 5, 1), "Sender already given.");
pub(super) const MAIL_FIRST: Reply = Reply::fixed(503, EnhancedCode(5, 5, 1), "Send MAIL first.");
pub(super) const CHUNKS_BEGUN: Reply =
    Reply::fixed(503, EnhancedCode(5, 5, 1), "The message is coming in chunks, send its last one or RSET.");
pub(super) const NO_RECIPIENTS: Reply = Reply::fixed(554, EnhancedCode(5, 5, 1), "No valid recipients.");
pub(super) const TOO_MANY_RECIPIENTS: Reply = Reply::fixed(452, EnhancedCode(4, 5, 3), "Too many recipients.");
pub(super) const TOO_MANY_CHUNKS: Reply = Reply::fixed(552, EnhancedCode(5, 3, 4), "Message comes in too many chunks.");
pub(super) const MESSAGE_TOO_LARGE: Reply = Reply::fixed(552, EnhancedCode(5, 3, 4), "Message exceeds the size limit.");

pub(super) const READY_FOR_TLS: &[u8] = b"220 2.0.0 Ready to start TLS\r\n";
pub(super) const TLS_NOT_OFFERED: Reply = CommandError::NotImplemented.reply();
pub(super) const TLS_UNAVAILABLE: Reply =
    Reply::fixed(454, EnhancedCode(4, 7, 0), "TLS not available due to temporary reason.");
pub(super) const TLS_ALREADY: Reply = Reply::fixed(503, EnhancedCode(5, 5, 1), "Already inside TLS.");

/// `250 2.0.0 N octets received` (RFC 3030 §4.1).
pub(super) fn chunk_received(octets: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"250 2.0.0 ");
    push_number(octets, out);
    out.extend_from_slice(b" octets received\r\n");
}

/// Replies that end the connection; the hostname stands first in their text (RFC 5321 §4.2.3, 421).
#[derive(Debug, Clone, Copy)]
pub(super) enum Closing {
    BadCommands,
    RefusedRecipients,
    Chunking,
    Transactions,
    EarlyTalker,
    Timeout,
    Shutdown,
}

impl Closing {
    pub(super) fn write_to(self, hostname: &str, out: &mut Vec<u8>) {
        let (code, enhanced) = match self {
            Closing::EarlyTalker => ("554 ", "5.5.0"),
            Closing::Timeout => ("421 ", "4.4.2"),
            Closing::Shutdown => ("421 ", "4.3.2"),
            _ => ("421 ", "4.7.0"),
        };
        let text = match self {
            Closing::BadCommands => "Too many bad commands, closing connection.",
            Closing::RefusedRecipients => "Too many refused recipients, closing connection.",
            Closing::Chunking => "Chunks are not commands, closing connection.",
            Closing::Transactions => "Too many transactions, connect again for more.",
            Closing::EarlyTalker => "Commands were sent before their turn, closing connection.",
            Closing::Timeout => "Timeout, closing connection.",
            Closing::Shutdown => "Service shutting down, closing connection.",
        };
        for part in [code, enhanced, " ", hostname, " ", text, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// RFC 5321 §4.3.1: the first word is the name of the host.
pub(super) fn greeting(config: &SessionConfig, out: &mut Vec<u8>) {
    for part in ["220 ", &config.hostname, " ESMTP mx6\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// RFC 5321 §4.1.1.1.
pub(super) fn hello(config: &SessionConfig, extended: bool, offers_tls: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if extended { b"250-" } else { b"250 " });
    out.extend_from_slice(config.hostname.as_bytes());
    out.extend_from_slice(b"\r\n");
    if extended {
        out.extend_from_slice(b"250-PIPELINING\r\n");
        if config.size_limit > 0 {
            out.extend_from_slice(b"250-SIZE ");
            push_number(config.size_limit, out);
            out.extend_from_slice(b"\r\n");
        }
        if offers_tls {
            out.extend_from_slice(b"250-STARTTLS\r\n");
        }
        for (line, offered) in [
            ("250-8BITMIME\r\n", config.eight_bit_mime),
            ("250-SMTPUTF8\r\n", config.smtp_utf8),
            ("250-DSN\r\n", config.dsn),
            ("250-CHUNKING\r\n", true),
        ] {
            if offered {
                out.extend_from_slice(line.as_bytes());
            }
        }
        limits(config, out);
        out.extend_from_slice(b"250 ENHANCEDSTATUSCODES\r\n");
    }
}

/// RFC 9422 §3.
fn limits(config: &SessionConfig, out: &mut Vec<u8>) {
    out.extend_from_slice(b"250-LIMITS MAILMAX=");
    push_number(u64::from(config.transactions_max), out);
    out.extend_from_slice(b" RCPTMAX=");
    push_number(config.recipients_max as u64, out);
    out.extend_from_slice(if config.one_domain { b" RCPTDOMAINMAX=1\r\n" } else { b"\r\n" });
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    if number >= 10 {
        push_number(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}
