//! Kernels: the same computation written for the instructions of certain CPUs.
//!
//! Which ones exist, which of them this CPU has, which of those give known answers, and which are to be used. [`Kernels::select`] answers
//! all four at the start of a program; a [`Kernels`] then travels to where the work is done. Without it everything is portable.
//!
//! `unsafe` stands only below here, and only for what the compiler cannot see: that the CPU has the instructions, which a value of
//! `cpu` proves, and that a load reads the octets of a reference.

mod cpu;
pub(crate) mod rsa;
mod sha256;

use std::fmt;
use std::str::FromStr;

pub use sha256::{Block, INITIAL_STATE, Sha256Job, Sha256Kernels, State};

use crate::Verification;
use crate::body_hash::BodyHash;
use rsa::RsaKernel;

/// The kernels to use, one set for each purpose. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    sha256: Sha256Kernels,
    rsa: Option<RsaKernel>,
}

/// A kernel by its name, which is also what an operator calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelName {
    /// SHA-256 by SHA-NI, two bodies interleaved.
    ShaNi,
    /// SHA-256 of eight bodies in AVX2 registers.
    Avx2,
    /// SHA-256 of sixteen bodies in AVX-512 registers.
    Avx512,
    /// RSA-2048 of four signatures in AVX2 registers.
    RsaAvx2,
    /// RSA-2048 of eight signatures by AVX512-IFMA.
    RsaIfma,
}

/// What a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Body hashes.
    Sha256,
    /// RSA signatures of 2048 bits.
    Rsa2048,
}

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelChoice {
    /// What is fastest on this CPU.
    #[default]
    Auto,
    /// These, at most one for each purpose, however few bodies there are. A purpose without one is portable.
    Only(Names),
}

/// What was selected, and what had to be left out.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// To be used.
    pub kernels: Kernels,
    /// This CPU has them, and they gave wrong answers.
    pub failed: Names,
}

/// Names of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names([bool; KernelName::ALL.len()]);

/// A choice that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// No such name.
    #[error("is not auto, portable or a kernel ({all})", all = Names::from_iter(KernelName::ALL))]
    Unknown,
    /// Two names for one purpose.
    #[error("{first} and {second} do the same; name one of them")]
    Twice {
        /// Given first.
        first: KernelName,
        /// Given after it.
        second: KernelName,
    },
    /// The CPU cannot run it.
    #[error("this CPU cannot run {wanted}; it can run portable{}", has.after_comma())]
    Missing {
        /// What was chosen.
        wanted: KernelName,
        /// What there is, besides portable.
        has: Names,
    },
}

impl Kernels {
    /// No kernel of ours.
    pub const PORTABLE: Kernels = Kernels { sha256: Sha256Kernels::PORTABLE, rsa: None };

    /// Follows `choice` with what this CPU has. Every kernel that comes into question is asked for known answers first; one that fails is
    /// left out.
    ///
    /// # Errors
    /// If a kernel is chosen by name that this CPU cannot run.
    pub fn select(choice: KernelChoice) -> Result<Selection, KernelError> {
        select_among(choice, KernelName::on_this_cpu, KernelName::answers_are_right)
    }

    /// Advances every hash of the batch over its staged whole blocks, the padding of ended ones included. Sorts the batch.
    pub fn compress(&self, batch: &mut [&mut BodyHash]) {
        crate::body_hash::compress(&self.sha256, batch);
    }

    /// Verifies what can be verified together of messages whose body has ended and is hashed and whose keys were taken in; what is not
    /// so far is passed over. Allocates nothing. Says how many signatures were ready for lanes of their own, whether or not a kernel took
    /// them.
    pub fn verify<'v>(&self, batch: impl IntoIterator<Item = &'v mut Verification>) -> usize {
        crate::signature_batch::verify(self.rsa, batch)
    }

    /// Those that hash.
    #[must_use]
    pub fn sha256(&self) -> &Sha256Kernels {
        &self.sha256
    }
}

