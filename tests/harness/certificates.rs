//! Authorities and what they sign, as PEM files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    date_time_ymd,
};

use super::process::succeed;

/// What a certificate may be used for, by its extended key usage.
pub use rcgen::ExtendedKeyUsagePurpose as Usage;

/// An authority, with its files in a folder.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its own certificate.
    pub file: PathBuf,
}

/// A certificate and its key.
pub struct Certificate {
    /// The certificate, PEM.
    pub chain: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// Its SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl Authority {
    /// An authority called `name` with a key of its own.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, folder: folder.to_owned(), file }
    }

    /// A certificate for `dns_name`, in files called `file`.
    pub fn sign(&self, file: &str, dns_name: &str, usages: &[Usage]) -> Certificate {
        self.sign_until(file, dns_name, usages, 2090)
    }

    /// As [`Authority::sign`], valid from 2000 to the begin of a year.
    pub fn sign_until(&self, file: &str, dns_name: &str, usages: &[Usage], year: i32) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![dns_name.to_owned()]).unwrap();
        parameters.extended_key_usages = usages.to_vec();
        parameters.not_before = date_time_ymd(2000, 1, 1);
        parameters.not_after = date_time_ymd(year, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        write(&self.folder, file, &certificate.pem(), &key.serialize_pem(), key.subject_public_key_info())
    }
}

/// A certificate of the old kind: X.509 version 1, signed by itself, which knows no extensions.
pub fn version_1(folder: &Path, file: &str) -> Certificate {
    let (chain, key) = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
    let mut request = std::process::Command::new("openssl");
    request.args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old", "-keyout"]).arg(&key);
    succeed(request.arg("-out").arg(folder.join("request.pem")).stderr(std::process::Stdio::null()));
    let mut signed = std::process::Command::new("openssl");
    signed.args(["x509", "-req", "-days", "1000", "-in"]).arg(folder.join("request.pem"));
    succeed(signed.arg("-signkey").arg(&key).arg("-out").arg(&chain).stderr(std::process::Stdio::null()));
    Certificate { chain, key, public_key: Vec::new() }
}

fn write(folder: &Path, file: &str, certificate: &str, key_pem: &str, public_key: Vec<u8>) -> Certificate {
    let (chain, key) = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
    std::fs::write(&chain, certificate).unwrap();
    std::fs::write(&key, key_pem).unwrap();
    Certificate { chain, key, public_key }
}
