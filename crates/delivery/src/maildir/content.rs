//! A message as a Unix mailbox has it: LF line ends, a last line that ends.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use memchr::memchr;

use crate::body::SharedBody;
use crate::{Message, SPILL_BLOCK_OCTETS};

/// All of a message that a thread needs; shares the body.
#[derive(Debug)]
pub(crate) struct Content {
    /// What comes before the body; line ends are still CRLF.
    top: Vec<u8>,
    body: SharedBody,
}

impl Content {
    pub(crate) fn of(message: &Message) -> io::Result<Content> {
        let body = message.body.share()?;
        let mut top = Vec::with_capacity(message.added.len() + message.header.len());
        message.top().for_each(|part| top.extend_from_slice(part));
        Ok(Content { top, body })
    }

    /// Writes the message with LF line ends.
    pub(crate) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut lines = LfLines { out, cr: false, at_line_start: true };
        lines.write(&self.top)?;
        if let Some((file, octets)) = &self.body.file {
            let mut block = vec![0; SPILL_BLOCK_OCTETS];
            let mut position = 0;
            while position < *octets {
                let block_octets = (*octets - position).min(SPILL_BLOCK_OCTETS as u64) as usize;
                file.read_exact_at(&mut block[..block_octets], position)?;
                lines.write(&block[..block_octets])?;
                position += block_octets as u64;
            }
        }
        self.body.chunks.iter().try_for_each(|chunk| lines.write(chunk))?;
        lines.finish()
    }
}

/// Turns CRLF into LF, wherever the pieces are cut; any other CR stays.
struct LfLines<'w, W> {
    out: &'w mut W,
    /// A CR was seen last and not written.
    cr: bool,
    at_line_start: bool,
}

impl<W: Write> LfLines<'_, W> {
    fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            if std::mem::take(&mut self.cr) && octets[0] != b'\n' {
                self.out.write_all(b"\r")?;
            }
            let text_octets = memchr(b'\r', octets).unwrap_or(octets.len());
            let (text, rest) = octets.split_at(text_octets);
            self.out.write_all(text)?;
            self.at_line_start = text.last().map_or(self.at_line_start, |octet| *octet == b'\n');
            self.cr = !rest.is_empty();
            self.at_line_start &= !self.cr;
            octets = rest.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        if self.cr {
            self.out.write_all(b"\r")?;
        }
        if self.at_line_start { Ok(()) } else { self.out.write_all(b"\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_over_every_split() {
        let cases: [(&str, &str); 10] = [
            ("", ""),
            ("a: b\r\n\r\nbody\r\n", "a: b\n\nbody\n"),
            ("no end", "no end\n"),
            ("a\r\nb", "a\nb\n"),
            ("a\r\n", "a\n"),
            ("a\rb\r\n", "a\rb\n"),
            ("a\r\r\n", "a\r\n"),
            ("a\r", "a\r\n"),
            ("\r\n", "\n"),
            ("\r\n\r\n\r\n.\r\n", "\n\n\n.\n"),
        ];
        for (message, expected) in cases {
            for first in 0..=message.len() {
                for second in first..=message.len() {
                    let mut out = Vec::new();
                    let mut lines = LfLines { out: &mut out, cr: false, at_line_start: true };
                    for piece in [&message[..first], &message[first..second], &message[second..]] {
                        lines.write(piece.as_bytes()).unwrap();
                    }
                    lines.finish().unwrap();
                    assert_eq!(String::from_utf8(out).unwrap(), expected, "{message:?} cut at {first} and {second}");
                }
            }
        }
    }
}
