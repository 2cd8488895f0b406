//! The names of the rules and stages: the same word in record, metric and trace.

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Rule {
    /// The recipient's domain is not served here.
    NotServedHere,
    /// The recipient's domain has not opted in to IPv6.
    NotOptedIn,
    /// The client's address has no reverse DNS (or, in mode `fcrdns`, none that resolves back).
    ReverseDns,
    /// Reverse DNS could not be looked up for now.
    ReverseDnsTempFail,
    /// Neither SPF nor DKIM passes.
    SpfOrDkim,
    /// Neither passes, and one could not be evaluated for now.
    SpfOrDkimTempFail,
    /// Monitored and enforced recipients in one transaction.
    MixedModes,
    /// Recipients of several domains in one transaction, where only one is allowed.
    MixedDomains,
    /// A bare CR or LF in the message.
    BareCrOrLf,
    /// More octets than offered by SIZE.
    MessageSize,
    /// The header section is larger than its limit.
    HeaderSize,
    /// More chunks than a message may have.
    Chunks,
    /// More than 50 Received fields.
    MailLoop,
    /// The memory budget is used up.
    MemoryBudget,
    /// The message could not be held (disk).
    Storage,
    /// The next hop or the store refused, failed, or left the outcome unknown.
    Delivery,
    /// Too many connections from the client's address or prefix in a time.
    ConnectionLimit,
    /// Too many sessions of the client's address or prefix at once.
    SessionLimit,
    /// Too many messages from the client's address or prefix in a time.
    MessageLimit,
    /// Too many recipients named by the client's address or prefix in a time.
    RecipientLimit,
    /// Too many messages or recipients in a time from a domain that SPF or DKIM verified.
    IdentityLimit,
    /// The shard has more to do than it can, and told the client to come again before it began.
    ServiceBusy,
    /// The resolver answers nothing, and the breaker for DNS is open.
    ResolverTrouble,
    /// The client ended the transaction, or was lost, after the recipient was accepted and before the message was complete.
    Abandoned,
    /// No rule objected and the message was taken over.
    Accepted,
}

impl Rule {
    /// Every rule, in the order of the enum.
    pub const ALL: [Rule; 25] = [
        Rule::NotServedHere,
        Rule::NotOptedIn,
        Rule::ReverseDns,
        Rule::ReverseDnsTempFail,
        Rule::SpfOrDkim,
        Rule::SpfOrDkimTempFail,
        Rule::MixedModes,
        Rule::MixedDomains,
        Rule::BareCrOrLf,
        Rule::MessageSize,
        Rule::HeaderSize,
        Rule::Chunks,
        Rule::MailLoop,
        Rule::MemoryBudget,
        Rule::Storage,
        Rule::Delivery,
        Rule::ConnectionLimit,
        Rule::SessionLimit,
        Rule::MessageLimit,
        Rule::RecipientLimit,
        Rule::IdentityLimit,
        Rule::ServiceBusy,
        Rule::ResolverTrouble,
        Rule::Abandoned,
        Rule::Accepted,
    ];

    /// The rule's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::NotServedHere => "not-served-here",
            Rule::NotOptedIn => "not-opted-in",
            Rule::ReverseDns => "reverse-dns",
            Rule::ReverseDnsTempFail => "reverse-dns-temperror",
            Rule::SpfOrDkim => "spf-or-dkim",
            Rule::SpfOrDkimTempFail => "spf-or-dkim-temperror",
            Rule::MixedModes => "mixed-modes",
            Rule::MixedDomains => "mixed-domains",
            Rule::BareCrOrLf => "bare-cr-or-lf",
            Rule::MessageSize => "message-size",
            Rule::HeaderSize => "header-size",
            Rule::Chunks => "chunks",
            Rule::MailLoop => "mail-loop",
            Rule::MemoryBudget => "memory-budget",
            Rule::Storage => "storage",
            Rule::Delivery => "delivery",
            Rule::ConnectionLimit => "connection-limit",
            Rule::SessionLimit => "session-limit",
            Rule::MessageLimit => "message-limit",
            Rule::RecipientLimit => "recipient-limit",
            Rule::IdentityLimit => "identity-limit",
            Rule::ServiceBusy => "service-busy",
            Rule::ResolverTrouble => "resolver-trouble",
            Rule::Abandoned => "abandoned",
            Rule::Accepted => "accepted",
        }
    }
}

/// Where in the transaction a decision fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Stage {
    /// Before the banner.
    Connect,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
    /// After the final dot.
    EndOfData,
}

impl Rule {
    /// Whether the words of its replies are fixed to the octet: those of the rule table, which senders and their tools match on, and what a next hop said.
    #[must_use]
    pub fn has_fixed_reply(self) -> bool {
        matches!(
            self,
            Rule::NotServedHere
                | Rule::NotOptedIn
                | Rule::ReverseDns
                | Rule::ReverseDnsTempFail
                | Rule::SpfOrDkim
                | Rule::SpfOrDkimTempFail
                | Rule::BareCrOrLf
                | Rule::MailLoop
                | Rule::Delivery
        )
    }
}

impl Stage {
    /// Every stage, in the order of the enum.
    pub const ALL: [Stage; 4] = [Stage::Connect, Stage::Mail, Stage::Rcpt, Stage::EndOfData];

    /// `connect`, `mail`, `rcpt` or `end-of-data`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::EndOfData => "end-of-data",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_in_their_order() {
        for (index, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, index);
            assert!(Rule::ALL[..index].iter().all(|other| other.name() != rule.name()));
        }
        assert!(Stage::ALL.into_iter().enumerate().all(|(index, stage)| stage as usize == index));
    }
}
