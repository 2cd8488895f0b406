//! Reading the authserv-id of an incoming `Authentication-Results` (RFC 8601 §2.2, §2.5), to know whether it claims
//! to be ours and has to go (§5).
//!
//! Trusts nothing, and errs towards finding an id: what follows it need not be well-formed, since a careless reader
//! behind us would not care either. One pass, no recursion: comments nest by a counter.

use std::borrow::Cow;

use mail_auth::common::to_a_label;

use crate::escape::is_token_octet;

/// The authserv-id at the beginning of a field value, unquoted.
///
/// `None` when there is none: the field is empty, begins with a result instead of an id (as some do), or with a
/// comment or quoted-string that never ends.
#[must_use]
pub fn authserv_id(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let start = skip_cfws(value)?;
    if start.first() == Some(&b'"') {
        return quoted_string(start);
    }
    // A U-label may stand here (RFC 8601 §2.2 by way of RFC 6532), so anything beyond ASCII is part of the token.
    let len = start.iter().take_while(|&&octet| is_token_octet(octet) || octet >= 0x80).count();
    let (token, rest) = start.split_at(len);
    let method = skip_cfws(rest).is_some_and(|rest| rest.first() == Some(&b'='));
    (!token.is_empty() && !method).then_some(Cow::Borrowed(token))
}

/// Whether a field value bears one of `ids` (compared without case, A-labels, a final dot ignored).
///
/// A value whose beginning cannot be read at all (an endless comment or quoted-string) counts as ours when one of
/// our ids occurs anywhere in it: nobody can say what a careless reader would make of it.
pub(crate) fn bears_one_of(value: &[u8], ids: &[Box<str>]) -> bool {
    match authserv_id(value) {
        Some(id) => {
            let id = String::from_utf8_lossy(&id);
            let id = to_a_label(id.strip_suffix('.').unwrap_or(&id));
            ids.iter().any(|ours| ours.eq_ignore_ascii_case(&id))
        }
        None if begins_unreadably(value) => ids.iter().any(|ours| contains_ignoring_case(value, ours.as_bytes())),
        None => false,
    }
}

/// What follows comments and folding white space (RFC 5322 §3.2.2); `None` when a comment does not end.
fn skip_cfws(mut value: &[u8]) -> Option<&[u8]> {
    loop {
        match value.first() {
            Some(b' ' | b'\t' | b'\r' | b'\n') => value = &value[1..],
            Some(b'(') => value = skip_comment(value)?,
            _ => return Some(value),
        }
    }
}

fn skip_comment(value: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    let mut octets = value.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' => _ = octets.next(),
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(&value[at + 1..]),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The content of the quoted-string at the beginning of `value`, without its quoting.
fn quoted_string(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut content = Vec::new();
    let mut octets = value.iter().skip(1);
    while let Some(&octet) = octets.next() {
        match octet {
            b'"' => return Some(Cow::Owned(content)),
            b'\\' => content.push(*octets.next()?),
            b'\r' | b'\n' => {}
            _ => content.push(octet),
        }
    }
    None
}

fn begins_unreadably(value: &[u8]) -> bool {
    match skip_cfws(value) {
        None => true,
        Some(start) => start.first() == Some(&b'"') && quoted_string(start).is_none(),
    }
}

fn contains_ignoring_case(value: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && value.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for (value, want) in [
            (" mx.example; none", Some("mx.example")),
            ("mx.example;none", Some("mx.example")),
            (" mx.example 1; none", Some("mx.example")),
            ("\r\n\tmx.example\r\n\t1 ;\r\n none", Some("mx.example")),
            (" (a (nested \\) one) here) mx.example (x); none", Some("mx.example")),
            (" \"mx.example\"; none", Some("mx.example")),
            (" \"mx.\\e\\xample\" 1; none", Some("mx.example")),
            (" \"mx.\r\n example\"; none", Some("mx. example")),
            (" mx.example", Some("mx.example")),
            (" mx.example(c)", Some("mx.example")),
            (" mx.example/x; dkim=pass", Some("mx.example")),
            (" mx.example  from=x; dkim=pass", Some("mx.example")),
            (" mx.ex\u{e4}mple; none", Some("mx.ex\u{e4}mple")),
            (" spf=pass smtp.mailfrom=x", None),
            (" spf (c) = pass", None),
            ("", None),
            ("  \r\n ", None),
            (" ; dkim=pass", None),
            (" (never ends mx.example; none", None),
            (" \"mx.example; none", None),
            (" \"mx.example\\", None),
        ] {
            let id = authserv_id(value.as_bytes());
            assert_eq!(id.as_deref().map(String::from_utf8_lossy).as_deref(), want, "{value:?}");
        }
    }

    #[test]
    fn ours_or_not() {
        let ids: Vec<Box<str>> = vec!["mx.example".into(), "xn--bcher-kva.example".into()];
        for (value, want) in [
            ("mx.example; none", true),
            ("MX.Example; none", true),
            ("mx.example.; none", true),
            ("\"mx.example\"; none", true),
            ("(x) mx.example 1; none", true),
            ("b\u{fc}ch.example; none", false),
            ("b\u{fc}cher.example; none", true),
            ("mx.example.org; none", false),
            ("a.mx.example; none", false),
            ("other; x=pass (mx.example)", false),
            ("(endless mx.example; none", true),
            ("\"endless MX.EXAMPLE; none", true),
            ("(endless other; none", false),
            ("", false),
        ] {
            assert_eq!(bears_one_of(value.as_bytes(), &ids), want, "{value:?}");
        }
    }
}
