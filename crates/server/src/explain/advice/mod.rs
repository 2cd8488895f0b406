//! What a sender should do so that its mail is accepted: in words for a postmaster who has never heard of this gate, with the DNS records to publish.
//!
//! A record is recommended only if it helps: an SPF record is evaluated as if it were published already before it is shown.

mod dkim;
mod dns_record;
mod other;
mod reverse_dns;
mod spf;

use mx6_message_auth::{MessageAuth, SpfSender};
use mx6_policy::facts::{Facts, PtrState};
use mx6_policy::{PtrMode, Rule};

pub(super) use dns_record::DnsRecord;

use super::plain::plain;
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
        let (who, text): (String, String) = (who.into(), text.into());
        // Much of both is a peer's.
        let (who, text) = (plain(&who), plain(&text));
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
    /// Whether the signatures in `facts` are those of the message; there may be others where not all of it is at hand.
    pub(super) signatures_are_known: bool,
    pub(super) size_limit: u64,
    pub(super) ptr: PtrMode,
    /// What the gate counts of the client's reverse DNS.
    pub(super) ptr_state: PtrState,
    pub(super) auth: &'a MessageAuth,
    pub(super) names: &'a NameSource,
}

impl<'a> Case<'a> {
    fn sender(&self) -> SpfSender<'a> {
        SpfSender { client: self.facts.client, helo: self.helo, reverse_path: self.reverse_path }
    }
}

/// What the sender should do about each of the rules.
pub(super) async fn advise(case: &Case<'_>) -> Vec<Advice> {
    let mut advice = Vec::new();
    for rule in case.rules.iter().copied() {
        match rule {
            Rule::ReverseDns | Rule::ReverseDnsTempFail => advice.extend(reverse_dns::advise(case, rule).await),
            Rule::SpfOrDkim | Rule::SpfOrDkimTempFail => {
                let mut ways = spf::advise(case, rule).await;
                if case.signatures_are_known {
                    ways.extend(dkim::advise(case, rule));
                } else {
                    ways.iter_mut().for_each(|way| way.text.insert_str(0, UNLESS_SIGNED));
                }
                let is_alternative = ways.len() > 1;
                advice.extend(ways.into_iter().map(|way| Advice { is_alternative, ..way }));
            }
            rule => advice.extend(other::advise(case, rule)),
        }
    }
    advice
}

const UNLESS_SIGNED: &str =
    "Needed unless the message has a DKIM signature that counts, which cannot be told without all of its octets. ";

/// That a lookup below `name` failed for now, whom it was asked of, and what to do; `command` asks the same.
fn unanswered(names: &NameSource, name: &str, command: &str) -> String {
    let resolver = match names {
        NameSource::Servers(servers) => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            format!("the resolver {}", servers.join(" or "))
        }
        NameSource::System => "the resolver of this system (/etc/resolv.conf)".to_owned(),
        NameSource::Zone(path) => {
            return format!(
                "the zone file {} delegates {name} to name servers that are not in it, which counts as a failure for now. A server that asks real name servers would \
                 defer the message as long as these do not answer; the sending server then tries again by itself. Whether they do: {command}",
                path.display()
            );
        }
    };
    format!(
        "{resolver} got no answer from the name servers of {name}, or one that says they have trouble. Nothing has to be changed: the sending server will try again by \
         itself. If it lasts, check that they answer: {command}"
    )
}
