//! SPF asked for the sake of its owner: what is published, what it took to evaluate it, and what another record would give.
//!
//! For `explain` only. Nothing here is kept for other messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mx6_dns::{Deadline, Lookup};
use mx6_policy::facts::CacheState;
use mx6_spf::{Answer, Identity, Query, Request, SpfResult, parse_txt, spf_records};

use crate::MessageAuth;
use crate::limits::SPF_DEADLINE;
use crate::spf::{Known, Told, dns_form};

/// What stands behind an SPF result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpfInquiry {
    /// The SPF records of the domain, as published; none if they cannot be looked up now.
    pub published: Option<Vec<String>>,
    /// The domain whose record decided or is at fault.
    pub decided_by: Option<String>,
    /// Terms that asked DNS (RFC 7208 §4.6.4).
    pub lookups: u8,
    /// Lookups that found nothing.
    pub void_lookups: u8,
}

impl MessageAuth {
    /// What stands behind the result of [`MessageAuth::spf`] for the same sender. 20 s for the records, and 20 s for the evaluation.
    pub async fn inquire_spf(&self, client: IpAddr, helo: &str, reverse_path: Option<(&str, &str)>) -> SpfInquiry {
        let domain = reverse_path.map_or_else(|| helo.into(), |(_, domain)| dns_form(domain));
        let known = Known::new(&self.dns, &self.caches);
        let output = self.inquire(client, helo, reverse_path, &known).await;
        let name = output.as_ref().map_or_else(|| domain.to_ascii_lowercase(), |output| output.domain.clone());
        let answer = self.dns.txt(&self.caches.text, &name, Deadline::after(SPF_DEADLINE)).await;
        let published = match answer.lookup {
            Lookup::Found(text) => Some(spf_records(&text.0)),
            Lookup::NoData | Lookup::NxDomain => Some(Vec::new()),
            Lookup::Failed(_) => None,
        };
        let Some(output) = output else { return SpfInquiry { published, ..SpfInquiry::default() } };
        let mx6_spf::Output { decided_by, lookups, void_lookups, .. } = output;
        SpfInquiry { published, decided_by, lookups, void_lookups }
    }

    /// Whether SPF would pass if `record` were the one SPF record of `domain`.
    pub async fn spf_would_pass(
        &self,
        client: IpAddr,
        helo: &str,
        reverse_path: Option<(&str, &str)>,
        (domain, record): (&str, &str),
    ) -> bool {
        let known = Known::new(&self.dns, &self.caches);
        let answer = Answer::Spf(Arc::new(parse_txt(&[record.as_bytes().to_vec()])));
        known.add((Query::Spf(domain.to_owned()), Told { answer, cache: CacheState::Unused, fresh_until_ms: 0 }));
        let output = self.inquire(client, helo, reverse_path, &known).await;
        output.is_some_and(|output| output.result == SpfResult::Pass)
    }

    async fn inquire(
        &self,
        client: IpAddr,
        helo: &str,
        reverse_path: Option<(&str, &str)>,
        known: &Known<'_>,
    ) -> Option<mx6_spf::Output> {
        let reverse_path = reverse_path.map(|(local_part, domain)| (local_part, dns_form(domain)));
        let identity = match &reverse_path {
            Some((local_part, domain)) => Identity::MailFrom { local_part, domain },
            None => Identity::Helo,
        };
        let request = Request {
            client: client.to_canonical(),
            identity,
            helo,
            receiver: &self.config.hostname,
            now_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            explain: false,
        };
        self.evaluate_spf(&request, known).await
    }
}
