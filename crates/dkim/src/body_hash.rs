//! SHA-256 of canonicalized bodies, hashed in batches.
//!
//! A [`BodyHash`] collects canonical octets in its staging; [`Kernels::compress`](crate::Kernels::compress) advances the states of all
//! given hashes over their whole blocks together. Padding is FIPS 180-4 §5.1.1.

use std::cmp::Reverse;

use crate::canonical_body::{BodyCanonicalizer, Canonicalization, Sink};
use crate::kernels::{Block, INITIAL_STATE, Sha256Job, Sha256Kernels, State};
use crate::limits::STAGING_OCTETS_MAX;

/// The hash of one body in one canonicalization.
#[derive(Debug)]
pub struct BodyHash {
    canonicalizer: BodyCanonicalizer,
    digest: StagedSha256,
}

/// A SHA-256 state and the octets it has not been advanced over.
#[derive(Debug)]
struct StagedSha256 {
    state: State,
    /// At most [`STAGING_OCTETS_MAX`] octets, and the padding.
    staging: Vec<u8>,
    /// All octets pushed, padding not counted.
    octets: u64,
    /// The padding is in the staging, nothing may follow.
    ended: bool,
}

impl BodyHash {
    pub(crate) fn new(algorithm: Canonicalization) -> BodyHash {
        let digest = StagedSha256 { state: INITIAL_STATE, staging: Vec::new(), octets: 0, ended: false };
        BodyHash { canonicalizer: BodyCanonicalizer::new(algorithm), digest }
    }

    pub(crate) fn algorithm(&self) -> Canonicalization {
        self.canonicalizer.algorithm()
    }

    pub(crate) fn feed(&mut self, octets: &[u8]) {
        if !self.digest.ended {
            self.digest.make_room(octets.len());
            self.canonicalizer.feed(octets, &mut self.digest);
        }
    }

    /// The end of the body: pads. May be called again.
    pub(crate) fn end(&mut self) {
        if !self.digest.ended {
            self.canonicalizer.finish(&mut self.digest);
            self.digest.pad();
        }
    }

    /// Canonicalized octets so far; of the whole body once it has ended.
    pub(crate) fn octets(&self) -> u64 {
        self.digest.octets
    }

    /// The body hash, once the body has ended and every block was compressed.
    pub(crate) fn value(&self) -> Option<[u8; 32]> {
        if !self.digest.ended || !self.digest.staging.is_empty() {
            return None;
        }
        let mut value = [0; 32];
        for (octets, word) in value.chunks_exact_mut(4).zip(self.digest.state) {
            octets.copy_from_slice(&word.to_be_bytes());
        }
        Some(value)
    }

    /// Octets that wait for [`Kernels::compress`](crate::Kernels::compress), in whole blocks of 64. Nothing to do for this hash when it is 0.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.digest.staging.len() / BLOCK_OCTETS * BLOCK_OCTETS
    }
}

/// Advances every hash of the batch over its staged whole blocks, the padding of ended ones included. Sorts the batch: longest first.
pub(crate) fn compress(kernels: &Sha256Kernels, batch: &mut [&mut BodyHash]) {
    batch.sort_unstable_by_key(|hash| Reverse(hash.staged()));
    kernels.advance(batch.iter_mut().map(|hash| hash.digest.job()));
    for hash in batch {
        hash.digest.drop_whole_blocks();
    }
}

impl StagedSha256 {
    /// What there is to do.
    fn job(&mut self) -> Sha256Job<'_> {
        Sha256Job { state: &mut self.state, blocks: self.staging.as_chunks().0 }
    }

    /// After the state was advanced over them.
    fn drop_whole_blocks(&mut self) {
        let rest = self.staging.len() % BLOCK_OCTETS;
        let done = self.staging.len() - rest;
        self.staging.copy_within(done.., 0);
        self.staging.truncate(rest);
    }

    /// For so many octets, or as many of them as are staged at all.
    fn make_room(&mut self, octets: usize) {
        self.staging.reserve(octets.min(STAGING_OCTETS_MAX - self.staging.len()));
    }

    /// Without a batch.
    fn advance(&mut self) {
        Sha256Kernels::PORTABLE.advance([self.job()]);
        self.drop_whole_blocks();
    }

    fn pad(&mut self) {
        if self.staging.len() + BLOCK_OCTETS > STAGING_OCTETS_MAX {
            self.advance();
        }
        let bits = self.octets.wrapping_mul(8);
        self.staging.push(0x80);
        let zeros = (BLOCK_OCTETS + 56 - self.staging.len() % BLOCK_OCTETS) % BLOCK_OCTETS;
        self.staging.resize(self.staging.len() + zeros, 0);
        self.staging.extend_from_slice(&bits.to_be_bytes());
        self.ended = true;
    }
}

