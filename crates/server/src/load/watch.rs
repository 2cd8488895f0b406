//! Measures: a few times a second, for less than the cost of one message.

use std::rc::Rc;

use mx6_runtime::ListenerHandle;
use mx6_telemetry::{Counter, Gauge};

use super::{Cause, Change, Level, Machine, Measured, Sample, shed_by_cause};
use crate::limits;
use crate::shard::Shard;

/// Looks at the shard for as long as it lives.
pub(crate) async fn watch(shard: Rc<Shard>, queues: Vec<ListenerHandle>) {
    let mut watch =
        Watch { queues, machine: Machine::default(), lags_ms: [0; LAGS], episode: Episode::begin(&shard, 0) };
    let mut before_ms = mx6_runtime::now_ms();
    loop {
        mx6_runtime::sleep(limits::LOAD_PERIOD).await;
        let now_ms = mx6_runtime::now_ms();
        watch.look(&shard, now_ms, now_ms - before_ms);
        before_ms = now_ms;
    }
}

struct Watch {
    queues: Vec<ListenerHandle>,
    machine: Machine,
    lags_ms: [u64; LAGS],
    episode: Episode,
}

/// Since the level was last normal.
struct Episode {
    began_ms: u64,
    shed: Vec<u64>,
}

impl Watch {
    fn look(&mut self, shard: &Shard, now_ms: u64, elapsed_ms: u64) {
        match shard.load.level.get() {
            Level::Normal => {}
            Level::Brownout => shard.counters.add(Counter::BrownoutMs, elapsed_ms),
            Level::Shed => shard.counters.add(Counter::ShedMs, elapsed_ms),
        }
        let losses = shard.limits.table.take_losses();
        shard.counters.add(Counter::LimitForgotten, losses.forgotten);
        shard.counters.add(Counter::LimitUntracked, losses.untracked);
        self.lags_ms.rotate_left(1);
        self.lags_ms[LAGS - 1] = elapsed_ms.saturating_sub(limits::LOAD_PERIOD.as_millis() as u64);
        let sample = self.sample(shard);
        self.show(shard);
        if let Some(change) = self.machine.sample(&sample) {
            self.changed(shard, now_ms, &change);
        }
    }

    fn sample(&self, shard: &Shard) -> Sample {
        Cause::ALL.map(|cause| match cause {
            Cause::Backlog => self.queues.iter().filter_map(ListenerHandle::backlog_permille).max().unwrap_or(0),
            // What lasts: a machine that was suspended, or a single long turn, is late once.
            Cause::Lag => self.lags_ms.iter().min().map_or(0, |lag_ms| u32::try_from(*lag_ms).unwrap_or(u32::MAX)),
            Cause::Memory => shard.memory.used_permille(),
            Cause::Descriptors => mx6_runtime::descriptors_permille(),
            Cause::Connections => permille(shard.open() as u64, limits::CONNECTIONS_MAX as u64),
            Cause::NextHop => shard.load.next_hop_waits.get(),
        })
    }

    /// Puts what was seen where others can read it.
    fn show(&mut self, shard: &Shard) {
        let (counters, lag_ms) = (&shard.counters, self.lags_ms[LAGS - 1]);
        counters.set(Gauge::Level, shard.load.level.get() as u64);
        counters.set(Gauge::LagMs, lag_ms);
        if lag_ms >= limits::STALL_MS {
            counters.add_one(Counter::Stalls);
            counters.set(Gauge::StallMaxMs, lag_ms.max(counters.gauge(Gauge::StallMaxMs)));
        }
        counters.set(Gauge::LookupsInFlight, shard.auth.lookups().held());
        counters.set(Gauge::NextHopWaits, u64::from(shard.load.next_hop_waits.get()));
        shard.board.show(shard.index, &shard.settings().delivery);
    }

    fn changed(&mut self, shard: &Shard, now_ms: u64, change: &Change) {
        let Change { from, to, cause } = change;
        shard.load.enter(change);
        if *from == Level::Normal {
            self.episode = Episode::begin(shard, now_ms);
            // Those who wait for nothing are to hear that they may not do so for long.
            shard.phases.nudge();
        }
        let why = match cause {
            Some((cause, value)) => Measured(*cause, *value).to_string(),
            None => self.episode.so_far(shard, now_ms),
        };
        mx6_telemetry::say!("shard {}: load {from} -> {to}: {why}", shard.index);
    }
}

impl Episode {
    fn begin(shard: &Shard, now_ms: u64) -> Episode {
        let shed = Cause::SHED.iter().map(|(counter, _)| shard.counters.value(*counter)).collect();
        Episode { began_ms: now_ms, shed }
    }

    fn so_far(&self, shard: &Shard, now_ms: u64) -> String {
        let before = |counter| {
            Cause::SHED.iter().zip(&self.shed).find(|((known, _), _)| *known == counter).map_or(0, |(_, value)| *value)
        };
        let shed = shed_by_cause(|counter| shard.counters.value(counter) - before(counter));
        let told = if shed.is_empty() { "nobody" } else { &shed };
        format!("calm again; since {} ms told to come again: {told}", now_ms - self.began_ms)
    }
}

/// `part` of `whole`.
pub(crate) fn permille(part: u64, whole: u64) -> u32 {
    u32::try_from(part.saturating_mul(1_000) / whole.max(1)).unwrap_or(u32::MAX)
}

/// Looks that the timer must be late in turn.
const LAGS: usize = 3;
