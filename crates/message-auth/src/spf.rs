//! SPF of one transaction (RFC 7208): drives the pure evaluator of `mx6-spf` over our DNS caches.
//!
//! The evaluator is run from the start with what is known so far. What it still needs is looked up concurrently, and
//! as soon as an answer comes it is run again. Answers that are in a cache are given to it at once, so that a warm
//! evaluation is one run and suspends nowhere. No name is looked up twice in one evaluation.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mx6_dns::{Deadline, Dns, Lookup};
use mx6_policy::facts::{CacheState, MethodResult, Spf, SpfIdentity};
use mx6_spf::{Answer, Answers, Evaluation, Identity, Output, Query, Request, SpfResult, check_host};

use crate::limits::{SPF_DEADLINE, SPF_QUERIES_MAX};
use crate::{MessageAuth, MessageAuthCaches, cache_state};

impl MessageAuth {
    /// Evaluates SPF for the reverse-path's local part and domain, or for the HELO identity when the reverse-path is
    /// null (`None`).
    ///
    /// `explain` also fetches the sender's explanation (`exp=`) of a fail. 20 s overall, then `temperror`.
    pub async fn spf(&self, client: IpAddr, helo: &str, reverse_path: Option<(&str, &str)>, explain: bool) -> Spf {
        let (identity, domain, evaluated) = match reverse_path {
            Some((local_part, domain)) => (SpfIdentity::MailFrom, domain, Identity::MailFrom { local_part, domain }),
            None => (SpfIdentity::Helo, helo, Identity::Helo),
        };
        let request = Request {
            client: client.to_canonical(),
            identity: evaluated,
            helo,
            receiver: &self.config.hostname,
            now_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            explain,
        };
        let (output, cache) = self.evaluate_spf(&request).await;
        facts_of(output, identity, domain, cache)
    }

    /// The evaluation and where its answers came from; `None` when it did not end in time.
    async fn evaluate_spf(&self, request: &Request<'_>) -> (Option<Output>, CacheState) {
        let deadline = Deadline::after(SPF_DEADLINE);
        let known = Known::new(&self.dns, &self.caches);
        let mut asked: Vec<Query> = Vec::new();
        let mut lookups = FuturesUnordered::new();
        loop {
            let needed = match check_host(request, &known) {
                Evaluation::Done(output) => return (Some(output), known.cache.get()),
                Evaluation::Need(needed) => needed,
            };
            for query in needed {
                if !asked.contains(&query) {
                    asked.push(query.clone());
                    lookups.push(ask(&self.dns, &self.caches, query, deadline));
                }
            }
            // One answer may be enough, so it is tried with those that are there; what is under way goes on.
            match lookups.next().await {
                Some(asked) => known.add(asked),
                None => return (None, known.cache.get()),
            }
            while let Some(Some(asked)) = lookups.next().now_or_never() {
                known.add(asked);
            }
            if deadline.has_passed() || asked.len() > SPF_QUERIES_MAX {
                return (None, known.cache.get());
            }
        }
    }
}

type Asked = (Query, (Answer, CacheState));

/// What is known while one evaluation runs: its own lookups, and the caches below. An answer that was given once is
/// kept, so that every restart of the evaluation sees the same.
struct Known<'a> {
    dns: &'a Dns,
    caches: &'a MessageAuthCaches,
    answers: RefCell<Vec<(Query, Answer)>>,
    cache: Cell<CacheState>,
}

impl<'a> Known<'a> {
    fn new(dns: &'a Dns, caches: &'a MessageAuthCaches) -> Known<'a> {
        Known { dns, caches, answers: RefCell::default(), cache: Cell::default() }
    }

    fn add(&self, (query, (answer, cache)): Asked) {
        self.cache.set(self.cache.get().and(cache));
        self.answers.borrow_mut().push((query, answer));
    }
}

impl Answers for Known<'_> {
    fn answer(&self, query: &Query) -> Option<Answer> {
        if let Some((_, answer)) = self.answers.borrow().iter().find(|(asked, _)| asked == query) {
            return Some(answer.clone());
        }
        let (answer, cache) = peek(self.dns, self.caches, query)?;
        self.add((query.clone(), (answer.clone(), cache)));
        Some(answer)
    }
}

/// An answer that needs no waiting.
fn peek(dns: &Dns, caches: &MessageAuthCaches, query: &Query) -> Option<(Answer, CacheState)> {
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

fn from_dns<T>(answer: mx6_dns::Answer<T>, found: impl FnOnce(T) -> Answer) -> (Answer, CacheState) {
    let spf = match answer.lookup {
        Lookup::Found(value) => found(value),
        Lookup::NoData => Answer::NoData,
        Lookup::NxDomain => Answer::NxDomain,
        Lookup::Failed(_) => Answer::TempFail,
    };
    (spf, cache_state(answer.source))
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
