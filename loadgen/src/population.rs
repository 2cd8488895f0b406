//! The senders: source addresses, their host names, and the domains they send for.
//!
//! There is no table. Class and index of a source stand in its address and in its host name, so that the zone can answer any
//! question about it from the question alone, and a million sources cost no memory. `run` and `zone` agree as long as they are given
//! the same prefixes, and the zone knows at least as many sources and domains.

mod class;
mod zipf;

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};
use clap::Args;

pub(crate) use class::{Class, MIX_DEFAULT, Mix};
pub(crate) use zipf::Zipf;

/// Who sends.
#[derive(Debug, Clone, Args)]
pub(crate) struct PopulationOptions {
    /// Network that sources are taken from; repeatable.
    #[arg(long, value_name = "CIDR", default_value = "2001:db8::/32")]
    pub(crate) prefix: Vec<Prefix>,
    /// How many sources there are.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub(crate) sources: u64,
    /// Messages of each class in a hundred.
    #[arg(long, value_name = "CLASS=PERCENT,…", default_value = MIX_DEFAULT)]
    pub(crate) mix: Mix,
    /// How many sender domains there are: d1.example, d2.example, …
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) domains: u64,
    /// Popularity of the domains: the k-th is drawn in proportion to 1/k to this power; 0 is uniform.
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
    pub(crate) zipf: f64,
    /// Recipient domain that has opted in to IPv6.
    #[arg(long, value_name = "DOMAIN", default_value = "open.example")]
    pub(crate) opted_in_domain: String,
    /// Recipient domain that has not.
    #[arg(long, value_name = "DOMAIN", default_value = "v4only.example")]
    pub(crate) closed_domain: String,
}

/// Who sends, checked.
#[derive(Debug, Clone)]
pub(crate) struct Population {
    prefixes: Vec<Prefix>,
    mix: Mix,
    sources: u64,
    domains: u64,
    zipf: Zipf,
    /// Where recipients are that may get mail over IPv6.
    pub(crate) opted_in_domain: String,
    /// Where recipients are that may not.
    pub(crate) closed_domain: String,
}

impl Population {
    /// From the options.
    pub(crate) fn new(options: &PopulationOptions) -> Result<Population> {
        ensure!((0.0..=10.0).contains(&options.zipf), "--zipf {}: expected 0 to 10", options.zipf);
        for domain in [&options.opted_in_domain, &options.closed_domain] {
            ensure!(is_domain(domain), "`{domain}` is no domain name of at least two labels in lower case");
        }
        ensure!(options.opted_in_domain != options.closed_domain, "the recipient domains are the same");
        Ok(Population {
            prefixes: options.prefix.clone(),
            mix: options.mix.clone(),
            sources: options.sources,
            domains: options.domains,
            zipf: Zipf::new(options.domains, options.zipf),
            opted_in_domain: options.opted_in_domain.clone(),
            closed_domain: options.closed_domain.clone(),
        })
    }

    /// Messages of each class in a hundred.
    pub(crate) fn mix(&self) -> &Mix {
        &self.mix
    }

    /// Networks that sources are taken from.
    pub(crate) fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// Sources of a class: its share of all, at least one if it occurs.
    pub(crate) fn sources_of(&self, class: Class) -> u64 {
        let share = self.mix.percent(class) / 100.0;
        if share == 0.0 { 0 } else { ((self.sources as f64 * share).round() as u64).max(1) }
    }

    /// Whether there is such a source. Whatever the mix: a zone that runs for long serves runs with mixes of all kinds.
    pub(crate) fn has(&self, source: Source) -> bool {
        u64::from(source.index) < self.sources
    }

    /// One of the class, each as likely as the other.
    pub(crate) fn draw_source(&self, class: Class, rng: &mut fastrand::Rng) -> Source {
        let index = rng.u64(0..self.sources_of(class).max(1));
        Source { class, index: u32::try_from(index).unwrap_or(u32::MAX) }
    }

    /// The one whose turn it is; after the last comes the first again.
    pub(crate) fn source_in_turn(&self, class: Class, turn: u64) -> Source {
        let index = turn % self.sources_of(class).max(1);
        Source { class, index: u32::try_from(index).unwrap_or(u32::MAX) }
    }

    /// A sender domain by its popularity.
    pub(crate) fn draw_domain(&self, rng: &mut fastrand::Rng) -> u64 {
        self.zipf.draw(rng)
    }

    /// Whether there is such a sender domain.
    pub(crate) fn has_domain(&self, number: u64) -> bool {
        (1..=self.domains).contains(&number)
    }

