//! DKIM keys and signatures made by dkimpy and OpenDKIM.

use std::io::Write;
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::process::succeed;
use super::zone::txt;

/// A key pair.
pub struct Key {
    dir: TempDir,
    /// The text of its TXT record.
    pub record: String,
    algorithm: &'static str,
}

impl Key {
    /// RSA of 2,048 bits.
    pub fn rsa() -> Key {
        Key::generate("rsa", "rsa-sha256")
    }

    /// Ed25519 (RFC 8463).
    pub fn ed25519() -> Key {
        Key::generate("ed25519", "ed25519-sha256")
    }

    fn generate(kind: &str, algorithm: &'static str) -> Key {
        let dir = tempfile::Builder::new().prefix("mx6-key-").tempdir().unwrap();
        succeed(Command::new("/usr/bin/dknewkey").args(["--ktype", kind, "test"]).current_dir(dir.path()));
        let record = std::fs::read_to_string(dir.path().join("test.dns")).unwrap().trim().to_owned();
        Key { dir, record, algorithm }
    }

    /// Its record for a zone file, at `test._domainkey.<domain>.`
    pub fn published_at(&self, domain: &str) -> String {
        txt(&format!("test._domainkey.{domain}."), &self.record)
    }

    /// Signs with dkimpy; `canonicalization` is `header/body`.
    pub fn sign(&self, domain: &str, canonicalization: &str, message: &str) -> String {
        let (header, body) = canonicalization.split_once('/').unwrap();
        let args = ["--hcanon", header, "--bcanon", body, "--signalg", self.algorithm, "test", domain, "test.key"];
        let signed = pipe(Command::new("/usr/bin/dkimsign").args(args).current_dir(self.dir.path()), message);
        assert!(signed.starts_with("DKIM-Signature:"), "{signed}");
        signed
    }

    /// Signs with OpenDKIM's test tool, which still does so with SHA-1.
    pub fn sign_sha1(&self, domain: &str, message: &str) -> String {
        let args = ["-d", domain, "-s", "test", "-k", "test.key"];
        let mut command = Command::new("/usr/sbin/opendkim-testmsg");
        pipe(command.args(args).current_dir(self.dir.path()), &message.replace("\r\n", "\n"))
            .replace('\r', "")
            .replace('\n', "\r\n")
    }
}

/// What a filter makes of its input.
fn pipe(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An Ed25519 key (RFC 8463) that signs what dkimpy does not: a signature that expires.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    /// The text of its TXT record.
    pub record: String,
}

impl SigningKey {
    /// A new key.
    pub fn new() -> SigningKey {
        let pair = Ed25519KeyPair::generate().unwrap();
        let record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(pair.public_key()));
        SigningKey { pair, record }
    }

    /// Signs From, its first field, and the body (which ends with one CRLF), until `expires_s` (seconds since 1970).
    pub fn sign(&self, domain: &str, expires_s: u64, message: &str) -> String {
        let (from, body) = (message.split_inclusive("\r\n").next().unwrap(), message.split_once("\r\n\r\n").unwrap().1);
        let body_hash = STANDARD.encode(digest(&SHA256, body.as_bytes()));
        let unsigned = format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; d={domain}; s=test; c=simple/simple; x={expires_s}; h=From; bh={body_hash}; b="
        );
        let signature = self.pair.sign(digest(&SHA256, format!("{from}{unsigned}").as_bytes()).as_ref());
        format!("{unsigned}{}\r\n{message}", STANDARD.encode(signature))
    }
}
