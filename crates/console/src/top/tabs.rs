//! What stands on each tab: lines of text, from the figures of the last interval and the status they came from.

use mx6_telemetry::Status;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::figures::Figures;
use super::table::{self, Cell, Column, Row, text};
use super::words::{Looks, State, percent, rate, time};
use crate::escape::wrapped;
use crate::units;

/// A tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    /// Everything at a glance.
    Overview,
    /// Decisions by rule.
    Rules,
    /// How long things take.
    Latency,
    /// One lane a shard.
    Cores,
    /// Lookups, caches, next hops.
    Network,
    /// The last decisions.
    Decisions,
}

impl Tab {
    /// All, in the order of their keys.
    pub(super) const ALL: [Tab; 6] =
        [Tab::Overview, Tab::Rules, Tab::Latency, Tab::Cores, Tab::Network, Tab::Decisions];

    /// What it is called.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Tab::Overview => "overview",
            Tab::Rules => "rules",
            Tab::Latency => "latency",
            Tab::Cores => "cores",
            Tab::Network => "dns+hops",
            Tab::Decisions => "decisions",
        }
    }
}

/// The order of rows that are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// The most since the gate began first.
    Total,
    /// The most now first.
    Rate,
    /// By name; shards by number.
    Name,
}

impl Sort {
    /// What it is called.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Total => "total",
            Sort::Rate => "rate",
            Sort::Name => "name",
        }
    }
}

/// What a tab is drawn from.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// The status.
    pub(super) status: &'a Status,
    /// The figures of the last interval.
    pub(super) figures: &'a Figures,
    /// Accepted, deferred, rejected, would be refused: a rate for each interval, the newest last.
    pub(super) history: &'a [Vec<f64>; 4],
    /// Only rows with this text; empty for all.
    pub(super) filter: &'a str,
    /// The order of rows.
    pub(super) sort: Sort,
    /// What the terminal can show.
    pub(super) looks: Looks,
    /// Columns.
    pub(super) width: usize,
    /// Rows that are seen without scrolling.
    pub(super) height: usize,
}

