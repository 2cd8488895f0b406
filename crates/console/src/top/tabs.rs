//! What stands on each tab: lines of text, from the figures of the last interval and the status they came from.

use mx6_telemetry::{Ranked, Status};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::figures::{Count, Figures};
use super::words::{Looks, percent, rate, time};
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
            Tab::Network => "dns & hops",
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

    fn overview(&self) -> Vec<Line<'static>> {
        let figures = self.figures;
        let rows = [
            ("accept", figures.accept, "accept"),
            ("defer", figures.defer, "defer"),
            ("reject", figures.reject, "reject"),
            ("would refuse", figures.would_refuse, "defer"),
        ];
        let mut lines = vec![title(&format!("{:<14}{:>9}{:>16}", "recipients", "a second", "in all"))];
        for ((name, count, colour), history) in rows.into_iter().zip(self.history) {
            lines.push(self.verdict(name, count, colour, history));
        }
        lines.push(Line::default());
        lines.extend([self.sessions(), self.stages(), self.lookups(), self.hops(), self.shards()]);
        lines.push(Line::default());
        lines.extend(self.most(3));
        lines.push(Line::default());
        lines.extend(self.decisions(DECISIONS_IN_OVERVIEW));
        lines
    }

    fn verdict(&self, name: &str, count: Count, verdict: &str, history: &[f64]) -> Line<'static> {
        let style = if count.per_s > 0.0 { colour_of(verdict).add_modifier(Modifier::BOLD) } else { Style::new() };
        let spark = self.looks.spark(history, self.width.saturating_sub(42));
        Line::from(vec![
            Span::styled(format!("{name:<14}{:>9}", rate(count.per_s)), style),
            Span::raw(format!("{:>16}  ", units::count(count.total))),
            Span::styled(spark, colour_of(verdict)),
        ])
    }

    fn sessions(&self) -> Line<'static> {
        let figures = self.figures;
        let lost = figures.records_lost;
        let told = format!("{} now, {}/s new", units::count(figures.sessions), rate(figures.connections_per_s));
        let lost = (lost > 0).then(|| alarm(format!("  {} lost", units::counted(lost, "decision record"))));
        Line::from([vec![label("sessions"), Span::raw(told)], Vec::from_iter(lost)].concat())
    }

    fn stages(&self) -> Line<'static> {
        let told = self
            .figures
            .timings
            .iter()
            .filter(|timing| ["iprev", "spf", "dkim", "verdict", "delivery"].contains(&&*timing.name));
        let told: Vec<String> = told.map(|timing| format!("{} {}", timing.name, time(timing.p99_us))).collect();
        Line::from(vec![label("99 of 100 in"), Span::raw(told.join(", "))])
    }

    fn lookups(&self) -> Line<'static> {
        let dns = &self.figures.dns;
        let told = format!(
            "{}/s, {} from cache, {} stale, {} in flight, ",
            rate(dns.lookups_per_s),
            percent(dns.hit_share),
            percent(dns.stale_share),
            units::count(dns.in_flight)
        );
        let failures = format!("{} failures/s", rate(dns.failures_per_s));
        let failures = if dns.failures_per_s > 0.0 { warning(failures) } else { Span::raw(failures) };
        let breaker = (dns.breaker == "open").then(|| alarm("  BREAKER OPEN: the resolver fails".to_owned()));
        Line::from([vec![label("dns"), Span::raw(told), failures], Vec::from_iter(breaker)].concat())
    }

    fn hops(&self) -> Line<'static> {
        let hops = &self.figures.next_hops;
        let ill = hops.iter().filter(|hop| hop.shards_healthy < hop.shards).count();
        let open: u64 = hops.iter().map(|hop| hop.open).sum();
        let told =
            format!("{}, {} open", units::counted(hops.len() as u64, "target"), units::counted(open, "connection"));
        let ill = (ill > 0).then(|| alarm(format!("  {ill} of them failing (5)")));
        Line::from([vec![label("next hops"), Span::raw(told)], Vec::from_iter(ill)].concat())
    }

    fn shards(&self) -> Line<'static> {
        let shards = &self.figures.shards;
        let most = |share: fn(&super::figures::Shard) -> f64| shards.iter().map(share).fold(0.0, f64::max);
        let told = format!(
            "{}, the busiest {}, run queue {}, {}",
            units::counted(shards.len() as u64, "core"),
            percent(most(|shard| shard.busy_share)),
            percent(most(|shard| shard.run_queue_share)),
            units::counted(shards.iter().map(|shard| shard.stalls).sum(), "stall"),
        );
        let pressed = shards.iter().filter(|shard| shard.level != "normal").count();
        let pressed = (pressed > 0).then(|| alarm(format!("  {pressed} under pressure (4)")));
        Line::from([vec![label("cores"), Span::raw(told)], Vec::from_iter(pressed)].concat())
    }

    /// The prefixes with the most decisions and the domains with the most refusals, side by side.
    fn most(&self, rows: usize) -> Vec<Line<'static>> {
        let half = self.width / 2;
        let observed = &self.status.observed;
        let head = format!("{:<half$}{}", "top prefixes  ok/refused", "top refused domains");
        let cell = |ranked: Option<&Ranked>, of: fn(&Ranked) -> String| {
            let Some(ranked) = ranked else { return " ".repeat(half) };
            let counts = of(ranked);
            let name = self.looks.text(&ranked.name, half.saturating_sub(counts.len() + 3));
            let fill = half.saturating_sub(name.chars().count() + counts.len() + 2);
            format!("{name}{}{counts}  ", " ".repeat(fill))
        };
        let rows = (0..rows).map(|at| {
            let prefix = cell(observed.prefixes.get(at), |one| format!("{}/{}", one.accepted, one.refused));
            let domain = cell(observed.refused_domains.get(at), |one| (one.refused + one.would_refuse).to_string());
            Line::from(format!("{prefix}{domain}"))
        });
        std::iter::once(title(&head)).chain(rows).collect()
    }

    fn rules(&self) -> Vec<Line<'static>> {
        let head =
            format!("{:<12} {:<22} {:<7}{:>9}{:>16}{:>7}", "stage", "rule", "verdict", "a second", "in all", "share");
        let mut rows: Vec<_> = self.figures.decisions.iter().collect();
        match self.sort {
            Sort::Total => rows.sort_by_key(|row| std::cmp::Reverse(row.count.total)),
            Sort::Rate => rows.sort_by(|a, b| b.count.per_s.total_cmp(&a.count.per_s)),
            Sort::Name => rows.sort_by(|a, b| (&a.rule, &a.stage).cmp(&(&b.rule, &b.stage))),
        }
        let all: u64 = rows.iter().map(|row| row.count.total).sum();
        let lines = rows.into_iter().map(|row| {
            let share = row.count.total as f64 / all.max(1) as f64;
            let (rule, count) = (self.looks.text(&row.rule, 22), units::count(row.count.total));
            let text = format!(
                "{:<12} {rule:<22} {:<7}{:>9}{count:>16}{:>7}",
                row.stage,
                row.verdict,
                rate(row.count.per_s),
                percent(share)
            );
            let bar = self.looks.bar(share, self.width.saturating_sub(text.len() + 1).min(40));
            Line::styled(format!("{text} {bar}"), colour_of(&row.verdict))
        });
        let trial = self.status.observed.would_refuse.iter().map(|row| {
            let rule = self.looks.text(&row.rule, 22);
            let domain = self.looks.text(&row.domain, self.width.saturating_sub(64));
            Line::from(format!("{rule:<22} {:>10}  {:<26} {domain}", units::count(row.count), row.prefix))
        });
        let mut lines: Vec<_> = std::iter::once(title(&head)).chain(self.filtered(lines)).collect();
        lines.extend([Line::default(), title("on trial: rule, how many, from where, to which domain")]);
        lines.extend(self.filtered(trial));
        lines
    }

    fn latency(&self) -> Vec<Line<'static>> {
        let head = format!(
            "{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}  from 1 us to 36 min, an octave a column",
            "", "a second", "half", "90 %", "99 %", "all"
        );
        let rows = self.figures.timings.iter().map(|timing| {
            let counts: Vec<f64> = timing.octaves.iter().map(|bucket| bucket.count as f64).collect();
            let width = counts.len().min(self.width.saturating_sub(57));
            let text = format!(
                "{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}  ",
                timing.name,
                rate(timing.count.per_s),
                time(timing.p50_us),
                time(timing.p90_us),
                time(timing.p99_us),
                time(timing.max_us)
            );
            // Where there is no room for all octaves, the first ones are left out: nothing lasts so short.
            Line::from(vec![
                Span::raw(text),
                Span::styled(self.looks.spark(&counts, width), Style::new().fg(Color::Cyan)),
            ])
        });
        let note = "Of the last interval; a row with nothing in it is since the gate began.";
        let note = [Line::default(), Line::styled(note, Style::new().add_modifier(Modifier::DIM))];
        std::iter::once(title(&head)).chain(rows).chain(note).collect()
    }

    fn cores(&self) -> Vec<Line<'static>> {
        let bar_width = self.width.saturating_sub(69).clamp(6, 40);
        let head = format!(
            "{:>5}{:>5}  {:<bar_width$}{:>6}{:>8}{:>10}{:>8}{:>8}{:>10}  level",
            "core", "cpu", "busy", "", "queue", "sessions", "new/s", "stalls", "longest"
        );
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
            let text = format!(
                "{:>5}{:>5}  {}{:>6}{:>8}{:>10}{:>8}{:>8}{:>10}  {}",
                shard.shard,
                shard.cpu,
                self.looks.bar(shard.busy_share, bar_width),
                percent(shard.busy_share),
                percent(shard.run_queue_share),
                units::count(shard.sessions),
                rate(shard.connections_per_s),
                units::count(shard.stalls),
                time(shard.stall_max_ms.saturating_mul(1000)),
                self.looks.text(&shard.level, 10)
            );
            Line::styled(text, style)
        });
        std::iter::once(title(&head)).chain(rows).collect()
    }

    fn network(&self) -> Vec<Line<'static>> {
        let dns = &self.figures.dns;
        let mut lines = vec![self.lookups()];
        let more = format!(
            "{} of them that there is nothing, {} timeouts/s, breaker {}",
            percent(dns.negative_share),
            rate(dns.timeouts_per_s),
            dns.breaker
        );
        lines.extend([Line::from(vec![label(""), Span::raw(more)]), Line::default()]);
        lines.push(title(&format!("{:<12}{:>12}{:>12}{:>12}  full", "cache", "entries", "takes", "may take")));
        for cache in &self.figures.caches {
            let share = cache.octets as f64 / cache.octets_max.max(1) as f64;
            let (entries, octets, most) =
                (units::count(cache.entries), units::octets(cache.octets), units::octets(cache.octets_max));
            lines.push(Line::from(format!(
                "{:<12}{entries:>12}{octets:>12}{most:>12}  {} {}",
                cache.name,
                self.looks.bar(share, 16),
                percent(share)
            )));
        }
        lines.extend([
            Line::default(),
            title(&format!("{:<34}{:>10}{:>8}{:>8}{:>12}", "next hop", "healthy", "open", "idle", "backs off")),
        ]);
        for hop in &self.figures.next_hops {
            let name = self.looks.text(&hop.name, 34);
            let healthy = format!("{}/{}", hop.shards_healthy, hop.shards);
            let text = format!(
                "{name:<34}{healthy:>10}{:>8}{:>8}{:>12}",
                hop.open,
                hop.idle,
                time(hop.back_off_ms.saturating_mul(1000))
            );
            lines.push(if hop.shards_healthy < hop.shards { Line::from(alarm(text)) } else { Line::from(text) });
        }
        lines
    }

    /// The last decisions, the newest first.
    fn decisions(&self, most: usize) -> Vec<Line<'static>> {
        let recent = self.status.observed.recent.iter().rev();
        let rows = recent.map(|record| {
            Line::styled(self.looks.text(&decision(record), self.width), colour_of(word(record, "verdict")))
        });
        std::iter::once(title("last decisions, the newest first")).chain(self.filtered(rows).take(most)).collect()
    }

    fn filtered(&self, lines: impl Iterator<Item = Line<'static>>) -> impl Iterator<Item = Line<'static>> {
        let wanted = self.filter.to_lowercase();
        lines.filter(move |line| wanted.is_empty() || line.to_string().to_lowercase().contains(&wanted))
    }
}

