//! Our own fields in a message: which incoming ones have to go, and the small one for monitor mode.
//!
//! Trusts nothing in the header section. Ranges are octets of the block that was given to [`Header::parse`].

use std::ops::Range;

use mx6_dkim::Header;

use crate::authserv_id::bears_one_of;
use crate::escape::push_text;
use crate::limits::MONITOR_OCTETS_MAX;

/// The name of the field that says what monitor mode would have done.
pub const MONITOR_FIELD: &str = "X-MX6-Monitor";

/// How many `Received` fields there are: what RFC 5321 §6.3 counts to find loops.
pub(crate) fn received_count(header: &Header<'_>) -> usize {
    header.named("Received").count()
}

/// Where the msg-id of the first `Message-ID` field is (RFC 5322 §3.6.4), without blanks and brackets around it; none if nothing is left.
pub(crate) fn message_id(header: &Header<'_>) -> Option<Range<usize>> {
    let field = header.named("Message-ID").next()?;
    let value = header.value(field);
    let inner = value.trim_ascii();
    let inner = inner.strip_prefix(b"<").unwrap_or(inner);
    let inner = inner.strip_suffix(b">").unwrap_or(inner);
    let start = field.value.end - value.trim_ascii_start().len();
    let start = start + usize::from(value.trim_ascii().starts_with(b"<"));
    (!inner.is_empty()).then(|| start..start + inner.len())
}

/// A whole `X-MX6-Monitor` field, CRLF included. What is not printable ASCII becomes `?`; long text is cut.
#[must_use]
pub fn monitor_field(text: &str) -> Vec<u8> {
    let mut field = Vec::with_capacity(MONITOR_FIELD.len() + text.len() + 4);
    field.extend_from_slice(MONITOR_FIELD.as_bytes());
    field.extend_from_slice(b": ");
    push_text(&mut field, text, MONITOR_OCTETS_MAX);
    field.extend_from_slice(b"\r\n");
    field
}

/// What must not be passed on, sorted: `Authentication-Results` that bear one of `ids` (RFC 8601 §5),
/// `X-MX6-Monitor`, and a folded line that has no field before it, since it would become part of the field we put
/// in front.
pub(crate) fn fields_to_remove(header: &Header<'_>, ids: &[Box<str>]) -> Vec<Range<usize>> {
    let removed = header.fields().iter().filter(|field| {
        let name = header.name(field);
        match name.len() {
            0 => matches!(header.whole(field).first(), Some(b' ' | b'\t')),
            _ if name.eq_ignore_ascii_case(b"Authentication-Results") => bears_one_of(header.value(field), ids),
            _ => name.eq_ignore_ascii_case(MONITOR_FIELD.as_bytes()),
        }
    });
    removed.map(|field| field.whole.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids() {
        for (block, id) in [
            ("Message-ID: <a@b.example>\r\n", "a@b.example"),
            ("From: x\r\nmessage-id :\r\n\t<a@b>  \r\nMessage-ID: <second@b>\r\n", "a@b"),
            ("Message-ID: a@b\r\n", "a@b"),
            ("Message-ID: <a b>c\r\n", "a b>c"),
            ("Message-ID: <>\r\n", ""),
            ("Message-ID:\r\n", ""),
            ("Subject: Message-ID: <a@b>\r\n", ""),
        ] {
            let range = message_id(&Header::parse(block.as_bytes()));
            assert_eq!(range.map_or("", |range| &block[range]), id, "{block:?}");
        }
    }

    fn left(block: &str) -> String {
        let header = Header::parse(block.as_bytes());
        let mut left = block.to_owned();
        for range in fields_to_remove(&header, &["mx.example".into(), "old.example".into()]).into_iter().rev() {
            left.replace_range(range, "");
        }
        left
    }

    #[test]
    fn what_stays() {
        for (block, want) in [
            ("A: b\r\n\r\n", "A: b\r\n\r\n"),
            ("Authentication-Results: mx.example; none\r\nA: b\r\n\r\n", "A: b\r\n\r\n"),
            ("A: b\r\nauthentication-results : mx.example;\r\n\tdkim=pass\r\nB: c\r\n\r\n", "A: b\r\nB: c\r\n\r\n"),
            ("Authentication-Results:\r\n (c) \"OLD.example\"\r\n 1; none\r\nA: b\r\n\r\n", "A: b\r\n\r\n"),
            (
                "Authentication-Results: other.example; none\r\nA: b\r\n\r\n",
                "Authentication-Results: other.example; none\r\nA: b\r\n\r\n",
            ),
            (
                "Authentication-Results: x; a=b (mx.example)\r\n\r\n",
                "Authentication-Results: x; a=b (mx.example)\r\n\r\n",
            ),
            (
                "ARC-Authentication-Results: i=1; mx.example; none\r\n\r\n",
                "ARC-Authentication-Results: i=1; mx.example; none\r\n\r\n",
            ),
            ("X-MX6-Monitor: a\r\nx-mx6-monitor: b\r\n c\r\nA: b\r\n\r\n", "A: b\r\n\r\n"),
            (" ; dkim=pass header.d=bank.example\r\nA: b\r\n\r\n", "A: b\r\n\r\n"),
            ("\tx\r\n y\r\nA: b\r\n\r\n", "A: b\r\n\r\n"),
            ("no field\r\n more\r\nA: b\r\n\r\n", "no field\r\n more\r\nA: b\r\n\r\n"),
            ("\r\n Authentication-Results: mx.example\r\n", "\r\n Authentication-Results: mx.example\r\n"),
        ] {
            assert_eq!(left(block), want, "{block:?}");
        }
    }

    #[test]
    fn received_fields() {
        for (block, want) in [
            ("\r\n", 0),
            ("Received: a\r\nreceived: b\r\n c\r\nReceived-SPF: x\r\nRECEIVED : d\r\n\r\nReceived: e\r\n", 3),
        ] {
            assert_eq!(received_count(&Header::parse(block.as_bytes())), want, "{block:?}");
        }
    }

    #[test]
    fn monitor_fields() {
        assert_eq!(monitor_field("would defer"), b"X-MX6-Monitor: would defer\r\n");
        assert_eq!(monitor_field("a\r\nB: c\u{fc}"), b"X-MX6-Monitor: a??B: c??\r\n");
        assert!(monitor_field(&"x".repeat(5_000)).len() < 998);
    }
}
