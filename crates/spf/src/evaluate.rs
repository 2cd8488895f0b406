//! `check_host()` (RFC 7208 §4): initial processing, mechanisms in order, redirect, explanation.
//!
//! One pass runs over what is known. Where an answer is missing it notes the question, goes over the later terms in the
//! same way for their questions' sake only, and gives up; the next pass starts anew and comes further.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::MX_HOSTS_MAX;
use crate::lookup::{AddressMatch, ClientNames, Lookups, Stop, Subject, is_in_ip4, is_in_ip6};
use crate::macros::{DomainSpec, MacroString, Place, is_printable};
use crate::name;
use crate::record::{Directive, DualCidr, Mechanism, Record, SpfTxt};
use crate::request::{Answer, Answers, Evaluation, Identity, Output, Query, Request, Spent, SpfResult};

/// Evaluates SPF for `request` as far as `answers` allows (RFC 7208 §4).
///
/// Pure and deterministic: the same answers give the same evaluation. To be called again when more is known, until it is
/// [`Evaluation::Done`]; every question that is asked is asked because an answer was missing, so a driver that answers
/// everything comes to an end after a bounded number of passes.
#[must_use]
pub fn check_host(request: &Request<'_>, answers: &impl Answers) -> Evaluation {
    evaluate(request, answers, None)
}

/// The same without the limits of RFC 7208 §4.6.4, or nearly ([`SURVEY_LOOKUPS_MAX`](crate::limits::SURVEY_LOOKUPS_MAX)): what a record takes that takes too much,
/// and which of its terms take it ([`Output::spent`]). For its owner to read; the result decides nothing.
#[must_use]
pub fn survey(request: &Request<'_>, answers: &impl Answers) -> Evaluation {
    evaluate(request, answers, Some(Vec::new()))
}

fn evaluate(request: &Request<'_>, answers: &impl Answers, ledger: Option<Vec<Spent>>) -> Evaluation {
    let (local_part, sender_domain) = match request.identity {
        Identity::MailFrom { local_part: "", domain } => (POSTMASTER, domain),
        Identity::MailFrom { local_part, domain } => (local_part, domain),
        Identity::Helo => (POSTMASTER, request.helo),
    };
    let Some(domain) = name::identity_domain(sender_domain) else {
        let output = Output::new(SpfResult::None, "the domain is not a fully qualified domain name");
        return Evaluation::Done(Output { domain: sender_domain.to_ascii_lowercase(), ..output });
    };
    let client = request.client.to_canonical();
    let sender_domain = sender_domain.strip_suffix('.').unwrap_or(sender_domain);
    let mut pass = Pass(Lookups::new(Subject { request, client, local_part, sender_domain }, answers, ledger));
    let output = pass.output(&domain);
    match output {
        Some(output) => {
            let Lookups { terms: lookups, voids: void_lookups, tells_of_sender, octets_expanded, ledger, .. } = pass.0;
            let spent = ledger.unwrap_or_default();
            Evaluation::Done(Output {
                domain,
                lookups,
                void_lookups,
                tells_of_sender,
                octets_expanded,
                spent,
                ..output
            })
        }
        None => {
            let Lookups { mut open, needed, .. } = pass.0;
            let ahead = open.split_off(needed.unwrap_or(open.len()));
            Evaluation::Need { now: open, ahead }
        }
    }
}

impl Output {
    fn new(result: SpfResult, reason: impl Into<Cow<'static, str>>) -> Output {
        let (domain, mechanism, explanation) = (String::new(), None, None);
        Output {
            result,
            domain,
            mechanism,
            decided_by: None,
            reason: reason.into(),
            explanation,
            lookups: 0,
            void_lookups: 0,
            tells_of_sender: false,
            octets_expanded: 0,
            spent: Vec::new(),
        }
    }
}

/// One run over what is known.
struct Pass<'r>(Lookups<'r>);

