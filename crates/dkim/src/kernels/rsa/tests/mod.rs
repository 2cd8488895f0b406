//! Every test runs on the emulated machines, and on the real ones where the processor has them.

mod carries;
mod fuzz;
mod keys;
mod wycheproof;

use super::*;

/// The kernels that can run here, emulated ones included; or the one that `MX6_TEST_KERNEL` names, for machines that take their time.
pub(crate) fn kernels() -> Vec<RsaKernel> {
    let real = [KernelName::RsaIfma, KernelName::RsaAvx2].into_iter().filter_map(RsaKernel::named);
    if let Some(wanted) = wanted() {
        let named: Vec<_> = real.filter(|kernel| kernel.name().as_str() == wanted).collect();
        assert!(!named.is_empty(), "MX6_TEST_KERNEL={wanted} is not a kernel for RSA that can run here");
        return named;
    }
    let emulated = [RsaKernel::LikeIfma(emulation::LikeIfma), RsaKernel::LikeAvx2(emulation::LikeAvx2)];
    emulated.into_iter().chain(real).collect()
}

fn wanted() -> Option<String> {
    std::env::var("MX6_TEST_KERNEL").ok().filter(|name| !name.is_empty())
}

/// A signature and its key, for whatever kernel.
#[derive(Clone, Copy)]
struct Given<'g> {
    key: &'g keys::Moduli,
    signature: &'g [u8; MODULUS_OCTETS],
    digest: &'g [u8; 32],
}

/// What every kernel says to these, in as many calls as it needs; they must agree.
fn verify_by_all(given: &[Option<Given<'_>>; LANES_MAX]) -> [bool; LANES_MAX] {
    let said: Vec<_> = kernels().into_iter().map(|kernel| verify_by(kernel, given)).collect();
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{:?} said {said:?}", kernels());
    said[0]
}

fn verify_by(kernel: RsaKernel, given: &[Option<Given<'_>>; LANES_MAX]) -> [bool; LANES_MAX] {
    let mut said = [false; LANES_MAX];
    for start in (0..LANES_MAX).step_by(kernel.lanes()) {
        let mut checks = [None; LANES_MAX];
        for (check, given) in checks.iter_mut().zip(&given[start..start + kernel.lanes()]) {
            if let Some(Given { key, signature, digest }) = given {
                *check = Some(Check { modulus: key.of(kernel.form()), signature, digest });
            }
        }
        said[start..start + kernel.lanes()].copy_from_slice(&kernel.verify(&checks)[..kernel.lanes()]);
    }
    said
}
