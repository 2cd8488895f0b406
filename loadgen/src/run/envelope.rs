//! The envelope of a message: MAIL, RCPT and DATA, in one write or one at a time, and what the server says to them.

use std::io::Write as _;

use super::expectation::Outcome;
use super::options::Oversize;
use super::session::{Session, Transaction};
use super::wire::Failure;
use crate::measurement::StageName;
use crate::population::Class;

/// What the server offers.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Offer {
    pub(super) pipelining: bool,
    pub(super) starttls: bool,
    pub(super) size: Option<u64>,
}

/// Where the envelope got to.
pub(super) enum Envelope {
    /// The server wants the message. `refused`: the first refusal of a recipient, when others were taken.
    Data { refused: Option<Outcome> },
    /// It is decided. `open`: RSET is needed before the next MAIL.
    Refused { outcome: Outcome, open: bool },
}

impl Session<'_> {
    /// MAIL, RCPT and DATA, or the command of a trick.
    pub(super) fn push_envelope(&mut self, transaction: &Transaction) {
        if let Some(trick) = transaction.trick.filter(|trick| trick.is_command) {
            self.out.extend_from_slice(trick.octets);
            return;
        }
        self.push_mail(transaction);
        for number in 0..self.setup.options.recipients {
            self.push_rcpt(number);
        }
        self.out.extend_from_slice(b"DATA\r\n");
    }

    fn push_mail(&mut self, transaction: &Transaction) {
        let _ = write!(self.out, "MAIL FROM:<{}>", transaction.from);
        let octets = match self.oversize_limit() {
            Some(limit) => (self.setup.options.oversize == Oversize::Declared).then(|| limit.saturating_add(1)),
            None => self.offer.size.map(|_| self.setup.mail.octets(&transaction.message)),
        };
        if let Some(octets) = octets {
            let _ = write!(self.out, " SIZE={octets}");
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// The server's limit, where this source is to go beyond it. There is none where the server names none.
    pub(super) fn oversize_limit(&self) -> Option<u64> {
        self.offer.size.filter(|limit| *limit > 0 && self.source.class == Class::Oversize)
    }

    fn push_rcpt(&mut self, number: u32) {
        let population = &self.setup.population;
        let closed = self.source.class == Class::NotOptedIn;
        let domain = if closed { &population.closed_domain } else { &population.opted_in_domain };
        let _ = write!(self.out, "RCPT TO:<reader{number}@{domain}>\r\n");
    }

    /// The replies to MAIL, RCPT and DATA, which have all been sent.
    pub(super) async fn envelope_replies(&mut self) -> Result<Envelope, Failure> {
        let mut refused = None;
        self.reply_to(StageName::Mail).await?;
        let open = self.note_refusal(StageName::Mail, &mut refused);
        let mut accepted = 0;
        for _ in 0..self.setup.options.recipients {
            match self.reply_to(StageName::Rcpt).await {
                Ok(()) => accepted += u32::from(self.note_refusal(StageName::Rcpt, &mut refused)),
                Err(failure) => return closed_after(refused, failure),
            }
        }
        match self.reply_to(StageName::Data).await {
            Ok(()) => {}
            Err(failure) => return closed_after(refused, failure),
        }
        let data = self.reply.code == 354;
        match refused {
            // RFC 2920 §3.1: a server may want the message of nobody; it gets an empty one.
            Some(outcome) if data && accepted == 0 => {
                self.wire.send(&[b".\r\n"]).await?;
                self.wire.reply(&mut self.reply).await?;
                Ok(Envelope::Refused { outcome, open: false })
            }
            refused if data => Ok(Envelope::Data { refused }),
            Some(outcome) => Ok(Envelope::Refused { outcome, open }),
            None => Ok(Envelope::Refused { outcome: self.outcome(StageName::Data), open }),
        }
    }

    /// One command at a time.
    pub(super) async fn envelope_in_steps(&mut self, transaction: &Transaction) -> Result<Envelope, Failure> {
        let mut refused = None;
        self.out.clear();
        self.push_mail(transaction);
        self.send_out().await?;
        self.reply_to(StageName::Mail).await?;
        if !self.note_refusal(StageName::Mail, &mut refused) {
            return Ok(Envelope::Refused { outcome: self.outcome(StageName::Mail), open: false });
        }
        let mut accepted = 0;
        for number in 0..self.setup.options.recipients {
            self.out.clear();
            self.push_rcpt(number);
            self.send_out().await?;
            self.reply_to(StageName::Rcpt).await?;
            accepted += u32::from(self.note_refusal(StageName::Rcpt, &mut refused));
        }
        let refused = match refused {
            Some(outcome) if accepted == 0 => return Ok(Envelope::Refused { outcome, open: true }),
            refused => refused,
        };
        self.wire.send(&[b"DATA\r\n"]).await?;
        self.reply_to(StageName::Data).await?;
        if self.reply.code == 354 {
            return Ok(Envelope::Data { refused });
        }
        Ok(Envelope::Refused { outcome: self.outcome(StageName::Data), open: true })
    }

    /// Keeps the first refusal. True if the reply was none.
    fn note_refusal(&self, stage: StageName, refused: &mut Option<Outcome>) -> bool {
        let accepted = self.reply.code / 100 == 2;
        if !accepted && refused.is_none() {
            *refused = Some(self.outcome(stage));
        }
        accepted
    }
}

/// A server may close the connection with its refusal: then that was the answer.
fn closed_after(refused: Option<Outcome>, failure: Failure) -> Result<Envelope, Failure> {
    match (refused, failure) {
        (Some(outcome), Failure::Closed) => Ok(Envelope::Refused { outcome, open: false }),
        (_, failure) => Err(failure),
    }
}

impl Offer {
    /// The lines of an EHLO reply (RFC 5321 §4.1.1.1).
    pub(super) fn of(text: &[u8]) -> Offer {
        let mut offer = Offer::default();
        for line in text.split(|octet| *octet == b'\n').skip(1) {
            let line = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PIPELINING") => offer.pipelining = true,
                Some("STARTTLS") => offer.starttls = true,
                Some("SIZE") => offer.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers() {
        let offer = Offer::of(b"250-mx.example\n250-PIPELINING\n250-size 1000\n250-STARTTLS\n250 8BITMIME");
        assert!(offer.pipelining && offer.starttls && offer.size == Some(1_000));
        let offer = Offer::of(b"250-PIPELINING.example\n250-SIZE\n250 X");
        assert!(!offer.pipelining && !offer.starttls && offer.size == Some(0));
        let offer = Offer::of(b"250 mx.example");
        assert!(!offer.pipelining && offer.size.is_none());
    }
}
