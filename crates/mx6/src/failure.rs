//! How a command fails: with words and an exit code of sysexits.h.

/// A command could not do what it was told.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is said on standard error; nothing if the command has said it already.
    pub(crate) error: Option<anyhow::Error>,
    /// The exit code.
    pub(crate) code: u8,
}

/// Gives an error its exit code.
pub(crate) fn failure<E: Into<anyhow::Error>>(code: u8) -> impl Fn(E) -> Failure {
    move |error| Failure { error: Some(error.into()), code }
}

/// The command line is wrong.
pub(crate) const EX_USAGE: u8 = 2;
/// The input data was incorrect.
pub(crate) const EX_DATAERR: u8 = 65;
/// An input does not exist or cannot be read.
pub(crate) const EX_NOINPUT: u8 = 66;
/// A service is not there.
pub(crate) const EX_UNAVAILABLE: u8 = 69;
/// An operating system error.
pub(crate) const EX_OSERR: u8 = 71;
/// Something was found in an unconfigured or misconfigured state.
pub(crate) const EX_CONFIG: u8 = 78;
/// A file cannot be created.
pub(crate) const EX_CANTCREAT: u8 = 73;
/// A file cannot be written.
pub(crate) const EX_IOERR: u8 = 74;

/// Every exit code, for the manual.
pub(crate) const EXIT_CODES: &[(u8, &str)] = &[
    (0, "Ended as told; of check-config: usable, perhaps with warnings."),
    (2, "The command line is wrong."),
    (65, "The message or the transcript of explain cannot be read or used."),
    (66, "A log that tail or report is given cannot be read."),
    (
        69,
        "An address cannot be bound; of check-config: a resolver or a next hop does not answer, the configuration itself is right; of top, trace and tail: \
         no admin endpoint answers, or the gate ended while it was asked.",
    ),
    (70, "A shard died."),
    (71, "io_uring, a thread or the sandbox is refused; of check-config: the machine lacks something."),
    (
        73,
        "Log, Maildir, the handover socket, a page of the manual, a report or the file of trace --save cannot be created, or a folder is missing.",
    ),
    (74, "Standard output or the file of trace --save cannot be written; of top: the terminal cannot be used."),
    (75, "The running gate did not hand over; it goes on."),
    (
        77,
        "Locked memory is limited too low, privileges cannot be given up, or a stranger answers at the handover socket.",
    ),
    (78, "The configuration is wrong."),
    (130, "A second SIGINT."),
    (143, "A second SIGTERM."),
];
