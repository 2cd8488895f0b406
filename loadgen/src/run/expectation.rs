//! What the server must answer: for each source the stage that decides and the reply there, as the gate's rule table has it.
//!
//! A load test that does not look at the answers measures how fast a server can be wrong.

use std::net::Ipv6Addr;

use super::hostile::Trick;
use super::options::{Expect, Options, Oversize, Ptr};
use crate::measurement::StageName;
use crate::population::{Class, Population, Source};

/// What became of a message: the reply that decided, and the stage at which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) stage: StageName,
    pub(super) code: u16,
    /// Without CRLF; lines of a longer reply are joined by LF.
    pub(super) text: Vec<u8>,
}

/// What must become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is taken.
    Accepted,
    /// It is refused at this stage with this reply.
    Refused(StageName, String),
}

/// What is needed to know what must come.
pub(super) struct Expectation {
    expect: Expect,
    ptr: Ptr,
    lookups_may_fail: bool,
    outcome_may_be_unknown: bool,
    closed_domain: String,
}

impl Expectation {
    pub(super) fn new(options: &Options, population: &Population) -> Expectation {
        Expectation {
            expect: options.expect,
            ptr: options.ptr,
            lookups_may_fail: options.lookups_may_fail(),
            outcome_may_be_unknown: options.allow_unknown_outcome,
            closed_domain: population.closed_domain.clone(),
        }
    }

    /// Whether a failure to get any answer counts as a wrong one.
    pub(super) fn is_none(&self) -> bool {
        self.expect == Expect::None
    }

    /// `oversize`: where it shows that the message is larger than the server's limit, if it is.
    pub(super) fn of(
        &self,
        source: Source,
        address: Ipv6Addr,
        trick: Option<&Trick>,
        oversize: Option<Oversize>,
    ) -> Expected {
        use StageName::{Mail, Rcpt, Reply};
        let no_ptr = || {
            let text = "Service unavailable, sending IPv6 address";
            Expected::Refused(Rcpt, format!("450 4.7.25 {text} [{address}] must have reverse DNS record."))
        };
        match source.class {
            Class::Spf | Class::DkimRsa | Class::DkimEd25519 | Class::Both => Expected::Accepted,
            Class::NoPtr => no_ptr(),
            Class::NoFcrdns if self.ptr == Ptr::Fcrdns => no_ptr(),
            Class::NoFcrdns => Expected::Accepted,
            Class::Neither => {
                let text = "Service unavailable, message sent over IPv6";
                let end = "must pass either SPF or DKIM validation.";
                Expected::Refused(Reply, format!("450 4.7.26 {text} [{address}] {end}"))
            }
            Class::NotOptedIn => {
                let domain = &self.closed_domain;
                let text = format!("550 5.2.1 Service unavailable, [{domain}] does not accept email over IPv6.");
                Expected::Refused(Rcpt, text)
            }
            Class::TempError if source.ptr_fails() => {
                let text = "Temporary DNS failure, reverse DNS record of";
                Expected::Refused(Rcpt, format!("451 4.4.3 {text} [{address}] could not be looked up."))
            }
            Class::TempError => {
                let text = "Temporary DNS failure, SPF and DKIM of the message from";
                Expected::Refused(Reply, format!("451 4.4.3 {text} [{address}] could not be checked."))
            }
            Class::Oversize => oversize.map_or(Expected::Accepted, |oversize| {
                let stage = if oversize == Oversize::Declared { Mail } else { Reply };
                Expected::Refused(stage, "552 5.3.4 Message exceeds the size limit.".into())
            }),
            Class::Hostile => trick.map_or(Expected::Accepted, Trick::expected),
        }
    }

    /// Whether this is it.
    pub(super) fn is_met(&self, expected: &Expected, got: &Outcome) -> bool {
        let temporary_for_dns = self.lookups_may_fail && got.text.starts_with(b"451 4.4.3 ");
        let is_unknown =
            || self.outcome_may_be_unknown && got.stage == StageName::Reply && got.text.starts_with(b"451 4.4.2 ");
        match (self.expect, expected) {
            (Expect::None, _) => true,
            (Expect::Mx6, Expected::Accepted) => got.is_accepted() || temporary_for_dns || is_unknown(),
            (Expect::Mx6, Expected::Refused(stage, reply)) => {
                got.stage == *stage && says(&got.text, reply) || temporary_for_dns
            }
            (Expect::Class, expected) => got.kind() == expected.kind() || self.lookups_may_fail && got.kind() == b'4',
            (Expect::Refusal, expected) => {
                got.is_accepted() == (*expected == Expected::Accepted) || self.lookups_may_fail && got.kind() == b'4'
            }
        }
    }
}

