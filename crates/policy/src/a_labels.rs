//! Internationalized domain names in the form that DNS has them: A-labels (RFC 5890 §2.3.2.1), by UTS #46 and the rules of RFC 5891 to 5893.
//!
//! Trusts nothing: names come from peers and from operators.

use std::borrow::Cow;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Why a name that is not ASCII has no A-labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoALabels {
    /// IDNA knows no such character.
    #[error("U+{:04X} is not allowed in a domain name", u32::from(*.0))]
    Character(char),
    /// A label with a hyphen at one of its ends.
    #[error("label `{0}` begins or ends with a hyphen")]
    Hyphen(String),
    /// A label that is none although its characters are allowed: directions of writing mixed (RFC 5893), a mark or a joiner out of place.
    #[error("label `{0}` mixes directions of writing, or has a mark or a joiner where there must be none")]
    Label(String),
    /// The labels do not go together (RFC 5893 §2), there is an empty one, or one or all are too long.
    #[error("its labels do not go together, or are empty or too long")]
    Name,
}

/// `domain` in lower-case A-labels. A name in ASCII is not checked: it comes back in lower case, whatever it is.
///
/// # Errors
/// The first reason why there is no such form.
pub fn a_labels(domain: &str) -> Result<Cow<'_, str>, NoALabels> {
    if domain.is_ascii() {
        let has_upper_case = domain.bytes().any(|octet| octet.is_ascii_uppercase());
        return Ok(if has_upper_case { domain.to_ascii_lowercase().into() } else { domain.into() });
    }
    to_ascii(domain).ok_or_else(|| reason(domain))
}

fn to_ascii(domain: &str) -> Option<Cow<'_, str>> {
    Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify).ok()
}

/// The library says only that something is wrong.
fn reason(domain: &str) -> NoALabels {
    let Some(label) = domain.split('.').find(|label| !label.is_empty() && to_ascii(label).is_none()) else {
        return NoALabels::Name;
    };
    if label.starts_with('-') || label.ends_with('-') {
        return NoALabels::Hyphen(label.to_owned());
    }
    let is_refused = |&character: &char| {
        // Behind a letter for the sake of marks, which no label may begin with.
        let (alone, behind) = (String::from(character), format!("a{character}"));
        character != '-' && to_ascii(&alone).is_none() && to_ascii(&behind).is_none()
    };
    match label.chars().find(is_refused) {
        Some(character) => NoALabels::Character(character),
        None if label.len() > LABEL_OCTETS_MAX => NoALabels::Name,
        None => NoALabels::Label(label.to_owned()),
    }
}

/// RFC 1035 §2.3.4.
const LABEL_OCTETS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (domain, want) in [
            ("", ""),
            ("a.example", "a.example"),
            ("A_b.EXAMPLE", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            // Composed and decomposed are the same name.
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("例子.example", "xn--fsqu00a.example"),
            ("例子。example", "xn--fsqu00a.example"),
            ("دامنه.example", "xn--mgbp1eef.example"),
        ] {
            assert_eq!(a_labels(domain).as_deref(), Ok(want), "{domain}");
        }
    }

    #[test]
    fn no_names() {
        for (domain, want) in [
            ("-ü.example", NoALabels::Hyphen("-ü".into())),
            ("ü-.example", NoALabels::Hyphen("ü-".into())),
            ("a.ü b.example", NoALabels::Character(' ')),
            ("ü_.example", NoALabels::Character('_')),
            ("\u{2028}.example", NoALabels::Character('\u{2028}')),
            ("a\u{e000}.example", NoALabels::Character('\u{e000}')),
            ("\u{308}u.example", NoALabels::Label("\u{308}u".into())),
            ("aا.example", NoALabels::Label("aا".into())),
            ("ü..example", NoALabels::Name),
            (&"ü".repeat(64), NoALabels::Name),
            (&"ü.".repeat(60), NoALabels::Name),
        ] {
            assert_eq!(a_labels(domain), Err(want), "{domain}");
        }
    }
}
