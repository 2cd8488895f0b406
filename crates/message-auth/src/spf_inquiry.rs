//! SPF asked for the sake of its owner: what is published, what it took to evaluate it, and what another record would give.
//!
//! For `explain` only. Nothing here is kept for other messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mx6_dns::{Deadline, Lookup};
use mx6_policy::facts::CacheState;
use mx6_spf::limits::{LOOKUPS_MAX, VOID_LOOKUPS_MAX};
use mx6_spf::{
    Answer, Evaluation, Identity, Query, Request, Spent, SpfResult, check_host, parse_txt, spf_records, survey,
};

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
}

/// Whom SPF is asked about.
#[derive(Debug, Clone, Copy)]
pub struct SpfSender<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What the client calls itself.
    pub helo: &'a str,
    /// Local part and domain; none for the null reverse-path.
    pub reverse_path: Option<(&'a str, &'a str)>,
}

/// A survey of a record: how it would end without the limits of RFC 7208 §4.6.4, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfSurvey {
    /// The result; permerror for what is wrong besides the limits.
    pub result: SpfResult,
    /// The domain whose record decided or is at fault.
    pub decided_by: Option<String>,
    /// The fault, with the domain whose it is in front.
    pub reason: String,
    /// Terms that asked DNS; at most [`SURVEY_LOOKUPS_MAX`](mx6_spf::limits::SURVEY_LOOKUPS_MAX).
    pub lookups: u8,
    /// Lookups that found nothing.
    pub void_lookups: u8,
    /// What each term took.
    pub spent: Vec<Spent>,
}

impl SpfSurvey {
    /// Whether an evaluation keeps within the limits and finds nothing wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let within = self.lookups <= LOOKUPS_MAX && self.void_lookups <= VOID_LOOKUPS_MAX;
        within && !matches!(self.result, SpfResult::PermError | SpfResult::TempError)
    }
}

impl MessageAuth {
    /// What stands behind the result of [`MessageAuth::spf`] for the same sender. 20 s for the records, and 20 s for the evaluation.
    pub async fn inquire_spf(&self, sender: &SpfSender<'_>) -> SpfInquiry {
        let domain = sender.reverse_path.map_or_else(|| sender.helo.into(), |(_, domain)| dns_form(domain));
        let known = Known::new(&self.dns, &self.caches);
        let output = self.inquire(check_host, sender, &known).await;
        let name = output.as_ref().map_or_else(|| domain.to_ascii_lowercase(), |output| output.domain.clone());
        let answer = self.dns.txt(&self.caches.text, &name, Deadline::after(SPF_DEADLINE)).await;
        let published = match answer.lookup {
            Lookup::Found(text) => Some(spf_records(&text.0)),
            Lookup::NoData | Lookup::NxDomain => Some(Vec::new()),
            Lookup::Failed(_) => None,
        };
        SpfInquiry { published, decided_by: output.and_then(|output| output.decided_by) }
    }

    /// Whether SPF would pass if `record` were the one SPF record of `domain`.
    pub async fn spf_would_pass(&self, sender: &SpfSender<'_>, (domain, record): (&str, &str)) -> bool {
        let known = self.known_with(domain, record);
        let output = self.inquire(check_host, sender, &known).await;
        output.is_some_and(|output| output.result == SpfResult::Pass)
    }

    /// What it takes to evaluate `record` if it were the one SPF record of `domain`; none if that takes longer than 20 s.
    pub async fn survey_spf(&self, sender: &SpfSender<'_>, (domain, record): (&str, &str)) -> Option<SpfSurvey> {
        let known = self.known_with(domain, record);
        let output = self.inquire(survey, sender, &known).await?;
        let mx6_spf::Output { result, decided_by, reason, lookups, void_lookups, spent, .. } = output;
        Some(SpfSurvey { result, decided_by, reason: reason.into_owned(), lookups, void_lookups, spent })
    }

    fn known_with(&self, domain: &str, record: &str) -> Known<'_> {
        let known = Known::new(&self.dns, &self.caches);
        let answer = Answer::Spf(Arc::new(parse_txt(&[record.as_bytes().to_vec()])));
        known.add((Query::Spf(domain.to_owned()), Told { answer, cache: CacheState::Unused, fresh_until_ms: 0 }));
        known
    }

    async fn inquire<'k>(
        &self,
        evaluate: fn(&Request<'_>, &Known<'k>) -> Evaluation,
        sender: &SpfSender<'_>,
        known: &Known<'k>,
    ) -> Option<mx6_spf::Output> {
        let reverse_path = sender.reverse_path.map(|(local_part, domain)| (local_part, dns_form(domain)));
        let identity = match &reverse_path {
            Some((local_part, domain)) => Identity::MailFrom { local_part, domain },
            None => Identity::Helo,
        };
        let request = Request {
            client: sender.client.to_canonical(),
            identity,
            helo: sender.helo,
            receiver: &self.config.hostname,
            now_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            explain: false,
        };
        self.evaluate_spf(evaluate, &request, known).await
    }
}
