//! The key pair of the demonstration domain `signed.example`, and signing with it (RFC 6376, RFC 8463).
//!
//! DEMONSTRATION ONLY: the private half is in this file, for everybody to read. `examples/quickstart.zone` publishes the
//! public half for a domain that cannot exist. Never publish this key for a domain of yours.

use anyhow::{Context, Result};
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;

/// The domain that signs, `d=`.
pub(crate) const DOMAIN: &str = "signed.example";

/// The selector, `s=`.
pub(crate) const SELECTOR: &str = "demo";

/// `message` with a DKIM-Signature field in front.
pub(crate) fn sign(message: &str) -> Result<String> {
    let signature = DkimSigner::from_key(key()?)
        .domain(DOMAIN)
        .selector(SELECTOR)
        .headers(["From", "To", "Subject", "Date", "Message-ID"])
        .sign(message.as_bytes())
        .context("signing the sample message")?;
    Ok(signature.to_header() + message)
}

/// The key pair.
pub(crate) fn key() -> Result<Ed25519Key> {
    Ed25519Key::from_seed_and_public_key(DEMO_SEED, &DEMO_PUBLIC).context("the demonstration key")
}

/// The private half: 32 octets that nobody takes for a secret.
const DEMO_SEED: &[u8; 32] = b"mx6 demo key: public, not secret";

/// The public half.
const DEMO_PUBLIC: [u8; 32] = [
    0x0e, 0x2d, 0x6a, 0x7b, 0xd8, 0x0a, 0x73, 0x33, 0x09, 0xb3, 0xdd, 0x55, 0x8c, 0x8b, 0xa6, 0x08, 0x6b, 0x37, 0xa1,
    0xd1, 0x6c, 0xb9, 0x17, 0x6e, 0x86, 0x9f, 0xcb, 0x46, 0x22, 0xc5, 0x61, 0x6e,
];

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    #[test]
    fn the_zone_publishes_the_public_half() {
        let zone = include_str!("../../examples/quickstart.zone");
        let public = base64::engine::general_purpose::STANDARD.encode(DEMO_PUBLIC);
        let record = zone.lines().find(|line| line.starts_with("demo._domainkey.signed ")).expect("the key record");
        assert!(record.contains(&format!("p={public}\"")), "{record}");
    }

    #[test]
    fn a_signature_names_the_domain_and_ends_its_field() {
        let message = "From: <alice@signed.example>\r\nSubject: s\r\n\r\nbody\r\n";
        let signed = sign(message).unwrap();
        assert!(signed.starts_with("DKIM-Signature:"), "{signed}");
        assert!(signed.contains("d=signed.example"), "{signed}");
        assert!(signed.ends_with(&format!("\r\n{message}")), "{signed}");
    }
}
