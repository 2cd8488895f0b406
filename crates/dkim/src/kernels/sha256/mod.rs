//! SHA-256 compression of many bodies at once (FIPS 180-4 §6.2.2).
//!
//! Every kernel stands behind one safe function, [`Sha256Kernels::advance`]: states and blocks in, states advanced. Only public octets
//! are hashed, so that time may depend on them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod emulated;
mod known_answers;
mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(test)]
mod tests;
#[cfg(any(test, target_arch = "x86_64"))]
mod vector;

use std::fmt;

#[cfg(target_arch = "x86_64")]
use super::cpu::{Avx2, Avx512, ShaNi};
use super::{KernelName, Names};
use lanes::Queue;
use portable::Portable;

/// The octets that one compression takes.
pub type Block = [u8; 64];

/// The eight words of a SHA-256 in progress.
pub type State = [u32; 8];

/// A state and the blocks that it is to be advanced over.
#[derive(Debug)]
pub struct Sha256Job<'a> {
    /// Advanced in place.
    pub state: &'a mut State,
    /// May be empty.
    pub blocks: &'a [Block],
}

/// Which kernels hash, and from how many bodies on.
#[derive(Debug, Clone, Copy)]
pub struct Sha256Kernels {
    /// Works as long as so many of its lanes are busy.
    wide: Option<(Engine, usize)>,
    /// Does the rest.
    narrow: Engine,
}

/// A kernel that this CPU has.
#[derive(Debug, Clone, Copy)]
enum Engine {
    Portable,
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Sha256Kernels {
    /// One state after the other, with the crate `sha2`.
    pub const PORTABLE: Sha256Kernels = Sha256Kernels { wide: None, narrow: Engine::Portable };

    /// The one of `names` does everything.
    pub(super) fn only(names: Names) -> Sha256Kernels {
        let engine = names.iter().find_map(Engine::detect);
        Sha256Kernels { wide: None, narrow: engine.unwrap_or(Engine::Portable) }
    }

    /// The fastest that can be made of `names`.
    pub(super) fn fastest(names: Names) -> Sha256Kernels {
        let engine = |name| if names.contains(name) { Engine::detect(name) } else { None };
        let (avx512, avx2) = (engine(KernelName::Avx512), engine(KernelName::Avx2));
        match engine(KernelName::ShaNi) {
            Some(sha_ni) => {
                Sha256Kernels { wide: avx512.map(|wide| (wide, AVX512_BUSY_MIN_BESIDE_SHA_NI)), narrow: sha_ni }
            }
            None => {
                let avx512 = avx512.map(|wide| (wide, AVX512_BUSY_MIN));
                let wide = avx512.or_else(|| avx2.map(|wide| (wide, AVX2_BUSY_MIN)));
                Sha256Kernels { wide, narrow: Engine::Portable }
            }
        }
    }

    /// Whether this CPU has what the kernel needs.
    pub(super) fn can_run(name: KernelName) -> bool {
        Engine::detect(name).is_some()
    }

    /// Advances every state over its blocks. The batch is done soonest if the longest jobs come first.
    pub fn advance<'a>(&self, jobs: impl IntoIterator<Item = Sha256Job<'a>>) {
        let mut queue = Queue::new(jobs.into_iter());
        if let Some((engine, busy_min)) = self.wide {
            engine.run(&mut queue, busy_min);
        }
        self.narrow.run(&mut queue, 1);
    }

    /// Whether known answers come out.
    pub(super) fn answers_are_right(&self) -> bool {
        known_answers::are_right(|jobs| self.advance(jobs))
    }
}

impl fmt::Display for Sha256Kernels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((engine, busy_min)) = self.wide {
            write!(formatter, "{engine} from {busy_min} bodies, below that ")?;
        }
        write!(formatter, "{}", self.narrow)
    }
}

impl Engine {
    /// The kernel with that name, if this CPU has what it needs.
    fn detect(name: KernelName) -> Option<Engine> {
        match name {
            #[cfg(target_arch = "x86_64")]
            KernelName::ShaNi => ShaNi::detect().map(Engine::ShaNi),
            #[cfg(target_arch = "x86_64")]
            KernelName::Avx2 => Avx2::detect().map(Engine::Avx2),
            #[cfg(target_arch = "x86_64")]
            KernelName::Avx512 => Avx512::detect().map(Engine::Avx512),
            KernelName::RsaAvx2 | KernelName::RsaIfma => None,
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }

    fn run<'a>(self, queue: &mut Queue<'a, impl Iterator<Item = Sha256Job<'a>>>, busy_min: usize) {
        match self {
            Engine::Portable => queue.run::<1>(Portable, busy_min),
            #[cfg(target_arch = "x86_64")]
            Engine::ShaNi(cpu) => {
                queue.run::<2>(cpu, busy_min.max(2));
                queue.run::<1>(cpu, busy_min);
            }
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(cpu) => queue.run::<8>(cpu, busy_min),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(cpu) => queue.run::<16>(cpu, busy_min),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Engine::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Engine::ShaNi(_) => KernelName::ShaNi.as_str(),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(_) => KernelName::Avx2.as_str(),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(_) => KernelName::Avx512.as_str(),
        })
    }
}

/// Busy lanes from which sixteen lanes beat SHA-NI, two by two: a turn of them takes the same time however many are busy, and full they do
/// 4.4 GB/s against 2.7.
const AVX512_BUSY_MIN_BESIDE_SHA_NI: usize = 10;

/// Busy lanes from which sixteen lanes beat one state after the other without SHA-NI, which does about 0.3 GB/s.
const AVX512_BUSY_MIN: usize = 3;

/// The same of eight lanes, which do 1.5 GB/s when full. They never beat SHA-NI two by two, which does 3.
const AVX2_BUSY_MIN: usize = 3;

/// FIPS 180-4 §5.3.3.
pub const INITIAL_STATE: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// FIPS 180-4 §4.2.2, in fours as SHA-NI adds them.
#[cfg(any(test, target_arch = "x86_64"))]
const ROUND_CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];
