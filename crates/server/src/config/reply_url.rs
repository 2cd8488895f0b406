//! The address of a page about refusals, for replies whose words are ours to choose.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

/// A template with `{rule}`, `{session}` and `{client}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyUrl(String);

impl FromStr for ReplyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ReplyUrl, String> {
        if !["https://", "http://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme)) {
            return Err("must begin with https:// or http://, and a host".to_owned());
        }
        let mut rest = text.to_owned();
        for (name, longest) in PLACES {
            rest = rest.replace(name, &"x".repeat(longest));
        }
        if let Some(octet) = rest.bytes().find(|octet| !octet.is_ascii_graphic() || b"{}<>\"\\^`|".contains(octet)) {
            let shown = char::from(octet).escape_default();
            return Err(format!(
                "`{shown}` may not stand in it; {{rule}}, {{session}} and {{client}} are what is filled in"
            ));
        }
        if rest.len() > OCTETS_MAX {
            return Err(format!(
                "may have up to {} octets when it is filled in, {OCTETS_MAX} fit into a reply",
                rest.len()
            ));
        }
        Ok(ReplyUrl(text.to_owned()))
    }
}

impl ReplyUrl {
    /// Filled in, each value as the part of a query (RFC 3986 §2.1).
    pub(crate) fn of(&self, rule: &str, session: &str, client: IpAddr) -> String {
        let [(a, _), (b, _), (c, _)] = PLACES;
        let url = self.0.replace(a, &encoded(rule)).replace(b, &encoded(session));
        url.replace(c, &encoded(&client.to_string()))
    }
}

fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "%{octet:02X}");
        }
    }
    out
}

/// What is filled in, and the longest that it can become: the longest name of a rule, a session's id, an IPv6 address with its colons encoded.
const PLACES: [(&str, usize); 3] = [("{rule}", 24), ("{session}", 34), ("{client}", 55)];
/// Leaves room for the reply itself.
const OCTETS_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for text in ["https://example.org/mx6", "http://[::1]/?c={client}&s={session}#{rule}"] {
            assert!(text.parse::<ReplyUrl>().is_ok(), "{text}");
        }
        let long = format!("https://example.org/{}{{client}}", "x".repeat(200));
        for (text, words) in [
            ("ftp://example.org/", "must begin with https://"),
            ("https://", "must begin with https://"),
            ("https://example.org/{helo}", "`{` may not stand in it; {rule}, "),
            ("https://example.org/a b", "` ` may not stand in it"),
            ("https://example.org/\u{fc}", "may not stand in it"),
            (&long, "may have up to 275 octets when it is filled in, 250 fit"),
        ] {
            let error = text.parse::<ReplyUrl>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn no_rule_is_longer_than_reckoned() {
        assert!(mx6_policy::Rule::ALL.iter().all(|rule| rule.name().len() <= PLACES[0].1));
    }
}
