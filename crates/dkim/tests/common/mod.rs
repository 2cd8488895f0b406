//! What the integration tests share: a signer written straight from the definitions, whole-message at once, and the driver's part.
#![allow(dead_code, unreachable_pub)]

pub mod generate;
pub mod table;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mx6_dkim::{BodyHash, Header, Kernels, KeyAnswer, KeyTxt, SignatureResult, Verification};

/// When everything in these tests happens: 2025-06-15T12:00:00Z.
pub const NOW_UNIX_S: u64 = 1_749_988_800;

/// A key to sign with.
pub enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    pub fn rsa(pem: &str) -> SigningKey {
        SigningKey::Rsa(Box::new(RsaKeyPair::from_pkcs8(&pem_octets(pem)).unwrap()))
    }

    pub fn ed25519() -> SigningKey {
        SigningKey::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            SigningKey::Rsa(_) => "rsa-sha256",
            SigningKey::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// `p=`: SubjectPublicKeyInfo or the raw octets.
    pub fn published(&self) -> String {
        match self {
            SigningKey::Rsa(pair) => STANDARD.encode(AsDer::as_der(pair.public_key()).unwrap().as_ref()),
            SigningKey::Ed25519(pair) => STANDARD.encode(pair.public_key().as_ref()),
        }
    }

    pub fn record(&self) -> String {
        let kind = match self {
            SigningKey::Rsa(_) => "rsa",
            SigningKey::Ed25519(_) => "ed25519",
        };
        format!("v=DKIM1; k={kind}; p={}", self.published())
    }

    fn sign(&self, octets: &[u8]) -> Vec<u8> {
        match self {
            SigningKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature).unwrap();
                signature
            }
            SigningKey::Ed25519(pair) => pair.sign(digest(&SHA256, octets).as_ref()).as_ref().to_vec(),
        }
    }
}

/// The DER inside a PEM file.
pub fn pem_octets(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(base64).unwrap()
}

pub const RSA_2048_PEM: &str = include_str!("../keys/rsa2048.pem");

/// A message about to be signed, and the tags of its signature in their order.
#[derive(Clone)]
pub struct Draft {
    /// Fields as on the wire, each with its CRLF, folded as they like.
    pub fields: Vec<String>,
    pub body: Vec<u8>,
    /// `bh` and `b` are computed where their value is `?`.
    pub tags: Vec<(String, String)>,
    /// How the field of the signature is called, colon included.
    pub field_name: String,
    /// Between tags.
    pub separator: String,
}

impl Draft {
    pub fn new(algorithm: &str) -> Draft {
        let fields = [
            "From: Joe SixPack <joe@football.example.com>\r\n",
            "To: Suzie Q <suzie@shopping.example.net>\r\n",
            "Subject: Is dinner\r\n\tready?  \r\n",
            "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n",
            "Received: from a\r\n",
            "Received: from b\r\n",
        ];
        let tags = [
            ("v", "1"),
            ("a", algorithm),
            ("c", "relaxed/relaxed"),
            ("d", "football.example.com"),
            ("s", "sel"),
            ("h", "from:to:subject:date"),
            ("bh", "?"),
            ("b", "?"),
        ];
        Draft {
            fields: fields.map(str::to_owned).into(),
            body: b"Hi.\r\n\r\nWe lost  the game.\tAre you hungry yet? \r\n\r\nJoe.\r\n\r\n".to_vec(),
            tags: tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            field_name: "DKIM-Signature:".to_owned(),
            separator: "; ".to_owned(),
        }
    }

    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// Replaces a tag, or adds it before `b=`.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.tags.iter_mut().find(|(each, _)| each == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.tags.insert(self.tags.len() - 1, (name.to_owned(), value.to_owned())),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.tags.retain(|(each, _)| each != name);
    }

    fn canonicalizations(&self) -> (bool, bool) {
        let value = self.tag("c").unwrap_or("simple/simple").to_ascii_lowercase();
        let (header, body) = value.split_once('/').unwrap_or((&value, "simple"));
        (header == "relaxed", body == "relaxed")
    }

    /// The body hash by definition, of the first `l=` octets if there is one.
    pub fn body_hash(&self) -> String {
        let mut body = canonical_body(self.canonicalizations().1, &self.body);
        if let Some(octets) = self.tag("l").and_then(|value| value.parse::<usize>().ok()) {
            body.truncate(octets);
        }
        STANDARD.encode(digest(&SHA256, &body))
    }

    /// The length of the canonicalized body.
    pub fn canonical_body_octets(&self) -> usize {
        canonical_body(self.canonicalizations().1, &self.body).len()
    }

    /// Signs and gives the field of the signature with its CRLF.
    pub fn signature_field(&self, key: &SigningKey) -> String {
        let mut tags = self.tags.clone();
        for (name, value) in &mut tags {
            if name == "bh" && value == "?" {
                *value = self.body_hash();
            }
        }
        let field = |signature: &str| {
            let tags: Vec<String> = tags
                .iter()
                .map(|(name, value)| format!("{name}={}", if name == "b" && value == "?" { signature } else { value }))
                .collect();
            format!("{} {}", self.field_name, tags.join(&self.separator))
        };
        let relaxed = self.canonicalizations().0;
        let mut octets = Vec::new();
        let mut left: Vec<&String> = self.fields.iter().collect();
        for name in self.tag("h").unwrap_or_default().split(':') {
            let name = name.trim();
            if let Some(at) = left.iter().rposition(|field| field_name(field).eq_ignore_ascii_case(name)) {
                octets.extend(canonical_field(relaxed, left.remove(at)));
            }
        }
        // The value of b= is empty, and the field has no CRLF of its own.
        octets.extend(canonical_field(relaxed, &field("")));
        let signature = STANDARD.encode(key.sign(&octets));
        field(&signature) + "\r\n"
    }

    /// The signed message, signature on top.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        self.with_fields_on_top(&[self.signature_field(key)])
    }

    pub fn with_fields_on_top(&self, on_top: &[String]) -> Vec<u8> {
        let mut message: Vec<u8> = on_top.concat().into_bytes();
        message.extend(self.fields.concat().into_bytes());
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&self.body);
        message
    }
}

