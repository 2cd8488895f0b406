//! One message: signatures, body hashes and keys brought together (RFC 6376 §6.1).
//!
//! ```text
//! header ─▶ new ─▶ key_names ────── lookups ──────┐
//! body ───▶ body … end_of_body ─▶ compress ───────┴▶ finish ─▶ results
//! ```
//!
//! [`Verification::finish`] is the way of one message alone. Several go together through `keys`, [`Kernels::verify`] and `results`.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::body_hash::BodyHash;
use crate::canonical_body::Canonicalization;
use crate::canonical_header::SignedFields;
use crate::cause::{Cause, DkimResult};
use crate::header::{Field, Header};
use crate::kernels::Kernels;
use crate::kernels::rsa::MODULUS_OCTETS;
use crate::key::{KeyFinding, KeyTxt, Known, SignatureFacts};
use crate::limits::{HEADER_SECTION_OCTETS_MAX, SIGNATURE_FIELD_OCTETS_MAX, SIGNATURES_MAX};
use crate::signature::{Algorithm, Shown, Signature};
use crate::signature_batch::{Lane, Lanes};

/// What became of the lookup of one key name.
#[derive(Debug, Clone)]
pub enum KeyAnswer {
    /// TXT records exist.
    Found(Arc<KeyTxt>),
    /// There are none, for certain.
    NoKey,
    /// It is not known for now.
    TempFail,
}

/// The result of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureResult {
    /// `Pass` only if the signature counts for the gate.
    pub result: DkimResult,
    /// Why, as a row of the table.
    pub cause: Cause,
    /// Why, in words: those of `cause`.
    pub reason: &'static str,
    /// `d=`, lower case, a well-formed name; empty if there is none.
    pub domain: String,
    /// `s=`, lower case, a well-formed name; empty if there is none.
    pub selector: String,
    /// `i=`, decoded, with a well-formed domain and no control characters, if there is one. The local part may hold anything else.
    pub identity: Option<String>,
    /// `a=`: `rsa-sha256`, `ed25519-sha256`, `rsa-sha1`; empty for any other.
    pub algorithm: &'static str,
    /// The key says `t=y`: its owner is testing.
    pub testing: bool,
    /// Bits of the key that decided; 0 if none was looked at.
    pub key_bits: u32,
    /// The first octets of `b=`, at most 8, all of the base64 alphabet (RFC 6008 `header.b`).
    pub signature_b: String,
}

/// The verification of one message. Does nothing and holds nothing when the message has no signature.
#[derive(Debug, Default)]
pub struct Verification {
    signatures: Vec<Pending>,
    /// At most one for each canonicalization.
    bodies: Vec<BodyHash>,
    work: Work,
}

/// What a header section cost, in things that were done: the caps bound it, and nothing else is asked of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Names of `h=`, of all signatures that were parsed.
    pub names: usize,
    /// How often a field was looked at to find those.
    pub fields: usize,
    /// Octets of header canonicalized and hashed.
    pub octets: usize,
}

/// A signature that was looked at.
#[derive(Debug)]
struct Pending {
    shown: Shown,
    state: Result<Open, Cause>,
}

/// What is needed to decide once body and key are there.
#[derive(Debug)]
struct Open {
    algorithm: Algorithm,
    body: Canonicalization,
    body_hash: [u8; 32],
    body_octets: Option<u64>,
    header_hash: [u8; 32],
    signature: Vec<u8>,
    identity_is_domain: bool,
    key_name: String,
    answer: Option<KeyAnswer>,
    /// What the batch found out.
    known: Known,
}

impl Verification {
    /// Looks at the signatures of a header section, applies the caps and every rule that needs neither body nor key, and hashes the
    /// signed fields of those that may still count. `now_unix_s`: seconds since 1970, for `x=`.
    #[must_use]
    pub fn new(header: &Header<'_>, now_unix_s: u64) -> Verification {
        let mut fields = header.named("DKIM-Signature").take(SIGNATURES_MAX).peekable();
        if fields.peek().is_none() {
            return Verification::default();
        }
        if header.section_octets() > HEADER_SECTION_OCTETS_MAX {
            let refused = Pending { shown: Shown::default(), state: Err(Cause::HeaderSectionTooLong) };
            return Verification { signatures: vec![refused], ..Verification::default() };
        }
        let from = from_fault(header);
        let parsed: Vec<_> = fields.map(|field| (field, parse(header, field, from, now_unix_s))).collect();
        let (signatures, work) = hash_headers(header, parsed);
        let mut verification = Verification { signatures, bodies: Vec::new(), work };
        verification.open_bodies();
        verification
    }

