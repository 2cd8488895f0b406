//! One file for each command that is not the gate itself.

pub(crate) mod tail;
