//! A message's Message-ID, kept for the record after the message itself has gone: copied into place, so that it costs no allocation.

/// At most [`OCTETS_MAX`] octets of a Message-ID.
pub(crate) struct MessageId {
    octets: [u8; OCTETS_MAX],
    length: u8,
}

impl MessageId {
    /// A copy of `text`, cut where it is too long; none of an empty one.
    pub(crate) fn copy(text: &str) -> Option<MessageId> {
        let length = text.floor_char_boundary(OCTETS_MAX);
        let mut octets = [0; OCTETS_MAX];
        octets[..length].copy_from_slice(&text.as_bytes()[..length]);
        u8::try_from(length).ok().filter(|length| *length > 0).map(|length| MessageId { octets, length })
    }

    /// Its text.
    pub(crate) fn as_str(&self) -> &str {
        // Cut between characters: it is what it was.
        std::str::from_utf8(&self.octets[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// What a record shows; what is longer is rarely looked for by its end.
const OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies() {
        let copied = |text: &str| MessageId::copy(text).map(|id| id.as_str().to_owned());
        assert_eq!(copied(""), None);
        assert_eq!(copied("a@b.example"), Some("a@b.example".to_owned()));
        assert_eq!(copied(&"x".repeat(1000)), Some("x".repeat(255)));
        assert_eq!(copied(&"ü".repeat(200)), Some("ü".repeat(127)));
    }
}
