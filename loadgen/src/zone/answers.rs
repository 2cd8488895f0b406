//! What the zone answers: worked out from the question and the population, nothing is stored.
//!
//! The population is the whole of this DNS: names outside it do not exist, and absence comes with the SOA record of the zone that the
//! name would be in (RFC 2308 §3).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_server::proto::rr::rdata::{A, AAAA, MX, NS, PTR, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, RecordType};

use crate::keys;
use crate::population::{Class, HOSTS, Population, Source};

/// An answer. `apex` is the name of the zone that it comes from.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// Records of the name and type.
    Records(Vec<RData>),
    /// The name exists, the type does not.
    NoData { apex: String },
    /// The name does not exist.
    NxDomain { apex: String },
    /// The name cannot be looked up for now.
    ServFail,
}

impl Population {
    /// The answer to a question. `name` is in lower case and without its final dot.
    pub(crate) fn answer(&self, name: &str, kind: RecordType) -> Answer {
        let found = if name == REVERSE || name.ends_with(".ip6.arpa") {
            self.reverse(name)
        } else if let Some(host) = below(name, HOSTS) {
            self.host(host)
        } else if let Some(found) = self.recipients(name) {
            found
        } else if name == TOP {
            Found::apex(TOP, Vec::new())
        } else if let Some(sender) = below(name, TOP) {
            self.sender(sender)
        } else {
            Found::absent("")
        };
        found.of_kind(kind)
    }

    /// `<nibbles>.ip6.arpa`.
    fn reverse(&self, name: &str) -> Found {
        let apex = || self.reverse_apex(name).unwrap_or_else(|| REVERSE.to_owned());
        let nibbles = name.strip_suffix(REVERSE).unwrap_or_default().trim_end_matches('.');
        let (mut bits, mut count) = (0u128, 0);
        for label in nibbles.rsplit('.').filter(|label| !label.is_empty()) {
            let digit = (label.len() == 1).then(|| label.chars().next()?.to_digit(16)).flatten();
            let Some(digit) = digit.filter(|_| count < 32) else { return Found::absent(apex()) };
            bits = bits << 4 | u128::from(digit);
            count += 1;
        }
        if name == apex() {
            return Found::apex(apex(), Vec::new());
        }
        if count < 32 {
            // There may be something below it: resolvers ask so on their way down (RFC 9156).
            return Found::records(apex(), Vec::new());
        }
        match self.source(Ipv6Addr::from_bits(bits)) {
            Some(source) if source.ptr_fails() => Found::Fails,
            Some(source) if source.class != Class::NoPtr => Found::records(apex(), vec![Data::Ptr(source.to_string())]),
            _ => Found::absent(apex()),
        }
    }

    /// The reverse zone of the prefix that a name is in.
    fn reverse_apex(&self, name: &str) -> Option<String> {
        let apexes = self.prefixes().iter().map(|prefix| {
            let mut apex = String::new();
            for at in (0..prefix.length() / 4).rev() {
                let _ = write!(apex, "{:x}.", prefix.network().to_bits() >> (124 - at * 4) & 0xf);
            }
            apex + REVERSE
        });
        apexes.into_iter().find(|apex| below(name, apex).is_some())
    }

    /// What is below `hosts.example`.
    fn host(&self, host: &str) -> Found {
        let apex = HOSTS;
        let mut labels = host.split('.');
        match (labels.next(), labels.next(), labels.next()) {
            (Some(""), None, None) => Found::apex(apex, Vec::new()),
            (Some(class), None, None) if class.parse::<Class>().is_ok() => Found::records(apex, Vec::new()),
            (Some(label), Some(class), None) => {
                match Source::of_host(label, class).filter(|source| self.has(*source)) {
                    Some(source) if source.class == Class::NoFcrdns => {
                        Found::records(apex, vec![Data::Aaaa(self.other_address(source))])
                    }
                    Some(source) => Found::records(apex, vec![Data::Aaaa(self.address(source))]),
                    None => Found::absent(apex),
                }
            }
            _ => Found::absent(apex),
        }
    }

    /// The recipients' domains: each with one mail exchanger, on loopback.
    fn recipients(&self, name: &str) -> Option<Found> {
        let domains = [&self.opted_in_domain, &self.closed_domain];
        let domain = domains.into_iter().find(|domain| below(name, domain).is_some())?;
        let exchanger = format!("mx.{domain}");
        Some(match below(name, domain) {
            Some("") => Found::apex(domain.as_str(), vec![Data::Mx(exchanger)]),
            Some("mx") => {
                Found::records(domain.as_str(), vec![Data::A(Ipv4Addr::LOCALHOST), Data::Aaaa(Ipv6Addr::LOCALHOST)])
            }
            _ => Found::absent(domain.as_str()),
        })
    }

    /// `d7.example` and `t7.example`, and what is below them. The SPF records of the latter fail for now.
    fn sender(&self, name: &str) -> Found {
        let (rest, label) = name.rsplit_once('.').unwrap_or(("", name));
        let Some((fails, number)) = sender_number(label).filter(|(_, number)| self.has_domain(*number)) else {
            return Found::absent(TOP);
        };
        let domain = format!("{label}.{TOP}");
        match rest {
            "" if fails => Found::TxtFails { apex: domain },
            "" => {
                let mail = vec![Data::Mx(format!("mx.{domain}")), Data::Txt(self.spf(number, &domain))];
                Found::apex(domain, mail)
            }
            "_spf" if has_include(number) => Found::records(domain, vec![Data::Txt(self.spf_networks())]),
            "mx" => Found::records(domain, vec![Data::Aaaa(self.prefixes()[0].network())]),
            "_domainkey" => Found::records(domain, Vec::new()),
            "_dmarc" if has_dmarc(number) => Found::records(domain, vec![Data::Txt(DMARC.to_owned())]),
            _ => match rest.strip_suffix("._domainkey") {
                Some(keys::RSA_SELECTOR) => Found::records(domain, vec![Data::Txt(keys::RSA_RECORD.to_owned())]),
                Some(keys::ED25519_SELECTOR) => {
                    Found::records(domain, vec![Data::Txt(keys::ED25519_RECORD.to_owned())])
                }
                _ => Found::absent(domain),
            },
        }
    }

