//! Which octets of a client are commands and which are of a message, for who only looks on.
//!
//! One step of the session may take the end of a chunk and the command behind it, or a BDAT and its chunk: between these the session says nothing.

/// Follows a client's octets.
#[derive(Debug, Default)]
pub(crate) struct Portions {
    /// The last command was BDAT.
    in_chunks: bool,
    /// Octets of its chunk that have not come.
    chunk_left: u64,
}

impl Portions {
    /// Whether a step whose session awaits octets of a message (`awaited`) takes nothing else: so it is by DATA, and not in chunks.
    pub(crate) fn dotted(&self, awaited: bool) -> bool {
        awaited && !self.in_chunks
    }

    /// The first portion of `octets`, and whether it is of a message. `dotted` holds for all that a step takes.
    pub(crate) fn first<'o>(&self, octets: &'o [u8], dotted: bool) -> (&'o [u8], bool) {
        if dotted {
            return (octets, true);
        }
        if self.chunk_left > 0 {
            let left = usize::try_from(self.chunk_left).unwrap_or(usize::MAX);
            return (&octets[..left.min(octets.len())], true);
        }
        let line = octets.iter().position(|octet| *octet == b'\n').map_or(octets.len(), |end| end + 1);
        (&octets[..line], false)
    }

    /// The session took `octets` of that portion.
    pub(crate) fn took(&mut self, octets: &[u8], of_message: bool) {
        if of_message {
            self.chunk_left = self.chunk_left.saturating_sub(octets.len() as u64);
        } else if octets.ends_with(b"\n") {
            let chunk = chunk_octets(octets);
            self.in_chunks = chunk.is_some();
            self.chunk_left = chunk.unwrap_or(0);
        }
    }

    /// Whether the message that is coming in comes in chunks.
    pub(crate) fn in_chunks(&self) -> bool {
        self.in_chunks
    }
}

/// Of `BDAT octets [LAST]` (RFC 3030 §2).
fn chunk_octets(line: &[u8]) -> Option<u64> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let is_bdat = words.next().is_some_and(|verb| verb.eq_ignore_ascii_case("BDAT"));
    words.next().filter(|_| is_bdat)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the session takes in one step, whether it awaited a message before, and the portions of it: `M` of a message, `C` commands.
    #[test]
    fn commands_and_messages() {
        let mut portions = Portions::default();
        for (taken, awaited, expected) in [
            ("MAIL FROM:<>\r\nNOOP\r\n", false, "C14 C6"),
            ("BDAT 5\r\n", false, "C8"),
            ("abcdeNOOP\r\nbdat 3\r\nxy", true, "M5 C6 C8 M2"),
            ("zBDAT 0\r\nRSET\r\n", true, "M1 C8 C6"),
            ("BDAT 0 LAST\r\n", false, "C13"),
            ("NOOP\r\n", true, "C6"),
            ("DATA\r\n", false, "C6"),
            ("BDAT 3\r\n.\r\n", true, "M11"),
            ("BDAT x\r\nNOOP\r\n", false, "C8 C6"),
        ] {
            let (mut rest, mut told, dotted) = (taken.as_bytes(), Vec::new(), portions.dotted(awaited));
            while !rest.is_empty() {
                let (portion, of_message) = portions.first(rest, dotted);
                portions.took(portion, of_message);
                told.push(format!("{}{}", if of_message { 'M' } else { 'C' }, portion.len()));
                rest = &rest[portion.len()..];
            }
            assert_eq!(told.join(" "), expected, "{taken:?}");
        }
    }
}
