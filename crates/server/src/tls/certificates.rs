//! Our own certificates and keys, read from PEM files and checked against each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::client_certificates::AuthorityError;

/// One certificate: its chain (our own first) and its key, both PEM. One file may hold both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// TLS cannot be offered as configured. The operator's fault, or the disk's.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A chain without certificates.
    #[error("{}: there is no certificate in it (-----BEGIN CERTIFICATE-----)", .0.display())]
    Empty(PathBuf),
    /// The key cannot be used, or belongs to another certificate.
    #[error("{key}: not the key of {chain}: {source}", key = key.display(), chain = chain.display())]
    Key {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// An authority of `--connector-cert`.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The cryptographic library; ours.
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// Our certificates, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    /// Reads the files and checks that each key fits its certificate.
    pub(super) fn load(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Certificates, TlsError> {
        files
            .iter()
            .map(|files| certified_key(files, provider).map(Arc::new))
            .collect::<Result<_, _>>()
            .map(Certificates)
    }
}

impl ResolvesServerCert for Certificates {
    /// The first that the client can verify and that bears the name it asks for; for want of such, the first it can verify. A name that
    /// is not ours is no reason to refuse: MX clients ask for all sorts of names (RFC 7672 §3.2).
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let mut usable = self.0.iter().filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        let named = name.and_then(|name| usable.clone().find(|key| bears(key, &name)));
        named.or_else(|| usable.next()).cloned()
    }
}

fn bears(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
}

fn certified_key(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(&files.chain)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::Unreadable { path: files.key.clone(), source })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| {
        let CertificateFiles { chain, key } = files.clone();
        TlsError::Key { chain, key, source }
    })
}

/// Whether the files can be read, and the key is that of the certificate.
///
/// # Errors
/// If not.
pub(crate) fn fits_its_key(files: &CertificateFiles) -> Result<(), TlsError> {
    certified_key(files, &rustls::crypto::aws_lc_rs::default_provider()).map(|_| ())
}

/// All certificates of a PEM file; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(certificates) }
}
