//! Connecting from an address of the population.
//!
//! The addresses are on no interface: IPV6_FREEBIND lets a socket have one, and a local route for the whole prefix ("any-IP") makes the
//! kernel take what is sent back to it. IP_BIND_ADDRESS_NO_PORT leaves the choice of the port to connect(), so that ports are not used up.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::population::Prefix;

/// Connects to `target`, from `source` if one is given.
pub(super) async fn connect(target: SocketAddr, source: Option<Ipv6Addr>) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.set_freebind_v6(true)?;
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    TcpSocket::from_std_stream(socket.into()).connect(target).await
}

/// A PROXY header, version 2, for TCP over IPv6 (PROXY protocol §2.2).
pub(super) fn proxy_header(source: Ipv6Addr) -> [u8; 52] {
    let mut header = [0; 52];
    header[..12].copy_from_slice(b"\r\n\r\n\0\r\nQUIT\n");
    header[12..16].copy_from_slice(&[0x21, 0x21, 0, 36]);
    header[16..32].copy_from_slice(&source.octets());
    header[32..48].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
    header[48..52].copy_from_slice(&[0x9c, 0x40, 0, 25]);
    header
}

/// Whether the kernel takes what is sent to the addresses of the prefixes.
pub(super) fn check_routes(prefixes: &[Prefix]) -> Result<()> {
    // Without the file there is no IPv6 here, which connecting will tell.
    let Ok(table) = std::fs::read_to_string(ROUTES) else { return Ok(()) };
    for prefix in prefixes {
        if !table.lines().any(|line| is_local_route(line, *prefix)) {
            bail!(
                "no local route for {prefix}: what a server answers to its addresses would not come back here. Set one as root \
                 (in a network namespace, if this machine has other things to do):\n    \
                 ip -6 route add local {prefix} dev lo\nor send through a PROXY listener of mx6 with --proxy, which needs no route"
            );
        }
    }
    Ok(())
}

/// A line of the kernel's table: destination and length, source and length, next hop, metric, two counts, flags, device.
fn is_local_route(line: &str, prefix: Prefix) -> bool {
    let mut words = line.split_ascii_whitespace();
    let destination = words.next().and_then(|word| u128::from_str_radix(word, 16).ok());
    let length = words.next().and_then(|word| u8::from_str_radix(word, 16).ok());
    let flags = words.nth(6).and_then(|word| u32::from_str_radix(word, 16).ok());
    let (Some(destination), Some(length), Some(flags)) = (destination, length, flags) else { return false };
    let covers = length <= prefix.length()
        && (length == 0 || (destination ^ prefix.network().to_bits()) >> (128 - u32::from(length)) == 0);
    covers && flags & RTF_LOCAL != 0 && flags & RTF_REJECT == 0
}

const ROUTES: &str = "/proc/net/ipv6_route";
const RTF_LOCAL: u32 = 0x8000_0000;
const RTF_REJECT: u32 = 0x0200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let zero = "00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000";
        let line = |network: &str, length: &str, flags: &str| format!("{network} {length} {zero} {flags} lo");
        let db8 = "20010db8000000000000000000000000";
        for (line, covers) in [
            (line(db8, "20", "80000001"), true),
            (line("20010000000000000000000000000000", "10", "80000001"), true),
            (line("00000000000000000000000000000000", "00", "80000001"), true),
            (line(db8, "21", "80000001"), false),
            (line(db8, "20", "00000001"), false),
            (line(db8, "20", "80000201"), false),
            (line("20010db9000000000000000000000000", "20", "80000001"), false),
            (String::new(), false),
            ("x y z".into(), false),
        ] {
            assert_eq!(is_local_route(&line, "2001:db8::/32".parse().unwrap()), covers, "{line}");
        }
    }

    /// No machine has a route for this one by itself.
    #[test]
    fn a_missing_route_is_told_with_its_remedy() {
        let error = check_routes(&["3fff:abc::/32".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("\n    ip -6 route add local 3fff:abc::/32 dev lo\n"), "{error}");
        assert!(error.contains("--proxy"), "{error}");
    }
}
