//! Which sources of a domain on trial are only monitored, when that is to hold for a part of them.
//!
//! A source is a /64, as limits have it: what it retries is treated as what it sent before. The part is drawn from the prefix and the domain alone, so that every
//! shard, every gate of a fleet and every restart draws the same, and a higher percentage monitors whom a lower one did and some more.

use std::net::IpAddr;

/// Whether the source of `client` is among the `percent` of all that are monitored for `domain`.
pub(crate) fn is_monitored(client: IpAddr, domain: &str, percent: u8) -> bool {
    let prefix = match client {
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        IpAddr::V4(address) => u64::from(address.to_bits()),
    };
    draw(prefix, domain) < u64::from(percent)
}

/// A number below 100, evenly spread: FNV-1a over the octets, then the finalizer of SplitMix64, as FNV leaves the high bits of short texts alike.
fn draw(prefix: u64, domain: &str) -> u64 {
    let octets = domain.bytes().chain(prefix.to_be_bytes());
    let hash = octets
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31)) % 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn source(number: u128, host: u128) -> IpAddr {
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64 | host).into()
    }

    #[test]
    fn as_many_as_were_asked_for_and_always_the_same() {
        for percent in [0, 1, 10, 50, 99, 100] {
            let monitored = (0..10_000).filter(|number| is_monitored(source(*number, 1), "trial.example", percent));
            let share = monitored.count() as i64 - i64::from(percent) * 100;
            assert!(share.abs() <= 200 && (share == 0 || !matches!(percent, 0 | 100)), "{percent} %: {share} off");
        }
        for number in 0..1000 {
            let of = |host, percent| is_monitored(source(number, host), "trial.example", percent);
            assert_eq!(of(1, 30), of(0xffff, 30), "one /64 is one source");
            assert!(!of(1, 30) || of(1, 31), "whom 30 % monitor 31 % do too");
        }
        let differ = (0..1000).filter(|number| {
            is_monitored(source(*number, 1), "a.example", 50) != is_monitored(source(*number, 1), "b.example", 50)
        });
        assert!((400..600).contains(&differ.count()), "domains draw for themselves");
    }

    #[test]
    fn drawn_the_same_by_every_version() {
        let drawn = [0, 1, 0x2001_0db8_0000_0001].map(|prefix| draw(prefix, "trial.example"));
        assert_eq!(drawn, DRAWN);
    }

    const DRAWN: [u64; 3] = [92, 2, 64];
}