/// [`Kernels::select`] with the CPU and the known answers as arguments.
fn select_among(
    choice: KernelChoice,
    on_this_cpu: impl Fn(KernelName) -> bool,
    answers_are_right: impl Fn(KernelName) -> bool,
) -> Result<Selection, KernelError> {
    let all = Names::from_iter(KernelName::ALL);
    let has = all.filter(on_this_cpu);
    let wanted = match choice {
        KernelChoice::Auto => has,
        KernelChoice::Only(names) => names,
    };
    if let Some(wanted) = wanted.iter().find(|name| !has.contains(*name)) {
        return Err(KernelError::Missing { wanted, has });
    }
    let working = wanted.filter(answers_are_right);
    let failed = wanted.filter(|name| !working.contains(name));
    let kernels = match choice {
        KernelChoice::Auto => Kernels { sha256: Sha256Kernels::fastest(working), rsa: RsaKernel::fastest(working) },
        KernelChoice::Only(_) => Kernels { sha256: Sha256Kernels::only(working), rsa: RsaKernel::fastest(working) },
    };
    Ok(Selection { kernels, failed })
}

impl fmt::Display for Kernels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rsa = self.rsa.map_or("portable", |kernel| kernel.name().as_str());
        write!(formatter, "SHA-256 {}, RSA-2048 {rsa}", self.sha256)
    }
}

impl KernelName {
    /// Every kernel there is.
    pub const ALL: [KernelName; 5] =
        [KernelName::ShaNi, KernelName::Avx2, KernelName::Avx512, KernelName::RsaAvx2, KernelName::RsaIfma];

    /// As an operator writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KernelName::ShaNi => "sha-ni",
            KernelName::Avx2 => "avx2",
            KernelName::Avx512 => "avx512",
            KernelName::RsaAvx2 => "rsa-avx2",
            KernelName::RsaIfma => "rsa-ifma",
        }
    }

    /// What it computes.
    #[must_use]
    pub fn purpose(self) -> Purpose {
        match self {
            KernelName::ShaNi | KernelName::Avx2 | KernelName::Avx512 => Purpose::Sha256,
            KernelName::RsaAvx2 | KernelName::RsaIfma => Purpose::Rsa2048,
        }
    }

    /// Whether this CPU has what it needs.
    fn on_this_cpu(self) -> bool {
        match self.purpose() {
            Purpose::Sha256 => Sha256Kernels::can_run(self),
            Purpose::Rsa2048 => RsaKernel::named(self).is_some(),
        }
    }

    fn answers_are_right(self) -> bool {
        match self.purpose() {
            Purpose::Sha256 => Sha256Kernels::only(Names::from_iter([self])).answers_are_right(),
            Purpose::Rsa2048 => RsaKernel::named(self).is_some_and(RsaKernel::answers_are_right),
        }
    }
}

impl fmt::Display for KernelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for KernelChoice {
    type Err = KernelError;

    /// `auto`, `portable`, or names with commas between them.
    fn from_str(text: &str) -> Result<KernelChoice, KernelError> {
        match text {
            "auto" => return Ok(KernelChoice::Auto),
            "portable" => return Ok(KernelChoice::Only(Names::default())),
            _ => {}
        }
        let mut names = Names::default();
        for word in text.split(',') {
            let found = KernelName::ALL.into_iter().find(|name| name.as_str() == word.trim());
            let second = found.ok_or(KernelError::Unknown)?;
            if let Some(first) = names.iter().find(|name| name.purpose() == second.purpose()) {
                return Err(KernelError::Twice { first, second });
            }
            names.insert(second);
        }
        Ok(KernelChoice::Only(names))
    }
}

impl Names {
    /// Whether `name` is one of them.
    #[must_use]
    pub fn contains(&self, name: KernelName) -> bool {
        self.0[name as usize]
    }

    /// In the order of [`KernelName::ALL`].
    pub fn iter(self) -> impl Iterator<Item = KernelName> {
        KernelName::ALL.into_iter().filter(move |name| self.contains(*name))
    }

