//! Mail that mail-auth has signed, and the key record for it.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use memchr::memmem;
use mx6_dkim::{Header, Kernels, Verification};

/// A message that has arrived: its signatures read, its body hashed. Its keys are to come.
pub(crate) fn arrived(message: &[u8]) -> Verification {
    let body_at = memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    let (header, body) = message.split_at(body_at);
    let mut verification = Verification::new(&Header::parse(header), 0);
    verification.body(body);
    verification.end_of_body();
    verification.compress(&Kernels::PORTABLE);
    verification
}

/// The name of the key record.
pub(crate) const KEY_NAME: &str = "s._domainkey.sender.example";

/// A key to sign with and its record.
pub(crate) struct Signer {
    key: Box<dyn Fn() -> DkimKey>,
    pub(crate) record: String,
}

impl Signer {
    pub(crate) fn rsa_2048() -> Signer {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let private: Pkcs8V1Der<'_> = pair.as_der().expect("PKCS#8");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("X.509");
        let record = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref()));
        let private = private.as_ref().to_vec();
        #[allow(deprecated)]
        let key = move || RsaKey::<Sha256>::from_pkcs8_der(&private).expect("the same key").into();
        Signer { key: Box::new(key), record }
    }

    pub(crate) fn ed25519() -> Signer {
        let seed = [7; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("an Ed25519 key");
        let public = pair.public_key().as_ref().to_vec();
        let record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(&public));
        let key = move || Ed25519Key::from_seed_and_public_key(&seed, &public).expect("the same key").into();
        Signer { key: Box::new(key), record }
    }

    /// A message with a body of about so many octets, signed relaxed/relaxed.
    pub(crate) fn message(&self, body_octets: usize) -> Vec<u8> {
        let line = "Sixty-four octets of plain text make up every line of this mail.\r\n";
        let mail = FIELDS.to_owned() + "\r\n" + &line.repeat(body_octets / line.len());
        let signer = DkimSigner::from_key((self.key)())
            .domain("sender.example")
            .selector("s")
            .headers(["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"])
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        let signature = signer.sign(mail.as_bytes()).expect("a signature").to_header();
        (signature + &mail).into_bytes()
    }
}

/// Header fields as a mail service writes them.
const FIELDS: &str = "Received: from app.sender.example (app.sender.example [IPv6:2001:db8::7])\r\n\
 \tby mail.sender.example with ESMTPS id 4f1c2b3d\r\n\tfor <bob@open.example>; Mon, 03 Aug 2026 10:00:00 +0000 (UTC)\r\n\
From: Alice <alice@sender.example>\r\nTo: Bob <bob@open.example>\r\nSubject: Your order 1234567 has been shipped\r\n\
Date: Mon, 03 Aug 2026 10:00:00 +0000\r\nMessage-ID: <20260803100000.4f1c2b3d@sender.example>\r\nMIME-Version: 1.0\r\n\
Content-Type: text/plain; charset=utf-8\r\nList-Unsubscribe: <https://sender.example/u/4f1c2b3d>\r\nX-Mailer: bench\r\n";
