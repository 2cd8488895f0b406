//! The rules and their order.

use mx6_smtp::{MessageFault, Reply, Verdict};

use crate::facts::{Facts, Iprev, MethodResult, PtrState};
use crate::trial::is_monitored;
use crate::{Client, Directory, DomainMode, Rule, replies};

/// Whether the rules are enforced at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// Every served domain that opted in is treated as on trial.
    Monitor,
}

/// What counts as reverse DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PtrMode {
    /// A PTR record with a valid target.
    #[default]
    Exists,
    /// One of its names must resolve back to the address.
    Fcrdns,
}

/// How the rules treat one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientClass {
    /// The rules hold and are enforced.
    Enforced,
    /// The rules hold and are only recorded.
    Monitored,
    /// The rules do not hold: the client is IPv4 or a connector.
    Exempt,
}

impl RecipientClass {
    /// The word in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RecipientClass::Enforced => "enforced",
            RecipientClass::Monitored => "monitored",
            RecipientClass::Exempt => "exempt",
        }
    }
}

/// What the gate said to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What is to be done.
    pub verdict: Verdict,
    /// Which rule objected; none if none did.
    pub rule: Option<Rule>,
    /// On trial: what would have been the reply, had the rule been enforced. `verdict` is then accept.
    pub would: Option<Reply>,
}

impl Ruling {
    const ACCEPT: Ruling = Ruling { verdict: Verdict::Accept, rule: None, would: None };

    fn refuse(rule: Rule, reply: Reply) -> Ruling {
        Ruling { verdict: Verdict::refuse(reply), rule: Some(rule), would: None }
    }

    fn objection(class: RecipientClass, rule: Rule, reply: Reply) -> Ruling {
        match class {
            RecipientClass::Enforced => Ruling::refuse(rule, reply),
            RecipientClass::Monitored => Ruling { verdict: Verdict::Accept, rule: Some(rule), would: Some(reply) },
            RecipientClass::Exempt => Ruling::ACCEPT,
        }
    }
}

/// What is known of a message at its end, beside the facts.
#[derive(Debug, Clone, Copy)]
pub struct EndOfData<'a> {
    /// What the framing found wrong with the octets, if anything.
    pub fault: Option<MessageFault>,
    /// How many Received fields the message came with.
    pub received_fields: usize,
    /// SPF, DKIM and the rest; absent only together with a fault, which decides alone.
    pub facts: Option<&'a Facts>,
}

/// The gate: the directory and the rules' settings. Pure: the same question always gets the same ruling.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// Which domains are served here.
    pub directory: Directory,
    /// Enforced or on trial.
    pub mode: Mode,
    /// What counts as reverse DNS.
    pub ptr: PtrMode,
    /// All recipients of a transaction must be of one domain (RFC 9422 `RCPTDOMAINMAX=1`).
    pub one_domain: bool,
}

impl Gate {
    /// Rules 1 and 2 for a recipient: served here, opted in. `domain` is the A-label form in lower case; `None` stands for
    /// `<postmaster>` without a domain, which every server takes (RFC 5321 §4.5.1).
    ///
    /// # Errors
    /// The ruling that refuses the recipient.
    pub fn recipient(&self, client: &Client, domain: Option<&str>) -> Result<RecipientClass, Ruling> {
        let mode = match domain {
            None => DomainMode::Accept,
            Some(domain) => match self.directory.mode(domain) {
                Some(mode) => mode,
                None => return Err(Ruling::refuse(Rule::NotServedHere, replies::not_served_here(domain))),
            },
        };
        if !client.is_gated() {
            return Ok(RecipientClass::Exempt);
        }
        match mode {
            DomainMode::Reject => {
                let reply = replies::not_opted_in(domain.unwrap_or_default());
                Err(Ruling::refuse(Rule::NotOptedIn, reply))
            }
            _ if self.mode == Mode::Monitor => Ok(RecipientClass::Monitored),
            DomainMode::Monitor { percent } if is_monitored(client.address(), domain.unwrap_or_default(), percent) => {
                Ok(RecipientClass::Monitored)
            }
            DomainMode::Monitor { .. } | DomainMode::Accept => Ok(RecipientClass::Enforced),
        }
    }