    /// The distinct names whose TXT records [`Verification::finish`] will ask for. Empty when no signature can count any more.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for open in self.open() {
            if !names.contains(&open.key_name) {
                names.push(open.key_name.clone());
            }
        }
        names
    }

    /// What the header section cost.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    /// The next octets of the body: CRLF line ends, dots unstuffed, any chunking.
    pub fn body(&mut self, octets: &[u8]) {
        for body in &mut self.bodies {
            body.feed(octets);
        }
    }

    /// The body is complete.
    pub fn end_of_body(&mut self) {
        for body in &mut self.bodies {
            body.end();
        }
    }

    /// The hashes to give to [`Kernels::compress`], at most two; skip those with nothing staged.
    pub fn body_hashes(&mut self) -> &mut [BodyHash] {
        &mut self.bodies
    }

    /// Hashes what is staged of this message alone.
    pub fn compress(&mut self, kernels: &Kernels) {
        match self.bodies.as_mut_slice() {
            [] => {}
            [one] => kernels.compress(&mut [one]),
            [one, other, ..] => kernels.compress(&mut [one, other]),
        }
    }

    /// Takes the keys in. `key` is asked for names of [`Verification::key_names`] only.
    pub fn keys(&mut self, key: impl Fn(&str) -> KeyAnswer) {
        for pending in &mut self.signatures {
            if let Ok(open) = &mut pending.state {
                open.answer = Some(key(&open.key_name));
            }
        }
    }

    /// The results, in the order of the signatures in the header. Signatures that [`Kernels::verify`] has not verified are verified here,
    /// one by one; those whose key was not taken in count as not looked up. Ends the body and hashes what is left if that was not done.
    pub fn results(&mut self) -> Vec<SignatureResult> {
        self.end_of_body();
        self.compress(&Kernels::PORTABLE);
        self.signatures.iter().map(|pending| pending.result(&self.bodies)).collect()
    }

    /// The results of this message alone: takes the keys in and does all that is left to do.
    pub fn finish(&mut self, key: impl Fn(&str) -> KeyAnswer) -> Vec<SignatureResult> {
        self.end_of_body();
        self.keys(key);
        self.results()
    }

    /// Puts into `lanes` what the RSA kernel may verify: signatures whose body hash is right and whose key is there and in its range.
    pub(crate) fn fill<'v>(&'v mut self, lanes: &mut Lanes<'v>) {
        let bodies = &self.bodies;
        for open in self.signatures.iter_mut().filter_map(|pending| pending.state.as_mut().ok()) {
            if open.answer.is_some() && open.check_body(bodies).is_ok() {
                open.fill(lanes);
            }
        }
    }

    fn open(&self) -> impl Iterator<Item = &Open> {
        self.signatures.iter().filter_map(|pending| pending.state.as_ref().ok())
    }

    /// A stream for each canonicalization that is needed.
    fn open_bodies(&mut self) {
        for algorithm in [Canonicalization::Simple, Canonicalization::Relaxed] {
            if self.open().any(|open| open.body == algorithm) {
                self.bodies.push(BodyHash::new(algorithm));
            }
        }
    }
}

impl Pending {
    fn result(&self, bodies: &[BodyHash]) -> SignatureResult {
        let without_key = |cause| KeyFinding { cause, testing: false, bits: 0 };
        let finding = match &self.state {
            Err(cause) => without_key(*cause),
            Ok(open) => match open.check_body(bodies) {
                Err(cause) => without_key(cause),
                Ok(()) => match &open.answer {
                    Some(KeyAnswer::Found(txt)) => txt.judge(&open.facts(), &open.known),
                    Some(KeyAnswer::NoKey) => without_key(Cause::NoKey),
                    Some(KeyAnswer::TempFail) | None => without_key(Cause::KeyLookupFailed),
                },
            },
        };
        let shown = self.shown.clone();
        SignatureResult {
            result: finding.cause.result(),
            cause: finding.cause,
            reason: finding.cause.reason(),
            domain: shown.domain,
            selector: shown.selector,
            identity: shown.identity,
            algorithm: shown.algorithm,
            testing: finding.testing,
            key_bits: finding.bits,
            signature_b: shown.signature_b,
        }
    }
}

impl Open {
    /// RFC 6376 §6.1.3 steps 2 and 3, before any key is asked for.
    fn check_body(&self, bodies: &[BodyHash]) -> Result<(), Cause> {
        let body = bodies.iter().find(|body| body.algorithm() == self.body).ok_or(Cause::BodyHashMismatch)?;
        match self.body_octets {
            Some(signed) if signed < body.octets() => return Err(Cause::BodyPartlySigned),
            Some(signed) if signed > body.octets() => return Err(Cause::LengthBeyondBody),
            _ => {}
        }
        if body.value() == Some(self.body_hash) { Ok(()) } else { Err(Cause::BodyHashMismatch) }
    }