/// A record in one line: when, what, why, who, for whom, and the reply.
fn decision(record: &Value) -> String {
    let clock = word(record, "time").get(11..19).unwrap_or_default();
    let (verdict, rule, client) = (word(record, "verdict"), word(record, "rule"), word(record, "client"));
    let recipient = Some(word(record, "rcpt_to")).filter(|to| !to.is_empty()).unwrap_or("-");
    let trial = if record["would"].is_string() { " (trial)" } else { "" };
    format!("{clock} {verdict:<6} {:<16} {client:<22} {recipient}  {}", format!("{rule}{trial}"), word(record, "reply"))
}

fn word<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

fn title(text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED))
}

fn label(text: &str) -> Span<'static> {
    Span::styled(format!("{text:<14}"), Style::new().add_modifier(Modifier::BOLD))
}

fn warning(text: String) -> Span<'static> {
    Span::styled(text, Style::new().fg(Color::Yellow))
}

fn alarm(text: String) -> Span<'static> {
    Span::styled(text, Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
}

/// Colours of the terminal's own palette: they can be read on dark and on light.
fn colour_of(verdict: &str) -> Style {
    match verdict {
        "accept" => Style::new().fg(Color::Green),
        "defer" => Style::new().fg(Color::Yellow),
        "reject" => Style::new().fg(Color::Red),
        _ => Style::new(),
    }
}

/// More waiting for a CPU than that and something else runs on the shard's core.
const QUEUE_SHARE_WARNED: f64 = 0.05;
const DECISIONS_IN_OVERVIEW: usize = 50;
