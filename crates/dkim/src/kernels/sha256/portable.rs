//! SHA-256 on any CPU, by the crate `sha2`, which has its own ways of being quick.

use sha2::block_api::compress256;

use super::lanes::Lanes;
use super::{Block, State};

/// One state at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Lanes<1> for Portable {
    fn compress(self, states: &mut [State; 1], blocks: &[&[Block]; 1]) {
        compress256(&mut states[0], blocks[0]);
    }
}