    fn facts(&self) -> SignatureFacts<'_> {
        SignatureFacts {
            algorithm: self.algorithm,
            header_hash: &self.header_hash,
            signature: &self.signature,
            identity_is_domain: self.identity_is_domain,
        }
    }

    fn fill<'v>(&'v mut self, lanes: &mut Lanes<'v>) {
        let Some(KeyAnswer::Found(txt)) = &self.answer else { return };
        let Ok(signature) = <&[u8; MODULUS_OCTETS]>::try_from(self.signature.as_slice()) else { return };
        // By hand: `known` is borrowed apart.
        let facts = SignatureFacts {
            algorithm: self.algorithm,
            header_hash: &self.header_hash,
            signature,
            identity_is_domain: self.identity_is_domain,
        };
        for (key, known) in txt.for_lanes(&facts).zip(&mut self.known) {
            if let Some(key) = key {
                lanes.push(Lane { key, signature, digest: &self.header_hash, known });
            }
        }
    }
}

/// Exactly one From field can be signed in a way that counts.
fn from_fault(header: &Header<'_>) -> Option<Cause> {
    let mut fields = header.named("From");
    match (fields.next(), fields.next()) {
        (None, _) => Some(Cause::FromMissing),
        (Some(_), Some(_)) => Some(Cause::FromRepeated),
        (Some(_), None) => None,
    }
}

fn parse<'m>(
    header: &Header<'m>,
    field: &Field,
    from: Option<Cause>,
    now_unix_s: u64,
) -> (Shown, Result<Signature<'m>, Cause>) {
    if field.whole.len() > SIGNATURE_FIELD_OCTETS_MAX {
        return (Shown::default(), Err(Cause::SignatureFieldTooLong));
    }
    let (shown, signature) = Signature::parse(header.value(field), now_unix_s);
    let signature = signature.and_then(|signature| from.map_or(Ok(signature), Err));
    (shown, signature)
}

type Parsed<'h, 'm> = (&'h Field, (Shown, Result<Signature<'m>, Cause>));

fn hash_headers<'m>(header: &Header<'m>, parsed: Vec<Parsed<'_, 'm>>) -> (Vec<Pending>, Work) {
    let signatures = parsed.iter().filter_map(|(_, (_, signature))| signature.as_ref().ok());
    let names: Vec<&[u8]> = signatures.flat_map(|signature| signature.signed_names.iter().copied()).collect();
    let mut work = Work { names: names.len(), ..Work::default() };
    let fields = (!names.is_empty()).then(|| SignedFields::new(header, names));
    let mut octets = Vec::with_capacity(header.section_octets());
    let mut hash = |signature: Signature<'m>, own: &Field| {
        if let Some(fields) = &fields {
            fields.hashed_octets(&signature, own, &mut octets);
        }
        work.octets += octets.len();
        let mut header_hash = [0; 32];
        header_hash.copy_from_slice(digest(&SHA256, &octets).as_ref());
        Open::new(signature, header_hash)
    };
    let signatures = parsed
        .into_iter()
        .map(|(own, (shown, signature))| Pending { shown, state: signature.map(|signature| hash(signature, own)) })
        .collect();
    work.fields = fields.map_or(0, |fields| fields.looked_at());
    (signatures, work)
}

impl Open {
    fn new(signature: Signature<'_>, header_hash: [u8; 32]) -> Open {
        Open {
            algorithm: signature.algorithm,
            body: signature.body,
            body_hash: signature.body_hash,
            body_octets: signature.body_octets,
            header_hash,
            signature: signature.signature,
            identity_is_domain: signature.identity_is_domain,
            key_name: signature.key_name,
            answer: None,
            known: Known::default(),
        }
    }
}

#[cfg(test)]
impl Verification {
    /// Of signatures that need not be in any header, each with the hash that was signed, over an empty body.
    pub(crate) fn of_signatures(signatures: Vec<(Algorithm, [u8; 32], Vec<u8>)>) -> Verification {
        let mut body_hash = [0; 32];
        body_hash.copy_from_slice(digest(&SHA256, b"").as_ref());
        let open = |(algorithm, header_hash, signature)| Open {
            algorithm,
            body: Canonicalization::Relaxed,
            body_hash,
            body_octets: None,
            header_hash,
            signature,
            identity_is_domain: true,
            key_name: String::new(),
            answer: None,
            known: Known::default(),
        };
        let signatures = signatures.into_iter().map(|each| Pending { shown: Shown::default(), state: Ok(open(each)) });
        let mut verification = Verification { signatures: signatures.collect(), ..Verification::default() };
        verification.open_bodies();
        verification.end_of_body();
        verification
    }

    /// What the batch found out about each signature by the first key.
    pub(crate) fn known(&self) -> Vec<Option<bool>> {
        self.open().map(|open| open.known[0]).collect()
    }
}
