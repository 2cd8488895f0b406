//! What is limited, for whom, to how much: the operator's `SCOPE.WHAT=N[/PERIOD]`, and what holds without a word of his.

use std::fmt;
use std::str::FromStr;

use super::table::Want;

/// For whom a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One address, IPv4 or IPv6.
    Address,
    /// The /64 of an IPv6 address: one link, mostly one customer's machine (RFC 7421).
    Prefix64,
    /// Its /56: one site of a customer (RFC 6177).
    Prefix56,
    /// Its /48: one customer, or many at a hosting company.
    Prefix48,
    /// A domain for which SPF or DKIM passed.
    Identity,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Connections in a time.
    Connections,
    /// Messages in a time.
    Messages,
    /// Recipients in a time.
    Recipients,
    /// Sessions at once.
    Sessions,
}

/// So many in a period: all of them at once after a pause as long, then one whenever a part of the period has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period_ms: u64,
}

/// The limits of one scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ScopeLimits {
    /// In the order of [`What::RATES`].
    pub(super) rates: [Option<Rate>; What::RATES.len()],
    pub(super) sessions: Option<u32>,
}

/// All limits. By default there are no rates, and the sessions of one address or prefix are bounded so that it cannot take all
/// connections of a shard; connectors, whom the operator knows, are bound only by what he has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRules {
    anonymous: [ScopeLimits; Scope::ALL.len()],
    connector: [ScopeLimits; Scope::ALL.len()],
}

/// Why a limit could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitError {
    /// Not `SCOPE.WHAT=N[/PERIOD]`.
    #[error("`{0}`: write SCOPE.WHAT=N/PERIOD, such as 64.messages=600/1h or address.sessions=50")]
    Form(String),
    /// Not a scope.
    #[error("scope `{0}` is not one of address, 64, 56, 48, identity")]
    Scope(String),
    /// Not something that is counted.
    #[error("`{0}` is not one of connections, messages, recipients, sessions")]
    What(String),
    /// An identity is known only at the end of a message.
    #[error("identity.{0}: only messages and recipients can be limited by identity, it is known after the message")]
    Identity(What),
    /// Not a count.
    #[error("`{0}` is not a number from 1 to 4294967295, nor `none`")]
    Count(String),
    /// A rate without its period.
    #[error("{0} are limited in a time: add one, such as /1h")]
    NoPeriod(What),
    /// Sessions with a period.
    #[error("sessions are limited at once, not in a time: leave `/{0}` out")]
    Period(String),
    /// Not a period.
    #[error("period `{0}` is not a number with s, m, h or d, from 1s to 30d")]
    BadPeriod(String),
    /// Given twice.
    #[error("{0}.{1} is given twice")]
    Twice(Scope, What),
}

impl Scope {
    /// Every scope, the tightest first.
    pub const ALL: [Scope; 5] = [Scope::Address, Scope::Prefix64, Scope::Prefix56, Scope::Prefix48, Scope::Identity];
}

impl What {
    /// Those that are counted in a time.
    pub const RATES: [What; 3] = [What::Connections, What::Messages, What::Recipients];
    const ALL: [What; 4] = [What::Connections, What::Messages, What::Recipients, What::Sessions];
}

impl Rate {
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// From one to the next, rounded up: in no period are there more than the count, beside what was saved up.
    pub(super) fn interval_ns(self) -> u64 {
        self.period_ms.saturating_mul(1_000_000).div_ceil(u64::from(self.count))
    }
}

impl LimitRules {
    /// Reads the values of `--limit`: what they name takes the place of the default, `none` lifts it.
    ///
    /// # Errors
    /// At the first that cannot be read, or that names what one before it named.
    pub fn parse_all<S: AsRef<str>>(values: &[S]) -> Result<LimitRules, LimitError> {
        let mut rules = LimitRules::default();
        let mut seen = Vec::new();
        for value in values {
            let (scope, what, bound) = parse(value.as_ref())?;
            if seen.contains(&(scope, what)) {
                return Err(LimitError::Twice(scope, what));
            }
            seen.push((scope, what));
            for limits in [&mut rules.anonymous, &mut rules.connector] {
                limits[scope as usize].set(what, bound);
            }
        }
        Ok(rules)
    }

