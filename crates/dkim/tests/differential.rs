//! Our verdict against mail-auth's, on generated messages.
//!
//! Half of the messages are signed by mail-auth, half by the definition-like signer of these tests with tags no signer would write;
//! then something happens to them on the way, and the key record has its own surprises. The generator has a fixed seed. Every
//! disagreement belongs to a class of the table, and every class occurs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/mail_auth_records.rs"]
mod mail_auth_records;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use common::generate::{Random, message, on_the_way, record_surprise, signed_by_definition};
use common::table::{ED25519, RSA};
use common::{RSA_2048_PEM, SigningKey, Zone, pem_octets, verify};
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use mail_auth::{AuthenticatedMessage, DkimResult as TheirResult, MessageAuthenticator, Parameters, Txt};
use mail_auth_records::{Records, ready};
use mx6_dkim::{Cause, Header, SignatureResult};

/// Messages a run generates.
const MESSAGES: usize = 10_000;

/// One way to disagree: its name, how to know it, why it is so.
type Class = (&'static str, fn(&Seen<'_>) -> bool, &'static str);

/// A message both have judged.
struct Seen<'a> {
    ours: &'a SignatureResult,
    they_pass: bool,
    message: &'a str,
}

impl Seen<'_> {
    fn only_they_pass(&self, cause: Cause) -> bool {
        self.they_pass && self.ours.cause == cause
    }

    fn only_we_pass(&self) -> bool {
        !self.they_pass && self.ours.cause == Cause::Verified
    }

    fn header(&self) -> &str {
        self.message.split_once("\r\n\r\n").unwrap().0
    }

    fn body(&self) -> &str {
        self.message.split_once("\r\n\r\n").unwrap().1
    }

    /// The last lines, or the only ones, are blanks.
    fn body_ends_in_blank_lines(&self) -> bool {
        let lines: Vec<&str> = self.body().split("\r\n").collect();
        let text = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |at| at + 1);
        lines[text..].iter().any(|line| !line.is_empty())
    }

    fn name_with_blank(&self) -> bool {
        let names = self.header().split("\r\n").filter_map(|line| line.split_once(':'));
        names.into_iter().any(|(name, _)| name.ends_with([' ', '\t']) && !name.starts_with([' ', '\t']))
    }

    fn has_tag(&self, name: &str) -> bool {
        self.signature().split(';').filter_map(|tag| tag.split_once('=')).any(|(each, _)| each.trim() == name)
    }

    /// The signature as one line.
    fn signature(&self) -> String {
        let header = Header::parse(self.message.as_bytes());
        let field = header.named("DKIM-Signature").next().unwrap();
        String::from_utf8_lossy(header.value(field)).replace("\r\n", "")
    }
}

