//! Who may ask: a page of somebody else's must not read this endpoint through an operator's browser.
//!
//! A browser sends in `Host` the name that it was told to open. A foreign name that resolves to our address (DNS rebinding) is refused:
//! only IP addresses and `localhost` are names of this endpoint. Programs that send no `Host` at all are no browsers. What changes
//! something must come from a page of the same origin, or from no page.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::connections::Via;

/// Why a request is refused, in words.
pub(crate) fn refusal(via: Via, uri: &Uri, headers: &HeaderMap, changes: bool) -> Option<&'static str> {
    let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let asked = uri.authority().map(|authority| Some(authority.as_str()));
    if via == Via::Tcp && !hosts.chain(asked).all(|host| host.is_some_and(is_ours)) {
        return Some("Host is a foreign name: ask by IP address or as localhost");
    }
    if changes && !same_origin(headers) {
        return Some("Origin is another site: changes are taken from this endpoint's own pages and from programs");
    }
    None
}

fn is_ours(host: &str) -> bool {
    let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok(),
    }
}

fn same_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let Some(origin) = headers.get(header::ORIGIN) else { return site };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    site && host.is_some() && origin == host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(via: Via, sent: &[(&'static str, &str)], changes: bool) -> bool {
        let mut headers = HeaderMap::new();
        sent.iter().for_each(|(name, value)| {
            headers.append(*name, value.parse().unwrap());
        });
        refusal(via, &Uri::from_static("/log-level"), &headers, changes).is_none()
    }

    #[test]
    fn only_addresses_and_localhost() {
        for (host, answered) in [
            ("127.0.0.1:9125", true),
            ("127.0.0.1", true),
            ("[::1]:9125", true),
            ("[2001:db8::1]", true),
            ("localhost:9125", true),
            ("LOCALHOST", true),
            ("mx.example", false),
            ("localhost.evil.example:9125", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example:9125", false),
            ("[evil]", false),
            ("localhost@evil.example", false),
            ("evil.example@localhost", false),
            ("", false),
        ] {
            assert_eq!(check(Via::Tcp, &[("host", host)], false), answered, "{host}");
            assert!(check(Via::Unix, &[("host", host)], false), "{host}");
        }
        assert!(check(Via::Tcp, &[], false));
        assert!(!check(Via::Tcp, &[("host", "localhost"), ("host", "evil.example")], false));
        let asked = Uri::from_static("http://evil.example/status");
        assert!(refusal(Via::Tcp, &asked, &HeaderMap::new(), false).is_some());
    }

    #[test]
    fn changes_come_from_here() {
        let host = ("host", "127.0.0.1:9125");
        for (sent, taken) in [
            (vec![host], true),
            (vec![host, ("origin", "http://127.0.0.1:9125")], true),
            (vec![host, ("origin", "http://evil.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![("origin", "http://evil.example")], false),
        ] {
            assert_eq!(check(Via::Tcp, &sent, true), taken, "{sent:?}");
        }
        assert!(check(Via::Tcp, &[host, ("origin", "http://evil.example")], false));
    }
}
