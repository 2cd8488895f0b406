//! Who the client is, as the next hop is told (`--next-hop-client`).

use std::net::SocketAddr;

use mx6_delivery::NextHopClient;
use mx6_policy::facts::MethodResult;
use mx6_smtp::client::{Origin, OriginName};

use crate::peer::Peer;

/// The two ends of a client's connection, which a PROXY header may have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) destination: Option<SocketAddr>,
}

/// The client of `peer`. Its name is waited for where it is told; the lookup has its own deadline.
pub(crate) async fn of(peer: &mut Peer, told_by: NextHopClient) -> Origin {
    let name = if told_by.tells_name() { name(peer).await } else { OriginName::Unavailable };
    Origin {
        address: peer.client.address(),
        port: peer.ends.map(|ends| ends.source.port()),
        name,
        helo: peer.helo.clone(),
        with_esmtp: peer.with_esmtp,
        destination: peer.ends.and_then(|ends| ends.destination),
    }
}

async fn name(peer: &mut Peer) -> OriginName {
    match peer.iprev.get().await {
        Some(iprev) => match (&iprev.confirmed, iprev.result) {
            (Some(name), _) => OriginName::Known(name.clone()),
            (None, MethodResult::TempError) => OriginName::NotNow,
            (None, _) => OriginName::Unavailable,
        },
        // The lookup was lost to a panic.
        None => OriginName::NotNow,
    }
}