    pub(super) fn of(&self, scope: Scope, is_connector: bool) -> &ScopeLimits {
        let limits = if is_connector { &self.connector } else { &self.anonymous };
        &limits[scope as usize]
    }
}

impl Default for LimitRules {
    fn default() -> LimitRules {
        let mut anonymous = [ScopeLimits::default(); Scope::ALL.len()];
        for (scope, sessions) in SESSIONS_DEFAULT {
            anonymous[scope as usize].sessions = Some(sessions);
        }
        LimitRules { anonymous, connector: [ScopeLimits::default(); Scope::ALL.len()] }
    }
}

impl ScopeLimits {
    /// Whether anything is limited.
    pub(super) fn is_any(&self) -> bool {
        self.sessions.is_some() || self.rates.iter().any(Option::is_some)
    }

    /// Whether there is anything to look at or to remember for `want`.
    pub(super) fn concern(&self, want: Want) -> bool {
        want.session || self.rates.iter().zip(want.amounts).any(|(rate, amount)| rate.is_some() && amount > 0)
    }

    fn set(&mut self, what: What, bound: Option<Bound>) {
        match (what, bound) {
            (What::Sessions, Some(Bound::Sessions(count))) => self.sessions = Some(count),
            (What::Sessions, _) => self.sessions = None,
            (_, Some(Bound::Rate(rate))) => self.rates[what as usize] = Some(rate),
            (_, _) => self.rates[what as usize] = None,
        }
    }
}

/// What stands behind the equals sign, if it is not `none`.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Rate(Rate),
    Sessions(u32),
}

fn parse(text: &str) -> Result<(Scope, What, Option<Bound>), LimitError> {
    let form = || LimitError::Form(text.to_owned());
    let (name, bound) = text.split_once('=').ok_or_else(form)?;
    let (scope, what) = name.split_once('.').ok_or_else(form)?;
    let scope = Scope::ALL.into_iter().find(|known| known.word() == scope);
    let scope = scope.ok_or_else(|| LimitError::Scope(name.split('.').next().unwrap_or_default().to_owned()))?;
    let what =
        What::ALL.into_iter().find(|known| known.word() == what).ok_or_else(|| LimitError::What(what.to_owned()))?;
    if scope == Scope::Identity && !matches!(what, What::Messages | What::Recipients) {
        return Err(LimitError::Identity(what));
    }
    let bound = match (what, bound.split_once('/')) {
        (_, None) if bound == "none" => None,
        (What::Sessions, None) => Some(Bound::Sessions(count(bound)?)),
        (What::Sessions, Some((_, period))) => return Err(LimitError::Period(period.to_owned())),
        (_, None) => {
            count(bound)?;
            return Err(LimitError::NoPeriod(what));
        }
        (_, Some(_)) => Some(Bound::Rate(bound.parse()?)),
    };
    Ok((scope, what, bound))
}

impl FromStr for Rate {
    type Err = LimitError;

    /// `N/PERIOD`.
    fn from_str(text: &str) -> Result<Rate, LimitError> {
        let (number, period) = text.split_once('/').ok_or_else(|| LimitError::Form(text.to_owned()))?;
        Ok(Rate { count: count(number)?, period_ms: period_ms(period)? })
    }
}

fn count(text: &str) -> Result<u32, LimitError> {
    number(text).and_then(|count| u32::try_from(count).ok()).ok_or_else(|| LimitError::Count(text.to_owned()))
}

