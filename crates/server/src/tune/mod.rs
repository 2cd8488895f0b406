//! `tune`: looks at a machine and says which flags, kernel settings and limits of the unit fit it, each with its reason.
//!
//! Three steps that know nothing of each other: [`Facts`] are read, [`recommend`] makes a [`Plan`] of them (a pure function), and the plan
//! is written as text, JSON or a part of a configuration file. The numbers it reckons with stand in `measured.rs`, each with how it was
//! measured.

mod cgroup;
mod facts;
mod measured;
mod plan;
mod render;

use std::path::Path;

pub use facts::{Cpu, Facts, FactsError};
pub use plan::{Advice, Note, Plan, recommend};

/// The facts of this machine; with `cores` or `memory_octets`, those of one of which only that is known: 4 GiB a core unless
/// told, and as many cores as here unless told.
///
/// # Errors
/// If this machine cannot be looked at.
pub fn facts(cores: Option<usize>, memory_octets: Option<u64>) -> Result<Facts, FactsError> {
    if let Some(cores) = cores {
        return Ok(Facts::described(cores, memory_octets.unwrap_or(cores as u64 * OCTETS_OF_CORE)));
    }
    let mut facts = Facts::read(Path::new("/"))?;
    if let Some(memory_octets) = memory_octets {
        return Ok(Facts::described(facts.cpus.len(), memory_octets));
    }
    facts.io_uring = Some(mx6_runtime::probe_io_uring().map_err(|refusal| refusal.to_string()));
    Ok(facts)
}

/// Reads `512M`, `16G` or `1T` (binary units; `16GiB` is the same) as octets.
///
/// # Errors
/// If it is no such size, or none at all.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err("write a number and a unit, such as 512M or 16G".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "write a whole number and a unit, such as 512M or 16G".to_owned())?;
    let octets = number.checked_mul(1 << unit).filter(|octets| (SIZE_MIN..=SIZE_MAX).contains(octets));
    octets.ok_or_else(|| "must lie between 64M and 64T".to_owned())
}

/// Of a machine that is only described by its cores.
const OCTETS_OF_CORE: u64 = 4 << 30;
const SIZE_MIN: u64 = 64 << 20;
const SIZE_MAX: u64 = 64 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("64M", Some(64 << 20)),
            ("16G", Some(16 << 30)),
            ("2gib", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("63M", None),
            ("65T", None),
            ("16", None),
            ("G", None),
            ("", None),
            ("-1G", None),
            ("1.5G", None),
            ("16K", None),
            ("99999999999999999999G", None),
            ("18446744073709551615T", None),
            ("16 G", None),
            ("１G", None),
        ];
        for (text, octets) in cases {
            assert_eq!(parse_size(text).ok(), octets, "{text}");
        }
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let facts = facts(None, None).unwrap();
        assert!(!facts.cpus.is_empty() && facts.memory_octets > 64 << 20);
        assert!(facts.open_files.is_some() && facts.kernel.is_some() && facts.io_uring.is_some());
        let plan = recommend(&facts);
        // What is recommended can be used here.
        let cores = mx6_runtime::Cores::parse(&plan.flags[0].value).unwrap();
        assert_eq!(cores.cpus().len(), plan.shards);
    }
}
