//! SHA-256 of canonicalized bodies, hashed in batches.
//!
//! A [`BodyHash`] collects canonical octets in its staging; [`compress`] advances the states of all given hashes over their
//! whole blocks together. It is the only door to the compression function, so that kernels which work on several states at once can
//! stand behind it; now it is one state after the other. Padding is FIPS 180-4 §5.1.1.

use sha2::block_api::compress256;

use crate::canonical_body::{BodyCanonicalizer, Canonicalization, Sink};
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
    state: [u32; 8],
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

    /// Octets that wait for [`compress`], in whole blocks of 64. Nothing to do for this hash when it is 0.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.digest.staging.len() / BLOCK_OCTETS * BLOCK_OCTETS
    }
}

/// Advances every hash of the batch over its staged whole blocks, the padding of ended ones included.
pub fn compress(batch: &mut [&mut BodyHash]) {
    for hash in batch {
        hash.digest.advance();
    }
}

impl StagedSha256 {
    fn advance(&mut self) {
        let (blocks, rest) = self.staging.as_chunks::<BLOCK_OCTETS>();
        if blocks.is_empty() {
            return;
        }
        compress256(&mut self.state, blocks);
        let rest = rest.len();
        let done = self.staging.len() - rest;
        self.staging.copy_within(done.., 0);
        self.staging.truncate(rest);
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

const BLOCK_OCTETS: usize = 64;

/// FIPS 180-4 §5.3.3.
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

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
            compress(&mut [&mut hash]);
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
            compress(&mut batch);
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
        compress(&mut [&mut hash]);
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
            compress(&mut [&mut hash]);
            assert_eq!(hash.value().unwrap(), digest(&SHA256, canonical).as_ref(), "{algorithm:?}");
        }
    }
}
