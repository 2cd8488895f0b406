//! The first tab: whether all is well, in three seconds.

use std::time::Duration;

use mx6_telemetry::Ranked;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::chart;
use super::figures::{Count, Shard, Timing};
use super::table::{self, Cell, Column, Row, text};
use super::tabs::{Page, QUEUE_SHARE_WARNED, colour_of};
use super::words::{State, age, percent, rate, time};
use crate::units;

impl Page<'_> {
    pub(super) fn overview(&self) -> Vec<Line<'static>> {
        let mut lines = self.verdicts();
        if self.height >= HEIGHT_WITH_CHART {
            let [accept, defer, reject, _] = self.history;
            let layers: [chart::Layer<'_>; 3] = [(accept, Color::Green), (defer, Color::Yellow), (reject, Color::Red)];
            lines.push(Line::default());
            lines.extend(chart::lines(&layers, self.width, CHART_ROWS, self.looks));
        }
        lines.push(Line::default());
        lines.extend([self.sessions(), self.stages(), self.lookups(), self.hops(), self.shards()]);
        lines.push(Line::default());
        lines.extend(self.most());
        lines.push(Line::default());
        lines.extend(self.decisions(DECISIONS_IN_OVERVIEW));
        lines
    }

    /// What became of recipients: now, in all, and over the last minutes.
    fn verdicts(&self) -> Vec<Line<'static>> {
        let figures = self.figures;
        let shown = self.history[0].len() as u64 * figures.interval_ms;
        let curve = format!("the last {}", age(Duration::from_millis(shown)));
        let columns = [
            Column::left("recipients", 12, 12),
            Column::right("a second", 8),
            Column::right("in all", 13),
            Column::rest(if shown < 1000 { "" } else { &curve }, 8, 300),
        ];
        let row = |(name, count, verdict): (&str, Count, &str), history: &Vec<f64>| {
            let style = colour_of(verdict);
            let style = if count.per_s > 0.0 { style.add_modifier(Modifier::BOLD) } else { style };
            let words = [name.to_owned(), rate(count.per_s), units::count(count.total)];
            Row::new(style, words.map(text).into_iter().chain([Cell::Spark(history.clone())]))
        };
        let rows = [
            ("accepted", figures.accept, "accept"),
            ("deferred", figures.defer, "defer"),
            ("rejected", figures.reject, "reject"),
            ("would refuse", figures.would_refuse, "defer"),
        ];
        self.table(&columns, rows.into_iter().zip(self.history).map(|(count, history)| row(count, history)).collect())
    }

    fn sessions(&self) -> Line<'static> {
        let figures = self.figures;
        let mut phrases = vec![
            (State::Well, format!("{} now", units::count(figures.sessions))),
            (State::Well, format!("{}/s new", rate(figures.connections_per_s))),
        ];
        if figures.records_lost > 0 {
            let lost = format!("{} LOST", units::counted(figures.records_lost, "decision record"));
            phrases.insert(0, (State::Ill, lost));
        }
        self.told("sessions", phrases)
    }

    /// The waits that a client feels first.
    fn stages(&self) -> Line<'static> {
        let order = ["verdict", "delivery", "iprev", "spf", "dkim"];
        let found = order.iter().filter_map(|name| self.figures.timings.iter().find(|timing| timing.name == *name));
        let phrase = |timing: &Timing| format!("{} {}", timing.name, time(timing.p99_us));
        self.told("99 % within", found.map(|timing| (State::Well, phrase(timing))).collect())
    }

    /// What is asked of DNS, and how it goes.
    pub(super) fn lookups(&self) -> Line<'static> {
        let dns = &self.figures.dns;
        let failures = self.failing(dns.failures_per_s);
        let mut phrases = vec![
            (State::Well, format!("{} lookups/s", rate(dns.lookups_per_s))),
            (State::Well, format!("{} cached", percent(dns.hit_share))),
            (failures, format!("{} failures/s", rate(dns.failures_per_s))),
            (State::Well, format!("{} stale", percent(dns.stale_share))),
            (State::Well, format!("{} in flight", units::count(dns.in_flight))),
        ];
        if dns.breaker == "open" {
            phrases.insert(0, (State::Ill, "BREAKER OPEN".to_owned()));
        }
        self.told("dns", phrases)
    }

    /// The rest of it.
    pub(super) fn answers(&self) -> Line<'static> {
        let dns = &self.figures.dns;
        let breaker = if dns.breaker == "open" { State::Ill } else { State::Well };
        let timeouts = self.failing(dns.timeouts_per_s);
        let negative = format!("{} that there is nothing", percent(dns.negative_share));
        self.told(
            "answers",
            vec![
                (breaker, format!("breaker {}", self.looks.text(&dns.breaker, 10))),
                (timeouts, format!("{} timeouts/s", rate(dns.timeouts_per_s))),
                (State::Well, negative),
            ],
        )
    }

    /// Some names always fail: it is many of them that mean something.
    fn failing(&self, per_s: f64) -> State {
        if per_s > self.figures.dns.lookups_per_s * FAILURES_WARNED { State::Look } else { State::Well }
    }

    fn hops(&self) -> Line<'static> {
        let hops = &self.figures.next_hops;
        if hops.is_empty() {
            return self.told("next hops", vec![(State::Well, "none".to_owned())]);
        }
        let ill = hops.iter().filter(|hop| hop.shards_healthy < hop.shards).count();
        let open: u64 = hops.iter().map(|hop| hop.open).sum();
        let state = if ill == hops.len() { State::Ill } else { State::Look };
        let mut phrases = vec![
            (State::Well, hops.len().to_string()),
            (State::Well, format!("{} open", units::counted(open, "connection"))),
        ];
        if ill > 0 {
            phrases[0] = (state, format!("{ill} of {} FAILING (5)", hops.len()));
        }
        self.told("next hops", phrases)
    }

    fn shards(&self) -> Line<'static> {
        let shards = &self.figures.shards;
        let most = |share: fn(&Shard) -> f64| shards.iter().map(share).fold(0.0, f64::max);
        let queue = most(|shard| shard.run_queue_share);
        let is_stalling = shards.iter().any(|shard| shard.new_stalls > 0);
        let look = |does: bool| if does { State::Look } else { State::Well };
        let stalls = units::counted(shards.iter().map(|shard| shard.stalls).sum(), "stall");
        let mut phrases = vec![
            (State::Well, shards.len().to_string()),
            (State::Well, format!("the busiest {}", percent(most(|shard| shard.busy_share)))),
            (look(queue > QUEUE_SHARE_WARNED), format!("run queue {}", percent(queue))),
            (look(is_stalling), stalls),
        ];
        let pressed = shards.iter().filter(|shard| shard.level != "normal").count();
        if pressed > 0 {
            phrases[0] = (State::Ill, format!("{pressed} of {} UNDER PRESSURE (4)", shards.len()));
        }
        self.told("cores", phrases)
    }

    /// The prefixes with the most decisions and the domains with the most refusals, side by side where there is room.
    fn most(&self) -> Vec<Line<'static>> {
        let observed = &self.status.observed;
        let has_room = self.width >= WIDTH_FOR_TWO;
        let left = if has_room { self.width * 11 / 20 } else { self.width };
        let right = if has_room { self.width - left - BETWEEN } else { self.width };
        let row = |ranked: &Ranked, counts: [u64; 2]| {
            Row::new(
                Style::new(),
                [self.safe(&ranked.name)].into_iter().chain(counts.map(|count| text(units::count(count)))),
            )
        };
        let prefixes = observed.prefixes.iter().map(|one| row(one, [one.accepted, one.refused]));
        let domains = observed.refused_domains.iter().map(|one| row(one, [one.refused, one.would_refuse]));
        let prefixes: Vec<Row> = prefixes.take(RANKED_IN_OVERVIEW).collect();
        let domains: Vec<Row> = domains.take(RANKED_IN_OVERVIEW).collect();
        let columns = |of: &'static str, good: &'static str, bad: &'static str| {
            [Column::left(of, 18, 43), Column::right(good, 7), Column::right(bad, 7).may_go(1)]
        };
        let prefixes = table::lines(&columns("most mail from", "ok", "refused"), &prefixes, left, self.looks);
        let domains = table::lines(&columns("most refused for", "refused", "trial"), &domains, right, self.looks);
        if !has_room {
            return prefixes.into_iter().chain([Line::default()]).chain(domains).collect();
        }
        let rows = prefixes.len().max(domains.len());
        let blank = || std::iter::repeat_with(Line::default);
        let pairs = prefixes.into_iter().chain(blank()).zip(domains.into_iter().chain(blank()));
        pairs.take(rows).map(|(prefix, domain)| beside(&prefix, &domain, left + BETWEEN)).collect()
    }
}

/// Two lines in one, the second from column `at` on.
fn beside(left: &Line<'static>, right: &Line<'static>, at: usize) -> Line<'static> {
    let fill = at.saturating_sub(left.width());
    let spans = [
        Span::styled(left.to_string(), left.style),
        Span::raw(" ".repeat(fill)),
        Span::styled(right.to_string(), right.style),
    ];
    Line::from_iter(spans)
}

/// More of the lookups, and it is no longer this or that sender's name.
const FAILURES_WARNED: f64 = 0.05;
/// Fewer are rows that are needed for the decisions.
const RANKED_IN_OVERVIEW: usize = 3;
const DECISIONS_IN_OVERVIEW: usize = 50;
/// A terminal with so many rows below the head has some for a chart.
const HEIGHT_WITH_CHART: usize = 32;
const CHART_ROWS: usize = 8;
/// Columns from which two tables stand side by side, and what is between them.
const WIDTH_FOR_TWO: usize = 76;
const BETWEEN: usize = 2;
