//! One DKIM-Signature field: its tags, and the rules that need neither body nor key (RFC 6376 §3.5, §6.1.1).

use std::ops::Range;

use crate::canonical_body::Canonicalization;
use crate::cause::Cause;
use crate::domain::{Identity, NAME_OCTETS_MAX, dotted_name, is_public_suffix};
use crate::limits::SIGNED_NAMES_MAX;
use crate::tag_list::{TagList, base64, has_item, is_white_space, items};

/// Signature algorithms that count (RFC 8301 §3.1, RFC 8463 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    RsaSha256,
    Ed25519Sha256,
}

/// What can be shown of a signature, whatever becomes of it. Only well-formed values get here; empty where there is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) domain: String,
    pub(crate) selector: String,
    pub(crate) identity: Option<String>,
    pub(crate) algorithm: &'static str,
    pub(crate) signature_b: String,
}

/// A signature that may still count.
#[derive(Debug)]
pub(crate) struct Signature<'v> {
    pub(crate) algorithm: Algorithm,
    pub(crate) header: Canonicalization,
    pub(crate) body: Canonicalization,
    pub(crate) body_hash: [u8; 32],
    pub(crate) signature: Vec<u8>,
    /// `l=`, canonicalized octets.
    pub(crate) body_octets: Option<u64>,
    /// The domain of `i=` is `d=` itself.
    pub(crate) identity_is_domain: bool,
    /// `selector._domainkey.domain`.
    pub(crate) key_name: String,
    /// `h=`.
    pub(crate) signed_names: Vec<&'v [u8]>,
    /// The value of `b=` with the white space around it, in octets of the field's value.
    pub(crate) signature_span: Range<usize>,
}

impl<'v> Signature<'v> {
    /// Parses the value of a DKIM-Signature field and applies all that follows from it alone.
    pub(crate) fn parse(value: &'v [u8], now_unix_s: u64) -> (Shown, Result<Signature<'v>, Cause>) {
        match TagList::parse(value) {
            Ok(tags) => {
                let shown = Shown::of(&tags);
                let signature = Signature::from_tags(&tags, &shown, now_unix_s);
                (shown, signature)
            }
            Err(cause) => (Shown::default(), Err(cause)),
        }
    }

    fn from_tags(tags: &TagList<'v>, shown: &Shown, now_unix_s: u64) -> Result<Signature<'v>, Cause> {
        if REQUIRED.iter().any(|name| tags.value(name).is_none()) {
            return Err(Cause::MissingTag);
        }
        if tags.value("v") != Some(b"1") {
            return Err(Cause::Version);
        }
        let signed_names = signed_names(tags.value("h").unwrap_or_default())?;
        let algorithm = match shown.algorithm {
            RSA_SHA256 => Algorithm::RsaSha256,
            ED25519_SHA256 => Algorithm::Ed25519Sha256,
            RSA_SHA1 => return Err(Cause::RsaSha1),
            _ => return Err(Cause::UnknownAlgorithm),
        };
        let (header, body) = canonicalizations(tags.value("c"))?;
        if tags.value("q").is_some_and(|methods| !has_item(methods, "dns/txt")) {
            return Err(Cause::UnknownQueryMethod);
        }
        let identity_is_domain = check_names(tags, shown)?;
        let body_octets = number(tags, "l")?;
        check_times(number(tags, "t")?, number(tags, "x")?, now_unix_s)?;
        if !signed_names.iter().any(|name| name.eq_ignore_ascii_case(b"from")) {
            return Err(Cause::FromNotSigned);
        }
        let signature = tags.tag("b").ok_or(Cause::MissingTag)?;
        Ok(Signature {
            algorithm,
            header,
            body,
            body_hash: body_hash(tags.value("bh").unwrap_or_default())?,
            signature: base64(signature.value).filter(|octets| !octets.is_empty()).ok_or(Cause::SignatureDataSyntax)?,
            body_octets,
            identity_is_domain,
            key_name: format!("{}._domainkey.{}", shown.selector, shown.domain),
            signed_names,
            signature_span: signature.span.clone(),
        })
    }
}

impl Shown {
    fn of(tags: &TagList<'_>) -> Shown {
        let name = |tag: &str| tags.value(tag).and_then(dotted_name).unwrap_or_default();
        let algorithm = tags.value("a").unwrap_or_default();
        let known = [RSA_SHA256, ED25519_SHA256, RSA_SHA1];
        Shown {
            domain: name("d"),
            selector: name("s"),
            identity: tags.value("i").and_then(Identity::parse).map(|identity| identity.text),
            algorithm: known
                .into_iter()
                .find(|known| algorithm.eq_ignore_ascii_case(known.as_bytes()))
                .unwrap_or_default(),
            signature_b: first_of_signature(tags.value("b").unwrap_or_default()),
        }
    }
}

/// The octets of `b=` that tell signatures of a message apart (RFC 6008 §3).
fn first_of_signature(value: &[u8]) -> String {
    let base64_octets = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
    let octets = value.iter().copied().filter(|&octet| !is_white_space(octet));
    octets.take_while(base64_octets).take(SIGNATURE_B_OCTETS).map(char::from).collect()
}

fn signed_names(value: &[u8]) -> Result<Vec<&[u8]>, Cause> {
    if items(value).nth(SIGNED_NAMES_MAX).is_some() {
        return Err(Cause::TooManyNames);
    }
    let names: Vec<&[u8]> = items(value).collect();
    let valid = names.iter().all(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic));
    if valid { Ok(names) } else { Err(Cause::SignedNamesSyntax) }
}

