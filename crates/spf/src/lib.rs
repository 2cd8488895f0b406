//! spf
