//! message-auth
