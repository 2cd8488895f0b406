//! Refusals whose words are ours to choose say which session they are about, and where to read more.
//!
//! The words of the rule table, and what a next hop said, are never touched: senders and their tools match on them ([`Rule::has_fixed_reply`]).

use mx6_policy::{Client, Rule};
use mx6_smtp::{Reply, Verdict};

use crate::config::ReplyUrl;

/// Whom a refusal is about.
#[derive(Clone, Copy)]
pub(crate) struct Refused<'a> {
    pub(crate) session_id: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) url: Option<&'a ReplyUrl>,
}

impl Refused<'_> {
    /// The reply of `rule` as the client hears it: ` (session ID)` and the address of a page behind it, as far as they fit into a reply line.
    pub(crate) fn signed(&self, rule: Rule, reply: Reply) -> Reply {
        if rule.has_fixed_reply() {
            return reply;
        }
        let mut text = reply.text.into_owned();
        let mut push = |more: String| {
            if text.len() + more.len() <= mx6_smtp::REPLY_TEXT_OCTETS_MAX {
                text.push_str(&more);
            }
        };
        push(format!(" (session {})", self.session_id));
        if let Some(url) = self.url {
            push(format!(" {}", url.of(rule.name(), self.session_id, self.client.address())));
        }
        Reply::new(reply.code, reply.enhanced, text)
    }

    /// The same for a verdict.
    pub(crate) fn verdict(&self, rule: Rule, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Accept => Verdict::Accept,
            Verdict::Defer(reply) => Verdict::Defer(self.signed(rule, reply)),
            Verdict::Reject(reply) => Verdict::Reject(self.signed(rule, reply)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mx6_smtp::EnhancedCode;

    #[test]
    fn only_what_is_ours_to_choose_and_what_fits() {
        let client = Client::new("2001:db8::1".parse().unwrap(), &[]);
        let url = "https://example.org/?r={rule}&s={session}&c={client}".parse().unwrap();
        let refused = |url| Refused { session_id: "1a-0-2", client: &client, url };
        let reply = |text: &str| Reply::new(421, Some(EnhancedCode(4, 3, 2)), text.to_owned());
        let said = |rule, url, text: &str| refused(url).signed(rule, reply(text)).text.into_owned();
        assert_eq!(said(Rule::ServiceBusy, None, "mx Busy."), "mx Busy. (session 1a-0-2)");
        let page = "https://example.org/?r=service-busy&s=1a-0-2&c=2001%3Adb8%3A%3A1";
        assert_eq!(said(Rule::ServiceBusy, Some(&url), "mx Busy."), format!("mx Busy. (session 1a-0-2) {page}"));
        for rule in [Rule::ReverseDns, Rule::SpfOrDkim, Rule::NotServedHere, Rule::Delivery, Rule::BareCrOrLf] {
            assert_eq!(said(rule, Some(&url), "x"), "x");
        }
        let long = "x".repeat(mx6_smtp::REPLY_TEXT_OCTETS_MAX - 30);
        assert_eq!(said(Rule::Storage, Some(&url), &long), format!("{long} (session 1a-0-2)"));
        let full = "x".repeat(mx6_smtp::REPLY_TEXT_OCTETS_MAX);
        assert_eq!(said(Rule::Storage, Some(&url), &full), full);
    }
}
