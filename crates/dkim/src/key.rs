//! Key records (RFC 6376 §3.6.1, RFC 8463 §4.2), parsed once with their public key, so that they can be cached.
//!
//! `h=`, `k=`, `p=`, `s=` and `t=` are obeyed; `g=` is gone since RFC 6376 and ignored like any unknown tag. A name may have several TXT
//! records, in any order and not all of them keys (§3.6.2.2 leaves it open): the first [`KEY_RECORDS_MAX`] are looked at, and any
//! key among them may verify a signature.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{
    ED25519, ED25519_PUBLIC_KEY_LEN, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters,
    RsaSubjectPublicKey,
};

use crate::cause::Cause;
use crate::limits::{KEY_RECORD_OCTETS_MAX, KEY_RECORDS_MAX, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::signature::Algorithm;
use crate::tag_list::{TagList, base64, has_item};

/// What the TXT records of one `selector._domainkey.domain` say.
#[derive(Debug)]
pub struct KeyTxt {
    keys: Vec<Key>,
    /// Why there is no key, when there is none.
    fault: Cause,
}

/// What one verification with a key record needs to know of the signature.
pub(crate) struct SignatureFacts<'s> {
    pub(crate) algorithm: Algorithm,
    pub(crate) header_hash: &'s [u8; 32],
    pub(crate) signature: &'s [u8],
    /// The domain of `i=` is `d=` itself.
    pub(crate) identity_is_domain: bool,
}

/// What a key record says to a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyFinding {
    pub(crate) cause: Cause,
    /// The key says `t=y`.
    pub(crate) testing: bool,
    /// Size of the key, 0 without one.
    pub(crate) bits: u32,
}

#[derive(Debug)]
struct Key {
    public: PublicKey,
    bits: u32,
    /// `h=` is missing or has sha256.
    allows_sha256: bool,
    /// `s=` is missing or has `*` or `email`.
    for_email: bool,
    /// `t=s`.
    strict: bool,
    /// `t=y`.
    testing: bool,
}

#[derive(Debug)]
enum PublicKey {
    Rsa(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
    /// RSA outside the sizes that count: never used, so never kept.
    RsaOfWrongSize(Cause),
}

impl KeyTxt {
    /// Parses the TXT records of a key name, each the concatenation of its strings (RFC 6376 §3.6.2.2). Never fails: what is wrong
    /// with the records is told to the signatures that need them.
    #[must_use]
    pub fn parse(records: &[Vec<u8>]) -> KeyTxt {
        let mut txt = KeyTxt { keys: Vec::new(), fault: Cause::NoKey };
        for record in records.iter().take(KEY_RECORDS_MAX) {
            match Key::parse(record) {
                Ok(key) => txt.keys.push(key),
                // Something that is no key record at all (SPF under a wildcard, say) hides no better reason.
                Err(fault) if txt.fault == Cause::NoKey || txt.fault == Cause::KeyVersion => txt.fault = fault,
                Err(_) => {}
            }
        }
        txt
    }

    /// Octets this takes in memory, estimated: for a cache bounded by weight.
    #[must_use]
    pub fn weight_octets(&self) -> u32 {
        let weight: usize = self.keys.iter().map(Key::weight_octets).sum();
        u32::try_from(size_of::<KeyTxt>() + weight).unwrap_or(u32::MAX)
    }

