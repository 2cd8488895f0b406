//! The load of a shard: measured, not guessed, and shed before it hurts what is under way.
//!
//! Normal: everybody is let in. Brownout: an anonymous client whose neighbourhood (its /64; IPv4: its address) has a session already is told
//! to come again, and idle sessions end sooner: everybody still gets his turn. Shed: every anonymous client is told so. Connectors are
//! served until something is used up. What is under way is never broken off.
//!
//! A level is entered as soon as one measurement reaches its threshold, and left, one level at a time, when all of them have been below a lower
//! threshold for some time: [`Machine`] is that rule and nothing else, `watch` measures.

mod watch;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use mx6_telemetry::{Counter, Total};

use crate::limits::{LOAD_CALM_SAMPLES, LOAD_THRESHOLDS};

pub(crate) use watch::{permille, watch};

/// How much a shard takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Level {
    #[default]
    Normal,
    Brownout,
    Shed,
}

impl Level {
    /// The word for a level that was made a number.
    pub(crate) fn word(number: u64) -> &'static str {
        match number {
            0 => "normal",
            1 => "brownout",
            _ => "shed",
        }
    }
}

/// What is measured. Those in permille are parts of their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Connections in the fullest listener's backlog, in permille.
    Backlog,
    /// How late the shard's timer was, in milliseconds.
    Lag,
    /// Message memory, in permille.
    Memory,
    /// Descriptors of the process, in permille.
    Descriptors,
    /// Connections of the shard, in permille.
    Connections,
    /// Clients that wait for a word of the next hop.
    NextHop,
}

/// One look at everything, in the order of [`Cause::ALL`].
pub(crate) type Sample = [u32; Cause::ALL.len()];

/// When a measurement makes a shard enter a level, and below what it lets it leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    pub(crate) brownout: Hysteresis,
    pub(crate) shed: Hysteresis,
}

/// Entered at `enter`, left below `leave`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hysteresis {
    pub(crate) enter: u32,
    pub(crate) leave: u32,
}

/// A change of level, and what caused it; none when calm did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: Level,
    pub(crate) to: Level,
    pub(crate) cause: Option<(Cause, u32)>,
}

/// The levels and what leads from one to another; pure.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    level: Level,
    calm_samples: u32,
}

/// The load as connections see it.
#[derive(Debug)]
pub(crate) struct Load {
    level: Cell<Level>,
    cause: Cell<Cause>,
    next_hop_waits: Rc<Cell<u32>>,
}

/// A client waits for the next hop until this is dropped.
pub(crate) struct NextHopWait(Rc<Cell<u32>>);

impl Machine {
    /// Takes one look into account.
    pub(crate) fn sample(&mut self, sample: &Sample) -> Option<Change> {
        let from = self.level;
        let highest = |by: fn(Hysteresis) -> u32| {
            Cause::ALL
                .into_iter()
                .zip(sample)
                .map(|(cause, value)| (cause.level(*value, by), cause, *value))
                .max_by_key(|(level, ..)| *level)
        };
        if let Some((to, cause, value)) = highest(|threshold| threshold.enter).filter(|(to, ..)| *to > from) {
            self.calm_samples = 0;
            self.level = to;
            return Some(Change { from, to, cause: Some((cause, value)) });
        }
        if highest(|threshold| threshold.leave).is_none_or(|(held, ..)| held >= from) {
            self.calm_samples = 0;
            return None;
        }
        self.calm_samples += 1;
        if self.calm_samples < LOAD_CALM_SAMPLES {
            return None;
        }
        self.calm_samples = 0;
        self.level = if from == Level::Shed { Level::Brownout } else { Level::Normal };
        Some(Change { from, to: self.level, cause: None })
    }
}

impl Default for Load {
    fn default() -> Load {
        Load { level: Cell::default(), cause: Cell::new(Cause::Backlog), next_hop_waits: Rc::default() }
    }
}

