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

/// The input data was incorrect.
pub(crate) const EX_DATAERR: u8 = 65;
/// An operating system error.
pub(crate) const EX_OSERR: u8 = 71;
/// Something was found in an unconfigured or misconfigured state.
pub(crate) const EX_CONFIG: u8 = 78;