/// `c=`: header, body. The body is simple when only one is named.
fn canonicalizations(value: Option<&[u8]>) -> Result<(Canonicalization, Canonicalization), Cause> {
    let Some(value) = value else { return Ok((Canonicalization::Simple, Canonicalization::Simple)) };
    let mut parts = value.split(|&octet| octet == b'/');
    let header = canonicalization(parts.next().unwrap_or_default())?;
    let body = parts.next().map_or(Ok(Canonicalization::Simple), canonicalization)?;
    if parts.next().is_some() { Err(Cause::UnknownCanonicalization) } else { Ok((header, body)) }
}

fn canonicalization(word: &[u8]) -> Result<Canonicalization, Cause> {
    if word.eq_ignore_ascii_case(b"simple") {
        Ok(Canonicalization::Simple)
    } else if word.eq_ignore_ascii_case(b"relaxed") {
        Ok(Canonicalization::Relaxed)
    } else {
        Err(Cause::UnknownCanonicalization)
    }
}

/// `d=`, `s=`, `i=`; whether the domain of `i=` is `d=` itself.
fn check_names(tags: &TagList<'_>, shown: &Shown) -> Result<bool, Cause> {
    if shown.domain.is_empty() {
        return Err(Cause::DomainSyntax);
    }
    if shown.selector.is_empty() || shown.selector.len() + DOMAINKEY_OCTETS + shown.domain.len() > NAME_OCTETS_MAX {
        return Err(Cause::SelectorSyntax);
    }
    let identity_is_domain = match tags.value("i") {
        None => true,
        Some(value) => {
            let identity = Identity::parse(value).ok_or(Cause::IdentitySyntax)?;
            if !identity.is_within(&shown.domain) {
                return Err(Cause::IdentityOutsideDomain);
            }
            identity.domain == shown.domain
        }
    };
    if is_public_suffix(&shown.domain) { Err(Cause::PublicSuffix) } else { Ok(identity_is_domain) }
}

fn check_times(signed_s: Option<u64>, expires_s: Option<u64>, now_unix_s: u64) -> Result<(), Cause> {
    let Some(expires_s) = expires_s else { return Ok(()) };
    if signed_s.is_some_and(|signed_s| expires_s <= signed_s) {
        return Err(Cause::ExpiryBeforeSigning);
    }
    if expires_s < now_unix_s { Err(Cause::Expired) } else { Ok(()) }
}

/// An unsigned decimal; one too large for 64 bits is as good as the largest.
fn number(tags: &TagList<'_>, tag: &str) -> Result<Option<u64>, Cause> {
    let Some(digits) = tags.value(tag) else { return Ok(None) };
    if digits.is_empty() || digits.len() > NUMBER_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Cause::NumberSyntax);
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(Some(digits.iter().fold(0, add)))
}

fn body_hash(value: &[u8]) -> Result<[u8; 32], Cause> {
    base64(value).and_then(|octets| octets.try_into().ok()).ok_or(Cause::BodyHashSyntax)
}

/// RFC 6376 §3.5, marked REQUIRED.
const REQUIRED: [&str; 7] = ["v", "a", "b", "bh", "d", "h", "s"];

const RSA_SHA256: &str = "rsa-sha256";
const ED25519_SHA256: &str = "ed25519-sha256";
const RSA_SHA1: &str = "rsa-sha1";

/// `._domainkey.`
const DOMAINKEY_OCTETS: usize = 12;

/// RFC 6376 §3.5: `l=` has at most 76 digits.
const NUMBER_DIGITS_MAX: usize = 76;

const SIGNATURE_B_OCTETS: usize = 8;