impl Load {
    /// Whether an anonymous client is to come again later; `is_neighbour` is asked only where it decides.
    pub(crate) fn refuses(&self, is_neighbour: impl FnOnce() -> bool) -> bool {
        match self.level.get() {
            Level::Normal => false,
            Level::Brownout => is_neighbour(),
            Level::Shed => true,
        }
    }

    /// Whether places are short, so that they are not held for nothing.
    pub(crate) fn is_short(&self) -> bool {
        self.level.get() > Level::Normal
    }

    /// Counts those who were told to come again, by what made the shard enter its level.
    pub(crate) fn shed_counter(&self) -> Counter {
        self.cause.get().counter()
    }

    /// A client waits for a word of the next hop.
    pub(crate) fn next_hop_wait(&self) -> NextHopWait {
        self.next_hop_waits.set(self.next_hop_waits.get() + 1);
        NextHopWait(Rc::clone(&self.next_hop_waits))
    }

    fn enter(&self, change: &Change) {
        self.level.set(change.to);
        if let Some((cause, _)) = change.cause {
            self.cause.set(cause);
        }
    }
}

impl Drop for NextHopWait {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Cause {
    pub(crate) const ALL: [Cause; 6] =
        [Cause::Backlog, Cause::Lag, Cause::Memory, Cause::Descriptors, Cause::Connections, Cause::NextHop];

    fn level(self, value: u32, by: fn(Hysteresis) -> u32) -> Level {
        let Thresholds { brownout, shed } = LOAD_THRESHOLDS[self as usize];
        match value {
            value if value >= by(shed) => Level::Shed,
            value if value >= by(brownout) => Level::Brownout,
            _ => Level::Normal,
        }
    }

    fn counter(self) -> Counter {
        match self {
            Cause::Backlog => Counter::ShedForBacklog,
            Cause::Lag => Counter::ShedForLag,
            Cause::Memory => Counter::ShedForMemory,
            Cause::Descriptors => Counter::ShedForDescriptors,
            Cause::Connections => Counter::ShedForConnections,
            Cause::NextHop => Counter::ShedForNextHop,
        }
    }

    /// Every counter of those who were told to come again, and what they are called in the log.
    const SHED: [(Counter, &'static str); 7] = [
        (Counter::ShedForBacklog, "backlog"),
        (Counter::ShedForLag, "lag"),
        (Counter::ShedForMemory, "memory"),
        (Counter::ShedForDescriptors, "descriptors"),
        (Counter::ShedForConnections, "connections"),
        (Counter::ShedForNextHop, "next hop"),
        (Counter::ShedUnaccepted, "no descriptor left"),
    ];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Level::word(*self as u64))
    }
}

/// What was measured, in words.
struct Measured(Cause, u32);

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured(cause, value) = self;
        let part = f64::from(*value) / 10.0;
        match cause {
            Cause::Backlog => write!(f, "accept backlog {part} % full"),
            Cause::Lag => write!(f, "timer {value} ms late"),
            Cause::Memory => write!(f, "message memory {part} % used"),
            Cause::Descriptors => write!(f, "descriptors {part} % used"),
            Cause::Connections => write!(f, "connections {part} % of the most"),
            Cause::NextHop => write!(f, "{value} clients wait for the next hop"),
        }
    }
}

/// What became of the load in the whole life of the process; none if there was never too much.
pub(crate) fn summary(total: &Total) -> Option<String> {
    let [brownout_ms, shed_ms] = [Counter::BrownoutMs, Counter::ShedMs].map(|counter| total.value(counter));
    let shed = shed_by_cause(|counter| total.value(counter));
    (brownout_ms + shed_ms > 0 || !shed.is_empty()).then(|| {
        let none = if shed.is_empty() { "nobody" } else { &shed };
        format!(
            "load: {brownout_ms} ms of brownout and {shed_ms} ms of shed, shards added up; told to come again: {none}"
        )
    })
}

/// `3 for descriptors, 1 for lag`.
fn shed_by_cause(value: impl Fn(Counter) -> u64) -> String {
    let counts = Cause::SHED.iter().map(|(counter, words)| (value(*counter), words)).filter(|(count, _)| *count > 0);
    counts.map(|(count, words)| format!("{count} for {words}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