impl Sink for StagedSha256 {
    fn push(&mut self, mut octets: &[u8]) {
        self.octets += octets.len() as u64;
        while self.staging.len() + octets.len() > STAGING_OCTETS_MAX {
            let (now, later) = octets.split_at(STAGING_OCTETS_MAX - self.staging.len());
            self.staging.extend_from_slice(now);
            self.advance();
            octets = later;
        }
        self.staging.extend_from_slice(octets);
    }
}

const BLOCK_OCTETS: usize = size_of::<Block>();

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    /// A simple-canonicalized body that already ends in CRLF is hashed as it is.
    fn body(octets: usize) -> Vec<u8> {
        (0..octets - 2).map(|at| b'a' + u8::try_from(at % 26).unwrap()).chain(*b"\r\n").collect()
    }

    #[test]
    fn every_length_agrees_with_aws_lc() {
        let large = [4095, 4096, 65_535, 65_536, 65_537, 131_072, 200_000];
        for octets in (2..300).chain(large) {
            let body = body(octets);
            let mut hash = BodyHash::new(Canonicalization::Simple);
            hash.feed(&body);
            hash.end();
            compress(&Sha256Kernels::PORTABLE, &mut [&mut hash]);
            assert_eq!(hash.value().unwrap(), digest(&SHA256, &body).as_ref(), "{octets}");
            assert_eq!(hash.octets(), octets as u64);
        }
    }

    #[test]
    fn a_batch_of_ragged_bodies_in_turns() {
        let lengths = [2, 60, 64, 1000, 5000, 65_540];
        let bodies: Vec<Vec<u8>> = lengths.into_iter().map(body).collect();
        let mut hashes: Vec<BodyHash> = bodies.iter().map(|_| BodyHash::new(Canonicalization::Simple)).collect();
        for turn in 0..70 {
            for (hash, body) in hashes.iter_mut().zip(&bodies) {
                let piece = body.chunks(997).nth(turn).unwrap_or_default();
                hash.feed(piece);
                if turn == 69 {
                    hash.end();
                }
            }
            let mut batch: Vec<&mut BodyHash> = hashes.iter_mut().filter(|hash| hash.staged() > 0).collect();
            compress(&Sha256Kernels::PORTABLE, &mut batch);
            assert!(hashes.iter().all(|hash| hash.staged() == 0 && hash.digest.staging.len() < BLOCK_OCTETS));
        }
        for (hash, body) in hashes.iter().zip(&bodies) {
            assert_eq!(hash.value().unwrap(), digest(&SHA256, body).as_ref(), "{}", body.len());
        }
    }

    #[test]
    fn staging_is_bounded_without_a_batch() {
        let mut hash = BodyHash::new(Canonicalization::Relaxed);
        for _ in 0..500 {
            hash.feed(&[b'x'; 1000]);
            assert!(hash.staged() <= STAGING_OCTETS_MAX);
            assert!(hash.digest.staging.capacity() <= 2 * STAGING_OCTETS_MAX);
        }
        hash.end();
        assert_eq!(hash.value(), None);
        compress(&Sha256Kernels::PORTABLE, &mut [&mut hash]);
        let expected: Vec<u8> = [b'x'; 500_000].into_iter().chain(*b"\r\n").collect();
        assert_eq!(hash.value().unwrap(), digest(&SHA256, &expected).as_ref());
    }

    #[test]
    fn empty_bodies() {
        // RFC 6376 §3.4.3 and §3.4.4 give these in base64.
        let rows = [(Canonicalization::Simple, b"\r\n".as_slice()), (Canonicalization::Relaxed, b"")];
        for (algorithm, canonical) in rows {
            let mut hash = BodyHash::new(algorithm);
            hash.end();
            hash.end();
            compress(&Sha256Kernels::PORTABLE, &mut [&mut hash]);
            assert_eq!(hash.value().unwrap(), digest(&SHA256, canonical).as_ref(), "{algorithm:?}");
        }
    }
}