fn field_name(field: &str) -> &str {
    field.split_once(':').map_or("", |(name, _)| name.trim_end_matches([' ', '\t']))
}

/// RFC 6376 §3.4.1, §3.4.2, by definition. A final CRLF stays as it is: there or not.
fn canonical_field(relaxed: bool, field: &str) -> Vec<u8> {
    if !relaxed {
        return field.as_bytes().to_vec();
    }
    let (name, value) = field.split_once(':').unwrap();
    let line_end = if value.ends_with("\r\n") { "\r\n" } else { "" };
    let unfolded = value.replace("\r\n", "").replace('\t', " ");
    let words: Vec<&str> = unfolded.split(' ').filter(|word| !word.is_empty()).collect();
    format!("{}:{}{line_end}", name.trim_end_matches([' ', '\t']).to_ascii_lowercase(), words.join(" ")).into_bytes()
}

/// RFC 6376 §3.4.3, §3.4.4, by definition. For bodies without bare CR or LF.
fn canonical_body(relaxed: bool, body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    if relaxed {
        for line in &mut lines {
            let line_with_spaces = line.replace('\t', " ");
            let words: Vec<&str> = line_with_spaces.split(' ').filter(|word| !word.is_empty()).collect();
            let leading = if line_with_spaces.starts_with(' ') && !words.is_empty() { " " } else { "" };
            *line = format!("{leading}{}", words.join(" "));
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if lines.is_empty() && !relaxed {
        lines.push(String::new());
    }
    lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>().into_bytes()
}

/// DNS of a test: name → TXT records; a name without an entry has none.
#[derive(Default, Clone)]
pub struct Zone {
    pub keys: HashMap<String, Arc<KeyTxt>>,
    /// Every lookup fails for now.
    pub down: bool,
}

impl Zone {
    pub fn insert(&mut self, name: &str, records: &[&str]) {
        let records: Vec<Vec<u8>> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
        self.keys.insert(name.to_owned(), Arc::new(KeyTxt::parse(&records)));
    }

    pub fn answer(&self, name: &str) -> KeyAnswer {
        match self.keys.get(name) {
            _ if self.down => KeyAnswer::TempFail,
            Some(txt) => KeyAnswer::Found(txt.clone()),
            None => KeyAnswer::NoKey,
        }
    }
}

/// Verifies a whole message as a driver does, the body in pieces of `piece_octets`.
pub fn verify_in_pieces(message: &[u8], zone: &Zone, now_unix_s: u64, piece_octets: usize) -> Vec<SignatureResult> {
    let header = Header::parse(message);
    let body = message.get(header.section_octets() + 2..).unwrap_or_default();
    let mut verification = Verification::new(&header, now_unix_s);
    let names = verification.key_names();
    for piece in body.chunks(piece_octets) {
        verification.body(piece);
        let mut batch: Vec<&mut BodyHash> =
            verification.body_hashes().iter_mut().filter(|hash| hash.staged() > 0).collect();
        Kernels::PORTABLE.compress(&mut batch);
    }
    verification.end_of_body();
    Kernels::PORTABLE.compress(&mut verification.body_hashes().iter_mut().collect::<Vec<_>>());
    verification.finish(|name| {
        assert!(names.iter().any(|each| each == name), "{name} was not announced");
        zone.answer(name)
    })
}

pub fn verify(message: &[u8], zone: &Zone, now_unix_s: u64) -> Vec<SignatureResult> {
    verify_in_pieces(message, zone, now_unix_s, 4096)
}
