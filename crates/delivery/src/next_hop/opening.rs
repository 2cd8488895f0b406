//! How a connection to a next hop begins: PROXY header, greeting, EHLO or LHLO, XCLIENT.
//!
//! With the PROXY protocol and XCLIENT a connection is one client's, and the next hop judges that client: what it refuses here once it was
//! told who that is, is an answer to the client. It says nothing of the next hop's health, or a client could make a host back off.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mx6_runtime::{Deadline, Stream};
use mx6_smtp::Reply;
use mx6_smtp::client::{
    Attributes, Extensions, Origin, is_sendable_value, names_host, origin_commands, write_ehlo, write_lhlo,
    write_proxy_header,
};

use super::connection::{Connection, Slot};
use super::fault::Fault;
use crate::{DeliveryConfig, NextHopClient, Stage};

/// What is spoken with the next hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// One address of a next hop.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(Arc<Path>),
}

/// A new connection, before it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'o> {
    pub(crate) config: &'o DeliveryConfig,
    pub(crate) protocol: Protocol,
    /// The client that it is for; none when we speak for ourselves, to see what is offered.
    pub(crate) origin: Option<&'o Origin>,
}

impl Opening<'_> {
    /// Connects and goes on to the point where MAIL may be said.
    pub(crate) async fn connect(
        self,
        endpoint: &Endpoint,
        slot: Slot,
        until: Deadline,
        stage: &mut Stage,
    ) -> Result<Connection, Fault> {
        *stage = Stage::Connect;
        let timeout = until.remaining().min(self.config.connect_timeout);
        let stream = match endpoint {
            Endpoint::Tcp(address) => Stream::connect(*address, timeout).await?,
            Endpoint::Unix(path) => Stream::connect_unix(path, timeout).await?,
        };
        let mut connection = Connection::new(stream, slot);
        let mode = self.config.next_hop_client;
        let mut is_known = false;
        *stage = Stage::Greeting;
        if mode == NextHopClient::Proxy {
            is_known = self.origin.is_some();
            let mut header = Vec::new();
            write_proxy_header(&mut header, self.origin);
            connection.send(&[&header], self.step(until)).await?;
        }
        self.greeting(&mut connection, is_known, until).await?;
        *stage = Stage::Ehlo;
        self.hello(&mut connection, &self.config.hostname, is_known, until).await?;
        if mode == NextHopClient::Xclient {
            *stage = Stage::Xclient;
            self.xclient(&mut connection, until).await?;
        }
        if connection.is_quiet() { Ok(connection) } else { Err(Fault::Stray) }
    }

    async fn greeting(self, connection: &mut Connection, is_known: bool, until: Deadline) -> Result<(), Fault> {
        let greeting = connection.reply(self.step(until)).await;
        self.check(greeting, 220, is_known).map(drop)
    }

    async fn hello(
        self,
        connection: &mut Connection,
        hostname: &str,
        is_known: bool,
        until: Deadline,
    ) -> Result<(), Fault> {
        let mut command = Vec::new();
        match self.protocol {
            Protocol::Smtp => write_ehlo(&mut command, hostname),
            Protocol::Lmtp => write_lhlo(&mut command, hostname),
        }
        let until = self.step(until);
        connection.send(&[&command], until).await?;
        let reply = connection.reply(until).await;
        connection.extensions = Extensions::parse(&self.check(reply, 250, is_known)?);
        Ok(())
    }

    /// Says who the client is; then the session begins anew, as the client's. A next hop that does not take its address is no use: the
    /// mail would pass as ours.
    async fn xclient(self, connection: &mut Connection, until: Deadline) -> Result<(), Fault> {
        let offered = connection.extensions.xclient;
        if !offered.contains(Attributes::ADDR) {
            return Err(Fault::NoXclient);
        }
        let Some(origin) = self.origin else { return Ok(()) };
        let helo = if is_sendable_value(&origin.helo, false) { &origin.helo } else { &self.config.hostname };
        for command in origin_commands("XCLIENT", origin, offered) {
            connection.send(&[&command], self.step(until)).await?;
            self.greeting(connection, true, until).await?;
        }
        self.hello(connection, helo, true, until).await
    }

    /// The reply, if it has that code and is not from ourselves.
    fn check(self, reply: Result<Reply, Fault>, code: u16, is_known: bool) -> Result<Reply, Fault> {
        match reply {
            Err(Fault::Closing(reply)) if is_known => Err(Fault::ClientRefused(reply)),
            Ok(reply) if reply.code >= 400 && is_known => Err(Fault::ClientRefused(reply)),
            Ok(reply) if reply.code != code => Err(Fault::Refused),
            // A delivery agent on this machine may well bear our name; mail does not come back from there.
            Ok(reply) if self.protocol == Protocol::Smtp && names_host(&reply, &self.config.hostname) => {
                Err(Fault::Loop)
            }
            reply => reply,
        }
    }

    fn step(self, until: Deadline) -> Deadline {
        Deadline::after(self.config.greeting_timeout).earlier(until)
    }
}
