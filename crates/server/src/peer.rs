//! The client of a session.

use mx6_message_auth::MessageAuth;
use mx6_policy::facts::{Iprev, PtrState};
use mx6_policy::{Client, Gate, PtrMode};
use mx6_runtime::Share;

use crate::origin::Ends;
use crate::pending::Pending;
use crate::tap::Tap;

/// The client of a session and what is known of it whatever it sends.
pub(crate) struct Peer {
    pub(crate) client: Client,
    /// Its connection; none when a proxy speaks for itself.
    pub(crate) ends: Option<Ends>,
    pub(crate) session_id: String,
    pub(crate) helo: String,
    pub(crate) with_esmtp: bool,
    /// It spoke before its turn.
    pub(crate) early_talker: bool,
    /// Absent in the clear.
    pub(crate) tls: Option<PeerTls>,
    /// Whether a PTR record exists: known earlier than whether it leads back. Absent when that was known at once.
    pub(crate) ptr: Option<Pending<PtrState>>,
    pub(crate) iprev: Pending<Iprev>,
    /// The checks, within the part of the lookups that its neighbourhood has.
    pub(crate) auth: MessageAuth,
    /// The part of the memory for messages that its neighbourhood has.
    pub(crate) memory: Share,
    pub(crate) accepted_at_ms: u64,
    /// Who wants to know what is said; mostly nobody.
    pub(crate) tap: Option<Box<Tap>>,
}

/// What a client agreed on in its handshake.
pub(crate) struct PeerTls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// By IANA's name.
    pub(crate) cipher: String,
    /// The connector that its certificate made known, as the operator wrote it.
    pub(crate) connector: Option<String>,
}

impl Peer {
    /// Reverse DNS as `gate` wants it, as soon as it is known; none if the lookup was lost to a panic.
    pub(crate) async fn reverse_dns_state(&mut self, gate: &Gate) -> Option<PtrState> {
        match &mut self.ptr {
            Some(ptr) if gate.ptr == PtrMode::Exists && self.iprev.known().is_none() => ptr.get().await.copied(),
            _ => self.iprev.get().await.map(|iprev| gate.reverse_dns_state(iprev)),
        }
    }
}