    /// The address of a source: prefix, four bits of class, 32 bits of index, and a host part that does not change.
    pub(crate) fn address(&self, source: Source) -> Ipv6Addr {
        let prefix = self.prefixes[source.index as usize % self.prefixes.len()];
        prefix.address(source.class.bits(), source.index)
    }

    /// The source of an address, if there is one.
    pub(crate) fn source(&self, address: Ipv6Addr) -> Option<Source> {
        let prefix = self.prefixes.iter().find(|prefix| prefix.contains(address))?;
        let (bits, index) = prefix.split(address);
        let source = Source { class: Class::from_bits(bits)?, index };
        (self.has(source) && self.address(source) == address).then_some(source)
    }

    /// Where the PTR record's target of a class without FCrDNS leads: an address beside that of the source.
    pub(crate) fn other_address(&self, source: Source) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address(source).to_bits() ^ 0xffff)
    }

    /// What SPF records name: the half of each prefix whose classes pass.
    pub(crate) fn passing_networks(&self) -> impl Iterator<Item = Prefix> {
        self.prefixes.iter().map(|prefix| prefix.upper_half())
    }
}

/// One source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// What is right or wrong about it.
    pub(crate) class: Class,
    /// From 0.
    pub(crate) index: u32,
}

impl Source {
    /// Whether it is DNS of the source that fails for now, rather than that of its domain.
    pub(crate) fn ptr_fails(self) -> bool {
        self.class == Class::TempError && self.index.is_multiple_of(2)
    }

    /// Whether its domain's SPF record is what fails for now.
    pub(crate) fn spf_fails_for_now(self) -> bool {
        self.class == Class::TempError && !self.ptr_fails()
    }

    /// Reads a host name's first two labels.
    pub(crate) fn of_host(label: &str, class: &str) -> Option<Source> {
        let digits = label.strip_prefix('h')?;
        let index = u32::from_str_radix(digits, 16).ok()?;
        let source = Source { class: class.parse().ok()?, index };
        // One spelling each: no leading zeros, no signs.
        let mut spelled = String::new();
        write!(spelled, "{index:x}").ok()?;
        (spelled == digits).then_some(source)
    }
}

impl fmt::Display for Source {
    /// Its host name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{:x}.{}.{HOSTS}", self.index, self.class.as_str())
    }
}

/// A network that sources are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    network: Ipv6Addr,
    length: u8,
}

impl Prefix {
    /// Its length in bits.
    pub(crate) fn length(self) -> u8 {
        self.length
    }

    /// Its first address.
    pub(crate) fn network(self) -> Ipv6Addr {
        self.network
    }

