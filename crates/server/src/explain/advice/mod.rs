//! What a sender should do so that its mail is accepted: in words for a postmaster who has never heard of this gate, with the DNS records to publish.
//!
//! A record is recommended only if it helps: an SPF record is evaluated as if it were published already before it is shown.

mod dkim;
mod dns_record;
mod other;
mod reverse_dns;
mod spf;

use mx6_message_auth::MessageAuth;
use mx6_policy::facts::{Facts, PtrState};
use mx6_policy::{PtrMode, Rule};

pub(super) use dns_record::DnsRecord;

use crate::config::NameSource;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    /// The rule that objects.
    pub(super) rule: Rule,
    /// Who can do it.
    pub(super) who: String,
    /// What, and why, in plain words.
    pub(super) text: String,
    /// What to publish.
    pub(super) records: Vec<DnsRecord>,
    /// What is published now in their place.
    pub(super) replaces: Vec<DnsRecord>,
    /// Another advice of the same rule does as well.
    pub(super) is_alternative: bool,
}

impl Advice {
    fn new(rule: Rule, who: impl Into<String>, text: impl Into<String>) -> Advice {
        let (who, text) = (who.into(), text.into());
        Advice { rule, who, text, records: Vec::new(), replaces: Vec::new(), is_alternative: false }
    }

    fn publish(mut self, record: DnsRecord) -> Advice {
        self.records.push(record);
        self
    }
}

/// Whom the rules object to, and what is known of him.
pub(super) struct Case<'a> {
    /// Every rule that objects, in the order of the gate.
    pub(super) rules: &'a [Rule],
    pub(super) facts: &'a Facts,
    pub(super) helo: &'a str,
    /// Local part and domain; none for the null reverse-path.
    pub(super) reverse_path: Option<(&'a str, &'a str)>,
    /// The domain of the From field, if there is exactly one.
    pub(super) author: Option<&'a str>,
    /// The recipient's.
    pub(super) domain: &'a str,
    pub(super) size_limit: u64,
    pub(super) ptr: PtrMode,
    /// What the gate counts of the client's reverse DNS.
    pub(super) ptr_state: PtrState,
    pub(super) auth: &'a MessageAuth,
    pub(super) names: &'a NameSource,
}

/// What the sender should do about each of the rules.
pub(super) async fn advise(case: &Case<'_>) -> Vec<Advice> {
    let mut advice = Vec::new();
    for rule in case.rules.iter().copied() {
        match rule {
            Rule::ReverseDns | Rule::ReverseDnsTempFail => advice.extend(reverse_dns::advise(case, rule).await),
            Rule::SpfOrDkim | Rule::SpfOrDkimTempFail => {
                let mut ways = spf::advise(case, rule).await;
                ways.extend(dkim::advise(case, rule));
                let is_alternative = ways.len() > 1;
                advice.extend(ways.into_iter().map(|way| Advice { is_alternative, ..way }));
            }
            rule => advice.extend(other::advise(case, rule)),
        }
    }
    advice
}

/// Whom the gate asks, for people.
fn resolvers(names: &NameSource) -> String {
    match names {
        NameSource::Servers(servers) => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            format!("the resolver {}", servers.join(" or "))
        }
        NameSource::System => "the resolver of this system (/etc/resolv.conf)".to_owned(),
        NameSource::Zone(path) => format!("the zone file {}", path.display()),
    }
}
