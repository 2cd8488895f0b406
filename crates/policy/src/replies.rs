//! The words of every refusal. Senders and their tools match on them: they are exact to the octet.

use std::net::IpAddr;

use mx6_smtp::{EnhancedCode, Reply};

pub(crate) fn not_served_here(domain: &str) -> Reply {
    let text = format!("Relaying denied, [{domain}] is not served here.");
    Reply::new(550, Some(EnhancedCode(5, 7, 1)), text)
}

pub(crate) fn not_opted_in(domain: &str) -> Reply {
    let text = format!("Service unavailable, [{domain}] does not accept email over IPv6.");
    Reply::new(550, Some(EnhancedCode(5, 2, 1)), text)
}

pub(crate) fn no_reverse_dns(address: IpAddr) -> Reply {
    let text = format!("Service unavailable, sending IPv6 address [{address}] must have reverse DNS record.");
    Reply::new(450, Some(EnhancedCode(4, 7, 25)), text)
}

pub(crate) fn reverse_dns_temporary(address: IpAddr) -> Reply {
    let text = format!("Temporary DNS failure, reverse DNS record of [{address}] could not be looked up.");
    Reply::new(451, Some(EnhancedCode(4, 4, 3)), text)
}

pub(crate) fn not_authenticated(address: IpAddr) -> Reply {
    let text =
        format!("Service unavailable, message sent over IPv6 [{address}] must pass either SPF or DKIM validation.");
    Reply::new(450, Some(EnhancedCode(4, 7, 26)), text)
}

pub(crate) fn authentication_temporary(address: IpAddr) -> Reply {
    let text = format!("Temporary DNS failure, SPF and DKIM of the message from [{address}] could not be checked.");
    Reply::new(451, Some(EnhancedCode(4, 4, 3)), text)
}

pub(crate) const MIXED_MODES: Reply = Reply::fixed(
    452,
    EnhancedCode(4, 5, 3),
    "This recipient needs a transaction of its own, its domain follows other rules than the ones before.",
);
pub(crate) const MIXED_DOMAINS: Reply = Reply::fixed(
    452,
    EnhancedCode(4, 5, 3),
    "This recipient needs a transaction of its own, its domain is not that of the ones before.",
);
pub(crate) const MAIL_LOOP: Reply = Reply::fixed(554, EnhancedCode(5, 4, 6), "Mail loop detected.");