impl Page<'_> {
    /// The lines of a tab.
    #[must_use]
    pub(super) fn lines(&self, tab: Tab) -> Vec<Line<'static>> {
        match tab {
            Tab::Overview => self.overview(),
            Tab::Rules => self.rules(),
            Tab::Latency => self.latency(),
            Tab::Cores => self.cores(),
            Tab::Network => self.network(),
            Tab::Decisions => self.decisions(usize::MAX),
        }
    }

    fn rules(&self) -> Vec<Line<'static>> {
        let columns = [
            Column::left("rule", 21, 24),
            Column::left("stage", 11, 12).may_go(2),
            Column::left("verdict", 7, 7),
            Column::right("a second", 8),
            Column::right("in all", 9),
            Column::right("share", 5).may_go(1),
            Column::rest("", 7, 40).may_go(3),
        ];
        let mut decisions: Vec<_> = self.figures.decisions.iter().collect();
        match self.sort {
            Sort::Total => decisions.sort_by_key(|one| std::cmp::Reverse(one.count.total)),
            Sort::Rate => decisions.sort_by(|a, b| b.count.per_s.total_cmp(&a.count.per_s)),
            Sort::Name => decisions.sort_by(|a, b| (&a.rule, &a.stage).cmp(&(&b.rule, &b.stage))),
        }
        let all: u64 = decisions.iter().map(|one| one.count.total).sum();
        let rows = decisions.into_iter().map(|one| {
            let share = one.count.total as f64 / all.max(1) as f64;
            // Accepted although a rule objected: on trial.
            let is_trial = one.verdict == "accept" && one.rule != "accepted";
            Row::new(
                colour_of(if is_trial { "trial" } else { &one.verdict }),
                [
                    self.safe(&one.rule),
                    self.safe(&one.stage),
                    if is_trial { text("trial") } else { self.safe(&one.verdict) },
                    text(rate(one.count.per_s)),
                    text(units::count(one.count.total)),
                    text(percent(share)),
                    Cell::Bar(share),
                ],
            )
        });
        let mut lines = self.table(&columns, self.filtered(rows));
        if !self.status.observed.would_refuse.is_empty() {
            lines.push(Line::default());
            lines.extend(self.trial());
        }
        lines
    }

    /// What would have been refused on trial.
    fn trial(&self) -> Vec<Line<'static>> {
        let columns = [
            Column::left("on trial, would refuse", 16, 24),
            Column::right("in all", 7),
            Column::left("from", 20, 43),
            Column::rest("for", 12, 100).may_go(1),
        ];
        let rows = self.status.observed.would_refuse.iter().map(|row| {
            let words =
                [self.safe(&row.rule), text(units::count(row.count)), self.safe(&row.prefix), self.safe(&row.domain)];
            Row::new(colour_of("trial"), words)
        });
        self.table(&columns, self.filtered(rows))
    }

    fn latency(&self) -> Vec<Line<'static>> {
        let most = self.figures.timings.iter().map(|timing| timing.octaves.len()).max().unwrap_or(0);
        let columns = |axis| {
            [
                Column::left("", 8, 10),
                Column::right("a second", 8).may_go(1),
                Column::right("half", 7),
                Column::right("90 %", 7),
                Column::right("99 %", 7),
                Column::right("all", 7),
                Column::rest(axis, 22, most).may_go(2),
            ]
        };
        let rows = self.figures.timings.iter().map(|timing| {
            let octaves = timing.octaves.iter().map(|bucket| bucket.count as f64).collect();
            let times = [timing.p50_us, timing.p90_us, timing.p99_us, timing.max_us].map(|us| text(time(us)));
            let words = [self.safe(&timing.name), text(rate(timing.count.per_s))];
            Row::new(Style::new(), words.into_iter().chain(times).chain([Cell::Spark(octaves)]))
        });
        let rows: Vec<Row> = rows.collect();
        let axis = axis(most, table::rest(&columns(""), &rows, self.width));
        let mut lines = self.table(&columns(&axis), rows);
        lines.push(Line::default());
        lines.extend(self.note("Of the last interval; a row with nothing in it is since the gate began."));
        lines.extend(self.note("On the right: how many took how long, twice as long a column further."));
        lines
    }

    fn cores(&self) -> Vec<Line<'static>> {
        let columns = [
            Column::right("core", 4),
            Column::right("cpu", 3).may_go(5),
            Column::rest("busy", 6, 40),
            Column::right("", 4),
            Column::right("queue", 5),
            Column::right("sessions", 8),
            Column::right("new/s", 5).may_go(4),
            Column::right("stalls", 6).may_go(1),
            Column::right("longest", 7).may_go(3),
            Column::right("memory", 9).may_go(8),
            Column::right("lookups", 7).may_go(7),
            Column::right("at next hop", 11).may_go(6),
            Column::left("load", 8, 10),
        ];
        let mut shards: Vec<_> = self.figures.shards.iter().collect();
        match self.sort {
            Sort::Total => shards.sort_by_key(|shard| std::cmp::Reverse(shard.sessions)),
            Sort::Rate => shards.sort_by(|a, b| b.busy_share.total_cmp(&a.busy_share)),
            Sort::Name => {}
        }
        let rows = shards.into_iter().map(|shard| {
            let style = match (&*shard.level, shard.new_stalls, shard.run_queue_share > QUEUE_SHARE_WARNED) {
                ("normal", 0, false) => Style::new(),
                ("normal", ..) => Style::new().fg(Color::Yellow),
                _ => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            };
            Row::new(
                style,
                [
                    text(shard.shard.to_string()),
                    text(shard.cpu.to_string()),
                    Cell::Bar(shard.busy_share),
                    text(percent(shard.busy_share)),
                    text(percent(shard.run_queue_share)),
                    text(units::count(shard.sessions)),
                    text(rate(shard.connections_per_s)),
                    text(units::count(shard.stalls)),
                    text(time(shard.stall_max_ms.saturating_mul(1000))),
                    text(units::octets(shard.message_memory_octets)),
                    text(units::count(shard.lookups_in_flight)),
                    text(units::count(shard.next_hop_waits)),
                    self.safe(&shard.level),
                ],
            )
        });
        let mut lines = self.table(&columns, rows.collect());
        lines.push(Line::default());
        lines.extend(self.note("queue: ready to run, and waiting for the CPU that something else has."));
        lines.extend(self.note("stalls: one task kept the core for a tenth of a second or more."));
        lines
    }

    fn network(&self) -> Vec<Line<'static>> {
        let mut lines = vec![self.lookups(), self.answers(), Line::default()];
        let columns = [
            Column::left("cache", 10, 14),
            Column::right("entries", 10),
            Column::right("takes", 9),
            Column::right("of", 9),
            Column::right("", 5),
            Column::rest("full", 6, 40).may_go(1),
        ];
        let rows = self.figures.caches.iter().map(|cache| {
            let share = cache.octets as f64 / cache.octets_max.max(1) as f64;
            let octets = [cache.octets, cache.octets_max].map(|octets| text(units::octets(octets)));
            let words = [self.safe(&cache.name), text(units::count(cache.entries))];
            Row::new(Style::new(), words.into_iter().chain(octets).chain([text(percent(share)), Cell::Bar(share)]))
        });
        lines.extend(self.table(&columns, rows.collect()));
        lines.push(Line::default());
        if self.figures.next_hops.is_empty() {
            lines.extend(self.note("No next hop: accepted mail goes into a Maildir, or nowhere."));
        } else {
            lines.extend(self.next_hops());
        }
        lines
    }

    fn next_hops(&self) -> Vec<Line<'static>> {
        let columns = [
            Column::left("next hop", 22, 60),
            Column::right("cores well", 7),
            Column::right("open", 6),
            Column::right("idle", 6).may_go(2),
            Column::right("tried again in", 7).may_go(1),
        ];
        let rows = self.figures.next_hops.iter().map(|hop| {
            let state = if hop.shards_healthy < hop.shards { style_of(State::Ill) } else { Style::new() };
            Row::new(
                state,
                [
                    self.safe(&hop.name),
                    text(format!("{} of {}", hop.shards_healthy, hop.shards)),
                    text(units::count(hop.open)),
                    text(units::count(hop.idle)),
                    text(time(hop.back_off_ms.saturating_mul(1000))),
                ],
            )
        });
        self.table(&columns, rows.collect())
    }

    /// The last decisions, the newest first.
    pub(super) fn decisions(&self, most: usize) -> Vec<Line<'static>> {
        let columns = [
            Column::left("last", 8, 8),
            Column::left("", 6, 6),
            Column::left("rule", 15, 24),
            Column::left("client", 24, 39).may_go(1),
            Column::left("for", 19, 48),
            Column::rest("reply", 20, 200).may_go(2),
        ];
        let rows = self.status.observed.recent.iter().rev().map(|record| {
            let clock = word(record, "time").get(11..19).unwrap_or_default();
            let recipient = Some(word(record, "rcpt_to")).filter(|to| !to.is_empty()).unwrap_or("-");
            let (verdict, rule) = match word(record, "would_rule") {
                "" => (word(record, "verdict"), word(record, "rule")),
                rule => ("trial", rule),
            };
            let words = [clock, verdict, rule, word(record, "client"), recipient, word(record, "reply")];
            Row::new(colour_of(verdict), words.map(|word| self.safe(word)))
        });
        let rows = self.filtered(rows).into_iter().take(most).collect();
        self.table(&columns, rows)
    }

    pub(super) fn table(&self, columns: &[Column<'_>], rows: Vec<Row>) -> Vec<Line<'static>> {
        table::lines(columns, &rows, self.width, self.looks)
    }

    /// Words that may be a peer's.
    pub(super) fn safe(&self, words: &str) -> Cell {
        text(self.looks.text(words, CELL_CHARACTERS_MAX))
    }

    fn note(&self, words: &str) -> Vec<Line<'static>> {
        let dim = Style::new().add_modifier(Modifier::DIM);
        wrapped(words, self.width).into_iter().map(|line| Line::styled(line, dim)).collect()
    }

    fn filtered(&self, rows: impl Iterator<Item = Row>) -> Vec<Row> {
        let wanted = self.filter.to_lowercase();
        rows.filter(|row| wanted.is_empty() || row.has(&wanted)).collect()
    }

    /// Something in one line: how well it is, what it is called, and phrases, those first that must not be missing.
    pub(super) fn told(&self, name: &str, phrases: Vec<(State, String)>) -> Line<'static> {
        let state = phrases.iter().map(|(state, _)| *state).max().unwrap_or(State::Well);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut spans =
            vec![Span::styled(self.looks.mark(state), style_of(state)), Span::styled(format!(" {name:<LABEL$}"), bold)];
        let mut left = self.width.saturating_sub(LABEL + 2);
        for (at, (state, phrase)) in phrases.into_iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let Some(less) = left.checked_sub(comma.len() + phrase.chars().count()) else { break };
            left = less;
            let style = if state == State::Well { Style::new() } else { style_of(state) };
            spans.extend([Span::raw(comma), Span::styled(phrase, style)]);
        }
        Line::from(spans)
    }
}

