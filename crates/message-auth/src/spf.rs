//! SPF of one transaction (RFC 7208): drives the pure evaluator of `mx6-spf` over our DNS caches.
//!
//! The evaluator is run from the start with what is known so far. What it still needs is looked up concurrently, and
//! as soon as an answer comes it is run again. Answers that are in a cache are given to it at once, so that a warm
//! evaluation is one run and suspends nowhere. No name is looked up twice in one evaluation. A result that holds for
//! others too is kept (`spf_results`).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mx6_dns::{Deadline, Dns, Lookup, Source};
use mx6_policy::a_labels;
use mx6_policy::facts::{CacheState, MethodResult, Spf, SpfIdentity};
use mx6_spf::{Answer, Answers, Evaluation, Identity, Output, Query, Request, SpfResult, check_host};

use crate::limits::{SPF_ASKED_AHEAD_MAX, SPF_DEADLINE, SPF_QUERIES_MAX};
use crate::spf_results::Key;
use crate::{MessageAuth, MessageAuthCaches, cache_state};

impl MessageAuth {
    /// Evaluates SPF for the reverse-path's local part and domain, or for the HELO identity when the reverse-path is
    /// null (`None`).
    ///
    /// `explain` also fetches the sender's explanation (`exp=`) of a fail, and always evaluates. 20 s overall, then `temperror`.
    pub async fn spf(&self, client: IpAddr, helo: &str, reverse_path: Option<(&str, &str)>, explain: bool) -> Spf {
        let reverse_path = reverse_path.map(|(local_part, domain)| (local_part, dns_form(domain)));
        let (identity, domain, evaluated) = match &reverse_path {
            Some((local_part, domain)) => (SpfIdentity::MailFrom, &**domain, Identity::MailFrom { local_part, domain }),
            None => (SpfIdentity::Helo, helo, Identity::Helo),
        };
        let client = client.to_canonical();
        let key = Key::new(client, identity, domain);
        if !explain && let Some(spf) = self.caches.spf_results.get(&key) {
            return spf;
        }
        let request = Request {
            client,
            identity: evaluated,
            helo,
            receiver: &self.config.hostname,
            now_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            explain,
        };
        let known = Known::new(&self.dns, &self.caches);
        let output = self.evaluate_spf(check_host, &request, &known).await;
        let holds_for_others = !explain && output.as_ref().is_some_and(|output| !output.tells_of_sender);
        let spf = facts_of(output, identity, domain, known.cache.get());
        if holds_for_others {
            self.caches.spf_results.keep(key, &spf, known.holds_until_ms());
        }
        spf
    }

    /// The evaluation by `evaluate`; `None` when it did not end in time.
    pub(crate) async fn evaluate_spf<'k>(
        &self,
        evaluate: fn(&Request<'_>, &Known<'k>) -> Evaluation,
        request: &Request<'_>,
        known: &Known<'k>,
    ) -> Option<Output> {
        let deadline = Deadline::after(SPF_DEADLINE);
        let mut asked: Vec<Query> = Vec::new();
        let mut lookups = FuturesUnordered::new();
        loop {
            known.begin();
            let (now, ahead) = match evaluate(request, known) {
                Evaluation::Done(output) => return Some(output),
                Evaluation::Need { now, ahead } => (now, ahead),
            };
            let needed = now.len();
            for (at, query) in now.into_iter().chain(ahead).enumerate() {
                let may_ask = at < needed || asked.len() < SPF_ASKED_AHEAD_MAX;
                if may_ask && !asked.contains(&query) {
                    asked.push(query.clone());
                    lookups.push(ask(&self.dns, &self.caches, query, deadline));
                }
            }
            // One answer may be enough, so it is tried with those that are there; what is under way goes on.
            match lookups.next().await {
                Some(asked) => known.add(asked),
                None => return None,
            }
            while let Some(Some(asked)) = lookups.next().now_or_never() {
                known.add(asked);
            }
            if deadline.has_passed() || asked.len() > SPF_QUERIES_MAX {
                return None;
            }
        }
    }
}

/// A-labels of a domain that is not ASCII (RFC 7208 §4.3, RFC 8616 §4); if there are none, it stays, and is none that can have a record.
pub(crate) fn dns_form(domain: &str) -> Cow<'_, str> {
    if domain.is_ascii() { domain.into() } else { a_labels(domain).unwrap_or(domain.into()) }
}

pub(crate) type Asked = (Query, Told);

/// An answer with where it came from, and until when it holds: 0 for one on which nothing may rest that is to last.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) answer: Answer,
    pub(crate) cache: CacheState,
    pub(crate) fresh_until_ms: u64,
}

