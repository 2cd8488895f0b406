//! A message on its way out: our fields, the sender's header section less what is left out, the body.

use std::io;
use std::ops::Range;

use aws_lc_rs::digest;

use crate::Body;
use crate::ledger::{Digest, finish};

/// One message. Line ends are CRLF; nothing is dot-stuffed.
#[derive(Debug)]
pub struct Message {
    /// Fields that we put on top, each with its CRLF.
    pub added: Vec<u8>,
    /// The header section as it came, up to and including the blank line.
    pub header: Vec<u8>,
    /// Parts of `header` that do not go on: in ascending order, not overlapping, whole fields.
    pub leave_out: Vec<Range<usize>>,
    /// What follows the blank line.
    pub body: Body,
}

impl Message {
    /// What goes before the body, in order: `added`, then `header` without `leave_out`. No part is empty.
    pub fn top(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.leave_out.iter().map(|range| range.start).chain([self.header.len()]);
        let starts = [0].into_iter().chain(self.leave_out.iter().map(|range| range.end));
        let kept = starts.zip(ends).filter_map(|(start, end)| self.header.get(start..end));
        [self.added.as_slice()].into_iter().chain(kept).filter(|part| !part.is_empty())
    }

    /// How many octets go on, before dot-stuffing.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.top().map(|part| part.len() as u64).sum::<u64>() + self.body.len()
    }

    /// SHA-256 over the message as the client sent it, whatever we add or leave out.
    ///
    /// # Errors
    /// The disk's, or the body was lost.
    pub(crate) async fn digest(&self) -> io::Result<Digest> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.header);
        let mut blocks = self.body.blocks();
        while let Some(block) = blocks.next().await? {
            block.slices().for_each(|slice| context.update(slice));
        }
        Ok(finish(context))
    }

    /// Whether nothing at all goes on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_digest_is_of_what_the_client_sent() {
        mx6_runtime::run_local(async || {
            let message = |added: &str, header: &str, leave_out: &[Range<usize>], text: &[u8]| {
                let mut body = Body::new(Path::new("/nowhere"));
                body.append(text);
                Message { added: added.into(), header: header.into(), leave_out: leave_out.to_vec(), body }
            };
            let digest = message("", "A: 1\r\n\r\n", &[], b"x\r\n").digest().await.unwrap();
            let same = message("N: 1\r\n", "A: 1\r\n\r\n", &[0..6, 6..6], b"x\r\n").digest().await.unwrap();
            let other = message("", "A: 1\r\n\r\n", &[], b"y\r\n").digest().await.unwrap();
            assert!(digest == same && digest != other);
        })
        .unwrap();
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
    fn the_top_is_what_was_added_and_what_was_kept() {
        let cases: [(&str, &str, &[Range<usize>], &str); 7] = [
            ("N: 1\r\n", "A: 1\r\nB: 2\r\n\r\n", &[], "N: 1\r\n|A: 1\r\nB: 2\r\n\r\n"),
            ("N: 1\r\n", "A: 1\r\nB: 2\r\n\r\n", &[0..6], "N: 1\r\n|B: 2\r\n\r\n"),
            ("", "A: 1\r\nB: 2\r\n\r\n", &[6..12], "A: 1\r\n|\r\n"),
            ("", "A: 1\r\nB: 2\r\n\r\n", &[0..6, 6..12], "\r\n"),
            ("", "A: 1\r\n", &[0..6], ""),
            ("N: 1\r\n", "", &[], "N: 1\r\n"),
            // Ranges that are not of this header lose octets rather than the process.
            ("", "A: 1\r\n", &[9..12], ""),
        ];
        for (added, header, leave_out, expected) in cases {
            let message = Message {
                added: added.into(),
                header: header.into(),
                leave_out: leave_out.to_vec(),
                body: Body::new(Path::new("/nowhere")),
            };
            let parts: Vec<&str> = message.top().map(|part| std::str::from_utf8(part).unwrap()).collect();
            assert_eq!(parts.join("|"), expected);
            assert_eq!(message.len() as usize, parts.concat().len());
        }
    }
}
