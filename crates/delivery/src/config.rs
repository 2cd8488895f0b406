//! What delivery may use and how long it may wait: every limit of this crate that an operator can set.

use std::str::FromStr;
use std::time::Duration;

/// How a next hop learns who the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NextHopClient {
    /// Only from the `Received` field.
    #[default]
    None,
    /// XFORWARD before each MAIL, for its log. As Postfix does: to a next hop that does not offer it, or refuses it, the mail goes without.
    Xforward,
    /// XCLIENT on a connection for each mail transaction: the next hop treats it as the client's own. None that does not offer it is used.
    Xclient,
    /// A header of the PROXY protocol 2 on a connection for each mail transaction, to the same effect.
    Proxy,
}

impl NextHopClient {
    /// Whether a connection is one client's and cannot be used for another.
    #[must_use]
    pub fn has_own_connections(self) -> bool {
        matches!(self, NextHopClient::Xclient | NextHopClient::Proxy)
    }

    /// Whether the client's name is told: whoever tells it should have looked it up.
    #[must_use]
    pub fn tells_name(self) -> bool {
        matches!(self, NextHopClient::Xforward | NextHopClient::Xclient)
    }
}

impl FromStr for NextHopClient {
    type Err = ();

    fn from_str(text: &str) -> Result<NextHopClient, ()> {
        match text {
            "none" => Ok(NextHopClient::None),
            "xforward" => Ok(NextHopClient::Xforward),
            "xclient" => Ok(NextHopClient::Xclient),
            "proxy" => Ok(NextHopClient::Proxy),
            _ => Err(()),
        }
    }
}

/// Limits and times. All are for one shard and, where a next hop is meant, for each host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// Our name: said in EHLO, written in Maildir file names, and the mark of a loop when a next hop bears it.
    pub hostname: String,
    /// How next hops learn who the client is.
    pub next_hop_client: NextHopClient,
    /// Connections kept open while nothing uses them.
    pub idle_max: usize,
    /// How long a connection is kept unused. Postfix closes after 300 s; well below it, so that we are the first.
    pub idle_timeout: Duration,
    /// Messages sent over one connection before it is retired.
    pub messages_per_connection_max: u32,
    /// 4xx and 5xx replies on one connection before it is retired. Postfix slows down at 10 and disconnects at 20.
    pub refusals_per_connection_max: u32,
    /// How often one mail transaction leaves a connection for its refusals and says its accepted recipients again; then it stays.
    pub retirements_per_transaction_max: u32,
    /// Connections open at once, used or not. A host that has so many is passed over.
    pub connections_max: usize,
    /// How long a recipient waits for a connection when every host that could take it has `connections_max`.
    pub slot_timeout: Duration,
    /// For one TCP connection.
    pub connect_timeout: Duration,
    /// For the greeting, and again for the reply to EHLO.
    pub greeting_timeout: Duration,
    /// For each reply to MAIL, RCPT, DATA and RSET.
    pub command_timeout: Duration,
    /// For writing one block of a message.
    pub block_timeout: Duration,
    /// For one recipient in all: every host tried, every replay. Below the 5 min a client waits (RFC 5321 §4.5.3.2.3).
    pub recipient_timeout: Duration,
    /// For one host, while another is left that has not been tried for this step: a host that is slow to fail must not hold up the mail.
    /// Not for the message itself.
    pub host_timeout: Duration,
    /// How long the addresses of a host name are believed; after a failure of the host they are looked up again with
    /// the next connection. They are used for longer while a lookup is under way, and after one that failed.
    pub addresses_timeout: Duration,
    /// A host that could not be reached for so long counts no more for what clients are offered.
    pub offers_timeout: Duration,
    /// A host that failed is tried last for so long; doubled with each failure in a row.
    pub back_off_min: Duration,
    /// At most for so long.
    pub back_off_max: Duration,
}

impl DeliveryConfig {
    /// The defaults for a host of this name.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> DeliveryConfig {
        DeliveryConfig { hostname: hostname.into(), ..DeliveryConfig::default() }
    }
}

impl Default for DeliveryConfig {
    fn default() -> DeliveryConfig {
        DeliveryConfig {
            hostname: "localhost".to_owned(),
            next_hop_client: NextHopClient::None,
            idle_max: 32,
            idle_timeout: Duration::from_secs(30),
            messages_per_connection_max: 100,
            refusals_per_connection_max: 8,
            retirements_per_transaction_max: 3,
            connections_max: 1000,
            slot_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(10),
            greeting_timeout: Duration::from_secs(30),
            command_timeout: Duration::from_secs(60),
            block_timeout: Duration::from_secs(60),
            recipient_timeout: Duration::from_secs(120),
            host_timeout: Duration::from_secs(15),
            addresses_timeout: Duration::from_secs(60),
            offers_timeout: Duration::from_secs(3600),
            back_off_min: Duration::from_secs(1),
            back_off_max: Duration::from_secs(60),
        }
    }
}