    fn spf(&self, number: u64, domain: &str) -> String {
        if has_include(number) { format!("v=spf1 include:_spf.{domain} -all") } else { self.spf_networks() }
    }

    /// The classes whose SPF passes lie in one half of each prefix.
    fn spf_networks(&self) -> String {
        let mut record = String::from("v=spf1");
        for network in self.passing_networks() {
            let _ = write!(record, " ip6:{network}");
        }
        record + " -all"
    }
}

/// A sender domain. `fails`: its SPF record cannot be looked up for now.
pub(crate) fn sender_domain(number: u64, fails: bool) -> String {
    format!("{}{number}.{TOP}", if fails { 't' } else { 'd' })
}

/// The reverse of [`sender_domain`], of its first label.
fn sender_number(label: &str) -> Option<(bool, u64)> {
    let fails = label.starts_with('t');
    let digits = label.strip_prefix(if fails { 't' } else { 'd' })?;
    let spelled_once = !digits.starts_with('0') && digits.bytes().all(|octet| octet.is_ascii_digit());
    Some((fails, digits.parse().ok().filter(|_| spelled_once)?))
}

/// One domain in four keeps its networks in an included record.
fn has_include(number: u64) -> bool {
    number % 4 == 1
}

/// Every other domain has a DMARC record.
fn has_dmarc(number: u64) -> bool {
    number % 2 == 1
}

/// What a name that lies at or below `apex` has in front of it.
fn below<'n>(name: &'n str, apex: &str) -> Option<&'n str> {
    let rest = name.strip_suffix(apex)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
}

/// All there is at a name.
enum Found {
    /// Records; none for a name that only has names below it.
    Records { apex: String, data: Vec<Data>, is_apex: bool },
    /// Nothing.
    Absent { apex: String },
    /// Whatever is asked fails for now.
    Fails,
    /// A domain whose TXT records fail for now.
    TxtFails { apex: String },
}

/// Record data.
enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(String),
    Mx(String),
    Txt(String),
}

impl Found {
    fn records(apex: impl Into<String>, data: Vec<Data>) -> Found {
        Found::Records { apex: apex.into(), data, is_apex: false }
    }

    fn apex(apex: impl Into<String>, data: Vec<Data>) -> Found {
        Found::Records { apex: apex.into(), data, is_apex: true }
    }

    fn absent(apex: impl Into<String>) -> Found {
        Found::Absent { apex: apex.into() }
    }

    fn of_kind(self, kind: RecordType) -> Answer {
        match self {
            Found::Fails => Answer::ServFail,
            Found::TxtFails { .. } if kind == RecordType::TXT => Answer::ServFail,
            Found::TxtFails { apex } => Found::apex(apex, Vec::new()).of_kind(kind),
            Found::Absent { apex } => Answer::NxDomain { apex },
            Found::Records { is_apex: true, .. } if kind == RecordType::SOA => Answer::Records(vec![soa()]),
            Found::Records { is_apex: true, .. } if kind == RecordType::NS => {
                Answer::Records(vec![RData::NS(NS(dns_name(NAME_SERVER)))])
            }
            Found::Records { apex, data, .. } => {
                let records: Vec<RData> = data.iter().filter_map(|data| data.of_kind(kind)).collect();
                if records.is_empty() { Answer::NoData { apex } } else { Answer::Records(records) }
            }
        }
    }
}

impl Data {
    fn of_kind(&self, kind: RecordType) -> Option<RData> {
        let data = match self {
            Data::A(address) => RData::A(A(*address)),
            Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Data::Ptr(target) => RData::PTR(PTR(dns_name(target))),
            Data::Mx(exchanger) => RData::MX(MX::new(10, dns_name(exchanger))),
            Data::Txt(text) => RData::TXT(TXT::from_bytes(text.as_bytes().chunks(TXT_STRING_OCTETS_MAX).collect())),
        };
        (data.record_type() == kind || kind == RecordType::ANY).then_some(data)
    }
}

/// The SOA record of every zone.
pub(crate) fn soa() -> RData {
    RData::SOA(SOA::new(dns_name(NAME_SERVER), dns_name(HOSTMASTER), 1, 3_600, 600, 86_400, NEGATIVE_TTL_S))
}

/// A name of ours. They are all well-formed; if one were not, it would be the root.
pub(crate) fn dns_name(name: &str) -> Name {
    let mut parsed = Name::from_ascii(name).unwrap_or_default();
    parsed.set_fqdn(true);
    parsed
}

/// The domain that all senders are below.
const TOP: &str = "example";

/// The root of IPv6 reverse names (RFC 3596 §2.5).
const REVERSE: &str = "ip6.arpa";

const DMARC: &str = "v=DMARC1; p=none";
const NAME_SERVER: &str = "ns.example";
const HOSTMASTER: &str = "hostmaster.example";

/// How long absence may be remembered.
pub(crate) const NEGATIVE_TTL_S: u32 = 300;

/// RFC 1035 §3.3.
const TXT_STRING_OCTETS_MAX: usize = 255;
