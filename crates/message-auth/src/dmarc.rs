//! DMARC of one message (RFC 7489, with the tree walk of RFC 9989): recorded, never enforced here.
//!
//! mail-auth evaluates; what it needs to know comes from our SPF and DKIM results and from our DNS caches. Nothing of
//! its own resolver is used: every question it asks is answered from [`Answers`], an unanswered one with "no such
//! record", and noted. The missing names are then fetched concurrently and the evaluation is run again. So each run
//! is ready at its first poll, and there is no tokio at run time.
//!
//! A message without a From field, with several, or without a domain in it is `permerror` (RFC 5322 §3.6 wants
//! exactly one); one From field with mailboxes of several domains is `none` (RFC 7489 §6.6.1).

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::future::join_all;
use mail_auth::dkim::Signature;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{AuthenticatedMessage, DkimOutput, DmarcOutput, DmarcResult, DnsError, Error, Parameters, SpfOutput};
use mx6_dns::{Deadline, Lookup};
use mx6_policy::facts::{CacheState, Dkim, Dmarc, DmarcPolicy, MethodResult, Spf};

use crate::MessageAuth;
use crate::dmarc_answers::{Answers, no_network};
use crate::from_domain::{Author, FromDomain};
use crate::limits::{DMARC_DEADLINE, DMARC_NAMES_MAX, DMARC_ROUNDS_MAX};

impl MessageAuth {
    /// DMARC of a message of `author`, over the results of SPF and DKIM.
    ///
    /// Suspends only for records that are in no cache; 10 s overall, then `temperror`.
    pub async fn dmarc(&self, author: &Author, spf: &Spf, dkim: &[Dkim]) -> Dmarc {
        let domain = match &author.0 {
            FromDomain::Single(domain) => domain.clone(),
            FromDomain::Several => return without_record(MethodResult::None, String::new()),
            FromDomain::Unusable => return without_record(MethodResult::PermError, String::new()),
        };
        let question = Question::new(domain, spf, dkim);
        let deadline = Deadline::after(DMARC_DEADLINE);
        let mut answers = Answers::new(&self.dns, &self.caches.dmarc);
        for _ in 0..DMARC_ROUNDS_MAX {
            let output = self.evaluate(&question, &answers);
            let missing = answers.take_missing();
            if missing.is_empty() {
                return self.facts_of(output, question.domain, &answers, deadline).await;
            }
            if answers.known() + missing.len() > DMARC_NAMES_MAX {
                return without_record(MethodResult::PermError, question.domain);
            }
            let lookups = missing.iter().map(|name| self.dns.txt(&self.caches.dmarc, name, deadline));
            let found = join_all(lookups).await;
            answers.add(missing, found);
        }
        without_record(MethodResult::TempError, question.domain)
    }

    /// Fetches what [`MessageAuth::dmarc`] will need for the author's domain, so that it need not wait later. Where the domain's own record
    /// is known, so in all likelihood is the rest.
    pub async fn prefetch_dmarc(&self, author: &Author) {
        let FromDomain::Single(domain) = &author.0 else { return };
        if self.dns.cached_txt(&self.caches.dmarc, &format!("_dmarc.{domain}")).is_none() {
            self.dmarc(author, &no_spf(), &[]).await;
        }
    }

