//! Signatures of several messages verified together: what goes into the lanes of a kernel, and what is not worth it.
//!
//! What the lanes do not take is left to [`Verification::results`], which asks aws-lc-rs: Ed25519, RSA of other sizes, and a rest too small to
//! be worth a call.

use crate::Verification;
use crate::kernels::rsa::{Check, LANES_MAX, MODULUS_OCTETS, RsaKernel};
use crate::key::RsaKey;

/// The work of [`crate::Kernels::verify`], by `kernel` if there is one. Says how many signatures were ready for lanes of their own.
pub(crate) fn verify<'v>(kernel: Option<RsaKernel>, batch: impl IntoIterator<Item = &'v mut Verification>) -> usize {
    let mut lanes = Lanes { kernel, waiting: [const { None }; LANES_MAX], ready: 0 };
    for verification in batch {
        verification.fill(&mut lanes);
    }
    lanes.run();
    lanes.ready
}

/// Gathers signatures until there is one for each lane.
pub(crate) struct Lanes<'v> {
    kernel: Option<RsaKernel>,
    waiting: [Option<Lane<'v>>; LANES_MAX],
    /// All that were ever pushed.
    ready: usize,
}

/// A signature in the kernels' range, and where to put whether it is valid.
pub(crate) struct Lane<'v> {
    pub(crate) key: &'v RsaKey,
    pub(crate) signature: &'v [u8; MODULUS_OCTETS],
    pub(crate) digest: &'v [u8; 32],
    pub(crate) known: &'v mut Option<bool>,
}

impl<'v> Lanes<'v> {
    pub(crate) fn push(&mut self, lane: Lane<'v>) {
        let lanes = self.kernel.map_or(LANES_MAX, RsaKernel::lanes);
        self.waiting[self.ready % lanes] = Some(lane);
        self.ready += 1;
        if self.ready.is_multiple_of(lanes) {
            self.run();
        }
    }

    /// Verifies what waits, if that is worth a call, and leaves it if not.
    fn run(&mut self) {
        let waiting = std::mem::replace(&mut self.waiting, [const { None }; LANES_MAX]);
        let count = waiting.iter().flatten().count();
        let Some(kernel) = self.kernel.filter(|kernel| count >= kernel.ready_min()) else { return };
        // A modulus may turn out to be out of range, by being even: aws-lc-rs has the word then.
        let check = |lane: &Lane<'v>| {
            let modulus = lane.key.modulus(kernel.form())?;
            Some(Check { modulus, signature: lane.signature, digest: lane.digest })
        };
        let checks = std::array::from_fn(|at| waiting[at].as_ref().and_then(check));
        let valid = kernel.verify(&checks);
        for ((lane, check), valid) in waiting.into_iter().zip(checks).zip(valid) {
            if let (Some(lane), Some(_)) = (lane, check) {
                *lane.known = Some(valid);
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
