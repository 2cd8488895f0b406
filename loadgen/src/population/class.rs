//! Classes of sources: what is right or wrong about one, and how many in a hundred there are.

use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// What is right or wrong about a source and its mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// SPF passes, nothing is signed.
    Spf,
    /// SPF fails, an rsa-2048 signature passes.
    DkimRsa,
    /// SPF fails, an Ed25519 signature passes.
    DkimEd25519,
    /// SPF and an rsa-2048 signature pass.
    Both,
    /// SPF fails and nothing is signed.
    Neither,
    /// The address has no PTR record; SPF would pass.
    NoPtr,
    /// The PTR record's target leads to another address; SPF passes.
    NoFcrdns,
    /// Its recipients' domain has not opted in; all else passes.
    NotOptedIn,
    /// DNS fails for now: for sources of even index the PTR record, for the others the SPF record.
    TempError,
    /// Its message is larger than the server takes; SPF passes.
    Oversize,
    /// It sends octets that no client may send; SPF passes.
    Hostile,
}

impl Class {
    /// All, in the order of reports.
    pub(crate) const ALL: [Class; 11] = [
        Class::Spf,
        Class::DkimRsa,
        Class::DkimEd25519,
        Class::Both,
        Class::Neither,
        Class::NoPtr,
        Class::NoFcrdns,
        Class::NotOptedIn,
        Class::TempError,
        Class::Oversize,
        Class::Hostile,
    ];

    /// As in `--mix`, in reports and in host names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Class::Spf => "spf",
            Class::DkimRsa => "dkim-rsa",
            Class::DkimEd25519 => "dkim-ed25519",
            Class::Both => "both",
            Class::Neither => "neither",
            Class::NoPtr => "no-ptr",
            Class::NoFcrdns => "no-fcrdns",
            Class::NotOptedIn => "not-opted-in",
            Class::TempError => "temperror",
            Class::Oversize => "oversize",
            Class::Hostile => "hostile",
        }
    }

    /// Its place in [`Class::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The four bits of an address that name the class. The upper half of them passes SPF, so that one prefix in an SPF record says
    /// it for all.
    pub(crate) fn bits(self) -> u8 {
        match self {
            Class::DkimRsa => 1,
            Class::DkimEd25519 => 2,
            Class::Neither => 3,
            Class::TempError => 4,
            Class::Spf => 8,
            Class::Both => 9,
            Class::NoPtr => 10,
            Class::NoFcrdns => 11,
            Class::NotOptedIn => 12,
            Class::Oversize => 13,
            Class::Hostile => 14,
        }
    }

    /// The class that these four bits name.
    pub(crate) fn from_bits(bits: u8) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.bits() == bits)
    }

    /// Whether its mail is signed.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Class::DkimRsa | Class::DkimEd25519 | Class::Both)
    }

    /// How many messages one connection may carry when `asked` are asked for: a client whose every recipient is refused gives up
    /// early, and one that breaks the protocol is cut off.
    pub(crate) fn messages_per_connection(self, asked: u32) -> u32 {
        match self {
            Class::Hostile => 1,
            Class::NoPtr | Class::NoFcrdns | Class::NotOptedIn | Class::TempError | Class::Oversize => asked.min(10),
            _ => asked,
        }
    }
}

impl FromStr for Class {
    type Err = Error;

    fn from_str(text: &str) -> Result<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text).with_context(|| {
            let known = Class::ALL.map(Class::as_str).join(", ");
            format!("class `{text}` is not known; the classes are {known}")
        })
    }
}

/// Messages of each class in a hundred, in the order of [`Class::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mix {
    percent: [f64; Class::ALL.len()],
}

impl Mix {
    /// Messages of `class` in a hundred.
    pub(crate) fn percent(&self, class: Class) -> f64 {
        self.percent[class.index()]
    }

    /// Classes that occur.
    pub(crate) fn classes(&self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(|class| self.percent(*class) > 0.0)
    }
}

impl FromStr for Mix {
    type Err = Error;

    /// `spf=40,dkim-rsa=20,…`; what is not named does not occur.
    fn from_str(text: &str) -> Result<Mix> {
        let mut mix = Mix { percent: [0.0; Class::ALL.len()] };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((class, percent)) = part.split_once('=') else { bail!("`{part}`: expected CLASS=PERCENT") };
            let class: Class = class.trim().parse()?;
            let percent: f64 = percent.trim().parse().with_context(|| format!("`{part}`: not a number"))?;
            ensure!((0.0..=100.0).contains(&percent), "`{part}`: expected 0 to 100");
            ensure!(mix.percent(class) == 0.0, "`{part}`: {} is named twice", class.as_str());
            mix.percent[class.index()] = percent;
        }
        let sum: f64 = mix.percent.iter().sum();
        ensure!((sum - 100.0).abs() < 0.01, "the mix adds up to {sum}, expected 100");
        Ok(mix)
    }
}

/// What `--mix` is without further words.
pub(crate) const MIX_DEFAULT: &str = "spf=40,dkim-rsa=20,dkim-ed25519=10,both=20,neither=4,no-ptr=2,no-fcrdns=1,\
                                      not-opted-in=1,temperror=1,oversize=0.5,hostile=0.5";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes() {
        for (text, expected) in [
            (MIX_DEFAULT, Ok(11)),
            ("spf=100", Ok(1)),
            ("spf=50, both=50", Ok(2)),
            ("spf=50,both=50,neither=0", Ok(2)),
            ("spf=99", Err("adds up to 99, expected 100")),
            ("", Err("adds up to 0, expected 100")),
            ("spf", Err("`spf`: expected CLASS=PERCENT")),
            ("spf=x", Err("`spf=x`: not a number")),
            ("spf=101", Err("`spf=101`: expected 0 to 100")),
            ("spf=NaN", Err("`spf=NaN`: expected 0 to 100")),
            ("spf=50,spf=50", Err("spf is named twice")),
            ("dkim=100", Err("class `dkim` is not known; the classes are spf, dkim-rsa")),
        ] {
            match (text.parse::<Mix>(), expected) {
                (Ok(mix), Ok(classes)) => assert_eq!(mix.classes().count(), classes, "{text}"),
                (Err(error), Err(says)) => assert!(format!("{error:#}").contains(says), "{text}: {error:#}"),
                (mix, _) => panic!("{text}: {mix:?}"),
            }
        }
    }

    #[test]
    fn bits_lead_back() {
        for class in Class::ALL {
            assert_eq!(Class::from_bits(class.bits()), Some(class));
            assert_eq!(class.as_str().parse::<Class>().unwrap(), class);
            assert_eq!(Class::ALL[class.index()], class);
        }
        assert_eq!([0, 5, 6, 7, 15].map(Class::from_bits), [None; 5]);
    }
}
