//! Whether the addresses that the gate sees can be those of its clients. Where they are not, the three rules judge whatever hides them.

use mx6_telemetry::{Counter, Finding, Total};

/// What an operator should look into; nothing while there were few clients.
pub(crate) fn findings(total: &Total) -> Vec<Finding> {
    let [private, ipv6, mapped, ipv4] =
        [Counter::PrivateClients, Counter::Ipv6Clients, Counter::MappedClients, Counter::Ipv4Clients]
            .map(|counter| total.value(counter));
    let all = ipv6 + mapped + ipv4;
    let private_addresses = (all >= CLIENTS_MIN && private * 10 >= all * 9).then(|| Finding {
        name: "private-addresses".to_owned(),
        text: format!(
            "{private} of {all} anonymous clients had private, link-local or loopback addresses: mail from the Internet has none. If they are yours, make them \
             connectors; if not, something in front of this gate hides the clients' addresses (docker run without --network host, a balancer \
             without the PROXY protocol)."
        ),
    });
    let only_mapped = (mapped >= CLIENTS_MIN && ipv6 == 0).then(|| Finding {
        name: "only-mapped-peers".to_owned(),
        text: format!(
            "an IPv6 listener has seen {mapped} clients, all of them IPv4 (::ffff:a.b.c.d): IPv6 does not arrive here. Look at the AAAA record of this gate, at \
             the firewall, and at what forwards connections."
        ),
    });
    private_addresses.into_iter().chain(only_mapped).collect()
}

/// Tells of each finding once.
#[derive(Debug)]
pub(crate) struct Watch {
    total: Total,
    told: Vec<String>,
}

impl Watch {
    /// Nothing told yet.
    pub(crate) fn new(total: Total) -> Watch {
        Watch { total, told: Vec::new() }
    }

    /// Looks again.
    pub(crate) fn look(&mut self) {
        for finding in findings(&self.total) {
            if !self.told.contains(&finding.name) {
                mx6_telemetry::warning!("{}: {}", finding.name, finding.text);
                self.told.push(finding.name);
            }
        }
    }
}

/// Fewer say nothing.
const CLIENTS_MIN: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use mx6_telemetry::Counters;

    #[test]
    fn signs() {
        for (private, ipv6, mapped, ipv4, names) in [
            (0, 1000, 0, 1000, vec![]),
            (100, 1000, 0, 0, vec![]),
            (199, 199, 0, 0, vec![]),
            (950, 1000, 0, 0, vec!["private-addresses"]),
            (0, 0, 300, 0, vec!["only-mapped-peers"]),
            (0, 1, 300, 0, vec![]),
            (300, 0, 300, 0, vec!["private-addresses", "only-mapped-peers"]),
        ] {
            let counters = Counters::default();
            counters.add(Counter::PrivateClients, private);
            counters.add(Counter::Ipv6Clients, ipv6);
            counters.add(Counter::MappedClients, mapped);
            counters.add(Counter::Ipv4Clients, ipv4);
            let found: Vec<String> =
                findings(&Total::of(vec![counters])).into_iter().map(|finding| finding.name).collect();
            assert_eq!(found, names, "{private} {ipv6} {mapped} {ipv4}");
        }
    }
}
