//! Partners known by a client certificate: by the name in it and the authority that signed it, or by its key.
//!
//! A certificate is asked for only if there are such partners, and whatever the client shows, the handshake goes on: a certificate of nobody,
//! one that has expired, one whose key cannot be checked makes its client anonymous and nothing worse.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificates::{TlsError, read_certificates};

/// A partner as the operator writes it: `PIN` or `PIN@AUTHORITIES`.
///
/// The pin is a name (`mail.partner.example`, which must stand in the certificate's subjectAltName; the file of the authorities is then
/// needed) or a key (`sha256:` and the SHA-256 of the SubjectPublicKeyInfo, in hexadecimal or base64). A key without authorities suffices by
/// itself: neither chain nor validity nor extended key usage of the certificate is looked at, because public authorities no longer sign for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateConnector {
    text: String,
    pin: Pin,
    authorities: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pin {
    Name(ServerName<'static>),
    Key([u8; SHA256_OUTPUT_LEN]),
}

/// Why a partner's certificate could not be read; the operator's to mend.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateConnectorError {
    /// Neither a name nor a key.
    #[error(
        "connector `{0}`: write NAME@CA-FILE, sha256:KEY or sha256:KEY@CA-FILE, KEY being the SHA-256 of the SubjectPublicKeyInfo in hexadecimal or base64"
    )]
    Form(String),
    /// A name without authorities, which anybody could put into a certificate of their own.
    #[error("connector `{0}`: a name is worth nothing without the authority that vouches for it; write {0}@CA-FILE")]
    NoAuthority(String),
}

impl CertificateConnector {
    /// The file of the authorities, if there is one.
    pub(crate) fn authorities(&self) -> Option<&PathBuf> {
        self.authorities.as_ref()
    }
}

impl FromStr for CertificateConnector {
    type Err = CertificateConnectorError;

    fn from_str(text: &str) -> Result<CertificateConnector, CertificateConnectorError> {
        let form = || CertificateConnectorError::Form(text.to_owned());
        let (pin, authorities) = match text.split_once('@') {
            Some((_, "")) => return Err(form()),
            Some((pin, path)) => (pin, Some(PathBuf::from(path))),
            None => (text, None),
        };
        let pin = match pin.strip_prefix("sha256:") {
            Some(key) => Pin::Key(key_digest(key).ok_or_else(form)?),
            None => match ServerName::try_from(pin.to_owned()) {
                Ok(name @ ServerName::DnsName(_)) => Pin::Name(name),
                _ => return Err(form()),
            },
        };
        if matches!(pin, Pin::Name(_)) && authorities.is_none() {
            return Err(CertificateConnectorError::NoAuthority(text.to_owned()));
        }
        Ok(CertificateConnector { text: text.to_owned(), pin, authorities })
    }
}

/// 64 hexadecimal digits, or base64.
fn key_digest(text: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let octets = if text.len() == 2 * SHA256_OUTPUT_LEN {
        let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        digits.collect::<Option<Vec<u8>>>()?
    } else {
        BASE64_STANDARD.decode(text).ok()?
    };
    octets.try_into().ok()
}

/// A certificate of an authority cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct AuthorityError {
    path: PathBuf,
    source: webpki::Error,
}

