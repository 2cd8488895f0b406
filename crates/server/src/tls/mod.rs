//! STARTTLS (RFC 3207): our certificates, the connection inside TLS, and partners known by their client certificates.
//!
//! TLS here is opportunistic, as it is between MX hosts: TLS 1.2 and 1.3 by rustls with aws-lc-rs, its usual cipher suites, whatever name the
//! client asks for. A client inside TLS is as anonymous as one in the clear, unless its certificate is that of a connector.

mod certificates;
mod channel;
mod client_certificates;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

pub use certificates::{CertificateFiles, TlsError};
pub(crate) use certificates::{fits_its_key, read_certificates as certificate_chain};
pub(crate) use channel::Channel;
pub use client_certificates::{CertificateConnector, CertificateConnectorError};

use certificates::Certificates;
use client_certificates::{ClientCertificates, Connectors};

/// What one snapshot of the configuration needs to take clients into TLS; shared by all shards.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    asking: Asking,
}

/// Whether clients are asked for a certificate.
#[derive(Debug)]
enum Asking {
    /// They are not, and all handshakes share one configuration.
    Nobody(Arc<ServerConfig>),
    /// Each handshake has its own, which remembers what this client has proved.
    Everybody(Arc<Connectors>),
}

/// How one handshake is to be done.
pub(crate) struct Handshake {
    pub(crate) config: Arc<ServerConfig>,
    /// Where clients are asked for a certificate.
    pub(crate) client: Option<Arc<ClientCertificates>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, does not hold what it should, or a key does not fit its certificate.
    pub(crate) fn load(files: &[CertificateFiles], partners: &[CertificateConnector]) -> Result<Tls, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates::load(files, &provider)?);
        let asking = match Connectors::load(partners, &provider)? {
            Some(connectors) => Asking::Everybody(Arc::new(connectors)),
            None => Asking::Nobody(Arc::new(shared_config(&provider, &certificates)?)),
        };
        Ok(Tls { provider, certificates, asking })
    }

    /// For one handshake.
    ///
    /// # Errors
    /// The cryptographic library's.
    pub(crate) fn handshake(&self) -> Result<Handshake, TlsError> {
        match &self.asking {
            Asking::Nobody(config) => Ok(Handshake { config: Arc::clone(config), client: None }),
            Asking::Everybody(connectors) => {
                let client = Arc::new(ClientCertificates::new(Arc::clone(connectors)));
                let config = config(&self.provider, &self.certificates, Arc::clone(&client) as _)?;
                Ok(Handshake { config: Arc::new(config), client: Some(client) })
            }
        }
    }
}

/// Sessions may be resumed on any shard, by tickets that only this process can read.
fn shared_config(provider: &Arc<CryptoProvider>, certificates: &Arc<Certificates>) -> Result<ServerConfig, TlsError> {
    let mut config = config(provider, certificates, WebPkiClientVerifier::no_client_auth())?;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Nothing is resumed: a resumed session shows a certificate and proves nothing again.
fn config(
    provider: &Arc<CryptoProvider>,
    certificates: &Arc<Certificates>,
    client: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(client)
        .with_cert_resolver(Arc::clone(certificates) as _);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
