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
    is_root: bool,
}

/// A certificate and its key.
pub struct Certificate {
    /// The certificate, PEM.
    pub chain: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// The authority in between, if there is one; it stands in the chain too.
    pub intermediate: Option<PathBuf>,
    /// Its SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl Authority {
    /// An authority called `name` with a key of its own.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let issuer = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap();
        Authority::with_file(folder, name, issuer, true)
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Authority {
        let issuer = CertifiedIssuer::signed_by(authority(name), KeyPair::generate().unwrap(), &self.issuer).unwrap();
        Authority::with_file(&self.folder, name, issuer, false)
    }

    fn with_file(folder: &Path, name: &str, issuer: CertifiedIssuer<'static, KeyPair>, is_root: bool) -> Authority {
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, folder: folder.to_owned(), file, is_root }
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
        let [chain, key_file] = ["pem", "key"].map(|kind| self.folder.join(format!("{file}.{kind}")));
        let above = if self.is_root { String::new() } else { self.issuer.pem() };
        std::fs::write(&chain, certificate.pem() + &above).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let intermediate = (!self.is_root).then(|| self.file.clone());
        Certificate { chain, key: key_file, intermediate, public_key: key.subject_public_key_info() }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
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
    Certificate { chain, key, intermediate: None, public_key: Vec::new() }
}
