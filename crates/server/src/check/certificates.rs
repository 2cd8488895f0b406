//! Our certificates: whether each fits its key, what names it bears, how long it is valid, and the order of its chain.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::report::{Check, Fault, Status};
use crate::Config;
use crate::reload::load_tls;
use crate::tls::{certificate_chain, fits_its_key};

/// A certificate that ends sooner is warned of: renewal should have happened 30 days before the end.
const NEAR_EXPIRY_DAYS: i64 = 21;

/// One check for each certificate, and one for the authorities of partners.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    let mut checks = Vec::new();
    for files in &config.certificates {
        let name = files.chain.display().to_string();
        match fits_its_key(files) {
            Ok(()) => checks.push(certificate(&files.chain, name, now)),
            Err(error) => checks.push(wrong(name, format!("--tls-cert: {error}"))),
        }
    }
    // What concerns all: the authorities of partners.
    if checks.iter().all(|check| !matches!(check.status, Status::Error(_)))
        && let Err(error) = load_tls(config)
    {
        checks.push(wrong("partners".to_owned(), format!("--tls-cert: {error}")));
    }
    checks
}

fn wrong(name: String, text: String) -> Check {
    Check::new("TLS", name, Status::Error(Fault::Configuration), text)
}

fn certificate(path: &Path, name: String, now: i64) -> Check {
    let chain = match certificate_chain(path) {
        Ok(chain) => chain,
        Err(error) => return wrong(name, format!("--tls-cert: {error}")),
    };
    let parsed: Result<Vec<_>, _> =
        chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed)).collect();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return wrong(name, format!("cannot be read as X.509: {error}")),
    };
    let Some(own) = parsed.first() else { return wrong(name, "is empty".to_owned()) };
    let names = names(own);
    if let Some(number) = parsed.windows(2).position(|pair| pair[0].issuer() != pair[1].subject()) {
        let text = format!("{names}: certificate {} of the file did not sign the one before it", number + 2);
        return wrong(name, text).remedy("put our own certificate first, and behind each the one that signed it");
    }
    validity(name, &names, own, now)
}

fn validity(name: String, names: &str, own: &X509Certificate<'_>, now: i64) -> Check {
    let (begin, end) = (own.validity().not_before.timestamp(), own.validity().not_after.timestamp());
    let days = (end - now).div_euclid(86_400);
    if now < begin {
        let begin = own.validity().not_before;
        return wrong(name, format!("{names}: not valid before {begin}"))
            .remedy("wait until then, or set the clock of this machine");
    }
    if end <= now {
        let end = own.validity().not_after;
        return wrong(name, format!("{names}: expired on {end}")).remedy("renew it");
    }
    let text = format!("{names}: fits its key, {days} days left");
    if days < NEAR_EXPIRY_DAYS {
        return Check::new("TLS", name, Status::Warning, text)
            .remedy("renew it; a running gate takes the new file by itself");
    }
    Check::new("TLS", name, Status::Ok, text)
}

/// The DNS names of the subjectAltName.
fn names(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    let names: Vec<&str> =
        names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None }).collect();
    if names.is_empty() { "for no DNS name".to_owned() } else { format!("for {}", names.join(", ")) }
}