/// The head of a curve over octaves from a microsecond on, of which the last `columns` are shown.
fn axis(octaves: usize, columns: usize) -> String {
    let skipped = octaves.saturating_sub(columns);
    let mut axis = String::new();
    for (octave, mark) in [(0, "1us"), (10, "1ms"), (20, "1s"), (26, "1min")] {
        if let Some(at) = usize::checked_sub(octave, skipped) {
            axis = format!("{axis:<at$}{mark}");
        }
    }
    axis
}

fn word<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

pub(super) fn style_of(state: State) -> Style {
    let style = Style::new().fg(state.colour());
    if state == State::Ill { style.add_modifier(Modifier::BOLD) } else { style }
}

/// Colours of the terminal's own palette: they can be read on dark and on light.
pub(super) fn colour_of(verdict: &str) -> Style {
    match verdict {
        "accept" => Style::new().fg(Color::Green),
        "defer" | "trial" => Style::new().fg(Color::Yellow),
        "reject" => Style::new().fg(Color::Red),
        _ => Style::new(),
    }
}

/// More waiting for a CPU than that and something else runs on the shard's core.
pub(super) const QUEUE_SHARE_WARNED: f64 = 0.05;
/// Of one cell: longer than any path.
const CELL_CHARACTERS_MAX: usize = 512;
/// The longest name of a line, and a blank.
const LABEL: usize = 12;