/// What is known while one evaluation runs: its own lookups, and the caches below. An answer that was given once is
/// kept, so that every restart of the evaluation sees the same.
pub(crate) struct Known<'a> {
    dns: &'a Dns,
    caches: &'a MessageAuthCaches,
    answers: RefCell<Vec<Asked>>,
    cache: Cell<CacheState>,
    /// The least of the answers given since the evaluation began anew; `None` if none was.
    holds_until_ms: Cell<Option<u64>>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(dns: &'a Dns, caches: &'a MessageAuthCaches) -> Known<'a> {
        Known { dns, caches, answers: RefCell::default(), cache: Cell::default(), holds_until_ms: Cell::default() }
    }

    /// A run of the evaluation begins: only what it is given counts.
    fn begin(&self) {
        self.holds_until_ms.set(None);
    }

    /// Until when all answers hold that the last run was given; without any there is nothing to keep.
    fn holds_until_ms(&self) -> u64 {
        self.holds_until_ms.get().unwrap_or(0)
    }

    pub(crate) fn add(&self, asked: Asked) {
        self.cache.set(self.cache.get().and(asked.1.cache));
        self.answers.borrow_mut().push(asked);
    }

    fn give(&self, told: &Told) -> Answer {
        let holds_until_ms = self.holds_until_ms.get().unwrap_or(u64::MAX);
        self.holds_until_ms.set(Some(holds_until_ms.min(told.fresh_until_ms)));
        told.answer.clone()
    }
}

impl Answers for Known<'_> {
    fn answer(&self, query: &Query) -> Option<Answer> {
        if let Some((_, told)) = self.answers.borrow().iter().find(|(asked, _)| asked == query) {
            return Some(self.give(told));
        }
        let told = peek(self.dns, self.caches, query)?;
        let answer = self.give(&told);
        self.add((query.clone(), told));
        Some(answer)
    }
}

/// An answer that needs no waiting.
fn peek(dns: &Dns, caches: &MessageAuthCaches, query: &Query) -> Option<Told> {
    Some(match query {
        Query::Spf(name) => from_dns(dns.cached_txt(&caches.spf, name)?, |record| Answer::Spf(Arc::clone(&record.0))),
        Query::A(name) => from_dns(dns.cached_a(name)?, Answer::A),
        Query::Aaaa(name) => from_dns(dns.cached_aaaa(name)?, Answer::Aaaa),
        Query::Mx(name) => from_dns(dns.cached_mx(name)?, mx),
        Query::Ptr(address) => from_dns(dns.cached_ptr(*address)?, Answer::Ptr),
        Query::Txt(name) => from_dns(dns.cached_txt(&caches.text, name)?, |txt| Answer::Txt(txt.0.clone())),
    })
}

async fn ask(dns: &Dns, caches: &MessageAuthCaches, query: Query, deadline: Deadline) -> Asked {
    let answer = match &query {
        Query::Spf(name) => {
            from_dns(dns.txt(&caches.spf, name, deadline).await, |record| Answer::Spf(Arc::clone(&record.0)))
        }
        Query::A(name) => from_dns(dns.a(name, deadline).await, Answer::A),
        Query::Aaaa(name) => from_dns(dns.aaaa(name, deadline).await, Answer::Aaaa),
        Query::Mx(name) => from_dns(dns.mx(name, deadline).await, mx),
        Query::Ptr(address) => from_dns(dns.ptr(*address, deadline).await, Answer::Ptr),
        Query::Txt(name) => from_dns(dns.txt(&caches.text, name, deadline).await, |txt| Answer::Txt(txt.0.clone())),
    };
    (query, answer)
}

fn from_dns<T>(answer: mx6_dns::Answer<T>, found: impl FnOnce(T) -> Answer) -> Told {
    let may_last = !answer.lookup.is_failed() && answer.source != Source::Stale;
    let spf = match answer.lookup {
        Lookup::Found(value) => found(value),
        Lookup::NoData => Answer::NoData,
        Lookup::NxDomain => Answer::NxDomain,
        Lookup::Failed(_) => Answer::TempFail,
    };
    let fresh_until_ms = if may_last { answer.fresh_until_ms } else { 0 };
    Told { answer: spf, cache: cache_state(answer.source), fresh_until_ms }
}

fn mx(records: Arc<[mx6_dns::Mx]>) -> Answer {
    Answer::Mx(records.iter().map(|mx| (mx.preference, mx.exchange.clone())).collect())
}

fn facts_of(output: Option<Output>, identity: SpfIdentity, domain: &str, cache: CacheState) -> Spf {
    let Some(output) = output else {
        let reason = "the evaluation took too long".into();
        let domain = domain.to_ascii_lowercase();
        return Spf { result: MethodResult::TempError, identity, domain, reason, explanation: None, cache };
    };
    let result = match output.result {
        SpfResult::Pass => MethodResult::Pass,
        SpfResult::Fail => MethodResult::Fail,
        SpfResult::SoftFail => MethodResult::SoftFail,
        SpfResult::Neutral => MethodResult::Neutral,
        SpfResult::None => MethodResult::None,
        SpfResult::TempError => MethodResult::TempError,
        SpfResult::PermError => MethodResult::PermError,
    };
    let reason = output.mechanism.map_or(output.reason, Into::into);
    Spf { result, identity, domain: output.domain, reason, explanation: output.explanation, cache }
}
