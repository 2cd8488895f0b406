//! What an operator may set of a session.

use alloc::string::String;

use crate::limits;

/// The settings of all sessions of a listener. The defaults are those of `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// The name in the greeting and in the replies to HELO and EHLO: a domain name in printable ASCII, never empty.
    pub hostname: String,
    /// Octets of a message without dot-stuffing; 0: there is no limit and none is offered (RFC 1870).
    pub size_limit: u64,
    /// Accepted recipients of a transaction; at least 1.
    pub recipients_max: usize,
    /// Transactions of a session (RFC 9422 `MAILMAX`); at least 1.
    pub transactions_max: u32,
    /// EHLO says that all recipients of a transaction must be of one domain (RFC 9422 `RCPTDOMAINMAX=1`). Whoever answers about recipients
    /// keeps it.
    pub one_domain: bool,
    /// Octets of a command line with its CRLF; the driver's read buffer must hold as many.
    pub line_octets_max: usize,
    /// The bad command with this number ends the session; at least 1.
    pub bad_commands_max: u32,
    /// Recipients of a session that may be refused; with the last of them it is closed.
    pub refused_recipients_max: u32,
    /// Octets of the header section of a message, its blank line included.
    pub header_octets_max: usize,
    /// Whether 8BITMIME is offered (RFC 6152).
    pub eight_bit_mime: bool,
    /// Whether SMTPUTF8 is offered (RFC 6531, which wants 8BITMIME with it).
    pub smtp_utf8: bool,
    /// Whether DSN is offered (RFC 3461).
    pub dsn: bool,
    /// Chunks of a message (RFC 3030); at least 1.
    pub chunks_max: u32,
    /// Whether [`crate::Notice::EarlyTalker`] is given.
    pub watch_early_talkers: bool,
    /// Whether clients may go on inside TLS.
    pub starttls: StartTls,
    /// Milliseconds from a reply to the end of the next command line (RFC 5321 §4.5.3.2.7).
    pub command_timeout_ms: u64,
    /// Milliseconds for each [`limits::DATA_BLOCK_OCTETS`] of a message (RFC 5321 §4.5.3.2.5).
    pub data_block_timeout_ms: u64,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            hostname: String::from("localhost"),
            size_limit: limits::MESSAGE_OCTETS_MAX,
            recipients_max: limits::RECIPIENTS_MAX,
            transactions_max: limits::TRANSACTIONS_MAX,
            one_domain: false,
            line_octets_max: limits::COMMAND_LINE_OCTETS_MAX,
            bad_commands_max: limits::BAD_COMMANDS_MAX,
            refused_recipients_max: limits::REFUSED_RECIPIENTS_MAX,
            header_octets_max: limits::HEADER_OCTETS_MAX,
            eight_bit_mime: true,
            smtp_utf8: false,
            dsn: false,
            chunks_max: limits::CHUNKS_MAX,
            watch_early_talkers: false,
            starttls: StartTls::default(),
            command_timeout_ms: limits::COMMAND_TIMEOUT_MS,
            data_block_timeout_ms: limits::DATA_BLOCK_TIMEOUT_MS,
        }
    }
}

/// What is said to STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartTls {
    /// There is no such command here.
    #[default]
    NotOffered,
    /// There is, but it does not work now.
    Unavailable,
    /// EHLO lists it, and it is done.
    Offered,
}