    fn insert(&mut self, name: KernelName) {
        self.0[name as usize] = true;
    }

    /// To go on a list with.
    fn after_comma(self) -> String {
        self.iter().map(|name| format!(", {name}")).collect()
    }

    fn filter(self, keep: impl Fn(KernelName) -> bool) -> Names {
        self.iter().filter(|name| keep(*name)).collect()
    }
}

impl FromIterator<KernelName> for Names {
    fn from_iter<I: IntoIterator<Item = KernelName>>(names: I) -> Names {
        let mut all = Names::default();
        names.into_iter().for_each(|name| all.insert(name));
        all
    }
}

impl fmt::Display for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.iter().enumerate() {
            write!(formatter, "{}{name}", if at == 0 { "" } else { ", " })?;
        }
        if self.iter().next().is_none() { formatter.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[KernelName]) -> Names {
        names.iter().copied().collect()
    }

    #[test]
    fn choices() {
        let rows = [
            ("auto", Ok(KernelChoice::Auto)),
            ("portable", Ok(KernelChoice::Only(Names::default()))),
            ("sha-ni", Ok(KernelChoice::Only(names(&[KernelName::ShaNi])))),
            ("avx512", Ok(KernelChoice::Only(names(&[KernelName::Avx512])))),
            ("AVX2", Err(KernelError::Unknown)),
            ("", Err(KernelError::Unknown)),
            ("sha-ni,portable", Err(KernelError::Unknown)),
            ("sha-ni, avx2", Err(KernelError::Twice { first: KernelName::ShaNi, second: KernelName::Avx2 })),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<KernelChoice>(), expected, "{text}");
        }
    }

    #[test]
    fn every_name_is_its_own() {
        for (at, name) in KernelName::ALL.into_iter().enumerate() {
            assert_eq!(name as usize, at);
            assert_eq!(name.as_str().parse(), Ok(KernelChoice::Only(names(&[name]))));
        }
    }

    #[test]
    fn what_the_cpu_lacks_is_an_error_that_names_what_it_has() {
        let lacks_avx512 = |name| name != KernelName::Avx512;
        let choice = "avx512".parse().unwrap();
        let error = select_among(choice, lacks_avx512, |_| true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this CPU cannot run avx512; it can run portable, sha-ni, avx2, rsa-avx2, rsa-ifma"
        );
        let error = select_among(choice, |_| false, |_| true).unwrap_err();
        assert_eq!(error.to_string(), "this CPU cannot run avx512; it can run portable");
        assert!(select_among(KernelChoice::Auto, |_| false, |_| true).is_ok());
    }

    #[test]
    fn a_kernel_that_fails_is_left_out() {
        for broken in KernelName::ALL.into_iter().filter(|name| name.on_this_cpu()) {
            for choice in [KernelChoice::Auto, KernelChoice::Only(names(&[broken]))] {
                let right = |name| name != broken;
                let selection = select_among(choice, KernelName::on_this_cpu, right).unwrap();
                assert_eq!(selection.failed, names(&[broken]));
                let used = selection.kernels.to_string();
                assert!(used.split([' ', ',']).all(|word| word != broken.as_str()), "{used}");
            }
        }
    }

    #[test]
    fn this_cpu_passes() {
        let selection = Kernels::select(KernelChoice::Auto).unwrap();
        assert_eq!(selection.failed, Names::default());
        for name in KernelName::ALL.into_iter().filter(|name| name.on_this_cpu()) {
            let selection = Kernels::select(KernelChoice::Only(names(&[name]))).unwrap();
            let expected = match name.purpose() {
                Purpose::Sha256 => format!("SHA-256 {name}, RSA-2048 portable"),
                Purpose::Rsa2048 => format!("SHA-256 portable, RSA-2048 {name}"),
            };
            assert_eq!(selection.kernels.to_string(), expected);
        }
        let selection = Kernels::select("portable".parse().unwrap()).unwrap();
        assert_eq!(selection.kernels.to_string(), "SHA-256 portable, RSA-2048 portable");
    }
}