/// What `check_host()` found without error.
enum Decision<'d> {
    /// The domain has no record.
    NoRecord,
    /// No mechanism matched, and there is no redirect.
    Default,
    /// The directive at `index` of the record in `txt` matched; `domain` is the one whose record it is.
    Match { result: SpfResult, txt: Arc<SpfTxt>, index: usize, domain: Cow<'d, str> },
}

impl Pass<'_> {
    /// `None` if answers are missing.
    fn output(&mut self, domain: &str) -> Option<Output> {
        let (result, fault) = match self.check(domain) {
            Ok(decision) => return self.decided(&decision),
            Err(Stop::Pending) => return None,
            Err(Stop::TempError(fault)) => (SpfResult::TempError, fault),
            Err(Stop::PermError(fault)) => (SpfResult::PermError, fault),
        };
        let at_fault = fault.domain.as_deref().unwrap_or(domain).to_owned();
        let output = Output::new(result, format!("{at_fault}: {}", fault.reason));
        Some(Output { decided_by: Some(at_fault), ..output })
    }

    fn decided(&mut self, decision: &Decision<'_>) -> Option<Output> {
        let (txt, index, domain) = match decision {
            Decision::NoRecord => return Some(Output::new(SpfResult::None, "no SPF record")),
            Decision::Default => return Some(Output::new(SpfResult::Neutral, "no mechanism matched")),
            Decision::Match { txt, index, domain, .. } => (txt, *index, domain),
        };
        let mut output = Output::new(decision.result(), "mechanism matched");
        let SpfTxt::Record(record) = &**txt else { return Some(output) };
        output.mechanism = Some(record.directive_text(index).to_owned());
        output.decided_by = Some(domain.to_string());
        if output.result == SpfResult::Fail && self.0.subject.request.explain {
            match self.explanation(record, domain) {
                Ok(explanation) => output.explanation = explanation,
                Err(Stop::Pending) => return None,
                // Nothing about exp= changes the result (§6.2).
                Err(_) => {}
            }
        }
        Some(output)
    }

    /// `check_host()` for one domain and those it redirects to (§4.4–4.7, §6.1).
    fn check<'d>(&mut self, domain: &'d str) -> Result<Decision<'d>, Stop> {
        let mut domain = Cow::Borrowed(domain);
        let mut is_redirected = false;
        loop {
            let txt = match self.0.ask(&Query::Spf(domain.clone().into_owned()))? {
                Answer::Spf(txt) => txt,
                Answer::NoData | Answer::NxDomain => Arc::new(SpfTxt::None),
                _ => return Err(Stop::temp("the SPF record could not be looked up").at(&domain)),
            };
            let record = match &*txt {
                SpfTxt::Record(record) => record,
                SpfTxt::None if is_redirected => {
                    return Err(Stop::perm("redirected here, but no SPF record").at(&domain));
                }
                SpfTxt::None => return Ok(Decision::NoRecord),
                SpfTxt::PermError(reason) => return Err(Stop::perm(reason).at(&domain)),
            };
            if let Some((index, result)) = self.first_match(record, &domain)? {
                return Ok(Decision::Match { result, txt, index, domain });
            }
            let Some(redirect) = record.redirect() else { return Ok(Decision::Default) };
            let before = self.0.spent();
            let target = self.redirect_target(redirect, &domain).map_err(|stop| stop.at(&domain))?;
            self.0.note(before, &domain, || format!("redirect={target}"));
            domain = Cow::Owned(target);
            is_redirected = true;
        }
    }

    fn redirect_target(&mut self, redirect: &DomainSpec, domain: &str) -> Result<String, Stop> {
        self.0.count_term()?;
        self.0.target(redirect, domain)?.ok_or_else(|| Stop::perm("redirect to an impossible domain name"))
    }

    /// The first directive that matches, and its result (§4.6.2).
    fn first_match(&mut self, record: &Record, domain: &str) -> Result<Option<(usize, SpfResult)>, Stop> {
        for (index, directive) in record.directives().iter().enumerate() {
            let before = self.0.spent();
            let matches = self.matches(directive, domain);
            self.0.note(before, domain, || record.directive_text(index).to_owned());
            match matches {
                Ok(false) => {}
                Ok(true) => return Ok(Some((index, directive.qualifier.result()))),
                Err(Stop::Pending) => {
                    self.look_ahead(record, index + 1, domain);
                    return Err(Stop::Pending);
                }
                Err(stop) => return Err(stop.at(domain)),
            }
        }
        Ok(None)
    }

    /// Notes what the directives from `from` on will ask, as far as they can be reached. The pass is lost already:
    /// counting goes on only to keep the limit.
    fn look_ahead(&mut self, record: &Record, from: usize, domain: &str) {
        self.0.needed.get_or_insert(self.0.open.len());
        for directive in record.directives().iter().skip(from) {
            if !self.0.may_look_ahead() {
                return;
            }
            match self.matches(directive, domain) {
                Ok(false) | Err(Stop::Pending) => {}
                Ok(true) | Err(_) => return,
            }
        }
        if let Some(redirect) = record.redirect().filter(|_| self.0.may_look_ahead())
            && let Ok(target) = self.redirect_target(redirect, domain)
        {
            // The question is all that is wanted.
            let _ = self.0.ask(&Query::Spf(target));
        }
    }

    /// Whether the mechanism matches (§5).
    fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Stop> {
        match (&directive.mechanism, self.0.subject.client) {
            (Mechanism::All, _) => Ok(true),
            (Mechanism::Ip4(network, length), IpAddr::V4(client)) => Ok(is_in_ip4(client, *network, *length)),
            (Mechanism::Ip6(network, length), IpAddr::V6(client)) => Ok(is_in_ip6(client, *network, *length)),
            (Mechanism::Ip4(..) | Mechanism::Ip6(..), _) => Ok(false),
            (Mechanism::Include(spec), _) => self.include_matches(spec, directive.lookups_after, domain),
            (Mechanism::A(spec, cidr), _) => self.a_matches(spec.as_ref(), *cidr, domain),
            (Mechanism::Mx(spec, cidr), _) => self.mx_matches(spec.as_ref(), *cidr, domain),
            (Mechanism::Ptr(spec), _) => self.ptr_matches(spec.as_ref(), domain),
            (Mechanism::Exists(spec), _) => self.exists_matches(spec, domain),
        }
    }

    /// §5.2
    fn include_matches(&mut self, spec: &DomainSpec, lookups_after: u8, domain: &str) -> Result<bool, Stop> {
        self.0.count_term()?;
        let target = self.0.target(spec, domain)?.ok_or_else(|| Stop::perm("include of an impossible domain name"))?;
        self.0.ahead = self.0.ahead.saturating_add(lookups_after);
        self.0.depth += 1;
        let decision = self.check(&target);
        self.0.depth -= 1;
        self.0.ahead = self.0.ahead.saturating_sub(lookups_after);
        match decision?.result() {
            SpfResult::None => Err(Stop::perm("included here, but no SPF record").at(&target)),
            result => Ok(result == SpfResult::Pass),
        }
    }

    /// §5.3
    fn a_matches(&mut self, spec: Option<&DomainSpec>, cidr: DualCidr, domain: &str) -> Result<bool, Stop> {
        self.0.count_term()?;
        let Some(target) = self.target_or(spec, domain)? else { return Ok(false) };
        match self.0.match_addresses(target, cidr)? {
            AddressMatch::Yes => Ok(true),
            AddressMatch::No => Ok(false),
            AddressMatch::Void => self.0.count_void().map(|()| false),
            AddressMatch::TempFail => Err(Stop::temp("an address lookup for a failed")),
        }
    }

    /// §5.4
    fn mx_matches(&mut self, spec: Option<&DomainSpec>, cidr: DualCidr, domain: &str) -> Result<bool, Stop> {
        self.0.count_term()?;
        let Some(target) = self.target_or(spec, domain)? else { return Ok(false) };
        match self.0.ask(&Query::Mx(target))? {
            Answer::Mx(hosts) if hosts.len() > MX_HOSTS_MAX => Err(Stop::perm("more than 10 MX hosts")),
            Answer::Mx(hosts) if !hosts.is_empty() => self.mx_hosts_match(&hosts, cidr),
            Answer::Mx(_) | Answer::NoData | Answer::NxDomain => self.0.count_void().map(|()| false),
            _ => Err(Stop::temp("the MX lookup failed")),
        }
    }

    /// DNS gives MX hosts in any order: a match anywhere is a match, and only if there is none do failures count.
    fn mx_hosts_match(&mut self, hosts: &[(u16, Box<str>)], cidr: DualCidr) -> Result<bool, Stop> {
        let (mut pending, mut failed, mut voids) = (false, false, 0);
        // The null MX (RFC 7505) and names that cannot be in DNS have no address.
        for host in hosts.iter().filter_map(|(_, host)| name::host_name(host)) {
            match self.0.match_addresses(host, cidr) {
                Ok(AddressMatch::Yes) => return Ok(true),
                Ok(AddressMatch::No) => {}
                Ok(AddressMatch::Void) => voids += 1,
                Ok(AddressMatch::TempFail) => failed = true,
                Err(Stop::Pending) => pending = true,
                Err(stop) => return Err(stop),
            }
        }
        if pending {
            return Err(Stop::Pending);
        }
        for _ in 0..voids {
            self.0.count_void()?;
        }
        if failed { Err(Stop::temp("an address lookup for mx failed")) } else { Ok(false) }
    }

    /// §5.5. Only names at or below the target can match, so only they are validated.
    fn ptr_matches(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Result<bool, Stop> {
        self.0.count_term()?;
        // This counts the PTR query that %{p} would share.
        self.0.validated_name_is_counted = true;
        let Some(target) = self.target_or(spec, domain)? else { return Ok(false) };
        let names = match self.0.client_names()? {
            ClientNames::Found(names) => names,
            ClientNames::Void => return self.0.count_void().map(|()| false),
            ClientNames::TempFail => return Ok(false),
        };
        let mut pending = false;
        for name in names.iter().filter(|name| name::is_at_or_below(name, &target)) {
            match self.0.is_validated(name) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Stop::Pending) => pending = true,
                Err(stop) => return Err(stop),
            }
        }
        if pending { Err(Stop::Pending) } else { Ok(false) }
    }

    /// §5.7: always type A.
    fn exists_matches(&mut self, spec: &DomainSpec, domain: &str) -> Result<bool, Stop> {
        self.0.count_term()?;
        let Some(target) = self.0.target(spec, domain)? else { return Ok(false) };
        match self.0.ask(&Query::A(target))? {
            Answer::A(addresses) if !addresses.is_empty() => Ok(true),
            Answer::A(_) | Answer::NoData | Answer::NxDomain => self.0.count_void().map(|()| false),
            _ => Err(Stop::temp("the address lookup for exists failed")),
        }
    }

    /// The target name, by default the current domain.
    fn target_or(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Result<Option<String>, Stop> {
        match spec {
            Some(spec) => self.0.target(spec, domain),
            None => Ok(Some(domain.to_owned())),
        }
    }

    /// §6.2: `None` for whatever is wrong with it.
    fn explanation(&mut self, record: &Record, domain: &str) -> Result<Option<String>, Stop> {
        // The result is known: from here on nothing counts.
        self.0.validated_name_is_counted = true;
        let Some(spec) = record.explanation() else { return Ok(None) };
        let Some(target) = self.0.target(spec, domain)? else { return Ok(None) };
        let Answer::Txt(records) = self.0.ask(&Query::Txt(target))? else { return Ok(None) };
        let [text] = records.as_slice() else { return Ok(None) };
        let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(is_printable));
        let string = text.and_then(|text| MacroString::parse(text, Place::Explanation).ok());
        let Some(string) = string else { return Ok(None) };
        self.0.with_values(domain, &string, MacroString::expand_text)
    }
}

impl Decision<'_> {
    fn result(&self) -> SpfResult {
        match self {
            Decision::NoRecord => SpfResult::None,
            Decision::Default => SpfResult::Neutral,
            Decision::Match { result, .. } => *result,
        }
    }
}

const POSTMASTER: &str = "postmaster";
