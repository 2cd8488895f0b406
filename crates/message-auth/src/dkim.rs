//! DKIM around the pure verifier of `mx6-dkim`: fetching the keys, and its results in the words of the facts.

use std::sync::Arc;

use futures_util::future::join_all;
use mx6_dkim::{DkimResult, KeyAnswer, SignatureResult};
use mx6_dns::{Answer, Deadline, Lookup, Source};
use mx6_policy::facts::{Dkim, MethodResult};

use crate::MessageAuth;
use crate::limits::{DKIM_DEADLINE, DKIM_KEYS_MAX};
use crate::records::DkimKey;

impl MessageAuth {
    /// The keys at `names` (`selector._domainkey.domain`), looked up concurrently; 20 s overall.
    ///
    /// Of more than ten names the first ten are looked up; the others answer "failed for now".
    pub async fn dkim_keys(&self, names: Vec<String>) -> Vec<(String, KeyAnswer, Source)> {
        let deadline = Deadline::after(DKIM_DEADLINE);
        let answers = names.iter().take(DKIM_KEYS_MAX).map(|name| async move {
            match self.dns.cached_txt(&self.caches.dkim, name) {
                Some(answer) => answer,
                None => self.dns.txt(&self.caches.dkim, name, deadline).await,
            }
        });
        let answers = join_all(answers).await.into_iter().map(key).chain(std::iter::repeat_with(unasked));
        names.into_iter().zip(answers).map(|(name, (key, source))| (name, key, source)).collect()
    }

    /// The results of the verifier as facts.
    #[must_use]
    pub fn dkim_facts(results: Vec<SignatureResult>) -> Vec<Dkim> {
        results.into_iter().map(facts_of).collect()
    }
}

fn key(answer: Answer<Arc<DkimKey>>) -> (KeyAnswer, Source) {
    let key = match answer.lookup {
        Lookup::Found(key) => KeyAnswer::Found(Arc::clone(&key.0)),
        Lookup::NoData | Lookup::NxDomain => KeyAnswer::NoKey,
        Lookup::Failed(_) => KeyAnswer::TempFail,
    };
    (key, answer.source)
}

fn unasked() -> (KeyAnswer, Source) {
    (KeyAnswer::TempFail, Source::Cache)
}

fn facts_of(signature: SignatureResult) -> Dkim {
    let result = match signature.result {
        DkimResult::Pass => MethodResult::Pass,
        DkimResult::Fail => MethodResult::Fail,
        DkimResult::Neutral => MethodResult::Neutral,
        DkimResult::TempError => MethodResult::TempError,
        DkimResult::PermError => MethodResult::PermError,
        DkimResult::Policy => MethodResult::Policy,
    };
    Dkim {
        result,
        domain: signature.domain,
        selector: signature.selector,
        identity: signature.identity,
        algorithm: signature.algorithm,
        signature_b: signature.signature_b,
        reason: signature.reason.into(),
        testing: signature.testing,
    }
}
