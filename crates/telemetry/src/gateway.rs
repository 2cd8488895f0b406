//! Signs that the addresses that a gate sees are not those of its clients: network address translation, or a balancer without the PROXY protocol.
//!
//! Then the rules judge the gateway: whoever comes through it passes or fails as one. Docker's default bridge does that to IPv6.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::status::Finding;

/// What was seen of the clients' addresses in the last decisions: two windows, the one that fills and the one before.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    now: Window,
    before: Window,
}

#[derive(Debug, Default)]
struct Window {
    decisions: u64,
    private: u64,
    by_address: HashMap<IpAddr, Address>,
}

#[derive(Debug, Default)]
struct Address {
    decisions: u64,
    /// Hashes of the names that it gave in HELO, at most so many as make it a gateway.
    names: Vec<u64>,
}

impl Address {
    fn take(&mut self, helo: &str) {
        self.decisions += 1;
        if self.names.len() >= GATEWAY_NAMES || helo.is_empty() {
            return;
        }
        let name = hash_of(helo);
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

impl Gateways {
    /// Takes a decision about an anonymous client into account.
    pub(crate) fn take(&mut self, client: IpAddr, helo: &str) {
        self.now.decisions += 1;
        self.now.private += u64::from(is_private(client));
        if let Some(address) = self.now.by_address.get_mut(&client) {
            address.take(helo);
        } else if self.now.by_address.len() < ADDRESSES_MAX {
            self.now.by_address.entry(client).or_default().take(helo);
        }
        if self.now.decisions >= WINDOW {
            self.before = std::mem::take(&mut self.now);
        }
    }

    /// What an operator should look into.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let window = if self.before.decisions > 0 { &self.before } else { &self.now };
        if window.decisions < DECISIONS_MIN {
            return Vec::new();
        }
        let percent = |part: u64| part * 100 / window.decisions;
        let busiest = window.by_address.iter().max_by_key(|(_, address)| address.decisions);
        let gateway =
            busiest.filter(|(_, address)| percent(address.decisions) >= 50 && address.names.len() >= GATEWAY_NAMES);
        let one_gateway = gateway.map(|(client, address)| Finding {
            name: "one-gateway".to_owned(),
            text: format!(
                "{} % of the last {} decisions are about {client}, which gave {GATEWAY_NAMES} or more names in HELO: it looks like a gateway that hides the \
                 clients' addresses (network address translation, or a balancer without the PROXY protocol), and the rules judge the gateway. Let \
                 clients' addresses through (docker run --network host), or use --proxy-listen.",
                percent(address.decisions),
                window.decisions
            ),
        });
        let private_addresses = (percent(window.private) >= 10).then(|| Finding {
            name: "private-addresses".to_owned(),
            text: format!(
                "{} % of the last {} decisions are about anonymous clients with private, link-local or loopback addresses: mail from the Internet has none. \
                 If they are yours, make them connectors; if not, something in front of this gate hides the clients' addresses.",
                percent(window.private),
                window.decisions
            ),
        });
        one_gateway.into_iter().chain(private_addresses).collect()
    }
}

/// Whether an address cannot be one of the Internet: private (RFC 1918, RFC 4193), shared (RFC 6598), link-local or loopback.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

fn hash_of(name: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Decisions of a window.
const WINDOW: u64 = 10_000;
/// Fewer say nothing.
const DECISIONS_MIN: u64 = 200;
/// Addresses that are told apart in a window.
const ADDRESSES_MAX: usize = 1024;
/// One machine has one name, or a few.
const GATEWAY_NAMES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(clients: impl Iterator<Item = (String, String)>) -> Vec<String> {
        let mut gateways = Gateways::default();
        clients.for_each(|(client, helo)| gateways.take(client.parse().unwrap(), &helo));
        gateways.findings().into_iter().map(|finding| finding.name).collect()
    }

    #[test]
    fn signs_of_a_gateway() {
        let nothing: [&str; 0] = [];
        let many = |number: u64| (format!("2001:db8:{number:x}::1"), format!("mail{number}.example"));
        assert_eq!(found((0..1000).map(many)), nothing);
        let one_sender = |number: u64| ("2001:db8::1".to_owned(), format!("mail{}.example", number % 3));
        assert_eq!(found((0..1000).map(one_sender)), nothing);
        let gateway = |number: u64| ("2001:db8::1".to_owned(), format!("mail{number}.example"));
        assert_eq!(found((0..1000).map(gateway)), ["one-gateway"]);
        let docker = |number: u64| ("172.17.0.1".to_owned(), format!("mail{number}.example"));
        assert_eq!(found((0..1000).map(docker)), ["one-gateway", "private-addresses"]);
        assert_eq!(found((0..100).map(docker)), nothing, "too few");
        let some = |number: u64| if number.is_multiple_of(9) { docker(number) } else { many(number) };
        assert_eq!(found((0..1000).map(some)), ["private-addresses"]);
        // What was so before is forgotten.
        assert_eq!(found((0..10_000).map(docker).chain((0..10_000).map(many))), nothing);
    }

    #[test]
    fn addresses_of_nobody() {
        for (address, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("192.0.2.1", false),
            ("127.0.0.1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
