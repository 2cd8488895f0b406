//! Who is speaking: the canonical address, and the connectors that make a client a known partner.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The address that rules, records and replies speak of: IPv4-mapped IPv6 (RFC 4291 §2.5.5.2) is IPv4.
#[must_use]
pub fn canonical_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The network of canonical addresses that `network` means: one inside `::ffff:0:0/96` is IPv4, as its clients are.
#[must_use]
pub fn canonical_network(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 => match mapped.network().to_ipv4_mapped() {
            Some(address) => Ipv4Net::new(address, mapped.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        _ => network,
    }
}

/// A partner known by its network; skips the three rules, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    network: IpNet,
}

/// Why a connector could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConnectorError {
    /// Not an address and not a network.
    #[error("connector `{0}` is not a network; write it like 2001:db8:1::/48 or 192.0.2.7")]
    NotANetwork(String),
    /// The address has bits set behind the prefix length: probably a slip.
    #[error("connector `{given}` has address bits behind its prefix length; did you mean {network}?")]
    HostBits {
        /// What was given.
        given: String,
        /// The network it lies in.
        network: IpNet,
    },
}

impl FromStr for Connector {
    type Err = ConnectorError;

    fn from_str(text: &str) -> Result<Connector, ConnectorError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Connector { network: IpNet::from(address.to_canonical()) });
        }
        let network: IpNet = text.parse().map_err(|_| ConnectorError::NotANetwork(text.to_owned()))?;
        if network.trunc() != network {
            return Err(ConnectorError::HostBits { given: text.to_owned(), network: network.trunc() });
        }
        Ok(Connector { network: canonical_network(network) })
    }
}

/// One client, as the rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Canonical: never IPv4-mapped IPv6.
    address: IpAddr,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Anonymous,
    Known,
    /// Anonymous, whatever it proves.
    Unknowable,
}

impl Client {
    /// The client behind `address` (any form), known as a partner if one of `connectors` holds it.
    #[must_use]
    pub fn new(address: IpAddr, connectors: &[Connector]) -> Client {
        let address = canonical_address(address);
        let connector = connectors.iter().any(|connector| connector.network.contains(&address));
        Client { address, standing: if connector { Standing::Known } else { Standing::Anonymous } }
    }

    /// A proxy that speaks for itself, or does not know for whom (LOCAL, UNKNOWN): no connector is meant by that.
    #[must_use]
    pub fn unknowable(address: IpAddr) -> Client {
        Client { address: canonical_address(address), standing: Standing::Unknowable }
    }

    /// The canonical address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The same client, known as a partner by what it proved: a certificate.
    #[must_use]
    pub fn known(self) -> Client {
        match self.standing {
            Standing::Unknowable => self,
            Standing::Anonymous | Standing::Known => Client { standing: Standing::Known, ..self },
        }
    }

    /// Whether a connector made this client known.
    #[must_use]
    pub fn is_connector(&self) -> bool {
        self.standing == Standing::Known
    }

    /// Whether this is a proxy that speaks for itself, or for a client that it does not name: its health check is one.
    #[must_use]
    pub fn is_unknowable(&self) -> bool {
        self.standing == Standing::Unknowable
    }

    /// Whether the three rules hold for this client: IPv6 and not a connector. No range is exempt by itself.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.address.is_ipv6() && !self.is_connector()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gated() {
        let connectors = [
            "2001:db8:1::/48".parse().unwrap(),
            "192.0.2.7".parse().unwrap(),
            "::ffff:198.51.100.0/120".parse().unwrap(),
        ];
        for (address, gated, connector) in [
            ("2001:db8:2::1", true, false),
            ("2001:db8:1:ffff::1", false, true),
            ("::ffff:192.0.2.1", false, false),
            ("::ffff:192.0.2.7", false, true),
            ("192.0.2.1", false, false),
            ("198.51.100.9", false, true),
            ("::ffff:198.51.100.9", false, true),
            ("198.51.101.9", false, false),
            ("::1", true, false),
            ("fe80::1", true, false),
            ("fd00::1", true, false),
            ("::", true, false),
        ] {
            let client = Client::new(address.parse().unwrap(), &connectors);
            assert_eq!((client.is_gated(), client.is_connector()), (gated, connector), "{address}");
        }
    }

    #[test]
    fn who_becomes_known_by_proof() {
        let address = "2001:db8:1::1".parse().unwrap();
        assert!(Client::new(address, &[]).known().is_connector());
        assert!(!Client::unknowable(address).known().is_connector());
        assert!(Client::unknowable(address).known().is_gated() && Client::unknowable(address).is_unknowable());
    }

    #[test]
    fn connectors_that_cannot_be_read() {
        for (text, words) in [
            ("2001:db8::/129", "is not a network"),
            ("partner.example", "is not a network"),
            ("", "is not a network"),
            ("2001:db8:1::1/48", "did you mean 2001:db8:1::/48?"),
        ] {
            let error = text.parse::<Connector>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
