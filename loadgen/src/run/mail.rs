//! The mail that is sent: bodies, and headers signed before the clock starts (mail-auth's signer).
//!
//! Bodies are few and shared; a signed message is a header section of its own in front of one of them. Bodies have no blanks at the
//! end of a line and no blank lines at their end: relaxed canonicalization has nothing to remove there, whoever implements it.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use mail_auth::common::crypto::{Algorithm, Ed25519Key, RsaKey, Sha256, SigningKey};
use mail_auth::common::headers::{HeaderWriter, Writable};
use mail_auth::dkim::DkimSigner;

use crate::keys;
use crate::measurement::Body;
use crate::population::{Class, Population};
use crate::zone::sender_domain;

/// Bodies and signed header sections.
pub(super) struct Mail {
    bodies: Vec<BodyText>,
    /// Of each class in the order of [`Class::ALL`]; empty for those that do not sign.
    signed: Vec<Vec<Head>>,
    /// How many were signed.
    pub(super) signatures: u64,
    /// How long that took.
    pub(super) signing: Duration,
}

/// A body.
struct BodyText {
    /// As it is sent: dot-stuffed (RFC 5321 §4.5.2), and with the final dot.
    wire: Box<[u8]>,
    /// Without either.
    octets: u64,
}

/// A header section of its own.
struct Head {
    domain: u64,
    body: usize,
    /// With its blank line.
    octets: Box<[u8]>,
}

/// One message to be sent.
#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Number of the sender's domain.
    pub(super) domain: u64,
    body: usize,
    signed: Option<(usize, usize)>,
}

impl Mail {
    /// Makes bodies and signs. `pool`: messages of each class that signs. `signed_so_far` is told how many have been signed, after each.
    pub(super) fn prepare(
        population: &Population,
        body: &Body,
        pool: usize,
        seed: u64,
        signed_so_far: impl Fn(u64),
    ) -> Result<Mail> {
        let mut rng = Rng::with_seed(seed ^ 0x6d61_696c);
        let raw: Vec<Vec<u8>> = (0..bodies(body)).map(|at| text(body_octets(body, at), at, &mut rng)).collect();
        let start = Instant::now();
        let keys = Keys { rsa: keys::rsa()?, ed25519: keys::ed25519()? };
        let (mut signed, mut signatures) = (Vec::new(), 0);
        for class in Class::ALL {
            let wanted = if signs(population, class) { pool } else { 0 };
            let heads = (0..wanted).map(|_| {
                let head = sign(&keys, population, class, &raw, &mut rng);
                signatures += 1;
                signed_so_far(signatures);
                head
            });
            signed
                .push(heads.collect::<Result<Vec<Head>>>().with_context(|| format!("signing for {}", class.as_str()))?);
        }
        Ok(Mail {
            bodies: raw.iter().map(|raw| BodyText { wire: stuff(raw), octets: raw.len() as u64 }).collect(),
            signatures,
            signed,
            signing: start.elapsed(),
        })
    }

    /// How many are signed for a mix when `pool` are for each class that signs.
    pub(super) fn signatures(population: &Population, pool: usize) -> u64 {
        let classes = Class::ALL.into_iter().filter(|class| signs(population, *class)).count();
        (classes * pool) as u64
    }

    /// A message for a class; sender domains by their popularity.
    pub(super) fn draw(&self, population: &Population, class: Class, rng: &mut Rng) -> Message {
        let heads = &self.signed[class.index()];
        if heads.is_empty() {
            let domain = population.draw_domain(rng);
            return Message { domain, body: rng.usize(0..self.bodies.len()), signed: None };
        }
        let at = rng.usize(0..heads.len());
        Message { domain: heads[at].domain, body: heads[at].body, signed: Some((class.index(), at)) }
    }

    /// The header section: of a signed message, its own; else `scratch` is filled with one for `from`.
    pub(super) fn head<'m>(&'m self, message: &Message, from: &str, scratch: &'m mut Vec<u8>) -> &'m [u8] {
        if let Some((class, at)) = message.signed {
            return &self.signed[class][at].octets;
        }
        scratch.clear();
        let _ = write!(scratch, "From: <{from}>\r\n");
        scratch.extend_from_slice(FIELDS.as_bytes());
        scratch
    }

    /// Body and final dot, as they are sent.
    pub(super) fn body(&self, message: &Message) -> &[u8] {
        &self.bodies[message.body].wire
    }

