//! Key records (RFC 6376 §3.6.1, RFC 8463 §4.2), parsed once with their public key, so that they can be cached.
//!
//! `h=`, `k=`, `p=`, `s=` and `t=` are obeyed; `g=` is gone since RFC 6376 and ignored like any unknown tag. A name may have several TXT
//! records, in any order and not all of them keys (§3.6.2.2 leaves it open): the first [`KEY_RECORDS_MAX`] are looked at, and any
//! key among them may verify a signature.

use std::sync::OnceLock;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{
    ED25519, ED25519_PUBLIC_KEY_LEN, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters,
    RsaSubjectPublicKey,
};

use crate::cause::Cause;
use crate::kernels::rsa::{Form, MODULUS_OCTETS, Modulus};
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

/// What is known already of a signature and each key of a record: whether they fit.
pub(crate) type Known = [Option<bool>; KEY_RECORDS_MAX];

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
    Rsa(RsaKey),
    Ed25519(ParsedPublicKey),
    /// RSA outside the sizes that count: never used, so never kept.
    RsaOfWrongSize(Cause),
}

/// An RSA key as aws-lc-rs has it, and as the kernel wants it.
#[derive(Debug)]
pub(crate) struct RsaKey {
    parsed: ParsedPublicKey,
    /// Of a key in the kernels' range: what they compute of the modulus, each when it is first used.
    for_lanes: Option<ForLanes>,
}

#[derive(Debug, Default)]
struct ForLanes {
    limbs_52: OnceLock<Option<Box<Modulus>>>,
    limbs_28: OnceLock<Option<Box<Modulus>>>,
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

    /// The best that any key says: verified, else that a signature does not match, else the first reason not to try. What `known` says
    /// of a key, by its place, is not verified again.
    pub(crate) fn judge(&self, facts: &SignatureFacts<'_>, known: &Known) -> KeyFinding {
        let mut best: Option<KeyFinding> = None;
        for (key, known) in self.keys.iter().zip(known) {
            let finding = KeyFinding { cause: key.judge(facts, *known), testing: key.testing, bits: key.bits };
            match finding.cause {
                Cause::Verified => return finding,
                Cause::SignatureMismatch if best.is_none_or(|best| best.cause != finding.cause) => best = Some(finding),
                _ => best = best.or(Some(finding)),
            }
        }
        best.unwrap_or(KeyFinding { cause: self.fault, testing: false, bits: 0 })
    }

    /// For each key, in the order of [`Known`]: the key, if it may verify a signature like this and is in the range of the RSA kernels.
    pub(crate) fn for_lanes(&self, facts: &SignatureFacts<'_>) -> impl Iterator<Item = Option<&RsaKey>> {
        self.keys.iter().map(|key| match &key.public {
            PublicKey::Rsa(rsa) if rsa.for_lanes.is_some() && key.objection(facts).is_none() => Some(rsa),
            _ => None,
        })
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

    fn judge(&self, facts: &SignatureFacts<'_>, known: Option<bool>) -> Cause {
        if let Some(cause) = self.objection(facts) {
            return cause;
        }
        if known.unwrap_or_else(|| self.verify(facts)) { Cause::Verified } else { Cause::SignatureMismatch }
    }

    /// Why the key may not be tried on this signature.
    fn objection(&self, facts: &SignatureFacts<'_>) -> Option<Cause> {
        if !self.for_email {
            return Some(Cause::KeyService);
        }
        if !self.allows_sha256 {
            return Some(Cause::KeyHash);
        }
        if self.strict && !facts.identity_is_domain {
            return Some(Cause::KeyStrict);
        }
        match (&self.public, facts.algorithm) {
            (PublicKey::Rsa(_), Algorithm::RsaSha256) | (PublicKey::Ed25519(_), Algorithm::Ed25519Sha256) => None,
            (PublicKey::RsaOfWrongSize(cause), Algorithm::RsaSha256) => Some(*cause),
            _ => Some(Cause::KeyType),
        }
    }

    /// Verifies one signature by aws-lc-rs.
    fn verify(&self, facts: &SignatureFacts<'_>) -> bool {
        let verified = match &self.public {
            PublicKey::Rsa(key) => Digest::import_less_safe(facts.header_hash, &SHA256)
                .and_then(|digest| key.parsed.verify_digest_sig(&digest, facts.signature)),
            // RFC 8463 §3: PureEdDSA, whose message is the hash.
            PublicKey::Ed25519(key) => key.verify_sig(facts.header_hash, facts.signature),
            PublicKey::RsaOfWrongSize(_) => return false,
        };
        verified.is_ok()
    }

    fn weight_octets(&self) -> usize {
        let kept = match &self.public {
            // The DER, the numbers of the parsed key, and what Montgomery multiplication keeps of them.
            PublicKey::Rsa(key) => {
                // A process has one kernel, so one modulus.
                let modulus = key.for_lanes.as_ref().map_or(0, |_| size_of::<Modulus>());
                PARSED_KEY_OCTETS + 4 * key.parsed.as_ref().len() + modulus
            }
            PublicKey::Ed25519(key) => PARSED_KEY_OCTETS + key.as_ref().len(),
            PublicKey::RsaOfWrongSize(_) => 0,
        };
        size_of::<Key>() + kept
    }
}

impl RsaKey {
    fn new(parsed: ParsedPublicKey) -> RsaKey {
        let for_lanes = modulus_octets(parsed.as_ref()).map(|_| ForLanes::default());
        RsaKey { parsed, for_lanes }
    }

    /// The modulus for a kernel that wants this form, if the key is in its range.
    pub(crate) fn modulus(&self, form: Form) -> Option<&Modulus> {
        let for_lanes = self.for_lanes.as_ref()?;
        let computed = match form {
            Form::Limbs52 => &for_lanes.limbs_52,
            Form::Limbs28 => &for_lanes.limbs_28,
        };
        let octets = || modulus_octets(self.parsed.as_ref());
        computed.get_or_init(|| Modulus::new(octets()?, form.r_bits()).map(Box::new)).as_deref()
    }
}

/// The modulus in a DER `RSAPublicKey` of 2048 bits with the exponent 65537. There is one such encoding, as long as the modulus has
/// no bit more or less, so all around it can be compared.
fn modulus_octets(der: &[u8]) -> Option<&[u8; MODULUS_OCTETS]> {
    der.strip_prefix(&DER_RSA_2048)?.strip_suffix(&DER_EXPONENT_65537)?.try_into().ok()
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
        PublicKey::Rsa(RsaKey::new(parsed.map_err(|_| Cause::KeySyntax)?))
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

/// X.690: a SEQUENCE of 266 octets; in it an INTEGER of 257 octets, the first of them 0 because the next has its highest bit set.
const DER_RSA_2048: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
/// X.690: an INTEGER of 3 octets, 65537.
const DER_EXPONENT_65537: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