/// All partners, with their authorities read.
#[derive(Debug)]
pub(super) struct Connectors {
    partners: Vec<Partner>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Partner {
    connector: CertificateConnector,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Connectors {
    /// Reads the authorities; none if there are no partners.
    pub(super) fn load(
        connectors: &[CertificateConnector],
        provider: &CryptoProvider,
    ) -> Result<Option<Connectors>, TlsError> {
        if connectors.is_empty() {
            return Ok(None);
        }
        let partners = connectors.iter().map(|connector| {
            let anchors = match &connector.authorities {
                Some(path) => anchors(path)?,
                None => Vec::new(),
            };
            Ok(Partner { connector: connector.clone(), anchors })
        });
        let partners = partners.collect::<Result<_, TlsError>>()?;
        Ok(Some(Connectors { partners, algorithms: provider.signature_verification_algorithms }))
    }

    /// The first partner whom this chain, its own certificate first, makes known at `now`.
    fn partner(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<&str> {
        let (own, intermediates) = chain.split_first()?;
        let certificate = EndEntityCert::try_from(own).ok()?;
        let known = |partner: &&Partner| {
            let pinned = match &partner.connector.pin {
                Pin::Name(name) => certificate.verify_is_valid_for_subject_name(name).is_ok(),
                Pin::Key(key) => digest(&SHA256, &certificate.subject_public_key_info()).as_ref() == key,
            };
            let vouched = partner.connector.authorities.is_none()
                || certificate
                    .verify_for_usage(
                        self.algorithms.all,
                        &partner.anchors,
                        intermediates,
                        now,
                        KeyUsage::client_auth(),
                        None,
                        None,
                    )
                    .is_ok();
            pinned && vouched
        };
        self.partners.iter().find(known).map(|partner| partner.connector.text.as_str())
    }
}

fn anchors(path: &Path) -> Result<Vec<TrustAnchor<'static>>, TlsError> {
    let anchor = |certificate: &CertificateDer<'_>| {
        let anchor = anchor_from_trusted_cert(certificate);
        anchor.map(|anchor| anchor.to_owned()).map_err(|source| AuthorityError { path: path.to_owned(), source }.into())
    };
    read_certificates(path)?.iter().map(anchor).collect()
}

/// What one client shows in its handshake. It takes every certificate, and remembers whether the client has proved to hold its key.
#[derive(Debug)]
pub(crate) struct ClientCertificates {
    connectors: Arc<Connectors>,
    proved: AtomicBool,
}

impl ClientCertificates {
    pub(super) fn new(connectors: Arc<Connectors>) -> ClientCertificates {
        ClientCertificates { connectors, proved: AtomicBool::new(false) }
    }

    /// The partner, as the operator wrote it, whom the chain that was shown makes known now.
    pub(crate) fn partner(&self, chain: &[CertificateDer<'_>]) -> Option<&str> {
        let proved = self.proved.load(Ordering::Relaxed);
        proved.then(|| self.connectors.partner(chain, UnixTime::now())).flatten()
    }

    /// A signature that cannot be verified (a key too short, an algorithm that nobody knows) proves nothing, and is no reason to hang up.
    fn note(&self, verified: Result<HandshakeSignatureValid, rustls::Error>) -> HandshakeSignatureValid {
        self.proved.store(verified.is_ok(), Ordering::Relaxed);
        HandshakeSignatureValid::assertion()
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a client that knows only certificates of other authorities shall show it nevertheless, its key may be known.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.note(verify_tls12_signature(message, certificate, signed, &self.connectors.algorithms)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.note(verify_tls13_signature(message, certificate, signed, &self.connectors.algorithms)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.connectors.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_partners_are_written() {
        let hex = "00".repeat(31) + "ff";
        let base64 = BASE64_STANDARD.encode([7; 32]);
        let cases: [(String, &str); 9] = [
            ("mail.partner.example@/etc/ca.pem".into(), ""),
            (format!("sha256:{hex}"), ""),
            (format!("sha256:{base64}"), ""),
            (format!("sha256:{base64}@ca.pem"), ""),
            ("mail.partner.example".into(), "write mail.partner.example@CA-FILE"),
            ("mail.partner.example@".into(), "write NAME@CA-FILE"),
            ("sha256:abcd".into(), "write NAME@CA-FILE"),
            ("192.0.2.1@ca.pem".into(), "write NAME@CA-FILE"),
            ("".into(), "write NAME@CA-FILE"),
        ];
        for (text, words) in cases {
            match text.parse::<CertificateConnector>() {
                Ok(connector) => assert_eq!((connector.text, words), (text, "")),
                Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{text}: {error}"),
            }
        }
        assert_eq!(key_digest(&hex).map(|key| key[31]), Some(255));
        assert_eq!(key_digest(&"zz".repeat(32)), None);
    }
}