    /// Octets of the body, without dot-stuffing and final dot.
    pub(super) fn body_octets(&self, message: &Message) -> u64 {
        self.bodies[message.body].octets
    }

    /// For `SIZE=` (RFC 1870): header section and body.
    pub(super) fn octets(&self, message: &Message) -> u64 {
        let head = message.signed.map_or(FIELDS.len() + FROM_OCTETS, |(class, at)| self.signed[class][at].octets.len());
        head as u64 + self.body_octets(message)
    }
}

/// A mailbox of a domain.
pub(super) fn mailbox(domain: &str) -> String {
    format!("news@{domain}")
}

/// What is signed with.
struct Keys {
    rsa: RsaKey<Sha256>,
    ed25519: Ed25519Key,
}

/// Whether messages of this class are signed and sent.
fn signs(population: &Population, class: Class) -> bool {
    class.is_signed() && population.mix().percent(class) > 0.0
}

/// One signed message.
fn sign(keys: &Keys, population: &Population, class: Class, bodies: &[Vec<u8>], rng: &mut Rng) -> Result<Head> {
    let (domain, body) = (population.draw_domain(rng), rng.usize(0..bodies.len()));
    let name = sender_domain(domain, false);
    let mut head = format!("From: <{}>\r\n{FIELDS}", mailbox(&name)).into_bytes();
    let fields = head.len();
    head.extend_from_slice(&bodies[body]);
    let field = match class {
        Class::DkimEd25519 => signature(&keys.ed25519, &name, keys::ED25519_SELECTOR, &head)?,
        _ => signature(&keys.rsa, &name, keys::RSA_SELECTOR, &head)?,
    };
    head.truncate(fields);
    Ok(Head { domain, body, octets: [field.as_bytes(), &head].concat().into() })
}

fn signature(key: &impl SigningKey, domain: &str, selector: &str, message: &[u8]) -> Result<String> {
    let signer = DkimSigner::from_key(Borrowed(key)).domain(domain).selector(selector).headers(SIGNED_FIELDS);
    Ok(signer.sign(message)?.to_header())
}

/// A key that outlives the signer.
struct Borrowed<'k, K>(&'k K);

impl<K: SigningKey> SigningKey for Borrowed<'_, K> {
    type Hasher = K::Hasher;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        self.0.sign(input)
    }

    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }
}

/// How many bodies there are: fewer when they are large.
fn bodies(body: &Body) -> usize {
    match body {
        Body::Fixed { octets } => (BODIES_OCTETS_MAX / octets).clamp(1, BODIES_MAX as u64) as usize,
        Body::LogNormal { .. } => BODIES_MAX,
    }
}

/// The size of one of them. Log-normal sizes are the distribution's quantiles at even distances, so that few bodies represent it.
fn body_octets(body: &Body, at: usize) -> usize {
    match body {
        Body::Fixed { octets } => *octets as usize,
        Body::LogNormal { median_octets, sigma, octets_max } => {
            let quantile = (at as f64 + 0.5) / BODIES_MAX as f64;
            let octets = *median_octets as f64 * (sigma * normal_quantile(quantile)).exp();
            (octets as usize).clamp(BODY_OCTETS_MIN, *octets_max as usize)
        }
    }
}

