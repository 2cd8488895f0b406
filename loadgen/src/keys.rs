//! The keys that the population signs with (RFC 6376, RFC 8463), the same for every domain, and their records.
//!
//! FOR LOAD TESTS ONLY: the private halves are in this source, for everybody to read. They sign for d1.example, d2.example and so on,
//! which cannot exist.

use anyhow::{Context, Result};
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// The selector of the RSA key, `s=`.
pub(crate) const RSA_SELECTOR: &str = "rsa";

/// The selector of the Ed25519 key, `s=`.
pub(crate) const ED25519_SELECTOR: &str = "ed";

/// The record of the RSA key.
pub(crate) const RSA_RECORD: &str = concat!("v=DKIM1; k=rsa; p=", include_str!("../keys/rsa2048.pub"));

/// The record of the Ed25519 key.
pub(crate) const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=Di1qe9gKczMJs91VjIumCGs3odFsuRduhp/LRiLFYW4=";

/// 2,048 bits, e = 65537.
pub(crate) fn rsa() -> Result<RsaKey<Sha256>> {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../keys/rsa2048.pem")).context("the RSA key")?;
    RsaKey::from_key_der(key).context("the RSA key")
}

/// The key of the demonstration domain, for other domains.
pub(crate) fn ed25519() -> Result<Ed25519Key> {
    crate::demo_key::key()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn records_publish_the_public_halves() {
        let published = |record: &str| BASE64_STANDARD.decode(record.rsplit_once("p=").unwrap().1).unwrap();
        // The record has a SubjectPublicKeyInfo, which ends in the RSAPublicKey.
        assert!(published(RSA_RECORD).ends_with(&rsa().unwrap().public_key()));
        assert_eq!(published(ED25519_RECORD), ed25519().unwrap().public_key());
    }
}