fn period_ms(text: &str) -> Result<u64, LimitError> {
    let seconds = text.char_indices().next_back().and_then(|(at, unit)| {
        let unit_s = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        number(&text[..at])?.checked_mul(unit_s)
    });
    let seconds = seconds.filter(|seconds| *seconds <= PERIOD_S_MAX);
    seconds.map(|seconds| seconds * 1_000).ok_or_else(|| LimitError::BadPeriod(text.to_owned()))
}

/// Digits alone, and more than zero.
fn number(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|number| is_digits && *number > 0)
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Scope::Address => "address",
            Scope::Prefix64 => "64",
            Scope::Prefix56 => "56",
            Scope::Prefix48 => "48",
            Scope::Identity => "identity",
        }
    }
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Connections => "connections",
            What::Messages => "messages",
            What::Recipients => "recipients",
            What::Sessions => "sessions",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Sessions at once by default, all shards together. A shard serves 20,000: one address may hold a tenth of that, a /64 a quarter (one of the
/// largest senders of all sends its IPv6 mail from a single /64), a /48 a half. Postfix, too, gives one client at most half of its processes.
const SESSIONS_DEFAULT: [(Scope, u32); 4] =
    [(Scope::Address, 2_000), (Scope::Prefix64, 5_000), (Scope::Prefix56, 7_500), (Scope::Prefix48, 10_000)];
/// Longer than a month is a block list.
const PERIOD_S_MAX: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, words) in [
            ("", "write SCOPE.WHAT=N/PERIOD"),
            ("64.messages", "write SCOPE.WHAT=N/PERIOD"),
            ("messages=5/1s", "write SCOPE.WHAT=N/PERIOD"),
            ("32.messages=5/1s", "scope `32` is not one of address, 64, 56, 48, identity"),
            ("/64.messages=5/1s", "scope `/64` is not"),
            ("64.mails=5/1s", "`mails` is not one of connections, messages, recipients, sessions"),
            ("64.messages=5", "messages are limited in a time: add one, such as /1h"),
            ("64.messages=0/1s", "`0` is not a number from 1"),
            ("64.messages=+5/1s", "`+5` is not a number"),
            ("64.messages=4294967296/1s", "`4294967296` is not a number"),
            ("64.messages=x", "`x` is not a number"),
            ("64.messages=5/s", "period `s` is not a number with s, m, h or d"),
            ("64.messages=5/1", "period `1` is not"),
            ("64.messages=5/0s", "period `0s` is not"),
            ("64.messages=5/31d", "period `31d` is not"),
            ("64.messages=5/18446744073709551615d", "is not a number with s, m, h or d"),
            ("64.messages=5/1µ", "period `1µ` is not"),
            ("64.sessions=5/1h", "leave `/1h` out"),
            ("identity.sessions=5", "identity.sessions: only messages and recipients"),
            ("identity.connections=5/1s", "identity.connections: only"),
        ] {
            let error = LimitRules::parse_all(&[text]).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let twice = LimitRules::parse_all(&["64.messages=5/1s", "64.messages=none"]).unwrap_err();
        assert_eq!(twice.to_string(), "64.messages is given twice");
    }

    #[test]
    fn what_holds() {
        let none: [&str; 0] = [];
        let defaults = LimitRules::parse_all(&none).unwrap();
        for (scope, sessions) in SESSIONS_DEFAULT {
            assert_eq!(*defaults.of(scope, false), ScopeLimits { sessions: Some(sessions), ..ScopeLimits::default() });
            assert_eq!(*defaults.of(scope, true), ScopeLimits::default(), "connectors: nothing by default");
        }
        let given = LimitRules::parse_all(&["48.sessions=none", "64.sessions=7", "address.recipients=90/2m"]).unwrap();
        for is_connector in [false, true] {
            assert_eq!(given.of(Scope::Prefix48, is_connector).sessions, None);
            assert_eq!(given.of(Scope::Prefix64, is_connector).sessions, Some(7));
            let rate = Rate { count: 90, period_ms: 120_000 };
            assert_eq!(given.of(Scope::Address, is_connector).rates, [None, None, Some(rate)]);
        }
    }
}