/// Of the standard normal distribution, by bisection of its distribution function (Abramowitz and Stegun 7.1.26, error below 2e-7).
fn normal_quantile(p: f64) -> f64 {
    let distribution = |x: f64| {
        let t = 1.0 / (1.0 + 0.327_591_1 * (x.abs() / std::f64::consts::SQRT_2));
        let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
        let sum = series.iter().fold(0.0, |sum, factor| (sum + factor) * t);
        let erf = 1.0 - sum * (-x * x / 2.0).exp();
        if x < 0.0 { (1.0 - erf) / 2.0 } else { (1.0 + erf) / 2.0 }
    };
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if distribution(middle) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Lines of words, CRLF after each, of `octets` altogether. Every eighth body has a line that begins with a dot.
fn text(octets: usize, number: usize, rng: &mut Rng) -> Vec<u8> {
    let mut text = Vec::with_capacity(octets);
    if number % 8 == 1 {
        text.extend_from_slice(b".a line that begins with a dot\r\n");
    }
    while text.len() < octets {
        let left = octets - text.len();
        let line = if left <= LINE_OCTETS_MAX + 2 { left - 2 } else { rng.usize(LINE_OCTETS_MIN..=LINE_OCTETS_MAX) };
        // What would be left then is no line: this one is shorter.
        let line = if (1..3).contains(&(left - line - 2)) { line - 3 } else { line };
        for at in 0..line {
            let inside = at > 0 && at + 1 < line && text.last() != Some(&b' ');
            text.push(if inside && rng.u8(0..6) == 0 { b' ' } else { rng.u8(b'a'..=b'z') });
        }
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Dot-stuffed, and with the final dot.
fn stuff(body: &[u8]) -> Box<[u8]> {
    let mut wire = Vec::with_capacity(body.len() + 8);
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(FINAL_DOT);
    wire.into()
}

/// The line that ends a message.
pub(super) const FINAL_DOT: &[u8] = b".\r\n";

/// Everything behind From, with the blank line.
const FIELDS: &str = "To: <reader@open.example>\r\n\
    Subject: What a load generator has to say to a reader who never asked\r\n\
    Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
    Message-ID: <20260101000000.4b1d5a7e@loadgen.example>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=us-ascii\r\n\
    Content-Transfer-Encoding: 7bit\r\n\
    List-Unsubscribe: <https://loadgen.example/unsubscribe/4b1d5a7e>\r\n\
    \r\n";

/// What a signature covers.
const SIGNED_FIELDS: [&str; 8] =
    ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"];

/// About what the From field takes.
const FROM_OCTETS: usize = 32;

/// Distinct bodies.
const BODIES_MAX: usize = 64;

/// Memory that bodies of one size may take.
const BODIES_OCTETS_MAX: u64 = 64 << 20;

const BODY_OCTETS_MIN: usize = 64;
const LINE_OCTETS_MIN: usize = 40;
const LINE_OCTETS_MAX: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::tests::population;

    #[test]
    fn texts_have_their_size_and_nothing_that_is_canonicalized_away() {
        let mut rng = Rng::with_seed(3);
        for octets in (64..700).chain([4_096, 51_200, 1 << 20]) {
            for number in 0..2 {
                let text = text(octets, number, &mut rng);
                assert_eq!(text.len(), octets);
                assert!(text.ends_with(b"\r\n"));
                for line in text.strip_suffix(b"\r\n").unwrap().split(|octet| *octet == b'\n') {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    assert!((1..=80).contains(&line.len()), "{octets}: {}", line.escape_ascii());
                    assert!(!line.ends_with(b" ") && !line.contains(&b'\r'), "{}", line.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn dots() {
        for (body, wire) in
            [("a\r\n", "a\r\n.\r\n"), (".a\r\n", "..a\r\n.\r\n"), ("a\r\n.\r\n..b\r\n", "a\r\n..\r\n...b\r\n.\r\n")]
        {
            assert_eq!(&*stuff(body.as_bytes()), wire.as_bytes(), "{body:?}");
        }
    }

    #[test]
    fn sizes_like_mail() {
        let body = super::super::quantity::body("mail").unwrap();
        let sizes: Vec<usize> = (0..bodies(&body)).map(|at| body_octets(&body, at)).collect();
        assert!(sizes.is_sorted());
        let median = sizes[sizes.len() / 2];
        assert!((12_000..13_500).contains(&median), "{median}");
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((28_000..34_000).contains(&mean), "{mean}");
        assert!(*sizes.last().unwrap() > 300_000);
    }

    /// What it signs is what it sends, and it signs for the domain it sends for.
    #[test]
    fn signed_heads() {
        let population = population(&["--domains", "50"]);
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |signed| told.borrow_mut().push(signed);
        let mail = Mail::prepare(&population, &Body::Fixed { octets: 500 }, 20, 1, tell).unwrap();
        assert_eq!(mail.signatures, 60);
        assert_eq!(told.into_inner(), (1..=60).collect::<Vec<u64>>());
        assert_eq!(Mail::signatures(&population, 20), 60);
        let mut rng = Rng::with_seed(9);
        for class in Class::ALL {
            let message = mail.draw(&population, class, &mut rng);
            let (mut scratch, domain) = (Vec::new(), sender_domain(message.domain, false));
            let head = mail.head(&message, &mailbox(&domain), &mut scratch);
            let head = std::str::from_utf8(head).unwrap();
            assert_eq!(head.contains(&format!("d={domain};")), class.is_signed(), "{head}");
            assert!(head.contains(&format!("From: <news@{domain}>\r\n")) && head.ends_with("\r\n\r\n"), "{head}");
            assert_eq!(head.contains("a=ed25519-sha256"), class == Class::DkimEd25519);
        }
    }
}
