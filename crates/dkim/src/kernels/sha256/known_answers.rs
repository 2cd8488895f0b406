//! Known answers for the start: a kernel that does not give them is not used.
//!
//! Messages of many lengths, in batches of every shape that the lanes can be in: fewer than lanes, all lanes, more than lanes; even
//! and ragged. The examples of FIPS 180-4 have their digests here, the others are compared with aws-lc-rs.

use aws_lc_rs::digest::{SHA256, digest};

use super::{Block, INITIAL_STATE, Sha256Job, State};

/// Whether `advance` brings every state where it belongs.
pub(super) fn are_right(advance: impl Fn(Vec<Sha256Job<'_>>)) -> bool {
    examples_are_right(&advance) && BATCHES.iter().all(|lengths| batch_is_right(&advance, lengths))
}

fn examples_are_right(advance: &impl Fn(Vec<Sha256Job<'_>>)) -> bool {
    EXAMPLES.iter().all(|(message, expected)| {
        // Alone, and in every lane.
        [1, LANES_MAX].into_iter().all(|count| {
            let digests = digests_of(advance, &vec![message.to_vec(); count]);
            digests.iter().all(|digest| digest == expected)
        })
    })
}

fn batch_is_right(advance: &impl Fn(Vec<Sha256Job<'_>>), blocks: &[usize]) -> bool {
    let messages: Vec<Vec<u8>> = blocks.iter().enumerate().map(|(at, blocks)| message(at, blocks * 64 - 9)).collect();
    let digests = digests_of(advance, &messages);
    messages.iter().zip(digests).all(|(message, found)| {
        let octets: Vec<u8> = found.iter().flat_map(|word| word.to_be_bytes()).collect();
        digest(&SHA256, message).as_ref() == octets
    })
}

/// Octets without a pattern that two lanes could share.
fn message(seed: usize, octets: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_u32.wrapping_mul(u32::try_from(seed + 1).unwrap_or(1));
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        word.to_be_bytes()[0]
    };
    (0..octets).map(|_| next()).collect()
}

fn digests_of(advance: &impl Fn(Vec<Sha256Job<'_>>), messages: &[Vec<u8>]) -> Vec<State> {
    let padded: Vec<Vec<u8>> = messages.iter().map(|message| padded(message)).collect();
    let mut states = vec![INITIAL_STATE; messages.len()];
    let jobs = states.iter_mut().zip(&padded).map(|(state, octets)| Sha256Job { state, blocks: octets.as_chunks().0 });
    advance(jobs.collect());
    states
}

/// FIPS 180-4 §5.1.1.
fn padded(message: &[u8]) -> Vec<u8> {
    let blocks = (message.len() + 9).div_ceil(size_of::<Block>());
    let mut octets = message.to_vec();
    octets.push(0x80);
    octets.resize(blocks * size_of::<Block>() - 8, 0);
    octets.extend_from_slice(&(8 * message.len() as u64).to_be_bytes());
    octets
}

/// The most that a kernel has.
const LANES_MAX: usize = 16;

/// Blocks of each message of a batch. Ragged ones in no order: lanes are refilled at different times, and end at different times.
const BATCHES: [&[usize]; 8] = [
    &[5],
    &[1, 3],
    &[4, 4, 4],
    &[7, 1, 2, 9, 1, 1, 3],
    &[3; 8],
    &[2; 16],
    &[1, 8, 2, 7, 3, 6, 4, 5, 1, 9, 2, 2, 11, 1, 1, 30, 4],
    &[
        40, 1, 2, 3, 1, 1, 17, 9, 6, 6, 2, 1, 5, 33, 8, 1, 1, 4, 2, 12, 7, 1, 3, 20, 1, 2, 5, 1, 1, 10, 3, 2, 6, 1, 13,
        1, 1,
    ],
];

/// The examples of FIPS 180-4 (NIST, Examples with Intermediate Values) and the empty message.
const EXAMPLES: [(&[u8], State); 4] = [
    (
        b"",
        [0xe3b0_c442, 0x98fc_1c14, 0x9afb_f4c8, 0x996f_b924, 0x27ae_41e4, 0x649b_934c, 0xa495_991b, 0x7852_b855],
    ),
    (
        b"abc",
        [0xba78_16bf, 0x8f01_cfea, 0x4141_40de, 0x5dae_2223, 0xb003_61a3, 0x9617_7a9c, 0xb410_ff61, 0xf200_15ad],
    ),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        [0x248d_6a61, 0xd206_38b8, 0xe5c0_2693, 0x0c3e_6039, 0xa33c_e459, 0x64ff_2167, 0xf6ec_edd4, 0x19db_06c1],
    ),
    (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        [0xcf5b_16a7, 0x78af_8380, 0x036c_e59e, 0x7b04_9237, 0x0b24_9b11, 0xe8f0_7a51, 0xafac_4503, 0x7afe_e9d1],
    ),
];
