//! Which recipient domains are served here, and which of them opted in to IPv6.

use std::collections::HashMap;
use std::str::FromStr;

use crate::{NoALabels, a_labels};

/// What a domain chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DomainMode {
    /// Opted in: takes mail over IPv6 that passes the rules.
    Accept,
    /// Served here, but not over anonymous IPv6.
    Reject,
    /// Opted in on trial: the rules are evaluated and recorded, and not enforced.
    Monitor {
        /// For so many of a hundred sources (/64s); enforced for the others.
        percent: u8,
    },
}

impl FromStr for DomainMode {
    type Err = DirectoryError;

    fn from_str(text: &str) -> Result<DomainMode, DirectoryError> {
        match text {
            "accept" => Ok(DomainMode::Accept),
            "reject" => Ok(DomainMode::Reject),
            "monitor" => Ok(DomainMode::Monitor { percent: 100 }),
            _ => {
                let percent = text.strip_prefix("monitor:").and_then(|text| text.strip_suffix('%')?.parse().ok());
                let percent = percent.filter(|percent| *percent <= 100);
                percent.map_or_else(
                    || Err(DirectoryError::Mode(text.to_owned())),
                    |percent| Ok(DomainMode::Monitor { percent }),
                )
            }
        }
    }
}

/// Why a domain could not be entered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DirectoryError {
    /// Not one of the three words.
    #[error("domain mode `{0}` is not one of accept, reject, monitor, or monitor:N% with N from 0 to 100")]
    Mode(String),
    /// Not a domain.
    #[error("`{0}` is not a domain name; write `*.` in front for all names below it")]
    Name(String),
    /// Not ASCII, and without a form in A-labels.
    #[error("`{0}` is not a domain name: {1}")]
    Internationalized(String, NoALabels),
    /// Entered twice with different modes.
    #[error("domain `{0}` is listed twice with different modes")]
    Twice(String),
}

/// The served domains: exact names, and `*.` suffixes that match every name below but not the name itself.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    exact: HashMap<Box<str>, DomainMode>,
    below: HashMap<Box<str>, DomainMode>,
}

impl Directory {
    /// Enters `pattern` (`open.example` or `*.open.example`, A-labels or U-labels, any case).
    ///
    /// # Errors
    /// If it is not a domain name, or stands there already with another mode.
    pub fn insert(&mut self, pattern: &str, mode: DomainMode) -> Result<(), DirectoryError> {
        let (table, name) = match pattern.strip_prefix("*.") {
            Some(suffix) => (&mut self.below, suffix),
            None => (&mut self.exact, pattern),
        };
        let name = a_labels(name.strip_suffix('.').unwrap_or(name))
            .map_err(|reason| DirectoryError::Internationalized(pattern.to_owned(), reason))?;
        if !is_domain_name(&name) {
            return Err(DirectoryError::Name(pattern.to_owned()));
        }
        match table.insert(Box::from(&*name), mode) {
            Some(before) if before != mode => Err(DirectoryError::Twice(pattern.to_owned())),
            _ => Ok(()),
        }
    }

    /// The mode of `domain` (lower case, no final dot): the exact entry, else the longest `*.` suffix, else none: not served here.
    #[must_use]
    pub fn mode(&self, domain: &str) -> Option<DomainMode> {
        if let Some(mode) = self.exact.get(domain) {
            return Some(*mode);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut rest = domain;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(mode) = self.below.get(parent) {
                return Some(*mode);
            }
            rest = parent;
        }
        None
    }

    /// Whether nothing at all is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

/// RFC 5321 §4.1.2 `Domain`, in A-labels, with RFC 1035's lengths.
fn is_domain_name(name: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label_ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_domains() {
        let mut directory = Directory::default();
        for (pattern, mode) in [
            ("Open.Example", "accept"),
            ("*.open.example", "monitor"),
            ("v4only.example.", "reject"),
            ("*.example", "reject"),
            ("bücher.example", "accept"),
            ("xn--bcher-kva.example", "accept"),
            ("*.BÜCHER.example.", "monitor"),
        ] {
            directory.insert(pattern, mode.parse().unwrap()).unwrap();
        }
        for (domain, mode) in [
            ("open.example", Some(DomainMode::Accept)),
            ("a.open.example", Some(DomainMode::Monitor { percent: 100 })),
            ("a.b.open.example", Some(DomainMode::Monitor { percent: 100 })),
            ("v4only.example", Some(DomainMode::Reject)),
            ("other.example", Some(DomainMode::Reject)),
            ("example", None),
            ("notexample", None),
            ("xopen.example", Some(DomainMode::Reject)),
            ("open.example.net", None),
            ("xn--bcher-kva.example", Some(DomainMode::Accept)),
            ("a.xn--bcher-kva.example", Some(DomainMode::Monitor { percent: 100 })),
            ("", None),
        ] {
            assert_eq!(directory.mode(domain), mode, "{domain}");
        }
    }

    #[test]
    fn entries_that_are_refused() {
        let mut directory = Directory::default();
        directory.insert("a.example", DomainMode::Accept).unwrap();
        directory.insert("a.example", DomainMode::Accept).unwrap();
        assert_eq!(directory.insert("A.example", DomainMode::Reject), Err(DirectoryError::Twice("A.example".into())));
        for bad in ["", "*", "*.", "a..b", "a b", "*.*.example", "-a.example", "a@b.example"] {
            assert_eq!(directory.insert(bad, DomainMode::Accept), Err(DirectoryError::Name(bad.into())), "{bad}");
        }
        let reason = NoALabels::Hyphen("ü-".into());
        let bad = Err(DirectoryError::Internationalized("*.ü-.example".into(), reason));
        assert_eq!(directory.insert("*.ü-.example", DomainMode::Accept), bad);
        for bad in ["allow", "monitor:", "monitor:50", "monitor:101%", "monitor:-1%", "monitor: 5%", "accept:50%"] {
            assert_eq!(bad.parse::<DomainMode>(), Err(DirectoryError::Mode(bad.into())), "{bad}");
        }
        assert_eq!("monitor:0%".parse(), Ok(DomainMode::Monitor { percent: 0 }));
    }
}