    /// One run of mail-auth's evaluation. It never waits, because every question it can ask is answered at once.
    fn evaluate(&self, question: &Question, answers: &Answers<'_>) -> DmarcOutput {
        let dkim: Vec<DkimOutput<'_>> =
            question.signatures.iter().map(|(output, s)| output.clone().with_signature(s)).collect();
        let parameters = DmarcParameters::new(&question.message, &dkim, question.spf.domain(), &question.spf);
        let parameters = Parameters::new(parameters).with_txt_cache(answers).with_ipv4_cache(answers);
        let evaluation = pin!(self.mail_auth.verify_dmarc(parameters));
        match evaluation.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => DmarcOutput::new(question.domain.clone()).with_spf_result(no_network()),
        }
    }

    async fn facts_of(&self, output: DmarcOutput, domain: String, answers: &Answers<'_>, deadline: Deadline) -> Dmarc {
        let mut cache = answers.cache_state();
        let mut policy = output.policy();
        // mail-auth took the author's domain for an existing one; only then `sp` stands where `np` may be meant.
        if let (true, Some(record)) = (answers.existence_asked(), output.dmarc_record()) {
            let answer = self.dns.a(&domain, deadline).await;
            cache = cache.and(crate::cache_state(answer.source));
            if matches!(answer.lookup, Lookup::NxDomain) {
                policy = lowered(record.np, record.t);
            }
        }
        let result = match output.result() {
            DmarcResult::Pass => MethodResult::Pass,
            DmarcResult::Fail(_) => MethodResult::Fail,
            DmarcResult::TempError(_) => MethodResult::TempError,
            DmarcResult::PermError(_) => MethodResult::PermError,
            DmarcResult::None => MethodResult::None,
        };
        Dmarc { result, policy: policy_word(policy), domain, cache }
    }
}

/// What mail-auth is asked: made once, evaluated as often as answers come in.
struct Question {
    domain: String,
    message: AuthenticatedMessage<'static>,
    spf: SpfOutput,
    signatures: Vec<(DkimOutput<'static>, Signature)>,
}

impl Question {
    fn new(domain: String, spf: &Spf, dkim: &[Dkim]) -> Question {
        let message = AuthenticatedMessage { from: vec![format!("author@{domain}")], ..Default::default() };
        let result = match spf.result {
            MethodResult::Pass => mail_auth::SpfResult::Pass,
            MethodResult::TempError => mail_auth::SpfResult::TempError,
            _ => mail_auth::SpfResult::None,
        };
        let spf = SpfOutput::new(spf.domain.clone()).with_result(result);
        Question { domain, message, spf, signatures: aligned_candidates(dkim) }
    }
}

/// The signatures that can matter: passed, or not checked for now; each domain once for each of the two.
fn aligned_candidates(dkim: &[Dkim]) -> Vec<(DkimOutput<'static>, Signature)> {
    let mut candidates: Vec<(DkimOutput<'static>, Signature)> = Vec::new();
    for signature in dkim {
        let output = match signature.result {
            MethodResult::Pass => DkimOutput::pass(),
            MethodResult::TempError => DkimOutput::temp_err(Error::Dns(DnsError::Resolver(String::new()))),
            _ => continue,
        };
        let known = candidates.iter().any(|(other, s)| other.result() == output.result() && s.d == signature.domain);
        if !known {
            candidates.push((output, Signature { d: signature.domain.clone(), ..Default::default() }));
        }
    }
    candidates
}

fn without_record(result: MethodResult, domain: String) -> Dmarc {
    Dmarc { result, policy: DmarcPolicy::None, domain, cache: CacheState::Unused }
}

fn no_spf() -> Spf {
    Spf {
        result: MethodResult::None,
        identity: mx6_policy::facts::SpfIdentity::MailFrom,
        domain: String::new(),
        reason: "".into(),
        explanation: None,
        cache: CacheState::Unused,
    }
}

/// `t=y` asks for one step less (RFC 9989 §4.7).
fn lowered(policy: Policy, testing: bool) -> Policy {
    match (policy, testing) {
        (Policy::Reject, true) => Policy::Quarantine,
        (Policy::Quarantine, true) => Policy::None,
        (policy, _) => policy,
    }
}

fn policy_word(policy: Policy) -> DmarcPolicy {
    match policy {
        Policy::Reject => DmarcPolicy::Reject,
        Policy::Quarantine => DmarcPolicy::Quarantine,
        Policy::None | Policy::Unspecified => DmarcPolicy::None,
    }
}