#[rustfmt::skip]
const CLASSES: &[Class] = &[
    ("blank lines at the end of a relaxed body, they sign", |s| s.only_they_pass(Cause::BodyHashMismatch) && s.body_ends_in_blank_lines(),
        "they keep lines of blanks at the end of a relaxed body; RFC 6376 §3.4.4 removes the blanks first, then the empty lines"),
    ("blank lines at the end of a relaxed body, we sign", |s| s.only_we_pass() && s.body_ends_in_blank_lines(),
        "the same, seen from a signer that follows §3.4.4"),
    ("blank before a colon, they sign", |s| s.only_they_pass(Cause::SignatureMismatch) && s.name_with_blank(),
        "they do not know a field by its name when a blank follows (RFC 5322 §4.5, RFC 6376 §3.4.2), neither in signing"),
    ("blank before a colon, we sign", |s| s.only_we_pass() && s.name_with_blank(),
        "nor in verifying"),
    ("DKIM-Signature in h=", |s| s.only_we_pass() && s.signature().contains("dkim-signature"),
        "they take the signature itself for one of the fields it names; RFC 6376 §3.5 h= says it never is"),
    ("l= of a body that shrinks", |s| s.only_we_pass() && s.has_tag("l"),
        "they cut the body at l= before canonicalizing; RFC 6376 §3.5 counts canonicalized octets"),
    ("l= beyond the body", |s| s.only_they_pass(Cause::LengthBeyondBody),
        "they hash what there is, and their signer writes the length before canonicalization"),
    ("l= short of the body", |s| s.only_they_pass(Cause::BodyPartlySigned),
        "we do not count a partly signed body; they offer that as `strict`, which refuses every l="),
    ("l=, t=, x= no number", |s| s.only_they_pass(Cause::NumberSyntax),
        "they read what is no number as absent"),
    ("From not signed", |s| s.only_they_pass(Cause::FromNotSigned),
        "they do not ask for it (RFC 6376 §5.4)"),
    ("more than one From", |s| s.only_they_pass(Cause::FromRepeated),
        "they verify one and let a reader see another (RFC 6376 §8.15)"),
    ("d= a public suffix", |s| s.only_they_pass(Cause::PublicSuffix),
        "our rule"),
    ("d= malformed", |s| s.only_they_pass(Cause::DomainSyntax),
        "they drop blanks within d= and take a final dot"),
    ("s= malformed", |s| s.only_they_pass(Cause::SelectorSyntax),
        "they drop blanks within s="),
    ("i= malformed", |s| s.only_they_pass(Cause::IdentitySyntax),
        "they take what they can decode of it; a number that breaks off swallows the tag after it"),
    ("h= malformed", |s| s.only_they_pass(Cause::SignedNamesSyntax),
        "they skip empty names"),
    ("tag list malformed", |s| s.only_they_pass(Cause::TagListSyntax),
        "they skip what is no tag, and blanks within a name (RFC 6376 §3.2)"),
    ("duplicate tag", |s| s.only_they_pass(Cause::DuplicateTag),
        "they take the last one (RFC 6376 §3.2: the list is invalid)"),
    ("v= missing", |s| s.only_they_pass(Cause::MissingTag) && !s.has_tag("v"),
        "they do not ask for it (RFC 6376 §3.5: REQUIRED), or read V= as v="),
    ("a= missing", |s| s.only_they_pass(Cause::MissingTag) && !s.has_tag("a"),
        "they take rsa-sha256 for it"),
    ("v=01", |s| s.only_they_pass(Cause::Version),
        "they compare numbers; RFC 6376 §3.5: as strings"),
    ("c= malformed", |s| s.only_they_pass(Cause::UnknownCanonicalization),
        "they take an empty word for the default"),
    ("q= unknown", |s| s.only_they_pass(Cause::UnknownQueryMethod),
        "they do not look at it"),
    ("key h=", |s| s.only_they_pass(Cause::KeyHash),
        "they read it and do not obey it (RFC 6376 §3.6.1)"),
    ("key s=", |s| s.only_they_pass(Cause::KeyService),
        "they read it and do not obey it (RFC 6376 §3.6.1)"),
    ("key v=dkim1", |s| s.only_they_pass(Cause::KeyVersion),
        "they ignore case; RFC 6376 §3.6.1: exactly DKIM1"),
    ("key record malformed", |s| s.only_they_pass(Cause::KeySyntax),
        "they skip what is no tag (RFC 6376 §3.2)"),
];

/// A signed message of mail-auth.
fn signed_by_mail_auth(random: &mut Random, keys: &Keys) -> (String, String) {
    let (fields, body) = message(random);
    let unsigned = format!("{}\r\n{}", fields.concat(), String::from_utf8(body).unwrap());
    let rsa = random.one_in(4);
    let canonicalization = |random: &mut Random| random.pick(&[&Canonicalization::Simple, &Canonicalization::Relaxed]);
    let names: Vec<&str> = ["From", "To", "Subject", "Received", "Received", "Date", "X-Y", "From"]
        .into_iter()
        .filter(|name| *name == "From" || random.one_in(2))
        .collect();
    let key: DkimKey = if rsa { keys.their_rsa().into() } else { keys.their_ed25519().into() };
    let mut signer = DkimSigner::from_key(key)
        .domain("example.com")
        .selector("sel")
        .headers(names)
        .header_canonicalization(*canonicalization(random))
        .body_canonicalization(*canonicalization(random));
    if random.one_in(4) {
        signer = signer.agent_user_identifier(random.pick(&[
            "@example.com",
            "joe@news.example.com",
            "j oe@example.com",
            "@example.net",
        ]));
    }
    if random.one_in(6) {
        signer = signer.body_length(true);
    }
    if random.one_in(4) {
        signer = signer.expiration(3600);
    }
    let signature = signer.sign(unsigned.as_bytes()).unwrap().to_header();
    let record = if rsa { RSA.record() } else { ED25519.record() };
    (signature + &unsigned, record)
}