    /// Whether an address lies in it.
    pub(crate) fn contains(self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) >> (128 - self.length) == 0
    }

    fn address(self, class_bits: u8, index: u32) -> Ipv6Addr {
        let class_shift = 128 - self.length - CLASS_BITS;
        let bits = self.network.to_bits()
            | u128::from(class_bits) << class_shift
            | u128::from(index) << (class_shift - INDEX_BITS)
            | HOST_PART;
        Ipv6Addr::from_bits(bits)
    }

    fn split(self, address: Ipv6Addr) -> (u8, u32) {
        let class_shift = 128 - self.length - CLASS_BITS;
        let bits = address.to_bits();
        ((bits >> class_shift & 0xf) as u8, (bits >> (class_shift - INDEX_BITS)) as u32)
    }

    fn upper_half(self) -> Prefix {
        let network = Ipv6Addr::from_bits(self.network.to_bits() | 1 << (127 - self.length));
        Prefix { network, length: self.length + 1 }
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Prefix> {
        let expected = || format!("`{text}`: expected an IPv6 network such as 2001:db8::/32");
        let (network, length) = text.split_once('/').with_context(expected)?;
        let network: Ipv6Addr = network.parse().with_context(expected)?;
        let length: u8 = length.parse().with_context(expected)?;
        ensure!(
            (PREFIX_BITS_MIN..=PREFIX_BITS_MAX).contains(&length) && length.is_multiple_of(4),
            "`{text}`: expected a length of {PREFIX_BITS_MIN} to {PREFIX_BITS_MAX} that is a multiple of 4"
        );
        ensure!(network.to_bits() << length == 0, "`{text}`: bits are set behind the {length} of the network");
        Ok(Prefix { network, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// At least two labels of letters, digits and hyphens, in lower case.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// The domain that host names lie in.
pub(crate) const HOSTS: &str = "hosts.example";

/// Bits of an address that name the class.
const CLASS_BITS: u8 = 4;

/// Bits of an address that name the index.
const INDEX_BITS: u8 = 32;

/// The last 16 bits of every source.
const HOST_PART: u128 = 0x25;

/// Shorter ones are not given to anybody.
const PREFIX_BITS_MIN: u8 = 8;

/// Leaves room for class, index and host part.
const PREFIX_BITS_MAX: u8 = 76;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: PopulationOptions,
    }

    /// A population by its options.
    pub(crate) fn population(args: &[&str]) -> Population {
        let line = Line::try_parse_from(["test"].iter().chain(args)).unwrap();
        Population::new(&line.options).unwrap()
    }

    #[test]
    fn every_source_has_its_turn() {
        let population = population(&["--sources", "1000", "--mix", "no-ptr=100", "--prefix", "2000::/12"]);
        let addresses = |turns: std::ops::Range<u64>| -> std::collections::HashSet<Ipv6Addr> {
            turns.map(|turn| population.address(population.source_in_turn(Class::NoPtr, turn))).collect()
        };
        let once = addresses(0..1_000);
        assert_eq!((once.len(), addresses(0..3_000)), (1_000, once.clone()));
        let networks: std::collections::HashSet<u128> = once.iter().map(|address| address.to_bits() >> 80).collect();
        assert_eq!(networks.len(), 1_000, "each in a /48 of its own");
    }

    #[test]
    fn addresses_lead_back() {
        for prefixes in [
            &["2001:db8::/32"][..],
            &["2001:db8::/32", "3fff::/20"],
            &["fd00:1:2:3:4000::/68"],
            &["2001:db8:0:1::/64", "2001:db8:0:2::/76"],
        ] {
            let args: Vec<&str> = prefixes.iter().flat_map(|prefix| ["--prefix", prefix]).collect();
            let population = population(&[&args[..], &["--sources", "4294967296"]].concat());
            let mut seen = std::collections::HashSet::new();
            for class in Class::ALL {
                for index in [0, 1, 2, 15, 16, 0xffff, 0x10000, u32::MAX] {
                    let source = Source { class, index };
                    let address = population.address(source);
                    assert_eq!(population.source(address), Some(source), "{address}");
                    assert!(seen.insert(address), "{address} twice");
                    assert_eq!(population.source(population.other_address(source)), None);
                    let passes = population.passing_networks().any(|network| network.contains(address));
                    assert_eq!(passes, class.bits() >= 8, "{address} {class:?}");
                    let host = source.to_string();
                    let mut labels = host.split('.');
                    assert_eq!(Source::of_host(labels.next().unwrap(), labels.next().unwrap()), Some(source));
                }
            }
        }
    }

    /// The mix of a run changes nothing for the zone; the number of sources is its bound.
    #[test]
    fn who_is_there() {
        let population = population(&["--sources", "100", "--mix", "spf=100"]);
        for class in Class::ALL {
            for (index, there) in [(0, true), (99, true), (100, false), (u32::MAX, false)] {
                let source = Source { class, index };
                assert_eq!(population.source(population.address(source)), there.then_some(source), "{source}");
            }
        }
    }

    #[test]
    fn shares_of_the_mix() {
        let of_mix = population(&["--sources", "100000"]);
        assert_eq!(of_mix.sources_of(Class::Spf), 40_000);
        assert_eq!(of_mix.sources_of(Class::Hostile), 500);
        let few = population(&["--sources", "3", "--mix", "spf=99,neither=1"]);
        assert_eq!([Class::Spf, Class::Neither, Class::Both].map(|class| few.sources_of(class)), [3, 1, 0]);
    }

    #[test]
    fn prefixes() {
        for (text, says) in [
            ("2001:db8::/32", ""),
            ("fd00::/8", ""),
            ("2001:db8::", "expected an IPv6 network"),
            ("10.0.0.0/8", "expected an IPv6 network"),
            ("2001:db8::/33", "multiple of 4"),
            ("2001:db8::/80", "length of 8 to 76"),
            ("2001:db8::1/64", "bits are set behind the 64"),
        ] {
            match text.parse::<Prefix>() {
                Ok(prefix) => assert!(says.is_empty() && prefix.to_string() == text, "{text}"),
                Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (label, class, valid) in [
            ("h0", "spf", true),
            ("h1f", "no-ptr", true),
            ("h01f", "spf", false),
            ("h+1", "spf", false),
            ("h1F", "spf", false),
            ("h", "spf", false),
            ("x1", "spf", false),
            ("h1", "nobody", false),
            ("h100000000", "spf", false),
        ] {
            assert_eq!(Source::of_host(label, class).is_some(), valid, "{label}.{class}");
        }
    }
}