    /// The best that any key says: verified, else that a signature does not match, else the first reason not to try.
    pub(crate) fn judge(&self, facts: &SignatureFacts<'_>) -> KeyFinding {
        let mut best: Option<KeyFinding> = None;
        for key in &self.keys {
            let finding = KeyFinding { cause: key.judge(facts), testing: key.testing, bits: key.bits };
            match finding.cause {
                Cause::Verified => return finding,
                Cause::SignatureMismatch if best.is_none_or(|best| best.cause != finding.cause) => best = Some(finding),
                _ => best = best.or(Some(finding)),
            }
        }
        best.unwrap_or(KeyFinding { cause: self.fault, testing: false, bits: 0 })
    }
}

impl Key {
    fn parse(record: &[u8]) -> Result<Key, Cause> {
        if record.len() > KEY_RECORD_OCTETS_MAX {
            return Err(Cause::KeySyntax);
        }
        let tags = TagList::parse(record).map_err(|_| not_a_key(record))?;
        if tags.value("v").is_some_and(|version| version != b"DKIM1") {
            return Err(Cause::KeyVersion);
        }
        let octets = base64(tags.value("p").ok_or(Cause::KeySyntax)?).ok_or(Cause::KeySyntax)?;
        if octets.is_empty() {
            return Err(Cause::KeyRevoked);
        }
        let (public, bits) = match tags.value("k").map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"rsa") => rsa(&octets)?,
            Some(b"ed25519") => ed25519(&octets)?,
            Some(_) => return Err(Cause::KeyType),
        };
        let lists = |tag: &str, item: &str| tags.value(tag).map(|value| has_item(value, item));
        Ok(Key {
            public,
            bits,
            allows_sha256: lists("h", "sha256").unwrap_or(true),
            for_email: lists("s", "email").unwrap_or(true) || lists("s", "*").unwrap_or(true),
            strict: lists("t", "s").unwrap_or(false),
            testing: lists("t", "y").unwrap_or(false),
        })
    }

    fn judge(&self, facts: &SignatureFacts<'_>) -> Cause {
        if !self.for_email {
            return Cause::KeyService;
        }
        if !self.allows_sha256 {
            return Cause::KeyHash;
        }
        if self.strict && !facts.identity_is_domain {
            return Cause::KeyStrict;
        }
        let verified = match (&self.public, facts.algorithm) {
            (PublicKey::Rsa(key), Algorithm::RsaSha256) => Digest::import_less_safe(facts.header_hash, &SHA256)
                .and_then(|digest| key.verify_digest_sig(&digest, facts.signature)),
            // RFC 8463 §3: PureEdDSA, whose message is the hash.
            (PublicKey::Ed25519(key), Algorithm::Ed25519Sha256) => key.verify_sig(facts.header_hash, facts.signature),
            (PublicKey::RsaOfWrongSize(cause), Algorithm::RsaSha256) => return *cause,
            _ => return Cause::KeyType,
        };
        if verified.is_ok() { Cause::Verified } else { Cause::SignatureMismatch }
    }

    fn weight_octets(&self) -> usize {
        let kept = match &self.public {
            // The DER, the numbers of the parsed key, and what Montgomery multiplication keeps of them.
            PublicKey::Rsa(key) => PARSED_KEY_OCTETS + 4 * key.as_ref().len(),
            PublicKey::Ed25519(key) => PARSED_KEY_OCTETS + key.as_ref().len(),
            PublicKey::RsaOfWrongSize(_) => 0,
        };
        size_of::<Key>() + kept
    }
}

/// The fault of a record that is no tag list: one that does not even begin like a key is somebody else's.
fn not_a_key(record: &[u8]) -> Cause {
    let foreign = record.starts_with(b"v=") && !record.starts_with(b"v=DKIM1");
    if foreign { Cause::KeyVersion } else { Cause::KeySyntax }
}

/// SubjectPublicKeyInfo or, as RFC 6376 §3.6.1 says and nobody does, RSAPublicKey.
fn rsa(der: &[u8]) -> Result<(PublicKey, u32), Cause> {
    let subject_key = RsaSubjectPublicKey::from_der(der).map_err(|_| Cause::KeySyntax)?;
    let bits = RsaParameters::public_modulus_len(subject_key.as_ref()).map_err(|_| Cause::KeySyntax)?;
    let public = if bits < RSA_BITS_MIN {
        PublicKey::RsaOfWrongSize(Cause::KeyTooShort)
    } else if bits > RSA_BITS_MAX {
        PublicKey::RsaOfWrongSize(Cause::KeyTooLong)
    } else {
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, subject_key.as_ref());
        PublicKey::Rsa(parsed.map_err(|_| Cause::KeySyntax)?)
    };
    Ok((public, bits))
}

fn ed25519(octets: &[u8]) -> Result<(PublicKey, u32), Cause> {
    if octets.len() != ED25519_PUBLIC_KEY_LEN {
        return Err(Cause::KeySyntax);
    }
    let parsed = ParsedPublicKey::new(&ED25519, octets).map_err(|_| Cause::KeySyntax)?;
    Ok((PublicKey::Ed25519(parsed), ED25519_BITS))
}

const ED25519_BITS: u32 = 256;

/// An `EVP_PKEY` without its numbers, roughly.
const PARSED_KEY_OCTETS: usize = 600;