/// Whether a reply has these words. Behind those of the message's size, which are the gate's to choose, it names the session; all others are as they are to the octet.
fn says(got: &[u8], words: &str) -> bool {
    let behind = got.strip_prefix(words.as_bytes());
    behind.is_some_and(|rest| rest.is_empty() || words.starts_with("552 5.3.4 ") && rest.starts_with(b" (session "))
}

impl Expected {
    /// First digit of its reply.
    fn kind(&self) -> u8 {
        match self {
            Expected::Accepted => b'2',
            Expected::Refused(_, reply) => reply.as_bytes().first().copied().unwrap_or(b'0'),
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Accepted => f.write_str("250 to the message"),
            Expected::Refused(stage, reply) => write!(f, "{reply} (at {})", stage.as_str()),
        }
    }
}

impl Outcome {
    /// Whether the server took the message.
    pub(super) fn is_accepted(&self) -> bool {
        self.stage == StageName::Reply && self.code / 100 == 2
    }

    fn kind(&self) -> u8 {
        if self.is_accepted() { b'2' } else { self.text.first().copied().unwrap_or(b'0') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(expect: Expect, lookups_may_fail: bool, outcome_may_be_unknown: bool) -> Expectation {
        let closed_domain = "v4only.example".into();
        Expectation { expect, ptr: Ptr::Exists, lookups_may_fail, outcome_may_be_unknown, closed_domain }
    }

    #[test]
    fn what_meets_what() {
        use Expect::{Class as Kind, Mx6, None as Nothing, Refusal};
        use StageName::{Rcpt, Reply};
        let accepted = || Expected::Accepted;
        let refused = || Expected::Refused(Rcpt, "450 4.7.25 No.".into());
        let large = || Expected::Refused(Reply, "552 5.3.4 Large.".into());
        for (expect, expected, stage, reply, meets, meets_with_failing_dns) in [
            (Mx6, accepted(), Reply, "250 2.0.0 Ok: queued", true, true),
            (Mx6, accepted(), Rcpt, "450 4.7.25 No.", false, false),
            (Mx6, accepted(), Reply, "451 4.4.3 Temporary", false, true),
            (Mx6, accepted(), Reply, "451 4.4.1 Next hop", false, false),
            (Mx6, refused(), Rcpt, "450 4.7.25 No.", true, true),
            (Mx6, refused(), Rcpt, "450 4.7.25 No", false, false),
            (Mx6, refused(), Rcpt, "450 4.7.25 No. (session 1-0-1)", false, false),
            (Mx6, large(), Reply, "552 5.3.4 Large. (session 1-0-1)", true, true),
            (Mx6, large(), Reply, "552 5.3.4 Large. No", false, false),
            (Mx6, refused(), Reply, "450 4.7.25 No.", false, false),
            (Mx6, refused(), Reply, "250 2.0.0 Ok", false, false),
            (Mx6, refused(), Rcpt, "451 4.4.3 Temporary", false, true),
            (Kind, refused(), Reply, "451 4.7.1 Greylisted", true, true),
            (Kind, refused(), Rcpt, "550 5.7.1 No", false, false),
            (Kind, accepted(), Reply, "250 ok", true, true),
            (Kind, accepted(), Rcpt, "450 no", false, true),
            (Refusal, refused(), Rcpt, "550 5.7.1 No", true, true),
            (Refusal, refused(), Reply, "250 ok", false, false),
            (Refusal, accepted(), Rcpt, "550 no", false, false),
            (Nothing, refused(), Reply, "250 ok", true, true),
        ] {
            let got = Outcome { stage, code: reply[..3].parse().unwrap(), text: reply.into() };
            assert_eq!(
                expectation(expect, false, false).is_met(&expected, &got),
                meets,
                "{expect:?} {expected} {got:?}"
            );
            let failing = expectation(expect, true, false).is_met(&expected, &got);
            assert_eq!(failing, meets_with_failing_dns, "failing DNS: {expect:?} {expected} {got:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_stands_in_for_an_acceptance_only() {
        use StageName::{Rcpt, Reply};
        let refused = Expected::Refused(Reply, "450 4.7.26 No.".into());
        for (expected, stage, reply, meets) in [
            (Expected::Accepted, Reply, "451 4.4.2 Next hop closed", true),
            (Expected::Accepted, Rcpt, "451 4.4.2 Next hop closed", false),
            (Expected::Accepted, Reply, "451 4.4.1 Next hop", false),
            (refused, Reply, "451 4.4.2 Next hop closed", false),
        ] {
            let got = Outcome { stage, code: 451, text: reply.into() };
            assert_eq!(expectation(Expect::Mx6, false, true).is_met(&expected, &got), meets, "{expected} {got:?}");
            assert!(!expectation(Expect::Mx6, false, false).is_met(&expected, &got), "{expected} {got:?}");
        }
    }
}
