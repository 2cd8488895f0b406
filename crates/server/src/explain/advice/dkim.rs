//! DKIM: why each signature does not count, and what makes it count.

use mx6_dkim::Cause;
use mx6_policy::Rule;
use mx6_policy::facts::Dkim;

use super::{Advice, Case, DnsRecord, unanswered};

pub(super) fn advise(case: &Case<'_>, rule: Rule) -> Vec<Advice> {
    if case.facts.dkim.is_empty() {
        return vec![unsigned(case, rule)];
    }
    let mut advice: Vec<Advice> = Vec::new();
    for signature in &case.facts.dkim {
        let next = of_signature(case, rule, signature);
        if !advice.contains(&next) {
            advice.push(next);
        }
    }
    advice
}

fn unsigned(case: &Case<'_>, rule: Rule) -> Advice {
    let Some(domain) = case.author.or(case.reverse_path.map(|(_, domain)| domain)) else {
        let text = "The message has no DKIM signature. Sign all mail, with the domain of its From address (d=).";
        return Advice::new(rule, SENDING_SYSTEM, text);
    };
    let text = format!(
        "The message has no DKIM signature. Sign all mail with d={domain} and publish the public key of the signing system, which tells it together with the \
         selector; \"mail\" and {KEY} stand for them here."
    );
    Advice::new(rule, SENDING_SYSTEM, text).publish(key_record("mail", domain, "rsa"))
}

fn of_signature(case: &Case<'_>, rule: Rule, signature: &Dkim) -> Advice {
    let Dkim { domain, selector, .. } = signature;
    let cause = Cause::ALL.iter().copied().find(|cause| cause.reason() == signature.reason);
    let of = if domain.is_empty() {
        "A signature".to_owned()
    } else {
        format!("The signature of {domain} (selector {selector})")
    };
    let why = format!("{of} does not count: {}.", signature.reason);
    let at = format!("{selector}._domainkey.{domain}");
    let Some(cause) = cause else { return Advice::new(rule, SENDING_SYSTEM, why) };
    if cause == Cause::KeyLookupFailed {
        let text = format!(
            "{of} could not be checked now, its key could not be looked up: {}",
            unanswered(case.names, domain, &format!("dig +tcp TXT {at}"))
        );
        return Advice::new(rule, format!("whoever runs the DNS of {domain}"), text);
    }
    let text = format!("{why} {}", remedy(cause));
    match needs_key(cause) {
        true => {
            let kind = if signature.algorithm.starts_with("ed25519") { "ed25519" } else { "rsa" };
            let text = format!("{text} {KEY} stands for the public key, which the signing system tells.");
            Advice::new(rule, format!("whoever runs the DNS of {domain}"), text)
                .publish(key_record(selector, domain, kind))
        }
        false => Advice::new(rule, SENDING_SYSTEM, text),
    }
}

/// Whether another key record makes the signature count.
fn needs_key(cause: Cause) -> bool {
    use Cause::{KeyHash, KeyRevoked, KeyService, KeyStrict, KeySyntax, KeyType, KeyVersion, NoKey};
    matches!(cause, NoKey | KeySyntax | KeyVersion | KeyRevoked | KeyType | KeyHash | KeyService | KeyStrict)
}

/// What to do about each cause.
fn remedy(cause: Cause) -> &'static str {
    match cause {
        Cause::Verified | Cause::KeyLookupFailed => "",
        Cause::BodyHashMismatch | Cause::SignatureMismatch | Cause::LengthBeyondBody => {
            "Something changed the message after it was signed (a mailing list, a footer, a virus filter, another server on the way), or the key published is \
             not the one it was signed with. Sign as the last step before the message leaves."
        }
        Cause::HeaderSectionTooLong | Cause::SignatureFieldTooLong | Cause::TooManyNames => {
            "That is more than is checked here. Make the header section, or the list of signed fields, shorter."
        }
        Cause::RsaSha1 => "SHA-1 is no longer safe (RFC 8301). Let the signing system use rsa-sha256.",
        Cause::PublicSuffix => "Under that name anybody can register. Sign with a domain of your own.",
        Cause::Expired => {
            "It was too long on its way, or x= is too short. Let signatures hold for several days, or leave x= out."
        }
        Cause::FromRepeated | Cause::FromMissing => "Write exactly one From field (RFC 5322 §3.6).",
        Cause::BodyPartlySigned => "With l= anybody can append to the message. Sign without l=.",
        Cause::KeyTooShort => "Make a key of 2048 bits, publish it and sign with it.",
        Cause::KeyTooLong => "Make a key of 2048 bits (at most 4096 are checked here), publish it and sign with it.",
        Cause::FromNotSigned => "Add From to the fields that are signed (h=).",
        Cause::IdentityOutsideDomain => "Leave i= out, or let it be an address of the domain in d= or below it.",
        Cause::NoKey => "Publish the key.",
        Cause::KeySyntax => "Publish it in this form; often a quote or a semicolon was lost, or the key was cut.",
        Cause::KeyVersion => "It must begin with v=DKIM1.",
        Cause::KeyRevoked => {
            "An empty p= says that the key is no longer used. Sign with a present key, or publish this one again."
        }
        Cause::KeyType => "k= must be the kind of key that signs (rsa or ed25519).",
        Cause::KeyHash => "Leave h= out of the key record, or let it include sha256.",
        Cause::KeyService => "Leave s= out of the key record, or let it include email.",
        Cause::KeyStrict => "Take s out of t= in the key record, or sign without i=.",
        Cause::TagListSyntax
        | Cause::DuplicateTag
        | Cause::MissingTag
        | Cause::Version
        | Cause::UnknownAlgorithm
        | Cause::UnknownCanonicalization
        | Cause::UnknownQueryMethod
        | Cause::SignatureDataSyntax
        | Cause::BodyHashSyntax
        | Cause::DomainSyntax
        | Cause::SelectorSyntax
        | Cause::IdentitySyntax
        | Cause::SignedNamesSyntax
        | Cause::NumberSyntax
        | Cause::ExpiryBeforeSigning => {
            "The signature field itself is wrong (RFC 6376 §3.5). Correct or update the signing system."
        }
    }
}

fn key_record(selector: &str, domain: &str, kind: &str) -> DnsRecord {
    DnsRecord::txt(&format!("{selector}._domainkey.{domain}"), &format!("v=DKIM1; k={kind}; p={KEY}"))
}

const SENDING_SYSTEM: &str = "whoever runs the sending system";
/// Only the signer knows it.
const KEY: &str = "PUBLIC-KEY";
