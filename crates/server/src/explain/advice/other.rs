//! Refusals that no DNS record of the sender changes.

use mx6_policy::{RECEIVED_FIELDS_MAX, Rule};

use super::{Advice, Case};

pub(super) fn advise(case: &Case<'_>, rule: Rule) -> Option<Advice> {
    let domain = case.domain;
    let (who, text) = match rule {
        Rule::NotServedHere => (
            RECIPIENT,
            format!(
                "This server does not take mail for {domain}. Check the address for a typing error, and that the mail went where the MX records of {domain} point \
                 (dig MX {domain}). If they name this server, its operator must add the domain."
            ),
        ),
        Rule::NotOptedIn => (
            RECIPIENT,
            format!(
                "{domain} takes mail over IPv4 only. The sending server needs an IPv4 address as well and should then try that by itself; the host names in the MX \
                 records of {domain} must have A records for it to find. Nothing that the sender publishes changes this: only the recipient's postmaster can \
                 open the domain to IPv6."
            ),
        ),
        Rule::BareCrOrLf => (
            SENDER,
            "The message has a CR or an LF by itself. Lines of mail end with both, CR LF, and only so (RFC 5321 §2.3.8): what else ends a line for one server and not \
             for another lets messages be smuggled. Correct the program that wrote the message; many write LF where CR LF is wanted."
                .to_owned(),
        ),
        Rule::MessageSize => (
            SENDER,
            format!(
                "The message is larger than the {} octets this server takes. Attachments grow by a third on their way: send less, in parts, or a link.",
                case.size_limit
            ),
        ),
        Rule::HeaderSize => (
            SENDER,
            "The header section of the message is larger than this server takes. Look for lists of recipients and for fields that a program repeats.".to_owned(),
        ),
        Rule::Chunks => (SENDER, "The message came in too many chunks (BDAT). Send larger ones, or use DATA.".to_owned()),
        Rule::MailLoop => (
            SENDER,
            format!(
                "The message has passed more than {RECEIVED_FIELDS_MAX} servers, so it goes round in circles. Its Received fields show between which: look for a \
                 forwarding that leads back."
            ),
        ),
        Rule::MixedModes | Rule::MixedDomains => {
            (SENDER, "Nothing: mail servers send to the recipient again, in a transaction of its own.".to_owned())
        }
        _ => return None,
    };
    Some(Advice::new(rule, who, text))
}

const RECIPIENT: &str = "the sender, and the postmaster of the recipient's domain";
const SENDER: &str = "whoever runs the sending system";