    /// What reverse DNS comes to by the gate's kind of it. In mode `exists` that is [`Iprev::ptr`] alone.
    #[must_use]
    pub fn reverse_dns_state(&self, iprev: &Iprev) -> PtrState {
        match (self.ptr, iprev.ptr, iprev.result) {
            (_, PtrState::TempFail, _) => PtrState::TempFail,
            (PtrMode::Exists, state, _) => state,
            (PtrMode::Fcrdns, PtrState::Missing, _) => PtrState::Missing,
            (PtrMode::Fcrdns, PtrState::Exists, MethodResult::Pass) => PtrState::Exists,
            (PtrMode::Fcrdns, PtrState::Exists, MethodResult::TempError) => PtrState::TempFail,
            (PtrMode::Fcrdns, PtrState::Exists, _) => PtrState::Missing,
        }
    }

    /// Rule 3 for a recipient: reverse DNS of the client, as [`Gate::reverse_dns_state`] has it.
    #[must_use]
    pub fn reverse_dns(&self, client: &Client, class: RecipientClass, state: PtrState) -> Ruling {
        match state {
            PtrState::Exists => Ruling::ACCEPT,
            PtrState::Missing => Ruling::objection(class, Rule::ReverseDns, replies::no_reverse_dns(client.address())),
            PtrState::TempFail => {
                Ruling::objection(class, Rule::ReverseDnsTempFail, replies::reverse_dns_temporary(client.address()))
            }
        }
    }

    /// Whether a recipient of class `next` may join a transaction whose recipients are of class `first`: after the data there is one
    /// reply, so classes that could differ there cannot mix unless SPF, known to pass, already settles it.
    #[must_use]
    pub fn mixing(&self, first: RecipientClass, next: RecipientClass, spf_passed: bool) -> Ruling {
        if first == next || spf_passed {
            return Ruling::ACCEPT;
        }
        Ruling::refuse(Rule::MixedModes, replies::MIXED_MODES)
    }

    /// Whether a recipient of domain `next` may join a transaction whose first is of domain `first`, both as in [`Gate::recipient`].
    #[must_use]
    pub fn joining(&self, first: &str, next: &str) -> Ruling {
        if !self.one_domain || first == next {
            return Ruling::ACCEPT;
        }
        Ruling::refuse(Rule::MixedDomains, replies::MIXED_DOMAINS)
    }

    /// The ruling on the whole message for recipients of class `class`.
    #[must_use]
    pub fn end_of_data(&self, client: &Client, class: RecipientClass, message: &EndOfData<'_>) -> Ruling {
        if let Some(fault) = message.fault {
            let rule = match fault {
                MessageFault::BareCrOrLf => Rule::BareCrOrLf,
                MessageFault::TooLarge => Rule::MessageSize,
                MessageFault::HeaderTooLarge => Rule::HeaderSize,
                MessageFault::TooManyChunks => Rule::Chunks,
            };
            return Ruling::refuse(rule, fault.reply());
        }
        if message.received_fields > RECEIVED_FIELDS_MAX {
            return Ruling::refuse(Rule::MailLoop, replies::MAIL_LOOP);
        }
        let Some(facts) = message.facts else { return Ruling::ACCEPT };
        if facts.authenticated() {
            Ruling::ACCEPT
        } else if facts.temporary_failure() {
            let reply = replies::authentication_temporary(client.address());
            Ruling::objection(class, Rule::SpfOrDkimTempFail, reply)
        } else {
            Ruling::objection(class, Rule::SpfOrDkim, replies::not_authenticated(client.address()))
        }
    }
}

/// RFC 5321 §6.3: a loop is assumed beyond this many Received fields.
pub const RECEIVED_FIELDS_MAX: usize = 50;