/// mail-auth's signers, from the same keys as ours.
struct Keys {
    rsa: Vec<u8>,
}

impl Keys {
    #[allow(deprecated)]
    fn their_rsa(&self) -> RsaKey<Sha256> {
        RsaKey::from_pkcs8_der(&self.rsa).unwrap()
    }

    fn their_ed25519(&self) -> Ed25519Key {
        let SigningKey::Ed25519(pair) = &*ED25519 else { unreachable!() };
        let public = aws_lc_rs::signature::KeyPair::public_key(pair);
        Ed25519Key::from_seed_and_public_key(&[7; 32], public.as_ref()).unwrap()
    }
}

/// Whether any signature passes with mail-auth.
fn they_pass(authenticator: &MessageAuthenticator, message: &str, name: &str, record: &str) -> bool {
    let key = match DomainKey::parse(record.as_bytes()) {
        Ok(key) => Txt::DomainKey(Arc::new(key)),
        Err(error) => Txt::Error(error),
    };
    let records = Records(HashMap::from([(format!("{name}.").into_boxed_str(), key)]));
    let Some(parsed) = AuthenticatedMessage::parse_with_opts(message.as_bytes(), None, false) else { return false };
    let outputs = ready(authenticator.verify_dkim(Parameters::new(&parsed).with_txt_cache(&records)));
    outputs.iter().any(|output| *output.result() == TheirResult::Pass)
}

#[test]
fn every_disagreement_is_explained() {
    let authenticator = MessageAuthenticator::new_cloudflare().unwrap();
    let keys = Keys { rsa: pem_octets(RSA_2048_PEM) };
    let now_unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut random = Random(6376);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for _ in 0..MESSAGES {
        let (message, record) = if random.one_in(2) {
            signed_by_mail_auth(&mut random, &keys)
        } else {
            signed_by_definition(&mut random, now_unix_s)
        };
        let message = if random.one_in(2) { on_the_way(&mut random, message) } else { message };
        let record = record_surprise(&mut random, record);
        let mut zone = Zone::default();
        let name = name_of_key(&message);
        zone.insert(&name, &[&record]);
        let results = verify(message.as_bytes(), &zone, now_unix_s);
        let [ours] = results.as_slice() else { panic!("{results:?}") };
        let they_pass = they_pass(&authenticator, &message, &name, &record);
        let seen = Seen { ours, they_pass, message: &message };
        let agreed = match (ours.cause == Cause::Verified, they_pass) {
            (true, true) => Some("both pass"),
            (false, false) => Some("neither passes"),
            _ => CLASSES.iter().find(|(_, is, _)| is(&seen)).map(|(name, ..)| *name),
        };
        match agreed {
            Some(name) => *counts.entry(name).or_default() += 1,
            None => {
                let entry = unexplained.entry(format!("{:?}, they pass: {they_pass}", ours.cause)).or_default();
                *entry = (entry.0 + 1, format!("{record}\n{message}"));
            }
        }
    }
    for (name, count) in &counts {
        let why =
            CLASSES.iter().find(|(each, ..)| each == name).map_or(String::new(), |(_, _, why)| format!(": {why}"));
        println!("{count:6} {name}{why}");
    }
    for (what, (count, example)) in &unexplained {
        println!("unexplained: {count} × {what}, such as\n{}\n", example.replace('\r', "\\r").replace('\t', "\\t"));
    }
    assert!(unexplained.is_empty());
    let unseen: Vec<&str> = CLASSES.iter().map(|(name, ..)| *name).filter(|name| !counts.contains_key(name)).collect();
    assert!(unseen.is_empty(), "classes that do not occur: {unseen:?}");
}

/// `s=` and `d=` as either of us would read them.
fn name_of_key(message: &str) -> String {
    let signature = message.split("\r\n\r\n").next().unwrap().replace("\r\n", "");
    let tag = |name: &str| {
        let mut tags = signature.split([';', ':']).filter_map(|tag| tag.split_once('='));
        let value = tags.rfind(|(each, _)| each.trim() == name).map(|(_, value)| value.replace([' ', '\t'], ""));
        value.unwrap_or_default().to_ascii_lowercase()
    };
    format!("{}._domainkey.{}", tag("s"), tag("d"))
}
